"""The hydraulics of a station: the well, and pumps against the system curve of one rising main.

Heads are metres of water above the water in the well, flows m3/s. A pump's curve is
``H = H0 - a Q^2``, the main's ``H = lift + R Q^2`` (turbulent friction), a leaking valve's
``H = (q / c)^2``. The node where pumps and main meet has one head; the flows into it balance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pumpwatch.hydraulics.geometry import round_area
from pumpwatch.simulator.condition import Condition
from pumpwatch.simulator.spec import StationSpec

Floats = NDArray[np.float64]

G_M_S2 = 9.81
DARCY_FRICTION = 0.026
"""Darcy-Weisbach friction factor of a used ductile or PVC rising main, taken as constant."""
_BISECTIONS = 45
_ABOVE_INLET = 12
"""Pieces of the level-volume curve above the inlet, finest at its invert."""


def friction_s2_m5(diameter_m: float, length_m: float) -> float:
    """Resistance R of a main [s2/m5], ``h_f = R Q^2`` (Darcy-Weisbach): ``8 f L / (pi^2 g d^5)``."""
    return 8 * DARCY_FRICTION * length_m / (math.pi**2 * G_M_S2 * diameter_m**5)


# -- the well ----------------------------------------------------------------------------------


def segment_area(diameter_m: float, depth_m: Floats) -> Floats:
    """Wetted section [m2] of a round pipe at a water depth [m]: the circular segment."""
    r = diameter_m / 2
    d = np.clip(depth_m, 0.0, diameter_m)
    part = r * r * np.arccos(np.clip((r - d) / r, -1, 1))
    return np.asarray(part - (r - d) * np.sqrt(np.maximum(2 * r * d - d * d, 0.0)))


def pipe_storage(diameter_m: float, length_m: float, slope: float, head_m: float) -> float:
    """Water [m3] in a sewer of constant fall backed up ``head_m`` above its lower invert."""
    x = np.linspace(0.0, length_m, 201)
    section = segment_area(diameter_m, head_m - slope * x)
    return float(((section[:-1] + section[1:]) / 2).sum() * length_m / 200)


def well_table(spec: StationSpec, fouling: float = 0.0) -> tuple[Floats, Floats]:
    """Heights [m] and volumes [m3] between which the level-volume curve is straight, (16,) each.

    From the bottom: benching narrows the well up to `Well.benching_m`, pump bodies displace water up to
    the suction of the stop level, then the free area holds to the inlet's invert, above which the sewer
    upstream fills too. ``fouling`` is the share of the area that grease and grit have taken below the
    high level. The last height is the cover.
    """
    site, well = spec.site, spec.well
    area, cover = float(site.area_m2 or 0), float(site.well_depth_m or 0)
    bench = well.benching_m
    inlet = site.inlet_level_m if well.pipe_m3 > 0 and site.inlet_level_m else None
    bend = float(inlet) if inlet is not None else (bench + cover) / 2
    heights = np.concatenate(
        [
            [0.0, bench / 2, bench, bend],
            bend + (cover - bend) * np.linspace(0, 1, _ABOVE_INLET + 1)[1:] ** 2,
        ]
    )
    low_area = area * well.benching_share
    # mean areas of the two halves of the benching, then the free area
    areas = np.full(len(heights) - 1, area)
    areas[0], areas[1] = 0.75 * low_area + 0.25 * area, 0.25 * low_area + 0.75 * area
    areas[heights[:-1] < float(site.high_level_m or 0)] *= 1.0 - fouling
    volumes = np.concatenate([[0.0], np.cumsum(areas * np.diff(heights))])
    if inlet is not None:
        volumes += [
            pipe_storage(well.pipe_d_m, well.pipe_len_m, well.pipe_slope, h - bend) if h > bend else 0.0
            for h in heights
        ]  # fmt: skip
    return heights, volumes


# -- pumps and main ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Duty:
    """Flows of some stations for every set of running pumps, at the stop and at the high level.

    State ``b - 1`` is the set whose bits are ``b`` (pump 1 is bit 0). Between the two levels flows are
    nearly straight lines. ``net`` (stations, states, 2) leaves through the main; ``pump``
    (stations, states, pumps, 2) passes each pump.
    """

    net: Floats
    pump: Floats


class Plant:
    """The fixed hydraulics of stations with up to ``pumps`` pumps, one row a station."""

    def __init__(self, specs: Sequence[StationSpec], pumps: int) -> None:
        sites = [s.site for s in specs]
        self.pumps = pumps
        self.low_m = np.array([s.stop_level_m for s in sites], float)
        self.high_m = np.array([s.high_level_m for s in sites], float)
        self.nominal_m3s = np.array([s.capacity_m3s for s in sites], float)
        self.lift_m = np.array([s.static_lift_m for s in sites], float)
        mains = [(float(s.rising_main_d_m or 0), float(s.rising_main_len_m or 0)) for s in sites]
        self.friction = np.array([friction_s2_m5(d, length) for d, length in mains])
        self.main_m3 = np.array([round_area(d) * length for d, length in mains])
        self.duty_head_m = self.lift_m + self.friction * self.nominal_m3s**2
        ratio = np.array([s.shutoff_ratio for s in specs])
        self.shutoff_m = ratio * self.duty_head_m
        self.droop = (self.shutoff_m - self.duty_head_m) / self.nominal_m3s**2
        self._built = np.array(
            [_padded([p.flow_factor for p in s.pumps], pumps, 1.0) for s in specs]
        )

    def leak_coefficient(self, rows: NDArray[np.intp], conditions: Sequence[Condition]) -> Floats:
        """c of each check valve, ``q = c sqrt(H)``, (rows, pumps) m3/s per root metre."""
        return self._coefficient(rows, conditions, "valve_leak")

    def _coefficient(
        self, rows: NDArray[np.intp], conditions: Sequence[Condition], name: str
    ) -> Floats:
        share = self._of_pumps(conditions, name, 0.0)
        return np.asarray(
            share * (self.nominal_m3s[rows] / np.sqrt(self.duty_head_m[rows]))[:, None]
        )

    def _of_pumps(self, conditions: Sequence[Condition], name: str, absent: float) -> Floats:
        return np.array(
            [_padded([getattr(p, name) for p in c.pumps], self.pumps, absent) for c in conditions]
        )

    def duty(self, rows: NDArray[np.intp], conditions: Sequence[Condition]) -> Duty:
        """Operating points of the stations ``rows`` in their present ``conditions``.

        The node's head is found by bisection: pump flow into it falls, outflow rises with head.
        """
        states = np.arange(1, 2**self.pumps)
        on = (states[:, None] >> np.arange(self.pumps) & 1).astype(float)[None, :, None, :]
        flow = self._of_pumps(conditions, "flow", 1.0) * self._built[rows]
        head = self._of_pumps(conditions, "head", 1.0)
        shape = (len(rows), len(states), 2)
        shutoff = (self.shutoff_m[rows, None] * head)[:, None, None, :]
        droop = (self.droop[rows, None] * head / flow**2)[:, None, None, :]
        leak = (self.leak_coefficient(rows, conditions)[:, None, None, :] * (1 - on)).sum(-1)
        leak = leak + (
            self._coefficient(rows, conditions, "coupling_leak")[:, None, None, :] * on
        ).sum(-1)
        levels = np.stack([self.low_m[rows], self.high_m[rows]], axis=-1)
        middle = (self.low_m[rows] + self.high_m[rows])[:, None] / 2
        static = self.lift_m[rows] * np.array([c.lift for c in conditions])
        lift = np.broadcast_to((static[:, None] - levels + middle)[:, None, :], shape)
        worse = np.array([c.friction for c in conditions])
        friction = (self.friction[rows] * worse)[:, None, None]
        low = np.zeros(shape)
        high = np.broadcast_to(shutoff.max(-1), shape).copy()
        for _ in range(_BISECTIONS):
            node = (low + high) / 2
            into = (on * np.sqrt(np.maximum(shutoff - node[..., None], 0) / droop)).sum(-1)
            out = np.sqrt(np.maximum(node - lift, 0) / friction) + leak * np.sqrt(node)
            low, high = np.where(into > out, node, low), np.where(into > out, high, node)
        node = (low + high) / 2
        pump = on * np.sqrt(np.maximum(shutoff - node[..., None], 0) / droop)
        net = np.sqrt(np.maximum(node - lift, 0) / friction)
        return Duty(net, np.asarray(pump.transpose(0, 1, 3, 2)))


def _padded(values: list[float], length: int, absent: float) -> list[float]:
    return values + [absent] * (length - len(values))
