"""One plain station, and the few features by which a fault gives itself away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import site_from_dict
from pumpwatch.simulator.inflow import Catchment
from pumpwatch.simulator.spec import StationSpec

SITE: dict[str, Any] = {
    "site": "mh-01",
    "well_diameter_m": 1.5,
    "well_depth_m": 3.4,
    "stop_level_m": 0.45,
    "start_level_m": 1.20,
    "lag_start_level_m": 1.50,
    "high_level_m": 1.80,
    "pump_capacity_m3_min": 0.6,
    "rated_current_a": 4.0,
    "static_lift_m": 8.0,
    "rising_main_d_m": 0.1,
    "rising_main_len_m": 250,
    "alternation": "cycle",
}

MONDAY_MS = int(datetime(2026, 2, 1, 15, tzinfo=UTC).timestamp() * 1000)
"""Midnight in Japan between a Sunday and a Monday."""


OWN = (
    "pumps_of",
    "sensors",
    "well",
    "panel",
    "shutoff_ratio",
    "run_spread",
    "district",
    "contacts",
    "downstream",
    "travel_s",
)


@pytest.fixture(name="make_spec", scope="session")
def _make_spec() -> Callable[..., StationSpec]:
    """Build a station; keywords that are fields of site.json change the site, others the spec."""

    def make(**changes: Any) -> StationSpec:
        catchment = changes.pop("catchment", Catchment(sewage_m3s=0.0018, infiltration_m3s=0.0003))
        own = {k: changes.pop(k) for k in list(changes) if k in OWN}
        if "own_pumps" in changes:
            own["pumps"] = changes.pop("own_pumps")
        return StationSpec(site=site_from_dict(SITE | changes), catchment=catchment, **own)

    return make


@pytest.fixture(name="start_ms", scope="session")
def _start_ms() -> int:
    return MONDAY_MS


@dataclass(frozen=True)
class Run:
    """One run of one pump alone, inflow removed by the fills on both sides."""

    pump: int
    start_ms: int
    run_s: float
    capacity_m3s: float
    inflow_m3s: float
    jump_m3s: float
    """Fill in the first two minutes after the stop over the fill in the last two before the start."""
    amps: float
    amps_scatter: float


@pytest.fixture(name="runs_of")
def _runs_of() -> Callable[[Chunk, StationSpec], list[Run]]:
    def runs_of(chunk: Chunk, spec: StationSpec) -> list[Run]:
        t, level = chunk.t_ms / 1000, chunk.signals["level_m"]
        on = np.stack([chunk.signals["pump1_run"], chunk.signals["pump2_run"]]) > 0
        area = float(spec.site.area_m2 or 0)

        def flow(a: int, b: int) -> float:
            return float(np.polyfit(t[a:b] - t[a], level[a:b], 1)[0]) * area

        edges = np.flatnonzero(np.diff(on.any(axis=0))) + 1
        runs = []
        for before, a, b, after in zip(edges, edges[1:], edges[2:], edges[3:], strict=False):
            alone = on[:, a:b].any(axis=1)
            if not on[:, a].any() or alone.all() or min(a - before, b - a, after - b) < 6:
                continue
            pump = int(np.argmax(alone))
            inflow = (flow(before, a) + flow(b, after)) / 2
            amps = chunk.signals.get(f"pump{pump + 1}_current_a", np.full(len(t), np.nan))[
                a + 1 : b - 1
            ]
            runs.append(
                Run(
                    pump + 1,
                    int(chunk.t_ms[a]),
                    float(t[b] - t[a]),
                    inflow - flow(a + 1, b - 1),
                    inflow,
                    flow(b, min(b + 12, after)) - flow(max(before, a - 12), a),
                    float(np.median(amps)),
                    float(np.std(amps)),
                )
            )
        return runs

    return runs_of
