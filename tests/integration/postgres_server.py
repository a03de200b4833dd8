"""A real PostgreSQL server for tests: Debian's binaries, a free loopback port, a folder of the test's own.

`CLEARWATCH_TEST_POSTGRES` may name a server instead, as a URL whose user may create databases.
"""

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import sql

from tests.ports import free_port

VARIABLE: Final = "CLEARWATCH_TEST_POSTGRES"
READY_S: Final = 60.0
_USER: Final = "watch"
# on loopback, small, and nothing that must outlive the machine
_SETTINGS: Final = ("listen_addresses=127.0.0.1", "fsync=off", "max_connections=60", "shared_buffers=32MB")


class PostgresMissingError(Exception):
    """Neither PostgreSQL's binaries nor the address of a server: says what to install."""


class RunningPostgres:
    """One server; `start`, `stop` and `kill` may alternate, data, port and password stay."""

    def __init__(self) -> None:
        """Raises PostgresMissingError."""
        self._binaries = binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="clearwatch-postgres-"))
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            account = _account()
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": ()}
        self.port = free_port("127.0.0.1")
        self.password = secrets.token_hex(12)
        self._process: subprocess.Popen[bytes] | None = None
        self._initialise()

    @property
    def url(self) -> str:
        """Return the URL of its first database, with a user who may do everything."""
        return f"postgresql://{_USER}:{self.password}@127.0.0.1:{self.port}/postgres"

    def start(self, *, ready_s: float = READY_S) -> None:
        """Start it and wait until it takes connections; raises TimeoutError with the log's end."""
        with (self._folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                (
                    *(str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port)),
                    *("-k", str(self._folder)),
                    *(part for setting in _SETTINGS for part in ("-c", setting)),
                ),
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self._folder,
                **self._account,
            )
        waiting = (str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1")
        for _ in range(int(ready_s / 0.05)):
            if subprocess.run(waiting, check=False).returncode == 0:
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)
                break
        self.kill()
        end = (self._folder / "server.log").read_text(errors="replace")[-2000:]
        raise TimeoutError(f"PostgreSQL did not start within {ready_s:.0f} s: {end}")

    def stop(self) -> None:
        """Shut it down, ending its connections, as an operator would. Idempotent."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it without warning. Idempotent."""
        self._end(signal.SIGQUIT)  # not SIGKILL: that would leave its children and its shared memory

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _initialise(self) -> None:
        secret = self._folder / "password"
        secret.write_text(self.password)
        secret.chmod(0o644)  # in a folder that only the account enters
        version = subprocess.run((self._binaries / "postgres", "--version"), capture_output=True, text=True, check=True)
        major = int(re.findall(r"\d+", version.stdout)[0])
        # a language's order where ours must not follow it; PostgreSQL 15 brought it as a default
        locale = ("--locale-provider=icu", "--icu-locale=en-US") if major >= 15 else ()
        command = (
            *(str(self._binaries / "initdb"), "-D", str(self._data), "-U", _USER, "--pwfile", str(secret)),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", *locale),
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self._folder, **self._account)
        if done.returncode:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise RuntimeError(f"initdb failed: {(done.stdout + done.stderr)[-2000:]}")

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None


def binaries() -> Path:
    """Return the folder of `initdb` and `postgres`: the newest of Debian's, else that in PATH.

    Raises PostgresMissingError.
    """
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    in_path = shutil.which("initdb")
    if in_path is None:
        raise PostgresMissingError(f"no `initdb`: install Debian's package postgresql, or set {VARIABLE}")
    return Path(in_path).resolve().parent


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise PostgresMissingError("running as root, and there is neither a user `postgres` nor `nobody` to run it as")


@contextlib.contextmanager
def database_in(server_url: str) -> Iterator[str]:
    """Make a database for the time of the block and return its URL."""
    name = f"clearwatch_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Return the URL of one server for the whole session; tests keep apart by database. Skip where there is none."""
    named = os.environ.get(VARIABLE)
    if named:
        yield named
        return
    try:
        server = RunningPostgres()
    except PostgresMissingError as exc:
        pytest.skip(f"NO POSTGRESQL: {exc}")
    try:
        server.start()
        yield server.url
    finally:
        server.remove()


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """Return the URL of an empty database of the test's own."""
    with database_in(postgres) as url:
        yield url


@pytest.fixture
def own_postgres() -> Iterator[RunningPostgres]:
    """Return a running server that the test may stop, kill and start. Skip where there are no binaries."""
    try:
        server = RunningPostgres()
    except PostgresMissingError as exc:
        pytest.skip(f"NO POSTGRESQL: {exc}")
    try:
        server.start()
        yield server
    finally:
        server.remove()
