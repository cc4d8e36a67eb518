"""One cycle as diagnosis sees it: plain numbers, NaN where unknown."""

from __future__ import annotations

import math
from typing import NamedTuple

from pumpwatch.cycles.cutter import REASONS, Cycles
from pumpwatch.cycles.features import Measures

NAN = float("nan")


class Seen(NamedTuple):
    """A cycle's numbers. Flows as in `pumpwatch.cycles.features`; logarithms are natural."""

    start_ms: int
    final_ms: int
    pump: int
    last_pump: int
    pumps: int
    reason: str
    flags: int
    run_s: float
    first_s: float
    fill_s: float
    start_m: float
    stop_m: float
    max_m: float
    inflow: float
    fill_inflow: float
    capacity: float
    backflow: float
    current: float
    scatter: float
    rain_mm: float
    samples: int

    @property
    def valid(self) -> bool:
        return not self.reason

    @property
    def log_capacity(self) -> float:
        return math.log(self.capacity) if self.capacity > 0 else NAN

    @property
    def log_inflow(self) -> float:
        return math.log(self.inflow) if self.inflow > 0 else NAN

    @property
    def log_current(self) -> float:
        return math.log(self.current) if self.current > 0 else NAN


_COLUMNS = [
    ("start_ms", "final_ms", "pump", "last_pump", "pumps"),
    ("flags", "run_s", "first_s", "fill_s", "start_level_m", "stop_level_m", "max_m"),
    ("current_a", "scatter_a", "rain_mm", "samples"),
]
_FLOWS = ("inflow", "fill_inflow", "capacity", "backflow")


def see(cycles: Cycles, measures: Measures) -> list[Seen]:
    """Cycles and their flows, one `Seen` each."""
    head, body, tail = ([cycles[n].tolist() for n in names] for names in _COLUMNS)
    reasons = [REASONS[r] for r in cycles["reason"].tolist()]
    flow = [measures[n].tolist() for n in _FLOWS]
    return [Seen(*row) for row in zip(*head, reasons, *body, *flow, *tail, strict=True)]
