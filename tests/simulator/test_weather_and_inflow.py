from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.simulator.chance import texture
from pumpwatch.simulator.inflow import Catchment, Inflow, unit_hydrograph
from pumpwatch.simulator.weather import Climate, Weather

DRY = Climate(event_chance=(0.0,) * 12)
WET = Climate(event_chance=(1.0,) * 12)
MONDAY = int(datetime(2026, 2, 2, tzinfo=UTC).timestamp()) // 86_400


def inflow(catchment, climate=DRY, seed=1, timezone="Asia/Tokyo"):
    return Inflow("mh-01", catchment, timezone, Weather(seed, "town", climate), seed)


def test_noise_has_unit_variance_and_joins_from_day_to_day():
    days = [texture(600, 10, 1, "x", day) for day in range(60)]
    assert np.std(np.concatenate(days)) == pytest.approx(1, abs=0.05)
    assert all(abs(b[0] - a[-1]) < 0.3 for a, b in pairwise(days))


@given(st.integers(1, 5), st.floats(0.2, 8))
def test_a_unit_hydrograph_holds_all_the_rain(reservoirs, k_h):
    assert unit_hydrograph(reservoirs, k_h).sum() == pytest.approx(1)


def test_rain_comes_by_season_and_is_the_same_whoever_asks_first():
    weather = Weather(3, "town")
    year = [weather.rain_mm(day).sum() for day in range(20_454, 20_819)]
    assert 700 < sum(year) < 2800
    wettest = 20_454 + int(np.argmax(year))
    there = weather.rain_mm(wettest).tolist()
    assert Weather(3, "town").rain_mm(wettest).tolist() == there
    assert Weather(3, "hills").rain_mm(wettest).tolist() != there


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 30_000), st.integers(0, 50))
def test_one_event_stays_below_the_cap_of_its_climate(day, seed):
    weather = Weather(seed, "town", Climate(event_chance=(1.0,) * 12, max_event_mm=5))
    assert weather.rain_mm(day).sum() <= 10
    assert (weather.rain_mm(day) >= 0).all()


def test_people_follow_the_hours_of_their_own_time_zone():
    day = inflow(Catchment(0.002)).day_m3s(MONDAY, 10)
    local_h = (np.arange(len(day)) / 360 + 9) % 24
    night = day[(local_h >= 2) & (local_h < 4)].mean()
    morning = day[(local_h >= 7) & (local_h < 9)].mean()
    assert morning > 2.5 * night
    assert day.mean() == pytest.approx(0.002, rel=0.2)


def test_saturday_morning_starts_later_than_monday_morning():
    flow = inflow(Catchment(0.002))
    at_seven = slice(22 * 360, 23 * 360)  # 07 h in Japan is 22 h UTC of the day before
    mondays = np.mean([flow.day_m3s(MONDAY - 1 + 7 * w, 10)[at_seven].mean() for w in range(4)])
    saturdays = np.mean([flow.day_m3s(MONDAY + 4 + 7 * w, 10)[at_seven].mean() for w in range(4)])
    assert saturdays < 0.85 * mondays


@pytest.mark.parametrize("timezone", ["Asia/Tokyo", "UTC", "America/New_York"])
def test_a_day_off_begins_and_ends_at_local_midnight(timezone):
    mornings, local = [], ZoneInfo(timezone)
    for week in range(8):
        by_hour = {}
        for day in range(MONDAY - 1 + 7 * week, MONDAY + 8 + 7 * week):
            values = inflow(Catchment(0.002), timezone=timezone).day_m3s(day, 3600)
            for hour, value in enumerate(values):
                at = datetime(1970, 1, 1, hour, tzinfo=UTC) + timedelta(days=day)
                by_hour[at.astimezone(local).strftime("%a %H")] = value
        mornings.append(
            [by_hour["Sat 07"] / by_hour["Fri 07"], by_hour["Mon 07"] / by_hour["Sun 07"]]
        )
    off, on = np.mean(mornings, axis=0)
    assert off < 0.85
    assert on > 1 / 0.85


def test_all_the_rain_that_finds_its_way_in_arrives():
    catchment = Catchment(0.0, rain_area_m2=1000)
    flow, weather = inflow(catchment, WET), Weather(1, "town", WET)
    days = range(20_000, 20_030)
    arrived = sum(flow.day_m3s(day, 60).mean() * 86_400 for day in days)
    fallen = sum(weather.rain_mm(day).sum() for day in days)
    assert arrived == pytest.approx(fallen, rel=0.15)


def test_rain_inflow_joins_from_day_to_day():
    flow = inflow(Catchment(0.0, rain_area_m2=1000), WET)
    days = [flow.day_m3s(day, 10) for day in range(20_000, 20_010)]
    peak = max(day.max() for day in days)
    for today, tomorrow in pairwise(days):
        assert abs(tomorrow[0] - today[-1]) < 0.02 * peak


def test_ground_water_alone_has_no_hours():
    day = inflow(Catchment(0.0, infiltration_m3s=0.001)).day_m3s(MONDAY, 10)
    assert np.ptp(day) == 0
    assert day[0] == pytest.approx(0.001, rel=0.25)
