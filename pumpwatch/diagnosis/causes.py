"""Which cause explains the signs: naive Bayes over signed features, written as a table of expectations.

Each hypothesis is a fault and, where it has one, the pump it sits in. It says for a few features how
likely each sign (down, none, up) is; all others are expected to stay normal. A feature that was not
measured says nothing, so missing signals only flatten the answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

Odds = tuple[float, float, float]
"""Probability of the signs down, none and up."""

NORMAL: Odds = (0.03, 0.94, 0.03)
SURELY_UP: Odds = (0.005, 0.025, 0.97)
ONLY_UP: Odds = (0.001, 0.05, 0.949)
UP: Odds = (0.01, 0.14, 0.85)
DOWN: Odds = (0.85, 0.14, 0.01)
SURELY_DOWN: Odds = (0.97, 0.025, 0.005)
MAYBE_UP: Odds = (0.02, 0.55, 0.43)
MAYBE_DOWN: Odds = (0.43, 0.55, 0.02)
SELDOM_UP: Odds = (0.03, 0.77, 0.20)
RARELY_UP: Odds = (0.02, 0.90, 0.08)
ANY: Odds = (0.3, 0.4, 0.3)
WEEKS: Odds = (0.04, 0.9, 0.06)
"""Of a pace: a gasket or a riser gives way within weeks, slower than rags gather, faster than parts wear."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What one fault does to its own pump, to the others, and to the station.

    One that sits in no pump (``per_pump`` false) does to every pump what ``own`` says. ``control`` names
    the only kind of control it happens with, None any.
    """

    fault: str
    prior: float
    own: Mapping[str, Odds]
    others: Mapping[str, Odds]
    site: Mapping[str, Odds]
    per_pump: bool = True
    control: str | None = None


def _e(
    fault: str,
    prior: float,
    own: Mapping[str, Odds] | None = None,
    others: Mapping[str, Odds] | None = None,
    site: Mapping[str, Odds] | None = None,
    per_pump: bool = True,
    control: str | None = None,
) -> Expectation:
    return Expectation(fault, prior, own or {}, others or {}, site or {}, per_pump, control)


TABLE = [
    _e("pump_wear", 1.0, {"capacity": DOWN, "pair": DOWN, "current": MAYBE_DOWN, "pace": DOWN},
       {"pair": UP}),
    _e(
        "pump_ragging",
        2.0,
        {"capacity": DOWN, "pair": DOWN, "current": (0.15, 0.25, 0.6), "scatter": MAYBE_UP,
         "pace": UP, "low_capacity": MAYBE_UP, "hand_over": SELDOM_UP},
        {"pair": UP},
    ),
    _e(
        "pump_blocked",
        0.3,
        {"capacity": DOWN, "pair": DOWN, "low_capacity": UP, "hand_over": MAYBE_UP, "current": ANY,
         "pace": UP},
        {"pair": UP},
    ),
    _e(
        "air_lock",
        0.7,
        {"hand_over": UP, "low_capacity": MAYBE_UP, "capacity": (0.3, 0.69, 0.01),
         "pair": MAYBE_DOWN, "scatter": MAYBE_UP, "current": MAYBE_DOWN, "pace": ANY},
        {"pair": MAYBE_UP},
        site={"start_spread": SELDOM_UP},
    ),
    _e(
        "start_failure",
        0.8,
        {"short_run": (0.01, 0.34, 0.65), "trip": MAYBE_UP, "turn_lost": MAYBE_UP, "idle": SELDOM_UP,
         "hand_over": SELDOM_UP},
        {"turn_lost": SELDOM_UP, "trip": SELDOM_UP, "hand_over": SELDOM_UP},
        {"late_start": MAYBE_UP, "start_spread": MAYBE_UP, "stop_spread": MAYBE_UP},
    ),
    _e(
        "pump_trip",
        0.5,
        {"trip": UP, "hand_over": MAYBE_UP, "current": MAYBE_UP, "turn_lost": SELDOM_UP,
         "idle": SELDOM_UP},
    ),
    _e("motor_degradation", 1.0, {"current": UP}),
    _e(
        "pump_out_of_service",
        0.8,
        {"idle": UP, "turn_lost": SURELY_UP},
        site={"late_start": UP, "start_spread": MAYBE_UP, "start_level": MAYBE_UP},
        control="float",
    ),
    _e("pump_out_of_service", 0.8, {"idle": SURELY_UP, "turn_lost": RARELY_UP},
       site={"late_start": RARELY_UP}, control="level"),
    _e("alternation_failure", 0.6, {"idle": UP, "lag_answered": MAYBE_UP}),
    _e(
        "check_valve_leak",
        1.0,
        {"capacity": (0.1, 0.3, 0.6), "pair": UP, "backflow": MAYBE_UP, "scatter": SELDOM_UP,
         "pace": ANY},
        {"capacity": (0.5, 0.45, 0.05), "pair": DOWN, "backflow": MAYBE_UP, "current": MAYBE_UP,
         "scatter": SELDOM_UP, "pace": ANY},
        # seen once a minute, the water has run back in before the stop is seen
        {"night_inflow": UP, "stop_level": (0.02, 0.86, 0.12), "stop_spread": (0.02, 0.86, 0.12)},
    ),
    _e(
        "discharge_blockage",
        1.0,
        site={"stop_level": SELDOM_UP},
        own={"capacity": DOWN, "current": MAYBE_DOWN, "pace": ANY, "low_capacity": MAYBE_UP,
             "scatter": SELDOM_UP},
        per_pump=False,
    ),
    _e("coupling_leak", 0.2, {"capacity": DOWN, "pair": DOWN, "current": MAYBE_UP, "pace": WEEKS},
       {"pair": UP}),
    _e("rising_main_burst", 0.3, {"capacity": UP, "current": MAYBE_UP, "backflow": ANY, "pace": UP},
       per_pump=False),
    # silt and grease narrow the well: slowly all flows, which are counted by its area, seem to grow, and none
    # to shrink
    _e("unusual", 0.3, {"capacity": ONLY_UP, "backflow": ANY, "pace": DOWN, "scatter": SELDOM_UP},
       site={"night_inflow": MAYBE_UP, "day_inflow": MAYBE_UP}, per_pump=False),
    _e("short_cycling", 0.5, site={"stop_level": UP, "stop_spread": MAYBE_UP},
       per_pump=False),
    _e(
        "sensor_drift",
        0.8,
        site={"start_level": (0.5, 0.0, 0.5), "stop_level": (0.5, 0.0, 0.5), "levels_together": UP,
              "start_spread": SELDOM_UP, "stop_spread": SELDOM_UP},
        per_pump=False,
        control="float",
    ),
    _e(
        "float_hangup",
        0.8,
        site={"start_spread": UP, "stop_spread": MAYBE_UP, "late_start": UP,
              "start_level": MAYBE_UP, "stop_level": ANY},
        own={"turn_lost": MAYBE_UP, "hand_over": SELDOM_UP, "trip": SELDOM_UP,
             "low_stop": SELDOM_UP, "scatter": MAYBE_UP, "short_run": RARELY_UP,
             "capacity": (0.2, 0.75, 0.05)},
        per_pump=False,
        control="float",
    ),
    _e(
        "stuck_on",
        0.7,
        {"low_stop": UP, "capacity": MAYBE_DOWN, "pair": MAYBE_DOWN, "scatter": MAYBE_UP,
         "low_capacity": MAYBE_UP, "pace": ANY, "current": MAYBE_DOWN},
        {"pair": MAYBE_UP},
        site={"stop_spread": UP, "stop_level": MAYBE_DOWN},
    ),
    _e(
        "sensor_drift",
        0.4,
        {"backflow": SURELY_DOWN, "capacity": MAYBE_DOWN, "low_stop": MAYBE_UP, "scatter": MAYBE_UP,
         "low_capacity": SELDOM_UP, "pace": ANY},
        site={"start_level": ANY, "stop_level": ANY, "start_spread": MAYBE_UP,
              "stop_spread": MAYBE_UP, "late_start": SELDOM_UP},
        per_pump=False,
    ),
    # a panel that follows a reading of the wrong gain: all flows shrink, in and out, and no current moves
    _e("sensor_drift", 0.15, {"capacity": DOWN, "pace": ANY}, site={"night_inflow": MAYBE_DOWN},
       per_pump=False, control="level"),
    _e("infiltration_growth", 1.0, site={"night_inflow": UP, "day_inflow": MAYBE_UP}, per_pump=False),
    _e("inflow_change", 0.6, site={"day_inflow": UP}, per_pump=False),
    _e("upstream_blockage", 1.0, site={"inflow_low": UP, "night_inflow": MAYBE_DOWN},
       per_pump=False),
]  # fmt: skip


class Cause(NamedTuple):
    """A ranked cause with what speaks for and against it (feature keys)."""

    fault: str
    target: str | None
    p: float
    support: tuple[str, ...]
    against: tuple[str, ...]


def strength(z: float) -> float:
    """How much of a sign a deviation of ``z`` sigmas is: none below 1.5, all of it from 5 on."""
    return min(1.0, max(0.0, (abs(z) - 1.5) / 3.5))


def rank(signs: Mapping[str, float], pumps: int, control: str | None = None) -> list[Cause]:
    """Causes, most likely first, from feature key (``capacity:pump1``) → signed deviation [sigmas].

    A panel that follows a level sensor hands a dead pump's turn on at once; one with floats waits for
    the lag float. ``control`` ('level', 'float' or unknown) thus says what a lost turn looks like.
    """
    found = []
    for e in TABLE:
        if e.control is not None and control is not None and e.control != control:
            continue
        for k in range(1, pumps + 1) if e.per_pump else [0]:
            weight, support, against = math.log(e.prior / (pumps if e.per_pump else 1)), [], []
            for key, z in signs.items():
                odds = _odds(e, key, k)
                d, side = strength(z), 2 if z > 0 else 0
                weight += d * math.log(max(odds[side], 1e-3)) + (1 - d) * math.log(
                    max(odds[1], 1e-3)
                )
                if d > 0.3 and odds[side] > 0.15:
                    support.append(key)
                elif (d > 0.3 and odds[side] <= 0.05) or (d <= 0.1 and odds[1] < 0.2):
                    against.append(key)
            target = f"pump{k}" if k else None
            found.append((weight, e.fault, target, tuple(support), tuple(against)))
    top = max(w for w, *_ in found)
    total = sum(math.exp(w - top) for w, *_ in found)
    ranked = sorted(found, key=lambda r: (-r[0], r[1], r[2] or ""))
    return [Cause(f, t, math.exp(w - top) / total, s, a) for w, f, t, s, a in ranked]


def _odds(e: Expectation, key: str, k: int) -> Odds:
    name, _, pump = key.partition(":")
    if not pump:
        return e.site.get(name, NORMAL)
    mine = not k or pump == f"pump{k}"
    return (e.own if mine else e.others).get(name, NORMAL)


def of_a_pump(fault: str) -> bool:
    """Whether this cause sits in one pump, as against the whole station."""
    return any(e.per_pump for e in TABLE if e.fault == fault)


def explains(cause: Cause, key: str, z: float) -> bool:
    """Whether a sign belongs to what this cause does under a panel of any kind."""
    k = int(cause.target[4:]) if cause.target else 0
    side = 2 if z > 0 else 0
    return any(
        _odds(e, key, k if e.per_pump else 0)[side] > 0.1 for e in TABLE if e.fault == cause.fault
    )
