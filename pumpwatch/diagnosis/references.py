"""Frozen references: what each pump and its well did while they were known to be well.

A reference is learnt once from the first good days and changes only when somebody says so (site log) or
when a step is accepted as benign; a slow failure is never learnt as normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from pumpwatch.diagnosis import robust
from pumpwatch.diagnosis.seen import NAN, Seen
from pumpwatch.diagnosis.settings import DiagnosisSettings

TAKES_TURNS = 0.8
"""From this share of starts by another pump than before on, the pumps take turns."""
SHIFT_H = 4.0
"""Least rest of a pump while another has the duty, where the clock passes it on [h]."""


@dataclass
class Line:
    """A feature's normal: a straight line over log inflow, and how far single cycles and half-day
    medians scatter around it."""

    value: float = NAN
    slope: float = 0.0
    middle: float = 0.0
    low: float = NAN
    high: float = NAN
    cycle_sigma: float = NAN
    half_sigma: float = NAN

    @property
    def known(self) -> bool:
        return not math.isnan(self.value)

    def expect(self, log_inflow: float) -> float:
        """Normal value at this inflow, held at the ends of what was seen."""
        x = self.middle if math.isnan(log_inflow) else min(max(log_inflow, self.low), self.high)
        return self.value + self.slope * (x - self.middle)


@dataclass
class PumpReference:
    """One pump's normal, in logarithms; backflow as a share of capacity."""

    capacity: Line = field(default_factory=Line)
    current: Line = field(default_factory=Line)
    scatter: float = NAN
    backflow: Line = field(default_factory=Line)
    since_ms: int = 0


@dataclass
class SiteReference:
    """The well's normal: switching levels, inflow through the day, and how often odd cycles come."""

    start_m: float
    stop_m: float
    start_sigma: float
    stop_sigma: float
    start_spread: float
    stop_spread: float
    quiet_inflow: float
    peak_inflow: float
    night: Line
    turns: float
    rates: dict[str, float] = field(default_factory=dict)
    rests_h: dict[int, float] = field(default_factory=dict)
    """Longest usual rest of each pump [h]; none where a duty was not seen to pass on often enough."""
    rests_seen: dict[int, list[float]] = field(default_factory=dict)
    """Of the others the rests seen so far [h]: a duty that passes on daily shows too few in the first week."""
    hours: list[float] = field(default_factory=list)
    """Log inflow by hour of the local day, (24,)."""
    since_ms: int = 0

    @property
    def band_m(self) -> float:
        return self.start_m - self.stop_m

    def rested(self, pump: int, rest_h: float) -> None:
        """Take a rest that is over, of a pump whose usual one is not known yet."""
        if pump in self.rests_h or self.turns > TAKES_TURNS or rest_h <= SHIFT_H:
            return
        rests = self.rests_seen.setdefault(pump, [])
        rests.append(rest_h)
        if len(rests) >= 3:
            self.rests_h[pump] = sorted(rests)[-2]


def learn_pump(
    seen: Sequence[tuple[int, Seen]], resolution_share: float, s: DiagnosisSettings
) -> PumpReference | None:
    """A pump's reference from (half-day, cycle) pairs of valid dry cycles, or None while too few."""
    counts: dict[int, int] = {}
    for half, _ in seen:
        counts[half] = counts.get(half, 0) + 1
    good = [(h, c) for h, c in seen if counts[h] >= s.min_cycles]
    if len(good) < s.reference_cycles or len({h for h, _ in good}) < s.reference_halves:
        return None
    halves = np.array([h for h, _ in good])
    inflow = np.array([c.log_inflow for _, c in good])
    floor = max(s.capacity_floor, resolution_share)
    capacity = _line(halves, inflow, np.array([c.log_capacity for _, c in good]), floor)
    size = math.exp(capacity.value)
    amps = np.array([c.current for _, c in good])
    logs = np.log(np.where(amps > 0, amps, np.nan))
    current = _line(halves, inflow, logs, _current_floor(amps, s))
    back = np.array([c.backflow / size for _, c in good])
    backflow = _line(halves, np.zeros(len(back)), back, s.backflow_floor)
    scatter = robust.median([c.scatter / c.current for _, c in good if c.current > 0])
    return PumpReference(capacity, current, scatter, backflow, good[-1][1].final_ms)


def _current_floor(amps: np.ndarray, s: DiagnosisSettings) -> float:
    """Relative spread a current signal cannot resolve: a third of its smallest step."""
    steps = np.diff(np.unique(np.round(amps[np.isfinite(amps)], 3)))
    size = robust.median(amps)
    known = len(steps) > 0 and size > 0
    return max(s.current_floor, 0.3 * float(steps.min()) / size if known else 0.0)


def _line(halves: np.ndarray, x: np.ndarray, y: np.ndarray, floor: float) -> Line:
    ok = np.isfinite(x) & np.isfinite(y)
    if ok.sum() < 8:
        return Line()
    halves, x, y = halves[ok], x[ok], y[ok]
    a, b, m = robust.line(x, y)
    rest = y - a - b * (x - m)
    medians = [float(np.median(rest[halves == h])) for h in np.unique(halves)]
    low, high = np.quantile(x, [0.02, 0.98])
    return Line(
        value=a,
        slope=b,
        middle=m,
        low=float(low),
        high=float(high),
        cycle_sigma=max(robust.sigma(rest), floor),
        half_sigma=max(robust.sigma(medians), floor),
    )


def learn_site(
    seen: Sequence[tuple[int, Seen]],
    hours: Sequence[float],
    resolution_m: float,
    s: DiagnosisSettings,
) -> SiteReference | None:
    """The well's reference from (half-day, cycle) pairs and their local hours, or None while too few."""
    valid = [(h, c, hour) for (h, c), hour in zip(seen, hours, strict=True) if c.valid]
    if len(valid) < s.reference_cycles:
        return None
    start = np.array([c.start_m for _, c, _ in valid])
    stop = np.array([c.stop_m for _, c, _ in valid])
    inflow = np.array([c.inflow for _, c, _ in valid])
    inflow = inflow[np.isfinite(inflow)]
    if not len(inflow) or not np.isfinite(start - stop).any():
        return None
    halves = np.array([h for h, _, _ in valid])
    floor = s.level_floor_m + 0.4 * resolution_m
    night = [
        (h, v)
        for h in np.unique(halves)
        if not math.isnan(v := night_inflow([(c, o) for k, c, o in valid if k == h]))
    ]
    values = [v for _, v in night]
    runs = [c.pump for _, c, _ in valid]
    changes = [a != b for a, b in pairwise(runs)]
    in_turn = bool(changes) and float(np.mean(changes)) > TAKES_TURNS
    rests = {k: _rests(valid, k, in_turn) for k in set(runs)}
    return SiteReference(
        start_m=robust.median(start),
        stop_m=robust.median(stop),
        start_sigma=max(_half_sigma(halves, start), floor),
        stop_sigma=max(_half_sigma(halves, stop), floor),
        start_spread=max(robust.sigma(start), floor),
        stop_spread=max(robust.sigma(stop), floor),
        quiet_inflow=float(np.quantile(inflow, 0.05)),
        peak_inflow=float(np.quantile(inflow, 0.95)),
        night=Line(
            value=robust.median(values),
            low=0.0,
            high=0.0,
            half_sigma=max(robust.sigma(values), s.inflow_floor) if values else NAN,
        ),
        turns=float(np.mean(changes)) if changes else 0.0,
        rests_h={k: r[-2] for k, r in rests.items() if len(r) >= 3},
        rests_seen={k: r for k, r in rests.items() if 0 < len(r) < 3},
        hours=_by_hour([(c, hour) for _, c, hour in valid]),
        since_ms=valid[-1][1].final_ms,
    )


def switched(before: SiteReference, now: SiteReference) -> SiteReference:
    """``before`` with the switching levels of ``now``: a new set-point moves them and brings no other water.

    Half a day of starts does not show how far their medians scatter, so the spreads known before stand.
    """
    return replace(
        before,
        start_m=now.start_m,
        stop_m=now.stop_m,
        start_spread=max(before.start_spread, now.start_spread),
        stop_spread=max(before.stop_spread, now.stop_spread),
        since_ms=now.since_ms,
    )


def _rests(valid: Sequence[tuple[int, Seen, float]], pump: int, in_turn: bool) -> list[float]:
    """The times between two starts of a pump that tell how long it may rest [h], in order of length.

    Where the duty passes on by the clock, only rests of hours do, and a pump without three of them says
    nothing: its next may be the first that lasts a week.
    """
    starts = [c.start_ms for _, c, _ in valid if c.pump == pump]
    rests = sorted((b - a) / 3_600_000 for a, b in pairwise(starts))
    return (
        rests
        if sum(in_turn or r > SHIFT_H for r in rests) >= 3
        else [r for r in rests if r > SHIFT_H]
    )


def _by_hour(cycles: Sequence[tuple[Seen, float]]) -> list[float]:
    """Log inflow by hour of the day: the median of the hour and its neighbours; NaN where none is near."""
    hours = np.array([hour for _, hour in cycles])
    logs = np.array([c.log_inflow for c, _ in cycles])
    apart = [np.abs((hours - h - 0.5 + 12) % 24 - 12) for h in range(24)]
    return [robust.median(logs[d <= 1.5]) for d in apart]


def _half_sigma(halves: np.ndarray, values: np.ndarray) -> float:
    return robust.sigma([robust.median(values[halves == h]) for h in np.unique(halves)])


def night_inflow(cycles: Sequence[tuple[Seen, float]]) -> float:
    """Log of the night's low inflow: the second lowest of the dry cycles between midnight and six."""
    values = sorted(c.log_inflow for c, hour in cycles if hour < 6.0 and c.inflow > 0)
    return values[min(1, len(values) - 1)] if values else NAN
