"""Odd stations and odd data: one to four pumps, blanks, nonsense; nothing stops, nothing is invented."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.forest import FitRequest
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.alerts import Kind
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import Site

START = 1_714_489_200_000
KEY = SiteKey("default", "x")
EARLY = DiagnosisSettings(reference_days=3.0, fit_days=50)


def no_fit(request: FitRequest) -> None:
    return None


def well(pumps: int, days: float, dead_from_h: float = 1e9, step_s: int = 30) -> Chunk:
    """A well whose last pump stops taking its turn after ``dead_from_h`` hours."""
    n = int(days * 86_400 / step_s)
    level, running, turn = 0.5, 0, 0
    levels, states = np.empty(n), np.zeros(n, int)
    for k in range(n):
        inflow = 0.0008 * (1 + 0.5 * np.sin(k * step_s / 13_750))
        level += (inflow - (0.003 if running else 0.0)) * step_s
        if running and level <= 0.4:
            running = 0
        elif not running and level >= 1.0:
            turn = (turn + 1) % pumps
            if turn == pumps - 1 and k * step_s > dead_from_h * 3600:
                turn = (turn + 1) % pumps
            running = turn + 1
        levels[k], states[k] = level, running
    noise = np.random.default_rng(pumps).normal(0, 0.003, n)
    signals = {f"pump{p}_run": (states == p).astype(float) for p in range(1, pumps + 1)}
    return Chunk(START + np.arange(n) * step_s * 1000, {"level_m": levels + noise, **signals})


def found(pumps: int, chunk: Chunk) -> list[tuple[str, str | None]]:
    site = Site(site="x", pumps=pumps, sample_s=30)
    assessment = SiteAssessor(KEY, site, fit=no_fit, settings=EARLY).feed(chunk)
    return [(f.fault[0], f.target) for f in assessment.findings if f.kind != Kind.INFO]


@pytest.mark.parametrize("pumps", [1, 2, 3, 4])
def test_a_healthy_station_of_any_size_is_quiet(pumps: int) -> None:
    assert found(pumps, well(pumps, 7)) == []


@pytest.mark.parametrize("pumps", [2, 3, 4])
def test_a_pump_that_no_longer_takes_its_turn_is_named(pumps: int) -> None:
    assert found(pumps, well(pumps, 7, dead_from_h=120)) == [
        ("pump_out_of_service", f"pump{pumps}")
    ]


NAMES = [
    "level_m",
    "pump1_run",
    "pump2_run",
    "pump1_current_a",
    "rain_mm_h",
    "power_ok",
    "mode_auto",
]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    names=st.lists(st.sampled_from(NAMES), unique=True),
    spacing_s=st.sampled_from([5, 60, 1800]),
    shuffled=st.booleans(),
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_nonsense_is_survived(seed: int, names: list[str], spacing_s: int, shuffled: bool) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 1500))
    t = START + np.cumsum(rng.integers(0, spacing_s * 1000, n))
    if shuffled:
        rng.shuffle(t)
    signals = {}
    for name in names:
        values = (
            rng.normal(0.7, 0.4, n) if name.endswith(("_m", "_a")) else (rng.random(n) < 0.3) * 1.0
        )
        signals[name] = np.where(rng.random(n) < 0.2, np.nan, values)
    edges = [
        Edge(
            START + int(rng.integers(0, 10**8)),
            f"pump{rng.integers(1, 4)}_run",
            float(rng.integers(0, 2)),
        )
        for _ in range(int(rng.integers(0, 20)))
    ]
    short = DiagnosisSettings(reference_days=0.2, reference_halves=1, reference_cycles=8)
    assessor = SiteAssessor(KEY, Site(site="x"), fit=no_fit, settings=short)
    assessor.feed(Chunk(t.astype(np.int64), signals), edges)
    again = SiteAssessor(KEY, Site(site="x"), fit=no_fit, state=assessor.snapshot())
    again.feed(Chunk(np.zeros(0, np.int64), {}))
    again.tick(START + 10**9)
