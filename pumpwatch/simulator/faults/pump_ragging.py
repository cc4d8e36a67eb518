"""Rags on the impeller: capacity falls in steps, current rises and scatters, some come loose again."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pumpwatch.simulator.faults.base import Fault, change_pump
from pumpwatch.simulator.plant import Condition


class PumpRagging(Fault):
    """At breakdown the pump has lost about half of its flow and labours at a fifth more current."""

    code: ClassVar = "pump_ragging"
    on_pump: ClassVar = True
    growth_h: ClassVar = 168.0

    def course(self, growth_h: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """A saw-tooth: rags come in lumps; now and then a part lets go and the rest gathers anew."""
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

    def act(self, plant: Condition, severity: float, pump: int | None, hours: float) -> Condition:
        return change_pump(
            plant,
            pump,
            flow=1 - 0.52 * severity,
            head=1 - 0.12 * severity,
            current=1 + 0.55 * severity,
            scatter=0.05 * severity,
        )
