"""How every SQLite file of the house is opened: a commit that returned is on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pumpwatch.domain.errors import StoreUnavailable

BUSY_TIMEOUT_MS = 10_000
TROUBLE = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises; of a damaged file the driver may fail to read the very message."""
RESTORE = (
    "it is damaged: stop the hub, move the data directory away, look at the disk, and take the newest"
    " backup: pumpwatch backup restore"
)


def connect(path: Path | str, *, reader: bool = False) -> sqlite3.Connection:
    """Open (or create) the file with WAL, full sync, foreign keys, and no trust in its schema.

    The connection is in autocommit mode: group writes with `transaction`. It may be handed between
    threads, but used by one at a time. A ``reader`` neither writes nor checkpoints: below SQLite
    3.51.3 only one connection per file may do either (the WAL-reset fault).

    Raises `StoreUnavailable` naming the file when it cannot be opened or is not a database.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            if reader:
                connection.execute("PRAGMA query_only = ON")
                connection.execute("PRAGMA wal_autocheckpoint = 0")
        except TROUBLE:
            connection.close()
            raise
    except TROUBLE as error:
        raise StoreUnavailable(
            f"{path} cannot be opened ({error})",
            remedy(error, "check that its folder exists, is writable and not full"),
        ) from error
    return connection


def remedy(error: object, otherwise: str) -> str:
    """What to do about an error of SQLite: a file whose bytes are wrong heals by no waiting."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return RESTORE if damaged or isinstance(error, UnicodeDecodeError) else otherwise


@contextmanager
def told(path: Path | str) -> Iterator[None]:
    """What goes wrong inside with this file is said as `StoreUnavailable`, with the way out."""
    try:
        yield
    except TROUBLE as error:
        raise StoreUnavailable(
            f"{path} cannot be used ({error})",
            remedy(error, "check that its disk is there, writable and not full"),
        ) from error


def damage(path: Path) -> str:
    """What is wrong with the structure of a database, '' if nothing: SQLite's quick check, which reads the
    whole file. A value that turned into another one is not seen by it. Raises `StoreUnavailable`."""
    with closing(connect(path, reader=True)) as connection:
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except TROUBLE as error:
            return str(error)
    return "" if found == "ok" else str(found)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """One durable write: all of it is on disk when the block ends, or none after an exception."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        # a failed COMMIT or a full disk may already have rolled the transaction back
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
