"""What may be judged now: wetness by gauge or by the inflow itself, and what people were doing."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pumpwatch.cycles.rows import DOOR, MANUAL
from pumpwatch.diagnosis.references import SiteReference
from pumpwatch.diagnosis.seen import Seen
from pumpwatch.diagnosis.settings import DiagnosisSettings

HOUR_MS = 3_600_000


@dataclass
class WetGate:
    """Remembers rain, or where there is no gauge, inflow beyond the usual peak."""

    rain_mm: float = 0.0
    at_ms: int = 0
    high_from_ms: int | None = None
    high_at_ms: int = 0
    rainy: bool = False
    """Whether the gauge says so; without one nobody knows."""

    def add(
        self, cycle: Seen, ref: SiteReference | None, gauge: bool, s: DiagnosisSettings
    ) -> bool:
        """Take the next cycle; True if it is wet."""
        if self.at_ms:
            hours = max(0.0, (cycle.final_ms - self.at_ms) / HOUR_MS)
            self.rain_mm *= math.exp(-hours / s.rain_memory_h)
        self.rain_mm += cycle.rain_mm
        self.at_ms = cycle.final_ms
        self.rainy = gauge and self.rain_mm > s.wet_mm
        if self.rainy:
            return True
        return ref is not None and self._by_inflow(cycle, ref, s)

    def _by_inflow(self, cycle: Seen, ref: SiteReference, s: DiagnosisSettings) -> bool:
        flow = max((q for q in (cycle.inflow, cycle.fill_inflow) if math.isfinite(q)), default=0.0)
        if flow > s.wet_inflow * ref.peak_inflow:
            if self.high_from_ms is None:
                self.high_from_ms = cycle.final_ms
            self.high_at_ms = cycle.final_ms
        elif cycle.final_ms - self.high_at_ms > s.wet_hold_h * HOUR_MS:
            self.high_from_ms = None
        return (
            self.high_from_ms is not None
            and cycle.final_ms - self.high_from_ms < s.wet_max_days * 24 * HOUR_MS
        )


def visited(cycle: Seen) -> bool:
    """Somebody was at the panel: what the pumps did then is not their own doing."""
    return bool(cycle.flags & (MANUAL | DOOR))
