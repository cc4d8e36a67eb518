"""What passes and what fails a scenario: expected alerts in time, and no others."""

from __future__ import annotations

from typing import Any

from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.simulator.scenario import Scenario, read_scenario
from pumpwatch.simulator.scenario_check import judge

TEXT = """
title = "x"
seed = 1
[span]
start = 2026-05-01
days = 10
[fleet]
draw = 2
[[expect]]
group = "pump_hydraulic"
station = "mh-01"
target = "pump2"
after = "2d"
by = "4d"
[[allow]]
fault = "high_level"
station = "*"
"""


def scenario() -> Scenario:
    return read_scenario(TEXT, "x.toml")


def alert(days: float, **changes: Any) -> dict[str, Any]:
    line = {
        "site": "mh-01", "ts": iso_utc(scenario().start_ms + int(days * DAY_MS)),
        "kind": "predictive", "severity": "warning", "fault": ["pump_wear"], "target": "pump2",
    }  # fmt: skip
    return line | changes


def test_the_expected_alert_in_time_passes_and_what_it_grows_into_later_is_no_surprise() -> None:
    verdict = judge(scenario(), [alert(3), alert(8, severity="alarm")])
    assert verdict.passed
    assert [met.in_time for met in verdict.expected] == [True]


def test_an_alert_that_comes_late_or_not_at_all_fails_by_name() -> None:
    late = judge(scenario(), [alert(6 + 1 / 24)])
    assert not late.passed
    assert late.unexpected == []
    (met,) = late.missed
    assert "mh-01: pump_hydraulic of pump2" in met.words()
    assert f"came {iso_utc(scenario().start_ms + 6 * DAY_MS + HOUR_MS)}" in met.words()
    (never,) = judge(scenario(), []).missed
    assert "did not come" in never.words()


def test_another_pump_another_group_or_an_alert_too_early_is_not_the_expected_one() -> None:
    for other in (
        alert(3, target="pump1"),
        alert(3, fault=["check_valve_leak"]),
        alert(1),
        alert(3, site="mh-02"),
    ):
        verdict = judge(scenario(), [other])
        assert len(verdict.missed) == 1
        assert verdict.unexpected == [other]


def test_what_is_allowed_may_come_and_what_is_only_information_counts_for_nothing() -> None:
    high = alert(5, kind="condition", fault=["high_level"], target=None, site="mh-02")
    known = alert(5, kind="info", severity="info", fault=["unusual"])
    assert judge(scenario(), [alert(3), high, known]).passed
    assert judge(scenario(), [alert(3), high | {"fault": ["overflow"]}]).unexpected
