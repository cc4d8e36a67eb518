"""Samples copied from an old store into the one in use, while a hub may be writing to that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

from pumpwatch.app.datadir import DataDir, write_whole
from pumpwatch.app.series import described, open_server, own_series
from pumpwatch.app.settings import SeriesSettings
from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.errors import Conflict
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import SiteBook, TimeSeriesStore
from pumpwatch.services.extract import EARLIEST_MS, backwards, told_beside

Progress = Callable[[str, float], None]
"""What is being copied, and the share of stations that is done."""

_AHEAD_MS = 2**62


@dataclass
class Copied:
    """Rows of one site in this run: read, new in the new store, there already, not taken."""

    rows: int = 0
    stored: int = 0
    there: int = 0
    refused: int = 0


class Copying:
    """One copy. How far each site has come is kept in the directory until everything is copied.

    Stations are those of the ledger and those that ever announced themselves. What follows the new
    store is kept in a file of the copy's own: the hub's has one writer.
    """

    def __init__(
        self, directory: DataDir, old: SeriesSettings, new: SeriesSettings, book: SiteBook
    ) -> None:
        if described(old) == described(new):
            raise Conflict(
                f"samples are in {described(new)} already", "name the store they were in before"
            )
        self._directory, self._old, self._new, self._book = directory, old, new, book
        self._notes = directory.path / "series-copy.db"
        self._marks = directory.path / "series_copy"
        self._title = f"{described(old)} to {described(new)}"

    def run(self, now_ms: int, progress: Progress) -> dict[SiteKey, Copied]:
        """Copy everything. Raises `StoreUnavailable`, after which it may be run again."""
        beside = told_beside(self._book)
        keys = sorted(self._book.sites().keys() | beside.keys())
        done = self._read_marks()
        told: dict[SiteKey, Copied] = {}
        with ExitStack() as stack:
            old = stack.enter_context(closing(self._open_old()))
            new, secure = self._open_new(stack)
            for number, key in enumerate(keys):
                told[key] = Copied()
                up_to_ms = done.get(str(key), _AHEAD_MS)
                for begin_ms in self._site(old, new, key, up_to_ms, beside.get(key, []), told[key]):
                    back = iso_utc(min(begin_ms, now_ms))[:10]
                    progress(f"{key} back to {back}", number / len(keys))
                    self._write_marks(done | {str(key): begin_ms})
                done[str(key)] = EARLIEST_MS
                self._write_marks(done)
            secure()
        self._forget()
        progress("copied", 1.0)
        return told

    def _site(
        self,
        old: TimeSeriesStore,
        new: TimeSeriesStore,
        key: SiteKey,
        up_to_ms: int,
        beside: list[str],
        told: Copied,
    ) -> Iterator[int]:
        """Copy a site, newest rows first; yields how far back it has come."""
        for begin_ms, rows in backwards(old, key, EARLIEST_MS, up_to_ms, beside):
            if len(rows):
                receipt = new.write([(key, rows)], 0)
                told.rows += len(rows)
                told.stored += receipt.stored
                told.there += receipt.duplicates
                told.refused += receipt.rejected
            yield begin_ms

    # -- inside --------------------------------------------------------------------------------

    def _open_old(self) -> TimeSeriesStore:
        if self._old.engine == "sqlite":
            return own_series(self._directory)
        return open_server(self._old, self._directory.series_sink, reader=True)

    def _open_new(self, stack: ExitStack) -> tuple[TimeSeriesStore, Callable[[], None]]:
        """The store, and what makes sure that everything is on its disk."""
        if self._new.engine == "sqlite":
            stack.enter_context(self._directory.locked())  # these files have one writer
            own = stack.enter_context(closing(own_series(self._directory)))
            return own, lambda: None
        server = stack.enter_context(closing(open_server(self._new, self._notes)))
        return server, server.secure

    def _read_marks(self) -> dict[str, int]:
        """How far back each site was copied by an earlier run of the same copy."""
        if not self._marks.is_file():
            return {}
        told = json.loads(self._marks.read_text())
        if told["copy"] != self._title:
            raise Conflict(
                f"a copy from {told['copy']} was not finished",
                f"finish it, or give it up by deleting {self._marks}",
            )
        return {str(key): int(at_ms) for key, at_ms in told["done"].items()}

    def _write_marks(self, done: dict[str, int]) -> None:
        write_whole(self._marks, json.dumps({"copy": self._title, "done": done}))

    def _forget(self) -> None:
        self._marks.unlink(missing_ok=True)
        for path in self._directory.path.glob(f"{self._notes.name}*"):
            path.unlink()
