"""The hydraulics of a station: pumps against the system curve of one rising main, check valves between.

Heads are metres of water above the water in the well, flows m3/s. A pump's curve is
``H = H0 - a Q^2``, the main's ``H = lift + R Q^2`` (turbulent friction), a leaking valve's
``H = (q / c)^2``. The node where pumps and main meet has one head; the flows into it balance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pumpwatch.hydraulics.geometry import round_area
from pumpwatch.simulator.spec import PUMPS, StationSpec

Floats = NDArray[np.float64]

G_M_S2 = 9.81
DARCY_FRICTION = 0.026
"""Darcy-Weisbach friction factor of a used ductile or PVC rising main, taken as constant."""
_BISECTIONS = 45


@dataclass(frozen=True, slots=True)
class PumpCondition:
    """What faults have made of one pump and its check valve; the default is a healthy one.

    ``flow`` and ``head`` scale the curve along its axes, ``current`` the motor current at a given
    flow, ``scatter`` is added to the spread of flow and current, ``valve_leak`` is the
    flow [share of nameplate] that the valve lets back at the duty head.
    """

    flow: float = 1.0
    head: float = 1.0
    current: float = 1.0
    scatter: float = 0.0
    valve_leak: float = 0.0


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of a whole station as faults have left it."""

    pumps: tuple[PumpCondition, ...] = field(default=(PumpCondition(),) * PUMPS)
    power: bool = True
    telemetry: bool = True


HEALTHY = Condition()


def friction_s2_m5(diameter_m: float, length_m: float) -> float:
    """Resistance R of a main [s2/m5], ``h_f = R Q^2`` (Darcy-Weisbach): ``8 f L / (pi^2 g d^5)``."""
    return 8 * DARCY_FRICTION * length_m / (math.pi**2 * G_M_S2 * diameter_m**5)


@dataclass(frozen=True, slots=True)
class Duty:
    """Flows of some stations in some states, each (stations, 3 states, 2 levels).

    State 0 is pump 1 alone, 1 is pump 2 alone, 2 both; level 0 is the stop level, 1 the high
    level, between which flows are nearly straight lines. ``net`` leaves through the main,
    ``pump`` (…, pumps) passes each pump.
    """

    net: Floats
    pump: Floats


_RUNNING = np.array([[1, 0], [0, 1], [1, 1]], dtype=float)


class Plant:
    """The fixed hydraulics of a fleet, one row a station."""

    def __init__(self, specs: Sequence[StationSpec]) -> None:
        sites = [s.site for s in specs]
        self.low_m = np.array([s.stop_level_m for s in sites], float)
        self.high_m = np.array([s.high_level_m for s in sites], float)
        self.nominal_m3s = np.array([s.capacity_m3s for s in sites], float)
        self.lift_m = np.array([s.static_lift_m for s in sites], float)
        self.friction = np.array(
            [friction_s2_m5(float(s.rising_main_d_m or 0), float(s.rising_main_len_m or 0)) for s in sites]
        )  # fmt: skip
        self.main_m3 = np.array(
            [round_area(float(s.rising_main_d_m or 0)) * float(s.rising_main_len_m or 0) for s in sites]
        )  # fmt: skip
        self.duty_head_m = self.lift_m + self.friction * self.nominal_m3s**2
        ratio = np.array([s.shutoff_ratio for s in specs])
        self.shutoff_m = ratio * self.duty_head_m
        self.droop = (self.shutoff_m - self.duty_head_m) / self.nominal_m3s**2
        self._built = np.array([[p.flow_factor for p in s.pumps] for s in specs])

    def leak_coefficient(self, rows: NDArray[np.intp], conditions: Sequence[Condition]) -> Floats:
        """c of each check valve, ``q = c sqrt(H)``, (rows, pumps) m3/s per root metre."""
        share = np.array([[p.valve_leak for p in c.pumps] for c in conditions])
        return np.asarray(
            share * (self.nominal_m3s[rows] / np.sqrt(self.duty_head_m[rows]))[:, None]
        )

    def duty(self, rows: NDArray[np.intp], conditions: Sequence[Condition]) -> Duty:
        """Operating points of the stations ``rows`` in their present ``conditions``.

        The node's head is found by bisection: pump flow into it falls, outflow rises with head.
        """
        flow = np.array([[p.flow for p in c.pumps] for c in conditions]) * self._built[rows]
        head = np.array([[p.head for p in c.pumps] for c in conditions])
        shape = (len(rows), 3, 2, 1)
        shutoff = (self.shutoff_m[rows, None] * head)[:, None, None, :]
        droop = (self.droop[rows, None] * head / flow**2)[:, None, None, :]
        on = _RUNNING[None, :, None, :]
        leak = (self.leak_coefficient(rows, conditions)[:, None, None, :] * (1 - on)).sum(-1)
        levels = np.stack([self.low_m[rows], self.high_m[rows]], axis=-1)
        middle = (self.low_m[rows] + self.high_m[rows])[:, None] / 2
        lift = np.broadcast_to((self.lift_m[rows, None] - levels + middle)[:, None, :], shape[:3])
        friction = self.friction[rows, None, None]
        low = np.zeros(shape[:3])
        high = np.broadcast_to(shutoff.max(-1), shape[:3]).copy()
        for _ in range(_BISECTIONS):
            node = (low + high) / 2
            into = (on * np.sqrt(np.maximum(shutoff - node[..., None], 0) / droop)).sum(-1)
            out = np.sqrt(np.maximum(node - lift, 0) / friction) + leak * np.sqrt(node)
            low, high = np.where(into > out, node, low), np.where(into > out, high, node)
        node = (low + high) / 2
        pump = on * np.sqrt(np.maximum(shutoff - node[..., None], 0) / droop)
        return Duty(np.sqrt(np.maximum(node - lift, 0) / friction), pump)
