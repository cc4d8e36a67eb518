"""Water that is missing, water that is new: against what the same hour of the day usually brings."""

from __future__ import annotations

import pytest

from pumpwatch.diagnosis.references import SiteReference, learn_site
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.water import WaterState, usual_inflow
from tests.diagnosis.test_parts import HOUR, NORMAL, S, history

DAY_L, NIGHT_L = 0.002, 0.001


@pytest.fixture(name="site")
def _site() -> SiteReference:
    seen = [(k // 12, c._replace(inflow=usual(k % 24))) for k, (_, c) in enumerate(history())]
    site = learn_site(seen, [k % 24 + 0.5 for k in range(len(seen))], 0.001, S)
    assert site is not None
    return site


def usual(hour: float) -> float:
    return NIGHT_L if hour < 6 else DAY_L


def day(state: WaterState, site: SiteReference, factor: dict[int, float], day: int = 0) -> bool:
    """A day of a cycle every half hour, with its inflow multiplied from those hours on; the day's verdict."""
    share, missing = 1.0, False
    for k in range(48):
        share = factor.get(k // 2, share) if k % 2 == 0 else share
        t_ms = (day * 24 + k // 2) * HOUR + k % 2 * HOUR // 2
        c = NORMAL._replace(start_ms=t_ms, final_ms=t_ms + HOUR // 2, inflow=usual(k // 2) * share)
        missing |= state.add(c, k / 2, False, site, S)
    return state.end_day(S) or missing


def test_each_hour_has_its_own_usual_inflow(site: SiteReference) -> None:
    assert usual_inflow(site, 3.0) == pytest.approx(NIGHT_L)
    assert usual_inflow(site, 14.0) == pytest.approx(DAY_L)


def test_a_holiday_is_no_blockage_and_a_sewer_that_closes_is(site: SiteReference) -> None:
    assert not day(WaterState(), site, {0: 0.6})
    assert day(WaterState(), site, {0: 1.0, 9: 0.35})


def test_what_is_new_at_the_same_hours_is_told_after_five_days(site: SiteReference) -> None:
    state = WaterState()
    told = [day(state, site, {9: 1.8, 17: 1.0}, n) for n in range(6)]
    assert told == [False, False, False, False, True, True]


def test_a_feast_of_four_days_and_what_comes_by_night_too_are_something_else(
    site: SiteReference,
) -> None:
    feast, ground = WaterState(), WaterState()
    assert not any(day(feast, site, {9: 1.8, 20: 1.0} if n < 4 else {}, n) for n in range(9))
    assert not any(day(ground, site, {0: 2.5}, n) for n in range(9))


def test_rain_by_the_gauge_says_nothing_of_new_water(site: SiteReference) -> None:
    state = WaterState()
    for n in range(8):
        for hour in range(24):
            c = NORMAL._replace(start_ms=n * 24 * HOUR, final_ms=n * 24 * HOUR, inflow=DAY_L * 2)
            state.add(c, hour, True, site, DiagnosisSettings())
        assert not state.end_day(S)
