"""What each layer of diagnosis is worth, and how fast it is, on the recorded development stations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import ablation
import numpy as np
import pytest
import report
import risk_folds
import site_folds
from ablation import AT_OTHER_LIMITS, SYSTEMS, Judged

from pumpwatch.cycles.recording import find_recordings
from pumpwatch.services.backtest import fit_now
from pumpwatch.services.benchmark import gate_table
from pumpwatch.services.scoring import score_alerts
from pumpwatch.services.scoring_risk import score_risk
from pumpwatch.services.truth import SiteTruth, read_truth

SHARED = Path(__file__).parents[3] / "shared" / "data" / "dev"
DEV = Path(os.environ.get("PUMPWATCH_DEV_DATA") or SHARED)
WORKERS = int(os.environ.get("PUMPWATCH_BENCH_WORKERS", "2"))
AGAIN = 6
"""Stations that are judged a second time, and with their forest."""

pytestmark = [
    pytest.mark.bench,
    pytest.mark.skipif(
        not DEV.is_dir(), reason=f"no recorded stations at {DEV}: set PUMPWATCH_DEV_DATA"
    ),
]


@pytest.fixture(scope="module")
def truth() -> dict[str, SiteTruth]:
    return read_truth(DEV)


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    return list(judge(find_recordings(DEV)))


def judge(folders: list[Path]) -> Iterator[Judged]:
    """Every station under every system, in order of name."""
    names = [[*SYSTEMS, *AT_OTHER_LIMITS]] * len(folders)
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        yield from pool.map(ablation.judge_site, folders, names)


def test_what_each_layer_is_worth(judged: list[Judged], truth: dict[str, SiteTruth]) -> None:
    scores = {
        name: score_alerts(truth, [line for site in judged for line in site.lines[name]])
        for name in SYSTEMS
    }
    report.text("", f"ablations, {len(judged)} recorded stations", *ablation.table(scores))
    assert len(judged) == len(truth)


def test_the_same_seed_gives_the_same_alerts(judged: list[Judged]) -> None:
    again = list(judge(find_recordings(DEV)[:AGAIN]))
    assert [site.lines for site in again] == [site.lines for site in judged[:AGAIN]]


def test_the_forest_changes_no_alert_that_counts_and_costs_its_fit(judged: list[Judged]) -> None:
    """Why no row says "no forest": alone it only informs."""
    read_s = bare_s = whole_s = days = 0.0
    for folder, known in zip(find_recordings(DEV)[:AGAIN], judged, strict=False):
        system = replace(SYSTEMS["all layers"], fit=fit_now)
        result = ablation.timed(folder, system)
        assert ablation.counted(result.lines) == ablation.counted(known.lines["all layers"])
        read_s, whole_s = read_s + result.read_s, whole_s + result.judge_s
        bare_s += ablation.timed(folder, SYSTEMS["all layers"]).judge_s
        days += known.site_days
    note = f"CPU seconds, {AGAIN} recorded stations"
    report.row("diagnosis with the forest's fit", days / whole_s, "site-days/s", note)
    report.row("diagnosis without a forest", days / bare_s, "site-days/s", note)
    report.row("reading their files", days / read_s, "site-days/s", note)


def test_the_risk_held_against_stations_it_was_not_counted_on(
    judged: list[Judged], truth: dict[str, SiteTruth]
) -> None:
    days = {site.site: site.days["all layers"] for site in judged}
    for name, lines in (
        ("the product's table", risk_folds.claims(days, risk_folds.RISK)),
        ("counted on four folds, held against the fifth", risk_folds.held_out(days, truth)),
    ):
        scores = score_risk(truth, lines)
        for key in ("auroc", "ece", "brier_skill"):
            report.row(f"7-day risk, {key}", scores[key], "", name)
        assert scores["n"] > 0


def test_limits_chosen_and_risk_counted_on_other_stations(
    judged: list[Judged], truth: dict[str, SiteTruth]
) -> None:
    found = site_folds.cross_validated(judged, truth, ["all layers", *AT_OTHER_LIMITS])
    report.text(
        "", f"cross-validation over {len(judged)} recorded stations, {risk_folds.FOLDS} folds"
    )
    report.text(*gate_table({"held out": found.scores}).splitlines())
    report.text(*(f"fold {n}: {name}" for n, name in enumerate(found.chosen, 1)))
    assert len(judged) == len(truth)


def test_how_far_the_folds_lie_apart(judged: list[Judged], truth: dict[str, SiteTruth]) -> None:
    """The spread between folds at the settings as they are."""
    for key in ("recall_before_breakdown", "false_per_site_month", "diagnosis_top1"):
        values = []
        for fold in risk_folds.folds(list(truth)):
            lines = [x for s in judged if s.site in fold for x in s.lines["all layers"]]
            values.append(score_alerts({s: truth[s] for s in fold}, lines)[key])
        for what, value in (("lowest", np.min(values)), ("highest", np.max(values))):
            report.row(
                f"{key}, {what} of {risk_folds.FOLDS} folds", float(value), "", "fixed settings"
            )
