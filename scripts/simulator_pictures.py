"""Draws the pictures of docs/simulator.md: one a fault, and the simulator beside recordings of another engine.

    python scripts/simulator_pictures.py [--out docs/images/simulator] [--only FAULT …] [--beside DIR]

``--beside`` names a folder of recorded sites (with truth.json) that another engine made; the simulator is
given the geometry and inflow of the healthy ones, and the table of docs/simulator.md is printed.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pumpwatch.cycles.cutter import CycleCutter
from pumpwatch.cycles.features import cycle_rows, measure
from pumpwatch.cycles.phases import PhaseRules
from pumpwatch.cycles.recording import Recording, read_recording
from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import Site
from pumpwatch.simulator import simulation as engine
from pumpwatch.simulator.catalogue import FAULTS
from pumpwatch.simulator.events import Event
from pumpwatch.simulator.fleet import Fleet, draw_fleet
from pumpwatch.simulator.generation import generate
from pumpwatch.simulator.inflow import Catchment
from pumpwatch.simulator.spec import PumpSpec, Sensors, StationSpec, Well
from pumpwatch.simulator.weather import DRY, Sky, Storm

Floats = NDArray[np.float64]
Points = tuple[Floats, Floats]

START_MS = ms_from_iso("2025-10-06T00:00:00+09:00")
HEALTHY_DAYS = 4
SLOWEST_DAYS = 10.0
"""Slow faults are drawn faster than they come in life, so that a picture holds all of it."""
AFTER_DAYS = 1.0
WINDOW_MS = 100 * 60_000

PUMP_COLOURS = ("#1f6fb4", "#d2691e")
INK, PALE, RED, PAPER = "#222", "#bbb", "#c0392b", "#fff"


# -- a drawing ------------------------------------------------------------------------------------


@dataclass
class Panel:
    """One pair of axes; x and y are given in the data's own units."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        (x0, x1), (y0, y1) = self.x, self.y
        px = self.left + (np.asarray(x, float) - x0) / (x1 - x0) * self.width
        py = self.top + self.height - (np.asarray(y, float) - y0) / ((y1 - y0) or 1) * self.height
        return px, np.clip(py, self.top, self.top + self.height)

    def line(self, x: Floats, y: Floats, colour: str, width: float = 1.2, dash: str = "") -> str:
        """A line that breaks where a value is missing."""
        px, py = self.at(x, y)
        parts, pen = [], "M"
        for a, b, known in zip(px, py, np.isfinite(y), strict=True):
            if not known:
                pen = "M"
                continue
            parts.append(f"{pen}{a:.1f} {b:.1f}")
            pen = "L"
        style = f' stroke-dasharray="{dash}"' if dash else ""
        return f'<path d="{"".join(parts)}" fill="none" stroke="{colour}" stroke-width="{width}"{style}/>'

    def dots(self, x: Floats, y: Floats, colour: str) -> str:
        ok = np.isfinite(y)
        px, py = self.at(x[ok], y[ok])
        d = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(px, py, strict=True))
        return f'<path d="{d}" stroke="{colour}" stroke-width="2.6" stroke-linecap="round"/>'

    def upright(self, x: float, colour: str, words: str, row: int = 0) -> str:
        px, _ = self.at(np.array([x]), np.array([self.y[0]]))
        late = px[0] > self.left + 0.75 * self.width
        words = text(
            px[0] + (-3 if late else 3), self.top + self.height - 5 - 11 * row, words,
            anchor="end" if late else "start", colour=colour,
        )  # fmt: skip
        return (
            f'<path d="M{px[0]:.1f} {self.top}v{self.height}" stroke="{colour}" stroke-dasharray="3 3"/>'
            f"{words}"
        )

    def frame(
        self, title: str, x_ticks: Sequence[tuple[float, str]] = (), *, bounds: bool = True
    ) -> str:
        low, high = self.y
        out = [
            f'<rect x="{self.left}" y="{self.top}" width="{self.width}" height="{self.height}"'
            f' fill="none" stroke="{PALE}"/>',
            text(self.left, self.top - 5, title),
        ]
        if bounds:
            out.append(text(self.left - 4, self.top + 9, nice(high), anchor="end"))
            out.append(text(self.left - 4, self.top + self.height, nice(low), anchor="end"))
        for x, words in x_ticks:
            px, _ = self.at(np.array([x]), np.array([low]))
            out.append(text(px[0], self.top + self.height + 12, words, anchor="middle"))
        return "".join(out)


def text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = INK) -> str:
    """Words with an edge in the colour of the paper, legible over dots."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" text-anchor="{anchor}" stroke="{PAPER}"'
        f' stroke-width="3" paint-order="stroke">{words}</text>'
    )


def nice(value: float) -> str:
    return f"{value:.3g}"


def picture(width: int, height: int, title: str, parts: Iterable[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        f' font-family="sans-serif" font-size="10"><title>{title}</title>'
        f'<rect width="{width}" height="{height}" fill="{PAPER}"/>{"".join(parts)}</svg>\n'
    )


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]


def span(values: Sequence[Floats], least: float = 0.0) -> tuple[float, float]:
    """Round bounds that hold nearly all of the values, with a little air; what is never negative begins at 0."""
    known = np.concatenate([_known(v) for v in values])
    if not len(known):
        return 0.0, 1.0
    low, high = np.quantile(known, [0.005, 0.995])
    air = max((high - low) * 0.12, least, abs(high) * 0.02, 1e-6)
    step = 10.0 ** math.floor(math.log10(2 * air))
    bottom = math.floor((low - air) / step) * step
    if min(v.min() for v in map(_known, values) if len(v)) >= 0:
        bottom = max(bottom, 0.0)
    return bottom, math.ceil((high + air) / step) * step


# -- what a station did ---------------------------------------------------------------------------


@dataclass
class Record:
    """One station's samples, its cycles, and where the water really stood."""

    site: Site
    chunk: Chunk
    edges: list[Edge]
    cycles: list[CycleRow]
    true_t_ms: NDArray[np.int64]
    true_level_m: Floats


def cut(site: Site, chunk: Chunk) -> list[CycleRow]:
    ceiling = site.inlet_level_m if site.inlet_level_m is not None else math.inf
    cutter = CycleCutter(PhaseRules(gap_s=2.5 * (site.sample_s or 60.0), ceiling_m=ceiling), None)
    cycles = cutter.feed(chunk, [])
    return cycle_rows(cycles, measure(cycles, site.area_m2), site.area_m2)


def joined(chunks: Sequence[Chunk]) -> Chunk:
    names = chunks[0].signals
    return Chunk(
        np.concatenate([c.t_ms for c in chunks]),
        {n: np.concatenate([c.signals[n] for c in chunks]) for n in names},
    )


def record(
    spec: StationSpec,
    events: Sequence[Event],
    days: float,
    start_ms: int,
    rain: Sequence[Storm] = (),
) -> Record:
    fleet = Fleet(7, start_ms, (spec,))
    parts = list(
        generate(fleet, Sky(7, DRY, rain), events, start_ms, start_ms + int(days * DAY_MS))
    )
    mine = [part.stations[spec.site.site] for part in parts]
    chunk = joined([m.samples for m in mine if len(m.samples)])
    t_ms = np.concatenate([m.truth.t_ms for m in mine]) + 60_000
    level = np.concatenate([m.truth.level_m for m in mine])
    edges = [edge for m in mine for edge in m.edges]
    return Record(spec.site, chunk, edges, cut(spec.site, chunk), t_ms, level)


# -- features that give a fault away --------------------------------------------------------------

Series = Sequence[tuple[str, str, Points]]
"""Label, colour, (epoch ms, values)."""


def by_pump(name: str, factor: float = 1.0) -> Callable[[Record], Series]:
    """A feature of single cycles, one series a pump."""

    def series(record: Record) -> Series:
        out = []
        for n, colour in enumerate(PUMP_COLOURS, 1):
            mine = [c for c in record.cycles if c.pump == f"pump{n}" and name in c.features]
            t = np.array([c.start_ms for c in mine], float)
            out.append(
                (f"pump {n}", colour, (t, factor * np.array([c.features[name] for c in mine])))
            )
        return out

    return series


def starts(record: Record) -> Series:
    """Starts of each pump in every three hours, per hour."""
    edges = np.arange(record.chunk.t_ms[0], record.chunk.t_ms[-1] + 1, 3 * HOUR_MS)
    out = []
    for n, colour in enumerate(PUMP_COLOURS, 1):
        on = record.chunk.signals[f"pump{n}_run"] > 0
        began = record.chunk.t_ms[1:][on[1:] & ~on[:-1]]
        count = np.histogram(began, edges)[0] / 3
        out.append((f"pump {n}", colour, (edges[:-1] + 1.5 * HOUR_MS, count)))
    return out


def chatter(record: Record) -> Series:
    """Switchings of each pump less than 2 s after the one before, in every three hours, per hour."""
    bins = np.arange(record.chunk.t_ms[0], record.chunk.t_ms[-1] + 1, 3 * HOUR_MS)
    out = []
    for n, colour in enumerate(PUMP_COLOURS, 1):
        t = np.array([e.t_ms for e in record.edges if e.signal == f"pump{n}_run"])
        count = np.histogram(t[1:][np.diff(t) < 2000], bins)[0] / 3
        out.append((f"pump {n}", colour, (bins[:-1] + 1.5 * HOUR_MS, count)))
    return out


def tripped(record: Record) -> Series:
    """Share of every three hours in which a pump's fault contact is closed."""
    bins = np.arange(record.chunk.t_ms[0], record.chunk.t_ms[-1] + 1, 3 * HOUR_MS)
    cuts = pairwise(np.searchsorted(record.chunk.t_ms, bins))
    spans = [slice(a, b) for a, b in cuts]
    out = []
    for n, colour in enumerate(PUMP_COLOURS, 1):
        closed = record.chunk.signals[f"pump{n}_fault"]
        shares = np.array([closed[span].mean() for span in spans])
        out.append((f"pump {n}", colour, (bins[:-1] + 1.5 * HOUR_MS, shares)))
    return out


def hourly(name: str, of: Callable[[Floats], float]) -> Callable[[Record], Series]:
    """A figure of a signal in every hour."""

    def series(record: Record) -> Series:
        edges = np.arange(record.chunk.t_ms[0], record.chunk.t_ms[-1] + 1, HOUR_MS)
        cuts = np.searchsorted(record.chunk.t_ms, edges)
        values = [
            of(record.chunk.signals[name][a:b]) if b > a else math.nan for a, b in pairwise(cuts)
        ]
        return [("", PUMP_COLOURS[0], (edges[:-1] + HOUR_MS / 2, np.array(values)))]

    return series


def rows_an_hour(record: Record) -> Series:
    edges = np.arange(record.chunk.t_ms[0], record.true_t_ms[-1] + 1, HOUR_MS)
    count = np.histogram(record.chunk.t_ms, edges)[0].astype(float)
    return [("", PUMP_COLOURS[0], (edges[:-1] + HOUR_MS / 2, count))]


def reach(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.ptp(known)) if len(known) else math.nan


def highest(values: Floats) -> float:
    return float(np.nanmax(values))


def lowest(values: Floats) -> float:
    return float(np.nanmin(values))


def mean(values: Floats) -> float:
    return float(np.nanmean(values))


Feature = tuple[str, Callable[[Record], Series]]
CAPACITY: Feature = ("capacity, inflow removed [L/s]", by_pump("capacity_m3s", 1000))
BACKFLOW: Feature = ("backflow after a stop [L/s]", by_pump("backflow_m3s", 1000))
INFLOW: Feature = ("inflow [L/s]", by_pump("inflow_m3s", 1000))
RUN: Feature = ("length of a run [s]", by_pump("run_s"))
START: Feature = ("level at the start of a run [m]", by_pump("start_level_m"))
STOP: Feature = ("level at the stop of a run [m]", by_pump("stop_level_m"))
CURRENT: Feature = ("motor current [A]", by_pump("current_a"))
SCATTER: Feature = ("scatter of the current in a run [A]", by_pump("current_scatter_a"))
STARTS: Feature = ("starts per hour", starts)
CHATTER: Feature = ("switchings within 2 s, per hour", chatter)
TRIPPED: Feature = ("share of time with the fault contact closed", tripped)
REACH: Feature = ("range of the level reading in an hour [m]", hourly("level_m", reach))
HIGHEST: Feature = ("highest level in an hour [m]", hourly("level_m", highest))
LOWEST: Feature = ("lowest level in an hour [m]", hourly("level_m", lowest))
ROWS: Feature = ("rows received in an hour", rows_an_hour)
POWER: Feature = ("share of the hour with mains power", hourly("power_ok", mean))

GIVEAWAY: dict[str, Feature] = {
    "pump_wear": CAPACITY, "pump_ragging": CAPACITY, "pump_blocked": STARTS, "air_lock": HIGHEST,
    "start_failure": RUN, "motor_degradation": CURRENT, "pump_out_of_service": STARTS,
    "pump_trip": TRIPPED, "insulation_drop": TRIPPED, "contactor_fault": CHATTER, "contactor_welded": LOWEST,
    "seal_leak": ("share of the hour with the seal contact closed", hourly("pump1_seal", mean)),
    "check_valve_leak": BACKFLOW, "check_valve_open": BACKFLOW, "gate_closed": HIGHEST,
    "coupling_leak": CAPACITY, "discharge_blockage": CAPACITY, "rising_main_burst": CAPACITY,
    "sensor_drift": START, "span_drift": CAPACITY, "scale_error": CAPACITY,
    "slow_transmitter": RUN, "frozen_level": REACH, "sensor_failed": REACH,
    "float_hangup": START, "alternation_failure": STARTS, "stuck_on": STOP, "short_cycling": STARTS,
    "left_in_manual": STARTS, "well_fouling": RUN, "infiltration_growth": INFLOW,
    "upstream_blockage": INFLOW, "inflow_change": INFLOW, "power_outage": POWER,
    "phase_loss": HIGHEST, "comms_gap": ROWS, "clock_error": ROWS, "panel_flooded": ROWS,
}  # fmt: skip


FLOAT_CONTROLLED = ("float_hangup", "sensor_drift")
"""Drawn on a station whose pumps are started by floats: there the transmitter can be held against them."""


RAINY = ("insulation_drop",)
"""Comes and goes with the rain: 15 mm once before onset and three times after."""


# -- one picture a fault --------------------------------------------------------------------------


def station() -> StationSpec:
    """A station with every signal, at 10 s."""
    specs = draw_fleet(11, 40, START_MS).stations
    spec = next(
        s
        for s in specs
        if len(s.pumps) == 2
        and s.site.has_current is not False
        and s.site.control == "level"
        and s.site.alternation in (None, "cycle")
        and not s.downstream
    )
    site = replace(spec.site, site="mh-01", sample_s=10.0, has_rain=True)
    return replace(spec, site=site, contacts=True)


def fault_picture(code: str) -> str:
    kind = FAULTS[code]
    spec = station()
    if code in FLOAT_CONTROLLED:
        spec = replace(spec, site=replace(spec.site, control="float"))
    onset_ms = START_MS + HEALTHY_DAYS * DAY_MS + 9 * HOUR_MS
    ramp_days = min(kind.ramp_days, SLOWEST_DAYS)
    breakdown_ms = onset_ms + int(ramp_days * DAY_MS)
    end_ms = breakdown_ms + int(AFTER_DAYS * DAY_MS)
    target = "pump1" if kind.on_pump else None
    event = Event("mh-01", code, target, onset_ms, breakdown_ms if ramp_days else None)
    rain = [Storm(onset_ms + d * DAY_MS, 5.0, 15.0) for d in (-3, 3, 6, 9)]
    rain = rain if code in RAINY else []
    made = record(spec, [event], (end_ms - START_MS) / DAY_MS, START_MS, rain)
    before = START_MS + (HEALTHY_DAYS - 1) * DAY_MS + 10 * HOUR_MS
    # an abrupt fault is looked at where it begins, a slow one where it is worst
    worst = onset_ms - WINDOW_MS // 4 if not ramp_days else breakdown_ms - WINDOW_MS // 2
    parts = [
        *window(made, before, 40, "healthy"),
        *window(made, worst, 320, "at its worst" if ramp_days else "as it begins"),
    ]
    parts += giveaway(made, GIVEAWAY[code], onset_ms, breakdown_ms if ramp_days else None)
    return picture(
        900, 292, f"{code}: {kind.en}", [text(6, 14, f"{kind.en} · {kind.ja} ({code})"), *parts]
    )


def window(made: Record, begin_ms: int, left: float, title: str) -> list[str]:
    """Level, runs and current over some cycles."""
    inside = (made.chunk.t_ms >= begin_ms) & (made.chunk.t_ms <= begin_ms + WINDOW_MS)
    t = (made.chunk.t_ms[inside] - begin_ms) / 60_000
    x = (0.0, WINDOW_MS / 60_000)
    ticks = [(m, f"{m} min") for m in (0, 30, 60, 90)]
    level = made.chunk.signals["level_m"]
    top = Panel(left, 40, 240, 120, x, span([level, made.true_level_m], 0.05))
    really = (made.true_t_ms >= begin_ms) & (made.true_t_ms <= begin_ms + WINDOW_MS)
    true_t = (made.true_t_ms[really] - begin_ms) / 60_000
    parts = [top.frame(f"level [m], {title}")]
    parts.append(top.line(true_t, made.true_level_m[really], PALE, 3))
    parts.append(top.line(t, broken(made, level)[inside], INK))
    lanes = Panel(left, 168, 240, 28, x, (0, 2))
    parts.append(lanes.frame("", bounds=False))
    parts.append(text(left - 4, 186, "runs", anchor="end"))
    amps = Panel(left, 216, 240, 46, x, (0, 1.4 * float(made.site.rated_current_a or 1)))
    parts.append(amps.frame("current [A]", ticks))
    for n, colour in enumerate(PUMP_COLOURS, 1):
        on = made.chunk.signals[f"pump{n}_run"][inside] > 0
        parts.append(lanes.line(t, np.where(on, 2.5 - n, np.nan), colour, 9))
        current = made.chunk.signals[f"pump{n}_current_a"]
        parts.append(amps.line(t, broken(made, current)[inside], colour))
        parts.append(text(left + 244, 178 + 14 * (n - 1), f"{n}", colour=colour))
    return parts


def broken(made: Record, values: Floats) -> Floats:
    """Missing after a silence, so that no line is drawn over it."""
    late = np.diff(made.chunk.t_ms, prepend=made.chunk.t_ms[0]) > 2500 * float(
        made.site.sample_s or 10
    )
    return np.where(late, np.nan, values)


def giveaway(made: Record, feature: Feature, onset_ms: int, breakdown_ms: int | None) -> list[str]:
    words, series = feature
    drawn = series(made)
    days = (made.true_t_ms[-1] - START_MS) / DAY_MS
    panel = Panel(610, 40, 270, 222, (0.0, float(days)), span([v for _, _, (_, v) in drawn]))
    step = 1 if days <= 7 else 2
    ticks = [(float(d), f"day {d}") for d in range(0, int(days) + 1, step) if d % (2 * step) == 0]
    parts = [panel.frame(words, ticks)]
    for label, colour, (t, values) in drawn:
        parts.append(panel.dots((t - START_MS) / DAY_MS, values, colour))
        if label:
            at = panel.left + panel.width - (45 if label.endswith("1") else 0)
            parts.append(text(at, 34, label, anchor="end", colour=colour))
    parts.append(panel.upright((onset_ms - START_MS) / DAY_MS, RED, "onset"))
    if breakdown_ms is not None:
        parts.append(panel.upright((breakdown_ms - START_MS) / DAY_MS, RED, "breakdown", 1))
    return parts


# -- beside another engine ------------------------------------------------------------------------

BESIDE_DAYS = 20


class GivenInflow:
    """Instead of households and rain: the inflow that was seen in the recording."""

    def __init__(self, t_ms: Floats, flow_m3s: Floats) -> None:
        self._t_ms, self._flow = t_ms, flow_m3s

    def __call__(self, *_: object) -> GivenInflow:
        return self

    def day_m3s(self, day: int, step_s: int) -> Floats:
        t_ms = day * DAY_MS + np.arange(DAY_MS // 1000 // step_s) * step_s * 1000.0
        return np.interp(t_ms, self._t_ms, self._flow)


def twin(known: Recording) -> tuple[Record, Record]:
    """The first days of a recording, and the simulator with its geometry and inflow."""
    site, chunk = known.site, known.chunk
    keep = chunk.t_ms < chunk.t_ms[0] + BESIDE_DAYS * DAY_MS
    chunk = Chunk(chunk.t_ms[keep], {n: v[keep] for n, v in chunk.signals.items()})
    theirs = Record(site, chunk, cut(site, chunk), np.zeros(0, np.int64), np.zeros(0))
    flows = [
        (c.start_ms, c.features["inflow_m3s"]) for c in theirs.cycles if "inflow_m3s" in c.features
    ]
    t_ms, flow = (np.array(column, float) for column in zip(*flows, strict=True))
    nominal = float(site.capacity_m3s or 0)
    pumps = tuple(
        PumpSpec(float(np.median(feature(theirs, "capacity_m3s", f"pump{n}"))) / nominal)
        for n in (1, 2)
    )
    levels = chunk.signals["level_m"]
    resolution = float(np.min(np.diff(np.unique(np.round(levels[np.isfinite(levels)], 4)))))
    rated = site.rated_current_a or 3.0
    spec = StationSpec(
        replace(site, rated_current_a=rated),
        Catchment(sewage_m3s=0.001, infiltration_m3s=0.0001),
        pumps=pumps,
        sensors=Sensors(level_step_m=max(resolution, 0.001)),
        well=Well(benching_share=1.0),
    )
    ordinary = engine.Inflow
    engine.Inflow = GivenInflow(t_ms, np.maximum(flow, 0))  # type: ignore[assignment,misc]
    try:
        ours = record(spec, [], BESIDE_DAYS, int(chunk.t_ms[0]) // DAY_MS * DAY_MS)
    finally:
        engine.Inflow = ordinary  # type: ignore[misc]
    return theirs, ours


def feature(made: Record, name: str, pump: str | None = None) -> Floats:
    """Values of single-pump cycles."""
    return np.array(
        [
            c.features[name]
            for c in made.cycles
            if name in c.features and c.pump != "both" and pump in (None, c.pump)
        ]
    )


def drawdown(made: Record, seconds: int = 240) -> tuple[Floats, Floats]:
    """Median level below its start, second by second of a run, on the sampling grid."""
    step = int(made.site.sample_s or 10)
    grid = np.arange(0, seconds + 1, step)
    t, level = made.chunk.t_ms, made.chunk.signals["level_m"]
    curves = []
    for c in made.cycles:
        a, b = np.searchsorted(t, [c.start_ms, c.end_ms])
        if c.pump == "both" or b - a < 3:
            continue
        own = (t[a:b] - c.start_ms) / 1000
        curve = np.interp(grid, own, level[a:b], right=np.nan)
        curves.append(curve - curve[0])
    stacked = np.array(curves)
    enough = np.isfinite(stacked).mean(axis=0) > 0.5
    return grid[enough].astype(float), np.nanmedian(stacked[:, enough], axis=0)


def beside(folder: Path, out: Path) -> None:
    healthy = [
        p.parent
        for p in sorted(folder.glob("*/truth.json"))
        if json.loads(p.read_text())["kind"] == "healthy"
    ]
    chosen = [p for p in healthy if json.loads((p / "site.json").read_text())["sample_s"] == 10][:4]
    chosen += [p for p in healthy if json.loads((p / "site.json").read_text())["sample_s"] == 60][
        :4
    ]
    parts = [
        text(6, 14, "Grey: the other engine. Blue: the simulator, same geometry, same inflow.")
    ]
    print(
        "| site | every | run [s] | fill [s] | capacity [L/s] | starts a day | draw-down apart [m] |"
    )
    print("|---|---|---|---|---|---|---|")
    for row, path in enumerate(chosen):
        theirs, ours = twin(read_recording(path))
        parts += beside_row(row, theirs, ours)
        print(table_row(theirs, ours))
    drawing = picture(900, 40 + 118 * len(chosen), "Simulator beside another engine", parts)
    (out / "beside.svg").write_text(drawing, encoding="utf-8")


def table_row(theirs: Record, ours: Record) -> str:
    cells = [theirs.site.site, f"{theirs.site.sample_s:.0f} s"]
    for name, factor, digits in (("run_s", 1, 0), ("fill_s", 1, 0), ("capacity_m3s", 1000, 2)):
        pair = [
            "/".join(
                f"{factor * q:.{digits}f}" for q in np.quantile(feature(r, name), [0.1, 0.5, 0.9])
            )
            for r in (theirs, ours)
        ]
        cells.append(" · ".join(pair))
    cells.append(" · ".join(f"{len(r.cycles) / BESIDE_DAYS:.1f}" for r in (theirs, ours)))
    (_, a), (_, b) = drawdown(theirs), drawdown(ours)
    n = min(len(a), len(b))
    cells.append(f"{np.max(np.abs(a[:n] - b[:n])):.3f}")
    return f"| {' | '.join(cells)} |"


def beside_row(row: int, theirs: Record, ours: Record) -> list[str]:
    top, parts = 40 + 118 * row, []
    site = theirs.site
    for k, (name, words) in enumerate((("run_s", "run [s]"), ("fill_s", "fill [s]"))):
        a, b = feature(theirs, name), feature(ours, name)
        edges = np.linspace(0, float(np.quantile(np.concatenate([a, b]), 0.98)), 41)
        counts = [np.histogram(v, edges)[0] / len(v) for v in (a, b)]
        panel = Panel(
            40 + 290 * k, top, 240, 76, (0, edges[-1]), (0, float(max(map(np.max, counts))))
        )
        middle = (edges[1:] + edges[:-1]) / 2
        ticks = [(x, f"{x:.0f}") for x in (0, edges[-1] / 2, edges[-1])]
        title = f"{site.site}: share of cycles by {words}" if k == 0 else words
        parts += [panel.frame(title, ticks), panel.line(middle, counts[0], "#888", 4)]
        parts.append(panel.line(middle, counts[1], PUMP_COLOURS[0], 1.5))
    (ta, a), (tb, b) = drawdown(theirs), drawdown(ours)
    panel = Panel(620, top, 260, 76, (0, max(ta[-1], tb[-1])), (min(a.min(), b.min()), 0.0))
    parts.append(
        panel.frame(
            "draw-down: level below its start [m] over seconds",
            [(0, "0"), (panel.x[1], f"{panel.x[1]:.0f}")],
        )
    )
    parts += [panel.line(ta, a, "#888", 4), panel.line(tb, b, PUMP_COLOURS[0], 1.5)]
    return parts


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("docs/images/simulator"))
    options.add_argument("--only", nargs="*")
    options.add_argument("--beside", type=Path)
    asked = options.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for code in FAULTS if asked.only is None else asked.only:
        (asked.out / f"{code}.svg").write_text(fault_picture(code), encoding="utf-8")
        print(code)
    if asked.beside:
        beside(asked.beside, asked.out)


if __name__ == "__main__":
    main()
