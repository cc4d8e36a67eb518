"""Control charts: slow and small losses are heard, noise and single shocks are not."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.diagnosis.charts import Chart, CountChart
from pumpwatch.diagnosis.settings import DiagnosisSettings

S = DiagnosisSettings()
HOUR = 3_600_000


def run(chart: Chart, values: list[float]) -> int | None:
    for n, z in enumerate(values):
        chart.add(z, n * 12 * HOUR, slack=S.slack, limit=S.limit, clip=S.clip)
        if chart.fires(-1, S.limit, S.persistence):
            return n
    return None


def test_one_shock_alone_never_speaks() -> None:
    assert run(Chart(), [0.0, -1e9, 0.0, 0.0]) is None


@given(st.integers(0, 2**32 - 1))
def test_half_a_year_of_healthy_half_days_is_quiet(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0, 0.8, 360).tolist()
    assert run(Chart(), values) is None


def test_a_steady_loss_is_heard_and_dated() -> None:
    chart = Chart()
    values = [0.1] * 10 + [-0.4 * k for k in range(20)]
    at = run(chart, values)
    assert at is not None
    assert 12 <= at <= 20
    assert 9 * 12 * HOUR <= chart.since_ms <= 14 * 12 * HOUR


def test_a_repair_ends_it_within_days() -> None:
    chart = Chart()
    run(chart, [-5.0] * 40)
    for n in range(3):
        chart.add(0.0, n, slack=S.slack, limit=S.limit, clip=S.clip)
    assert not chart.fires(-1, S.limit, S.persistence)
    assert abs(chart.level) < S.clear_sigma


def count(hits: list[bool], step_h: float = 1.0) -> bool:
    chart = CountChart()
    fired = False
    for n, hit in enumerate(hits):
        chart.add(
            hit, int(n * step_h * HOUR), base=S.count_floor, rate=S.count_rate, limit=S.count_limit
        )
        fired = fired or chart.fires(S.count_limit, int(S.count_span_h * HOUR))
    return fired


def test_odd_cycles_close_together_in_one_visit_are_not_enough() -> None:
    assert not count([True] * 20 + [False] * 100, step_h=0.1)


def test_a_few_odd_cycles_a_day_are_enough() -> None:
    assert count(([True] + [False] * 7) * 4)


def test_one_in_a_thousand_is_nothing() -> None:
    assert not count(([True] + [False] * 999) * 5)


def test_an_excursion_that_begins_with_the_first_value_is_dated_there() -> None:
    chart, count = Chart(), CountChart()
    for n in range(1, 4):
        chart.add(-3.0, n * HOUR, slack=S.slack, limit=S.limit, clip=S.clip)
        count.add(True, n * HOUR, base=0.01, rate=0.1, limit=S.count_limit)
    assert (chart.since_ms, count.since_ms) == (HOUR, HOUR)
