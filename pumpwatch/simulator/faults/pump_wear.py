"""Worn impeller and wear ring: flow and head fall slowly and smoothly, and the current with them."""

from __future__ import annotations

from typing import ClassVar

from pumpwatch.simulator.faults.base import Fault, change_pump
from pumpwatch.simulator.plant import Condition


class PumpWear(Fault):
    """At breakdown the pump no longer carries the daily peak alone."""

    code: ClassVar = "pump_wear"
    on_pump: ClassVar = True
    growth_h: ClassVar = 60 * 24.0

    def act(self, plant: Condition, severity: float, pump: int | None, hours: float) -> Condition:
        return change_pump(plant, pump, flow=1 - 0.5 * severity, head=1 - 0.15 * severity)
