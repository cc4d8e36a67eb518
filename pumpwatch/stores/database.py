"""One ledger database: opened, brought to the present schema, read and written in short transactions."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from pumpwatch.domain.errors import Conflict, InvalidInput, PumpwatchError, StoreUnavailable
from pumpwatch.stores.sqlite import RESTORE, connect, remedy

MIGRATIONS = Path(__file__).parent / "migrations"
WRITER_WAIT_S = 30
READERS = 16
CONNECT_S = 5
_ONE_WRITER = 0x70756D7077617463
_ONE_HUB = 0x70756D7068756221
"""Our names ("pumpwatc", "pumphub!") among the advisory locks of a PostgreSQL database."""

Insert = sqlite.Insert | postgresql.Insert


class Database:
    """A SQLite file or a PostgreSQL server: one writer at a time, readers beside it.

    Any thread may use `read` and `write` at any time, and so may other processes: a writer waits for
    its turn, so what was read inside `write` is still true when it is committed. Opening migrates
    forward unless told otherwise; a database that is newer than this code is refused with
    `PumpwatchError` before anything is changed.
    """

    def __init__(self, url: str, *, migrate: bool = True) -> None:
        parsed = _parsed(url)
        self._name = parsed.render_as_string(hide_password=True)
        if parsed.get_backend_name() == "sqlite":
            self._writer, self._reader = _file(parsed)
            self._turn: Callable[[], AbstractContextManager[None]] = _Turn(
                f"{parsed.database}.lock"
            ).taken
        else:
            self._writer, self._reader = _server(parsed)
            self._turn = nullcontext  # the server keeps the turns: see `_server`
        self._claim: Connection | None = None
        try:
            if migrate and self.version() != self.newest():
                self.upgrade()
        except BaseException:
            self.close()
            raise

    def __str__(self) -> str:
        return self._name

    @property
    def is_file(self) -> bool:
        return self._writer.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view. Raises `StoreUnavailable` when the database does not answer."""
        with self._told(), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One durable transaction: everything in the block or nothing.

        Raises `StoreUnavailable`, or `Conflict` when the rows contradict what is stored.
        """
        with self._told(), self._turn(), self._writer.begin() as connection:
            yield connection

    def insert(self, table: Table) -> Insert:
        """An insert that knows ``on_conflict_do_…`` in the dialect at hand."""
        if self.is_file:
            return sqlite.insert(table)
        return postgresql.insert(table)

    def claim(self) -> None:
        """Be the only hub of a server's database until it is closed; a file has its directory's lock.

        Raises `Conflict` while another one is. The claim lives as long as its connection: a server that
        was started anew has forgotten it.
        """
        if self.is_file:
            return
        with self._told(), ExitStack() as unless_mine:
            held = self._reader.execution_options(isolation_level="AUTOCOMMIT").connect()
            unless_mine.callback(held.close)
            if not held.exec_driver_sql(f"SELECT pg_try_advisory_lock({_ONE_HUB})").scalar():
                raise Conflict(
                    f"another hub uses {self._name}",
                    "stop that one, or give this one a database of its own; one whose machine died is "
                    "forgotten within two minutes",
                )
            unless_mine.pop_all()
        self._claim = held

    def close(self) -> None:
        if self._claim is not None:
            self._claim.invalidate()  # ended, not given back to the pool with the lock on it
            self._claim.close()
            self._claim = None
        self._reader.dispose()
        self._writer.dispose()

    # -- the schema ----------------------------------------------------------------------------

    def version(self) -> str:
        """The revision of what is stored; '' where nothing is yet."""
        with self.read() as connection:
            return MigrationContext.configure(connection).get_current_revision() or ""

    def newest(self) -> str:
        """The revision that this code works on."""
        return _script().get_current_head() or ""

    def upgrade(self) -> None:
        """Bring it to `newest`, whole or not at all."""
        with self._altering() as connection:
            command.upgrade(alembic_config(connection), "head")

    def downgrade(self, revision: str) -> None:
        """Take it back to an earlier ``revision``, whole or not at all: what only newer ones know is
        lost. Raises `InvalidInput` for a revision that is not an earlier one."""
        with self._altering() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            earlier = [r.revision for r in _script().iterate_revisions(current, "base")][1:]
            if revision not in earlier:
                known = ", ".join(earlier) or "none"
                raise InvalidInput(
                    "revision", f"{revision} is none before {current}", f"earlier ones: {known}"
                )
            command.downgrade(alembic_config(connection), revision)

    @contextmanager
    def _altering(self) -> Iterator[Connection]:
        """A writing transaction in which tables may be made anew though others refer to them."""
        with self._told(), self._turn(), self._writer.connect() as connection:
            if self.is_file:  # SQLite copies a table to alter it; only outside a transaction
                _pragma(connection, "foreign_keys = OFF")
            try:
                with connection.begin():
                    self._refuse_newer(connection)
                    yield connection
                    if self.is_file and _pragma(connection, "foreign_key_check"):
                        raise PumpwatchError(
                            f"a migration of {self._name} would leave rows without what they refer to",
                            "nothing was changed; report it",
                        )
            finally:
                if self.is_file:
                    _pragma(connection, "foreign_keys = ON")

    def _refuse_newer(self, connection: Connection) -> None:
        known = {revision.revision for revision in _script().walk_revisions()}
        found = set(MigrationContext.configure(connection).get_current_heads())
        if newer := found - known:
            raise PumpwatchError(
                f"{self._name} was written by a newer pumpwatch (schema {', '.join(newer)})",
                "install that version again, or restore a backup made with this one",
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what went wrong in the house's own errors."""
        try:
            yield
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreUnavailable(
                f"{self._name} holds what cannot be read ({error})", RESTORE
            ) from error
        except IntegrityError as error:
            raise Conflict(
                f"{self._name} holds something else already ({error.orig})", "read it again"
            ) from error
        except DataError as error:
            raise InvalidInput(
                "value", f"{self._name} cannot hold it ({error.orig})", "shorten or correct it"
            ) from error
        except (DBAPIError, PoolTimeout) as error:
            reason = error.orig if isinstance(error, DBAPIError) else "all connections are busy"
            raise StoreUnavailable(
                f"{self._name} did not answer ({reason})",
                remedy(reason, "check the disk and the server; it is tried again"),
            ) from error


def alembic_config(connection: Connection) -> Config:
    """What Alembic's commands need to work on this connection, inside its transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _script() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidInput("url", "cannot be read", _FORMS) from None
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise InvalidInput("url", f"{parsed.drivername} is not known here", _FORMS)
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise InvalidInput("url", f"{url} names no file", "use sqlite:///path/to/core.db")
    return parsed


_FORMS = "use postgresql://USER@HOST:5432/DATABASE or sqlite:///path/to/core.db"


def _file(url: URL) -> tuple[Engine, Engine]:
    open_file = partial(connect, str(url.database))
    writer = create_engine(
        "sqlite://", creator=open_file, poolclass=QueuePool, pool_size=1, max_overflow=0,
        pool_timeout=WRITER_WAIT_S, **_JSON,
    )  # fmt: skip
    reader = create_engine(
        "sqlite://", creator=partial(open_file, reader=True), poolclass=QueuePool,
        pool_size=READERS, max_overflow=0, pool_timeout=WRITER_WAIT_S, **_JSON,
    )  # fmt: skip
    # the driver is in autocommit mode: a transaction begins where we say, and a writing one at once
    event.listen(writer, "begin", partial(_begin, "BEGIN IMMEDIATE"))
    event.listen(reader, "begin", partial(_begin, "BEGIN"))
    return writer, reader


def _server(url: URL) -> tuple[Engine, Engine]:
    """Writers queue at one advisory lock, as they do at a SQLite file: so audit numbers become
    visible in ascending order, and nobody decides on rows that another writer is about to change."""
    if importlib.util.find_spec("psycopg") is None:
        raise PumpwatchError(
            "psycopg is not installed, so there is no way to PostgreSQL",
            "install it with: pip install 'psycopg[binary]'",
        )
    query = dict(url.query)
    limits = f"-c lock_timeout={WRITER_WAIT_S}s -c idle_in_transaction_session_timeout=60s"
    # a machine that died without a word gives back its locks soon
    limits += " -c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=5"
    query["options"] = f"{query.get('options', '')} {limits}".strip()
    # a server that fell silent is given up soon: whoever waits for it tries again
    told = {"application_name": "pumpwatch", "connect_timeout": str(CONNECT_S)}
    told |= {"keepalives_idle": "10", "keepalives_interval": "5", "tcp_user_timeout": "20000"}
    engine = create_engine(
        url.set(drivername="postgresql+psycopg", query={**told, **query}),
        pool_pre_ping=True, pool_size=4, max_overflow=READERS - 3, pool_timeout=WRITER_WAIT_S,
        **_JSON,
    )  # fmt: skip
    writer = engine.execution_options()
    event.listen(writer, "begin", partial(_begin, f"SELECT pg_advisory_xact_lock({_ONE_WRITER})"))
    reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return writer, reader


def _begin(statement: str, connection: Connection) -> None:
    connection.exec_driver_sql(statement)


def _pragma(connection: Connection, statement: str) -> list[Any]:
    """Past SQLAlchemy, which would begin a transaction for it."""
    driver = connection.connection.driver_connection
    assert driver is not None
    rows: list[Any] = driver.execute(f"PRAGMA {statement}").fetchall()
    return rows


class _Turn:
    """One writer of a SQLite file at a time, over threads and processes.

    Below SQLite 3.51.3 two connections that write or checkpoint at the same instant can damage the
    file (the WAL-reset fault). SQLite's own lock keeps writers apart, but lets one checkpoint beside
    another that writes; this lock is held over both.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._threads = threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Raises `StoreUnavailable` when the turn does not come."""
        end_s = time.monotonic() + WRITER_WAIT_S
        if not self._threads.acquire(timeout=WRITER_WAIT_S):
            raise self._busy()
        try:
            with self._opened() as file:
                while not _locked(file):
                    if time.monotonic() > end_s:
                        raise self._busy()
                    time.sleep(0.002)
                yield
        finally:
            self._threads.release()

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreUnavailable(
                f"{self._path} cannot be opened ({error.strerror})",
                "check that its folder exists and is writable",
            ) from error
        try:
            yield file
        finally:
            os.close(file)  # which ends the lock

    def _busy(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"{self._path.removesuffix('.lock')} is being written by another all the time",
            "it is tried again",
        )


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _to_json(value: object) -> str:
    """JSON text; what is not finite becomes null, a numpy number its plain twin."""
    return msgspec.json.encode(value, enc_hook=_plain).decode()


def _plain(value: Any) -> object:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


_JSON: dict[str, Any] = {"json_serializer": _to_json, "json_deserializer": msgspec.json.decode}
