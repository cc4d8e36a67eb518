"""Copies of the SQLite files of a running hub, all of one moment; and whether a copy is sound."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pumpwatch.domain.errors import PumpwatchError, StoreUnavailable
from pumpwatch.stores.sqlite import connect, told

_PAGES = 1_000
_TRIES = 10
_POSITIONS = {
    "checkpoints": "SELECT max(position) FROM checkpoints",
    "progress": "SELECT max(position) FROM progress",
    "messages": "SELECT seq FROM sqlite_sequence WHERE name = 'messages'",
}
"""By the table that tells: up to which inbox id a file has come."""


@contextmanager
def one_moment(
    consumers: Sequence[Path], inbox: Path, first: Callable[[], None] = lambda: None
) -> Iterator[dict[Path, sqlite3.Connection]]:
    """Read transactions on all files, begun within milliseconds, for `copy`.

    The inbox is the last one, so it holds at least what its consumers have seen; and nothing was
    pruned from it meanwhile, so it holds all that they have not. Writers go on; what they write
    stays in the files' journals until the block ends. ``first`` copies a consumer that is no file;
    it is called before the files are opened, perhaps several times. Raises `StoreUnavailable`.
    """
    with told(inbox):
        for _ in range(_TRIES):
            with ExitStack() as open_files:
                with _reading(inbox) as reader:
                    before = _forgotten(reader)
                first()
                found = {p: open_files.enter_context(_reading(p)) for p in (*consumers, inbox)}
                if _forgotten(found[inbox]) == before:
                    yield found
                    return
    raise StoreUnavailable(f"{inbox} is pruned all the time", "try again")


def copy(
    reader: sqlite3.Connection, target: Path, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Write what ``reader`` sees into the new file ``target``; ``progress`` hears the bytes done.

    The copy is not forced to disk. Raises `StoreUnavailable`, for example when the disk is full.
    """
    size = int(reader.execute("PRAGMA page_size").fetchone()[0])

    def tell(_status: int, remaining: int, total: int) -> None:
        progress((total - remaining) * size)

    with told(target), closing(sqlite3.connect(target, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode = OFF")
        writer.execute("PRAGMA synchronous = OFF")
        reader.backup(writer, pages=_PAGES, progress=tell)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a copy holds."""

    rows: dict[str, int]
    """By table."""
    position: int | None
    """The inbox id it has come to: of the inbox, the last one it gave; None if it counts none."""
    owed: int
    """Notifications that have not been sent."""


def facts(file: Path) -> Facts:
    """Look into a copy nobody writes to. Raises `StoreUnavailable` when it cannot be read."""
    with told(file), closing(_still(file)) as database:

        def ask(query: str) -> int:
            row = database.execute(query).fetchone()
            return int(row[0] or 0) if row else 0

        tables = _tables(database)
        return Facts(
            {name: ask(f'SELECT count(*) FROM "{name}"') for name in tables},  # noqa: S608
            next((ask(_POSITIONS[name]) for name in tables if name in _POSITIONS), None),
            ask("SELECT count(*) FROM owed WHERE state = 'owed'") if "owed" in tables else 0,
        )


def check_whole(file: Path) -> None:
    """Raises `PumpwatchError` when SQLite finds the copy damaged."""
    with told(file), closing(_still(file)) as database:
        (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise PumpwatchError(f"{file.name} is damaged ({found})", "use another backup")


@contextmanager
def _reading(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection in a read transaction that has begun."""
    with closing(connect(file, reader=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield reader


def _forgotten(inbox: sqlite3.Connection) -> int:
    """How often something was taken out of the inbox; an older version's is not in use."""
    if "forgotten" not in _tables(inbox):
        return 0
    (times,) = inbox.execute("SELECT times FROM forgotten").fetchone()
    return int(times)


def _still(file: Path) -> sqlite3.Connection:
    """Reading makes no journal beside it."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def _tables(database: sqlite3.Connection) -> list[str]:
    names = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        " ORDER BY name"
    )
    return [name for (name,) in names]
