"""The chance of a breakdown: what is told comes first, and what is not told yet ranks the rest."""

from __future__ import annotations

import pytest

from pumpwatch.diagnosis.charts import Chart, CountChart
from pumpwatch.diagnosis.halfday import Value
from pumpwatch.diagnosis.risk import RISK, RiskTable, breakdown_chance, by_day, evidence
from pumpwatch.diagnosis.state import AssessorState
from pumpwatch.domain.alerts import Finding, Kind, Phase, Severity
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.keys import SiteKey
from tests.diagnosis.test_parts import S


def test_a_worse_or_younger_alert_is_nearer_to_breakdown() -> None:
    young, old, worse = (
        breakdown_chance([told], 0.0)
        for told in ((Severity.WARNING, 1.0), (Severity.WARNING, 30.0), (Severity.ALARM, 1.0))
    )
    assert 0.0 < breakdown_chance([], 1.0) < old < young < worse < 1.0
    assert breakdown_chance([(Severity.WARNING, 30.0), (Severity.ALARM, 1.0)], 0.0) == worse


def test_the_chance_never_falls_as_evidence_grows() -> None:
    chances = [breakdown_chance([], k / 20) for k in range(21)]
    assert chances == sorted(chances)
    assert chances[0] < chances[-1]


def test_evidence_is_the_share_of_the_way_to_an_alert() -> None:
    state = AssessorState()
    assert evidence(state, S) == 0.0
    state.charts["capacity:pump1"] = Chart(down=S.limit / 2, up=S.limit)
    state.values["capacity:pump1"] = Value(-2 * S.capacity_effect, 0.02, 0.9, 1.0)
    assert evidence(state, S) == pytest.approx(0.5)
    state.values["capacity:pump1"] = Value(-S.capacity_effect / 2, 0.02, 0.97, 1.0)
    assert evidence(state, S) == pytest.approx(0.25)
    state.counts["trip:pump1"] = CountChart(total=2 * S.count_limit)
    assert evidence(state, S) == 1.0


def test_a_pump_that_gets_better_is_no_evidence() -> None:
    state = AssessorState()
    state.charts["capacity:pump1"] = Chart(up=S.limit)
    state.values["capacity:pump1"] = Value(0.1, 0.02, 1.1, 1.0)
    assert evidence(state, S) == 0.0


def test_each_day_begins_with_what_was_open_and_evident_then() -> None:
    def said(t_ms: int, phase: Phase, severity: Severity) -> Finding:
        return Finding(
            SiteKey("default", "well"), t_ms, phase, "capacity:pump1", Kind.PREDICTIVE, severity,
            ("pump_wear",), "pump1", 0.9, {},
        )  # fmt: skip

    half = DAY_MS // 2
    findings = [
        said(DAY_MS + half, Phase.OPENED, Severity.WARNING),
        said(2 * DAY_MS + half, Phase.WORSENED, Severity.ALARM),
        said(3 * DAY_MS + half, Phase.RESOLVED, Severity.ALARM),
    ]
    evident = [(half, 0.2), (2 * DAY_MS + 1, 0.9)]
    assert list(by_day(findings, evident, 0, 4 * DAY_MS)) == [
        (DAY_MS, [], 0.2),
        (2 * DAY_MS, [(Severity.WARNING, 0.5)], 0.2),
        (3 * DAY_MS, [(Severity.ALARM, 1.5)], 0.9),
        (4 * DAY_MS, [], 0.9),
    ]


def test_a_table_counted_elsewhere_takes_the_place_of_the_own() -> None:
    other = RiskTable(told=RISK.told, untold=(0.1, 0.1, 0.1, 0.1))
    assert breakdown_chance([], 0.3, other) == 0.1
    assert breakdown_chance([(Severity.ALARM, 1.0)], 0.3, other) == RISK.told[Severity.ALARM][0]
