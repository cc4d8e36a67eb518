"""Columns by site and period in Parquet files that any tool opens, replaced whole or not at all.

``{folder}/tenant={tenant}/site={site}/{period}.parquet``: one file for each site and calendar period
(UTC), sorted by time. The directory names are Hive's, so DuckDB, Polars, Spark and pandas read
tenant and site as columns. The column ``time`` is a timestamp in UTC, delta encoded; every signal is a
double with nulls, by dictionary where it has few different values (what panels send has two or
three digits behind the point); all is zstd. The footer's metadata hold a digest of all other bytes.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from numpy.typing import NDArray

from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey, check_id
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.stores.rows import joined, within

log = structlog.get_logger(__name__)

TIME = "time"
DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, UnicodeError)
"""What reading raises when the content of a file is not what was written."""
_DIGEST, _DIGITS = "pumpwatch-blake2b", 32
_SUFFIX = ".parquet"
_DAMAGED = ".damaged"
_OTHER = "other/"
"""Before the name of a signal that would be taken for ``time``."""


class Period(NamedTuple):
    """A calendar month or year in UTC: start_ms <= t < end_ms."""

    name: str
    start_ms: int
    end_ms: int


class ParquetFiles:
    """The files below ``folder``, one for each site and ``unit`` (a month or a year).

    Any thread and any process may read; one process writes. A file that cannot be understood is set
    aside under another name (``.damaged``) and counts as absent from then on; ``lost`` hears of it just
    before. Every method raises `StoreUnavailable` when the disk refuses.
    """

    def __init__(
        self,
        folder: Path,
        unit: Literal["M", "Y"] = "M",
        lost: Callable[[SiteKey, Period], None] = lambda key, period: None,
    ) -> None:
        self._folder, self._unit, self._lost = folder, unit, lost
        self._aside_lock = threading.Lock()
        self._aside = set(folder.glob(f"*/*/*{_DAMAGED}"))

    def damage(self) -> list[str]:
        """A line for each file that was set aside and is still there."""
        return [
            f"{path} is damaged and was set aside: put {path.stem.rpartition('.')[0]} of a backup in"
            " its place, and delete it"
            for path in sorted(self._aside)
            if path.exists()
        ]

    # -- which there are -----------------------------------------------------------------------

    def period(self, t_ms: int) -> Period:
        """The period that ``t_ms`` lies in."""
        return _span(np.datetime64(int(t_ms), "ms").astype(f"M8[{self._unit}]"))

    def periods(self, key: SiteKey) -> list[Period]:
        """Those of the site that have a file, in order."""
        return sorted(self._periods(key), key=lambda period: period.start_ms)

    def sites(self) -> Iterator[SiteKey]:
        """The sites that have a folder."""
        for folder in sorted(self._folder.glob("tenant=*/site=*")):
            tenant, site = folder.parent.name, folder.name
            yield SiteKey(tenant.removeprefix("tenant="), site.removeprefix("site="))

    def _periods(self, key: SiteKey) -> Iterator[Period]:
        try:
            paths = list(self._site(key).iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise _refused(self._site(key), error) from error
        for path in paths:
            if path.suffix == _SUFFIX and not path.name.startswith("."):
                try:
                    yield _span(np.datetime64(path.stem, self._unit))
                except ValueError:  # somebody else's file
                    continue

    def _site(self, key: SiteKey) -> Path:
        tenant, site = check_id(key.tenant, "tenant"), check_id(key.site, "site")
        return self._folder / f"tenant={tenant}" / f"site={site}"

    def _path(self, key: SiteKey, period: Period) -> Path:
        return self._site(key) / f"{period.name}{_SUFFIX}"

    # -- reading -------------------------------------------------------------------------------

    def read(
        self, key: SiteKey, start_ms: int, end_ms: int, names: Collection[str] | None = None
    ) -> Chunk:
        """Rows with start_ms <= t < end_ms in time order, with the signals that have a value
        somewhere in the periods; of ``names`` if given."""
        parts = []
        for period in self.periods(key):
            if period.start_ms < end_ms and start_ms < period.end_ms:
                whole = self.load(key, period, names)
                parts.append(within(whole, start_ms, end_ms) if whole else None)
        return joined([part for part in parts if part is not None])

    def load(
        self, key: SiteKey, period: Period, names: Collection[str] | None = None
    ) -> Chunk | None:
        """All rows of one file; None when it is not there or damaged."""
        path = self._path(key, period)
        try:
            with path.open("rb") as file:
                number, content = os.fstat(file.fileno()).st_ino, file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(path, error) from error
        try:
            return _decode(content, names)
        except DAMAGE as error:
            self._set_aside(key, period, number, error)
            return None

    def _set_aside(self, key: SiteKey, period: Period, number: int, error: Exception) -> None:
        """Rename the file out of the way, unless it was replaced by another one meanwhile."""
        path = self._path(key, period)
        aside = path.with_name(f"{path.name}.{number}{_DAMAGED}")
        with self._aside_lock:
            try:
                if path.stat().st_ino != number:
                    return
                self._lost(key, period)
                path.rename(aside)
            except FileNotFoundError:
                return
            except OSError as reason:
                # it may not be ours to rename: it is passed over all the same
                log.warning("damaged_file_stays", path=str(path), reason=str(reason))
                return
            self._aside = self._aside | {aside}
        why = f"{type(error).__name__}: {error}"
        log.error("file_set_aside", path=str(path), aside=aside.name, reason=why)

    def extent(self, key: SiteKey) -> tuple[int, int] | None:
        """The times of the site's first and last row [ms], read from footers and nothing set aside; None
        without files, or where these cannot be read."""
        periods = self.periods(key)
        if not periods:
            return None
        try:
            first_ms, _ = _times(self._path(key, periods[0]))
            _, last_ms = _times(self._path(key, periods[-1]))
        except DAMAGE:
            return None
        return first_ms, last_ms

    # -- writing -------------------------------------------------------------------------------

    def put(self, key: SiteKey, period: Period, chunk: Chunk) -> None:
        """Put the file of the period in place, or replace it: beside, to disk, rename, the folder to
        disk. The rows are in order, each time once. No rows: the file goes."""
        if not len(chunk):
            return self.drop(key, period)
        path = self._path(key, period)
        beside = path.with_name(f".{path.name}")  # left over from a crash, the next one replaces it
        content = _encode(key, chunk)
        try:
            _make(path.parent)
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            _settle(path.parent)
        except OSError as error:
            raise _refused(path, error) from error
        return None

    def drop(self, key: SiteKey, period: Period) -> None:
        """Remove the file of the period, if there is one."""
        path = self._path(key, period)
        try:
            path.unlink(missing_ok=True)
            if path.parent.is_dir():
                _settle(path.parent)
        except OSError as error:
            raise _refused(path, error) from error


def _span(date: np.datetime64) -> Period:
    start, end = (int(d.astype("M8[ms]").astype(np.int64)) for d in (date, date + 1))
    return Period(str(date), start, end)


def _encode(key: SiteKey, chunk: Chunk) -> bytes:
    columns, fields = [], []
    for name in sorted(chunk.signals, key=_rank):
        if np.isnan(chunk.signals[name]).all():
            continue
        column = np.ascontiguousarray(chunk.signals[name], np.float64)
        columns.append(pa.array(column, pa.float64(), from_pandas=True))
        fields.append(_field(name))
    t_ms = np.ascontiguousarray(chunk.t_ms, np.int64)
    time = pa.array(t_ms, pa.int64()).cast(pa.timestamp("ms", tz="UTC"))
    about = {"tenant": key.tenant, "site": key.site, _DIGEST: "0" * _DIGITS}
    schema = pa.schema([pa.field(TIME, time.type, nullable=False), *fields], metadata=about)
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.Table.from_arrays([time, *columns], schema=schema),
        sink,
        compression="zstd",
        compression_level=3,
        use_dictionary=[field.name for field in fields],
        column_encoding={TIME: "DELTA_BINARY_PACKED"},
    )
    content = bytearray(sink.getvalue())
    at = _digest_at(content)
    content[at : at + _DIGITS] = _digest(content)
    return bytes(content)


def _digest_at(content: bytes | bytearray) -> int:
    """Where the digest stands in the footer: behind its name, the value's mark and its length."""
    found = content.rfind(_DIGEST.encode())
    at = found + len(_DIGEST) + 2
    if found < 0 or at + _DIGITS > len(content):
        raise ValueError("it has no digest")
    return at


def _digest(content: bytes | bytearray) -> bytes:
    """Of everything else; Parquet's own checksums leave the footer out."""
    at = _digest_at(content)
    digest = hashlib.blake2b(memoryview(content)[:at], digest_size=_DIGITS // 2)
    digest.update(memoryview(content)[at + _DIGITS :])
    return digest.hexdigest().encode()


def _field(name: str) -> pa.Field:
    if name in SIGNALS:
        return pa.field(name, pa.float64(), metadata={"unit": SIGNALS[name].unit})
    taken = name == TIME or name.startswith(_OTHER)
    return pa.field(_OTHER + name if taken else name, pa.float64())


def _rank(name: str) -> tuple[int, str]:
    return (_ORDER.get(name, len(_ORDER)), name)


_ORDER = {name: i for i, name in enumerate(SIGNALS)}


def _decode(content: bytes, names: Collection[str] | None) -> Chunk:
    """Raises one of `DAMAGE` when the content is not what was written."""
    at = _digest_at(content)
    if content[at : at + _DIGITS] != _digest(content):
        raise ValueError("it does not match its digest")
    file = pq.ParquetFile(pa.BufferReader(content))
    columns = {column: column.removeprefix(_OTHER) for column in file.schema_arrow.names}
    del columns[TIME]
    if names is not None:
        columns = {column: name for column, name in columns.items() if name in names}
    table = file.read([TIME, *columns], use_threads=False)
    t_ms: NDArray[np.int64] = table[TIME].cast(pa.int64()).to_numpy()
    if len(t_ms) != file.metadata.num_rows or not (np.diff(t_ms) > 0).all():
        raise ValueError("its times are not in order")
    return Chunk(
        t_ms,
        {
            name: table[column].to_numpy().astype(np.float64, copy=False)
            for column, name in columns.items()
        },
    )


def _times(path: Path) -> tuple[int, int]:
    """The first and the last time of a file [ms]. Raises one of `DAMAGE`."""
    about = pq.read_metadata(path)
    times = [about.row_group(n).column(0).statistics for n in range(about.num_row_groups)]
    return round(times[0].min.timestamp() * 1000), round(times[-1].max.timestamp() * 1000)


def _make(folder: Path) -> None:
    """The folder is there, and on disk."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True, mode=0o750)
        _settle(folder.parent)


def _settle(folder: Path) -> None:
    """A rename in it is on disk when this returns."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _refused(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path} cannot be used ({error.strerror or error})",
        "check that the disk is there, writable and not full; it is tried again",
    )
