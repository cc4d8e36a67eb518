"""What every time-series store promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import TimeSeriesStore
from pumpwatch.domain.samples import Chunk, bucket_grid

A = SiteKey("default", "mh0001")
B = SiteKey("other-town", "mh0001")
NAN = float("nan")
FOREVER = 2**62


def chunk(t_ms: list[int], **signals: list[float]) -> Chunk:
    columns = {name: np.array(values, np.float64) for name, values in signals.items()}
    return Chunk(np.array(t_ms, np.int64), columns)


def rows(store: TimeSeriesStore, key: SiteKey = A, *names: str) -> dict[int, dict[str, float]]:
    """Everything of a site as time → the values that are there."""
    found = store.read_raw(key, 0, FOREVER, names or None)
    return {
        t: {name: v for name, values in found.signals.items() if (v := float(values[i])) == v}
        for i, t in enumerate(found.t_ms.tolist())
    }


def test_what_was_written_is_read_back(series: TimeSeriesStore) -> None:
    receipt = series.write([(A, chunk([10, 20], level_m=[0.5, NAN], pump1_run=[1, 0]))], 7)
    assert (receipt.stored, receipt.duplicates, receipt.rejected) == (2, 0, 0)
    found = series.read_raw(A, 0, FOREVER)
    assert found.t_ms.dtype == np.int64
    assert found.t_ms.tolist() == [10, 20]
    assert set(found.signals) == {"level_m", "pump1_run"}
    np.testing.assert_array_equal(found.signals["level_m"], [0.5, NAN])
    np.testing.assert_array_equal(found.signals["pump1_run"], [1.0, 0.0])


def test_an_empty_store_answers_with_nothing(series: TimeSeriesStore) -> None:
    assert series.position() == 0
    assert len(series.read_raw(A, 0, FOREVER)) == 0
    assert len(series.read_downsampled(A, "level_m", 0, 1000, 10)) == 0
    assert series.latest([A]) == {}
    assert series.count(A) == 0
    assert series.delete(A, 0, FOREVER) == 0
    assert series.apply_retention(FOREVER) == 0


def test_a_repeated_row_changes_nothing_and_is_counted(series: TimeSeriesStore) -> None:
    written = chunk([10, 20], level_m=[0.5, 0.6])
    series.write([(A, written)], 1)
    again = series.write([(A, written), (A, written)], 2)
    assert (again.stored, again.duplicates) == (0, 4)
    assert rows(series) == {10: {"level_m": 0.5}, 20: {"level_m": 0.6}}


def test_a_row_repeated_within_one_write_is_stored_once(series: TimeSeriesStore) -> None:
    receipt = series.write([(A, chunk([10, 10, 20], level_m=[0.5, 0.5, 0.6]))], 1)
    assert (receipt.stored, receipt.duplicates) == (2, 1)
    assert series.count(A) == 2


def test_the_receipt_tells_the_sites_apart(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([10], level_m=[0.5]))], 1)
    receipt = series.write(
        [(A, chunk([10, 20], level_m=[0.5, 0.6])), (B, chunk([10], level_m=[2.0]))], 2
    )
    assert (receipt.stored, receipt.duplicates) == (2, 1)
    assert {k: (r.stored, r.duplicates) for k, r in receipt.by_site.items()} == {
        A: (1, 1),
        B: (1, 0),
    }


def test_a_later_value_fills_a_gap_and_a_gap_never_erases(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([10], level_m=[NAN], pump1_run=[1]))], 1)
    filled = series.write([(A, chunk([10], level_m=[0.5], pump1_run=[NAN]))], 2)
    assert (filled.stored, filled.duplicates) == (0, 1)
    assert rows(series) == {10: {"level_m": 0.5, "pump1_run": 1.0}}


def test_of_two_values_the_later_message_wins(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([10], level_m=[0.5]))], 1)
    series.write(
        [
            (A, chunk([10], level_m=[0.6])),
            (A, chunk([10], level_m=[0.7], pump1_run=[1])),
            (A, chunk([10], level_m=[0.8])),
        ],
        2,
    )
    assert rows(series) == {10: {"level_m": 0.8, "pump1_run": 1.0}}


def test_tenants_do_not_see_each_other(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([10], level_m=[0.5])), (B, chunk([10], level_m=[2.0]))], 1)
    assert rows(series, A) == {10: {"level_m": 0.5}}
    assert rows(series, B) == {10: {"level_m": 2.0}}
    assert series.delete(B, 0, FOREVER) == 1
    assert series.count(A) == 1


def test_the_position_never_goes_back(series: TimeSeriesStore) -> None:
    series.write([], 9)
    series.write([(A, chunk([10], level_m=[0.5]))], 4)
    assert series.position() == 9


def test_reading_is_from_start_up_to_but_without_end(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([10, 20, 30], level_m=[1, 2, 3]))], 1)
    assert series.read_raw(A, 10, 30).t_ms.tolist() == [10, 20]


def test_only_the_signals_asked_for_are_read(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([10], level_m=[1], pump1_run=[1]))], 1)
    found = series.read_raw(A, 0, FOREVER, ["pump1_run", "pump2_run"])
    assert set(found.signals) == {"pump1_run"}


def test_a_signal_the_site_never_had_a_value_of_is_absent(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([10], level_m=[1], battery_v=[NAN]))], 1)
    assert set(series.read_raw(A, 0, FOREVER).signals) == {"level_m"}


def test_a_signal_outside_the_nomenclature_is_kept_beside(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([10, 20], level_m=[1, 2], h2s_ppm=[NAN, 4.5]))], 1)
    assert rows(series) == {10: {"level_m": 1.0}, 20: {"level_m": 2.0}}
    assert series.latest([A]) == {A: (20, {"level_m": 2.0})}
    assert rows(series, A, "h2s_ppm") == {10: {}, 20: {"h2s_ppm": 4.5}}


def test_a_name_that_looks_like_sql_is_only_a_name(series: TimeSeriesStore) -> None:
    evil = 'level_m" REAL); DROP TABLE samples; --'
    series.write([(A, chunk([10], **{"level_m": [1.0], evil: [2.0]}))], 1)
    assert rows(series, A, evil) == {10: {evil: 2.0}}
    assert len(series.read_downsampled(A, "sites", 0, 100, 10)) == 0
    assert series.count(A) == 1


def test_latest_is_the_newest_row_and_only_that(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([20, 10], level_m=[0.6, 0.5], pump1_run=[NAN, 1]))], 1)
    assert series.latest([A, B]) == {A: (20, {"level_m": 0.6})}


def test_downsampling_gives_min_mean_and_max_of_each_bucket(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([0, 10, 20, 30, 95], level_m=[1, 3, NAN, 5, 7]))], 1)
    found = series.read_downsampled(A, "level_m", 0, 100, 5)
    assert found.t_ms.tolist() == [0, 20, 80]
    assert found.signals["min"].tolist() == [1, 5, 7]
    assert found.signals["mean"].tolist() == [2, 5, 7]
    assert found.signals["max"].tolist() == [3, 5, 7]


@pytest.mark.parametrize("points", [1, 7, 1000])
def test_downsampling_never_gives_more_points_than_asked(
    series: TimeSeriesStore, points: int
) -> None:
    t_ms = list(range(13, 5_000, 11))
    series.write([(A, chunk(t_ms, level_m=[float(t % 97) for t in t_ms]))], 1)
    found = series.read_downsampled(A, "level_m", 5, 4_999, points)
    assert 0 < len(found) <= points
    assert found.signals["min"].min() == 0
    assert found.signals["max"].max() == 96


def test_buckets_of_long_charts_are_whole_minutes_or_hours(series: TimeSeriesStore) -> None:
    """So the same chart comes out of every engine, and out of what was added up before."""
    t_ms = list(range(0, 5 * DAY_MS, 7 * MINUTE_MS))
    series.write([(A, chunk(t_ms, level_m=[float(t % 97) for t in t_ms]))], 1)
    for points, unit in ((500, MINUTE_MS), (50, HOUR_MS)):
        start_ms, end_ms = DAY_MS + 90_001, 4 * DAY_MS + 90_001
        found = series.read_downsampled(A, "level_m", start_ms, end_ms, points)
        assert 0 < len(found) <= points
        assert (found.t_ms % unit == 0).all()
        grid = bucket_grid(start_ms, end_ms, points)
        assert (grid.start_ms, grid.end_ms) == (
            start_ms // unit * unit,
            (end_ms // unit + 1) * unit,
        )
        for t, low, mean, high in zip(found.t_ms.tolist(), *found.signals.values(), strict=True):
            inside = [x % 97 for x in t_ms if t <= x < min(t + grid.width_ms, grid.end_ms)]
            assert (low, high) == (min(inside), max(inside))
            assert mean == pytest.approx(sum(inside) / len(inside))


def test_deleting_takes_a_range_and_says_how_much(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([10, 20, 30], level_m=[1, 2, 3], h2s_ppm=[1, 2, 3]))], 1)
    assert series.delete(A, 10, 30) == 2
    assert rows(series, A, "level_m", "h2s_ppm") == {30: {"level_m": 3.0, "h2s_ppm": 3.0}}


def test_retention_forgets_what_is_older_at_every_site(series: TimeSeriesStore) -> None:
    series.write([(A, chunk([10, 20], level_m=[1, 2])), (B, chunk([5], level_m=[1]))], 1)
    assert series.apply_retention(20) == 2
    assert rows(series) == {20: {"level_m": 2.0}}
    assert series.count(B) == 0


def test_what_retention_forgot_does_not_come_back(series: TimeSeriesStore) -> None:
    """A late replay would bring some of it: a hole that looks like data."""
    series.write([(A, chunk([10, 20], level_m=[1, 2]))], 1)
    series.apply_retention(20)
    replayed = series.write(
        [(A, chunk([10, 15, 20, 30], level_m=[1, 1, 2, 3])), (B, chunk([5], level_m=[1]))], 2
    )
    assert (replayed.stored, replayed.duplicates, replayed.rejected) == (1, 1, 3)
    assert replayed.by_site[B].rejected == 1
    assert rows(series) == {20: {"level_m": 2.0}, 30: {"level_m": 3.0}}
    assert len(series.read_downsampled(A, "level_m", 0, 20, 2)) == 0
    assert (series.count(A), series.count(B)) == (2, 0)
    assert series.latest([A, B]) == {A: (30, {"level_m": 3.0})}
    assert series.apply_retention(20) == 0


def test_retention_never_goes_back(series: TimeSeriesStore) -> None:
    series.apply_retention(20)
    series.apply_retention(10)
    assert series.write([(A, chunk([15, 20], level_m=[1, 2]))], 1).rejected == 1


def test_a_deleted_row_may_come_again(series: TimeSeriesStore) -> None:
    written = [(A, chunk([10], level_m=[1]))]
    series.write(written, 1)
    series.delete(A, 0, FOREVER)
    assert series.write(written, 2).stored == 1


# as many digits as a sensor could ever mean, and as every engine keeps
value = st.integers(0, 10**9).map(lambda billionths: billionths / 10**9)
record = st.dictionaries(
    st.integers(0, 40),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("level_m", "pump1_run", "battery_v"), value)),
    max_size=12,
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(truth=record, data=st.data())
def test_any_split_order_and_repetition_gives_the_same_rows(
    new_series: Callable[[], Any], truth: dict[int, dict[str, float]], data: st.DataObject
) -> None:
    """Every row is cut into pieces: some signals in one message, some in another, some twice."""
    store = new_series()
    pieces: list[tuple[int, tuple[str, ...]]] = [(t, tuple(row)) for t, row in truth.items()]
    if truth:
        some_row = st.sampled_from(sorted(truth)).flatmap(
            lambda t: (
                st.tuples(st.just(t), st.sets(st.sampled_from(sorted(truth[t]))).map(tuple))
                if truth[t]
                else st.just((t, ()))
            )
        )
        pieces += data.draw(st.lists(some_row, max_size=12))
    pieces = data.draw(st.permutations(pieces))
    stored = 0
    while pieces:
        size = data.draw(st.integers(1, len(pieces)))
        message, pieces = pieces[:size], pieces[size:]
        names = sorted({name for _, has in message for name in has})
        columns = {
            name: [truth[t][name] if name in has else NAN for t, has in message] for name in names
        }
        stored += store.write([(A, chunk([t for t, _ in message], **columns))], 1).stored
    assert rows(store) == truth
    assert stored == len(truth) == store.count(A)
    store.close()
