"""A recorded site folder as a source: at the speed of life, faster, or as fast as it is taken."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
import math
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from pumpwatch_edge.errors import InvalidMessage, SourceError
from pumpwatch_edge.message import MAX_TIME_MS, check_id, check_signal
from pumpwatch_edge.source import Edge, Reading, describe

DATA_FILES = ("data.csv", "data.csv.gz", "data.csv.xz", "data.parquet")
HOPELESS_ROWS = 100
"""So many bad rows before the first good one condemn the file."""


class ReplaySource:
    """A folder with ``site.json`` and ``data.csv`` (or .csv.gz, .csv.xz, .parquet).

    ``speed`` is 1 for the pace of life, n for n times faster, 0 or None for as fast as `poll` is
    called; the pace counts from the first poll and the first row. Rows come in the file's order,
    repeated and unordered ones too: the hub knows duplicates. A row that cannot be read is left
    out, counted in ``bad_rows`` and described in ``problems`` (the first ten). A recording has
    samples, not edges. Raises `SourceError` for a folder that cannot be replayed at all.
    """

    def __init__(self, folder: Path | str, speed: float | None = 1.0) -> None:
        if speed is not None and not (math.isfinite(speed) and speed >= 0):
            raise SourceError(f"speed {speed} cannot be used", "give 0 (no limit) or more")
        self.folder = Path(folder)
        self.speed = speed or None
        self.about = _site_json(self.folder)
        self.site = str(self.about["site"])
        self.period_s = _period_s(self.about)
        self.bad_rows = 0
        self.problems: list[str] = []
        self.finished = False
        self._file = _data_file(self.folder)
        self._handle: Any = None
        self._rows = self._guarded(self._read())
        self._error: SourceError | None = None
        self._origin: tuple[int, int] | None = None
        self.signals: dict[str, dict[str, object]] = {}
        self._next = next(self._rows, None)
        if self._next is None:
            if self._error:
                raise self._error
            problem = self.problems[0] if self.problems else f"{self._file}: holds no rows"
            raise SourceError(problem, "record at least one row with ts and level_m")

    def poll(self, now_ms: int, limit: int) -> list[Reading | Edge]:
        """The rows due at ``now_ms``, at most ``limit``."""
        if self._next is None:
            return self._end()
        taken: list[Reading | Edge] = []
        if self.speed is None:
            taken = [self._next, *islice(self._rows, limit - 1)]
            self._next = next(self._rows, None)
        else:
            if self._origin is None:
                self._origin = (now_ms, self._next.t_ms)
            now0, row0 = self._origin
            until_ms = row0 + (now_ms - now0) * self.speed
            while self._next is not None and self._next.t_ms <= until_ms and len(taken) < limit:
                taken.append(self._next)
                self._next = next(self._rows, None)
        self.finished = self._next is None and self._error is None
        return taken

    def resume(self, rows: int) -> None:
        """Leave out the first ``rows`` rows: an outbox took them before this start."""
        while rows > 0 and self._next is not None:
            self._next = next(self._rows, None)
            rows -= 1

    def close(self) -> None:
        self.finished, self._next, self._error = True, None, None
        self._rows.close()
        if self._handle is not None:
            self._handle.close()

    def _end(self) -> list[Reading | Edge]:
        error, self._error, self.finished = self._error, None, True
        if error:
            raise error
        return []

    def _guarded(self, rows: Iterator[Reading]) -> Generator[Reading, None, None]:
        """``rows`` up to where the file breaks; what was read before is handed out first."""
        try:
            yield from rows
        except SourceError as error:
            self._error = error
        except (OSError, EOFError, lzma.LZMAError, zlib.error, csv.Error) as error:
            self._error = SourceError(
                f"{self._file}: cannot be read any further ({error})", "copy the file again"
            )

    # -- reading -----------------------------------------------------------------------------

    def _read(self) -> Iterator[Reading]:
        rows = _parquet_rows if self._file.suffix == ".parquet" else _csv_rows
        self._handle, names, cells = rows(self._file)
        signals = _signal_columns(self._file, names)
        self.signals = {name: self._describe(name) for name in signals}
        at = names.index("ts")
        columns = [i for i in range(len(names)) if i != at]
        numbers = _Numbers()
        good = False
        for line, row in cells:
            try:
                t_ms = _time_ms(row[at])
                if len(row) != len(names):
                    raise ValueError(f"has {len(row)} cells, not {len(names)}")
                values = dict(zip(signals, [numbers[row[i]] for i in columns], strict=True))
            except (ValueError, IndexError, OverflowError) as error:
                self._note(line, row, names, numbers, error)
                if not good and self.bad_rows >= HOPELESS_ROWS:
                    return
                continue
            good = True
            yield Reading(t_ms, values)

    def _note(
        self, line: int, row: Sequence[Any], names: list[str], numbers: _Numbers, error: Exception
    ) -> None:
        self.bad_rows += 1
        if len(self.problems) < 10:
            where = _bad_cell(row, names, numbers) or f"the row {error or 'is too short'}"
            self.problems.append(f"{self._file} line {line}, {where}; correct it or leave it out")

    def _describe(self, signal: str) -> dict[str, object]:
        about = describe(signal)
        depth = self.about.get("well_depth_m")
        if signal == "level_m" and isinstance(depth, int | float):
            about |= {"min": 0, "max": depth}
        return about


class _Numbers(dict[Any, "float | None"]):
    """Cell → number, remembered: a recording repeats the same few texts all day."""

    def __missing__(self, cell: Any) -> float | None:
        if len(self) > 100_000:
            self.clear()
        self[cell] = value = _number(cell)
        return value


def _number(cell: Any) -> float | None:
    if cell is None:
        return None
    if isinstance(cell, str):
        text = cell.strip()
        if not text:
            return None
        value: float = int(text) if text.isdecimal() and len(text) < 16 else float(text)
    else:
        value = float(cell)
    if not math.isfinite(value):
        raise ValueError("is not finite")
    return value


def _time_ms(cell: Any) -> int:
    moment = cell if isinstance(cell, datetime) else datetime.fromisoformat(cell)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    t_ms = round(moment.timestamp() * 1000)
    if not 0 <= t_ms < MAX_TIME_MS:
        raise ValueError("is before 1970")
    return t_ms


def _bad_cell(row: Sequence[Any], names: list[str], numbers: _Numbers) -> str | None:
    """Which cell of a bad row is to blame."""
    for name, cell in zip(names, row, strict=False):
        try:
            _time_ms(cell) if name == "ts" else numbers[cell]
        except (ValueError, TypeError, OverflowError):
            kind = "an ISO 8601 time" if name == "ts" else "a finite number"
            return f"column {name}: {cell!r} is not {kind}"
    return None


# -- files ---------------------------------------------------------------------------------------

_Cells = Iterator[tuple[int, Sequence[Any]]]
_OPEN: dict[str, Callable[..., Any]] = {".csv": open, ".gz": gzip.open, ".xz": lzma.open}


def _csv_rows(file: Path) -> tuple[TextIO, list[str], _Cells]:
    open_file = partial(_OPEN[file.suffix], file)
    handle: TextIO = open_file(mode="rt", encoding="utf-8-sig", errors="replace", newline="")
    reader = csv.reader(handle)
    names = [name.strip() for name in next(reader, [])]
    return handle, names, ((reader.line_num, row) for row in reader if row)


def _parquet_rows(file: Path) -> tuple[Any, list[str], _Cells]:
    try:
        from pyarrow import ArrowException  # type: ignore[attr-defined,unused-ignore]
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise SourceError(
            f"{file}: reading Parquet needs pyarrow", "pip install 'pumpwatch-edge[parquet]'"
        ) from None
    try:
        parquet = ParquetFile(file)
    except ArrowException as error:
        raise SourceError(f"{file}: not a Parquet file ({error})", "copy it again") from None

    def cells() -> _Cells:
        line = 0
        for batch in parquet.iter_batches(batch_size=4096):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                line += 1
                yield line, row

    return parquet, list(parquet.schema_arrow.names), cells()


def _data_file(folder: Path) -> Path:
    for name in DATA_FILES:
        if (folder / name).is_file():
            return folder / name
    raise SourceError(f"{folder}: holds no recording", f"add one of {', '.join(DATA_FILES)}")


def _signal_columns(file: Path, names: list[str]) -> list[str]:
    if not names:
        raise SourceError(f"{file}: is empty", "record at least one row with ts and level_m")
    for needed in ("ts", "level_m"):
        if needed not in names:
            raise SourceError(
                f"{file} line 1: no column {needed}",
                f"name it in the header; found {', '.join(names)}",
            )
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise SourceError(f"{file} line 1: column {min(twice)} stands twice", "leave one out")
    for name in names:
        try:
            check_signal(name)
        except InvalidMessage as error:
            raise SourceError(
                f"{file} line 1, column {name!r}: {error.problem}", error.remedy
            ) from None
    return [name for name in names if name != "ts"]


def _site_json(folder: Path) -> dict[str, Any]:
    file = folder / "site.json"
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder", "give the folder of a recorded site")
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SourceError(f"{file}: missing", 'add one with at least {"site": "mh0001"}') from None
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{file}: cannot be read ({error})", "write it as JSON") from None
    if not isinstance(about, dict) or not isinstance(site := about.get("site"), str):
        raise SourceError(f"{file}: no site", 'add the site\'s id, e.g. "site": "mh0001"')
    try:
        check_id(site, "site")
    except InvalidMessage as error:
        raise SourceError(f"{file}: {error.problem}", error.remedy) from None
    return about


def _period_s(about: dict[str, Any]) -> float:
    period_s = about.get("sample_s", 10)
    good = isinstance(period_s, int | float) and math.isfinite(period_s) and period_s > 0
    return float(period_s) if good else 10.0
