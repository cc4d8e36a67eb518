"""The well's shape and the operating points, held against the books and against finer sums."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.simulator.condition import Condition, PumpCondition, healthy
from pumpwatch.simulator.plant import (
    Plant,
    friction_s2_m5,
    pipe_storage,
    segment_area,
    well_table,
)
from pumpwatch.simulator.spec import Well

ROW = np.array([0])


def test_friction_of_a_main_is_darcy_weisbach():
    # 100 mm, 250 m at 10 L/s: 1.27 m/s, h = f L/d v^2/2g with f = 0.026
    head = friction_s2_m5(0.1, 250) * 0.01**2
    assert head == pytest.approx(0.026 * 250 / 0.1 * 1.2732**2 / (2 * 9.81), rel=1e-3)


def test_a_healthy_pump_delivers_its_nameplate_in_the_middle_of_the_band(make_spec):
    duty = Plant([make_spec()], 2).duty(ROW, [healthy(2)])
    assert duty.net[0, 0].mean() == pytest.approx(0.010, rel=0.01)
    assert duty.net[0, 0, 1] > duty.net[0, 0, 0]


def test_two_pumps_on_one_main_give_less_than_twice_one(make_spec):
    duty = Plant([make_spec()], 2).duty(ROW, [healthy(2)])
    one, both = duty.net[0, 0], duty.net[0, 2]
    assert (both > 1.05 * one).all()
    assert (both < 1.95 * one).all()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flow=st.floats(0.3, 1.2), head=st.floats(0.8, 1.1), leak=st.floats(0, 0.9))
def test_what_the_pumps_give_is_what_leaves_and_leaks(make_spec, flow, head, leak):
    plant = Plant([make_spec()], 2)
    condition = Condition([PumpCondition(flow=flow, head=head), PumpCondition(valve_leak=leak)])
    duty = plant.duty(ROW, [condition])
    assert (duty.pump[0, 0].sum(0) >= duty.net[0, 0] - 1e-9).all()
    assert duty.pump[0, 2].sum(0) == pytest.approx(duty.net[0, 2], rel=1e-6)
    assert (duty.pump[0, 1, 0] == 0).all()


def test_a_leak_through_the_idle_valve_costs_the_running_pump_only(make_spec):
    plant = Plant([make_spec()], 2)
    leaking = Condition([PumpCondition(), PumpCondition(valve_leak=0.4)])
    sound, faulty = plant.duty(ROW, [healthy(2)]), plant.duty(ROW, [leaking])
    assert (faulty.net[0, 0] < 0.8 * sound.net[0, 0]).all()
    assert faulty.net[0, 1:] == pytest.approx(sound.net[0, 1:])
    assert (faulty.pump[0, 0, 0] > sound.pump[0, 0, 0]).all()


def test_stations_solved_together_are_solved_as_alone(make_spec):
    specs = [make_spec(), make_spec(static_lift_m=4.0, rising_main_len_m=600)]
    together = Plant(specs, 2).duty(np.array([0, 1]), [healthy(2), healthy(2)])
    alone = Plant(specs[1:], 2).duty(ROW, [healthy(2)])
    assert np.array_equal(together.net[1], alone.net[0])


def test_a_leaking_riser_costs_its_own_pump_only_while_it_runs(make_spec):
    plant = Plant([make_spec()], 2)
    leaking = Condition([PumpCondition(coupling_leak=0.4), PumpCondition()])
    sound, faulty = plant.duty(ROW, [healthy(2)]), plant.duty(ROW, [leaking])
    assert (faulty.net[0, 0] < 0.8 * sound.net[0, 0]).all()
    assert (faulty.pump[0, 0, 0] > sound.pump[0, 0, 0]).all()
    assert faulty.net[0, 1] == pytest.approx(sound.net[0, 1])


@pytest.mark.parametrize("pumps", [1, 2, 3, 4])
def test_each_further_pump_on_the_main_adds_less(make_spec, pumps):
    duty = Plant([make_spec()], pumps).duty(ROW, [healthy(pumps)])
    flows = [duty.net[0, 2**n - 2].mean() for n in range(1, pumps + 1)]
    gains = np.diff([0.0, *flows])
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()


def test_a_half_full_pipe_has_half_its_section():
    full = math.pi / 4 * 0.2**2
    assert segment_area(0.2, np.array([-1.0, 0.0, 0.1, 0.2, 5.0])) == pytest.approx(
        [0, 0, full / 2, full, full]
    )


def test_a_sewer_backed_up_to_its_upper_end_is_full_and_a_level_one_fills_at_once():
    assert pipe_storage(0.2, 50.0, 0.004, 10.0) == pytest.approx(50 * math.pi / 4 * 0.04)
    assert pipe_storage(0.2, 50.0, 0.0, 0.1) == pytest.approx(25 * math.pi / 4 * 0.04)
    # 1 in 250: a head of 0.1 m wets 25 m, from half full to dry
    assert 0 < pipe_storage(0.2, 50.0, 0.004, 0.1) < 0.5 * pipe_storage(0.2, 25.0, 0.0, 0.1)


def test_the_well_narrows_at_the_bottom_and_takes_the_sewer_along_above_the_inlet(make_spec):
    spec = make_spec(inlet_level_m=1.25, well=Well(benching_m=0.3, benching_share=0.5))
    heights, volumes = well_table(spec)
    area = np.diff(volumes) / np.diff(heights)
    free = spec.site.area_m2
    assert (np.diff(volumes) > 0).all()
    assert area[heights[1:] <= 0.3].max() < free
    assert np.interp(1.2, heights, volumes) - np.interp(0.4, heights, volumes) == pytest.approx(
        0.8 * free
    )
    above = np.interp(1.5, heights, volumes) - np.interp(1.25, heights, volumes)
    assert above == pytest.approx(0.25 * free + pipe_storage(0.2, 60.0, 0.004, 0.25), rel=0.05)
    assert heights[-1] == spec.site.well_depth_m


def test_grease_takes_up_its_share_of_the_working_band(make_spec):
    clean, foul = (well_table(make_spec(), share) for share in (0.0, 0.3))
    band = [np.interp(1.2, *t) - np.interp(0.45, *t) for t in (clean, foul)]
    assert band[1] == pytest.approx(0.7 * band[0])
