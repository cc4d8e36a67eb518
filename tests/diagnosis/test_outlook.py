import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.diagnosis.outlook import ENDS, FAR_DAYS, Outlook, outlook, until

LOST = 0.6
courses = st.lists(st.floats(-0.2, 0.8), max_size=12)


def losing(per_day, now=0.2, n=8):
    """Half-day losses along a straight line that ends at ``now``."""
    return [now - per_day * 0.5 * (n - 1 - k) for k in range(n)]


def test_a_steady_loss_reaches_its_end_when_the_line_does_or_sooner():
    found = until(losing(0.05), LOST)
    assert found.from_days < found.days < (LOST - 0.2) / 0.05 < found.to_days


def test_a_loss_that_grows_in_proportion_to_itself_arrives_at_the_early_end():
    rate = 0.2
    course = [0.2 * math.exp(rate * 0.5 * (k - 7)) for k in range(8)]
    arrives = math.log(LOST / 0.2) / rate
    found = until(course, LOST)
    assert found.from_days <= arrives <= found.days


def test_faster_is_sooner():
    slow, fast = until(losing(0.03), LOST), until(losing(0.06), LOST)
    assert fast.days < slow.days
    assert fast.from_days < slow.from_days


def test_what_is_there_already_may_break_at_any_moment():
    assert until(losing(0.1, now=0.7), LOST) == Outlook(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    "course",
    [losing(0.05, n=4), losing(-0.05), [0.2] * 8, losing(0.0005), losing(0.05, now=-0.1)],
    ids=["too short", "getting better", "standing still", "far ahead", "better than new"],
)
def test_nothing_is_said_where_nothing_can_be_known(course):
    assert until(course, LOST) is None


def test_a_pace_that_may_be_none_has_no_latest_day():
    found = until([0.1, 0.25, 0.1, 0.25, 0.12, 0.28, 0.15, 0.3], LOST)
    assert found.to_days is None
    assert 0 < found.from_days < found.days


@given(courses)
def test_a_range_holds_its_likely_day_and_stays_within_sight(course):
    found = until(course, LOST)
    if found is not None:
        assert 0 <= found.from_days <= found.days <= FAR_DAYS
        assert found.to_days is None or found.days <= found.to_days <= FAR_DAYS


def test_a_pump_is_followed_by_its_own_flow_a_motor_by_its_current_and_a_main_by_the_worst_pump():
    history = {
        "capacity:pump1": [-x for x in losing(0.05)],
        "capacity:pump2": [-x for x in losing(0.1)],
        "current:pump1": losing(0.02, now=0.1),
    }
    one = outlook("pump_wear", "pump1", history, {})
    assert one == until(losing(0.05), -ENDS["pump_wear"][1])
    assert outlook("discharge_blockage", None, history, {}).days < one.days
    assert outlook("motor_degradation", "pump1", history, {}) is not None
    assert outlook("pump_wear", "pump3", history, {}) is None
    assert outlook("seal_leak", "pump1", history, {}) is None


def test_of_two_pumps_that_may_fail_at_any_moment_either_will_do():
    history = {
        "capacity:pump1": [-0.5, -0.8, -0.6, -0.9, -0.7, -1.0],
        "capacity:pump2": [-x for x in losing(0.1, now=0.9)],
    }
    assert outlook("discharge_blockage", None, history, {}).days == 0.0


def test_an_accepted_change_is_no_loss():
    history = {"capacity:pump1": [-0.1 - x for x in losing(0.05)]}
    with_it = outlook("pump_wear", "pump1", history, {"capacity:pump1": -0.1})
    assert with_it == outlook(
        "pump_wear", "pump1", {"capacity:pump1": [-x for x in losing(0.05)]}, {}
    )
