"""The chance of a breakdown: what is told comes first, and what is not told yet ranks the rest."""

from __future__ import annotations

import pytest

from pumpwatch.diagnosis.charts import Chart, CountChart
from pumpwatch.diagnosis.halfday import Value
from pumpwatch.diagnosis.risk import breakdown_chance, evidence
from pumpwatch.diagnosis.state import AssessorState
from pumpwatch.domain.alerts import Severity
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
