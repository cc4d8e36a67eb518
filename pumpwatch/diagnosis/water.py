"""What comes in: water that is missing at an hour at which it always comes, and water that is new.

Inflow is compared with what the same hour of the day brought while references were learnt. A blocked sewer
takes it away within a day or two and in dry weather; a new discharger adds to it at the same hours every day.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from pumpwatch.diagnosis import robust
from pumpwatch.diagnosis.references import SiteReference
from pumpwatch.diagnosis.seen import Seen
from pumpwatch.diagnosis.settings import DiagnosisSettings

HOUR_MS = 3_600_000
PART_H = 4
"""Hours of the parts of the day that are followed; the first is night."""


@dataclass
class WaterState:
    """Cycles in a row with too little water, and days in a row on which a part of the day had too much."""

    low: int = 0
    low_from_ms: int = 0
    scarce: int = 0
    scarce_from_ms: int = 0
    today: list[tuple[int, float]] = field(default_factory=list)
    """Part of the day, inflow beyond the usual as a share of the usual peak."""
    raised: list[int] = field(default_factory=lambda: [0] * (24 // PART_H))
    share: float = 0.0
    """Largest share by which a raised part of the day was raised last."""

    @property
    def missing(self) -> int:
        return max(self.low, self.scarce)

    def add(
        self, c: Seen, hour: float, rainy: bool, site: SiteReference, s: DiagnosisSettings
    ) -> bool:
        """Take a valid cycle; True once water is missing for certain."""
        if math.isnan(c.inflow):
            return False
        usual = usual_inflow(site, hour)
        if not self.low:
            self.low_from_ms = c.start_ms
        if not self.scarce:
            self.scarce_from_ms = c.start_ms
        self.low = self.low + 1 if c.inflow < s.low_inflow_ratio * site.quiet_inflow else 0
        quiet = s.scarce_quiet_ratio * site.quiet_inflow
        few = c.inflow < min(s.scarce_inflow_ratio * usual, quiet)
        self.scarce = self.scarce + 1 if few else 0
        if not rainy and math.isfinite(usual):
            self.today.append((int(hour) // PART_H, (c.inflow - usual) / site.peak_inflow))
        lasting = c.final_ms - self.scarce_from_ms >= s.scarce_h * HOUR_MS
        return self.low >= s.low_inflow_cycles or (self.scarce >= s.scarce_cycles and lasting)

    def end_day(self, s: DiagnosisSettings) -> bool:
        """A local day is over; True if some part of it has had new water day after day, but not the night."""
        shares = [_typical(self.today, part) for part in range(24 // PART_H)]
        self.today.clear()
        for part, share in enumerate(shares):
            if not math.isnan(share):
                self.raised[part] = self.raised[part] + 1 if share > s.day_effect else 0
        self.share = max((v for v in shares if v > s.day_effect), default=self.share)
        return self.lasting >= s.days_raised and not self.raised[0]

    @property
    def lasting(self) -> int:
        """Days in a row on which one part of the day, the night apart, was raised."""
        return max(self.raised[1:])


def usual_inflow(site: SiteReference, hour: float) -> float:
    """What this hour of the local day brought while references were learnt [m3/s]; NaN where unknown."""
    logs = site.hours
    return math.exp(logs[int(hour) % 24]) if logs else math.nan


def _typical(today: Sequence[tuple[int, float]], part: int) -> float:
    values = [v for p, v in today if p == part]
    return robust.median(values) if len(values) >= 2 else math.nan
