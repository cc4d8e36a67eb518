"""The mains are gone: both pumps stand, the well fills, and a small battery keeps the panel talking."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from pumpwatch.simulator.faults.base import Fault
from pumpwatch.simulator.plant import Condition


@dataclass(frozen=True)
class PowerOutage(Fault):
    """``battery_h`` hours after onset the panel falls silent too; None lasts as long as the outage."""

    battery_h: float | None = None

    code: ClassVar = "power_outage"
    on_pump: ClassVar = False
    growth_h: ClassVar = 0.0
    lasts_h: ClassVar = 2.0
    deadline_h: ClassVar = 0.25

    def act(self, plant: Condition, severity: float, pump: int | None, hours: float) -> Condition:
        speaks = self.battery_h is None or hours < self.battery_h
        return replace(plant, power=False, telemetry=plant.telemetry and speaks)
