"""Each fault changes the plant, and shows in features computed here from what was published."""

import numpy as np
import pytest

from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.simulator import FAULTS, Simulation
from pumpwatch.simulator.chance import generator
from pumpwatch.simulator.plant import HEALTHY


@pytest.fixture(name="before_and_after")
def _before_and_after(make_spec, start_ms, runs_of):
    """Runs of a healthy day, and of a day when the fault has grown to about three quarters."""

    def watch(fault, target, **changes):
        spec = make_spec(**changes)
        simulation = Simulation([spec], 11, start_ms)
        simulation.inject("mh-01", fault, target, start_ms + DAY_MS, growth_h=48)
        simulation.advance(start_ms + int(2.9 * DAY_MS))
        runs = runs_of(simulation.take("mh-01")[0], spec)
        healthy = [r for r in runs if r.start_ms < start_ms + DAY_MS]
        faulty = [r for r in runs if r.start_ms > start_ms + int(1.9 * DAY_MS)]
        return healthy, faulty

    return watch


def ratio(runs_before, runs_after, pump, what):
    """Median of a feature after over before, one pump."""
    before, after = (
        np.median([getattr(r, what) for r in runs if r.pump == pump])
        for runs in (runs_before, runs_after)
    )
    return after / before


def test_every_fault_has_a_code_of_the_closed_list():
    assert {"pump_ragging", "check_valve_leak", "power_outage", "pump_wear"} <= set(FAULTS)
    assert set(FAULTS) <= set(FAULT_GROUP)
    assert all(FAULTS[code].code == code for code in FAULTS)


@pytest.mark.parametrize("code", sorted(FAULTS))
@pytest.mark.parametrize("growth_h", [0.5, 5.0, 100.0])
def test_severity_runs_from_nothing_to_breakdown(code, growth_h):
    fault = FAULTS[code]()
    grows = growth_h if fault.growth_h else 0.0
    course = fault.course(grows, generator(1, code))
    assert course[-1] == 1
    assert ((course >= 0) & (course <= 1)).all()
    assert len(course) == np.ceil(grows) + 1
    assert course[0] == 0 or not grows


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_a_fault_changes_the_plant_and_more_so_as_it_grows(code):
    fault = FAULTS[code]()
    pump = 0 if fault.on_pump else None
    little, much = (fault.act(HEALTHY, severity, pump, 1.0) for severity in (0.1, 1.0))
    assert little != HEALTHY
    assert much.pumps[1] == HEALTHY.pumps[1]
    assert much != little or not fault.growth_h


def test_ragging_weakens_one_pump_and_raises_its_current(before_and_after):
    before, after = before_and_after("pump_ragging", "pump2")
    assert ratio(before, after, 2, "capacity_m3s") < 0.8
    assert ratio(before, after, 2, "amps") > 1.1
    assert ratio(before, after, 2, "amps_scatter") > 1.5
    assert ratio(before, after, 1, "capacity_m3s") == pytest.approx(1, abs=0.03)
    assert ratio(before, after, 1, "amps") == pytest.approx(1, abs=0.03)


def test_ragging_falls_in_a_saw_tooth():
    course = FAULTS["pump_ragging"]().course(400.0, generator(3, "saw"))
    falls = np.diff(course) < -0.03
    assert 1 <= falls.sum() <= 20


def test_wear_weakens_one_pump_and_lowers_its_current(before_and_after):
    before, after = before_and_after("pump_wear", "pump1")
    assert ratio(before, after, 1, "capacity_m3s") < 0.85
    assert ratio(before, after, 1, "amps") < 0.98
    assert ratio(before, after, 2, "capacity_m3s") == pytest.approx(1, abs=0.03)


def test_a_leaking_valve_weakens_the_partner_and_lets_the_main_run_back(before_and_after):
    before, after = before_and_after("check_valve_leak", "pump1", rising_main_len_m=100)
    own, partner = (ratio(before, after, pump, "capacity_m3s") for pump in (1, 2))
    # water that came back is pumped twice, so that pump 1 looks stronger and pump 2 gains nothing
    assert own > 1.1
    assert partner < 0.85 * own
    assert ratio(before, after, 2, "run_s") > 1.3 * ratio(before, after, 1, "run_s")
    assert ratio(before, after, 2, "amps") > 1.005
    assert ratio(before, after, 1, "inflow_m3s") > 1.3
    jump = [np.median([r.jump_m3s for r in runs]) for runs in (before, after)]
    assert abs(jump[0]) < 0.0002
    assert jump[1] > 0.0008


def test_in_a_power_cut_pumps_stand_the_level_rises_and_all_comes_back(make_spec, start_ms):
    simulation = Simulation([make_spec()], 4, start_ms)
    cut_ms, back_ms = start_ms + 12 * HOUR_MS, start_ms + 13 * HOUR_MS
    simulation.inject("mh-01", "power_outage", at_ms=cut_ms, until_ms=back_ms)
    simulation.advance(start_ms + DAY_MS)
    chunk, edges = simulation.take("mh-01")
    dark = (chunk.t_ms > cut_ms) & (chunk.t_ms <= back_ms)
    assert (chunk.signals["power_ok"][dark] == 0).all()
    assert (chunk.signals["power_ok"][~dark] == 1).all()
    assert (chunk.signals["pump1_run"] + chunk.signals["pump2_run"])[dark].max() == 0
    level = chunk.signals["level_m"][dark]
    assert level[-1] > level[0] + 1
    assert chunk.signals["level_m"][-360:].max() < 1.3
    power = [(e.t_ms, e.value) for e in edges if e.signal == "power_ok"]
    assert power == [(cut_ms, 0.0), (back_ms, 1.0)]


def test_when_the_battery_ends_the_panel_falls_silent(make_spec, start_ms):
    simulation = Simulation([make_spec()], 4, start_ms)
    simulation.inject(
        "mh-01",
        "power_outage",
        at_ms=start_ms + HOUR_MS,
        until_ms=start_ms + 4 * HOUR_MS,
        battery_h=0.5,
    )
    simulation.advance(start_ms + 5 * HOUR_MS)
    chunk, edges = simulation.take("mh-01")
    gap = np.flatnonzero(np.diff(chunk.t_ms) > 60_000)
    assert len(gap) == 1
    silent_ms = int(np.diff(chunk.t_ms)[gap[0]])
    assert silent_ms == pytest.approx(2.5 * HOUR_MS, abs=60_000)
    last = int(chunk.t_ms[gap[0]])
    assert not [e for e in edges if last < e.t_ms < last + silent_ms - 60_000]


def test_a_repaired_pump_is_as_good_as_before(make_spec, start_ms, runs_of):
    spec = make_spec()
    simulation = Simulation([spec], 11, start_ms)
    simulation.inject("mh-01", "pump_ragging", "pump2", start_ms + DAY_MS, growth_h=12)
    simulation.clear("mh-01", "pump_ragging", "pump2", start_ms + 2 * DAY_MS)
    simulation.advance(start_ms + 3 * DAY_MS)
    runs = runs_of(simulation.take("mh-01")[0], spec)
    before = [r for r in runs if r.start_ms < start_ms + DAY_MS]
    repaired = [r for r in runs if r.start_ms > start_ms + 2 * DAY_MS]
    assert ratio(before, repaired, 2, "capacity_m3s") == pytest.approx(1, abs=0.03)
