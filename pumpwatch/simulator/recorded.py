"""Writes a simulated fleet as folders of recorded sites, with the answers beside them.

Each folder holds ``data.csv`` (or ``.csv.gz``, ``.csv.xz``, ``.parquet``), ``site.json`` and
``truth.json``; the last is for scorers only and says what really happened and when.
"""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.signals import SIGNALS, SignalKind, run_signal
from pumpwatch.simulator.simulation import Injection, Simulation
from pumpwatch.simulator.spec import PUMPS, StationSpec
from pumpwatch.simulator.weather import Climate

FORMATS = ("csv", "csv.gz", "csv.xz", "parquet")
BURN_IN_DAYS = 21
"""At the head of a recording nobody's alerts are scored."""
DETECTABLE_SEVERITY = 0.12
STORM_MM = 10.0
REPAIR_AFTER_H = 24.0
"""A progressive fault is repaired this long after breakdown."""


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault that a recording shall contain, ``day`` days after its beginning."""

    site: str
    fault: str
    target: str | None
    day: float


def parse_fault(text: str) -> PlannedFault:
    """Read ``site:fault:pump:day``, or ``site:fault:day`` for one that befalls the whole station."""
    parts = text.split(":")
    if len(parts) not in (3, 4):
        raise InvalidInput(
            "fault", f"{text!r} cannot be read", "write site:fault:pump:day, e.g. mh-03:pump_ragging:pump2:22"
        )  # fmt: skip
    try:
        day = float(parts[-1])
    except ValueError:
        day = -1.0
    if not 0 <= day < 36_500:
        raise InvalidInput("fault", f"{parts[-1]!r} in {text!r} is not a day", "count from 0")
    target = parts[2] or None if len(parts) == 4 else None
    return PlannedFault(parts[0], parts[1], target, day)


def write_recordings(
    out: Path,
    specs: Sequence[StationSpec],
    *,
    seed: int,
    start_ms: int,
    days: int,
    faults: Sequence[PlannedFault] = (),
    form: str = "csv.gz",
    climate: Climate | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Path]:
    """Simulate ``days`` from ``start_ms`` and write one folder a station under ``out``.

    ``form`` is one of `FORMATS`. Equal arguments give equal bytes. ``progress`` hears the share
    done. Raises `InvalidInput` before anything is written.
    """
    if form not in FORMATS:
        raise InvalidInput("format", f"{form!r} is unknown", f"use one of {', '.join(FORMATS)}")
    if days < 1:
        raise InvalidInput("days", f"{days} is too short", "use 1 or more")
    simulation = Simulation(specs, seed, start_ms, climate)
    for planned in faults:
        _plan(simulation, planned, days)
    folders = [out / spec.site.site for spec in simulation.specs]
    for folder in folders:
        if any(folder.glob("data.*")):
            raise InvalidInput("out", f"{folder} holds a recording already", "use an empty folder")
    begin_ms = simulation.now_ms
    tallies = [_Tally() for _ in folders]
    with ExitStack() as stack:
        writers = []
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            writers.append(stack.enter_context(_Writer(folder / f"data.{form}")))
        for day in range(days):
            simulation.advance(begin_ms + (day + 1) * DAY_MS)
            for spec, writer, tally in zip(simulation.specs, writers, tallies, strict=True):
                chunk, edges = simulation.take(spec.site.site)
                writer.write(chunk)
                tally.add(chunk, edges, begin_ms)
            if progress is not None:
                progress((day + 1) / days)
    for folder, spec, tally in zip(folders, simulation.specs, tallies, strict=True):
        _write_json(folder / "truth.json", _truth(simulation, spec, tally, days))
        site = {k: v for k, v in spec.site.to_dict().items() if k != "mode"}
        _write_json(folder / "site.json", site)
    return folders


def _plan(simulation: Simulation, planned: PlannedFault, days: int) -> None:
    if planned.day >= days:
        raise InvalidInput(
            "fault", f"day {planned.day:g} of {planned.fault} is after the end", f"use less than {days}"
        )  # fmt: skip
    onset_ms = simulation.start_ms + int(planned.day * DAY_MS)
    injection = simulation.inject(planned.site, planned.fault, planned.target, onset_ms)
    if injection.until_ms is None:
        injection.until_ms = injection.breakdown_ms + int(REPAIR_AFTER_H * HOUR_MS)


class _Writer:
    """One data file, written a day at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
        self._stack.close()

    def write(self, chunk: Chunk) -> None:
        if not len(chunk):
            return
        table = self._table(chunk)
        if self._writer is None:
            self._writer = self._open(table.schema)
        self._writer.write_table(table)

    def _open(self, schema: Any) -> Any:
        if self._path.suffix == ".parquet":
            return pa.parquet.ParquetWriter(self._path, schema, compression="zstd")
        options = pa.csv.WriteOptions(quoting_style="none", quoting_header="none")
        return pa.csv.CSVWriter(self._stream(), schema, write_options=options)

    def _stream(self) -> IO[bytes]:
        raw = self._stack.enter_context(self._path.open("wb"))
        if self._path.suffix == ".gz":
            # no name and no time in the header: equal data, equal bytes
            zipped = gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0)
            return cast("IO[bytes]", self._stack.enter_context(zipped))
        if self._path.suffix == ".xz":
            return self._stack.enter_context(lzma.open(raw, "wb", preset=2))
        return raw

    def _table(self, chunk: Chunk) -> Any:
        if self._path.suffix == ".parquet":
            ts = pa.array(chunk.t_ms, pa.timestamp("ms", tz="UTC"))
        else:
            seconds = np.datetime_as_string(chunk.t_ms.astype("datetime64[ms]"), unit="s")
            ts = pa.array(np.char.add(seconds, "Z"))
        columns = {
            name: values.astype(np.int8) if SIGNALS[name].kind is SignalKind.STATE else values
            for name, values in chunk.signals.items()
        }
        return pa.table({"ts": ts} | columns)


class _Tally:
    """What a truth file counts: hours with the float up, starts of each pump."""

    def __init__(self) -> None:
        self.high_hours: set[int] = set()
        self.starts = [0] * PUMPS

    def add(self, chunk: Chunk, edges: Sequence[Any], begin_ms: int) -> None:
        if len(chunk):
            high = chunk.t_ms[chunk.signals["high_level"] > 0]
            self.high_hours.update(((high - begin_ms) // HOUR_MS).tolist())
        for n in range(PUMPS):
            name = run_signal(n + 1)
            self.starts[n] += sum(1 for e in edges if e.signal == name and e.value > 0)


def _truth(simulation: Simulation, spec: StationSpec, tally: _Tally, days: int) -> dict[str, Any]:
    begin_ms, end_ms = simulation.start_ms, simulation.now_ms
    mine = [i for i in simulation.injections if i.site == spec.site.site]
    weather = simulation.weather[spec.district]
    first = begin_ms // DAY_MS
    rain = [round(float(weather.rain_mm(first + d).sum()), 1) for d in range(days)]
    storms = [
        datetime.fromtimestamp((first + d) * 86_400, UTC).date().isoformat()
        for d, depth in enumerate(rain)
        if depth >= STORM_MM
    ]
    scored_ms = begin_ms + (BURN_IN_DAYS * DAY_MS if days > BURN_IN_DAYS else 0)
    return {
        "site": spec.site.site,
        "days": days,
        "faults": [_fault(n, i, end_ms) for n, i in enumerate(mine, 1)],
        "benign": [],
        "storm_days": storms,
        "rain_mm_per_day": rain,
        "scored_from": iso_utc(scored_ms),
        "scored_to": iso_utc(end_ms),
        "kind": "faulty" if mine else "healthy",
        "high_level_hours": sorted(tally.high_hours),
        "starts": tally.starts,
    }


def _fault(number: int, injection: Injection, end_ms: int) -> dict[str, Any]:
    """One event as scorers read it; what lies behind the end of the recording is cut there."""
    abrupt = injection.breakdown_ms == injection.onset_ms
    repair_ms = min(injection.until_ms or end_ms, end_ms)
    breakdown_ms = repair_ms if abrupt else min(injection.breakdown_ms, repair_ms)
    t0_ms = injection.onset_ms - injection.onset_ms % HOUR_MS
    hours = range(t0_ms, repair_ms + HOUR_MS, HOUR_MS)
    severity = [round(injection.severity(t), 3) if t < repair_ms else 0.0 for t in hours]
    deadline_ms = injection.onset_ms + int(injection.fault.deadline_h * HOUR_MS)
    return {
        "id": number,
        "class": injection.code,
        "group": str(FAULT_GROUP[injection.code]),
        "progression": "abrupt" if abrupt else "progressive",
        "target": injection.target,
        "onset": iso_utc(injection.onset_ms),
        "detectable": iso_utc(min(_detectable_ms(injection), breakdown_ms)),
        "breakdown": iso_utc(breakdown_ms),
        "repair": iso_utc(repair_ms),
        "censored": not abrupt and injection.breakdown_ms > repair_ms,
        "deadline": iso_utc(deadline_ms if abrupt else breakdown_ms),
        "severity": {"t0": iso_utc(t0_ms), "step_s": 3600, "values": severity},
    }


def _detectable_ms(injection: Injection) -> int:
    at_h = int(np.argmax(injection.course >= DETECTABLE_SEVERITY))
    return injection.onset_ms + at_h * HOUR_MS


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
