"""A verification study tells what was foreseen, what was missed, and what was said for nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.alerts import Finding, Kind, Phase, Severity, ms_from_iso
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.services.failure_log import Failure
from pumpwatch.services.recorded_data import Lack
from pumpwatch.services.study import STANDING_MS, Study, Today, episodes_of, study

EARLY = DiagnosisSettings(reference_days=4.0, fit_days=6)
RAGGED = Failure("ragging", ms_from_iso("2024-12-20T00:00:00Z"), "pump_ragging", "pump2")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "sites"
    shutil.copytree(Path(__file__).parents[1] / "data" / "recorded", folder)
    (folder / "broken").mkdir()
    (folder / "broken" / "data.csv").write_text("ts,level_m\n")
    return folder


@pytest.fixture(scope="module")
def studied(recordings: Path) -> Study:
    failures = [
        RAGGED,
        Failure("quiet10s", ms_from_iso("2024-04-02T00:00:00Z")),
        Failure("ragging", ms_from_iso("2023-01-01T00:00:00Z")),
        Failure("elsewhere", RAGGED.failed_ms),
    ]
    return study(recordings, failures, workers=1, settings=EARLY)


def test_a_ragging_pump_was_foreseen_with_its_kind_and_its_pump(studied: Study) -> None:
    [case] = studied.judged
    assert case.failure == RAGGED
    assert case.foreseen
    assert (case.right_group, case.right_pump) == (True, True)
    assert case.lead_ms is not None
    assert case.lead_ms > DAY_MS
    assert studied.foreseen == studied.day_ahead == 1
    assert studied.median_lead_days == case.lead_ms / DAY_MS
    assert any(len(series.t_ms) > 10 for series in case.series)


def test_a_failure_while_diagnosis_was_learning_is_shown_and_not_counted(studied: Study) -> None:
    early = [case for case in studied.cases if case.learning]
    assert [case.failure.site for case in early] == ["quiet10s"]
    assert len(studied.judged) == 1


def test_failures_that_nobody_recorded_are_set_aside(studied: Study) -> None:
    assert [f.site for f in studied.outside] == ["ragging", "elsewhere"]


def test_a_site_that_cannot_be_read_stops_no_other(studied: Study) -> None:
    problems = {site.name: site.problem for site in studied.sites}
    assert "no rows" in problems["broken"]
    assert problems["ragging"] == problems["quiet10s"] == ""


def test_an_alert_no_failure_explains_is_one_nobody_needed(recordings: Path) -> None:
    alone = study(recordings / "ragging", [], workers=1, settings=EARLY)
    assert alone.stray
    assert {finding.target for _, finding in alone.stray} == {"pump2"}
    assert alone.stray_rate is not None
    assert alone.stray_rate_upper is not None
    assert 0 < alone.stray_rate < alone.stray_rate_upper
    assert alone.luck is not None
    assert 0 < alone.luck <= 1
    assert alone.judged == []
    assert alone.median_lead_days is None


def test_two_processes_give_what_one_gives(
    recordings: Path, studied: Study, tmp_path: Path
) -> None:
    for name in ("quiet10s", "broken"):
        shutil.copytree(recordings / name, tmp_path / name)
    side_by_side = study(
        tmp_path, [case.failure for case in studied.cases], workers=2, settings=EARLY
    )
    [quiet] = [site for site in side_by_side.sites if not site.problem]
    assert quiet in studied.sites


def test_an_alert_that_began_before_the_look_back_is_not_counted(recordings: Path) -> None:
    folder = recordings / "ragging"
    [site] = study(folder, [RAGGED], lookback_days=1, workers=1, settings=EARLY).sites
    assert not site.cases[0].foreseen
    assert site.stray


def test_a_limit_on_runs_counts_among_the_alarms_of_today(recordings: Path) -> None:
    folder = recordings / "ragging"
    strict = study(folder, [RAGGED], today=Today(run_min=0.5), workers=1, settings=EARLY)
    [case] = strict.judged
    assert case.today_lead_ms is not None
    assert case.today_lead_ms > 0
    assert strict.foreseen_today == 1


def test_what_the_data_lack_is_named(studied: Study) -> None:
    quality = {site.name: site.data for site in studied.sites}["quiet10s"]
    assert quality is not None
    assert (quality.period_s, quality.rows) == (10, 25915)
    assert {Lack.CURRENT, Lack.RAIN} <= set(quality.lacks)
    assert 0.99 < quality.coverage <= 1
    assert all(share > 0.5 for share in quality.proven.values())


def finding(t_ms: int, phase: Phase, cause: str = "c", **more: object) -> Finding:
    raw: dict[str, object] = {
        "key": SiteKey("default", "s"),
        "t_ms": t_ms,
        "phase": phase,
        "cause": cause,
        "kind": Kind.PREDICTIVE,
        "severity": Severity.WARNING,
        "fault": ("pump_wear",),
        "target": None,
        "score": 0.5,
    }
    return Finding(**(raw | more))  # type: ignore[arg-type]


def test_an_episode_stands_until_two_days_after_its_signs_went() -> None:
    [one, two] = episodes_of(
        [
            finding(0, Phase.OPENED),
            finding(HOUR_MS, Phase.WORSENED),
            finding(DAY_MS, Phase.RESOLVED),
            finding(9 * DAY_MS, Phase.OPENED),
        ]
    )
    assert [f.t_ms for f in one.told] == [0, HOUR_MS]
    assert one.stands_at(DAY_MS + STANDING_MS)
    assert not one.stands_at(DAY_MS + STANDING_MS + 1)
    assert two.stands_at(10**15)
    assert not two.stands_at(8 * DAY_MS)


def test_information_and_present_facts_make_no_episode() -> None:
    told = [
        finding(0, Phase.OPENED, "a", severity=Severity.INFO),
        finding(0, Phase.OPENED, "b", kind=Kind.CONDITION, fault=("power_outage",)),
        finding(1, Phase.RESOLVED, "a"),
    ]
    assert episodes_of(told) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_every_opening_is_one_episode(steps: list[tuple[str, bool]]) -> None:
    standing: set[str] = set()
    findings, opened = [], 0
    for t, (cause, end) in enumerate(steps):
        if end and cause in standing:
            standing.discard(cause)
            findings.append(finding(t, Phase.RESOLVED, cause))
        elif not end:
            opened += cause not in standing
            phase = Phase.WORSENED if cause in standing else Phase.OPENED
            standing.add(cause)
            findings.append(finding(t, phase, cause))
    episodes = episodes_of(findings)
    assert len(episodes) == opened
    assert sum(len(e.told) for e in episodes) == sum(f.phase != Phase.RESOLVED for f in findings)
