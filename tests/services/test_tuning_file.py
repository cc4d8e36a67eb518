"""A recording with ``tuning.json`` beside it is judged as its station was, by a backtest and in a ledger."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.actors import LOCAL, Actor
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.tuning import TuningVersion
from pumpwatch.services.backtest import diagnose_folder
from pumpwatch.services.registry import register_recording
from pumpwatch.services.tuning_file import NAME, read_tunings, write_tunings
from pumpwatch.stores.memory import MemoryLedger

EARLY = DiagnosisSettings(reference_days=4.0, fit_days=50)
MUTED = TuningVersion(1, 0, 5_000, Actor("local:ann", "local"), "雨", {"muted": ["pump_ragging"]})
AGAIN = TuningVersion(2, 2**42, 6_000, LOCAL, "why", {}, restores=0)


@pytest.fixture
def folder(tmp_path: Path, data_dir: Path) -> Path:
    shutil.copytree(data_dir / "recorded" / "ragging", tmp_path / "ragging")
    return tmp_path / "ragging"


def test_versions_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    assert read_tunings(tmp_path) == []
    write_tunings(tmp_path, [])
    assert not (tmp_path / NAME).exists()
    write_tunings(tmp_path, [MUTED, AGAIN])
    assert read_tunings(tmp_path) == [MUTED, AGAIN]


def test_a_version_by_hand_needs_no_more_than_its_settings(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('[{"settings": {"set": {"limit": 12}}}]')
    assert read_tunings(tmp_path) == [TuningVersion(1, 0, 0, LOCAL, "", {"set": {"limit": 12.0}})]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "no list of versions"),
        ("[1", "cannot be read"),
        ("[1]", "version 1: is no JSON object"),
        (
            '[{"settings": {"set": {"limit": 900}}}]',
            "version 1, limit: 900 is out of bounds: give 4",
        ),
        ('[{"reason": "x"}]', "version 1: cannot be used .'settings'"),
        ('[{"from": "soon", "settings": {}}]', "version 1: cannot be used"),
        ('[{"settings": [1]}]', "version 1"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(InvalidInput, match=said):
        read_tunings(tmp_path)


def test_a_backtest_goes_by_the_station_s_own_settings(folder: Path) -> None:
    write_tunings(folder, [MUTED, AGAIN])
    lines = diagnose_folder(folder, False, EARLY).lines
    assert lines
    assert {line["severity"] for line in lines if line["fault"][0] == "pump_ragging"} == {"info"}
    (folder / NAME).write_text(json.dumps([{"settings": {"set": {"limt": 1}}}]))
    assert "did you mean limit" in diagnose_folder(folder, False, EARLY).problem


def test_a_replay_takes_them_into_its_ledger_once_and_leaves_what_was_changed_there(
    folder: Path,
) -> None:
    ledger = MemoryLedger()
    write_tunings(folder, [MUTED])
    key = register_recording(ledger, folder, "default", 1, LOCAL)
    write_tunings(folder, [MUTED, AGAIN])
    for _ in range(2):
        register_recording(ledger, folder, "default", 2, LOCAL)
        assert ledger.tunings(key) == {key: [MUTED, AGAIN]}
    write_tunings(folder, [AGAIN])
    register_recording(ledger, folder, "default", 3, LOCAL)
    assert ledger.tunings(key) == {key: [MUTED, AGAIN]}
