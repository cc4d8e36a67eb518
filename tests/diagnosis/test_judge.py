"""What an open episode takes up as its own, and what opens another beside it."""

import pytest

from pumpwatch.diagnosis.charts import Chart
from pumpwatch.diagnosis.episodes import Episode
from pumpwatch.diagnosis.halfday import Value
from pumpwatch.diagnosis.judge import Judge
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.state import AssessorState
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site

NOW = 10 * DAY_MS


def faults_beside(open_fault, losses, fired, control="float", likely=()):
    """First faults told while ``open_fault`` stands over moved levels and pumps lost so much (log)."""
    site = Site("well", pumps=2, control=control)
    levels = ("start_level", "stop_level")
    state = AssessorState(
        episodes=[
            Episode(levels[0], [levels[0]], [open_fault, *likely], None, None, "warning", 0.6, 1, 1, size=100.0)
        ],
        charts={name: Chart(level=4.0, up=20, since_ms=1, n=5) for name in levels},
        values={name: Value(0.1, 0.02, 0.4, 0.3) for name in levels},
    )  # fmt: skip
    for k, loss in enumerate(losses, 1):
        z = 6.0 * (loss > 0.1) - 6.0 * (loss < -0.1)
        key = f"capacity:pump{k}"
        state.charts[key] = Chart(level=-z, up=20, down=20, since_ms=5 * DAY_MS, n=5)
        state.values[key] = Value(-loss, 0.02, 1 - loss, 1.0)
    judge = Judge(SiteKey("t", "well"), site, state, DiagnosisSettings())
    return [f.fault[0] for f in judge.half_day(NOW, fired)]


def test_what_has_no_name_explains_no_other_failure():
    both = {"capacity:pump1", "capacity:pump2"}
    assert faults_beside("unusual", (-0.3, -0.3), both) == ["rising_main_burst"]


def test_what_has_no_name_yet_explains_what_its_likely_causes_do():
    leak = ("check_valve_leak", "rising_main_burst")
    one = {"capacity:pump1"}
    assert faults_beside("unusual", (-0.3, 0.0), one, likely=leak) == []
    assert faults_beside("unusual", (0.3, 0.0), one, likely=leak) == ["pump_ragging"]


def test_a_drifting_reading_on_floats_explains_no_pump_that_loses_water():
    assert faults_beside("sensor_drift", (0.25, 0.0), {"capacity:pump1"}) == ["pump_ragging"]


@pytest.mark.parametrize(("losses", "told"), [((0.4, 0.4), []), ((0.4, 0.0), ["pump_ragging"])])
def test_a_narrow_main_explains_pumps_that_lose_alike_and_not_one_alone(losses, told):
    assert faults_beside("discharge_blockage", losses, {"capacity:pump1"}, "level") == told


def first_told(fired, *, levels, measured_ms, begun_ms=9 * DAY_MS, gain=0.0):
    """The fault and pump told by single cycles since ``begun_ms``, with the nights and the pair normal when
    half-days last gave them; the pump that ``fired`` gained so much (log)."""
    keys = ("capacity:pump1", "capacity:pump2", "backflow:pump1", "backflow:pump2", "night_inflow")
    state = AssessorState(
        charts={k: Chart(since_ms=5 * DAY_MS, n=20) for k in keys},
        fast={k: Chart(level=z, up=20, since_ms=begun_ms, n=40) for k, z in levels.items()},
        values={k: Value(0.0, 0.02, 1.0, 1.0) for k in keys},
        measured_ms=dict.fromkeys(keys, measured_ms),
    )
    state.values[fired] = Value(gain, 0.02, 1.0, 1.0)
    state.measured_ms[fired] = NOW
    site = Site("well", pumps=2, control="level")
    judge = Judge(SiteKey("t", "well"), site, state, DiagnosisSettings())
    return [(f.fault[0], f.target) for f in judge.hear(NOW, {fired})]


LEAK = {
    "gain:pump1": 0.2,
    "gain:pump2": 3.5,
    "backflow:pump1": 2.8,
    "backflow:pump2": 3.4,
}


def test_nights_from_before_it_began_speak_for_nothing():
    told = first_told("backflow:pump2", levels=LEAK, measured_ms=8 * DAY_MS)
    assert told == [("check_valve_leak", "pump2")]


def test_nights_that_stayed_dry_since_it_began_speak_against_a_leaking_valve():
    told = first_told("backflow:pump2", levels=LEAK, measured_ms=int(9.5 * DAY_MS))
    assert told != [("check_valve_leak", "pump2")]


def test_a_pump_that_moved_since_it_was_last_measured_is_compared_with_no_other():
    both = {"gain:pump1": 7.0, "gain:pump2": 6.7}
    told = first_told("capacity:pump1", levels=both, measured_ms=8 * DAY_MS, gain=0.3)
    assert told == [("rising_main_burst", None)]
