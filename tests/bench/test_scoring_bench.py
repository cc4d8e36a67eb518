"""Scoring a town: 232 sites in one pass against the loop over scikit-learn, in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest
import report
from sklearn.ensemble import IsolationForest

from pumpwatch.diagnosis.forest import ForestPool, SiteModel, flattened, score_many
from pumpwatch.diagnosis.forest_stored import to_stored
from pumpwatch.domain.keys import SiteKey

SITES = 232
FEATURES = 12
TURNS = 7


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@pytest.mark.bench
@pytest.mark.parametrize("rows_per_site", [1, 10])
def test_one_pass_over_a_town_against_the_loop_over_scikit_learn(
    town: tuple[list[IsolationForest], list[SiteModel]], rows_per_site: int
) -> None:
    fitted, models = town
    rng = np.random.default_rng(9)
    rows = [rng.normal(size=(rows_per_site, FEATURES)) for _ in models]

    def loop() -> list[np.ndarray]:
        return [f.score_samples(r) for f, r in zip(fitted, rows, strict=True)]

    pool = ForestPool(models)
    assert np.abs(np.concatenate(loop()) - np.concatenate(pool.scores(rows))).max() < 1e-6
    # alternating, so that whatever else the machine does falls on all of them
    turns = [
        (timed(loop), timed(lambda: score_many(models, rows)), timed(lambda: pool.scores(rows)))
        for _ in range(TURNS)
    ]
    loop_s, call_s, pool_s = (statistics.median(turn[i] for turn in turns) for i in range(3))
    note = f"{SITES} sites x {rows_per_site} rows, 100 x 256"
    report.row("scoring: loop over scikit-learn", loop_s * 1e3, "ms", note)
    report.row("scoring: score_many, one call", call_s * 1e3, "ms", note)
    report.row("scoring: ForestPool kept between calls", pool_s * 1e3, "ms", note)
    report.row(
        "scoring: loop / score_many",
        loop_s / call_s,
        "x",
        "goal 30" if rows_per_site == 1 else note,
    )
    report.row("scoring: loop / ForestPool", loop_s / pool_s, "x", note)
    if rows_per_site == 1:
        assert loop_s / pool_s >= 30


@pytest.mark.bench
def test_the_size_of_a_model(town: tuple[list[IsolationForest], list[SiteModel]]) -> None:
    sizes = [
        sum(a.nbytes for a in to_stored(m, SiteKey("default", "a"), 0, {}).arrays.values())
        for m in town[1]
    ]
    report.row("model in arrays", statistics.median(sizes) / 1024, "KB", "100 x 256, 12 features")


@pytest.fixture(scope="module")
def town() -> tuple[list[IsolationForest], list[SiteModel]]:
    """Forests of many sites and the same in arrays; standardised rows, so the scales are 1."""
    fitted, models = [], []
    names = tuple(f"f{i}" for i in range(FEATURES))
    for seed in range(SITES):
        history = np.random.default_rng(seed).normal(size=(1000, FEATURES))
        forest = IsolationForest(n_estimators=100, max_samples=256, random_state=seed).fit(history)
        calibration = np.sort(forest.score_samples(history))
        fitted.append(forest)
        models.append(
            SiteModel(names, np.zeros(FEATURES), np.ones(FEATURES), flattened(forest), calibration)
        )
    return fitted, models
