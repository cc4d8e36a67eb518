"""One ledger database: opened, brought to the present schema, read and written in short transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from pumpwatch.domain.errors import Conflict, InvalidInput, PumpwatchError, StoreUnavailable
from pumpwatch.stores.sqlite import connect

MIGRATIONS = Path(__file__).parent / "migrations"
WRITER_WAIT_S = 30
READERS = 16

Insert = sqlite.Insert | postgresql.Insert


class Database:
    """A SQLite file (one writing connection, readers beside it) or a PostgreSQL server.

    Any thread may use `read` and `write` at any time. Opening migrates forward; a database that is
    newer than this code is refused with `PumpwatchError` before anything is changed.
    """

    def __init__(self, url: str) -> None:
        self._name = make_url(url).render_as_string(hide_password=True)
        self._writer, self._reader = _engines(url)
        try:
            self._migrate()
        except BaseException:
            self.close()
            raise

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
        with self._told(), self._writer.begin() as connection:
            yield connection

    def insert(self, table: Table) -> Insert:
        """An insert that knows ``on_conflict_do_…`` in the dialect at hand."""
        if self._writer.dialect.name == "sqlite":
            return sqlite.insert(table)
        return postgresql.insert(table)

    def close(self) -> None:
        self._reader.dispose()
        self._writer.dispose()

    def _migrate(self) -> None:
        with self.write() as connection:
            config = alembic_config(connection)
            script = ScriptDirectory.from_config(config)
            known = {revision.revision for revision in script.walk_revisions()}
            found = set(MigrationContext.configure(connection).get_current_heads())
            if newer := found - known:
                raise PumpwatchError(
                    f"{self._name} was written by a newer pumpwatch (schema {', '.join(newer)})",
                    "install that version again, or restore a backup made with this one",
                )
            if found != set(script.get_heads()):
                command.upgrade(config, "head")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what went wrong in the house's own errors."""
        try:
            yield
        except IntegrityError as error:
            raise Conflict(
                f"{self._name} holds something else already ({error.orig})", "read it again"
            ) from error
        except (DBAPIError, PoolTimeout) as error:
            reason = error.orig if isinstance(error, DBAPIError) else "all connections are busy"
            raise StoreUnavailable(
                f"{self._name} did not answer ({reason})",
                "check the disk and the server; it is tried again",
            ) from error


def alembic_config(connection: Connection) -> Config:
    """What Alembic's commands need to work on this connection, inside its transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _engines(url: str) -> tuple[Engine, Engine]:
    parsed = make_url(url)
    options: dict[str, Any] = {
        "json_serializer": _to_json,
        "json_deserializer": msgspec.json.decode,
    }
    if parsed.get_backend_name() != "sqlite":
        engine = create_engine(parsed, pool_pre_ping=True, **options)
        return engine, engine
    if parsed.database in (None, "", ":memory:"):
        raise InvalidInput("url", f"{url} names no file", "use sqlite:///path/to/core.db")
    open_file = partial(connect, parsed.database)
    writer = create_engine(
        "sqlite://", creator=open_file, poolclass=QueuePool, pool_size=1, max_overflow=0,
        pool_timeout=WRITER_WAIT_S, **options,
    )  # fmt: skip
    reader = create_engine(
        "sqlite://", creator=partial(open_file, reader=True), poolclass=QueuePool,
        pool_size=READERS, max_overflow=0, pool_timeout=WRITER_WAIT_S, **options,
    )  # fmt: skip
    # the driver is in autocommit mode: a transaction begins where we say, and a writing one at once
    event.listen(writer, "begin", partial(_begin, "BEGIN IMMEDIATE"))
    event.listen(reader, "begin", partial(_begin, "BEGIN"))
    return writer, reader


def _begin(statement: str, connection: Connection) -> None:
    connection.exec_driver_sql(statement)


def _to_json(value: object) -> str:
    """JSON text; what is not finite becomes null, a numpy number its plain twin."""
    return msgspec.json.encode(value, enc_hook=_plain).decode()


def _plain(value: Any) -> object:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")
