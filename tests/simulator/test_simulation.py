from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.simulator import Simulation, demo_fleet, make_history
from pumpwatch.simulator.inflow import Catchment

FEW = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def published(simulation, site):
    chunk, edges = simulation.take(site)
    columns = {name: values.tobytes() for name, values in chunk.signals.items()}
    return chunk.t_ms.tobytes(), columns, edges


@FEW
@given(
    inflow_share=st.floats(0.0, 1.6),
    leak_h=st.none() | st.floats(1, 10),
    outage=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_water_is_neither_made_nor_lost(make_spec, start_ms, inflow_share, leak_h, outage, seed):
    spec = make_spec(catchment=Catchment(0.005 * inflow_share, 0.005 * inflow_share))
    simulation = Simulation([spec], seed, start_ms)
    held = simulation.balance().stored
    if leak_h is not None:
        simulation.inject("mh-01", "check_valve_leak", "pump1", start_ms, growth_h=leak_h)
    if outage:
        simulation.inject("mh-01", "power_outage", at_ms=start_ms + 2 * HOUR_MS)
    simulation.advance(start_ms + 12 * HOUR_MS)
    b = simulation.balance()
    well = b.inflow + b.returned - b.pumped - b.spilled - (b.stored - held)
    main = b.pumped - b.returned - b.delivered + b.main_empty
    assert abs(well[0]) < 1e-9 * max(b.inflow[0], 1)
    assert abs(main[0]) < 1e-9 * max(b.pumped[0], 1)
    assert b.stored[0] <= spec.site.area_m2 * spec.site.well_depth_m + 1e-9


def test_the_inflow_booked_is_the_inflow_of_the_catchment(make_spec, start_ms):
    spec = make_spec(catchment=Catchment(0.0, infiltration_m3s=0.002))
    simulation = Simulation([spec], 1, start_ms)
    simulation.advance(start_ms + DAY_MS)
    assert simulation.balance().inflow[0] == pytest.approx(0.002 * 86_400, rel=0.25)


@FEW
@given(splits=st.lists(st.integers(1, 6 * 3600), max_size=12), seed=st.integers(0, 1000))
def test_the_same_seed_gives_the_same_bytes_however_it_is_stepped(start_ms, splits, seed):
    specs = demo_fleet(seed, 3)
    end_ms = start_ms + 7 * HOUR_MS

    def faulty():
        simulation = Simulation(specs, seed, start_ms)
        simulation.inject("mh-01", "pump_ragging", "pump2", start_ms + HOUR_MS, growth_h=4)
        simulation.inject("mh-02", "check_valve_leak", "pump1", start_ms + 7_000, growth_h=4)
        simulation.inject(
            "mh-03", "power_outage", at_ms=start_ms + HOUR_MS, until_ms=start_ms + 100 * MINUTE_MS
        )
        return simulation

    at_once, in_parts = faulty(), faulty()
    at_once.advance(end_ms)
    for at_s in sorted(splits):
        in_parts.advance(start_ms + at_s * 1000)
    in_parts.advance(end_ms)
    for spec in specs:
        assert published(at_once, spec.site.site) == published(in_parts, spec.site.site)


def test_another_seed_gives_another_day(make_spec, start_ms):
    one, other = (Simulation([make_spec()], seed, start_ms) for seed in (1, 2))
    for simulation in (one, other):
        simulation.advance(start_ms + HOUR_MS)
    assert published(one, "mh-01") != published(other, "mh-01")


def test_a_station_does_not_depend_on_who_else_is_simulated(start_ms):
    many, few = demo_fleet(3, 6), demo_fleet(3, 1)
    with_others, alone = Simulation(many, 3, start_ms), Simulation(few, 3, start_ms)
    with_others.inject("mh-04", "check_valve_leak", "pump1", growth_h=2)
    for simulation in (with_others, alone):
        simulation.advance(start_ms + 6 * HOUR_MS)
    assert published(with_others, "mh-01") == published(alone, "mh-01")


def test_pumps_alternate_and_start_as_often_as_real_ones(start_ms):
    specs = demo_fleet(2, 8)
    simulation = Simulation(specs, 2, start_ms)
    simulation.advance(start_ms + 2 * DAY_MS)
    for spec in specs:
        _, edges = simulation.take(spec.site.site)
        starts = [e.signal for e in edges if e.signal.startswith("pump") and e.value > 0]
        assert all(a != b for a, b in pairwise(starts))
        assert 2 <= len(starts) / 48 <= 8


def test_levels_stay_between_the_switches_on_a_healthy_day(make_spec, start_ms):
    spec = make_spec()
    simulation = Simulation([spec], 5, start_ms)
    simulation.advance(start_ms + DAY_MS)
    chunk, edges = simulation.take("mh-01")
    level = chunk.signals["level_m"]
    noise = 6 * 1.5 * spec.sensors.level_noise_m
    assert spec.site.stop_level_m - noise <= level.min()
    assert level.max() <= spec.site.start_level_m + noise
    assert not any(e.signal == "high_level" for e in edges)
    assert simulation.balance().spilled[0] == 0


def test_edges_are_stamped_at_the_moment_the_level_is_reached(make_spec, start_ms):
    spec = make_spec()
    simulation = Simulation([spec], 5, start_ms)
    simulation.advance(start_ms + 6 * HOUR_MS)
    chunk, edges = simulation.take("mh-01")
    started = [e.t_ms for e in edges if e.value > 0]
    assert any(t % 10_000 for t in started)
    at_start = np.interp(started, chunk.t_ms, chunk.signals["level_m"])
    assert np.abs(at_start - spec.site.start_level_m).max() < 0.05


def test_the_second_pump_and_the_float_answer_a_flood(make_spec, start_ms):
    spec = make_spec(catchment=Catchment(0.0, infiltration_m3s=0.02))
    simulation = Simulation([spec], 5, start_ms)
    simulation.advance(start_ms + DAY_MS)
    chunk, edges = simulation.take("mh-01")
    both = (chunk.signals["pump1_run"] > 0) & (chunk.signals["pump2_run"] > 0)
    assert both.any()
    assert any(e.signal == "high_level" and e.value for e in edges)


def test_water_above_the_cover_is_spilled_and_the_level_stands_there(make_spec, start_ms):
    spec = make_spec(catchment=Catchment(0.0, infiltration_m3s=0.01))
    simulation = Simulation([spec], 5, start_ms)
    simulation.inject("mh-01", "power_outage", until_ms=start_ms + 4 * HOUR_MS)
    simulation.advance(start_ms + 3 * HOUR_MS)
    chunk, _ = simulation.take("mh-01")
    assert chunk.signals["level_m"][-1] == pytest.approx(spec.site.well_depth_m, abs=0.03)
    assert simulation.balance().spilled[0] > 1


def test_history_reports_its_progress_and_ends_where_asked(make_spec, start_ms):
    simulation = Simulation([make_spec()], 1, start_ms)
    heard = []
    make_history(simulation, 1, heard.append)
    assert heard[-1] == 1.0
    assert heard == sorted(heard)
    assert simulation.now_ms == start_ms + DAY_MS


@pytest.mark.parametrize(
    ("arguments", "named", "remedy"),
    [
        (("mh-99", "pump_ragging", "pump1"), "site", "mh-01"),
        (("mh-01", "ragging", "pump1"), "fault", "pump_ragging"),
        (("mh-01", "pump_ragging", "pump7"), "target", "pump1 or pump2"),
        (("mh-01", "pump_ragging", None), "target", "pump1 or pump2"),
        (("mh-01", "power_outage", "pump1"), "target", "leave it out"),
    ],
)
def test_what_cannot_be_injected_is_named_with_its_remedy(
    make_spec, start_ms, arguments, named, remedy
):
    simulation = Simulation([make_spec()], 1, start_ms)
    with pytest.raises(InvalidInput, match=remedy) as refused:
        simulation.inject(*arguments)
    assert refused.value.field == named
    assert simulation.active() == []


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"growth_h": -1}, "growth_h"),
        ({"growth_h": float("nan")}, "growth_h"),
        ({"until_ms": 0}, "until_ms"),
        ({"battery_h": 1}, "options"),
    ],
)
def test_impossible_options_of_a_fault_are_named(make_spec, start_ms, options, named):
    simulation = Simulation([make_spec()], 1, start_ms)
    with pytest.raises(InvalidInput) as refused:
        simulation.inject("mh-01", "pump_ragging", "pump1", **options)
    assert refused.value.field == named


def test_a_fault_is_listed_until_it_is_cleared_and_only_once(make_spec, start_ms):
    simulation = Simulation([make_spec()], 1, start_ms)
    simulation.inject("mh-01", "pump_ragging", "pump1")
    with pytest.raises(Conflict):
        simulation.inject("mh-01", "pump_ragging", "pump1")
    simulation.inject("mh-01", "pump_ragging", "pump2")
    simulation.clear("mh-01", "pump_ragging", "pump1")
    assert [(a.site, a.fault, a.target) for a in simulation.active()] == [
        ("mh-01", "pump_ragging", "pump2")
    ]
    with pytest.raises(NotFound):
        simulation.clear("mh-01", "pump_ragging", "pump1")
    simulation.inject("mh-01", "pump_ragging", "pump1")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rated_current_a": None}, "rated_current_a"),
        ({"static_lift_m": None}, "static_lift_m"),
        ({"high_level_m": None}, "high_level_m"),
        ({"well_diameter_m": None}, "well_area_m2"),
        ({"sample_s": 7}, "sample_s"),
        ({"pumps": 3}, "pumps"),
        ({"alternation": "weekly"}, "alternation"),
        ({"start_level_m": 0.30}, "stop_level_m"),
    ],
)
def test_a_station_that_cannot_be_simulated_is_named(make_spec, changes, named):
    with pytest.raises(InvalidInput) as refused:
        make_spec(**changes)
    assert refused.value.field == named


def test_two_stations_of_one_id_are_refused(make_spec, start_ms):
    with pytest.raises(InvalidInput, match="one id"):
        Simulation([make_spec(), make_spec()], 1, start_ms)
