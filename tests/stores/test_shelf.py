"""Damaged, foreign and half-written models are passed over, and the log says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import StoredModel
from pumpwatch.stores import shelf as shelf_module
from pumpwatch.stores.shelf import FileShelf

KEY = SiteKey("default", "mh0001")


def model(effective_ms: int, value: float = 1.0, key: SiteKey = KEY) -> StoredModel:
    arrays = {"x": np.full(40, value), "n": np.arange(5)}
    return StoredModel(key, effective_ms, {"value": value}, arrays)


@pytest.fixture
def shelf(tmp_path: Path) -> FileShelf:
    shelf = FileShelf(tmp_path)
    shelf.put(model(100, 1.0))
    shelf.put(model(200, 2.0))
    return shelf


@pytest.fixture
def newest(tmp_path: Path, shelf: FileShelf) -> Path:
    return tmp_path / "default" / "mh0001" / "200.npz"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 4
    path.write_bytes(raw)


def swap_the_arrays(path: Path) -> None:
    np.savez(path, x=np.zeros(40), n=np.arange(5))


def hide_a_pickle(path: Path) -> None:
    np.savez(path, x=np.array([{"evil": True}], dtype=object))


def rewrite_card(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        card = path.with_suffix(".json")
        card.write_text(json.dumps(json.loads(card.read_text()) | changes))

    return change


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": truncate,
    "bit flipped": flip_a_bit,
    "other arrays": swap_the_arrays,
    "pickle": hide_a_pickle,
    "empty": lambda path: path.write_bytes(b""),
    "no arrays": lambda path: path.unlink(),
    "card truncated": lambda path: truncate(path.with_suffix(".json")),
    "card a list": lambda path: path.with_suffix(".json").write_text("[]"),
    "card not utf-8": lambda path: path.with_suffix(".json").write_bytes(b"\xff\xfe{"),
    "other site": rewrite_card(site="mh0002"),
    "other time": rewrite_card(effective_ms=201),
    "from the future": rewrite_card(format=2),
    "card without content": rewrite_card(card=None),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_model_is_passed_over_for_the_next_older(
    shelf: FileShelf, newest: Path, damage: Callable[[Path], object]
) -> None:
    damage(newest)
    with structlog.testing.capture_logs() as lines:
        found = shelf.effective(KEY, 10**9)
    assert found is not None
    assert (found.effective_ms, dict(found.card)) == (100, {"value": 1.0})
    (line,) = lines
    assert line["path"] == str(newest)
    assert line["reason"]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_flipped_byte_is_ever_taken_for_a_model(
    shelf: FileShelf, newest: Path, data: st.DataObject
) -> None:
    whole = newest.read_bytes()
    raw = bytearray(whole)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    newest.write_bytes(raw)
    with structlog.testing.capture_logs():
        found = shelf.effective(KEY, 10**9)
    newest.write_bytes(whole)
    assert found is not None
    # a byte that zip does not use (a date, say) may change: the arrays are then whole
    expected = model(found.effective_ms, {100: 1.0, 200: 2.0}[found.effective_ms])
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def test_a_card_that_cannot_be_read_is_left_out_of_the_list(shelf: FileShelf, newest: Path) -> None:
    newest.with_suffix(".json").write_text("{")
    with structlog.testing.capture_logs() as lines:
        assert [at for _, at, _ in shelf.cards()] == [100]
    assert len(lines) == 1


def test_files_that_are_no_models_are_not_looked_at(shelf: FileShelf, tmp_path: Path) -> None:
    (tmp_path / "Not A Tenant" / "x").mkdir(parents=True)
    (tmp_path / "readme.txt").write_text("hello")
    (tmp_path / "default" / "mh0001" / "notes.json").write_text("{}")
    with structlog.testing.capture_logs() as lines:
        assert len(shelf.cards()) == 2
    assert lines == []


@pytest.mark.parametrize("dies_at", [".npz", ".json"])
def test_a_put_that_dies_half_way_leaves_the_old_models_in_use(
    shelf: FileShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_at: str
) -> None:
    real = shelf_module._replace

    def dying(path: Path, write: Callable[..., object]) -> None:
        if path.suffix == dies_at:
            raise KeyboardInterrupt
        real(path, write)

    monkeypatch.setattr(shelf_module, "_replace", dying)
    with pytest.raises(KeyboardInterrupt):
        shelf.put(model(300, 3.0))
    found = shelf.effective(KEY, 10**9)
    assert found is not None
    assert found.effective_ms == 200


def test_a_put_leaves_nothing_but_the_two_files(shelf: FileShelf, tmp_path: Path) -> None:
    names = sorted(path.name for path in (tmp_path / "default" / "mh0001").iterdir())
    assert names == ["100.json", "100.npz", "200.json", "200.npz"]


def test_objects_are_not_kept(shelf: FileShelf) -> None:
    bad = StoredModel(KEY, 300, {}, {"x": np.array([{}], dtype=object)})
    with pytest.raises(InvalidInput, match="x: holds Python objects"):
        shelf.put(bad)


def test_a_key_that_is_no_id_cannot_leave_the_folder(shelf: FileShelf) -> None:
    with pytest.raises(InvalidInput, match="is not an id"):
        shelf.put(model(1, key=SiteKey("..", "mh0001")))
