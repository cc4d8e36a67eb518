"""What can happen to a simulated station: faults that should be told, harmless events that should not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pumpwatch.domain.clock import HOUR_MS
from pumpwatch.simulator.faults import FAULTS as _CLASSES


@dataclass(frozen=True, slots=True)
class Param:
    """One number that shapes an event: its unit, the bounds it must keep, what it is by default."""

    unit: str
    low: float
    high: float
    default: float
    en: str


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One way a station fails, or one harmless thing that happens to it.

    ``alerts`` are the codes of `pumpwatch.domain.faults.FAULT_GROUP` that it should lead to, the
    likeliest first; a harmless kind has none. ``ramp_days`` is the time from onset to breakdown when
    nobody says otherwise, 0 for an abrupt one, which has ``deadline_h`` to be noticed in. ``lasts_h``
    is when it ends by itself, None if it stays until it is repaired; ``self_clears`` that it may
    come and go before that.
    """

    code: str
    en: str
    ja: str
    on_pump: bool
    ramp_days: float = 0.0
    alerts: tuple[str, ...] = ()
    lasts_h: float | None = None
    self_clears: bool = False
    deadline_h: float = 0.0
    params: Mapping[str, Param] = field(default_factory=dict)

    @property
    def harmless(self) -> bool:
        return not self.alerts

    def targets(self, pumps: int) -> tuple[str, ...]:
        """What it may befall at a station of ``pumps`` pumps; empty where it befalls the whole."""
        return tuple(f"pump{n + 1}" for n in range(pumps)) if self.on_pump else ()

    def breakdown_ms(self, start_ms: int) -> int:
        """When it breaks down if nobody says otherwise."""
        return start_ms + int(self.ramp_days * 24 * HOUR_MS)


_WORDS = {
    "pump_ragging": ("Rags on the impeller", "異物絡まり"),
    "pump_wear": ("Worn impeller and wear ring", "羽根車摩耗"),
    "check_valve_leak": ("Check valve does not seat", "逆止弁漏れ"),
    "power_outage": ("Mains power lost", "停電"),
}

FAULTS: dict[str, FaultKind] = {
    code: FaultKind(
        code,
        *_WORDS[code],
        on_pump=kind.on_pump,
        ramp_days=kind.growth_h / 24,
        alerts=(code,),
        lasts_h=kind.lasts_h,
        self_clears=code == "pump_ragging",
        deadline_h=kind.deadline_h,
    )
    for code, kind in _CLASSES.items()
}
"""Faults by code."""

HARMLESS: dict[str, FaultKind] = {}
"""Harmless events by code."""


def kind_of(code: str) -> FaultKind | None:
    """The kind of a code of either table."""
    return FAULTS.get(code) or HARMLESS.get(code)
