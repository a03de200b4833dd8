"""What one process does: everything (`up`), or one role of several on Kafka."""

import contextlib
import socket
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from clearwatch.config import Config
from core.clock import Clock
from core.errors import PermanentError
from core.log.database import FileLock, LogLockedError
from core.log.kafka.log import KafkaLog
from core.log.port import Log
from core.log.sqlite import SqliteLog
from core.telemetry import Telemetry
from detector.stages import stages

LOG_FILE: Final = "log.sqlite3"
SINKS: Final = ("records", "mlflow", "webhook")
_MOST_INSTANCES: Final = 256


class RoleError(PermanentError):
    """A role that does not exist, or cannot be run as configured: exit 2."""


class Roles(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that run in this process."""

    name: str
    collector: bool = False
    stages: tuple[str, ...] = ()
    sinks: tuple[str, ...] = ()

    @property
    def is_all(self) -> bool:
        """Return whether this process runs everything."""
        return self.name == "up"


def everything(config: Config) -> Roles:
    """Return what `up` runs: all that is configured."""
    return Roles(name="up", collector=True, stages=stage_names(config), sinks=sink_names(config))


def detector(config: Config, names: Sequence[str]) -> Roles:
    """Return a detector of these stages, of all where none is named. Raises RoleError."""
    known = stage_names(config)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise RoleError(f"no stage {', '.join(unknown)}: there are {', '.join(known)}")
    return Roles(name="detector", stages=tuple(name for name in known if not names or name in names))


def sink(config: Config, name: str) -> Roles:
    """Return one sink. Raises RoleError where it does not exist or is not configured."""
    if name not in SINKS:
        raise RoleError(f"no sink {name}: there are {', '.join(SINKS)}")
    if name not in sink_names(config):
        raise RoleError(f"sink {name} is switched off: see `sinks.{name}`")
    return Roles(name=f"sink-{name}", sinks=(name,))


def stage_names(config: Config) -> tuple[str, ...]:
    """Return the stages that the configuration asks for."""
    return tuple(stages(config.detector, Telemetry()))


def sink_names(config: Config) -> tuple[str, ...]:
    """Return the sinks that the configuration asks for."""
    found = ["records"]
    if config.sinks.mlflow.enabled:
        found.append("mlflow")
    if config.sinks.webhook.enabled:
        found.append("webhook")
    return tuple(found)


def open_log(config: Config, *, data_dir: Path, instance_id: str, telemetry: Telemetry, clock: Clock) -> Log:
    """Return the configured log, not started."""
    if config.log.kind == "kafka":
        return KafkaLog(config=config.log, instance_id=instance_id, telemetry=telemetry)
    return SqliteLog(str(data_dir / LOG_FILE), config=config.log, telemetry=telemetry, clock=clock)


class Place:
    """This process's place in its consumer groups: a name in the data folder that it holds until it ends.

    Whoever is started again with the same folder and role takes a free place, as a rule its own, and with it the
    partitions that nobody else has taken yet. A second process beside it takes another.
    """

    def __init__(self, data_dir: Path, role: str) -> None:
        self._folder = data_dir
        self._role = role
        self._lock: FileLock | None = None

    def take(self) -> str:
        """Return the name. Raises LogUnavailableError where the folder cannot be written."""
        for number in range(_MOST_INSTANCES):
            path = self._folder / f"instance-{self._role}-{number}"
            lock = FileLock(str(path))
            with contextlib.suppress(LogLockedError):
                lock.acquire()
                self._lock = lock
                return _stored_name(path.with_suffix(".id"), self._role)
        raise RoleError(f"{_MOST_INSTANCES} processes run as {self._role} in {self._folder}")

    def leave(self) -> None:
        """Let another process take the place. Idempotent."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _stored_name(path: Path, role: str) -> str:
    with contextlib.suppress(OSError):
        if name := path.read_text(encoding="ascii").strip():
            return name
    name = f"{socket.gethostname()[:40]}.{role}.{uuid.uuid4().hex[:8]}"
    path.write_text(name, encoding="ascii")
    return name
