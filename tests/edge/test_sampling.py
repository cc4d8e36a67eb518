from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch_edge.message import Plan
from pumpwatch_edge.sampling import Sampler, cleaned
from pumpwatch_edge.source import Edge, Reading

SIGNALS = {"level_m": {"unit": "m"}, "pump1_run": {"kind": "state"}, "power_ok": {"kind": "state"}}


def row(t_s: float, level: float | None = 0.5, run: float | None = 0) -> Reading:
    return Reading(round(t_s * 1000), {"level_m": level, "pump1_run": run})


def kept(plan: Plan, rows: list[Reading]) -> list[int]:
    sampler = Sampler(plan, SIGNALS)
    batches = sampler.take(rows, 0).batches + sampler.flush().batches
    return [reading.t_ms // 1000 for batch in batches for reading in batch]


@given(st.lists(st.integers(0, 1300), max_size=8), st.integers(1, 500))
def test_every_reading_leaves_once_and_in_order_however_it_came(
    sizes: list[int], batch_samples: int
) -> None:
    sampler = Sampler(Plan(batch_samples=batch_samples), SIGNALS)
    n, out = 0, []
    for size in sizes:
        out += sampler.take([row(n + i) for i in range(size)], 0).batches
        n += size
    out += sampler.flush().batches

    assert [r.t_ms for batch in out for r in batch] == [1000 * i for i in range(n)]
    assert all(len(batch) <= batch_samples for batch in out)
    assert sampler.pending == 0


def test_a_batch_leaves_when_it_is_full_or_old() -> None:
    sampler = Sampler(Plan(batch_samples=3, batch_age_s=30), SIGNALS)

    assert sampler.take([row(0), row(10)], 1_000).batches == []
    assert len(sampler.take([row(20), row(30)], 2_000).batches) == 1
    assert sampler.due(31_999).batches == []
    assert sampler.due(32_000).batches == [[row(30)]]


def test_a_clock_set_back_does_not_hold_a_batch() -> None:
    sampler = Sampler(Plan(batch_age_s=30), SIGNALS)
    sampler.take([row(0)], 10_000_000)

    assert sampler.due(10_000_000 - 3_600_000).batches == [[row(0)]]


def test_a_period_keeps_one_reading_per_period() -> None:
    assert kept(Plan(period_s=60), [row(t) for t in range(0, 300, 10)]) == [0, 60, 120, 180, 240]


def test_a_change_of_state_is_kept_whatever_the_period() -> None:
    rows = [row(0), row(10), row(20, run=1), row(30, run=1), row(60, run=1)]

    assert kept(Plan(period_s=60), rows) == [0, 20, 60]


def test_a_dead_band_leaves_out_what_says_nothing_new() -> None:
    levels = [0.500, 0.504, 0.495, 0.506, 0.507, 0.512]
    rows = [row(10 * i, level) for i, level in enumerate(levels)]

    assert kept(Plan(dead_band={"level_m": 0.0055}, heartbeat_s=600), rows) == [0, 30, 50]


def test_a_value_that_vanishes_is_news_and_a_quiet_site_still_beats() -> None:
    rows = [row(0), row(10, None), row(20, None), row(30), row(40), row(90)]

    assert kept(Plan(dead_band={"level_m": 0.1}, heartbeat_s=60), rows) == [0, 10, 30, 90]


def test_edges_of_the_source_pass_at_once() -> None:
    edge = Edge(5, "pump1_run", 1)
    sampled = Sampler(Plan(), SIGNALS).take([row(0), edge], 0)

    assert (sampled.batches, sampled.edges) == ([], [edge])


def test_edges_are_derived_from_states_only_where_asked_for() -> None:
    rows = [row(0), row(10, run=1), row(20, run=None), row(30, run=1), row(40, run=0)]

    assert Sampler(Plan(), SIGNALS).take(rows, 0).edges == []
    assert Sampler(Plan(), SIGNALS, derive_edges=True).take(rows, 0).edges == [
        Edge(10_000, "pump1_run", 1),
        Edge(40_000, "pump1_run", 0),
    ]


def test_a_source_with_edges_of_its_own_ends_the_deriving() -> None:
    sampler = Sampler(Plan(), SIGNALS, derive_edges=True)
    sampler.take([row(0), Edge(1, "power_ok", 1)], 0)

    assert sampler.take([row(10, run=1)], 0).edges == []


def test_the_open_batch_leaves_with_the_power() -> None:
    sampler = Sampler(Plan(), SIGNALS)
    sampler.take([row(0)], 0)

    assert sampler.take([Edge(1, "power_ok", 0)], 0).batches == [[row(0)]]


def test_cleaning_makes_missing_what_is_no_number_and_counts_it() -> None:
    values = {"a": 1, "b": math.nan, "c": math.inf, "d": None, "e": "x", "f": True, "g": 10**400}
    clean, lost = cleaned(Reading(5, values))  # type: ignore[arg-type]

    assert clean == Reading(
        5, {"a": 1, "b": None, "c": None, "d": None, "e": None, "f": 1, "g": None}
    )
    assert lost == 4
    assert cleaned(Reading(-1, {})) == (None, 0)
    assert cleaned(Reading(1.5, {})) == (None, 0)  # type: ignore[arg-type]
