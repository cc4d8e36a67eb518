"""What a simulated station is made of, checked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.sites import Site
from pumpwatch.simulator.inflow import Catchment

STEP_S = 10
"""The plant is stepped on this grid; pump starts and stops fall between at their exact moment."""

PUMPS = 2


@dataclass(frozen=True, slots=True)
class PumpSpec:
    """How one pump differs from its nameplate: shares of flow and of current."""

    flow_factor: float = 1.0
    current_factor: float = 0.95


@dataclass(frozen=True, slots=True)
class Sensors:
    """What the instruments add to the truth.

    ``level_noise_m`` is the standard deviation of one level reading (half as much again while a pump
    churns the well), ``level_step_m`` its resolution, ``current_noise`` a share of the current.
    """

    level_noise_m: float = 0.004
    level_step_m: float = 0.001
    current_noise: float = 0.012


@dataclass(frozen=True, slots=True)
class StationSpec:
    """One station: the site as the ledger knows it, and what only nature knows.

    Raises `InvalidInput` naming the field when the geometry is missing or impossible.
    ``shutoff_ratio`` is the pumps' head at no flow over their head at the nameplate flow;
    ``run_spread`` how much a pump's flow differs from one run to the next (a share).
    """

    site: Site
    catchment: Catchment
    pumps: tuple[PumpSpec, ...] = (PumpSpec(), PumpSpec())
    sensors: Sensors = field(default_factory=Sensors)
    shutoff_ratio: float = 1.5
    run_spread: float = 0.012
    district: str = "town"

    def __post_init__(self) -> None:
        _check(self)


_NEEDED = (
    "pump_capacity_m3_min", "static_lift_m", "rising_main_d_m", "rising_main_len_m",
)  # fmt: skip
_LEVELS = ("stop_level_m", "start_level_m", "lag_start_level_m", "high_level_m", "well_depth_m")


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
        if value <= 0:
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
    if sample_s % STEP_S:
        raise InvalidInput(
            "sample_s", f"{sample_s} at {site.site} is not simulated", f"use a multiple of {STEP_S}"
        )
    if site.pumps != PUMPS or len(spec.pumps) != PUMPS:
        raise InvalidInput("pumps", f"{site.pumps} at {site.site} are not simulated", "use 2")
    if site.alternation not in (None, "cycle"):
        raise InvalidInput(
            "alternation", f"{site.alternation!r} at {site.site} is not simulated", "use 'cycle'"
        )
