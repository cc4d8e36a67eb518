"""One isolation forest per site: fitted by scikit-learn, calibrated on days it has not seen.

Isolation forest: Liu, Ting and Zhou, "Isolation Forest", ICDM 2008. The p-values are conformal
(Bates et al., "Testing for outliers with conformal p-values", 2023): no promised alarm rate
(``contamination``) is ever asked of the forest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pumpwatch.diagnosis.forest_arrays import (
    LEAF,
    Floats,
    Forest,
    ForestPool,
    Ints,
    SiteModel,
    standardised,
)
from pumpwatch.diagnosis.forest_stored import from_stored, to_stored
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.keys import SiteKey

__all__ = [
    "FitRequest",
    "Forest",
    "ForestPool",
    "SiteModel",
    "contributions",
    "fit_site_model",
    "from_stored",
    "score_many",
    "to_stored",
]

FOLDS = 3
"""The forest has so many parts; each is grown without its share of the days and calibrated on them."""
LEAST_ROWS = 2
"""A tree over fewer tells nothing apart."""
_MAD_TO_SIGMA = 1.4826
_MEAN_DEVIATION_TO_SIGMA = 1.2533
_LEAST_SCALE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class FitRequest:
    """A model is wanted for ``key`` from ``effective_ms`` on, of what was known at ``up_to_ms``.

    ``rows`` is (n, d) float64 with NaN where a feature is unknown, ``names`` its d features, ``day``
    (n,) the site-local day number of each row. The same request always gives the same model.
    """

    key: SiteKey
    up_to_ms: int
    effective_ms: int
    names: tuple[str, ...]
    rows: Floats
    day: Ints
    seed: int


def fit_site_model(
    rows: Floats,
    day: Ints,
    names: Sequence[str],
    seed: int,
    trees: int = 100,
    max_samples: int = 256,
) -> SiteModel:
    """Fit a forest to rows (n, d) of healthy cycles and calibrate it on held-back days.

    ``day`` (n,) says which rows belong together: cycles of one day are alike, so whole days are
    held back, every third in turn, and scored by the third of the ``trees`` that never saw them. No tree
    is grown for calibration alone, which would cost four times as much (cross-conformal; Barber et al.,
    "Predictive inference with the jackknife+", Annals of Statistics 2021). A score of a third of the trees varies more
    than one of all, so p-values err towards the large, that is the harmless. The same
    arguments give the same model. Raises `InvalidInput` when there is too little to learn from.
    """
    rows, day = np.asarray(rows, dtype=float), np.asarray(day)
    if rows.ndim != 2 or not names or rows.shape[1] != len(names) or day.shape != (len(rows),):
        raise InvalidInput(
            "rows",
            f"{rows.shape} rows and {day.shape} days do not fit {len(names)} features",
            "give one column per feature and one day per row",
        )
    days = np.unique(day)
    if len(days) < 2:
        raise InvalidInput(
            "rows",
            f"{len(rows)} cycles of {len(days)} days",
            "wait for at least two days of cycles",
        )
    fold = np.searchsorted(days, day) % FOLDS
    folds = np.unique(fold)
    median, scale = robust_scale(rows)
    z = standardised(rows, median, scale)
    sample = min(max_samples, *(int(np.count_nonzero(fold != k)) for k in folds))
    if sample < LEAST_ROWS:
        raise InvalidInput(
            "rows",
            f"{sample} cycles are left when a third of the days is held back",
            f"wait for {LEAST_ROWS} at least",
        )
    seeds = np.random.SeedSequence(seed).generate_state(len(folds)).tolist()
    parts = [
        _grow(z[fold != k], each, -(-trees // len(folds)), sample)
        for k, each in zip(folds, seeds, strict=True)
    ]
    model = SiteModel(tuple(names), median, scale, united(parts), np.zeros(0))
    held_back = [
        replace(model, forest=part).scores(rows[fold == k])
        for k, part in zip(folds, parts, strict=True)
    ]
    return replace(model, calibration=np.sort(np.concatenate(held_back)))


def score_many(models: Sequence[SiteModel], rows_list: Sequence[Floats]) -> list[Floats]:
    """p-values of ``rows_list[i]`` (n_i, d_i) under ``models[i]``, all in one numpy pass.

    Who scores the same models again and again keeps a `ForestPool` instead.
    """
    scores = ForestPool(models).scores(rows_list)
    return [m.p_of_scores(s) for m, s in zip(models, scores, strict=True)]


def contributions(model: SiteModel, row: Floats) -> dict[str, float]:
    """Signed deviation of each known feature of one row (d,), in robust sigmas.

    Exact and cheap, and it has the direction that a forest's score lacks.
    """
    deviations = model.standardise(row)[0]
    return {
        name: float(z)
        for name, z, value in zip(model.names, deviations, row, strict=True)
        if np.isfinite(value)
    }


def robust_scale(rows: Floats) -> tuple[Floats, Floats]:
    """Median and robust sigma (d,) of each column, NaN left out.

    Sigma is 1.4826 MAD, or 1.2533 mean absolute deviations where more than half the values are equal;
    never under a thousandth of the median, and 1 for a column that never varies around zero.
    """
    known = np.isfinite(rows)
    some = known.any(axis=0)
    columns = np.where(known, rows, np.nan)[:, some]
    median, scale = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    centre = np.nanmedian(columns, axis=0)
    away = np.abs(columns - centre)
    mad = _MAD_TO_SIGMA * np.nanmedian(away, axis=0)
    sigma = np.where(mad > 0, mad, _MEAN_DEVIATION_TO_SIGMA * np.nanmean(away, axis=0))
    sigma = np.maximum(sigma, _LEAST_SCALE * np.abs(centre))
    median[some], scale[some] = centre, np.where(sigma > 0, sigma, 1.0)
    return median, scale


def expected_path(rows: NDArray[Any]) -> Floats:
    """Mean path length of an unsuccessful search among ``rows`` rows (Liu et al. 2008, eq. 1)."""
    n = np.maximum(rows, 3).astype(float)
    many = 2 * (np.log(n - 1) + np.euler_gamma) - 2 * (n - 1) / n
    return np.where(rows > 2, many, np.where(rows == 2, 1.0, 0.0))


def _grow(z: Floats, seed: int, trees: int, sample: int) -> Forest:
    """``trees`` isolation trees over standardised rows (n, d), each of ``sample`` of them."""
    from sklearn.ensemble import IsolationForest  # here, because scoring lives without it

    fitted = IsolationForest(n_estimators=trees, max_samples=sample, random_state=seed)
    return flattened(fitted.fit(z))


def united(parts: Sequence[Forest]) -> Forest:
    """Forests of trees of equally many rows as one forest."""
    nodes = np.array([len(p.feature) for p in parts])
    starts = (np.cumsum(nodes) - nodes).astype(np.int32)
    return replace(
        parts[0],
        feature=np.concatenate([p.feature for p in parts]),
        value=np.concatenate([p.value for p in parts]),
        child=np.concatenate([p.child + s for p, s in zip(parts, starts, strict=True)]),
        roots=np.concatenate([p.roots + s for p, s in zip(parts, starts, strict=True)]),
        depth=max(p.depth for p in parts),
    )


def flattened(fitted: Any) -> Forest:
    """The trees of a fitted scikit-learn ``IsolationForest`` as one `Forest`."""
    parts = [_flat_tree(tree.tree_) for tree in fitted.estimators_]
    sizes = np.array([len(p[0]) for p in parts])
    starts = np.cumsum(sizes) - sizes
    return Forest(
        feature=np.concatenate([p[0] for p in parts]),
        value=np.concatenate([p[1] for p in parts]),
        child=np.concatenate([p[2] + s for p, s in zip(parts, starts, strict=True)]).astype(
            np.int32
        ),
        roots=starts.astype(np.int32),
        depth=max(int(tree.tree_.max_depth) for tree in fitted.estimators_),
        path_norm=float(expected_path(np.array([fitted.max_samples_]))[0]),
        max_samples=int(fitted.max_samples_),
    )


def _flat_tree(tree: Any) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.int64]]:
    """One tree renumbered so that siblings stand side by side: feature, value, child."""
    left, right = tree.children_left, tree.children_right
    inner = left >= 0
    depth = np.zeros(len(left), dtype=np.int64)
    place = np.zeros(len(left), dtype=np.int64)  # new number of each node
    free, level = 1, np.array([0])
    while len(level := level[inner[level]]):
        depth[left[level]] = depth[right[level]] = depth[level] + 1
        place[left[level]] = free + 2 * np.arange(len(level))
        place[right[level]] = place[left[level]] + 1
        free += 2 * len(level)
        level = np.concatenate([left[level], right[level]])
    path = depth + expected_path(tree.n_node_samples)
    feature = np.zeros(len(left), dtype=np.int16)
    value = np.zeros(len(left), dtype=np.float32)
    child = np.zeros(len(left), dtype=np.int64)
    feature[place] = np.where(inner, tree.feature + 1, LEAF)
    value[place] = np.where(inner, _floor32(tree.threshold), path)
    child[place] = np.where(inner, place[left], place)
    return feature, value, child


def _floor32(x: Floats) -> NDArray[np.float32]:
    """Largest 32-bit number <= x: what a 32-bit feature is compared with comes out the same."""
    near = x.astype(np.float32)
    return np.where(near > x, np.nextafter(near, np.float32(-np.inf)), near)
