"""The forest in arrays is scikit-learn's forest, its p-values keep their word, and a bad file is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from pumpwatch.diagnosis.forest import (
    FitRequest,
    ForestPool,
    SiteModel,
    contributions,
    fit_site_model,
    flattened,
    from_stored,
    robust_scale,
    score_many,
    to_stored,
)
from pumpwatch.diagnosis.forest_arrays import MAX_DEVIATION
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import StoredModel

KEY = SiteKey("default", "mh0001")
NAMES = ("capacity_index", "inflow_m3s", "current_a")


def rows_of(n: int = 400, d: int = 3, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d))


def days_of(rows: np.ndarray, per_day: int = 20) -> np.ndarray:
    return np.arange(len(rows)) // per_day


@pytest.fixture(scope="module")
def model() -> SiteModel:
    rows = rows_of()
    return fit_site_model(rows, days_of(rows), NAMES, seed=7)


def same_as_sklearn(rows: np.ndarray, asked: np.ndarray, **options: Any) -> float:
    fitted = IsolationForest(random_state=3, **options).fit(rows)
    d = rows.shape[1]
    names = tuple(f"f{i}" for i in range(d))
    ours = SiteModel(names, np.zeros(d), np.ones(d), flattened(fitted), np.zeros(0))
    return float(np.abs(ours.scores(asked) - fitted.score_samples(asked)).max())


@settings(max_examples=15, deadline=None)
@given(
    n=st.integers(1, 700),
    d=st.integers(1, 8),
    decimals=st.integers(0, 6),
    constant=st.booleans(),
    scale=st.sampled_from([1e-4, 1.0, 300.0]),
    seed=st.integers(0, 2**31),
)
def test_scores_are_those_of_scikit_learn(
    n: int, d: int, decimals: int, constant: bool, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = np.round(rng.standard_t(3, size=(n, d)), decimals) * scale
    rows = rows.clip(-MAX_DEVIATION, MAX_DEVIATION)  # what is fitted is bounded so, too
    if constant:
        rows[:, 0] = 0.1
    asked = np.vstack([rows[:100], rng.normal(size=(50, d)) * 4 * scale])
    assert same_as_sklearn(rows, asked, n_estimators=20, max_samples=min(256, n)) < 1e-6


def test_the_full_forest_scores_as_scikit_learn_does() -> None:
    rows = rows_of(3000, 12)
    assert same_as_sklearn(rows, rows[:300] * 2, n_estimators=100, max_samples=256) < 1e-6


def test_a_value_on_a_split_goes_the_same_way_as_in_scikit_learn() -> None:
    rows = np.round(rows_of(500, 2), 1)
    fitted = IsolationForest(n_estimators=20, random_state=0).fit(rows)
    splits = np.concatenate([t.tree_.threshold[t.tree_.feature >= 0] for t in fitted.estimators_])
    asked = np.column_stack([splits, splits])
    ours = SiteModel(("a", "b"), np.zeros(2), np.ones(2), flattened(fitted), np.zeros(0))
    assert np.abs(ours.scores(asked) - fitted.score_samples(asked)).max() < 1e-6


def test_the_same_seed_gives_the_same_model_and_another_one_another(model: SiteModel) -> None:
    rows = rows_of()
    again = fit_site_model(rows, days_of(rows), NAMES, seed=7)
    other = fit_site_model(rows, days_of(rows), NAMES, seed=8)
    assert np.array_equal(again.calibration, model.calibration)
    assert np.array_equal(again.forest.value, model.forest.value)
    assert not np.array_equal(other.calibration, model.calibration)


def test_every_row_calibrates_once_and_strange_rows_get_small_p_values(model: SiteModel) -> None:
    assert len(model.calibration) == 400
    ordinary, strange = model.p_values(np.array([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]]))
    assert strange == pytest.approx(1 / 401)
    assert ordinary > 0.5


def test_p_values_keep_their_word_on_new_healthy_rows() -> None:
    below = []
    for seed in range(4):
        rows = rows_of(600, 4, seed)
        fitted = fit_site_model(rows, days_of(rows), ("a", "b", "c", "d"), seed)
        below.append((fitted.p_values(rows_of(600, 4, seed + 100)) <= 0.1).mean())
    assert 0.05 < np.mean(below) < 0.15


def test_days_are_held_back_whole() -> None:
    """Each day has its own place: only rows of that day would make its rows look ordinary."""
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(12), 30)
    rows = rng.normal(size=(360, 2)) * 0.01 + np.column_stack([day, day % 5]) * 3.0
    by_day = fit_site_model(rows, day, ("a", "b"), 1)
    by_row = fit_site_model(rows, np.arange(360), ("a", "b"), 1)
    assert np.median(by_day.calibration) < np.median(by_row.calibration) - 0.03


def test_an_unknown_feature_deviates_by_nothing(model: SiteModel) -> None:
    known = model.median.copy()
    unknown = known.copy()
    unknown[1] = np.nan
    assert model.scores(known) == model.scores(unknown)
    assert list(contributions(model, unknown)) == ["capacity_index", "current_a"]


def test_contributions_have_the_sign_of_the_change(model: SiteModel) -> None:
    row = model.median + model.scale * np.array([-5.0, 0.0, 2.0])
    assert contributions(model, row) == pytest.approx(
        {"capacity_index": -5.0, "inflow_m3s": 0.0, "current_a": 2.0}
    )


def test_columns_that_hardly_vary_get_a_floor_and_empty_ones_do_no_harm() -> None:
    rows = np.column_stack(
        [
            np.r_[np.zeros(90), np.ones(10)],
            np.full(100, 4.0),
            np.full(100, np.nan),
            np.zeros(100),
        ]
    )
    median, scale = robust_scale(rows)
    assert median.tolist() == [0.0, 4.0, 0.0, 0.0]
    assert scale.tolist() == pytest.approx([0.12533, 0.004, 1.0, 1.0])
    fitted = fit_site_model(rows, days_of(rows), ("a", "b", "c", "d"), 0)
    assert np.isfinite(fitted.scores(rows)).all()


def test_infinite_values_are_bounded_not_passed_on(model: SiteModel) -> None:
    p = model.p_values(np.array([[np.inf, -np.inf, np.nan]]))
    assert 0 < p[0] <= 1


@pytest.mark.parametrize(
    ("rows", "day", "names"),
    [
        (rows_of(5), np.zeros(5, int), NAMES),
        (rows_of(0), np.zeros(0, int), NAMES),
        (rows_of(40), np.arange(39), NAMES),
        (rows_of(40), np.arange(40), ("a",)),
        (np.zeros((40, 0)), np.arange(40), ()),
    ],
)
def test_too_little_to_learn_from_is_refused(rows: Any, day: Any, names: Any) -> None:
    with pytest.raises(InvalidInput, match="rows"):
        fit_site_model(rows, day, names, 0)


def test_few_rows_make_a_model_all_the_same() -> None:
    rows = rows_of(4)
    fitted = fit_site_model(rows, np.array([0, 0, 1, 1]), NAMES, 0)
    assert ((fitted.p_values(rows) > 0) & (fitted.p_values(rows) <= 1)).all()


def test_days_without_which_hardly_anything_is_left_make_none() -> None:
    with pytest.raises(InvalidInput, match="1 cycles are left"):
        fit_site_model(rows_of(9), np.array([0] + [1] * 8), NAMES, 0)


def test_all_sites_at_once_score_as_each_alone() -> None:
    models, rows = [], []
    for i, d in enumerate((3, 1, 5, 3)):
        history = rows_of(60 + 100 * i, d, seed=i)
        names = tuple(f"f{j}" for j in range(d))
        models.append(fit_site_model(history, days_of(history), names, i, trees=10 + i))
        rows.append(rows_of((0, 3, 1, 7)[i], d, seed=50 + i))
    together = score_many(models, rows)
    assert [len(p) for p in together] == [0, 3, 1, 7]
    for fitted, block, p in zip(models, rows, together, strict=True):
        assert np.array_equal(fitted.p_values(block), p)


def test_a_pool_of_nothing_scores_nothing_and_blocks_must_match_models(model: SiteModel) -> None:
    assert score_many([], []) == []
    with pytest.raises(ValueError, match="2 blocks of rows for 1 models"):
        ForestPool([model]).scores([rows_of(1), rows_of(1)])


def test_requests_can_be_compared_though_they_hold_arrays() -> None:
    rows = rows_of(4)
    one = FitRequest(KEY, 0, 1, NAMES, rows, np.arange(4), 0)
    twin = FitRequest(KEY, 0, 1, NAMES, rows, np.arange(4), 0)
    assert one != twin


def stored(model: SiteModel) -> StoredModel:
    return to_stored(model, KEY, 5, {"who": "pumpwatch"})


def test_a_model_comes_back_from_the_shelf_as_it_was(model: SiteModel) -> None:
    kept = stored(model)
    rows = rows_of(50, seed=3)
    assert kept.card["who"] == "pumpwatch"
    assert kept.card["features"] == list(NAMES)
    assert np.array_equal(from_stored(kept).p_values(rows), model.p_values(rows))


def test_a_model_is_small(model: SiteModel) -> None:
    assert sum(a.nbytes for a in stored(model).arrays.values()) < 200_000


def broken(model: SiteModel, name: str, change: Any) -> StoredModel:
    kept = stored(model)
    return replace(kept, arrays={**kept.arrays, name: change(kept.arrays[name].copy())})


def put(index: int, value: Any) -> Any:
    def change(array: np.ndarray) -> np.ndarray:
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("child", put(0, 0)),
        ("child", put(0, 2**31 - 1)),
        ("child", put(-1, 3)),
        ("child", lambda a: a[:-1]),
        ("child", lambda a: a.astype(np.int64)),
        ("feature", put(0, 4)),
        ("feature", put(0, -1)),
        ("feature", lambda a: np.zeros_like(a)),
        ("roots", put(0, 10**6)),
        ("roots", put(0, -1)),
        ("roots", lambda a: a[:0]),
        ("value", put(3, np.nan)),
        ("value", put(-1, -1e30)),
        ("scale", put(0, 0.0)),
        ("scale", put(0, np.inf)),
        ("median", lambda a: a[:2]),
        ("median", lambda a: a.reshape(1, -1)),
        ("calibration", lambda a: a[::-1]),
        ("calibration", lambda a: a - 5),
        ("calibration", lambda a: a.astype(object)),
    ],
)
def test_a_damaged_array_is_refused_by_name(model: SiteModel, name: str, change: Any) -> None:
    with pytest.raises(InvalidInput, match=r"model \w+: "):
        from_stored(broken(model, name, change))


def test_a_chain_of_nodes_longer_than_the_card_says_is_refused(model: SiteModel) -> None:
    n = 201  # inner nodes 0, 2, 4 ... each with one leaf beside it
    own = np.arange(n)
    inner = (own % 2 == 0) & (own < n - 1)
    arrays = {
        **stored(model).arrays,
        "feature": np.where(inner, 1, 0).astype(np.int16),
        "value": np.zeros(n, np.float32),
        "child": np.where(inner, own + 1, own).astype(np.int32),
        "roots": np.zeros(1, np.int32),
    }
    with pytest.raises(InvalidInput, match="a path is longer than"):
        from_stored(replace(stored(model), arrays=arrays))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "pickle"),
        ("version", 2),
        ("features", ["a"]),
        ("features", "abc"),
        ("features", [1, 2, 3]),
        ("features", None),
        ("depth", 10**9),
        ("depth", True),
        ("depth", 2.5),
        ("depth", 0),
        ("path_norm", float("nan")),
        ("path_norm", float("inf")),
        ("path_norm", -1.0),
        ("max_samples", "256"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(model: SiteModel, field: str, value: Any) -> None:
    kept = stored(model)
    with pytest.raises(InvalidInput, match="fit the site again"):
        from_stored(replace(kept, card={**kept.card, field: value}))


def test_a_missing_array_is_refused(model: SiteModel) -> None:
    kept = stored(model)
    arrays = {name: a for name, a in kept.arrays.items() if name != "roots"}
    with pytest.raises(InvalidInput, match="model roots: the array is missing"):
        from_stored(replace(kept, arrays=arrays))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_bytes_turned_over_at_random_never_crash_or_hang(data: st.DataObject) -> None:
    kept = SMALL
    name = data.draw(st.sampled_from(sorted(kept.arrays)))
    raw = bytearray(kept.arrays[name].tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    array = np.frombuffer(bytes(raw), dtype=kept.arrays[name].dtype)
    try:
        fitted = from_stored(replace(kept, arrays={**kept.arrays, name: array}))
    except InvalidInput:
        return
    with np.errstate(all="ignore"):
        p = fitted.p_values(rows_of(5))
    assert ((p > 0) & (p <= 1)).all()


SMALL = stored(fit_site_model(rows_of(60), days_of(rows_of(60)), NAMES, 1, trees=5))
