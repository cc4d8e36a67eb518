"""How every SQLite file of the house is opened: a commit that returned is on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pumpwatch.domain.errors import StoreUnavailable

BUSY_TIMEOUT_MS = 10_000


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
        except sqlite3.Error:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StoreUnavailable(
            f"{path} cannot be opened ({error})",
            "check that its folder exists, is writable and not full, and that it is a SQLite file",
        ) from error
    return connection


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
