"""What the sealed time series promises beyond its port: files, crashes, damage, threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import TimeSeriesStore
from pumpwatch.domain.samples import Chunk
from pumpwatch.stores import parquet
from pumpwatch.stores.rollups import RolledSeries
from pumpwatch.stores.series_sealed import HOT_MS, SealedSeries

A, B = SiteKey("default", "mh0001"), SiteKey("other-town", "mh0002")
NOV_30 = 1_764_460_800_000
"""2025-11-30T00:00Z, the last day of a month."""
HOUR = 3_600_000


def chunk(t_ms: list[int], **signals: list[float]) -> Chunk:
    columns = {name: np.array(values, np.float64) for name, values in signals.items()}
    return Chunk(np.array(t_ms, np.int64), columns)


def hours(first: int, behind: int, level_m: float = 1) -> Chunk:
    """One row an hour, counted from the end of November."""
    t_ms = [NOV_30 + n * HOUR for n in range(first, behind)]
    return chunk(t_ms, level_m=[level_m] * len(t_ms), pump1_run=[n % 2 for n in range(len(t_ms))])


def told(store: TimeSeriesStore, key: SiteKey = A) -> dict[int, float]:
    found = store.read_raw(key, 0, 2**62)
    return dict(zip(found.t_ms.tolist(), found.signals["level_m"].tolist(), strict=True))


def seal(store: SealedSeries, before_ms: int = 2**62) -> None:
    while store.seal(before_ms):
        pass


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*.parquet*"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def open_store(tmp_path: Path, folder: Path) -> Iterator[Callable[[], SealedSeries]]:
    opened: list[SealedSeries] = []

    def open_another() -> SealedSeries:
        opened.append(SealedSeries(tmp_path / "series.db", folder))
        return opened[-1]

    yield open_another
    for store in opened:
        store.close()


@pytest.fixture
def series(open_store: Callable[[], SealedSeries]) -> SealedSeries:
    return open_store()


# -- what is sealed when ---------------------------------------------------------------------------


def test_a_day_is_sealed_when_it_has_been_over_for_a_while(
    series: SealedSeries, folder: Path
) -> None:
    series.write([(A, hours(0, 49))], 1)
    assert not series.upkeep(NOV_30 + DAY_MS + HOT_MS - 1)
    assert files(folder) == []
    assert series.upkeep(NOV_30 + DAY_MS + HOT_MS)
    assert not series.upkeep(NOV_30 + DAY_MS + HOT_MS)
    assert files(folder) == ["tenant=default/site=mh0001/2025-11.parquet"]
    assert series.counters == {"rows_sealed": 24, "files_sealed": 1}


def test_a_file_holds_a_month_of_a_site_and_the_newest_row_stays_outside(
    series: SealedSeries, folder: Path
) -> None:
    series.write([(A, hours(0, 48)), (B, hours(0, 2))], 1)
    seal(series)
    assert files(folder) == [
        "tenant=default/site=mh0001/2025-11.parquet",
        "tenant=default/site=mh0001/2025-12.parquet",
        "tenant=other-town/site=mh0002/2025-11.parquet",
    ]
    assert [pq.read_metadata(folder / name).num_rows for name in files(folder)] == [24, 23, 1]
    assert series._hot.count(A) == series._hot.count(B) == 1


def test_any_tool_reads_tenant_site_time_and_signals(series: SealedSeries, folder: Path) -> None:
    t_ms = [NOV_30, NOV_30 + HOUR, NOV_30 + 2 * HOUR]
    rows = chunk(t_ms, level_m=[1, np.nan, 3], **{"h2s.ppm": [4, 5, 6], "time": [7, 8, 9]})
    series.write([(A, rows)], 1)
    seal(series)
    table = pd.read_parquet(folder)
    assert table["time"].tolist() == pd.to_datetime(t_ms[:2], unit="ms", utc=True).tolist()
    assert table["level_m"].fillna(-1).tolist() == [1, -1]
    assert (table["tenant"].tolist(), table["site"].tolist()) == (["default"] * 2, ["mh0001"] * 2)
    found = series.read_raw(A, 0, 2**62, ["h2s.ppm", "time"])
    assert {n: v.tolist() for n, v in found.signals.items()} == {
        "h2s.ppm": [4, 5, 6],
        "time": [7, 8, 9],
    }


def test_values_come_back_to_the_last_bit(series: SealedSeries) -> None:
    values = [0.1 + 0.2, 1 / 3, 1e-300, -0.0, 123_456_789.123_456_78, float("inf")]
    t_ms = [NOV_30 + n for n in range(len(values) + 1)]
    series.write([(A, chunk(t_ms, level_m=[*values, 0]))], 1)
    seal(series)
    assert series.read_raw(A, 0, t_ms[-1]).signals["level_m"].tolist() == values


# -- late rows -------------------------------------------------------------------------------------


def test_a_late_row_is_read_at_once_and_merged_at_the_next_sealing(
    series: SealedSeries, folder: Path
) -> None:
    series.write([(A, hours(0, 10)), (A, hours(12, 24))], 1)
    seal(series)
    receipt = series.write([(A, hours(8, 14, level_m=2))], 2)
    assert (receipt.stored, receipt.duplicates) == (2, 4)
    before = told(series)
    assert [before[NOV_30 + n * HOUR] for n in range(7, 15)] == [1, 2, 2, 2, 2, 2, 2, 1]
    assert series.count(A) == 24
    seal(series)
    assert told(series) == before
    assert series.count(A) == 24
    assert pq.read_metadata(folder / files(folder)[0]).num_rows == 23


def test_a_repeated_row_leaves_the_sealed_file_alone(series: SealedSeries, folder: Path) -> None:
    series.write([(A, hours(0, 24))], 1)
    seal(series)
    file = folder / files(folder)[0]
    number = file.stat().st_ino
    again = series.write([(A, hours(0, 24)), (A, hours(0, 24))], 2)
    assert (again.stored, again.duplicates) == (0, 48)
    assert not series.seal(2**62)
    assert file.stat().st_ino == number


def test_the_last_word_counts_also_when_it_repeats_what_is_sealed(series: SealedSeries) -> None:
    series.write([(A, hours(0, 24))], 1)
    seal(series)
    series.write([(A, hours(5, 6, level_m=2))], 2)
    series.write([(A, hours(5, 6, level_m=1))], 3)
    assert set(told(series).values()) == {1}
    series.write([(A, hours(5, 6, level_m=2)), (A, hours(5, 6, level_m=1))], 4)
    seal(series)
    assert set(told(series).values()) == {1}


def test_after_reopening_sealed_rows_are_known(open_store: Callable[[], SealedSeries]) -> None:
    first = open_store()
    first.write([(A, hours(0, 24))], 7)
    seal(first)
    second = open_store()
    assert second.position() == 7
    assert len(told(second)) == 24
    assert second.write([(A, hours(0, 24))], 8).duplicates == 24
    assert second.latest([A])[A][0] == NOV_30 + 23 * HOUR


def test_the_newest_row_is_found_when_what_was_newer_is_deleted(series: SealedSeries) -> None:
    series.write([(A, hours(0, 24))], 1)
    seal(series)
    assert series.delete(A, NOV_30 + 20 * HOUR, 2**62) == 4
    assert series.latest([A]) == {A: (NOV_30 + 19 * HOUR, {"level_m": 1, "pump1_run": 1})}
    assert series.delete(A, 0, 2**62) == 20
    assert series.latest([A]) == {}


# -- retention -------------------------------------------------------------------------------------


def test_retention_hides_at_once_and_removes_a_file_when_all_of_it_is_too_old(
    series: SealedSeries, folder: Path
) -> None:
    series.write([(A, hours(0, 48))], 1)
    seal(series)
    assert series.apply_retention(NOV_30 + 10 * HOUR) == 10
    assert (len(told(series)), series.count(A), len(files(folder))) == (38, 38, 2)
    assert series.apply_retention(NOV_30 + 24 * HOUR) == 14
    assert files(folder) == ["tenant=default/site=mh0001/2025-12.parquet"]
    assert series.count(A) == 24


# -- crashes and damage ----------------------------------------------------------------------------


def test_killed_at_any_step_of_its_upkeep_nothing_is_lost_and_nothing_is_there_twice(
    tmp_path: Path, killed_at_every_step: Callable[[Path], list[Path]]
) -> None:
    def opened(folder: Path) -> RolledSeries:
        own = SealedSeries(folder / "series.db", folder / "raw")
        return RolledSeries(own, folder / "rollups.db", folder)

    def chart(store: RolledSeries) -> list[float]:
        found = store.read_downsampled(A, "level_m", NOV_30, NOV_30 + 3 * DAY_MS, 72)
        return found.signals["mean"].tolist()

    base = tmp_path / "base"
    base.mkdir()
    store = opened(base)
    store.write([(A, hours(0, 20)), (B, hours(0, 30))], 5)
    store.adopt([A, B])
    while store.upkeep(2**62):
        pass
    store.write([(A, hours(10, 60, level_m=2))], 9)
    expected, drawn = told(store), chart(store)
    assert set(expected.values()) == {1, 2}
    store.close()

    folders = killed_at_every_step(base)
    assert len(folders) > 20
    for folder in folders:
        store = opened(folder)
        for _ in range(2):  # as it was left, and after it was done again
            assert told(store) == expected, folder
            assert (store.count(A), store.count(B), store.position()) == (60, 30, 9), folder
            assert chart(store) == drawn, folder
            while store.upkeep(2**62):
                pass
        assert store.write([(A, hours(10, 60, level_m=2))], 10).duplicates == 50, folder
        assert store.damage() == []
        store.close()


@pytest.mark.parametrize("harm", ["cut", "flipped", "emptied", "not parquet"])
def test_a_damaged_file_is_set_aside_and_stops_nothing_else(
    series: SealedSeries, folder: Path, harm: str
) -> None:
    series.write([(A, hours(0, 48)), (B, hours(0, 24))], 1)
    seal(series)
    file = folder / files(folder)[0]
    content = bytearray(file.read_bytes())
    content[20] ^= 0xFF
    file.write_bytes({
        "cut": bytes(content[:-30]), "flipped": bytes(content), "emptied": b"",
        "not parquet": b"PAR1 is only the beginning",
    }[harm])  # fmt: skip
    assert set(told(series)) == {NOV_30 + n * HOUR for n in range(24, 48)}
    assert len(told(series, B)) == 24
    (line,) = series.damage()
    assert "2025-11.parquet" in line
    assert "backup" in line
    assert series.write([(A, hours(0, 24))], 2).stored == 24
    seal(series)
    assert series.count(A) == 48
    next(folder.rglob("*.damaged")).unlink()
    assert series.damage() == []


def test_what_was_set_aside_is_still_said_after_reopening(
    open_store: Callable[[], SealedSeries], folder: Path
) -> None:
    series = open_store()
    series.write([(A, hours(0, 24))], 1)
    seal(series)
    (folder / files(folder)[0]).write_bytes(b"")
    told_once = series.read_raw(A, 0, 2**62)
    assert len(told_once) == 1
    assert open_store().damage() == series.damage() != []


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_happens_to_a_file_it_is_either_read_as_written_or_refused(
    data: st.DataObject,
) -> None:
    t_ms = np.arange(NOV_30, NOV_30 + 500 * HOUR, HOUR)
    written = Chunk(t_ms, {"level_m": np.sin(t_ms), "pump1_run": (t_ms // HOUR % 2).astype(float)})
    content = bytearray(parquet._encode(A, written))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try:
        found = parquet._decode(bytes(content), None)
    except parquet.DAMAGE:
        return
    assert found.t_ms.tolist() == t_ms.tolist()
    for name in found.signals.keys() & written.signals.keys():
        np.testing.assert_array_equal(found.signals[name], written.signals[name])


def test_a_disk_that_refuses_leaves_the_rows_where_they_are(
    series: SealedSeries, folder: Path
) -> None:
    series.write([(A, hours(0, 24))], 1)
    folder.write_text("a file where the folder should be")
    with pytest.raises(StoreUnavailable, match="raw"):
        series.seal(2**62)
    folder.unlink()
    assert len(told(series)) == 24
    seal(series)
    assert len(told(series)) == 24


# -- threads ---------------------------------------------------------------------------------------


def test_pages_read_whole_series_while_rows_come_and_are_sealed(series: SealedSeries) -> None:
    wrong: list[object] = []
    done = threading.Event()

    def watch() -> None:
        seen = 0
        while not done.is_set():
            try:
                found = series.read_raw(A, 0, 2**62)
                levels = found.signals["level_m"].tolist() if len(found) else []
                if levels != [float(n) for n in range(len(levels))] or len(levels) < seen:
                    wrong.append(levels)
                seen = len(levels)
                if levels and series.latest([A])[A][0] < found.t_ms[-1]:
                    wrong.append("newest")
            except Exception as error:
                wrong.append(error)

    readers = [threading.Thread(target=watch) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(60):
        series.write([(A, chunk([NOV_30 + n * HOUR], level_m=[float(n)]))], n)
        if n % 3 == 0:
            seal(series)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert series.count(A) == 60
