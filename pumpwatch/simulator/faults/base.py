"""What every fault is: a course of severity over time, and an act upon the plant."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pumpwatch.simulator.plant import Condition


class Fault(ABC):
    """A way a station fails. One class in one file of this package is all a new one needs.

    Severity runs from 0 at onset to 1 at breakdown, when the thing no longer does its work.
    A fault changes the `Condition` of the plant and never what is published.
    """

    code: ClassVar[str]
    """One of `pumpwatch.domain.faults.FAULT_GROUP`."""
    on_pump: ClassVar[bool]
    """Whether it needs a target pump."""
    growth_h: ClassVar[float]
    """Hours from onset to breakdown when nobody says otherwise; 0 for an abrupt one."""
    lasts_h: ClassVar[float | None] = None
    """Hours until it ends by itself; None stays until it is cleared."""
    deadline_h: ClassVar[float] = 0.0
    """For an abrupt fault: how soon it should have been noticed."""

    def course(self, growth_h: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Severity at every full hour from onset to breakdown, (hours + 1,); the last one stays."""
        hours = max(int(np.ceil(growth_h)), 0)
        if hours == 0:
            return np.ones(1)
        return np.asarray(np.minimum(np.arange(hours + 1) / growth_h, 1.0) ** 1.2)

    @abstractmethod
    def act(self, plant: Condition, severity: float, pump: int | None, hours: float) -> Condition:
        """The plant with this fault at ``severity``, ``hours`` after onset; ``pump`` is 0-based."""


def change_pump(plant: Condition, pump: int | None, **factors: float) -> Condition:
    """``plant`` with one pump changed: scales multiply, ``scatter`` and ``valve_leak`` add."""
    assert pump is not None
    before = plant.pumps[pump]
    changed = {
        name: getattr(before, name) + value if name in ("scatter", "valve_leak")
        else getattr(before, name) * value
        for name, value in factors.items()
    }  # fmt: skip
    pumps = tuple(replace(p, **changed) if i == pump else p for i, p in enumerate(plant.pumps))
    return replace(plant, pumps=pumps)
