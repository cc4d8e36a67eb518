"""Odd things within single cycles, each a yes or no that a count chart adds up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from pumpwatch.diagnosis.references import PumpReference, SiteReference
from pumpwatch.diagnosis.seen import Seen
from pumpwatch.diagnosis.settings import DiagnosisSettings

Event = tuple[str, int | None, bool]
"""Name, pump (None: the station) and whether it happened."""


@dataclass
class Turns:
    """Whose turn it is: what alternation looks like while it works."""

    last_pump: int = 0
    last_run_ms: dict[int, int] = field(default_factory=dict)
    others: dict[int, int] = field(default_factory=dict)
    """Starts of other pumps since pump k last began a run."""
    back_ms: dict[int, int] = field(default_factory=dict)
    """When pump k came back after missing several turns: somebody may have worked on it."""

    def expected(self, pumps: int, site: SiteReference) -> int | None:
        """The pump whose turn it is, where two take turns at every start."""
        if pumps != 2 or site.turns < 0.8 or not self.last_pump:
            return None
        return 3 - self.last_pump

    def add(self, c: Seen, pumps: int) -> None:
        for k in range(1, pumps + 1):
            if c.pump == k:
                if self.others.get(k, 0) >= 3:
                    self.back_ms[k] = c.final_ms
                self.others[k] = 0
                self.last_run_ms[k] = c.final_ms
            else:
                self.others[k] = self.others.get(k, 0) + 1
                self.last_run_ms.setdefault(k, c.final_ms)
        self.last_pump = c.pump


@dataclass
class Usual:
    """Where starts and stops have been lately, so that a new set-point or a drifting sensor, which move
    all of them, are not taken for single odd ones."""

    starts: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)

    def add(self, c: Seen, site: SiteReference, s: DiagnosisSettings) -> bool:
        """Take a cycle's levels; True if all starts of late are late, so that this is the new level."""
        if not c.valid or not c.start_m - c.stop_m > s.short_run * site.band_m:
            return False
        before = self.start_m(site.start_m)
        self.starts.append(c.start_m)
        self.stops.append(c.stop_m)
        del self.starts[: -s.usual_window], self.stops[: -s.usual_window]
        last = self.starts[-4:]
        moved = len(last) == 4 and min(last) > before + s.late_start_m
        if moved:
            self.starts = last
        return moved

    def start_m(self, otherwise: float) -> float:
        """The lower third of recent starts: late ones may be every second."""
        return _ranked(self.starts, 1 / 3) if len(self.starts) >= 4 else otherwise

    def stop_m(self, otherwise: float) -> float:
        """The upper third of recent stops: low ones may be many."""
        return _ranked(self.stops, 2 / 3) if len(self.stops) >= 4 else otherwise


def _ranked(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def events_of(
    c: Seen,
    site: SiteReference,
    pump: PumpReference | None,
    usual: Usual,
    expected: int | None,
    wet: bool,
    s: DiagnosisSettings,
) -> list[Event]:
    """Everything this cycle can tell. Names are those of `causes.TABLE`."""
    found: list[Event] = []
    start, stop = usual.start_m(site.start_m), usual.stop_m(site.stop_m)
    late = c.start_m > start + max(s.late_start_m, 5.0 * site.start_spread)
    drop = c.start_m - c.stop_m
    if (c.valid or c.reason == "no_fill") and math.isfinite(drop):
        found.append(("short_run", c.pump, drop < s.short_run * (start - stop) and not late))
    if c.valid and math.isfinite(c.stop_m):
        # what runs back through a leaking valve lifts the stops that are seen late: the others are not low
        low = c.stop_m < min(stop, site.stop_m) - max(s.low_stop_m, 5.0 * site.stop_spread)
        found.append(("low_stop", c.last_pump, low))
    if wet:
        return found
    handed = c.reason in ("hand_over", "parallel_run")
    if (c.valid or handed) and math.isfinite(c.start_m) and c.fill_s > 0:
        found.append(("late_start", None, late))
        if expected is not None:
            found.append(("turn_lost", expected, late and not c.pumps & (1 << (expected - 1))))
    if pump is not None and (c.valid or handed):
        found += _pumping(c, pump, handed, s)
    if pump is not None and c.reason == "long_run" and _little(c, pump, s):
        found.append(("low_capacity", c.pump, True))
    return found


def _little(c: Seen, pump: PumpReference, s: DiagnosisSettings) -> bool:
    """Whether so little came in before that one pump in order would soon have emptied the well."""
    flows = [q for q in (c.fill_inflow, c.inflow) if math.isfinite(q)]
    return bool(flows) and max(flows) < s.much_inflow * math.exp(pump.capacity.value)


def _pumping(c: Seen, pump: PumpReference, handed: bool, s: DiagnosisSettings) -> list[Event]:
    found: list[Event] = []
    if _little(c, pump, s):
        tripped = handed and c.first_s <= s.trip_s
        found.append(("trip", c.pump, tripped))
        found.append(("hand_over", c.pump, handed and not tripped))
    if c.valid and math.isfinite(c.log_capacity) and c.samples >= 3:
        rest = c.log_capacity - pump.capacity.expect(c.log_inflow)
        found.append(("low_capacity", c.pump, rest < math.log(s.low_capacity)))
    return found
