from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch_edge.message import Clock, Record, telemetry_bodies
from pumpwatch_edge.source import Reading
from pumpwatch_edge.thinning import MINUTE_MS, thin

Row = tuple[int, float | None, float | None]
ROWS = st.lists(
    st.tuples(
        st.integers(1, 40_000), st.none() | st.floats(-1, 5), st.sampled_from([0, 0, 0, 1, None])
    ),
    min_size=1,
    max_size=120,
)


def records(rows: list[Row], size: int) -> list[Record]:
    readings = [Reading(t, {"level_m": level, "pump1_run": run}) for t, level, run in rows]
    bodies = [
        body
        for i in range(0, len(readings), size)
        for body in telemetry_bodies(readings[i : i + size], "b", Clock.NTP)
    ]
    return [Record(seq, body.rows, body.text) for seq, body in enumerate(bodies, 7)]


def rows_of(record: Record) -> list[Row]:
    content: dict[str, Any] = json.loads(record.text)
    signals = content["signals"]
    found = list(zip(content["t"], signals["level_m"], signals["pump1_run"], strict=True))
    assert len(found) == record.rows
    return found


def all_rows(held: list[Record]) -> list[Row]:
    return [row for record in held for row in rows_of(record)]


def test_of_a_minute_the_extremes_and_the_last_row_stay() -> None:
    levels = [0.5, 0.7, 0.9, 0.3, 0.4, 0.6]
    rows: list[Row] = [(10_000 * i, level, 0) for i, level in enumerate(levels)]

    assert all_rows(thin(records(rows, 6))) == [rows[2], rows[3], rows[5]]


def test_a_minute_may_lie_in_two_records() -> None:
    rows: list[Row] = [(10_000 * i, i / 10, 0) for i in range(12)]
    thinner = thin(records(rows, 3))

    assert [r.rows for r in thinner] == [1, 1, 1, 1]
    assert all_rows(thinner) == [rows[0], rows[5], rows[6], rows[11]]


@given(ROWS, st.integers(1, 30))
def test_numbers_stay_and_what_is_left_is_a_part_that_loses_no_extreme_and_no_change(
    steps: list[Row], size: int
) -> None:
    times = [sum(step for step, _, _ in steps[: i + 1]) for i in range(len(steps))]
    rows = [(t, level, run) for t, (_, level, run) in zip(times, steps, strict=True)]
    held = records(rows, size)
    thinner = thin(held)

    assert [record.seq for record in thinner] == [record.seq for record in held]
    for old, new in zip(held, thinner, strict=True):
        left = rows_of(new)
        assert left
        assert left == [row for row in rows_of(old) if row in left]
        assert len(new.text) <= len(old.text)
    left = all_rows(thinner)
    for minute in {t // MINUTE_MS for t in times}:
        known = [level for t, level, _ in rows if t // MINUTE_MS == minute and level is not None]
        kept = [level for t, level, _ in left if t // MINUTE_MS == minute and level is not None]
        if known:
            assert (min(kept), max(kept)) == (min(known), max(known))
        assert max(t for t in times if t // MINUTE_MS == minute) in {t for t, _, _ in left}
    for before, after in pairwise(rows):
        if before[2] != after[2]:
            assert after in left


def test_what_is_no_telemetry_stays_as_it_is() -> None:
    foreign = [
        Record(1, 9, b"xx"),
        Record(2, 2, b"[]"),
        Record(3, 2, b'{"t":["a","b"],"signals":{}}'),
    ]
    foreign += [Record(4, 3, b'{"t":[1,2],"signals":{}}')]

    assert thin(foreign) == foreign
