"""Samples in one SQLite file, keyed by site and time. A site's rows lie together on disk."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, groupby, repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import WriteReceipt
from pumpwatch.domain.samples import Chunk, bucket_grid
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.stores.rows import EMPTY, kept_rows, total
from pumpwatch.stores.sqlite import connect, told, transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sites (
    number INTEGER PRIMARY KEY, tenant TEXT NOT NULL, site TEXT NOT NULL, UNIQUE (tenant, site));
CREATE TABLE IF NOT EXISTS site_signals (
    site INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (site, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS samples (
    site INTEGER NOT NULL, t_ms INTEGER NOT NULL, PRIMARY KEY (site, t_ms)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS extra (
    site INTEGER NOT NULL, name TEXT NOT NULL, t_ms INTEGER NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (site, name, t_ms)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (
    one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL);
INSERT OR IGNORE INTO progress VALUES (1, 0);
CREATE TABLE IF NOT EXISTS retention (
    one INTEGER PRIMARY KEY CHECK (one = 1), floor_ms INTEGER NOT NULL);
"""
_ORDER = list(SIGNALS)
_PUT_EXTRA = """INSERT INTO extra VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET value = excluded.value WHERE value <> excluded.value"""


class SqliteSeries:
    """`TimeSeriesStore` in the file ``path``: one writing connection, readers beside it.

    A row that is there already counts as a duplicate. Its value for a signal fills a gap in the
    stored row; where both have one and they differ, the later message wins. A gap never erases.
    Rows and position are one durable transaction. New signals of the nomenclature become columns
    when the file is opened. Any thread may write or read at any time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._write_lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._writer = connect(path)
        with told(self._path):
            self._prepare()
            self._numbers = {
                SiteKey(tenant, site): number
                for number, tenant, site in self._writer.execute("SELECT * FROM sites")
            }
            self._signals: dict[int, set[str]] = {n: set() for n in self._numbers.values()}
            for number, name in self._writer.execute("SELECT * FROM site_signals"):
                self._signals[number].add(name)
            found = self._writer.execute("SELECT floor_ms FROM retention").fetchone()
        self.floor_ms: int | None = found[0] if found else None
        """Rows older than this were forgotten and are not taken again."""

    # -- writing -------------------------------------------------------------------------------

    def write(self, batch: Sequence[tuple[SiteKey, Chunk]], position: int) -> WriteReceipt:
        with self._write_lock, told(self._path):
            by_site, refused = kept_rows(batch, self.floor_ms)
            new_numbers: dict[SiteKey, int] = {}
            new_signals: dict[int, set[str]] = {}
            receipts: dict[SiteKey, WriteReceipt] = {}
            with transaction(self._writer):
                for key, chunks in by_site.items():
                    number = self._numbers.get(key)
                    if number is None:
                        number = new_numbers[key] = self._add_site(key)
                    new_signals[number] = self._add_signals(number, chunks)
                    receipts[key] = self._put(number, chunks, refused[key])
                sys.audit("pumpwatch.reached", "record.in_txn")
                self._writer.execute("UPDATE progress SET position = max(position, ?)", (position,))
            # only what is on disk may be remembered
            for number, names in new_signals.items():
                self._signals.setdefault(number, set()).update(names)
            if new_numbers:  # a new dictionary: a reader in another thread keeps the one it has
                self._numbers = self._numbers | new_numbers
        return total(receipts)

    def delete(self, key: SiteKey, start_ms: int, end_ms: int) -> int:
        with self._write_lock, told(self._path):
            number = self._numbers.get(key)
            return 0 if number is None else self._delete(number, start_ms, end_ms)

    def apply_retention(self, before_ms: int) -> int:
        """Forget rows older than ``before_ms``, site by site, so that writes get in between."""
        self.raise_floor(before_ms)
        removed = 0
        for key in self.sites():
            removed += self.delete(key, -(2**63), before_ms)
        return removed

    def raise_floor(self, before_ms: int) -> None:
        """From now on no row older than ``before_ms`` is taken."""
        with self._write_lock, told(self._path):
            floor_ms = max(before_ms, before_ms if self.floor_ms is None else self.floor_ms)
            with transaction(self._writer) as writer:
                writer.execute("INSERT OR REPLACE INTO retention VALUES (1, ?)", (floor_ms,))
            self.floor_ms = floor_ms

    def upkeep(self, now_ms: int) -> bool:
        return False

    def damage(self) -> list[str]:
        return []

    def close(self) -> None:
        """Close every connection, the writer last: it is the one that checkpoints."""
        while self._idle:
            self._idle.pop().close()
        with self._write_lock:
            self._writer.close()

    def _prepare(self) -> None:
        with transaction(self._writer) as writer:
            for statement in _SCHEMA.split(";"):
                writer.execute(statement)
            present = {row[1] for row in writer.execute("PRAGMA table_info(samples)")}
            for name in _ORDER:
                if name not in present:
                    writer.execute(f'ALTER TABLE samples ADD COLUMN "{name}" REAL')

    def _add_site(self, key: SiteKey) -> int:
        put = "INSERT INTO sites (tenant, site) VALUES (?, ?)"
        return int(self._writer.execute(put, (key.tenant, key.site)).lastrowid or 0)

    def _add_signals(self, number: int, chunks: Iterable[Chunk]) -> set[str]:
        """Note which canonical signals the site has: those that ever had a value."""
        known = self._signals.get(number, set())
        new = {
            name
            for chunk in chunks
            for name, values in chunk.signals.items()
            if name in SIGNALS and name not in known and not np.isnan(values).all()
        }
        put = "INSERT OR IGNORE INTO site_signals VALUES (?, ?)"
        self._writer.executemany(put, zip(repeat(number), new))
        return new

    def _put(self, number: int, chunks: Iterable[Chunk], refused: int) -> WriteReceipt:
        stored = rows = 0
        for names, group in groupby(chunks, _known_names):
            same = list(group)
            count = sum(map(len, same))
            insert, fill = _statements(names)
            inserted = self._writer.executemany(insert, _rows(number, same, names)).rowcount
            if inserted < count and names:
                self._writer.executemany(fill, _rows(number, same, names))
            stored, rows = stored + max(inserted, 0), rows + count
            for chunk in same:
                self._put_extra(number, chunk)
        return WriteReceipt(stored, rows - stored, refused)

    def _put_extra(self, number: int, chunk: Chunk) -> None:
        for name in chunk.signals.keys() - SIGNALS.keys():
            there = ~np.isnan(chunk.signals[name])
            t_ms, values = chunk.t_ms[there].tolist(), chunk.signals[name][there].tolist()
            self._writer.executemany(_PUT_EXTRA, zip(repeat(number), repeat(name), t_ms, values))

    def _delete(self, number: int, start_ms: int, end_ms: int) -> int:
        span = (number, start_ms, end_ms)
        with transaction(self._writer) as writer:
            writer.execute("DELETE FROM extra WHERE site = ? AND t_ms >= ? AND t_ms < ?", span)
            gone = writer.execute(
                "DELETE FROM samples WHERE site = ? AND t_ms >= ? AND t_ms < ?", span
            )
        return gone.rowcount

    # -- reading -------------------------------------------------------------------------------

    def sites(self) -> list[SiteKey]:
        """The sites that ever had rows here."""
        return list(self._numbers)

    def signals(self, key: SiteKey) -> set[str]:
        """The signals of the nomenclature that the site ever had a value of."""
        number = self._numbers.get(key)
        return set() if number is None else set(self._signals[number])

    def others(self, key: SiteKey) -> list[str]:
        """The signals outside the nomenclature that its rows here have values of."""
        with self._reading() as reader:
            found = reader.execute(
                "SELECT DISTINCT name FROM extra WHERE site = ?", (self._numbers.get(key),)
            )
            return [name for (name,) in found]

    def span(self, key: SiteKey) -> tuple[int, int] | None:
        """Times of the oldest and of the newest row; None without rows."""
        # two questions, for each of which SQLite goes straight to one end of the index
        query = (
            "SELECT (SELECT min(t_ms) FROM samples WHERE site = ?1),"
            " (SELECT max(t_ms) FROM samples WHERE site = ?1)"
        )
        with self._reading() as reader:
            first, last = reader.execute(query, (self._numbers.get(key),)).fetchone()
        return None if first is None else (first, last)

    def position(self) -> int:
        with self._reading() as reader:
            return int(reader.execute("SELECT position FROM progress").fetchone()[0])

    def read_raw(
        self,
        key: SiteKey,
        start_ms: int,
        end_ms: int,
        signals: Sequence[str] | None = None,
    ) -> Chunk:
        number = self._numbers.get(key)
        if number is None:
            return EMPTY
        has = self._signals[number]
        names = [name for name in _ORDER if name in has and (signals is None or name in signals)]
        columns = "".join(f', "{name}"' for name in names)
        with self._reading() as reader:
            rows = reader.execute(
                f"SELECT t_ms{columns} FROM samples WHERE site = ? AND t_ms >= ? AND t_ms < ?"  # noqa: S608
                " ORDER BY t_ms",
                (number, int(start_ms), int(end_ms)),
            ).fetchall()
            t_ms, table = _columns(rows, 1 + len(names))
            found = {name: table[i] for i, name in enumerate(names)}
            for name in sorted(set(signals or ()) - SIGNALS.keys()):
                found |= _read_extra(reader, number, name, t_ms)
        return Chunk(t_ms, found)

    def read_downsampled(
        self, key: SiteKey, signal: str, start_ms: int, end_ms: int, points: int
    ) -> Chunk:
        number = self._numbers.get(key)
        if number is None or signal not in SIGNALS:
            return EMPTY
        start_ms, end_ms, width = bucket_grid(int(start_ms), int(end_ms), points)
        with self._reading() as reader:
            rows = reader.execute(
                f'SELECT (t_ms - ?) / ? * ? + ?, min("{signal}"), avg("{signal}"), max("{signal}")'  # noqa: S608
                f' FROM samples WHERE site = ? AND t_ms >= ? AND t_ms < ? AND "{signal}" IS NOT NULL'
                " GROUP BY 1 ORDER BY 1",
                (start_ms, width, width, start_ms, number, start_ms, end_ms),
            ).fetchall()
        t_ms, table = _columns(rows, 4)
        return Chunk(t_ms, dict(zip(("min", "mean", "max"), table, strict=True)))

    def latest(self, keys: Iterable[SiteKey]) -> dict[SiteKey, tuple[int, dict[str, float]]]:
        names = ", ".join(f'"{name}"' for name in _ORDER)
        newest = f"SELECT t_ms, {names} FROM samples WHERE site = ? ORDER BY t_ms DESC LIMIT 1"  # noqa: S608
        found = {}
        numbers = self._numbers
        with self._reading() as reader:
            for key in keys:
                row = reader.execute(newest, (numbers.get(key),)).fetchone()
                if row is not None:
                    values = zip(_ORDER, row[1:], strict=True)
                    found[key] = row[0], {name: v for name, v in values if v is not None}
        return found

    def count(self, key: SiteKey) -> int:
        with self._reading() as reader:
            count = "SELECT count(*) FROM samples WHERE site = ?"
            return int(reader.execute(count, (self._numbers.get(key),)).fetchone()[0])

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent view, on a connection that nobody else reads with meanwhile."""
        try:
            reader = self._idle.pop()
        except IndexError:
            reader = connect(self._path, reader=True)
        try:
            with told(self._path):
                reader.execute("BEGIN")
                yield reader
        finally:
            if reader.in_transaction:
                reader.execute("ROLLBACK")
            self._idle.append(reader)


def _known_names(chunk: Chunk) -> tuple[str, ...]:
    return tuple(name for name in _ORDER if name in chunk.signals)


def _rows(number: int, chunks: Iterable[Chunk], names: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """Rows to bind. SQLite itself stores a NaN as NULL."""
    return chain.from_iterable(
        zip(repeat(number), c.t_ms.tolist(), *(c.signals[name].tolist() for name in names))
        for c in chunks
    )


def _statements(names: Sequence[str]) -> tuple[str, str]:
    """Insert what is new, and fill or correct what is there without touching what is equal."""
    columns = "".join(f', "{name}"' for name in names)
    marks = ", ?" * len(names)
    insert = f"INSERT INTO samples (site, t_ms{columns}) VALUES (?, ?{marks}) ON CONFLICT DO"  # noqa: S608
    new = ", ".join(f'"{name}" = coalesce(excluded."{name}", "{name}")' for name in names)
    differs = " OR ".join(
        f'(excluded."{name}" IS NOT NULL AND excluded."{name}" IS NOT "{name}")' for name in names
    )
    return f"{insert} NOTHING", f"{insert} UPDATE SET {new} WHERE {differs}"


def _columns(
    rows: list[tuple[Any, ...]], width: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The first column as int64 and the others as (width - 1, n) float64, NULL as NaN.

    Epoch milliseconds pass through a float64 unharmed: they are far below 2**53.
    """
    table = np.array(rows, dtype=np.float64).reshape(len(rows), width).T
    return table[0].astype(np.int64), np.ascontiguousarray(table[1:])


def _read_extra(
    reader: sqlite3.Connection, number: int, name: str, t_ms: NDArray[np.int64]
) -> Mapping[str, NDArray[np.float64]]:
    """Values of a signal outside the nomenclature at the rows' times; nothing if it has none."""
    if not len(t_ms):
        return {}
    rows = reader.execute(
        "SELECT t_ms, value FROM extra WHERE site = ? AND name = ? AND t_ms BETWEEN ? AND ?",
        (number, name, int(t_ms[0]), int(t_ms[-1])),
    ).fetchall()
    if not rows:
        return {}
    at, table = _columns(rows, 2)
    values = np.full(len(t_ms), np.nan)
    # every value beside has its row: both were written together
    values[np.searchsorted(t_ms, at)] = table[0]
    return {name: values}
