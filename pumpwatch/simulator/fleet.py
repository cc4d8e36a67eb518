"""Stations of a town that does not exist: Shiosai-machi, a fishing town between two capes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.sites import SiteMode, site_from_dict
from pumpwatch.simulator.chance import generator
from pumpwatch.simulator.inflow import Catchment
from pumpwatch.simulator.simulation import Injection, Simulation
from pumpwatch.simulator.spec import PumpSpec, Sensors, StationSpec
from pumpwatch.simulator.town import draw_station, linked
from pumpwatch.simulator.weather import Climate

DEMO_CLIMATE = Climate(max_event_mm=22.0)
"""Moderate rain only: a healthy demo has nothing to report."""

RAGGING_SITE, RAGGING_PUMP = "mh-03", "pump2"
_RAGGING_DAYS = 6.0
_RAGGING_GROWTH_DAYS = 10.5

_HARBOUR = 33.4812, 135.6527
_DISTRICTS = (
    "東浜", "西浜", "港町", "汐見", "松原", "磯崎", "大浦", "浜田", "南町", "岬台", "川口", "新田",
    "高砂", "白浜通", "網代", "塩屋", "宮前", "堀江", "北浦", "朝日",
)  # fmt: skip
_WELLS = ((1.2, 0.30), (1.5, 0.50), (1.8, 0.20))
"""Inner diameter [m] and share of the fleet."""
_BORES = ((0.005, 0.065), (0.007, 0.075), (0.013, 0.100), (0.020, 0.125), (1.0, 0.150))
"""Flow up to [m3/s] → rising main [m] that keeps it between 0.8 and 2 m/s."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Stations under one seed, which also rules everything random that happens to them."""

    seed: int
    start_ms: int
    """The first moment of their history."""
    stations: tuple[StationSpec, ...]

    def __getitem__(self, site: str) -> StationSpec:
        """The station of that id. Raises `InvalidInput` naming those there are."""
        for spec in self.stations:
            if spec.site.site == site:
                return spec
        known = ", ".join(s.site.site for s in self.stations[:6])
        raise InvalidInput("station", f"{site!r} is not simulated", f"use one of {known} …")


def draw_fleet(seed: int, stations: int = 232, start_ms: int = 0) -> Fleet:
    """A town's stations (`town`); the first of them do not depend on how many.

    Weather is shared by the 29 stations of a district, and some flow into a neighbour. Raises
    `InvalidInput` naming ``stations`` when so many cannot be made.
    """
    _check_size(stations)
    return Fleet(seed, start_ms, tuple(linked([draw_station(seed, n) for n in range(stations)])))


def demo_fleet(seed: int = 1, stations: int = 12) -> list[StationSpec]:
    """``stations`` mixed stations, ids ``mh-01`` onwards; the first of them do not depend on how many.

    About one in four has no current signal, one in twelve no rain gauge, one in six sends once a minute.
    """
    _check_size(stations)
    return [_station(seed, n) for n in range(stations)]


def _check_size(stations: int) -> None:
    if not 1 <= stations <= 9999:
        raise InvalidInput("stations", f"{stations} cannot be made", "use 1 to 9999")


def demo_ragging(simulation: Simulation, history_end_ms: int) -> Injection:
    """Let one pump of the demo fleet gather rags over the last days of its history.

    Call it before stepping. At ``history_end_ms`` a good half of the way to breakdown is behind it,
    and it goes on from there.
    """
    return simulation.inject(
        RAGGING_SITE,
        "pump_ragging",
        RAGGING_PUMP,
        history_end_ms - int(_RAGGING_DAYS * DAY_MS),
        growth_h=_RAGGING_GROWTH_DAYS * DAY_MS / HOUR_MS,
    )


def _station(seed: int, n: int) -> StationSpec:
    site = f"mh-{n + 1:02d}"
    rng = generator(seed, "fleet", site)
    diameter = float(rng.choice([d for d, _ in _WELLS], p=[share for _, share in _WELLS]))
    area = round(math.pi / 4 * diameter**2, 4)
    stop = round(rng.uniform(0.38, 0.58), 2)
    start = round(stop + rng.uniform(0.6, 0.9), 2)
    lag = round(start + rng.uniform(0.25, 0.35), 2)
    high = round(lag + rng.uniform(0.25, 0.32), 2)
    depth = round(high + rng.uniform(1.2, 1.9), 2)
    # a healthy draw-down against no inflow takes between 90 s and 160 s
    flow = area * (start - stop) / rng.uniform(100, 165)
    bore = next(d for limit, d in _BORES if flow < limit)
    lift = round(rng.uniform(4.5, 11.0), 1)
    length = int(rng.integers(40, 190))
    share = rng.uniform(0.12, 0.19)
    ordinal = n // len(_DISTRICTS) + 1
    has_current = n % 4 != 1
    lat, lon = _place(rng)
    return StationSpec(
        site=site_from_dict(
            {
                "site": site,
                "name": f"{_DISTRICTS[n % len(_DISTRICTS)]}第{ordinal}",
                "sample_s": 60 if n % 6 == 5 else 10,
                "well_diameter_m": diameter,
                "well_area_m2": area,
                "well_depth_m": depth,
                "stop_level_m": stop,
                "start_level_m": start,
                "lag_start_level_m": lag,
                "high_level_m": high,
                "inlet_level_m": round(start + rng.uniform(0.02, 0.2), 2),
                "pump_capacity_m3_min": round(flow * 60, 3),
                "rated_current_a": round(
                    1.2 + 0.28 * flow * 1000 * lift / 10 + 0.6 * rng.random(), 1
                ),
                "static_lift_m": lift,
                "rising_main_d_m": bore,
                "rising_main_len_m": length,
                "control": "level" if rng.random() < 0.7 else "float",
                "alternation": "cycle",
                "has_current": has_current,
                "has_rain": n % 12 != 6,
                "latitude": lat,
                "longitude": lon,
                "mode": SiteMode.DEMO,
            }
        ),
        catchment=Catchment(
            sewage_m3s=share * flow,
            infiltration_m3s=rng.uniform(0.015, 0.04) * flow,
            rain_area_m2=flow * rng.uniform(40e3, 75e3),
            fast_share=rng.uniform(0.4, 0.7),
            fast_k_h=rng.uniform(0.3, 0.7),
            slow_k_h=rng.uniform(4.0, 9.0),
            shift_h=rng.normal(0.0, 0.4),
        ),
        pumps=tuple(
            PumpSpec(float(rng.normal(0.99, 0.025)), float(rng.uniform(0.84, 0.98)))
            for _ in range(2)
        ),
        sensors=Sensors(
            level_noise_m=float(rng.uniform(0.0025, 0.006)),
            level_step_m=float(rng.choice([0.001, 0.005, 0.01], p=[0.55, 0.3, 0.15])),
            current_noise=float(rng.uniform(0.01, 0.018)),
        ),
        shutoff_ratio=float(rng.uniform(1.4, 1.7)),
        run_spread=float(rng.uniform(0.008, 0.016)),
    )


def _place(rng: np.random.Generator) -> tuple[float, float]:
    """A point along the bay, a few kilometres around the harbour."""
    along_km, inland_km = rng.uniform(-2.8, 2.8), rng.gamma(2.0, 0.35)
    lat = _HARBOUR[0] + (inland_km + 0.08 * along_km**2) / 111.0
    lon = _HARBOUR[1] + along_km / (111.0 * math.cos(math.radians(_HARBOUR[0])))
    return round(lat, 5), round(lon, 5)
