"""The records that travel: one line an alert, one id an episode."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.domain.alerts import (
    Finding,
    Kind,
    Phase,
    Severity,
    alert_id,
    iso_utc,
    ms_from_iso,
)
from pumpwatch.domain.keys import SiteKey

KEY = SiteKey("default", "mh0001")


@given(st.integers(0, 4_102_444_800_000))
def test_a_moment_survives_its_spelling(t_ms: int) -> None:
    assert ms_from_iso(iso_utc(t_ms)) == t_ms


def test_an_alert_is_one_json_line_in_the_agreed_form() -> None:
    finding = Finding(
        KEY, ms_from_iso("2024-05-01T03:00:00Z"), Phase.OPENED, "capacity:pump1", Kind.PREDICTIVE,
        Severity.WARNING, ("pump_ragging", "pump_wear"), "pump1", 0.93, {"capacity_index": 0.81},
    )  # fmt: skip
    line = json.loads(json.dumps(finding.to_line()))
    assert line["site"] == "mh0001"
    assert line["ts"] == "2024-05-01T03:00:00Z"
    assert line["fault"] == ["pump_ragging", "pump_wear"]
    assert (line["kind"], line["severity"]) == ("predictive", "warning")


def test_the_same_episode_always_has_the_same_id_and_another_another() -> None:
    first = alert_id(KEY, "capacity:pump1", 1)
    assert first == alert_id(SiteKey("default", "mh0001"), "capacity:pump1", 1)
    others = {
        alert_id(KEY, "capacity:pump2", 1),
        alert_id(KEY, "capacity:pump1", 2),
        alert_id(SiteKey("other", "mh0001"), "capacity:pump1", 1),
    }
    assert first not in others
    assert len(others) == 3


def test_severities_rank_from_info_to_critical() -> None:
    assert sorted(Severity, key=lambda s: s.rank) == [
        Severity.INFO, Severity.WARNING, Severity.ALARM, Severity.CRITICAL,
    ]  # fmt: skip
