"""Samples added up by minutes and hours, so that long charts are quick whatever keeps the samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from threading import RLock

import numpy as np

from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import TimeSeriesStore, WriteReceipt
from pumpwatch.domain.samples import LONG_MS, Chunk, Grid, bucket_grid
from pumpwatch.domain.signals import SIGNALS, SignalKind
from pumpwatch.stores.parquet import ParquetFiles, Period
from pumpwatch.stores.rows import EMPTY, buckets, merge, take, within
from pumpwatch.stores.series_sealed import SealedSeries
from pumpwatch.stores.sqlite import connect, told, transaction

SETTLE_MS = DAY_MS
"""A day is added up when it has been over for this long: most late rows come sooner."""
_YEAR_D, _LONGEST_D = 366, 30 * 366
_BEGINNING = -(2**63)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sites (
    number INTEGER PRIMARY KEY, tenant TEXT NOT NULL, site TEXT NOT NULL,
    adopted INTEGER NOT NULL, UNIQUE (tenant, site));
CREATE TABLE IF NOT EXISTS open_days (
    site INTEGER NOT NULL, day INTEGER NOT NULL, PRIMARY KEY (site, day)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS floors (what TEXT PRIMARY KEY, t_ms INTEGER NOT NULL) WITHOUT ROWID;
"""
_HOWS = {
    SignalKind.ANALOG: ("min", "mean", "max", "count"),
    SignalKind.STATE: ("min", "mean", "max", "count", "last"),
    SignalKind.COUNTER: ("min", "mean", "max", "count", "last"),
}
"""What is kept of each bucket. The mean of a state is the share of samples in which it was on; of
states and counters it is also known how the bucket ended."""


class RolledSeries:
    """A `TimeSeriesStore` around another one, ``inner``, whose long charts come from sums.

    Below ``folder`` lie one-minute sums by site and month and one-hour sums by site and year; one row
    a bucket, columns ``{signal}_min`` and so on. They belong to whole UTC days. A day on which something
    was written is *open*: noted in the SQLite file ``path`` before the rows are written, and let go of
    after its sums are on disk. Open days are drawn from the samples themselves, so late rows are
    seen at once; when a day has settled, `upkeep` adds it up (anew). A crash at any point leaves a
    day open that need not be.

    What is older than the retention of samples is frozen: its sums never change again.
    """

    def __init__(self, inner: TimeSeriesStore, path: Path, folder: Path) -> None:
        self.inner, self._path = inner, path
        self._minutes = ParquetFiles(folder / "minutes", "M", self._reopen)
        self._hours = ParquetFiles(folder / "hours", "Y", self._reopen)
        self._writing = RLock()
        """Nothing is written while a day is added up."""
        self._lock = RLock()
        self._notes = connect(path)
        with told(self._path):
            with transaction(self._notes) as notes:
                for statement in _SCHEMA.split(";"):
                    notes.execute(statement)
            self._numbers: dict[SiteKey, int] = {}
            self._adopted: set[SiteKey] = set()
            for number, tenant, site, adopted in self._notes.execute("SELECT * FROM sites"):
                self._numbers[SiteKey(tenant, site)] = number
                if adopted:
                    self._adopted.add(SiteKey(tenant, site))
            by_number = {number: key for key, number in self._numbers.items()}
            self._open: dict[SiteKey, set[int]] = {key: set() for key in self._numbers}
            for number, day in self._notes.execute("SELECT site, day FROM open_days"):
                self._open[by_number[number]].add(day)
            found = self._notes.execute("SELECT what, t_ms FROM floors")
            self._floors: dict[str, int] = dict(found.fetchall())
        self._added_up = 0

    # -- writing -------------------------------------------------------------------------------

    def write(self, batch: Sequence[tuple[SiteKey, Chunk]], position: int) -> WriteReceipt:
        with self._writing:
            days: defaultdict[SiteKey, set[int]] = defaultdict(set)
            for key, chunk in batch:
                days[key].update(np.unique(chunk.t_ms // DAY_MS).tolist())
            self._open_days(days)
            return self.inner.write(batch, position)

    def delete(self, key: SiteKey, start_ms: int, end_ms: int) -> int:
        with self._writing:
            for files in (self._minutes, self._hours):
                for period in files.periods(key):
                    rows = files.load(key, period) or EMPTY
                    day = rows.t_ms // DAY_MS
                    gone = (day >= start_ms // DAY_MS) & (day <= (end_ms - 1) // DAY_MS)
                    if gone.any():
                        self._open_days({key: set(np.unique(day[gone]).tolist())})
                        files.put(key, period, take(rows, ~gone))
            return self.inner.delete(key, start_ms, end_ms)

    def apply_retention(self, before_ms: int) -> int:
        """Forget samples older than ``before_ms``, the beginning of a UTC day, and keep their sums."""
        while self._roll(before_ms):
            pass
        self._raise_floor("samples", before_ms)
        return self.inner.apply_retention(before_ms)

    def retain(self, minutes_before_ms: int | None, hours_before_ms: int | None) -> None:
        """Forget sums that are older; None keeps them all."""
        for what, files, before_ms in (
            ("minutes", self._minutes, minutes_before_ms),
            ("hours", self._hours, hours_before_ms),
        ):
            if before_ms is not None and before_ms > self._floor(what):
                self._raise_floor(what, before_ms)
            for key in files.sites():
                for period in files.periods(key):
                    if period.end_ms <= self._floor(what):
                        files.drop(key, period)

    # -- adding up -----------------------------------------------------------------------------

    def upkeep(self, now_ms: int) -> bool:
        """Add up a month of one site as far as it has settled, or else let the inner store do a piece
        of its own; False when there is nothing more to do."""
        return self._roll((now_ms - SETTLE_MS) // DAY_MS * DAY_MS) or self.inner.upkeep(now_ms)

    def adopt(self, keys: Iterable[SiteKey]) -> None:
        """Find out on which days sites have samples that were written without this store knowing:
        before it was there, or before its file was lost."""
        for key in keys:
            if key not in self._adopted:
                self._open_days({key: self._days_with_samples(key)}, adopted=True)

    def _days_with_samples(self, key: SiteKey) -> set[int]:
        """Looks back year by year until there was nothing for a year."""
        newest = self.inner.latest([key]).get(key)
        days: set[int] = set()
        if newest is None:
            return days
        last = newest[0] // DAY_MS
        days.add(last)
        for behind in range(last + 1, last - _LONGEST_D, -_YEAR_D):
            start_ms, end_ms = (behind - _YEAR_D) * DAY_MS, behind * DAY_MS
            found = self.inner.read_downsampled(key, "level_m", start_ms, end_ms, _YEAR_D)
            if not len(found):
                break
            days.update((found.t_ms // DAY_MS).tolist())
        return days

    def _roll(self, before_ms: int) -> bool:
        """Add up the open days before ``before_ms`` of one site and month; False without any."""
        with self._writing:
            with self._lock:
                waiting = {
                    key: sorted(day for day in days if (day + 1) * DAY_MS <= before_ms)
                    for key, days in self._open.items()
                }
            key, days = next(((k, d) for k, d in waiting.items() if d), (None, []))
            if key is None:
                return False
            month = self._minutes.period(days[0] * DAY_MS)
            days = [day for day in days if day * DAY_MS < month.end_ms]
            rows = self.inner.read_raw(key, days[0] * DAY_MS, (days[-1] + 1) * DAY_MS)
            rows = take(rows, np.isin(rows.t_ms // DAY_MS, days))
            for files, unit in ((self._minutes, MINUTE_MS), (self._hours, HOUR_MS)):
                self._replace(files, key, days, added_up(rows, unit))
            self._close_days(key, days)
            self._added_up += len(days)
        return True

    def _replace(self, files: ParquetFiles, key: SiteKey, days: list[int], sums: Chunk) -> None:
        """Put the sums of these days, all of one period, in the place of what was there."""
        period = files.period(days[0] * DAY_MS)
        older = files.load(key, period) or EMPTY
        rest = take(older, ~np.isin(older.t_ms // DAY_MS, days))
        files.put(key, period, merge([rest, sums]))

    # -- which days are open -------------------------------------------------------------------

    def _open_days(self, days: Mapping[SiteKey, set[int]], *, adopted: bool = False) -> None:
        """Note on disk that these days must be added up (anew). Frozen ones never are."""
        frozen = -(-self._floor("samples") // DAY_MS)
        with self._lock, told(self._path):
            new = {
                key: {day for day in some - self._open.get(key, set()) if day >= frozen}
                for key, some in days.items()
            }
            unknown = new.keys() - self._numbers.keys()
            if not (unknown or adopted or any(new.values())):
                return
            with transaction(self._notes) as notes:
                put = "INSERT OR IGNORE INTO sites (tenant, site, adopted) VALUES (?, ?, 0)"
                notes.executemany(put, unknown)
                if adopted:
                    mark = "UPDATE sites SET adopted = 1 WHERE tenant = ? AND site = ?"
                    notes.executemany(mark, new.keys())
                find = "SELECT number FROM sites WHERE tenant = ? AND site = ?"
                numbers = {key: notes.execute(find, key).fetchone()[0] for key in new}
                notes.executemany(
                    "INSERT OR IGNORE INTO open_days VALUES (?, ?)",
                    [(numbers[key], day) for key in new for day in new[key]],
                )
            self._numbers |= numbers
            if adopted:
                self._adopted.update(new)
            for key, some in new.items():
                self._open.setdefault(key, set()).update(some)

    def _close_days(self, key: SiteKey, days: Iterable[int]) -> None:
        with self._lock, told(self._path):
            with transaction(self._notes) as notes:
                gone = "DELETE FROM open_days WHERE site = ? AND day = ?"
                notes.executemany(gone, [(self._numbers[key], day) for day in days])
            self._open[key].difference_update(days)

    def _reopen(self, key: SiteKey, period: Period) -> None:
        """A file was damaged: what it held is added up anew, as far as there are samples."""
        first, behind = period.start_ms // DAY_MS, period.end_ms // DAY_MS
        self._open_days({key: set(range(first, behind))})

    def _floor(self, what: str) -> int:
        return self._floors.get(what, _BEGINNING)

    def _raise_floor(self, what: str, t_ms: int) -> None:
        with self._lock, told(self._path):
            t_ms = max(t_ms, self._floor(what))
            with transaction(self._notes) as notes:
                notes.execute("INSERT OR REPLACE INTO floors VALUES (?, ?)", (what, t_ms))
            self._floors = self._floors | {what: t_ms}

    # -- reading -------------------------------------------------------------------------------

    def read_downsampled(
        self, key: SiteKey, signal: str, start_ms: int, end_ms: int, points: int
    ) -> Chunk:
        grid = bucket_grid(start_ms, end_ms, points)
        long = end_ms - start_ms > LONG_MS and grid.width_ms % MINUTE_MS == 0
        if not long or signal not in SIGNALS or key not in self._adopted:
            return self.inner.read_downsampled(key, signal, start_ms, end_ms, points)
        hours = grid.width_ms % HOUR_MS == 0 and grid.start_ms % HOUR_MS == 0
        unit = HOUR_MS if hours else MINUTE_MS
        with self._lock:
            still_open = sorted(self._open.get(key, ()))
        sums = self._sums(key, signal, grid, unit, still_open)
        recent = [
            buckets(rows.t_ms, rows.signals[signal], grid.start_ms, unit)
            for span in _spans(still_open, grid)
            if signal in (rows := self.inner.read_raw(key, *span, [signal])).signals
        ]
        return _wider(merge([sums, *recent]), grid)

    def _sums(
        self, key: SiteKey, signal: str, grid: Grid, unit: int, without: Sequence[int]
    ) -> Chunk:
        files, what = (self._hours, "hours") if unit == HOUR_MS else (self._minutes, "minutes")
        hows = {f"{signal}_{how}": how for how in ("min", "mean", "max", "count")}
        found = files.read(key, max(grid.start_ms, self._floor(what)), grid.end_ms, set(hows))
        if f"{signal}_count" not in found.signals:
            return EMPTY
        told = ~np.isnan(found.signals[f"{signal}_count"])
        found = take(found, told & ~np.isin(found.t_ms // DAY_MS, without))
        return Chunk(found.t_ms, {how: found.signals[name] for name, how in hows.items()})

    @property
    def counters(self) -> dict[str, int]:
        """What was done since the store was opened, here and in the inner store."""
        inner = self.inner.counters if isinstance(self.inner, SealedSeries) else {}
        return {**inner, "days_added_up": self._added_up}

    def damage(self) -> list[str]:
        return [*self.inner.damage(), *self._minutes.damage(), *self._hours.damage()]

    def position(self) -> int:
        return self.inner.position()

    def read_raw(
        self,
        key: SiteKey,
        start_ms: int,
        end_ms: int,
        signals: Sequence[str] | None = None,
    ) -> Chunk:
        return self.inner.read_raw(key, start_ms, end_ms, signals)

    def latest(self, keys: Iterable[SiteKey]) -> dict[SiteKey, tuple[int, dict[str, float]]]:
        return self.inner.latest(keys)

    def count(self, key: SiteKey) -> int:
        return self.inner.count(key)

    def close(self) -> None:
        self.inner.close()
        with self._lock:
            self._notes.close()


def added_up(rows: Chunk, width_ms: int) -> Chunk:
    """Samples in buckets of whole minutes or hours, a column ``{signal}_{how}`` for each of `_HOWS`."""
    parts = []
    for name, values in rows.signals.items():
        if name in SIGNALS:
            found = buckets(rows.t_ms, values, 0, width_ms)
            hows = _HOWS[SIGNALS[name].kind] if len(found) else ()
            parts.append(Chunk(found.t_ms, {f"{name}_{how}": found.signals[how] for how in hows}))
    return merge(parts)


def _spans(days: Iterable[int], grid: Grid) -> Iterator[tuple[int, int]]:
    """Stretches of days that follow one another, as far as they lie in the grid."""
    for _, run in groupby(enumerate(days), key=lambda pair: pair[1] - pair[0]):
        some = [day for _, day in run]
        start_ms = max(some[0] * DAY_MS, grid.start_ms)
        end_ms = min((some[-1] + 1) * DAY_MS, grid.end_ms)
        if start_ms < end_ms:
            yield start_ms, end_ms


def _wider(sums: Chunk, grid: Grid) -> Chunk:
    """Small buckets added up to those of the grid."""
    sums = within(sums, grid.start_ms, grid.end_ms)
    if not len(sums):
        return EMPTY
    number = (sums.t_ms - grid.start_ms) // grid.width_ms
    first = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
    count = sums.signals["count"]
    total = np.add.reduceat(sums.signals["mean"] * count, first)
    return Chunk(
        number[first] * grid.width_ms + grid.start_ms,
        {
            "min": np.minimum.reduceat(sums.signals["min"], first),
            "mean": total / np.add.reduceat(count, first),
            "max": np.maximum.reduceat(sums.signals["max"], first),
        },
    )
