"""Writes a scenario as folders of recorded sites, with the answers beside them.

Each folder holds ``data.csv`` (or ``.csv.gz``, ``.csv.xz``, ``.parquet``), ``site.json``, where the crews
wrote something down ``events.csv``, and ``truth.json``; the last is for scorers only and says what really
happened and when.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import chain, compress
from pathlib import Path
from typing import Any

from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.domain.signals import run_signal
from pumpwatch.domain.sites import LogEntry
from pumpwatch.simulator.catalogue import kind_of
from pumpwatch.simulator.events import Event
from pumpwatch.simulator.generation import EventTruth, StationPart, generate
from pumpwatch.simulator.scenario import Scenario
from pumpwatch.simulator.spec import StationSpec
from pumpwatch.simulator.weather import Weather
from pumpwatch.simulator.writer import FORMATS, DataFile

BURN_IN_DAYS = 21
"""At the head of a recording nobody's alerts are scored."""
DETECTABLE_SEVERITY = 0.12
STORM_MM = 10.0
REPAIR_AFTER_H = 24.0
"""A fault given in short is repaired this long after breakdown."""
_WRITERS = 2
"""Days are packed by so many threads: packing is most of the work, and runs beside the stepping."""

Progress = Callable[[float], None]


def parse_fault(text: str, start_ms: int) -> Event:
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
    onset_ms = start_ms + int(day * DAY_MS)
    kind, repair_ms = kind_of(parts[1]), None
    if kind is not None and kind.lasts_h is None:
        repair_ms = kind.breakdown_ms(onset_ms) + int(REPAIR_AFTER_H * HOUR_MS)
    target = parts[2] or None if len(parts) == 4 else None
    return Event(parts[0], parts[1], target, onset_ms, repair_ms=repair_ms)


def write_recordings(
    out: Path, scenario: Scenario, *, form: str = "csv.gz", progress: Progress | None = None
) -> list[Path]:
    """Run a scenario and write one folder a station under ``out``.

    ``form`` is one of `FORMATS`. Equal scenarios give equal bytes. A folder appears under its name only
    once it is whole. ``progress`` hears the share done. Raises `InvalidInput` before anything is written.
    """
    if form not in FORMATS:
        raise InvalidInput("format", f"{form!r} is unknown", f"use one of {', '.join(FORMATS)}")
    for event in scenario.events:
        if event.start_ms >= scenario.end_ms:
            raise InvalidInput("fault", f"{event.code} begins after the end", "let it begin before")
    specs, begin_ms, end_ms = scenario.fleet.stations, scenario.start_ms, scenario.end_ms
    parts = generate(scenario.fleet, scenario.sky, scenario.events, begin_ms, end_ms)
    for spec in specs:
        if (out / spec.site.site).exists():
            raise InvalidInput(
                "out", f"{out / spec.site.site} holds a recording already", "use an empty folder"
            )
    folders = {spec.site.site: _begin(out / spec.site.site) for spec in specs}
    files = {site: DataFile(folder, form) for site, folder in folders.items()}
    tallies = {spec.site.site: _Tally(len(spec.pumps), begin_ms) for spec in specs}
    truths: Sequence[EventTruth] = ()

    def keep(site: str, part: StationPart) -> None:
        files[site].append(part.samples)
        tallies[site].add(part)

    with ThreadPoolExecutor(_WRITERS) as pool:
        waiting: list[Any] = []
        for part in parts:
            for job in waiting:  # a station's days are written one after the other
                job.result()
            waiting = [pool.submit(keep, *item) for item in part.stations.items()]
            truths = part.events
            if progress is not None:
                progress((part.end_ms - begin_ms) / (end_ms - begin_ms))
        for job in waiting:
            job.result()
    for spec in specs:
        site = spec.site.site
        files[site].close()
        _finish(folders[site], spec, scenario, tallies[site], truths)
    return [out / spec.site.site for spec in specs]


def _begin(folder: Path) -> Path:
    """An empty folder that will become ``folder``; what an interrupted run left of it is taken away."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    return part


def _finish(
    part: Path,
    spec: StationSpec,
    scenario: Scenario,
    tally: _Tally,
    truths: Sequence[EventTruth],
) -> None:
    site = spec.site.site
    mine = [t for t in truths if t.event.station == site]
    weather = scenario.sky.over(spec.district)
    _write_json(part / "truth.json", _truth(spec, scenario, weather, tally, mine))
    known = {k: v for k, v in spec.site.to_dict().items() if k != "mode"}
    _write_json(part / "site.json", known)
    if scenario.log.get(site):
        _write_log(part / "events.csv", scenario.log[site])
    part.rename(part.with_name(site))


class _Tally:
    """What a truth file counts: hours with the float up, starts of each pump."""

    def __init__(self, pumps: int, begin_ms: int) -> None:
        self.high_hours: set[int] = set()
        self.starts = [0] * pumps
        self.heard_ms = begin_ms
        """The newest row."""
        self._begin_ms = begin_ms

    def add(self, part: StationPart) -> None:
        chunk = part.samples
        if len(chunk):
            self.heard_ms = max(self.heard_ms, int(chunk.t_ms[-1]))
        if len(chunk) and "high_level" in chunk.signals:
            high = chunk.t_ms[chunk.signals["high_level"] > 0]
            self.high_hours.update(((high - self._begin_ms) // HOUR_MS).tolist())
        for n in range(len(self.starts)):
            name = run_signal(n + 1)
            self.starts[n] += sum(e.signal == name and e.value > 0 for e in part.edges)


def _truth(
    spec: StationSpec,
    scenario: Scenario,
    weather: Weather,
    tally: _Tally,
    mine: Sequence[EventTruth],
) -> dict[str, Any]:
    """What happened, as scorers read it. Rain is per UTC day, from the day the recording begins in.

    ``unscored`` faults are those that nobody can be asked to tell in time (see `_shows`, `_answerable`); what
    is said while they last is no false alarm.
    """
    site = spec.site.site
    begin_ms, end_ms = scenario.start_ms, scenario.end_ms
    dates = range(begin_ms // DAY_MS, (end_ms - 1) // DAY_MS + 1)
    rain = {d: round(float(weather.rain_mm(d).sum()), 1) for d in dates}
    days = (end_ms - begin_ms) / DAY_MS
    faults = [t for t in mine if not t.event.kind.harmless]
    scored_from_ms = begin_ms + (BURN_IN_DAYS * DAY_MS if days > BURN_IN_DAYS else 0)
    heard_ms = min(tally.heard_ms, end_ms)
    lines = [_fault(n, t, end_ms) for n, t in enumerate(faults, 1)]
    scored = [_shows(spec, t) and _answerable(t, scored_from_ms, heard_ms) for t in faults]
    return {
        "site": site,
        "days": round(days, 3) if days % 1 else int(days),
        "faults": list(compress(lines, scored)),
        "unscored": [line for line, counts in zip(lines, scored, strict=True) if not counts],
        "benign": [_harmless(t, end_ms) for t in mine if t.event.kind.harmless],
        "storm_days": [
            datetime.fromtimestamp(d * DAY_MS / 1000, UTC).date().isoformat()
            for d, depth in rain.items()
            if depth >= STORM_MM
        ],
        "rain_mm_per_day": list(rain.values()),
        "scored_from": iso_utc(scored_from_ms),
        "scored_to": iso_utc(end_ms),
        "kind": "faulty" if faults else "healthy",
        "high_level_hours": sorted(tally.high_hours),
        "starts": tally.starts,
    }


def _fault(number: int, truth: EventTruth, end_ms: int) -> dict[str, Any]:
    """One fault as scorers read it; what lies behind the end of the recording is cut there."""
    event, kind = truth.event, truth.event.kind
    abrupt = truth.breakdown_ms == truth.onset_ms
    repair_ms = min(truth.repair_ms or end_ms, end_ms)
    breakdown_ms = repair_ms if abrupt else min(truth.breakdown_ms, repair_ms)
    t0_ms = truth.onset_ms - truth.onset_ms % HOUR_MS
    hours = range(t0_ms, repair_ms + HOUR_MS, HOUR_MS)
    deadline_ms = truth.onset_ms + int(kind.deadline_h * HOUR_MS) if abrupt else breakdown_ms
    return {
        "id": number,
        "what": event.code,
        "class": kind.alerts[0],
        "group": str(FAULT_GROUP[kind.alerts[0]]),
        "progression": "abrupt" if abrupt else "progressive",
        "target": event.target,
        "onset": iso_utc(truth.onset_ms),
        "detectable": iso_utc(min(_detectable_ms(truth), breakdown_ms)),
        "breakdown": iso_utc(breakdown_ms),
        "repair": iso_utc(repair_ms),
        "censored": not abrupt and truth.breakdown_ms > repair_ms,
        "deadline": iso_utc(deadline_ms),
        "severity": {
            "t0": iso_utc(t0_ms),
            "step_s": 3600,
            "values": [round(truth.severity(t), 3) if t < repair_ms else 0.0 for t in hours],
        },
    }


def _shows(spec: StationSpec, truth: EventTruth) -> bool:
    kind = truth.event.kind
    params = {name: p.default for name, p in kind.params.items()} | dict(truth.event.params)
    return kind.shows is None or kind.shows(spec, params)


def _answerable(truth: EventTruth, from_ms: int, heard_ms: int) -> bool:
    """Whether the time to tell it in lies within what is scored: a slow fault that came to breakdown, an abrupt
    one whose whole time from onset to deadline was recorded."""
    if truth.breakdown_ms > truth.onset_ms:
        return truth.breakdown_ms <= min(truth.repair_ms or heard_ms, heard_ms)
    deadline_ms = truth.onset_ms + int(truth.event.kind.deadline_h * HOUR_MS)
    return from_ms <= truth.onset_ms and deadline_ms <= heard_ms


def _detectable_ms(truth: EventTruth) -> int:
    enough = (h for h, severity in enumerate(truth.hourly) if severity >= DETECTABLE_SEVERITY)
    return truth.onset_ms + next(enough, len(truth.hourly)) * HOUR_MS


def _harmless(truth: EventTruth, end_ms: int) -> dict[str, Any]:
    return {
        "kind": truth.event.code,
        "target": truth.event.target,
        "start": iso_utc(truth.onset_ms),
        "end": iso_utc(min(truth.repair_ms or truth.onset_ms, end_ms)),
    }


def _write_log(path: Path, entries: Sequence[LogEntry]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = ([iso_utc(e.t_ms), str(e.kind), e.target or "", e.note] for e in entries)
        csv.writer(file, lineterminator="\n").writerows(
            chain([["ts", "kind", "target", "note"]], rows)
        )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
