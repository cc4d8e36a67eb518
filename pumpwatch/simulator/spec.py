"""What a simulated station is made of, checked before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.signals import MAX_PUMPS
from pumpwatch.domain.sites import Site
from pumpwatch.simulator.inflow import Catchment

STEP_S = 10
"""The plant is stepped on this grid; pump starts and stops fall between at their exact moment."""


@dataclass(frozen=True, slots=True)
class PumpSpec:
    """How one pump differs from its nameplate: shares of flow and of current."""

    flow_factor: float = 1.0
    current_factor: float = 0.95


@dataclass(frozen=True, slots=True)
class Well:
    """The shape of the well where it is not an upright cylinder.

    Below ``benching_m`` sloping concrete and the pump bodies leave ``benching_share`` of the area at the
    bottom; above the inlet's invert (`Site.inlet_level_m`) the sewer upstream backs up, a pipe of
    ``pipe_d_m`` and ``pipe_len_m`` with the fall ``pipe_slope`` [m/m]. Pumps draw air at ``suction_m``.
    """

    benching_m: float = 0.24
    benching_share: float = 0.5
    suction_m: float = 0.15
    pipe_d_m: float = 0.2
    pipe_len_m: float = 60.0
    pipe_slope: float = 0.004

    @property
    def pipe_m3(self) -> float:
        """What the sewer holds when full."""
        return math.pi / 4 * self.pipe_d_m**2 * self.pipe_len_m


@dataclass(frozen=True, slots=True)
class PanelSpec:
    """How the control panel is set. Times in seconds; None is a function that it does not have.

    ``alternate_h`` is the period of an alternation by clock, ``hand_over_s`` how long a called pump may
    stay away before the next one is called, ``long_run_s`` after which run the partner takes over,
    ``timer_h`` the longest rest before a run against septic sewage, ``starts_per_h`` the most each
    pump may make, ``stagger_s`` the least time between two starts, ``backup_s`` how long pumps run on
    after the float has let go, ``power_wait_s`` the pause after a power cut.
    """

    alternate_h: float = 24.0
    hand_over_s: float | None = None
    long_run_s: float | None = None
    timer_h: float | None = None
    starts_per_h: float | None = None
    stagger_s: float = 2.0
    backup_s: float = 60.0
    power_wait_s: float = 5.0
    spin_up_s: float = 2.0
    coast_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Sensors:
    """What the instruments add to the truth.

    ``level_noise_m`` is the standard deviation of one level reading (half as much again while a pump
    churns the well), ``level_step_m`` its resolution, ``current_noise`` a share of the current,
    ``wander_m`` the slow wandering of the level's zero with temperature, ``range_m`` the level at 20 mA.
    """

    level_noise_m: float = 0.004
    level_step_m: float = 0.001
    current_noise: float = 0.012
    wander_m: float = 0.0
    range_m: float = 5.0


@dataclass(frozen=True, slots=True)
class StationSpec:
    """One station: the site as the ledger knows it, and what only nature knows.

    Raises `InvalidInput` naming the field when the geometry is missing or impossible.
    ``shutoff_ratio`` is the pumps' head at no flow over their head at the nameplate flow;
    ``run_spread`` how much a pump's flow differs from one run to the next (a share). ``contacts``:
    the panel also sends the pumps' faults, the selector and the door. What is pumped reaches
    ``downstream`` (the id of another station) through a sewer that takes ``travel_s``.
    """

    site: Site
    catchment: Catchment
    pumps: tuple[PumpSpec, ...] = (PumpSpec(), PumpSpec())
    sensors: Sensors = field(default_factory=Sensors)
    well: Well = field(default_factory=Well)
    panel: PanelSpec = field(default_factory=PanelSpec)
    shutoff_ratio: float = 1.5
    run_spread: float = 0.012
    contacts: bool = False
    district: str = "town"
    maker: str = ""
    downstream: str | None = None
    travel_s: float = 600.0

    def __post_init__(self) -> None:
        _check(self)

    @property
    def sample_ms(self) -> int:
        return int((self.site.sample_s or STEP_S) * 1000)

    @property
    def step_s(self) -> int:
        """Its own pace: `STEP_S`, or finer where it samples faster."""
        return min(STEP_S, self.sample_ms // 1000)


_NEEDED = (
    "pump_capacity_m3_min", "static_lift_m", "rising_main_d_m", "rising_main_len_m",
)  # fmt: skip
_LEVELS = ("stop_level_m", "start_level_m", "lag_start_level_m", "high_level_m", "well_depth_m")
ALTERNATIONS = (None, "cycle", "clock", "none")


def _check(spec: StationSpec) -> None:
    site = spec.site
    if not site.area_m2 or site.area_m2 <= 0:
        raise InvalidInput(
            "well_area_m2", f"{site.site} has no well area", "give well_area_m2 or well_diameter_m"
        )
    for name in (*_NEEDED, *_LEVELS):
        value = getattr(site, name)
        if value is None:
            raise InvalidInput(name, f"missing at {site.site}", "a simulated station needs it")
        if not (math.isfinite(value) and value > 0):
            raise InvalidInput(name, f"{value} at {site.site} is not positive", "correct it")
    for low, high in pairwise(_LEVELS):
        a, b = getattr(site, low), getattr(site, high)
        if a >= b:
            raise InvalidInput(
                low, f"{a} at {site.site} is not below {high} {b}", "correct the levels"
            )
    if site.has_current is not False and not site.rated_current_a:
        raise InvalidInput(
            "rated_current_a", f"missing at {site.site}", "give it, or set has_current to false"
        )
    sample_s = site.sample_s or STEP_S
    if sample_s != int(sample_s) or (sample_s % STEP_S and 60 % sample_s):
        raise InvalidInput(
            "sample_s", f"{sample_s} at {site.site} is not simulated",
            f"use a divisor of 60, or a multiple of {STEP_S}",
        )  # fmt: skip
    if not 1 <= site.pumps <= MAX_PUMPS or len(spec.pumps) != site.pumps:
        raise InvalidInput(
            "pumps", f"{site.pumps} at {site.site}, {len(spec.pumps)} described", f"use 1 to {MAX_PUMPS}"
        )  # fmt: skip
    if site.alternation not in ALTERNATIONS:
        raise InvalidInput(
            "alternation", f"{site.alternation!r} at {site.site} is not simulated",
            "use 'cycle', 'clock' or 'none'",
        )  # fmt: skip
    _check_own(spec)


def _check_own(spec: StationSpec) -> None:
    well, stop, name = spec.well, float(spec.site.stop_level_m or 0), spec.site.site
    if not 0 < well.suction_m < stop:
        raise InvalidInput(
            "suction_m", f"{well.suction_m} at {name} is not between 0 and stop_level_m {stop}", "correct it"
        )  # fmt: skip
    if not 0 < well.benching_m <= stop or not 0 < well.benching_share <= 1:
        raise InvalidInput(
            "benching_m", f"{well.benching_m} at {name} is not between 0 and stop_level_m {stop}",
            "correct it, and give a benching_share between 0 and 1",
        )  # fmt: skip
    inlet = spec.site.inlet_level_m
    if inlet is not None and not well.benching_m < inlet < float(spec.site.well_depth_m or 0):
        raise InvalidInput(
            "inlet_level_m", f"{inlet} at {name} is not between benching and cover", "correct it"
        )
    if spec.downstream == name:
        raise InvalidInput("downstream", f"{name} flows into itself", "name another station")
    if spec.travel_s <= 0:
        raise InvalidInput("travel_s", f"{spec.travel_s} at {name} is not positive", "correct it")
