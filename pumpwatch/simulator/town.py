"""A whole town drawn from distributions: what stands in the ground and what the panels send.

Sizes follow what is usual for Japanese manhole pumps: round wells of 0.9 to 1.8 m, pumps of 0.15 to
1 m3/min at 5 to 25 m, mains that keep 0.6 to 2 m/s. The makers are invented; each has its panel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from pumpwatch.domain.sites import SiteMode, site_from_dict
from pumpwatch.simulator.chance import generator
from pumpwatch.simulator.inflow import Catchment
from pumpwatch.simulator.spec import PanelSpec, PumpSpec, Sensors, StationSpec, Well

DISTRICTS = ("浜手", "川手", "山手", "港", "新開", "谷", "岬", "駅前")
_DISTRICT_STATIONS = 29
_CENTRE = 33.4812, 135.6527


@dataclass(frozen=True, slots=True)
class Maker:
    """A maker's usual panel: its share of the stations, and how it samples and counts."""

    name: str
    share: float
    samples_s: tuple[int, ...]
    level_step_m: float
    contacts: bool
    panel: PanelSpec


MAKERS = (
    Maker("青潮製作所", 0.32, (10, 10, 60), 0.001, True, PanelSpec(hand_over_s=20, long_run_s=5400)),
    Maker("みなと電機", 0.26, (10, 60), 0.005, False, PanelSpec(hand_over_s=30, starts_per_h=12)),
    Maker("東雲ポンプ", 0.20, (60,), 0.01, False, PanelSpec(stagger_s=5)),
    Maker("北斗計装", 0.14, (10,), 0.001, True, PanelSpec(hand_over_s=15, timer_h=8, starts_per_h=15)),
    Maker("白波エンジ", 0.08, (1, 10), 0.001, True, PanelSpec(hand_over_s=10, long_run_s=3600)),
)  # fmt: skip

_WELLS = ((0.9, 0.18), (1.2, 0.42), (1.5, 0.28), (1.8, 0.12))
"""Inner diameter [m] and share."""
_PUMPS = ((1, 0.02), (2, 0.93), (3, 0.04), (4, 0.01))
_BORES = (
    (0.0022, 0.050),
    (0.0045, 0.065),
    (0.007, 0.075),
    (0.013, 0.100),
    (0.020, 0.125),
    (1.0, 0.150),
)
"""Flow up to [m3/s] → rising main [m]."""  # fmt: skip
_LARGEST_UPSTREAM, _LARGEST_SHARE = 0.6, 0.05
"""What may flow into a station from above: pump flow over its own, mean flow over its pump flow."""


def draw_station(seed: int, n: int) -> StationSpec:
    """Station number ``n`` (from 0) of the town of that seed, whatever else is drawn."""
    site = f"mh-{n + 1:02d}"
    rng = generator(seed, "town", site)
    maker = MAKERS[int(rng.choice(len(MAKERS), p=[m.share for m in MAKERS]))]
    shape = _geometry(rng)
    flow, lift, length = shape.pop("flow"), shape["static_lift_m"], shape["rising_main_len_m"]
    pumps = int(_pick(rng, _PUMPS))
    control = "float" if rng.random() < 0.3 else "level"
    lat, lon = _place(rng, n)
    return StationSpec(
        site=site_from_dict(
            {
                "site": site,
                "name": f"{DISTRICTS[_district(n)]}{n % _DISTRICT_STATIONS + 1}号",
                "sample_s": int(rng.choice(maker.samples_s)),
                "pumps": pumps,
                **shape,
                "pump_capacity_m3_min": round(flow * 60, 3),
                "rated_current_a": round(
                    1.0 + 4.2 * flow * (lift + length / 200) + rng.random(), 1
                ),
                "control": control,
                "alternation": "clock" if rng.random() < 0.06 else "cycle",
                "has_current": bool(rng.random() > 0.42),
                "has_rain": bool(rng.random() > 0.20),
                "latitude": lat,
                "longitude": lon,
                "mode": SiteMode.DEMO,
            }
        ),
        catchment=_catchment(rng, flow),
        pumps=tuple(
            PumpSpec(float(rng.normal(0.99, 0.025)), float(rng.uniform(0.84, 0.98)))
            for _ in range(pumps)
        ),
        sensors=Sensors(
            level_noise_m=float(rng.uniform(0.003, 0.008)),
            level_step_m=maker.level_step_m,
            current_noise=float(rng.uniform(0.01, 0.018)),
            wander_m=float(rng.uniform(0.0, 0.002)),
            range_m=5.0 if shape["well_depth_m"] < 4.8 else 10.0,
        ),
        well=Well(
            benching_m=round(0.6 * shape["stop_level_m"], 3),
            benching_share=float(rng.uniform(0.4, 0.7)),
            suction_m=round(0.35 * shape["stop_level_m"], 3),
            pipe_d_m=float(rng.choice([0.15, 0.2, 0.25], p=[0.25, 0.6, 0.15])),
            pipe_len_m=float(rng.uniform(25, 90)),
            pipe_slope=float(rng.uniform(0.003, 0.008)),
        ),
        panel=replace(maker.panel, stagger_s=maker.panel.stagger_s + float(rng.uniform(0, 2))),
        shutoff_ratio=float(rng.uniform(1.4, 1.7)),
        run_spread=float(rng.uniform(0.008, 0.016)),
        contacts=maker.contacts,
        district=DISTRICTS[_district(n)],
        maker=maker.name,
        travel_s=float(rng.uniform(300, 1500)),
    )


def linked(stations: list[StationSpec]) -> list[StationSpec]:
    """The stations with some of them flowing into an earlier one of the same district and pace.

    A station takes in at most two, and only such as its pumps can bear.
    """
    taken: dict[str, int] = {}
    out: list[StationSpec] = []
    for spec in stations:
        below = [s for s in out if _may_flow(spec, s) and taken.get(s.site.site, 0) < 2]
        if below and len(out) % 5 < 2:
            nearest = min(below, key=lambda s: _distance(s, spec))
            taken[nearest.site.site] = taken.get(nearest.site.site, 0) + 1
            spec = replace(spec, downstream=nearest.site.site)
        out.append(spec)
    return out


def _may_flow(above: StationSpec, below: StationSpec) -> bool:
    capacity = float(below.site.capacity_m3s or 0)
    c = above.catchment
    mean = c.sewage_m3s + c.infiltration_m3s + c.shops_m3s + c.factory_m3s / 3
    return (
        above.district == below.district
        and above.step_s == below.step_s
        and float(above.site.capacity_m3s or 0) <= _LARGEST_UPSTREAM * capacity
        and mean <= _LARGEST_SHARE * capacity
    )


def _geometry(rng: np.random.Generator) -> dict[str, float]:
    diameter = _pick(rng, _WELLS)
    area = round(math.pi / 4 * diameter**2, 4)
    stop = round(rng.uniform(0.38, 0.58), 2)
    start = round(stop + rng.uniform(0.5, 0.85), 2)
    lag = round(start + rng.uniform(0.22, 0.35), 2)
    high = round(lag + rng.uniform(0.25, 0.35), 2)
    depth = round(high + rng.uniform(1.2, 3.0), 2)
    # a healthy draw-down against no inflow takes between 90 s and 170 s
    flow = area * (start - stop) / rng.uniform(95, 170)
    bore = next(d for limit, d in _BORES if flow < limit)
    length = int(np.clip(rng.lognormal(math.log(220), 0.7), 50, 1200))
    # friction of Darcy and Weisbach at the nameplate flow stays below what such pumps can do
    speed = flow / (math.pi / 4 * bore**2)
    length = min(length, int(12.0 / (0.026 * speed**2 / (2 * 9.81 * bore))))
    return {
        "well_diameter_m": diameter,
        "well_area_m2": area,
        "well_depth_m": depth,
        "stop_level_m": stop,
        "start_level_m": start,
        "lag_start_level_m": lag,
        "high_level_m": high,
        "inlet_level_m": round(start + rng.uniform(-0.06, 0.25), 2),
        "static_lift_m": round(float(np.clip(rng.lognormal(math.log(8), 0.4), 4, 20)), 1),
        "rising_main_d_m": bore,
        "rising_main_len_m": max(length, 40),
        "flow": flow,
    }


def _catchment(rng: np.random.Generator, flow: float) -> Catchment:
    """Mostly homes; one station in four has shops, one in twelve a factory."""
    share = float(rng.uniform(0.10, 0.18)) * flow
    shops = float(rng.uniform(0.1, 0.4)) if rng.random() < 0.25 else 0.0
    factory = float(rng.uniform(0.1, 0.3)) if rng.random() < 0.08 else 0.0
    begins = float(rng.choice([6.0, 8.0, 8.5]))
    return Catchment(
        sewage_m3s=share * (1 - shops) * (1 - factory),
        infiltration_m3s=float(rng.uniform(0.015, 0.05)) * flow,
        rain_area_m2=flow * float(rng.uniform(30e3, 75e3)),
        fast_share=float(rng.uniform(0.4, 0.7)),
        fast_k_h=float(rng.uniform(0.3, 0.7)),
        slow_k_h=float(rng.uniform(4.0, 9.0)),
        shift_h=float(rng.normal(0.0, 0.4)),
        shops_m3s=share * shops * (1 - factory),
        factory_m3s=share * factory * 2,
        factory_from_h=begins,
        factory_to_h=begins + float(rng.choice([9.0, 16.0])),
    )


def _pick(rng: np.random.Generator, table: tuple[tuple[float, float], ...]) -> float:
    values = [value for value, _ in table]
    return values[int(rng.choice(len(values), p=[share for _, share in table]))]


def _district(n: int) -> int:
    return n // _DISTRICT_STATIONS % len(DISTRICTS)


def _place(rng: np.random.Generator, n: int) -> tuple[float, float]:
    """A point of its district; the districts lie along the bay."""
    along_km = (_district(n) - (len(DISTRICTS) - 1) / 2) * 2.2 + rng.normal(0, 0.7)
    inland_km = rng.gamma(2.0, 0.5)
    lat = _CENTRE[0] + inland_km / 111.0
    lon = _CENTRE[1] + along_km / (111.0 * math.cos(math.radians(_CENTRE[0])))
    return round(lat, 5), round(lon, 5)


def _distance(a: StationSpec, b: StationSpec) -> float:
    lat = float(a.site.latitude or 0) - float(b.site.latitude or 0)
    lon = float(a.site.longitude or 0) - float(b.site.longitude or 0)
    return math.hypot(lat, lon * math.cos(math.radians(_CENTRE[0])))
