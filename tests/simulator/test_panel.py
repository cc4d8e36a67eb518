import math

import pytest

from pumpwatch.simulator.panel import FLOAT_DEAD_BAND_M, Panel


@pytest.fixture(name="panel")
def _panel(make_spec):
    return Panel(make_spec().site, duty=0)


def test_pumps_take_turns(panel):
    ran = []
    for _ in range(4):
        panel.respond(1.20, power=True)
        ran.append(panel.running.index(True))
        panel.respond(0.45, power=True)
    assert ran == [0, 1, 0, 1]


def test_a_running_pump_runs_on_between_the_switches(panel):
    panel.respond(1.20, power=True)
    panel.respond(0.80, power=True)
    assert panel.called == 1
    assert panel.bounds(power=True) == (0.45, 1.50)


def test_the_lag_level_calls_the_second_pump_and_both_stop_together(panel):
    panel.respond(1.20, power=True)
    panel.respond(1.50, power=True)
    assert panel.running == [True, True]
    panel.respond(0.45, power=True)
    assert panel.running == [False, False]


def test_the_float_holds_until_the_level_is_well_below_it(panel):
    panel.respond(1.80, power=True)
    assert panel.float_up
    assert panel.called == 2
    lower, upper = panel.bounds(power=True)
    assert lower == pytest.approx(1.80 - FLOAT_DEAD_BAND_M)
    assert upper == panel.cover_m
    panel.respond(lower, power=True)
    assert not panel.float_up


def test_without_power_nothing_runs_and_only_the_float_speaks(panel):
    panel.respond(1.20, power=True)
    panel.respond(1.20, power=False)
    assert panel.called == 0
    assert panel.bounds(power=False) == (-math.inf, 1.80)


def test_a_well_that_filled_in_the_dark_calls_both_pumps_at_once(panel):
    panel.respond(1.60, power=False)
    panel.respond(1.60, power=True)
    assert panel.called == 2
