from dataclasses import replace

import pytest

from pumpwatch.alerting.weather import HOLD_MS, WITHIN_MS, hold_ms
from pumpwatch.domain.alerts import Alert, Finding, Kind, Phase, Severity
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.keys import SiteKey

NOW = 10 * DAY_MS


def water(n, fault="infiltration_growth", severity=Severity.WARNING, phase=Phase.OPENED):
    key = SiteKey("default", f"mh{n:04}")
    return Finding(key, NOW, phase, fault, Kind.PREDICTIVE, severity, (fault,), None, 0.9, {})


def alerts(numbers, opened_ms=NOW, fault="infiltration_growth"):
    return [
        Alert(f"a{n}", SiteKey("default", f"mh{n:04}"), fault, Kind.PREDICTIVE, Severity.WARNING,
              (fault,), None, 0.9, {}, opened_ms, opened_ms)
        for n in numbers
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stations", "others", "held"),
    [(12, 1, False), (12, 2, True), (60, 2, True), (232, 10, False), (232, 11, True)],
)
def test_new_water_at_a_twentieth_of_the_stations_and_three_at_least_waits(stations, others, held):
    expected = HOLD_MS if held else 0
    assert hold_ms(water(0), alerts(range(1, others + 1)), stations) == expected


def test_the_same_station_told_twice_is_one_station():
    twice = alerts([1, 1, 1, 0, 0])
    assert hold_ms(water(0), twice, 12) == 0


def test_water_of_another_day_is_another_storm():
    assert hold_ms(water(0), alerts([1, 2, 3], NOW - WITHIN_MS), 12) == 0


def test_either_kind_of_new_water_counts():
    assert hold_ms(water(0), alerts([1, 2], fault="inflow_change"), 12) == HOLD_MS


@pytest.mark.parametrize(
    "told_at_once",
    [
        water(0, "pump_ragging"),
        water(0, "check_valve_leak"),
        water(0, "upstream_blockage"),
        water(0, severity=Severity.CRITICAL),
        water(0, phase=Phase.RESOLVED),
        replace(water(0), kind=Kind.INFO),
    ],
    ids=["pump", "valve", "shut sewer", "critical", "over", "info"],
)
def test_nothing_but_new_water_waits_for_the_weather(told_at_once):
    many = alerts(range(1, 9)) + alerts(range(1, 9), fault=told_at_once.fault[0])
    assert hold_ms(told_at_once, many, 12) == 0
