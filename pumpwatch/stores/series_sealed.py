"""The embedded time series: new rows in SQLite, older ones sealed into Parquet files, read as one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import RLock

import numpy as np
import structlog
from numpy.typing import NDArray

from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import WriteReceipt
from pumpwatch.domain.samples import Chunk, bucket_grid
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.stores.parquet import ParquetFiles, Period
from pumpwatch.stores.rows import (
    EMPTY,
    band,
    joined,
    kept_rows,
    merge,
    take,
    total,
    within,
)
from pumpwatch.stores.series_sqlite import SqliteSeries

log = structlog.get_logger(__name__)

HOT_MS = DAY_MS
"""A row stays in SQLite until its UTC day has been over for this long: most late rows come sooner."""
_BEGINNING = -(2**63)


class SealedSeries:
    """`TimeSeriesStore` in the SQLite file ``path`` and in Parquet files below ``folder``.

    Every write goes to SQLite. `upkeep` seals: it puts the older rows of one site and month into
    that month's file and then takes them out of SQLite. A crash in between leaves them in both,
    which reads as one. Rows that come for a sealed time go to SQLite, are read over the file's, and
    are merged into it at the next sealing; those that say nothing new are dropped at once.

    The newest row of a site is never sealed, so nothing in a file is newer than what SQLite has.
    A damaged file is set aside and named in `damage`; everything else goes on.
    """

    def __init__(self, path: Path, folder: Path) -> None:
        self._hot, self._files = SqliteSeries(path), ParquetFiles(folder)
        self._lock = RLock()
        self._ends: dict[SiteKey, int] = {}
        """By site, the time behind its last sealed row; filled as it is asked for."""
        self.counters = {"rows_sealed": 0, "files_sealed": 0}

    # -- writing -------------------------------------------------------------------------------

    def write(self, batch: Sequence[tuple[SiteKey, Chunk]], position: int) -> WriteReceipt:
        with self._lock:
            by_site, refused = kept_rows(batch, self._hot.floor_ms)
            hot: list[tuple[SiteKey, Chunk]] = []
            known: dict[SiteKey, int] = {}
            for key, chunks in by_site.items():
                news, known[key] = self._news(key, chunks)
                hot += [(key, chunk) for chunk in news]
            receipt = self._hot.write(hot, position)
        receipts = {}
        for key, chunks in by_site.items():
            stored = receipt.by_site[key].stored - known[key]
            receipts[key] = WriteReceipt(stored, sum(map(len, chunks)) - stored, refused[key])
        return total(receipts)

    def _news(self, key: SiteKey, chunks: list[Chunk]) -> tuple[list[Chunk], int]:
        """The rows to write, and how many of them SQLite will take for new though they are sealed."""
        end_ms = self._end(key)
        if not any(len(chunk) and int(chunk.t_ms.min()) < end_ms for chunk in chunks):
            return chunks, 0
        late = merge([take(chunk, chunk.t_ms < end_ms) for chunk in chunks])
        first, behind = int(late.t_ms[0]), int(late.t_ms[-1]) + 1
        corrected = np.isin(late.t_ms, self._hot.read_raw(key, first, behind, ()).t_ms)
        sealed = self._files.read(key, first, behind, set(late.signals))
        there, same = _compare(late, sealed)
        news = take(late, ~same | corrected)
        recent = [take(chunk, chunk.t_ms >= end_ms) for chunk in chunks]
        return [news, *recent], int((there & ~same & ~corrected).sum())

    def delete(self, key: SiteKey, start_ms: int, end_ms: int) -> int:
        with self._lock:
            gone = [self._hot.read_raw(key, start_ms, end_ms, ()).t_ms]
            for period in self._overlapping(key, start_ms, end_ms):
                rows = self._files.load(key, period) or EMPTY
                inside = (rows.t_ms >= start_ms) & (rows.t_ms < end_ms)
                gone.append(rows.t_ms[inside & (rows.t_ms >= self._floor())])
                if inside.any():
                    self._files.put(key, period, take(rows, ~inside))
            self._hot.delete(key, start_ms, end_ms)
            self._ends.pop(key, None)
        return len(np.unique(np.concatenate(gone)))

    def apply_retention(self, before_ms: int) -> int:
        """Forget rows older than ``before_ms``, site by site, so that writes get in between.

        They are hidden at once; a file goes when all of its period is that old.
        """
        was = self._floor()
        self._hot.raise_floor(before_ms)
        removed = 0
        for key in sorted({*self._hot.sites(), *self._files.sites()}):
            with self._lock:
                gone = [self._hot.read_raw(key, _BEGINNING, before_ms, ()).t_ms]
                for period in self._overlapping(key, _BEGINNING, before_ms):
                    if was < before_ms:
                        rows = self._files.load(key, period, ()) or EMPTY
                        gone.append(within(rows, was, before_ms).t_ms)
                    if period.end_ms <= before_ms:
                        self._files.drop(key, period)
                self._hot.delete(key, _BEGINNING, before_ms)
                self._ends.pop(key, None)
            removed += len(np.unique(np.concatenate(gone)))
        return removed

    def _floor(self) -> int:
        return _BEGINNING if self._hot.floor_ms is None else self._hot.floor_ms

    def _end(self, key: SiteKey) -> int:
        end_ms = self._ends.get(key)
        if end_ms is None:
            with self._lock:  # or a sealing that goes on would be forgotten again
                end_ms = self._ends.setdefault(key, self._sealed_end(key))
        return end_ms

    def _sealed_end(self, key: SiteKey) -> int:
        for period in reversed(self._files.periods(key)):
            rows = self._files.load(key, period, ())
            if rows is not None:
                return int(rows.t_ms[-1]) + 1
        return _BEGINNING

    def _overlapping(self, key: SiteKey, start_ms: int, end_ms: int) -> list[Period]:
        return [
            period
            for period in self._files.periods(key)
            if period.start_ms < end_ms and start_ms < period.end_ms
        ]

    # -- sealing -------------------------------------------------------------------------------

    def upkeep(self, now_ms: int) -> bool:
        """Seal a piece of what is old enough; False when there is nothing more to do."""
        return self.seal((now_ms - HOT_MS) // DAY_MS * DAY_MS)

    def seal(self, before_ms: int) -> bool:
        """Seal rows older than ``before_ms`` of one site and month; False when there are none.

        Writes wait meanwhile. Raises `StoreUnavailable` when the disk refuses: nothing is lost then.
        """
        with self._lock:
            for key in self._hot.sites():
                first, last = self._hot.span(key) or (0, 0)
                if first < min(before_ms, last):
                    self._seal(key, first, min(before_ms, last))
                    return True
        return False

    def _seal(self, key: SiteKey, first_ms: int, before_ms: int) -> None:
        period = self._files.period(first_ms)
        before_ms = min(before_ms, period.end_ms)
        names = [*SIGNALS, *self._hot.others(key)]
        rows = self._hot.read_raw(key, first_ms, before_ms, names)
        older = self._files.load(key, period)
        self._files.put(key, period, joined([older, rows] if older else [rows]))
        # only now that the file is on disk
        self._hot.delete(key, _BEGINNING, before_ms)
        self._ends[key] = max(self._end(key), int(rows.t_ms[-1]) + 1)
        self.counters["rows_sealed"] += len(rows)
        self.counters["files_sealed"] += 1

    def damage(self) -> list[str]:
        return self._files.damage()

    def close(self) -> None:
        self._hot.close()

    # -- reading -------------------------------------------------------------------------------

    def position(self) -> int:
        return self._hot.position()

    def read_raw(
        self,
        key: SiteKey,
        start_ms: int,
        end_ms: int,
        signals: Sequence[str] | None = None,
    ) -> Chunk:
        start_ms = max(start_ms, self._floor())
        # SQLite before the files: rows that are sealed meanwhile are seen twice, never not at all
        hot = self._hot.read_raw(key, start_ms, end_ms, signals)
        asked = set(SIGNALS if signals is None else signals)
        sealed = self._files.read(key, start_ms, end_ms, asked)
        rows = joined([sealed, hot])
        columns = {name: rows.signals[name] for name in sorted(rows.signals.keys() - SIGNALS)}
        missing = np.full(len(rows), np.nan)
        has = self._hot.signals(key) & asked
        known = {n: rows.signals.get(n, missing) for n in SIGNALS if n in has or n in rows.signals}
        return Chunk(rows.t_ms, known | columns)

    def read_downsampled(
        self, key: SiteKey, signal: str, start_ms: int, end_ms: int, points: int
    ) -> Chunk:
        if signal not in SIGNALS:
            return EMPTY
        grid = bucket_grid(start_ms, end_ms, points)
        return band(self.read_raw(key, grid.start_ms, grid.end_ms, [signal]), signal, grid)

    def latest(self, keys: Iterable[SiteKey]) -> dict[SiteKey, tuple[int, dict[str, float]]]:
        keys = list(keys)
        found = self._hot.latest(keys)
        for key in keys:
            end_ms = self._end(key)
            # rows were deleted: else the newest is in SQLite
            if end_ms > self._floor() and (key not in found or found[key][0] < end_ms):
                row = self.read_raw(key, end_ms - 1, end_ms)
                values = {name: float(column[0]) for name, column in row.signals.items()}
                found[key] = end_ms - 1, {n: v for n, v in values.items() if v == v}
        return found

    def count(self, key: SiteKey) -> int:
        found = self._hot.count(key)
        for period in self.periods(key):
            rows = self._files.load(key, period, ()) or EMPTY
            sealed = rows.t_ms[rows.t_ms >= self._floor()]
            corrected = self._hot.read_raw(key, period.start_ms, period.end_ms, ()).t_ms
            found += int((~np.isin(sealed, corrected)).sum())
        return found

    def periods(self, key: SiteKey) -> list[Period]:
        return self._files.periods(key)


def _compare(late: Chunk, sealed: Chunk) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """For each row of ``late``: is it sealed already, and does it say nothing that is not sealed."""
    there = np.isin(late.t_ms, sealed.t_ms)
    at = np.searchsorted(sealed.t_ms, late.t_ms[there])
    same = there.copy()
    for name, values in late.signals.items():
        new = values[there]
        old = sealed.signals[name][at] if name in sealed.signals else np.full(len(at), np.nan)
        same[there] &= np.isnan(new) | (new == old)
    return there, same
