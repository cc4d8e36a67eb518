"""What every event is: a course of severity over time, and an act upon the plant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.clock import HOUR_MS
from pumpwatch.simulator.condition import Condition, PumpCondition
from pumpwatch.simulator.spec import StationSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Param:
    """One number that shapes an event: its unit, the bounds it must keep, what it is by default."""

    unit: str
    low: float
    high: float
    default: float
    en: str


@dataclass(frozen=True, slots=True)
class Acting:
    """One event at one moment. ``pump`` is 0-based, ``hours`` are since onset, ``local_h`` of the day.

    ``chance`` draws a number in [0, 1) that belongs to this event and moment; ``rain_mm`` asks for
    the rain of the last six hours.
    """

    spec: StationSpec
    severity: float
    hours: float
    pump: int | None
    params: Mapping[str, float]
    local_h: float
    chance: Callable[[], float]
    rain_mm: Callable[[], float]

    def of(self, condition: Condition) -> PumpCondition:
        """The pump it befalls."""
        assert self.pump is not None
        return condition.pumps[self.pump]

    @property
    def capacity_m3s(self) -> float:
        """Nameplate flow of one pump."""
        return float(self.spec.site.capacity_m3s or 0)


Act = Callable[[Condition, Acting], None]
Shows = Callable[[StationSpec, Mapping[str, float]], bool]
"""Whether anything in a recording of this station shows an event of these parameters."""
Course = Callable[[float, np.random.Generator], Floats]


def smooth(growth_h: float, rng: np.random.Generator) -> Floats:
    """Severity at every full hour from onset to breakdown, (hours + 1,); the last one stays."""
    hours = max(int(np.ceil(growth_h)), 0)
    if hours == 0:
        return np.ones(1)
    return np.asarray(np.minimum(np.arange(hours + 1) / growth_h, 1.0) ** 1.2)


def saw_tooth(growth_h: float, rng: np.random.Generator) -> Floats:
    """Rags come in lumps; now and then a part lets go and the rest gathers anew."""
    hours = max(int(np.ceil(growth_h)), 1)
    ideal = np.minimum(np.arange(hours + 1) / hours, 1.0) ** 0.85
    loosens = rng.random(hours + 1) < 1 / 60
    keeps = rng.uniform(0.55, 0.8, hours + 1)
    lumps = rng.gamma(0.5, 2.0, hours + 1)
    severity = np.zeros(hours + 1)
    held = 0.0
    for hour in range(1, hours + 1):
        if loosens[hour] and hour < 0.9 * hours:
            held *= keeps[hour]
        else:
            held += (ideal[hour] - held) * min(0.12 * lumps[hour], 1.0)
        severity[hour] = held
    severity[-1] = 1.0
    return severity


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One way a station fails, or one harmless thing that happens to it.

    ``alerts`` are the codes of `pumpwatch.domain.faults.FAULT_GROUP` that it should lead to, the
    likeliest first; a harmless kind has none. ``ramp_days`` is the time from onset to breakdown when
    nobody says otherwise, 0 for an abrupt one, which has ``deadline_h`` to be noticed in. ``lasts_h``
    is when it ends by itself, None if it stays until it is repaired; ``self_clears`` that it may
    come and go before that. ``every_min`` is how often its act is looked at anew. ``shows`` is None
    for what every recording shows; what no published signal shows is not scored.
    """

    code: str
    en: str
    ja: str
    act: Act
    on_pump: bool = False
    ramp_days: float = 0.0
    alerts: tuple[str, ...] = ()
    lasts_h: float | None = None
    self_clears: bool = False
    deadline_h: float = 0.0
    params: Mapping[str, Param] = field(default_factory=dict)
    course: Course = smooth
    every_min: int = 10
    shows: Shows | None = None

    @property
    def harmless(self) -> bool:
        return not self.alerts

    @property
    def growth_h(self) -> float:
        """`ramp_days` in hours."""
        return self.ramp_days * 24

    def targets(self, pumps: int) -> tuple[str, ...]:
        """What it may befall at a station of ``pumps`` pumps; empty where it befalls the whole."""
        return tuple(f"pump{n + 1}" for n in range(pumps)) if self.on_pump else ()

    def breakdown_ms(self, start_ms: int) -> int:
        """When it breaks down if nobody says otherwise."""
        return start_ms + int(self.growth_h * HOUR_MS)
