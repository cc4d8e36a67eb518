"""What a benchmark's scenario is drawn from: failures that come and go about as recorded ones do."""

from __future__ import annotations

import numpy as np
import pytest

from pumpwatch.domain.clock import DAY_MS
from pumpwatch.simulator.scenario import Scenario
from pumpwatch.simulator.scenario_draw import COURSE_DAYS, FAULTS_PER_YEAR, draw_scenario


@pytest.fixture(scope="module")
def failing() -> Scenario:
    """A year of forty stations with twenty times the failures of life."""
    return draw_scenario(5, 40, 365, 20.0)


def courses_days(scenario: Scenario, code: str) -> list[float]:
    return [
        (e.breakdown_ms - e.start_ms) / DAY_MS
        for e in scenario.events
        if e.code == code and e.breakdown_ms is not None
    ]


@pytest.mark.parametrize("code", ["pump_ragging", "check_valve_leak", "frozen_level"])
def test_a_failure_takes_about_as_long_as_recorded_ones_do(failing: Scenario, code: str) -> None:
    found = courses_days(failing, code)
    assert len(found) > 20
    assert np.median(found) == pytest.approx(COURSE_DAYS[code], rel=0.25)
    assert np.quantile(found, 0.9) > 1.3 * np.quantile(found, 0.1)


def test_every_length_is_of_a_failure_that_is_drawn() -> None:
    assert set(COURSE_DAYS) <= set(FAULTS_PER_YEAR)


def test_the_same_seed_draws_the_same(failing: Scenario) -> None:
    assert draw_scenario(5, 40, 365, 20.0).events == failing.events
    assert draw_scenario(6, 40, 365, 20.0).events != failing.events
