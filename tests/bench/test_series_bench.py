"""Ninety days of one site: bytes a row, and the time to read them into pandas.

The same rows in sealed files, in plain SQLite rows and in VictoriaMetrics, read in turns. With
``PUMPWATCH_DEV_DATA`` (a folder with ``mh….csv.xz`` recordings below) it measures those, else rows made up here.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import report

from pumpwatch.domain.clock import DAY_MS, SECOND_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import TimeSeriesStore
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.stores.rollups import RolledSeries
from pumpwatch.stores.series_sealed import SealedSeries
from pumpwatch.stores.series_sqlite import SqliteSeries

KEY = SiteKey("default", "mh0001")
DAYS = 90
STEP_MS = 10 * SECOND_MS
TURNS = 3
DEV_DATA = os.environ.get("PUMPWATCH_DEV_DATA")


def made_up() -> Chunk:
    """A well that fills and is pumped, level in centimetres, two pumps in turn, currents, rain."""
    rng = np.random.default_rng(7)
    t_ms = np.arange(1_735_689_600_000, 1_735_689_600_000 + DAYS * DAY_MS, STEP_MS)
    phase = np.cumsum(rng.uniform(0.005, 0.02, len(t_ms)))
    runs = phase % 1 > 0.7
    second = runs & (phase // 1 % 2 == 1)
    first = runs & ~second
    level = 0.5 + 0.8 * np.where(runs, (1 - phase % 1) / 0.3, phase % 1 / 0.7)
    rain = np.where(rng.random(len(t_ms) // 360 + 1) < 0.05, 2.5, 0.0)[np.arange(len(t_ms)) // 360]
    amps = rng.normal(8, 0.1, len(t_ms))
    return Chunk(t_ms, {
        "level_m": np.round(level + rng.normal(0, 0.005, len(t_ms)), 2),
        "pump1_run": first.astype(float), "pump2_run": second.astype(float),
        "pump1_current_a": np.round(first * amps, 1), "pump2_current_a": np.round(second * amps, 1),
        "high_level": np.zeros(len(t_ms)), "power_ok": np.ones(len(t_ms)), "rain_mm_h": rain,
    })  # fmt: skip


def recorded(file: Path) -> Chunk:
    table = pd.read_csv(file).drop_duplicates("ts").sort_values("ts")
    time_ms = pd.to_datetime(table["ts"], utc=True).astype("datetime64[ms, UTC]").astype("int64")
    names = [name for name in table.columns if name in SIGNALS and table[name].notna().any()]
    return Chunk(time_ms.to_numpy(), {name: table[name].to_numpy(np.float64) for name in names})


def parts(rows: Chunk) -> Iterator[Chunk]:
    """A day each, as a recorder that catches up would write them."""
    for first in range(0, len(rows), 8_640):
        some = slice(first, first + 8_640)
        yield Chunk(rows.t_ms[some], {n: v[some] for n, v in rows.signals.items()})


def fill(store: TimeSeriesStore, rows: Chunk) -> None:
    for position, part in enumerate(parts(rows)):
        store.write([(KEY, part)], position)


def sealed(store: SealedSeries) -> None:
    while store.seal(2**62):
        pass


def size(folder: Path, pattern: str = "**/*") -> int:
    return sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file())


def frame(store: TimeSeriesStore) -> pd.DataFrame:
    rows = store.read_raw(KEY, 0, 2**62)
    return pd.DataFrame(dict(rows.signals), index=rows.t_ms.astype("datetime64[ms]"))


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@pytest.mark.bench
@pytest.mark.store
def test_ninety_days_of_a_site(tmp_path: Path, victoria: Any, victoria_server: Any) -> None:
    file = next(Path(DEV_DATA).glob("*/data.csv.xz"), None) if DEV_DATA else None
    rows = recorded(file) if file else made_up()
    note = f"{len(rows):,} rows of {len(rows.signals)} signals, {'recorded' if file else 'made up'}"

    (tmp_path / "victoria").mkdir()
    own = SealedSeries(tmp_path / "own.db", tmp_path / "raw")
    plain = SqliteSeries(tmp_path / "plain.db")
    server = victoria(tmp_path / "victoria")
    for store in (own, plain, server):
        fill(store, rows)
    sealed(own)
    server.secure()
    for store in (plain, server):
        pd.testing.assert_frame_equal(frame(own), frame(store), check_like=True)
    turns = [[timed(lambda s=s: frame(s)) for s in (own, plain, server)] for _ in range(TURNS)]
    own_s, plain_s, server_s = (statistics.median(t[i] for t in turns) for i in range(3))
    plain.close()  # its journal is in its file now
    bytes_a_row = size(tmp_path / "raw") / (len(rows) - 1)
    plain_bytes = size(tmp_path, "plain.db*") / len(rows)
    report.row("series: sealed", bytes_a_row, "B/row", f"{note}; goal 5")
    report.row("series: plain SQLite rows", plain_bytes, "B/row", note)
    report.row("series: VictoriaMetrics", _server_bytes(victoria_server) / len(rows), "B/row", note)
    report.row("series: 90 days into pandas, sealed", own_s * 1e3, "ms", note)
    report.row("series: plain SQLite / sealed", plain_s / own_s, "x", "90 days into pandas; goal 5")
    report.row("series: VictoriaMetrics / sealed", server_s / own_s, "x", "90 days into pandas")
    own.close()
    server.close()
    assert bytes_a_row <= 5
    assert plain_s / own_s >= 5


@pytest.mark.bench
def test_a_long_chart_and_what_it_is_drawn_from(tmp_path: Path) -> None:
    rows = made_up()
    own = SealedSeries(tmp_path / "own.db", tmp_path / "raw")
    store = RolledSeries(own, tmp_path / "rollups.db", tmp_path)
    fill(store, rows)
    store.adopt([KEY])
    sealing_s = timed(lambda: sealed(own))
    adding_s = timed(lambda: [*iter(lambda: store._roll(2**62), False)])
    start_ms, end_ms = int(rows.t_ms[0]), int(rows.t_ms[-1]) + 1

    def chart(which: TimeSeriesStore, days: int) -> Callable[[], object]:
        span = end_ms - days * DAY_MS, end_ms
        return lambda: which.read_downsampled(KEY, "level_m", *span, 288)

    for days, name in ((10, "minutes"), (DAYS, "hours")):
        turns = [(timed(chart(store, days)), timed(chart(own, days))) for _ in range(TURNS)]
        sums_s, samples_s = (statistics.median(turn[i] for turn in turns) for i in range(2))
        report.row(f"chart of {days} days from {name}", sums_s * 1e3, "ms", "level, 288 points")
        report.row(
            f"chart of {days} days: samples / {name}", samples_s / sums_s, "x", "sealed samples"
        )
    days = (end_ms - start_ms) / DAY_MS
    for name in ("raw", "minutes", "hours"):
        megabytes = size(tmp_path / name) / days * 365 / 1e6
        report.row(f"a site for a year: {name}", megabytes, "MB", "made up, 8 signals every 10 s")
    report.row("sealing", sealing_s / days * 1e3, "ms", "a day of a site, months at once")
    report.row("adding up", adding_s / days * 1e3, "ms", "a day of a site, months at once")
    store.close()


def _server_bytes(server: Any) -> int:
    """What its data take on disk once they have been merged."""
    server.http.get("/internal/force_merge").raise_for_status()
    deadline = time.monotonic() + 60
    merging = 1.0
    while merging and time.monotonic() < deadline:
        text = server.http.get("/metrics").text
        merging = sum(_values(text, "vm_active_merges"))
    return int(sum(_values(text, "vm_data_size_bytes")))


def _values(exposition: str, name: str) -> list[float]:
    return [float(line.split()[-1]) for line in exposition.splitlines() if line.startswith(name)]
