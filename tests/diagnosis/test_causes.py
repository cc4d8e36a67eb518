"""Causes by their signs: each row of the table names its own fault, and missing signals only flatten."""

from __future__ import annotations

import math

import pytest

from pumpwatch.diagnosis import causes
from pumpwatch.domain.faults import FAULT_GROUP

SIGNS = {
    "pump_wear": {"capacity:pump1": -5, "pair:pump1": -5, "pair:pump2": 5, "pace:pump1": -4,
                  "capacity:pump2": 0, "current:pump1": -1, "current:pump2": 0},
    "pump_ragging": {"capacity:pump1": -6, "pair:pump1": -6, "pair:pump2": 6, "pace:pump1": 5,
                     "current:pump1": 5, "current:pump2": 0, "capacity:pump2": 0},
    "coupling_leak": {"capacity:pump1": -6, "pair:pump1": -6, "pair:pump2": 6, "pace:pump1": 1,
                      "capacity:pump2": 0, "current:pump1": 3, "current:pump2": 0,
                      "low_capacity:pump1": 0, "hand_over:pump1": 0},
    "air_lock": {"hand_over:pump1": 6, "low_capacity:pump1": 3, "capacity:pump1": -1,
                 "trip:pump1": 0},
    "pump_trip": {"trip:pump1": 6, "hand_over:pump1": 3, "capacity:pump1": 0,
                  "short_run:pump1": 0, "late_start": 0, "start_spread": 0},
    "rising_main_burst": {"capacity:pump1": 6, "capacity:pump2": 6, "pair:pump1": 0,
                          "pair:pump2": 0, "pace:pump1": 8, "pace:pump2": 8},
    "unusual": {"capacity:pump1": 5, "capacity:pump2": 5, "pair:pump1": 0, "pair:pump2": 0,
                "pace:pump1": -3, "pace:pump2": -3, "night_inflow": 2},
    "short_cycling": {"stop_level": 6, "start_level": 0, "stop_spread": 2, "start_spread": 0,
                      "night_inflow": 0,
                      "levels_together": 0, "late_start": 0},
    "inflow_change": {"day_inflow": 10, "night_inflow": 0},
    "start_failure": {"short_run:pump1": 6, "turn_lost:pump1": 4, "late_start": 6},
    "motor_degradation": {"current:pump1": 6, "current:pump2": 0, "capacity:pump1": 0,
                          "capacity:pump2": 0, "pair:pump1": 0, "pair:pump2": 0},
    "pump_out_of_service": {"idle:pump1": 6, "turn_lost:pump1": 6, "late_start": 6},
    "alternation_failure": {"idle:pump1": 6, "lag_answered:pump1": 6, "late_start": 0},
    "check_valve_leak": {"capacity:pump1": 4, "capacity:pump2": -3, "pair:pump1": 5,
                         "pair:pump2": -5, "backflow:pump1": 5, "backflow:pump2": 5,
                         "night_inflow": 5},
    "discharge_blockage": {"capacity:pump1": -6, "capacity:pump2": -6, "pair:pump1": 0,
                           "pair:pump2": 0, "pace:pump1": 2, "pace:pump2": 2,
                           "current:pump1": -4, "current:pump2": -4},
    "sensor_drift": {"start_level": -5, "stop_level": -5, "levels_together": 6},
    "float_hangup": {"start_spread": 6, "stop_spread": 5, "late_start": 6, "capacity:pump1": 0,
                     "capacity:pump2": 0},
    "stuck_on": {"low_stop:pump1": 6, "stop_spread": 6, "low_capacity:pump1": 3},
    "infiltration_growth": {"night_inflow": 5, "capacity:pump1": 0, "capacity:pump2": 0,
                            "backflow:pump1": 0, "backflow:pump2": 0},
    "upstream_blockage": {"inflow_low": 8, "night_inflow": -3},
}  # fmt: skip


@pytest.mark.parametrize("fault", sorted(SIGNS))
def test_its_own_signs_put_a_fault_first(fault: str) -> None:
    top = causes.rank(SIGNS[fault], 2, "float")[0]
    assert top.fault == fault
    assert top.target in (None, "pump1")
    assert top.p > 0.4


@pytest.mark.parametrize("fault", sorted(SIGNS))
def test_the_pumps_are_alike(fault: str) -> None:
    swapped = {
        k.replace("pump1", "?").replace("pump2", "pump1").replace("?", "pump2"): z
        for k, z in SIGNS[fault].items()
    }
    top = causes.rank(swapped, 2, "float")[0]
    assert top.fault == fault
    assert top.target in (None, "pump2")


def test_probabilities_add_up_to_one() -> None:
    assert sum(c.p for c in causes.rank(SIGNS["pump_wear"], 2)) == pytest.approx(1)


def test_a_missing_current_flattens_the_ranking_but_keeps_the_pump() -> None:
    blind = {k: z for k, z in SIGNS["pump_ragging"].items() if not k.startswith("current")}
    seen, unseen = causes.rank(SIGNS["pump_ragging"], 2), causes.rank(blind, 2)
    assert unseen[0].target == "pump1"
    assert unseen[0].p < seen[0].p


def test_no_signs_name_nothing_with_confidence() -> None:
    ranked = causes.rank({}, 2)
    assert ranked[0].p < 0.25
    entropy = -sum(c.p * math.log(c.p) for c in ranked)
    assert entropy > 2


def test_a_level_panel_hands_a_lost_turn_on_at_once() -> None:
    idle = {"idle:pump1": 6.0, "turn_lost:pump1": 0.0, "late_start": 0.0}
    assert causes.rank(idle, 2, "level")[0].fault == "pump_out_of_service"
    assert causes.rank(idle, 2, "float")[0].fault == "alternation_failure"


def test_every_fault_of_the_table_is_a_code() -> None:
    assert {e.fault for e in causes.TABLE} <= set(FAULT_GROUP)


def test_what_speaks_for_and_against_is_said() -> None:
    signs = {**SIGNS["pump_wear"], "night_inflow": 6.0}
    top = causes.rank(signs, 2)[0]
    assert "capacity:pump1" in top.support
    leak = next(c for c in causes.rank(signs, 2) if c.fault == "pump_wear" and c.target == "pump1")
    assert "night_inflow" in leak.against


def test_one_pump_alone_can_be_judged() -> None:
    ranked = causes.rank({"capacity:pump1": -6, "current:pump1": 5, "pace:pump1": 4}, 1)
    assert ranked[0].fault == "pump_ragging"


def test_flows_that_shrink_without_the_current_are_the_readings_of_a_panel_that_follows_them() -> (
    None
):
    shrunk = {"capacity:pump1": -6.0, "capacity:pump2": -6.0, "pair:pump1": 0.0, "pair:pump2": 0.0,
              "low_capacity:pump1": 0.0, "low_capacity:pump2": 0.0}  # fmt: skip
    steady = {**shrunk, "current:pump1": 0.0, "current:pump2": 0.0}
    falling = {**shrunk, "current:pump1": -3.0, "current:pump2": -3.0}
    assert causes.rank(steady, 2, "level")[0].fault == "sensor_drift"
    assert causes.rank(falling, 2, "level")[0].fault == "discharge_blockage"
    assert causes.rank(steady, 2, "float")[0].fault == "discharge_blockage"
    assert causes.rank(shrunk, 2, "level")[0].fault == "discharge_blockage"


@pytest.mark.parametrize("key", ["stop_level", "stop_spread"])
def test_water_that_runs_back_before_the_stop_is_seen_lifts_it(key: str) -> None:
    leak = causes.Cause("check_valve_leak", "pump1", 1.0, (), ())
    assert causes.explains(leak, key, 4.0)
    assert not causes.explains(leak, key, -4.0)
