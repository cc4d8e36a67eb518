"""Recordings enter the ledger: each once, none in another's place, a broken one alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site, SiteMode
from pumpwatch.services.registry import choose_recordings, register_recording
from pumpwatch.stores.memory import MemoryLedger

NOW = 1_763_607_600_000


@pytest.fixture
def town(tmp_path: Path) -> Path:
    for name, site in (("a", "mh-01"), ("b", "mh-02"), ("c", "mh-02")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "site.json").write_text(json.dumps({"site": site}))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "site.json").write_text('{"site": "mh-04", "pumps": 9}')
    (tmp_path / "no-site").mkdir()
    return tmp_path


def test_sites_are_found_by_id_and_what_cannot_be_used_is_named_by_folder(town: Path) -> None:
    found = choose_recordings(town, [])
    assert found.folders == {"mh-01": town / "a", "mh-02": town / "b"}
    assert set(found.broken) == {"c", "d"}
    assert str(town / "b") in found.broken["c"]
    assert "pumps" in found.broken["d"]


def test_only_what_is_asked_for_is_taken_and_only_its_trouble_told(town: Path) -> None:
    found = choose_recordings(town, ["mh-01"])
    assert (list(found.folders), found.broken) == (["mh-01"], {})
    assert set(choose_recordings(town, ["d"]).broken) == {"d"}


def test_an_unknown_site_is_named(town: Path) -> None:
    with pytest.raises(NotFound, match="holds no site 'mh-09'"):
        choose_recordings(town, ["mh-01", "mh-09"])
    with pytest.raises(InvalidInput, match="not a folder"):
        choose_recordings(town / "nowhere", [])


def test_registering_twice_changes_nothing(town: Path) -> None:
    book = MemoryLedger()
    (town / "a" / "events.csv").write_text(
        "ts,kind,target,note\n2024-05-01T00:00:00Z,overhaul,pump1,\n"
    )
    for _ in range(2):
        key = register_recording(book, town / "a", "default", NOW, SYSTEM)
    assert key == SiteKey("default", "mh-01")
    assert book.sites()[key].mode is SiteMode.RECORDING
    assert len(book.log(key)) == 1
    assert len(book.audit()) == 2


def test_a_recording_never_takes_a_real_stations_place(town: Path) -> None:
    book, key = MemoryLedger(), SiteKey("default", "mh-01")
    book.put_site(key, Site("mh-01"), SYSTEM, NOW)
    with pytest.raises(Conflict, match="use another --tenant"):
        register_recording(book, town / "a", "default", NOW, SYSTEM)
    assert book.sites()[key].mode is SiteMode.LIVE
    assert register_recording(book, town / "a", "town", NOW, SYSTEM).tenant == "town"


def test_a_wrong_site_log_names_its_line_before_the_site_is_let_in(town: Path) -> None:
    book = MemoryLedger()
    (town / "a" / "events.csv").write_text("ts,kind\n2024-05-01T00:00:00Z,party\n")
    with pytest.raises(InvalidInput, match=r"events\.csv line 2"):
        register_recording(book, town / "a", "default", NOW, SYSTEM)
    assert book.sites() == {}
