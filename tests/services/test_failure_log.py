"""A town's failure log is read as it was written, and what cannot be read is named by line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.sites import Site
from pumpwatch.services.failure_log import Failure, failures_of_truth, read_failures
from pumpwatch.services.truth import read_truth

SITES = {"mh1": Site("mh1"), "far": Site("far", timezone="America/Sao_Paulo", pumps=1)}


def log(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "failures.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_times_without_an_offset_are_those_of_the_station(tmp_path: Path) -> None:
    path = log(tmp_path, "site,failed_at", "mh1,2024-05-02T03:00", "far,2024-05-01T03:00")
    assert read_failures(path, SITES) == [
        Failure("far", ms_from_iso("2024-05-01T06:00:00Z")),
        Failure("mh1", ms_from_iso("2024-05-01T18:00:00Z")),
    ]


def test_what_was_found_may_be_a_code_or_its_name_in_either_language(tmp_path: Path) -> None:
    lines = [f"mh1,2024-05-0{n}T03:00Z,{found}" for n, found in
             enumerate(("pump_ragging", "異物絡まり", "clogging with rags", ""), 1)]  # fmt: skip
    found = [f.found for f in read_failures(log(tmp_path, "site,failed_at,found", *lines), SITES)]
    assert found == ["pump_ragging"] * 3 + [None]


def test_a_byte_order_mark_and_blank_lines_of_a_spreadsheet_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes("\ufeffsite,failed_at,note\r\nmh1,2024-05-02,夜間\r\n,,\r\n".encode())
    [failure] = read_failures(path, SITES)
    assert (failure.site, failure.note) == ("mh1", "夜間")


def test_a_station_nobody_recorded_is_kept(tmp_path: Path) -> None:
    [failure] = read_failures(log(tmp_path, "site,failed_at", "elsewhere,2024-05-02"), SITES)
    assert failure.site == "elsewhere"


@pytest.mark.parametrize(
    ("header", "line", "named", "said"),
    [
        ("site,when", "mh1,2024", "line 1", "failed_at is missing"),
        ("site,failed_at,cause", "mh1,2024-05-02,x", "line 1", "'cause' is unknown"),
        ("site,failed_at", ",2024-05-02", "line 2, site", "is blank"),
        ("site,failed_at", "mh1,2 May", "line 2, failed_at", "'2 May' is no time"),
        ("site,failed_at", "mh1", "line 2, failed_at", "'' is no time"),
        ("site,failed_at,found", "mh1,2024-05-02,pump_raging", "line 2, found", "no fault"),
        ("site,failed_at,target", "far,2024-05-02,pump2", "line 2, target", "no pump of far"),
        ("site,failed_at,repaired_at", "mh1,2024-05-02,2024-05-01", "repaired_at", "is before"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, header: str, line: str, named: str, said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_failures(log(tmp_path, header, line), SITES)
    assert named in caught.value.field
    assert said in caught.value.problem


def test_a_near_miss_is_offered(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="did you mean pump_ragging"):
        read_failures(log(tmp_path, "site,failed_at,found", "mh1,2024-05-02,pump_raging"), SITES)


def test_a_missing_file_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_failures(tmp_path / "none.csv", SITES)


def test_known_truth_gives_slow_faults_at_breakdown_and_sudden_ones_at_their_beginning(
    data_dir: Path,
) -> None:
    truth = read_truth(data_dir / "scoring")
    failed = {(f.site, f.failed_ms) for f in failures_of_truth(truth)}
    faults = [(site, fault) for site, known in truth.items() for fault in known.faults]
    assert {fault.progressive for _, fault in faults} == {True, False}
    for site, fault in faults:
        at = fault.breakdown_ms if fault.progressive else fault.onset_ms
        assert (site, at) in failed
