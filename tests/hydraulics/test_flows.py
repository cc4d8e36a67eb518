"""The mass balance holds whichever of its terms is asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.hydraulics import flows, geometry

areas = st.floats(0.3, 10.0)
inflows = st.floats(0.0, 0.02)
pumps = st.floats(0.001, 0.05)


@given(areas, inflows, pumps)
def test_what_flows_in_less_what_is_pumped_moves_the_level(a: float, q_in: float, q: float) -> None:
    fill_rate, run_rate = q_in / a, (q_in - q) / a
    assert flows.inflow(a, fill_rate) == pytest.approx(q_in, abs=1e-12)
    assert flows.capacity(a, run_rate, q_in) == pytest.approx(q, rel=1e-9)


@given(areas, st.floats(0.05, 2.0), inflows.filter(lambda q: q > 1e-4), pumps)
def test_the_band_needs_no_area(a: float, band: float, q_in: float, extra: float) -> None:
    q = q_in + extra
    volume = float(geometry.volume(a, 0.3, 0.3 + band))
    per_band = flows.capacity_per_band(volume / (q - q_in), volume / q_in)
    assert per_band * volume == pytest.approx(q, rel=1e-6)


@given(inflows, inflows, st.floats(60, 3600), st.floats(60, 3600))
def test_inflow_in_a_run_lies_between_its_fills(b: float, a: float, gb: float, ga: float) -> None:
    q = float(flows.inflow_during_run(b, a, gb, ga))
    assert min(a, b) - 1e-12 <= q <= max(a, b) + 1e-12


def test_one_known_fill_is_better_than_none() -> None:
    got = flows.inflow_during_run(
        [1.0, np.nan, np.nan], [np.nan, 2.0, np.nan], [9.0] * 3, [9.0] * 3
    )
    assert got[:2].tolist() == [1.0, 2.0]
    assert math.isnan(got[2])


@given(areas, inflows, st.floats(0.0, 0.01))
def test_what_runs_back_adds_to_the_inflow(a: float, q_in: float, leak: float) -> None:
    assert flows.backflow(a, (q_in + leak) / a, q_in) == pytest.approx(leak, abs=1e-12)


@given(areas, st.floats(0.1, 3.0), st.floats(1e-4, 0.02))
def test_a_dead_well_overflows_when_its_volume_has_come_in(a: float, left: float, q: float) -> None:
    seconds = float(flows.time_to_overflow(a, 1.0, 1.0 + left, q))
    assert seconds * q == pytest.approx(a * left, rel=1e-9)


def test_a_well_that_keeps_up_never_overflows_and_a_full_one_has() -> None:
    assert flows.time_to_overflow(1.0, 1.0, 2.0, 0.01, 0.02) == np.inf
    assert flows.time_to_overflow(1.0, 2.5, 2.0, 0.01) == 0.0


def test_area_of_a_round_well() -> None:
    assert geometry.round_area(1.5) == pytest.approx(1.7671, abs=1e-4)
