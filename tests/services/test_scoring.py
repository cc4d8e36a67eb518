"""The scorer: known figures of a small fixture, and what each figure means in single cases."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pumpwatch.domain.alerts import iso_utc
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import InvalidInput, NotFound
from pumpwatch.services.scoring import (
    notifications,
    poisson_upper,
    read_lines,
    score_alerts,
    wilson,
)
from pumpwatch.services.scoring_risk import score_risk
from pumpwatch.services.truth import SiteTruth, TrueFault, read_truth

BEGIN, END = 14 * DAY_MS, 44 * DAY_MS
ONSET, BREAKDOWN = 20 * DAY_MS, 30 * DAY_MS


def same(got: Any, known: Any, where: str = "") -> None:
    """Compare nested figures: numbers to 12 digits, everything else exactly."""
    if isinstance(known, dict):
        assert set(got) == set(known), where
        for name in known:
            same(got[name], known[name], f"{where}.{name}")
    elif isinstance(known, list) and isinstance(got, tuple):
        for a, b in zip(got, known, strict=True):
            same(a, b, where)
    elif isinstance(known, float):
        assert got == pytest.approx(known, rel=1e-11), where
    else:
        assert got == known, where


def ragging(**changes: Any) -> TrueFault:
    fields: dict[str, Any] = {
        "fault": "pump_ragging",
        "group": "pump_hydraulic",
        "progressive": True,
        "target": "pump1",
        "onset_ms": ONSET,
        "detectable_ms": ONSET + 2 * DAY_MS,
        "breakdown_ms": BREAKDOWN,
        "repair_ms": BREAKDOWN + DAY_MS,
        "deadline_ms": BREAKDOWN,
        "severity_from_ms": ONSET,
        "severity_step_ms": DAY_MS,
        "severity": tuple(i / 10 for i in range(11)),
    }
    return TrueFault(**(fields | changes))


def truth(*faults: TrueFault, storms: frozenset[str] = frozenset()) -> dict[str, SiteTruth]:
    return {"s1": SiteTruth("s1", BEGIN, END, faults, (), storms)}


def alert(t_ms: int, **changes: Any) -> dict[str, Any]:
    line = {"site": "s1", "ts": iso_utc(t_ms), "kind": "predictive", "severity": "warning"}
    return line | {"fault": ["pump_ragging"], "target": "pump1"} | changes


def test_the_figures_of_a_small_fixture_are_those_an_independent_scorer_gave(
    data_dir: Path,
) -> None:
    folder = data_dir / "scoring"
    known = json.loads((folder / "figures.json").read_text())
    true, lines = read_truth(folder), read_lines(folder / "alerts.jsonl")
    same(score_alerts(true, lines), known["scores"])
    same(score_alerts(true, lines, ("predictive", "condition")), known["with_conditions"])
    same(score_risk(true, read_lines(folder / "risk.jsonl")), known["risk"])


def test_an_alert_before_breakdown_is_a_hit_with_a_lead() -> None:
    scores = score_alerts(truth(ragging()), [alert(ONSET + 4 * DAY_MS)])
    assert scores["recall_before_breakdown"] == scores["recall_24h_ahead"] == 1
    assert scores["median_lead_days"] == 6
    assert scores["median_severity_at_alert"] == 0.4
    assert scores["by_class"]["pump_ragging"]["ttd_h"] == 48
    assert scores["pump_named_right"] == scores["diagnosis_top1"] == 1
    assert scores["false_n"] == 0


def test_what_is_said_of_a_fault_that_is_not_scored_is_neither_a_hit_nor_false() -> None:
    quiet = SiteTruth("s1", BEGIN, END, (), (), frozenset(), unscored=(ragging(),))
    scores = score_alerts({"s1": quiet}, [alert(ONSET + 4 * DAY_MS)])
    assert (scores["progressive_events"], scores["false_n"]) == (0, 0)
    day = {"site": "s1", "ts": iso_utc(ONSET + 4 * DAY_MS), "risk": 0.5}
    assert score_risk({"s1": quiet}, [day]) == {"n": 0}


def test_an_abrupt_fault_whose_deadline_passed_before_scoring_began_is_nobodys_miss() -> None:
    early = ragging(progressive=False, onset_ms=BEGIN - 2 * DAY_MS, deadline_ms=BEGIN - DAY_MS)
    assert score_alerts(truth(early), [])["abrupt_events"] == 0


def test_an_alert_in_the_last_hours_is_a_hit_but_not_a_day_ahead() -> None:
    scores = score_alerts(truth(ragging()), [alert(BREAKDOWN - 3 * HOUR_MS)])
    assert (scores["recall_before_breakdown"], scores["recall_24h_ahead"]) == (1, 0)


def test_an_alert_after_breakdown_is_neither_a_hit_nor_false() -> None:
    scores = score_alerts(truth(ragging()), [alert(BREAKDOWN + HOUR_MS)])
    assert scores["recall_before_breakdown"] == 0
    assert scores["by_class"]["pump_ragging"]["any"] == 1
    assert scores["false_n"] == 0


def test_an_alarm_that_is_always_on_has_no_skill() -> None:
    always = [alert(t) for t in range(BEGIN, END, 6 * HOUR_MS)]
    scores = score_alerts(truth(ragging()), always)
    assert scores["recall_before_breakdown"] == 1
    assert scores["skill"] == 0
    assert scores["false_per_site_month"] > 9


def test_what_is_only_information_never_counts() -> None:
    lines = [alert(BEGIN + DAY_MS, severity="info"), alert(BEGIN + DAY_MS, kind="info")]
    assert score_alerts(truth(), lines)["false_n"] == 0


def test_a_present_fact_counts_where_it_names_a_power_cut_and_else_only_on_request() -> None:
    cut = alert(BEGIN + DAY_MS, kind="condition", fault=["power_outage"])
    high = alert(BEGIN + 9 * DAY_MS, kind="condition", fault=["high_level"])
    assert score_alerts(truth(), [cut, high])["false_n"] == 1
    assert score_alerts(truth(), [cut, high], ("predictive", "condition"))["false_n"] == 2


def test_an_abrupt_fault_is_in_time_until_its_deadline() -> None:
    off = ragging(
        fault="pump_out_of_service", progressive=False, deadline_ms=ONSET + 48 * HOUR_MS
    )  # fmt: skip
    for hours, in_time in ((47, 1), (49, 0)):
        scores = score_alerts(truth(off), [alert(ONSET + hours * HOUR_MS)])
        assert scores["abrupt_in_time"] == in_time


def test_alerts_close_together_are_one_notification_until_it_has_stood_for_three_days() -> None:
    hours = [0, 20, 40, 60, 80, 100, 200]
    told = notifications([h * HOUR_MS for h in hours])
    assert [t // HOUR_MS for t in told] == [0, 80, 200]


def test_a_false_alert_in_a_storm_is_counted_against_storm_time() -> None:
    storms = frozenset({"1970-01-20"})
    scores = score_alerts(truth(storms=storms), [alert(19 * DAY_MS + HOUR_MS)])
    assert scores["false_by_cause"] == {"storm": 1}
    assert scores["storm_false_per_site_month"] == pytest.approx(30.4375 / 2)
    assert scores["dry_false_per_site_month"] == 0


def test_intervals_are_the_textbooks() -> None:
    assert wilson(0, 0) is None
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert poisson_upper(0) == pytest.approx(-math.log(0.025))
    assert poisson_upper(3) == pytest.approx(8.7673, abs=1e-4)


def test_a_risk_that_rises_before_every_breakdown_ranks_perfectly() -> None:
    lines = []
    for day in range(15, 44):
        near = BREAKDOWN - 7 * DAY_MS <= day * DAY_MS < BREAKDOWN
        lines.append({"site": "s1", "ts": alert(day * DAY_MS)["ts"], "risk": 0.9 if near else 0.1})
    scores = score_risk(truth(ragging()), lines)
    assert scores["auroc"] == scores["average_precision"] == 1
    assert scores["positives"] == 7
    assert scores["ece"] == pytest.approx(0.1)


def test_a_line_that_is_no_alert_is_named_by_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    path.write_text('{"site": "s1", "ts": "2026-01-01T00:00:00Z"}\n\n{"site": "s1"}\n')
    with pytest.raises(InvalidInput, match=r"alerts\.jsonl:3"):
        read_lines(path)


def test_a_folder_without_truth_and_a_broken_truth_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"truth\.json"):
        read_truth(tmp_path)
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "truth.json").write_text('{"scored_from": "2026-01-01T00:00:00Z"}')
    with pytest.raises(InvalidInput, match=r"s1/truth\.json.*'scored_to' is missing"):
        read_truth(tmp_path)
