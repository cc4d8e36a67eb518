"""The level sensor's audit, on wells that were filled by hand."""

from dataclasses import replace

import numpy as np
import pytest

from pumpwatch.diagnosis.proofs import audit_level
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.proofs import FLOAT, KNEE, VOLUME
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import Site

SITE = Site(
    "mh0001", sample_s=60, inlet_level_m=1.5, high_level_m=1.9, pump_capacity_m3_min=0.6,
    well_diameter_m=1.5,
)  # fmt: skip
T = 60_000 * np.arange(120)


def filled(knee_m=1.5, slower=0.4, shift_m=0.0, noise_m=0.002, float_m=1.9):
    """A rise of 1 cm a minute from 1 m that goes on slower above the knee; what the sensor says of it."""
    true = 1.0 + 0.01 * np.arange(120)
    true = np.where(true > knee_m, knee_m + slower * (true - knee_m), true)
    noise = np.random.default_rng(3).normal(0, noise_m, 120)
    zeros = np.zeros(120)
    return Chunk(
        T, {"level_m": true + shift_m + noise, "high_level": (true >= float_m).astype(float),
            "pump1_run": zeros, "pump2_run": zeros}
    )  # fmt: skip


def said(chunk, cycles=(), site=SITE):
    return {proof.subject: proof for proof in audit_level(chunk, cycles, site)}


def test_a_float_that_tips_where_it_hangs_proves_the_level():
    proof = said(filled(slower=0.9))[FLOAT]
    assert proof.holds
    assert proof.measured == pytest.approx(1.9, abs=0.02)
    assert proof.expected == 1.9


@pytest.mark.parametrize("shift_m", [-0.2, 0.2])
def test_a_shifted_level_disagrees_with_the_float(shift_m):
    proof = said(filled(slower=0.9, shift_m=shift_m))[FLOAT]
    assert not proof.holds
    assert proof.proven_ms is None


def test_a_float_seen_before_and_after_a_gap_only_says_nothing():
    chunk = filled(slower=0.9)
    away = (chunk.t_ms < T[60]) | (chunk.t_ms > T[115])
    gap = Chunk(chunk.t_ms[away], {name: v[away] for name, v in chunk.signals.items()})
    assert FLOAT not in said(gap)


def test_a_fill_that_bends_at_the_inlet_proves_the_level():
    proof = said(filled())[KNEE]
    assert proof.holds
    assert proof.measured == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize(
    "chunk",
    [filled(shift_m=0.25), filled(slower=0.95), filled(knee_m=1.25), filled(noise_m=0.05, slower=0.6)],
    ids=["shifted", "no bend", "bends elsewhere", "noise"],
)  # fmt: skip
def test_no_other_fill_does(chunk):
    assert KNEE not in said(chunk)


def test_a_fill_under_a_running_pump_says_nothing():
    chunk = filled()
    running = Chunk(chunk.t_ms, {**chunk.signals, "pump2_run": np.ones(120)})
    assert KNEE not in said(running)


def cycles(pump, flow_m3s, n=12, reason=""):
    """What came in during fill and run is what the pump took out in its run."""
    inflow, run_s = 0.002, 200.0
    fill_s = run_s * flow_m3s / inflow - run_s
    features = {"inflow_m3s": inflow, "fill_s": fill_s, "run_s": run_s}
    return [CycleRow(k, k + 1, pump, reason, features) for k in range(n)]


EMPTY = Chunk(np.empty(0, np.int64), {})


@pytest.mark.parametrize(
    ("rows", "holds"),
    [
        (cycles("pump1", 0.0095) + cycles("pump2", 0.0105), True),
        (cycles("pump1", 0.005) + cycles("pump2", 0.0105), True),
        (cycles("pump1", 0.006) + cycles("pump2", 0.0061), False),
    ],
    ids=["both", "one is worn", "all alike: the level"],
)
def test_volumes_are_held_against_the_name_plate(rows, holds):
    assert said(EMPTY, rows)[VOLUME].holds == holds


def test_of_too_few_cycles_and_of_a_pump_without_a_plate_nothing_is_said():
    assert said(EMPTY, cycles("pump1", 0.01, n=9)) == {}
    assert said(EMPTY, cycles("pump1", 0.01, reason="short")) == {}
    assert said(EMPTY, cycles("pump1", 0.01), replace(SITE, pump_capacity_m3_min=None)) == {}


def test_a_station_of_which_no_height_is_known_has_no_witness():
    assert said(filled(), cycles("pump1", 0.01), Site("mh0001")) == {}
