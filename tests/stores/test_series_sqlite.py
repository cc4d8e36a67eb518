"""What the SQLite time series promises beyond its port: crashes, growth, threads, faults."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.stores import series_sqlite
from pumpwatch.stores.series_sqlite import SqliteSeries

KEY = SiteKey("default", "mh0001")
OTHER = SiteKey("default", "mh0002")


def chunk(t_ms: list[int], **signals: list[float]) -> Chunk:
    columns = {name: np.array(values, np.float64) for name, values in signals.items()}
    return Chunk(np.array(t_ms, np.int64), columns)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "series.db"


@pytest.fixture
def series(path: Path) -> Iterator[SqliteSeries]:
    store = SqliteSeries(path)
    yield store
    store.close()


def test_rows_and_position_are_there_after_reopening(path: Path) -> None:
    first = SqliteSeries(path)
    first.write([(KEY, chunk([10], level_m=[0.5], h2s_ppm=[3]))], 42)
    first.close()
    second = SqliteSeries(path)
    assert second.position() == 42
    assert second.read_raw(KEY, 0, 99).signals["level_m"].tolist() == [0.5]
    assert second.read_raw(KEY, 0, 99, ["h2s_ppm"]).signals["h2s_ppm"].tolist() == [3]
    assert second.write([(KEY, chunk([10], level_m=[0.5]))], 43).duplicates == 1
    second.close()


WRITE_FOR_EVER = """
import sys
from pathlib import Path
import numpy as np
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.stores.series_sqlite import SqliteSeries
store = SqliteSeries(Path(sys.argv[1]) / "series.db")
for n in range(1, 10**9):
    batch = [
        (SiteKey("default", f"mh{site:04d}"), Chunk(np.array([n]), {"level_m": np.array([n / 8])}))
        for site in range(1, 21)
    ]
    store.write(batch, n)
    print(n, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 40])
def test_a_killed_writer_leaves_rows_and_position_in_step(
    killed: Callable[[str, int], int], path: Path, lines: int
) -> None:
    told = killed(WRITE_FOR_EVER, lines)
    store = SqliteSeries(path)
    position = store.position()
    assert position >= told
    assert {store.count(SiteKey("default", f"mh{n:04d}")) for n in range(1, 21)} == {position}
    store.close()


def test_a_write_that_fails_leaves_nothing_behind(series: SqliteSeries) -> None:
    not_text_nor_number = Chunk(np.array([10]), {"level_m": np.array([{}], dtype=object)})
    with pytest.raises((StoreUnavailable, TypeError)):
        series.write([(KEY, chunk([10], level_m=[1])), (OTHER, not_text_nor_number)], 5)
    assert series.position() == 0
    assert series.count(KEY) == 0
    assert series.latest([KEY, OTHER]) == {}
    assert series.write([(OTHER, chunk([10], level_m=[1]))], 5).stored == 1


def test_a_new_signal_of_the_nomenclature_becomes_a_column_when_the_file_is_opened(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fewer = {name: signal for name, signal in SIGNALS.items() if name != "rain_mm_h"}
    with monkeypatch.context() as earlier:
        earlier.setattr(series_sqlite, "SIGNALS", fewer)
        earlier.setattr(series_sqlite, "_ORDER", list(fewer))
        old = SqliteSeries(path)
        old.write([(KEY, chunk([10], level_m=[0.5]))], 1)
        old.close()
    new = SqliteSeries(path)
    new.write([(KEY, chunk([10, 20], rain_mm_h=[2, 3]))], 2)
    found = new.read_raw(KEY, 0, 99)
    assert found.signals["rain_mm_h"].tolist() == [2, 3]
    np.testing.assert_array_equal(found.signals["level_m"], [0.5, np.nan])
    new.close()


def test_a_locked_file_is_a_store_to_try_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pumpwatch.stores.sqlite.BUSY_TIMEOUT_MS", 1)
    series = SqliteSeries(path)
    rival = sqlite3.connect(path, isolation_level=None)
    rival.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"series\.db cannot be used.*locked"):
        series.write([(KEY, chunk([10], level_m=[1]))], 1)
    rival.execute("ROLLBACK")
    rival.close()
    assert series.write([(KEY, chunk([10], level_m=[1]))], 1).stored == 1
    series.close()


def test_pages_read_whole_writes_while_the_recorder_writes(series: SqliteSeries) -> None:
    """Every write adds one row to both sites: no reader may ever see half of one."""
    wrong: list[object] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            try:
                found = series.read_raw(KEY, 0, 10**6, ["level_m", "h2s_ppm"])
                if len(found) > series.position():
                    wrong.append(found)
                if len(found):
                    levels, gas = found.signals["level_m"], found.signals["h2s_ppm"]
                    np.testing.assert_array_equal(levels, -gas)
                series.read_downsampled(OTHER, "level_m", 0, 10**6, 50)
                newest = series.latest([KEY, OTHER])
                if newest and newest[OTHER][0] != newest[KEY][0]:
                    wrong.append(newest)
            except Exception as error:
                wrong.append(error)

    readers = [threading.Thread(target=watch) for _ in range(3)]
    for reader in readers:
        reader.start()
    for n in range(1, 101):
        row = chunk([n], level_m=[float(n)], h2s_ppm=[float(-n)])
        series.write([(KEY, row), (OTHER, row)], n)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert series.count(KEY) == series.count(OTHER) == 100


def test_only_the_writer_checkpoints(series: SqliteSeries) -> None:
    with series._reading() as reader:
        assert reader.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
        assert reader.execute("PRAGMA query_only").fetchone() == (1,)
