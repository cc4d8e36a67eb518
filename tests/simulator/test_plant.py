import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.simulator.plant import (
    HEALTHY,
    Condition,
    Plant,
    PumpCondition,
    friction_s2_m5,
)

ROW = np.array([0])


def test_friction_of_a_main_is_darcy_weisbach():
    # 100 mm, 250 m at 10 L/s: 1.27 m/s, h = f L/d v^2/2g with f = 0.026
    head = friction_s2_m5(0.1, 250) * 0.01**2
    assert head == pytest.approx(0.026 * 250 / 0.1 * 1.2732**2 / (2 * 9.81), rel=1e-3)


def test_a_healthy_pump_delivers_its_nameplate_in_the_middle_of_the_band(make_spec):
    duty = Plant([make_spec()]).duty(ROW, [HEALTHY])
    assert duty.net[0, 0].mean() == pytest.approx(0.010, rel=0.01)
    assert duty.net[0, 0, 1] > duty.net[0, 0, 0]


def test_two_pumps_on_one_main_give_less_than_twice_one(make_spec):
    duty = Plant([make_spec()]).duty(ROW, [HEALTHY])
    one, both = duty.net[0, 0], duty.net[0, 2]
    assert (both > 1.05 * one).all()
    assert (both < 1.95 * one).all()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flow=st.floats(0.3, 1.2), head=st.floats(0.8, 1.1), leak=st.floats(0, 0.9))
def test_what_the_pumps_give_is_what_leaves_and_leaks(make_spec, flow, head, leak):
    plant = Plant([make_spec()])
    condition = Condition((PumpCondition(flow=flow, head=head), PumpCondition(valve_leak=leak)))
    duty = plant.duty(ROW, [condition])
    assert (duty.pump[0, 0].sum(-1) >= duty.net[0, 0] - 1e-9).all()
    assert duty.pump[0, 2].sum(-1) == pytest.approx(duty.net[0, 2], rel=1e-6)
    assert (duty.pump[0, 1, :, 0] == 0).all()


def test_a_leak_through_the_idle_valve_costs_the_running_pump_only(make_spec):
    plant = Plant([make_spec()])
    leaking = Condition((PumpCondition(), PumpCondition(valve_leak=0.4)))
    healthy, faulty = plant.duty(ROW, [HEALTHY]), plant.duty(ROW, [leaking])
    assert (faulty.net[0, 0] < 0.8 * healthy.net[0, 0]).all()
    assert faulty.net[0, 1:] == pytest.approx(healthy.net[0, 1:])
    assert (faulty.pump[0, 0, :, 0] > healthy.pump[0, 0, :, 0]).all()


def test_stations_solved_together_are_solved_as_alone(make_spec):
    specs = [make_spec(), make_spec(static_lift_m=4.0, rising_main_len_m=600)]
    together = Plant(specs).duty(np.array([0, 1]), [HEALTHY, HEALTHY])
    alone = Plant(specs[1:]).duty(ROW, [HEALTHY])
    assert np.array_equal(together.net[1], alone.net[0])
