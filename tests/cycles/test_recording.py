"""Reading recorded sites: every form, and one clear line for what cannot be used."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pumpwatch.cycles.recording import find_recordings, read_recording
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.sites import LogKind, SiteMode

CSV = """ts,level_m,pump1_run,mystery,pump1_current_a
2024-05-01T00:00:20Z,0.52,1,7,3.1
2024-05-01T00:00:00Z,0.50,0,7,
2024-05-01T00:00:10Z,0.51,0,7,1e309
2024-05-01T00:00:10Z,0.99,1,7,0
soon,0.5,0,7,0
2024-05-01T00:00:30Z,oops,2,7,0
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    site = tmp_path / "mh0001"
    site.mkdir()
    (site / "site.json").write_text(json.dumps({"site": "mh0001", "sample_s": 10}))
    return site


def test_rows_come_sorted_and_distinct_and_all_else_is_counted(folder: Path) -> None:
    (folder / "data.csv").write_text(CSV)
    recording = read_recording(folder)
    assert np.diff(recording.chunk.t_ms).tolist() == [10_000] * 3
    assert recording.chunk.signals["level_m"][:3].tolist() == [0.50, 0.51, 0.52]
    assert np.isnan(recording.chunk.signals["level_m"][3])
    assert recording.repeated == 1
    assert recording.bad_times == 1
    assert recording.out_of_bounds == 3
    assert recording.unknown == ["mystery"]
    assert recording.site.mode is SiteMode.RECORDING


@pytest.mark.parametrize("form", ["data.csv.gz", "data.csv.xz", "data.parquet"])
def test_every_form_reads_the_same(folder: Path, form: str) -> None:
    (folder / "data.csv").write_text(CSV)
    plain = read_recording(folder)
    (folder / "data.csv").unlink()
    path = folder / form
    if form.endswith("gz"):
        path.write_bytes(gzip.compress(CSV.encode()))
    elif form.endswith("xz"):
        path.write_bytes(lzma.compress(CSV.encode()))
    else:
        frame = pd.DataFrame({"ts": [f"2024-05-01T00:00:{k}0Z" for k in range(4)],
                              "level_m": [0.5, 0.51, 0.52, None], "pump1_run": [0, 0, 1, None]})  # fmt: skip
        frame.to_parquet(path)
    again = read_recording(folder)
    assert again.chunk.t_ms.tolist() == plain.chunk.t_ms.tolist()
    np.testing.assert_array_equal(again.chunk.signals["level_m"], plain.chunk.signals["level_m"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "empty"),
        ("ts,level_m\n", "no rows"),
        ("ts,pump1_run\n2024-05-01T00:00:00Z,0\n", "level_m is missing"),
        ("level_m\n0.5\n", "ts is missing"),
        ("ts,level_m\nnever,0.5\n", "no readable time"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(folder: Path, content: str, says: str) -> None:
    (folder / "data.csv").write_text(content)
    with pytest.raises(InvalidInput, match=says) as caught:
        read_recording(folder)
    assert "data.csv" in str(caught.value)
    assert caught.value.remedy


def test_a_damaged_archive_says_so(folder: Path) -> None:
    (folder / "data.csv.xz").write_bytes(lzma.compress(CSV.encode())[:40])
    with pytest.raises(InvalidInput, match=r"data\.csv\.xz.*cannot be read"):
        read_recording(folder)


def test_a_wrong_site_file_names_its_field(folder: Path) -> None:
    (folder / "data.csv").write_text(CSV)
    (folder / "site.json").write_text('{"site": "mh0001", "pumps": 9}')
    with pytest.raises(InvalidInput, match=r"site\.json, pumps"):
        read_recording(folder)


def test_the_site_log_is_read_in_time_order(folder: Path) -> None:
    (folder / "data.csv").write_text(CSV)
    (folder / "events.csv").write_text(
        "ts,kind,target,note\n2024-05-03T00:00:00Z,cleaning,pump2,rags\n2024-05-02T00:00:00Z,visit,,\n"
    )
    log = read_recording(folder).log
    assert [e.kind for e in log] == [LogKind.VISIT, LogKind.CLEANING]
    assert log[1].target == "pump2"
    assert log[0].target is None


def test_an_unknown_kind_in_the_site_log_names_its_line(folder: Path) -> None:
    (folder / "data.csv").write_text(CSV)
    (folder / "events.csv").write_text("ts,kind\n2024-05-03T00:00:00Z,dancing\n")
    with pytest.raises(InvalidInput, match="line 2"):
        read_recording(folder)


def test_a_site_without_site_json_takes_its_folders_name(folder: Path) -> None:
    (folder / "data.csv").write_text(CSV)
    (folder / "site.json").unlink()
    assert read_recording(folder).site.site == "mh0001"


def test_sites_are_found_by_name_and_a_site_folder_is_one(folder: Path) -> None:
    (folder / "data.csv").write_text(CSV)
    (folder.parent / "notes").mkdir()
    assert find_recordings(folder.parent) == [folder]
    assert find_recordings(folder) == [folder]


def test_a_folder_without_sites_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no recorded site"):
        find_recordings(tmp_path)
