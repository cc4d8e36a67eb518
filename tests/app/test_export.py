"""What is exported is what is stored: every row, in a folder that other programs, and pumpwatch, can open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from line_servers import VictoriaServer
from typer.testing import CliRunner

from pumpwatch.app.cli import app
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.series import own_series
from pumpwatch.cycles.recording import read_recording
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.alerts import Alert, Kind, Severity, Step, Transition, alert_id, ms_from_iso
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Birth
from pumpwatch.domain.ports import AlertChange
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import LogEntry, LogKind, Site
from pumpwatch.services import extract
from pumpwatch.services.extract import backwards
from pumpwatch.stores.ledger import SqlLedger
from pumpwatch.stores.memory import MemorySeries

A, B = SiteKey("default", "mh-01"), SiteKey("default", "mh-02")
MIDNIGHT_MS = ms_from_iso("2026-09-01T00:00:00+09:00")
SAMPLES = 3 * 8_640


def samples() -> Chunk:
    """Three days of one station at 10 s, with a gap in the level, and a gas sensor from the second day."""
    t_ms = MIDNIGHT_MS + 10_000 * np.arange(SAMPLES)
    level = np.round(0.4 + np.arange(SAMPLES) % 100 / 100, 3)
    level[50:60] = np.nan
    gas = np.where(np.arange(SAMPLES) < 8_640, np.nan, 4.5)
    run = (np.arange(SAMPLES) % 100 < 30).astype(float)
    return Chunk(t_ms, {"level_m": level, "pump1_run": run, "h2s_ppm": gas})


def alert(cause: str, opened_ms: int, resolved_ms: int | None) -> AlertChange:
    found = Alert(
        alert_id(A, cause, opened_ms), A, cause, Kind.CONDITION, Severity.ALARM,
        ("power_outage",), None, 1.0, {"since": 'a "quoted", 語'}, opened_ms, opened_ms,
        resolved_ms=resolved_ms,
    )  # fmt: skip
    step = Transition(1, Step.OPENED, opened_ms, opened_ms, SYSTEM, found.severity, found.fault)
    return AlertChange(found, [step])


def fill_ledger(directory: DataDir) -> None:
    ledger = SqlLedger(directory.core_url)
    ledger.put_site(A, Site(A.site, "浜寺西", sample_s=10), SYSTEM, 1)
    ledger.put_site(B, Site(B.site, timezone="Europe/Berlin"), SYSTEM, 1)
    ledger.put_birth(Birth(A, True, signals={"h2s_ppm": {"unit": "ppm"}}), 1)
    ledger.add_log(A, LogEntry(MIDNIGHT_MS, LogKind.OVERHAUL, "pump1", "new, impeller"), SYSTEM, 1)
    cycles = [
        (A, CycleRow(MIDNIGHT_MS + n * 3_600_000, MIDNIGHT_MS + n * 3_600_000 + 90_000, "pump1",
                     "" if n % 2 else "rain", {"run_s": 90.0, **({"capacity_m3s": n / 8} if n > 60 else {})}))
        for n in range(72)
    ]  # fmt: skip
    day = [MIDNIGHT_MS + n * DAY_MS for n in range(4)]
    ledger.commit_assessment(
        [],
        [
            alert("power", day[0], day[0] + 1),
            alert("power", day[1], None),
            alert("high_level", day[2] + 5, None),
        ],
        cycles,
    )
    ledger.close()


@pytest.fixture
def town(tmp_path: Path) -> DataDir:
    directory = DataDir(tmp_path / "town")
    directory.claim("live")
    fill_ledger(directory)
    own = own_series(directory)
    own.write([(A, samples())], 1)
    own.close()
    return directory


def export(directory: DataDir, out: Path, *more: object, code: int = 0) -> Any:
    words = ["export", "--data-dir", directory.path, "--out", out, "--json", *more]
    answer = CliRunner().invoke(app, list(map(str, words)))
    assert answer.exit_code == code, answer.output
    return json.loads(answer.stdout) if code == 0 else answer.stderr


def test_parquet_holds_every_row_with_units_and_the_stations_story(
    town: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "PIECE_MS", DAY_MS)
    told = export(town, tmp_path / "out")
    assert [(r["site"], r["samples"], r["cycles"], r["alerts"]) for r in told["sites"]] == [
        ("mh-01", SAMPLES, 72, 3),
        ("mh-02", 0, 0, 0),
    ]
    assert not (tmp_path / "out" / "mh-02").exists()
    folder = tmp_path / "out" / "mh-01"
    data = pq.read_table(folder / "data.parquet")
    assert data.schema.names == ["ts", "level_m", "pump1_run", "h2s_ppm"]
    assert data.schema.field("level_m").metadata == {b"unit": b"m"}
    assert data.schema.field("h2s_ppm").metadata == {b"unit": b"ppm"}
    assert data.schema.metadata[b"site"] == b"mh-01"
    assert data["h2s_ppm"].null_count == 8_640, "the first piece had no such column"
    sent = samples()
    assert data["ts"].cast("int64").to_pylist() == sent.t_ms.tolist()
    for name in sent.signals:
        values = data[name].to_numpy()
        np.testing.assert_array_equal(values, sent.signals[name])
    cycles = pq.read_table(folder / "cycles.parquet")
    assert cycles.schema.field("capacity_m3s").metadata == {b"unit": b"m3/s"}
    assert cycles["capacity_m3s"].null_count == 61
    assert sum(cycles["valid"].to_pylist()) == 36
    assert cycles["start"].cast("int64").to_pylist() == [MIDNIGHT_MS + n * 3_600_000 for n in range(72)]  # fmt: skip
    alerts = pq.read_table(folder / "alerts.parquet").to_pylist()
    assert [json.loads(a["evidence"]) for a in alerts] == [{"since": 'a "quoted", 語'}] * 3
    assert [json.loads(a["transitions"])[0]["step"] for a in alerts] == ["opened"] * 3
    assert json.loads((folder / "export.json").read_text())["files"]["data.parquet"] == {
        "rows": SAMPLES,
        "columns": {"ts": "", "level_m": "m", "pump1_run": "", "h2s_ppm": "ppm"},
    }
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mh-01"]


@pytest.mark.parametrize("form", ["parquet", "csv", "csv.gz"])
def test_an_exported_station_is_a_recorded_site(town: DataDir, tmp_path: Path, form: str) -> None:
    export(town, tmp_path / "out", "--format", form, "--site", "mh-01")
    found = read_recording(tmp_path / "out" / "mh-01")
    assert (found.site.site, found.site.name) == ("mh-01", "浜寺西")
    assert [(e.kind, e.target, e.note) for e in found.log] == [
        (LogKind.OVERHAUL, "pump1", "new, impeller")
    ]
    assert found.chunk.t_ms.tolist() == samples().t_ms.tolist()
    for name in ("level_m", "pump1_run"):
        np.testing.assert_array_equal(found.chunk.signals[name], samples().signals[name])
    assert (found.repeated, found.bad_times, found.unknown) == (0, 0, ["h2s_ppm"])


def test_csv_is_read_by_anything(town: DataDir, tmp_path: Path) -> None:
    export(town, tmp_path / "out", "--format", "csv")
    folder = tmp_path / "out" / "mh-01"
    first, second, *_ = (folder / "data.csv").read_text().splitlines()
    assert (first, second) == (
        "ts,level_m,pump1_run,h2s_ppm",
        "2026-08-31T15:00:00.000Z,0.4,1,",
    )
    assert len(pd.read_csv(folder / "cycles.csv")) == 72
    alerts = pd.read_csv(folder / "alerts.csv")
    assert json.loads(alerts["evidence"][0]) == {"since": 'a "quoted", 語'}
    assert alerts["resolved"].isna().tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("begin", "end", "count"),
    [
        ("2026-09-02", "2026-09-03", 8_640),  # the station's own midnights
        ("2026-09-02T00:00+09:00", "2026-09-03T00:00+09:00", 8_640),
        ("2026-09-01T15:00:00Z", "2026-09-01T16:00:00Z", 360),
        ("2026-09-03T23:59:50", None, 1),
        (None, "2026-09-01T00:00:10", 1),
    ],
)
def test_a_span_is_in_the_stations_own_time(
    town: DataDir, tmp_path: Path, begin: str | None, end: str | None, count: int
) -> None:
    span = [*(("--from", begin) if begin else ()), *(("--to", end) if end else ())]
    told = export(town, tmp_path / "out", "--site", "mh-01", *span)
    assert told["sites"][0]["samples"] == count


def test_alerts_are_those_that_were_open_in_the_span(town: DataDir, tmp_path: Path) -> None:
    told = export(town, tmp_path / "out", "--from", "2026-09-02T01:00", "--to", "2026-09-03")
    assert told["sites"][0]["alerts"] == 1


def test_nothing_in_a_span_is_answered_with_what_there_is(town: DataDir, tmp_path: Path) -> None:
    line = export(town, tmp_path / "out", "--site", "mh-02", code=1)
    assert "no sample has been stored of them yet" in line
    line = export(town, tmp_path / "out", "--to", "2026-08-01", code=1)
    assert "no samples, cycles or alerts of 2 stations from the beginning to 2026-08-01" in line
    assert "the newest sample is of mh-01, 2026-09-03T14:59:50Z" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--from", "yesterday"), "--from: 'yesterday' is no moment"),
        (("--from", "2026-09-02", "--to", "2026-09-01"), "--to: the span ends before it begins"),
        (("--format", "xlsx"), "use one of parquet, csv, csv.gz"),
    ],
)
def test_what_cannot_be_asked_is_named(
    town: DataDir, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in export(town, tmp_path / "out", *words, code=2)
    assert not (tmp_path / "out").exists()


def test_a_station_nobody_knows_and_a_folder_that_exists_are_named(
    town: DataDir, tmp_path: Path
) -> None:
    assert "no site default/mh-77" in export(town, tmp_path / "o", "--site", "mh-77", code=1)
    assert "no stations of tenant else" in export(town, tmp_path / "o", "--tenant", "else", code=1)
    (tmp_path / "o" / "mh-01").mkdir(parents=True)
    assert "nothing is replaced" in export(town, tmp_path / "o", code=1)


def test_a_running_hub_goes_on_meanwhile(town: DataDir, tmp_path: Path) -> None:
    with town.locked():
        hub = own_series(town)
        told = export(town, tmp_path / "out", "--site", "mh-01")
        later = Chunk(samples().t_ms[-1:] + 10_000, {"level_m": np.array([1.0])})
        assert hub.write([(A, later)], 2).stored == 1
        hub.close()
    assert told["sites"][0]["samples"] == SAMPLES


@pytest.mark.store
def test_a_server_is_exported_like_the_directorys_own_files(
    tmp_path: Path, victoria: Callable[[Path], Any], victoria_server: VictoriaServer
) -> None:
    directory = DataDir(tmp_path / "town")
    directory.claim("live")
    fill_ledger(directory)
    server = victoria(tmp_path)
    server.write([(A, samples())], 1)
    server.close()
    config = tmp_path / "pumpwatch.toml"
    config.write_text(f"[series]\nengine = 'victoria'\nurl = '{victoria_server.url}'\n")
    export(directory, tmp_path / "out", "--config", config, "--site", "mh-01")
    data = pq.read_table(tmp_path / "out" / "mh-01" / "data.parquet")
    assert data.schema.names == ["ts", "level_m", "pump1_run", "h2s_ppm"]
    for name, values in samples().signals.items():
        np.testing.assert_array_equal(data[name].to_numpy(), values)


# -- the walk --------------------------------------------------------------------------------------


def test_the_walk_gives_every_row_once_across_gaps_of_years() -> None:
    store = MemorySeries()
    days = [0, 1, 1.5, 6.9, 7, 7.1, 40, 41, 900, 4_000]
    first_ms = extract.EARLIEST_MS
    t_ms = np.array([first_ms + int(day * DAY_MS) for day in days], np.int64)
    store.write([(A, Chunk(t_ms, {"level_m": np.arange(len(t_ms)) * 1.0}))], 1)
    seen: list[int] = []
    reached = 2**62
    for begin_ms, rows in backwards(store, A, 0, 2**62):
        assert begin_ms < reached
        assert all(begin_ms <= t < reached for t in rows.t_ms.tolist())
        seen[:0] = rows.t_ms.tolist()
        reached = begin_ms
    assert seen == t_ms.tolist()
    assert reached == first_ms
    span = list(backwards(store, A, int(t_ms[2]), int(t_ms[6])))
    assert sum(len(rows) for _, rows in span) == 4
    assert list(backwards(store, B, 0, 2**62)) == []
