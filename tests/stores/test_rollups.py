"""Long charts from sums: the same as from samples, whatever comes when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import TimeSeriesStore
from pumpwatch.domain.samples import Chunk
from pumpwatch.stores.memory import MemorySeries
from pumpwatch.stores.rollups import SETTLE_MS, RolledSeries

A = SiteKey("default", "mh0001")
DAYS = 6
STEP_MS = 20 * MINUTE_MS
ALL_DAYS = DAYS * DAY_MS


def chunk(t_ms: list[int], **signals: list[float]) -> Chunk:
    columns = {name: np.array(values, np.float64) for name, values in signals.items()}
    return Chunk(np.array(t_ms, np.int64), columns)


def every(step_ms: int, days: int = DAYS, first_day: int = 0) -> Chunk:
    t_ms = list(range(first_day * DAY_MS, (first_day + days) * DAY_MS, step_ms))
    return chunk(t_ms, level_m=[t // step_ms % 7 / 10 for t in t_ms])


def roll(store: RolledSeries, now_ms: int = 2**62) -> None:
    store.adopt([A])
    while store.upkeep(now_ms):
        pass


def charts(store: TimeSeriesStore, signal: str = "level_m", days: int = DAYS) -> list[float]:
    """Of whole hours, of whole minutes, and one that begins and ends in between."""
    end_ms = days * DAY_MS
    spans = [(0, end_ms, 50), (0, end_ms, 2_000), (DAY_MS + 1_234_567, end_ms - 7_654_321, 30)]
    found = [store.read_downsampled(A, signal, *span) for span in spans]
    return [
        float(x) for c in found for x in (*c.t_ms, *(v for n in c.signals for v in c.signals[n]))
    ]


@pytest.fixture
def samples() -> MemorySeries:
    return MemorySeries()


@pytest.fixture
def open_store(tmp_path: Path, samples: MemorySeries) -> Iterator[Callable[[], RolledSeries]]:
    opened: list[RolledSeries] = []

    def open_another() -> RolledSeries:
        opened.append(RolledSeries(samples, tmp_path / "rollups.db", tmp_path))
        return opened[-1]

    yield open_another
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], RolledSeries]) -> RolledSeries:
    return open_store()


# -- the same chart --------------------------------------------------------------------------------

slot = st.integers(0, ALL_DAYS // STEP_MS - 1)
doing = st.one_of(
    st.lists(st.tuples(slot, st.integers(0, 99)), min_size=1, max_size=30),
    st.sampled_from(["roll", "reopen"]),
    st.tuples(st.just("delete"), slot, st.integers(1, 200)),
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(doings=st.lists(doing, max_size=8))
def test_charts_from_sums_are_those_from_samples_whatever_comes_when(
    tmp_path_factory: pytest.TempPathFactory, doings: list[object]
) -> None:
    folder, plain = tmp_path_factory.mktemp("sums"), MemorySeries()
    open_again = lambda: RolledSeries(plain, folder / "rollups.db", folder)  # noqa: E731
    store = open_again()
    for position, what in enumerate(doings):
        if what == "roll":
            roll(store)
        elif what == "reopen":
            store.close()
            store = open_again()
        elif isinstance(what, tuple):
            _, first, length = what
            store.delete(A, first * STEP_MS, (first + length) * STEP_MS)
        else:
            assert isinstance(what, list)
            t_ms = [at * STEP_MS + value for at, value in what]
            store.write([(A, chunk(t_ms, level_m=[value / 100 for _, value in what]))], position)
        assert charts(store) == pytest.approx(charts(plain))
    store.close()


def test_long_charts_come_from_sums_and_short_ones_from_samples(
    store: RolledSeries, samples: MemorySeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write([(A, every(STEP_MS))], 1)
    roll(store)
    expected = charts(samples)
    day = samples.read_downsampled(A, "level_m", 0, DAY_MS, 288)
    monkeypatch.setattr(samples, "_rows", {})
    assert charts(store) == pytest.approx(expected)
    assert len(day) == 72
    assert len(store.read_downsampled(A, "level_m", 0, DAY_MS, 288)) == 0


def test_a_late_row_is_in_the_chart_at_once(store: RolledSeries, samples: MemorySeries) -> None:
    store.write([(A, every(STEP_MS))], 1)
    roll(store)
    store.write([(A, chunk([3 * DAY_MS + 5], level_m=[9]))], 2)
    assert max(store.read_downsampled(A, "level_m", 0, ALL_DAYS, 50).signals["max"]) == 9
    roll(store)
    assert charts(store) == pytest.approx(charts(samples))


def test_a_day_is_added_up_when_it_has_settled(store: RolledSeries) -> None:
    store.write([(A, every(STEP_MS, days=2))], 1)
    roll(store, DAY_MS + SETTLE_MS - 1)
    assert store.counters["days_added_up"] == 0
    roll(store, DAY_MS + SETTLE_MS)
    assert store.counters["days_added_up"] == 1


def test_what_is_kept_of_each_kind_of_signal(store: RolledSeries, tmp_path: Path) -> None:
    store.write(
        [(A, chunk([0, 20_000, 40_000, 70_000], level_m=[1, 2, 6, 5], pump1_run=[1, 0, 1, 0],
                   pump1_starts=[7, 7, 8, 8], h2s_ppm=[1, 2, 3, 4]))], 1,
    )  # fmt: skip
    roll(store)
    (minutes,) = tmp_path.glob("minutes/*/*/1970-01.parquet")
    (hours,) = tmp_path.glob("hours/*/*/1970.parquet")
    table = pq.ParquetFile(minutes).read().drop_columns(["time"]).to_pydict()
    assert table == {
        "level_m_min": [1, 5], "level_m_mean": [3, 5], "level_m_max": [6, 5], "level_m_count": [3, 1],
        "pump1_run_min": [0, 0], "pump1_run_mean": [2 / 3, 0], "pump1_run_max": [1, 0],
        "pump1_run_count": [3, 1], "pump1_run_last": [1, 0],
        "pump1_starts_min": [7, 8], "pump1_starts_mean": [22 / 3, 8], "pump1_starts_max": [8, 8],
        "pump1_starts_count": [3, 1], "pump1_starts_last": [8, 8],
    }  # fmt: skip
    assert pq.read_metadata(hours).num_rows == 1


# -- what came before, what was lost ---------------------------------------------------------------


def test_samples_from_before_the_sums_are_added_up_too(
    store: RolledSeries, samples: MemorySeries
) -> None:
    samples.write([(A, every(STEP_MS)), (A, every(STEP_MS, days=2, first_day=500))], 1)
    assert charts(store, days=502) == charts(samples, days=502)
    roll(store)
    assert store.counters["days_added_up"] == DAYS + 2
    assert charts(store, days=502) == pytest.approx(charts(samples, days=502))


def test_a_damaged_file_of_sums_is_made_anew(
    store: RolledSeries, samples: MemorySeries, tmp_path: Path
) -> None:
    store.write([(A, every(STEP_MS))], 1)
    roll(store)
    for file in tmp_path.rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[:-9])
    assert charts(store)[0] == 0
    assert len(store.damage()) == 2
    assert charts(store) == pytest.approx(charts(samples))
    roll(store)
    assert len(list(tmp_path.rglob("*.parquet"))) == 2


# -- retention -------------------------------------------------------------------------------------


def test_sums_stay_when_samples_are_forgotten(store: RolledSeries, samples: MemorySeries) -> None:
    store.write([(A, every(STEP_MS))], 1)
    store.adopt([A])
    expected = charts(store)
    assert store.apply_retention(4 * DAY_MS) == 4 * 72, "although nothing had been added up yet"
    assert samples.count(A) == 2 * 72
    assert charts(store) == pytest.approx(expected)
    late = store.write([(A, chunk([DAY_MS + 5, 5 * DAY_MS + 5], level_m=[9, 9]))], 2)
    assert (late.stored, late.rejected) == (1, 1)
    roll(store)
    level = store.read_downsampled(A, "level_m", 0, ALL_DAYS, 50)
    assert [int(t // DAY_MS) for t in level.t_ms[level.signals["max"] == 9]] == [5]


def test_sums_are_forgotten_each_in_its_own_time(
    open_store: Callable[[], RolledSeries], tmp_path: Path
) -> None:
    store = open_store()
    store.write([(A, every(STEP_MS, days=40))], 1)
    roll(store)
    store.apply_retention(35 * DAY_MS)
    store.retain(33 * DAY_MS, 2 * DAY_MS)

    def days(store: RolledSeries, unit: int) -> tuple[int, int]:
        found = store.read_downsampled(A, "level_m", 0, 40 * DAY_MS, 40 * DAY_MS // unit)
        return int(found.t_ms[0] // DAY_MS), int(found.t_ms[-1] // DAY_MS)

    assert (days(store, MINUTE_MS), days(store, HOUR_MS)) == ((33, 39), (2, 39))
    assert [p.stem for p in tmp_path.glob("minutes/*/*/*")] == ["1970-02"]
    store.retain(None, None)
    again = open_store()
    assert (days(again, MINUTE_MS), days(again, HOUR_MS)) == ((33, 39), (2, 39))
