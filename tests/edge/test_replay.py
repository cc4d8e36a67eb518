from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from pumpwatch_edge.errors import SourceError
from pumpwatch_edge.replay import ReplaySource
from pumpwatch_edge.source import Edge, Reading

T0 = 1_700_000_000_000
HEADER = "ts,level_m,pump1_run\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "site.json").write_text('{"site": "mh0001", "sample_s": 20, "well_depth_m": 3.4}')
    return tmp_path


def everything(source: ReplaySource, limit: int = 100) -> list[Reading]:
    rows = []
    while not source.finished:
        rows += source.poll(0, limit)
    return rows


def test_a_recording_says_who_it_is_and_what_it_holds(site: Path) -> None:
    (site / "data.csv").write_text(HEADER + "2023-11-14T22:13:20Z,0.5,1\n")
    source = ReplaySource(site)

    assert (source.site, source.period_s) == ("mh0001", 20.0)
    assert source.signals == {
        "level_m": {"unit": "m", "min": 0, "max": 3.4},
        "pump1_run": {"unit": "", "kind": "state"},
    }


def test_a_blank_cell_is_a_missing_value(site: Path) -> None:
    (site / "data.csv").write_text(HEADER + "2023-11-14T22:13:20Z,,1\n2023-11-14T22:13:30Z,0.5, \n")

    assert everything(ReplaySource(site, 0)) == [
        Reading(T0, {"level_m": None, "pump1_run": 1}),
        Reading(T0 + 10_000, {"level_m": 0.5, "pump1_run": None}),
    ]


@pytest.mark.parametrize("moment", ["2023-11-14T22:13:20Z", "2023-11-15T07:13:20+09:00", "2023-11-14 22:13:20"])  # fmt: skip
def test_a_time_without_an_offset_is_utc(site: Path, moment: str) -> None:
    (site / "data.csv").write_text(HEADER + f"{moment},0.5,1\n")

    assert everything(ReplaySource(site, 0))[0].t_ms == T0


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".csv.xz", ".parquet"])
def test_every_kind_of_file_gives_the_same_rows(
    recording: Callable[..., Path], suffix: str
) -> None:
    folder = recording(300)
    expected = everything(ReplaySource(folder, 0))
    text = (folder / "data.csv").read_bytes()
    (folder / "data.csv").unlink()
    if suffix == ".parquet":
        arrow, parquet = pytest.importorskip("pyarrow.csv"), pytest.importorskip("pyarrow.parquet")
        plain = folder / "plain.csv"
        plain.write_bytes(text)
        parquet.write_table(arrow.read_csv(plain), folder / "data.parquet")
    else:
        pack = {".csv": bytes, ".csv.gz": gzip.compress, ".csv.xz": lzma.compress}[suffix]
        (folder / f"data{suffix}").write_bytes(pack(text))

    assert len(expected) == 300
    assert everything(ReplaySource(folder, 0), limit=7) == expected


def test_a_recording_has_samples_and_no_edges(recording: Callable[..., Path]) -> None:
    assert not any(isinstance(r, Edge) for r in everything(ReplaySource(recording(200), 0)))


def test_repeated_and_unordered_rows_are_handed_on_as_they_stand(site: Path) -> None:
    rows = ["22:13:40", "22:13:20", "22:13:20", "22:13:30"]
    (site / "data.csv").write_text(HEADER + "".join(f"2023-11-14T{r}Z,0.5,1\n" for r in rows))

    assert [r.t_ms - T0 for r in everything(ReplaySource(site, 0))] == [20_000, 0, 0, 10_000]


@pytest.mark.parametrize("speed", [1, 60])
def test_the_pace_counts_from_the_first_poll(recording: Callable[..., Path], speed: int) -> None:
    source = ReplaySource(recording(10), speed)

    assert [r.t_ms for r in source.poll(5_000, 100)] == [T0]
    assert source.poll(5_000 + 9_999 // speed - 1, 100) == []
    assert [r.t_ms for r in source.poll(5_000 + 20_000 // speed + 1, 100)] == [
        T0 + 10_000,
        T0 + 20_000,
    ]
    assert not source.finished
    assert len(source.poll(5_000 + 90_000 // speed + 1, 3)) == 3
    assert len(source.poll(5_000 + 90_000 // speed + 1, 100)) == 4
    assert source.finished


def test_without_a_limit_rows_come_as_fast_as_they_are_taken(
    recording: Callable[..., Path],
) -> None:
    source = ReplaySource(recording(10), None)

    assert [len(source.poll(0, 4)) for _ in range(3)] == [4, 4, 2]
    assert source.finished
    assert source.poll(0, 4) == []


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("yesterday,0.5,1", "line 3, column ts: 'yesterday' is not an ISO 8601 time; correct"),
        ("1960-01-01T00:00:00Z,0.5,1", "line 3, column ts"),
        ("2023-11-14T22:13:30Z,0.5m,1", "line 3, column level_m: '0.5m' is not a finite number"),
        ("2023-11-14T22:13:30Z,nan,1", "line 3, column level_m: 'nan' is not a finite number"),
        ("2023-11-14T22:13:30Z,1e309,1", "line 3, column level_m: '1e309' is not a finite number"),
        ("2023-11-14T22:13:30Z,0.5", "line 3, the row has 2 cells, not 3"),
        ("2023-11-14T22:13:30Z,0.5,1,1", "line 3, the row has 4 cells, not 3"),
    ],
)
def test_a_bad_row_is_left_out_counted_and_named(site: Path, row: str, says: str) -> None:
    good = "2023-11-14T22:13:20Z,0.5,1"
    (site / "data.csv").write_text(HEADER + f"{good}\n{row}\n{good}\n")
    source = ReplaySource(site, 0)

    assert len(everything(source)) == 2
    assert source.bad_rows == 1
    assert says in source.problems[0]
    assert "data.csv" in source.problems[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty: record at least one row"),
        (HEADER, "holds no rows: record at least one row"),
        ("time,level_m\n1,2\n", "line 1: no column ts: name it in the header; found time, level_m"),
        ("ts,level\n1,2\n", "no column level_m"),
        ("ts,level_m,level_m\n1,2,3\n", "column level_m stands twice"),
        ("ts,level_m,Pump 1\n1,2,3\n", "line 1, column 'Pump 1'"),
        (HEADER + "x,1,1\n" * 500, "line 2, column ts: 'x' is not an ISO 8601 time"),
        (HEADER + "x,1,1\n", "line 2, column ts: 'x' is not an ISO 8601 time"),
    ],
)
def test_a_file_that_cannot_be_replayed_says_why(site: Path, text: str, says: str) -> None:
    (site / "data.csv").write_text(text)

    with pytest.raises(SourceError) as caught:
        ReplaySource(site)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("about", "says"),
    [
        (None, r"site\.json: missing"),
        ("{", "cannot be read"),
        ("[]", "no site"),
        ('{"site": 5}', "no site"),
        ('{"site": "MH 1"}', "not an id"),
    ],
)
def test_a_site_json_that_cannot_be_used_says_why(
    tmp_path: Path, about: str | None, says: str
) -> None:
    (tmp_path / "data.csv").write_text(HEADER + "2023-11-14T22:13:20Z,0.5,1\n")
    if about is not None:
        (tmp_path / "site.json").write_text(about)

    with pytest.raises(SourceError, match=says):
        ReplaySource(tmp_path)


def test_a_folder_without_a_recording_says_what_to_add(site: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no recording: add one of data\.csv"):
        ReplaySource(site)
    with pytest.raises(SourceError, match="no such folder"):
        ReplaySource(site / "nowhere")


def test_a_truncated_file_gives_what_it_holds_and_then_one_error(
    recording: Callable[..., Path],
) -> None:
    folder = recording(20_000)
    text = (folder / "data.csv").read_bytes()
    (folder / "data.csv").unlink()
    packed = gzip.compress(text)
    (folder / "data.csv.gz").write_bytes(packed[: len(packed) // 2])
    source = ReplaySource(folder, 0)
    rows = source.poll(0, 20_000)

    assert 1000 < len(rows) < 20_000
    assert not source.finished
    with pytest.raises(SourceError, match="cannot be read any further"):
        source.poll(0, 1)
    assert source.finished
    assert source.poll(0, 10) == []


def test_a_byte_order_mark_and_a_strange_byte_do_no_harm(site: Path) -> None:
    row = b"2023-11-14T22:13:20Z,0.5,1\n"
    (site / "data.csv").write_bytes(
        b"\xef\xbb\xbf" + HEADER.encode() + row + b"\xff\xfe,0.5,1\n" + row
    )
    source = ReplaySource(site, 0)

    assert len(everything(source)) == 2
    assert source.bad_rows == 1


def test_a_bad_speed_is_refused(recording: Callable[..., Path]) -> None:
    for speed in (-1, float("nan"), float("inf")):
        with pytest.raises(SourceError, match="speed"):
            ReplaySource(recording(1), speed)


def test_a_site_json_may_hold_more_than_is_known(site: Path) -> None:
    (site / "site.json").write_text(json.dumps({"site": "a", "sample_s": "often", "new": [1]}))
    (site / "data.csv").write_text(HEADER + "2023-11-14T22:13:20Z,0.5,1\n")

    assert ReplaySource(site).period_s == 10


def test_a_replay_goes_on_where_the_outbox_ended(site: Path) -> None:
    lines = [f"2023-11-14T22:13:{20 + n}Z,{n}.5,1\n" for n in range(30)]
    (site / "data.csv").write_text(HEADER + "".join(lines))
    source = ReplaySource(site, 0)
    source.resume(12)

    assert [r.values["level_m"] for r in everything(source)] == [n + 0.5 for n in range(12, 30)]


def test_a_replay_that_was_taken_whole_is_finished_at_once(site: Path) -> None:
    (site / "data.csv").write_text(HEADER + "2023-11-14T22:13:20Z,0.5,1\n")
    source = ReplaySource(site, 0)
    source.resume(5)

    assert everything(source) == []
