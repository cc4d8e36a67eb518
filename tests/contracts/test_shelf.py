"""What every model shelf promises."""

from __future__ import annotations

from typing import Any

import numpy as np

from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import StoredModel

A = SiteKey("default", "mh0001")
B = SiteKey("other-town", "mh0001")


def model(key: SiteKey = A, effective_ms: int = 100, seed: int = 0) -> StoredModel:
    random = np.random.default_rng(seed)
    arrays = {
        "threshold": random.random(50).astype(np.float32),
        "feature": random.integers(-2, 5, (10, 5), dtype=np.int32),
        "empty": np.empty((0, 3)),
    }
    return StoredModel(key, effective_ms, {"seed": seed, "names": ["run_s", "水位"]}, arrays)


def same(found: StoredModel | None, expected: StoredModel) -> bool:
    assert found is not None
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype
    return (found.key, found.effective_ms, dict(found.card), found.arrays.keys()) == (
        expected.key, expected.effective_ms, dict(expected.card), expected.arrays.keys(),
    )  # fmt: skip


def test_a_model_is_found_again_exactly(shelf: Any) -> None:
    shelf.put(model())
    assert same(shelf.effective(A, 100), model())


def test_the_newest_model_in_effect_is_given(shelf: Any) -> None:
    for effective_ms in (300, 100, 20):
        shelf.put(model(effective_ms=effective_ms, seed=effective_ms))
    assert shelf.effective(A, 19) is None
    assert shelf.effective(A, 299).effective_ms == 100
    assert shelf.effective(A, 300).effective_ms == 300


def test_a_model_belongs_to_one_site_of_one_tenant(shelf: Any) -> None:
    shelf.put(model(A))
    assert shelf.effective(B, 10**9) is None


def test_putting_a_model_again_replaces_it(shelf: Any) -> None:
    shelf.put(model(seed=1))
    shelf.put(model(seed=2))
    assert same(shelf.effective(A, 100), model(seed=2))


def test_cards_are_listed_by_site_and_time(shelf: Any) -> None:
    for key, effective_ms in ((B, 5), (A, 300), (A, 20)):
        shelf.put(model(key, effective_ms, seed=effective_ms))
    listed = [(key, at, card["seed"]) for key, at, card in shelf.cards()]
    assert listed == [(A, 20, 20), (A, 300, 300), (B, 5, 5)]
    assert [at for _, at, _ in shelf.cards(B)] == [5]
    assert shelf.cards(SiteKey("default", "mh0009")) == []
