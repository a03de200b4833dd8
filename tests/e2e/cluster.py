"""Clearwatch in roles over a real broker: collectors, detectors and sinks, each a process of its own."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.log.config import LogConfig
from core.log.kafka_config import KafkaConfig
from tests.broker.kafka import Broker
from tests.e2e.harness import Up, wait_for


class Cluster:
    """The roles of one Clearwatch. Records are shared: an SQLite file that all of them open, or `records_url`.

    A sink that is named twice runs as two processes.
    """

    def __init__(
        self,
        folder: Path,
        broker: Broker,
        *,
        prefix: str,
        collectors: int = 1,
        detectors: int = 1,
        sinks: tuple[str, ...] = ("records",),
        mlflow_url: str = "",
        records_url: str = "",
        **settings: str,
    ) -> None:
        self.settings = {
            "CLEARWATCH__LOG__KIND": "kafka",
            "CLEARWATCH__LOG__KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "CLEARWATCH__LOG__KAFKA__TOPIC_PREFIX": prefix,
            "CLEARWATCH__SINKS__RECORDS__URL": records_url or f"sqlite:///{folder / 'records.sqlite3'}",
            **settings,
        }
        self.broker = broker
        self.log_config = LogConfig(kafka=KafkaConfig(bootstrap_servers=broker.bootstrap_servers, topic_prefix=prefix))
        self._folder = folder
        self._mlflow_url = mlflow_url
        self.collectors = [self._role(f"collector-{n}", "collector") for n in range(collectors)]
        self._made = -1
        self.detectors: list[Up] = []
        for _ in range(detectors):
            self.add_detector()
        self.sinks: dict[str, Up] = {}
        self.second_sinks: list[Up] = []
        for name in sinks:
            if name in self.sinks:
                self.second_sinks.append(self._role(f"sink-{name}-{len(self.second_sinks)}", "sink", name))
            else:
                self.sinks[name] = self._role(f"sink-{name}", "sink", name)

    @property
    def processes(self) -> list[Up]:
        """Return every process, in the order of the data."""
        return [*self.collectors, *self.detectors, *self.sinks.values(), *self.second_sinks]

    def start(self) -> "Cluster":
        """Start everything and wait until all are ready."""
        for process in self.processes:
            process.launch()
        with ThreadPoolExecutor(len(self.processes)) as pool:
            list(pool.map(lambda process: process.wait_until_ready(), self.processes))
        return self

    def stop(self) -> None:
        """Stop everything, all at once."""
        with ThreadPoolExecutor(len(self.processes)) as pool:
            list(pool.map(lambda process: process.stop(), self.processes))

    def wait_until_idle(self, *, timeout_s: float = 180.0) -> Any:
        """Wait until nothing is open and nothing lags, as every process tells it; return what the first says."""
        deadline = time.monotonic() + timeout_s
        for process in self.processes:
            process.wait_until_ready(timeout_s=max(1.0, deadline - time.monotonic()))
        last: dict[str, Any] = {}

        def is_idle() -> bool:
            last.clear()
            # twice: what one has read by then, another may still have held when it was asked first; the first one that
            # is busy is answer enough, for an answer costs every process work
            for process in self.processes * 2:
                status = last[process.data_dir.name] = process.status()
                if status["traces"]["open"] or any(status["lag"].values()):
                    return False
            return True

        wait_for(is_idle, timeout_s=max(1.0, deadline - time.monotonic()), what=lambda: self.tell(last))
        return next(iter(last.values()))

    def tell(self, statuses: Mapping[str, Any] = MappingProxyType({})) -> str:
        """Return what processes said of themselves, by name, and the end of what each printed."""
        lines = [f"{name}: {status}" for name, status in statuses.items()]
        return "\n".join([*lines, *(f"--- {p.data_dir.name}\n{p.log_tail()}" for p in self.processes)])

    def add_detector(self) -> Up:
        """Return one more detector, not started."""
        self._made += 1
        made = self._role(f"detector-{self._made}", "detector")
        self.detectors.append(made)
        return made

    def _role(self, name: str, *command: str) -> Up:
        role = Up(self._folder / name, mlflow_url=self._mlflow_url, **self.settings)
        role.command = command
        return role


@contextlib.contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """Run a cluster for the time of the block."""
    try:
        yield cluster.start()
    finally:
        cluster.stop()
