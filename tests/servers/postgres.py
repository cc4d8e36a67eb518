"""A private PostgreSQL server on the loopback, and the fixtures that hand out databases of it."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from line_servers import START_S
from ports import free_port

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian puts what is not meant to be called by hand."""
USER, PASSWORD = "hub", "of-this-test-only"


def program(name: str) -> str | None:
    path = os.pathsep.join([*map(str, reversed(PROGRAMS)), os.environ.get("PATH", "")])
    return shutil.which(name, path=path)


class PostgresServer:
    """A cluster in a folder of its own; it sorts as no program does (ICU, English).

    PostgreSQL refuses to run as root: then it runs as ``postgres``, or as ``nobody``.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="pumpwatch-postgres-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            account = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._as = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        self._child: subprocess.Popen[bytes] | None = None
        self._names = (f"ledger{n}" for n in itertools.count())
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        self._run(
            "initdb", "--pgdata", self._data, "--username", USER, "--pwfile", secret,
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8",
            "--locale-provider", "icu", "--icu-locale", "en-US", "--no-sync",
        )  # fmt: skip

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        command = [
            program("postgres"), "-D", self._data, "-p", str(self.port),
            "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
            "-c", "fsync=off", "-c", "max_connections=60", "-c", "shared_buffers=16MB",
        ]  # fmt: skip
        with (self._folder / "log").open("ab") as out:
            self._child = subprocess.Popen(
                list(map(str, command)), stdout=out, stderr=out, cwd=self._folder, **self._as
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            assert self._child.poll() is None, self._log()
            assert time.monotonic() < deadline, self._log()
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT throws its clients out; SIGQUIT is a crash from which it recovers."""
        if self._child is not None:
            self._child.send_signal(how)
            self._child.wait(30)
            self._child = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def new_database(self) -> str:
        """The address of another empty one."""
        name = next(self._names)
        self.ask(f"CREATE DATABASE {name}")
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def ask(self, statement: str, database: str = "postgres") -> list[Any]:
        import psycopg  # not where PostgreSQL is not installed

        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database,
            autocommit=True,
        ) as connection:  # fmt: skip
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        import psycopg

        try:
            return bool(self.ask("SELECT 1"))
        except psycopg.OperationalError:
            return False

    def _run(self, name: str, *arguments: object) -> None:
        done = subprocess.run(
            [str(program(name)), *map(str, arguments)], cwd=self._folder, text=True,
            capture_output=True, **self._as,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def _log(self) -> str:
        return (self._folder / "log").read_text()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Callable[[], str]:
    """Gives the address of a new database each time."""
    return postgres_server.new_database


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server that the test may stop and start."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


LEDGERS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(params=LEDGERS)
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new SQL ledger's address, on each engine in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'core.db'}"
    return str(request.getfixturevalue("postgres")())
