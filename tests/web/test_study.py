"""The report of a study needs nothing beside it and says the same in both languages."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pumpwatch.alerting.i18n import LANGS, Lang
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.services.failure_log import Failure
from pumpwatch.services.recorded_data import Lack
from pumpwatch.services.study import Study, study
from pumpwatch.web.study import _LACKS, study_json, study_report

MADE_MS = ms_from_iso("2025-01-05T00:00:00Z")


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("report") / "sites"
    shutil.copytree(Path(__file__).parents[1] / "data" / "recorded", folder)
    (folder / "broken").mkdir()
    (folder / "broken" / "data.csv").write_text("ts,level_m\n")
    note = "cover <b>lifted</b> & wet"
    failures = [
        Failure("ragging", ms_from_iso("2024-12-20T00:00:00Z"), "pump_ragging", "pump2", note=note),
        Failure("ragging", ms_from_iso("2024-12-16T00:00:00Z"), "power_outage"),
        Failure("nowhere", ms_from_iso("2024-12-16T00:00:00Z"), "pump_wear"),
    ]
    early = DiagnosisSettings(reference_days=4.0, fit_days=6)
    return study(folder, failures, workers=1, settings=early)


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.partition("<body>")[2]).split())


@pytest.mark.parametrize("lang", LANGS)
def test_a_report_is_one_file_with_its_charts_inside(studied: Study, lang: Lang) -> None:
    page = study_report(studied, "Town", MADE_MS, lang)
    assert f'<html lang="{lang}">' in page
    assert page.count("<svg") >= 4
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert "<script" not in page


def test_the_result_is_said_in_words_in_english_and_in_japanese(studied: Study) -> None:
    english = text_of(study_report(studied, "Town", MADE_MS, "en"))
    assert "Of 1 failures that could be foreseen, 1 were." in english
    assert "Pump 2: clogging with rags" in english
    assert "cannot be foreseen, not counted" in english
    japanese = text_of(study_report(studied, "町", MADE_MS, "ja"))
    assert "予知し得た故障 1 件のうち、1 件を予知しました。" in japanese
    assert "2号ポンプ" in japanese


def test_what_a_town_wrote_is_shown_as_text(studied: Study) -> None:
    page = study_report(studied, "<i>Town</i>", MADE_MS, "en")
    assert "cover &lt;b&gt;lifted&lt;/b&gt; &amp; wet" in page
    assert "<i>Town" not in page


def test_sites_and_failures_that_could_not_be_studied_are_named(studied: Study) -> None:
    text = text_of(study_report(studied, "Town", MADE_MS, "en"))
    assert "broken Could not be studied." in text
    assert "nowhere" in text.partition("Failures that could not be studied")[2]


def test_without_a_failure_log_the_report_says_what_it_cannot_show(studied: Study) -> None:
    sites = tuple(replace(site, cases=()) for site in studied.sites)
    text = text_of(study_report(replace(studied, sites=sites, outside=()), "Town", MADE_MS, "en"))
    assert "No failure was given that could be foreseen." in text
    assert "Each failure" not in text


def test_everything_that_data_may_lack_has_its_sentence() -> None:
    assert set(_LACKS) == set(Lack)


def test_the_figures_for_machines_agree_with_the_study(studied: Study) -> None:
    figures = study_json(studied)
    assert figures["judged"] == figures["foreseen"] == 1
    assert figures["unneeded_alerts"] == len(studied.stray)
    cases = figures["cases"]
    assert isinstance(cases, list)
    assert {case["site"] for case in cases} == {"ragging"}
    assert [case["sudden"] for case in cases] == [True, False]
