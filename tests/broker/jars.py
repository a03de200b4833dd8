"""Apache Kafka's jars, by Maven from `pom.xml`, kept outside the tree; `python -m tests.broker.jars` fetches them."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

POM: Final = Path(__file__).with_name("pom.xml")


class BrokerMissingError(Exception):
    """Neither Java with Maven, nor Docker, nor an address of a broker: says what to install."""


def cache_folder() -> Path:
    """Return where the jars of this pom are kept: under XDG_CACHE_HOME, by the pom's content."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "clearwatch" / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"


def jars() -> Path:
    """Return the folder with the jars, fetching them where they are not there yet.

    Raises BrokerMissingError where java or mvn is missing, or where Maven fails (with the end of what it said).
    """
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise BrokerMissingError(f"no `{tool}`: install a Java 17 runtime and Maven, or set CLEARWATCH_TEST_KAFKA")
    folder = cache_folder()
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Maven's own store is not for two at a time
        return folder if folder.is_dir() else _fetched(folder)


def _fetched(folder: Path) -> Path:
    fetching = folder.with_name(f"{folder.name}.{os.getpid()}")
    command = (
        *("mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"),
        *("-DincludeScope=runtime", f"-DoutputDirectory={fetching}"),
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(fetching, ignore_errors=True)
        raise BrokerMissingError(f"Maven could not fetch Kafka: {(done.stdout + done.stderr)[-2000:]}")
    fetching.rename(folder)
    return folder


if __name__ == "__main__":
    print(jars())
