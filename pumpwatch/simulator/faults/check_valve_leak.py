"""A check valve that no longer seats: the partner's flow circulates, the main runs back after a stop."""

from __future__ import annotations

from typing import ClassVar

from pumpwatch.simulator.faults.base import Fault, change_pump
from pumpwatch.simulator.plant import Condition


class CheckValveLeak(Fault):
    """``pump`` is the one whose valve leaks; its partner is the one that looks weak."""

    code: ClassVar = "check_valve_leak"
    on_pump: ClassVar = True
    growth_h: ClassVar = 14 * 24.0

    def act(self, plant: Condition, severity: float, pump: int | None, hours: float) -> Condition:
        return change_pump(plant, pump, valve_leak=0.5 * severity)
