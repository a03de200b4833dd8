"""A real Kafka broker for tests: KRaft, one node, random ports, its data in a folder of the test's own."""

import base64
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from tests.broker.jars import BrokerMissingError, jars
from tests.ports import free_port

READY_S: Final = 120.0
_IMAGE: Final = "apache/kafka:4.1.1"
# a broker for tests: fast to start, small, quiet
_JVM: Final = ("-Xmx512m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_LOG4J: Final = """\
Configuration:
  Appenders:
    Console: {name: stdout, PatternLayout: {pattern: "%d %p %m (%c)%n"}}
  Loggers:
    Root: {level: warn, AppenderRef: [{ref: stdout}]}
"""


class Broker(Protocol):
    """A broker that tests may use: where it is."""

    bootstrap_servers: str


class GivenKafka:
    """A broker that somebody else runs."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers


class RunningKafka:
    """One broker; `start`, `stop` and `kill` may alternate, data and ports stay."""

    def __init__(
        self, folder: Path, *, options: dict[str, str] | None = None, format_arguments: tuple[str, ...] = ()
    ) -> None:
        self._folder = folder
        self._format_arguments = format_arguments
        self.port = free_port("127.0.0.1")
        self._controller_port = free_port("127.0.0.1")
        self.bootstrap_servers = f"127.0.0.1:{self.port}"
        self._options = options or {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready_s: float = READY_S) -> float:
        """Start it and return the seconds until it took connections; raises TimeoutError with the log's end."""
        began = time.monotonic()
        classpath = f"{jars()}/*"
        properties = self._folder / "server.properties"
        if not properties.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            properties.write_text("".join(f"{key}={value}\n" for key, value in self._properties().items()))
            (self._folder / "log4j2.yaml").write_text(_LOG4J)
            cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            self._java(
                classpath,
                "kafka.tools.StorageTool",
                "format",
                "-t",
                cluster,
                "-c",
                str(properties),
                *self._format_arguments,
            )
        with (self._folder / "broker.log").open("ab") as output:
            self._process = subprocess.Popen(
                self._command(classpath, "kafka.Kafka", str(properties)),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        while time.monotonic() - began < ready_s:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1.0):
                return time.monotonic() - began
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        end = (self._folder / "broker.log").read_text(errors="replace")[-2000:]
        self.kill()
        raise TimeoutError(f"the broker did not start within {ready_s:.0f} s: {end}")

    @property
    def pid(self) -> int:
        """Return the process id of the running broker."""
        if self._process is None:
            raise RuntimeError("the broker is not running")
        return self._process.pid

    def stop(self) -> None:
        """Shut it down as an operator would. Idempotent."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without warning. Idempotent."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def _command(self, classpath: str, *arguments: str) -> tuple[str, ...]:
        configured = f"-Dlog4j2.configurationFile={self._folder / 'log4j2.yaml'}"
        return ("java", *_JVM, configured, "-cp", classpath, *arguments)

    def _java(self, classpath: str, *arguments: str) -> None:
        done = subprocess.run(self._command(classpath, *arguments), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{arguments[0]} failed: {(done.stdout + done.stderr)[-2000:]}")

    def _properties(self) -> dict[str, str]:
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self._folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.dedupe.buffer.size": "8388608",
            "num.network.threads": "2",
            "num.io.threads": "2",
        } | self._merged_options()

    def _merged_options(self) -> dict[str, str]:
        """Return the options, with `extra.listeners` (NAME://host:port,…) put to the broker's own."""
        options = dict(self._options)
        extra = options.pop("extra.listeners", "")
        if extra:
            own = f"PLAINTEXT://127.0.0.1:{self.port}"
            options["listeners"] = f"{own},CONTROLLER://127.0.0.1:{self._controller_port},{extra}"
            options["advertised.listeners"] = f"{own},{extra}"
            protocols = {name: name for name in (address.partition(":")[0] for address in extra.split(","))}
            named = {"CONTROLLER": "PLAINTEXT", "PLAINTEXT": "PLAINTEXT"} | protocols
            options["listener.security.protocol.map"] = ",".join(f"{name}:{kind}" for name, kind in named.items())
        return options


@contextlib.contextmanager
def running_kafka(
    folder: Path, *, options: dict[str, str] | None = None, format_arguments: tuple[str, ...] = ()
) -> Iterator[RunningKafka]:
    """Run a broker for the time of the block."""
    broker = RunningKafka(folder, options=options, format_arguments=format_arguments)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@contextlib.contextmanager
def some_broker(folder: Path) -> Iterator[Broker]:
    """Give a broker: the one in CLEARWATCH_TEST_KAFKA, else our own by Java and Maven, else one in Docker.

    Raises BrokerMissingError where there is none of them.
    """
    if address := os.environ.get("CLEARWATCH_TEST_KAFKA"):
        yield GivenKafka(address)
    elif shutil.which("java") and shutil.which("mvn"):
        with running_kafka(folder) as broker:
            yield broker
    elif shutil.which("docker"):
        with _in_docker() as broker:
            yield broker
    else:
        raise BrokerMissingError("install a Java 17 runtime and Maven, or Docker, or set CLEARWATCH_TEST_KAFKA")


@contextlib.contextmanager
def _in_docker() -> Iterator[GivenKafka]:
    port = free_port("127.0.0.1")
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    settings = [part for key, value in environment.items() for part in ("-e", f"{key}={value}")]
    command = ["docker", "run", "-d", "--rm", "-p", f"127.0.0.1:{port}:{port}", *settings, _IMAGE]
    started = subprocess.run(command, capture_output=True, text=True, check=False)
    if started.returncode:
        raise BrokerMissingError(f"Docker could not run {_IMAGE}: {started.stderr[-500:]}")
    try:
        _wait_for_port(port, READY_S)
        yield GivenKafka(f"127.0.0.1:{port}")
    finally:
        subprocess.run(["docker", "stop", started.stdout.strip()], capture_output=True, check=False)


def _wait_for_port(port: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing answers on port {port}")
