"""Read models: what needs attention first, gaps shown as gaps, evidence around its beginning."""

from dataclasses import replace

import numpy as np
import pytest

from pumpwatch.domain.actors import LOCAL, SYSTEM
from pumpwatch.domain.alerts import Alert, Kind, Severity, Step, Transition, alert_id, iso_utc
from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS, ManualClock, ScaledClock
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.errors import NotFound, StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import AlertChange
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import Site
from pumpwatch.services.queries import Attention, Queries, Span, signs_of, since_of
from pumpwatch.stores.memory import MemoryLedger, MemorySeries

NOW = 1_800_000_000_000 - 1_800_000_000_000 % DAY_MS
A = SiteKey("t", "a")


class Rig:
    """A ledger, a series store and a clock that stands at NOW."""

    def __init__(self):
        self.ledger, self.series, self.clock = MemoryLedger(), MemorySeries(), ManualClock(NOW)
        self.queries = Queries(self.ledger, self.ledger, self.series, self.clock)

    def site(self, name, age_ms=5_000, tenant="t", **fields):
        key = SiteKey(tenant, name)
        self.ledger.put_site(key, Site(name, **fields), LOCAL, 0)
        if age_ms is not None:
            self.write(key, [NOW - age_ms], level_m=[1.0])
        return key

    def write(self, key, times, **signals):
        columns = {k: np.array(v, float) for k, v in signals.items()}
        self.series.write([(key, Chunk(np.array(times, np.int64), columns))], 1)

    def alert(self, key, severity=Severity.WARNING, cause="c", taken=False, **more):
        opened = more.pop("opened_ms", NOW - HOUR_MS)
        alert = Alert(
            alert_id(key, cause, opened), key, cause, more.pop("kind", Kind.PREDICTIVE), severity,
            ("pump_wear",), more.pop("target", "pump1"), 0.9, more.pop("evidence", {}), opened,
            opened, acknowledged_ms=NOW if taken else None, **more,
        )  # fmt: skip
        opening = Transition(1, Step.OPENED, opened, opened, SYSTEM, severity, alert.fault)
        self.ledger.commit_assessment([], [AlertChange(alert, [opening])], [])
        return alert

    def cycles(self, key, rows):
        self.ledger.commit_assessment([], [], [(key, row) for row in rows])


@pytest.fixture
def rig():
    return Rig()


def test_what_needs_attention_comes_first(rig):
    for name in ("z", "calm"):
        rig.site(name)
    rig.site("silent", age_ms=2 * HOUR_MS)
    rig.alert(rig.site("noticed"), Severity.INFO)
    rig.alert(rig.site("warned-taken"), Severity.WARNING, taken=True)
    rig.alert(rig.site("warned"), Severity.WARNING)
    rig.alert(rig.site("alarmed"), Severity.ALARM)
    rig.alert(rig.site("critical-taken"), Severity.CRITICAL, taken=True)
    rig.alert(rig.site("critical"), Severity.CRITICAL)
    assert [row.name for row in rig.queries.fleet().rows] == [
        "critical", "critical-taken", "alarmed", "warned", "warned-taken", "silent", "noticed",
        "calm", "z",
    ]  # fmt: skip


def test_the_worst_open_alert_speaks_for_a_station(rig):
    key = rig.site("a")
    rig.alert(key, Severity.ALARM, "x", taken=True)
    rig.alert(key, Severity.ALARM, "y")
    rig.alert(key, Severity.WARNING, "z")
    (row,) = rig.queries.fleet().rows
    assert [a.cause for a in row.alerts] == ["y", "x", "z"]
    assert (row.attention, row.acknowledged) == (Attention.ALARM, False)


def test_counts_add_up(rig):
    rig.alert(rig.site("a"), Severity.ALARM)
    rig.site("b")
    rig.site("c", age_ms=None)
    counts = rig.queries.fleet().counts
    assert sum(counts.values()) == 3
    assert (counts[Attention.ALARM], counts[Attention.SILENT], counts[Attention.NORMAL]) == (
        1,
        1,
        1,
    )


@pytest.mark.parametrize(
    ("age_ms", "sample_s", "silent"),
    [
        (14 * MINUTE_MS, None, False),
        (16 * MINUTE_MS, None, True),
        (16 * MINUTE_MS, 300, False),
        (51 * MINUTE_MS, 300, True),
        (None, None, True),
        (-5_000, None, False),
    ],
)
def test_a_station_is_silent_by_its_own_expectation(rig, age_ms, sample_s, silent):
    rig.site("a", age_ms=age_ms, sample_s=sample_s)
    assert rig.queries.fleet().rows[0].silent is silent


def test_where_time_runs_faster_the_road_gets_its_real_seconds(rig):
    rig.site("late", age_ms=2 * HOUR_MS)
    rig.site("gone", age_ms=4 * HOUR_MS)
    fast = ScaledClock(NOW, 600, ManualClock())
    fleet = Queries(rig.ledger, rig.ledger, rig.series, fast).fleet()
    assert [(r.name, r.silent) for r in fleet.rows] == [("gone", True), ("late", False)]


def test_a_tenant_sees_only_its_own(rig):
    rig.site("a", tenant="one")
    rig.site("a", tenant="two")
    assert [row.key.tenant for row in rig.queries.fleet("one").rows] == ["one"]


def test_without_the_time_series_store_nobody_is_called_silent(rig, monkeypatch):
    rig.alert(rig.site("a"))

    def away(keys):
        raise StoreUnavailable("series.db does not open")

    monkeypatch.setattr(rig.series, "latest", away)
    fleet = rig.queries.fleet()
    assert fleet.series_down == "series.db does not open"
    assert not fleet.rows[0].silent
    assert fleet.rows[0].attention is Attention.WARNING


def test_an_empty_fleet_is_a_fleet(rig):
    assert rig.queries.fleet().rows == ()


# -- one station -----------------------------------------------------------------------------------


def test_a_gap_in_the_level_is_a_gap(rig):
    key = rig.site("a", age_ms=None)
    times = [t for t in range(NOW - DAY_MS, NOW, MINUTE_MS) if not 6 <= (NOW - t) / HOUR_MS < 8]
    rig.write(key, times, level_m=[1.0] * len(times))
    (gap,) = rig.queries.site(key).level.gaps
    assert gap.end_ms - gap.start_ms == pytest.approx(2 * HOUR_MS, abs=10 * MINUTE_MS)


def test_slow_sampling_is_not_a_gap(rig):
    key = rig.site("a", age_ms=None, sample_s=600)
    times = list(range(NOW - DAY_MS, NOW, 10 * MINUTE_MS))
    rig.write(key, times, level_m=[1.0] * len(times))
    assert rig.queries.site(key).level.gaps == ()


def test_silence_up_to_now_is_a_gap(rig):
    key = rig.site("a", age_ms=5 * HOUR_MS)
    gaps = rig.queries.site(key).level.gaps
    assert gaps[-1].end_ms == NOW
    assert gaps[-1].end_ms - gaps[-1].start_ms > 4 * HOUR_MS


def test_a_day_without_any_sample_is_one_gap(rig):
    key = rig.site("a", age_ms=None)
    assert rig.queries.site(key).level.gaps == (Span(NOW - DAY_MS, NOW),)


def runs_of(rig, values, step=MINUTE_MS, times=None):
    key = rig.site("a", age_ms=None)
    times = times or [NOW - HOUR_MS + i * step for i in range(len(values))]
    rig.write(key, times, pump1_run=values)
    origin = NOW - HOUR_MS
    return [
        ((s.start_ms - origin) // step, (s.end_ms - origin) // step)
        for s in rig.queries.site(key).runs[0].spans
    ]


@pytest.mark.parametrize(
    ("values", "runs"),
    [
        ([0, 1, 1, 0], [(1, 3)]),
        ([1, 1, 0, 0], [(0, 2)]),
        ([0, 0, 1, 1], [(2, 3)]),
        ([0, 1, 0, 1, 0], [(1, 2), (3, 4)]),
        ([0, 0, 0], []),
        ([1], [(0, 0)]),
        ([0, 1, np.nan, 1, 0], [(1, 4)]),
    ],
)
def test_runs_are_read_from_the_run_signal(rig, values, runs):
    assert runs_of(rig, values) == runs


def test_a_gap_ends_a_run_at_the_last_sample_before_it(rig):
    times = [NOW - HOUR_MS + m * MINUTE_MS for m in (0, 1, 2, 30, 31, 32)]
    assert runs_of(rig, [0, 1, 1, 1, 1, 0], times=times) == [(1, 2), (30, 32)]


def test_capacity_is_given_by_cycle_and_by_local_day(rig):
    key = rig.site("a")
    # 16:00 UTC is 01:00 of the next day in Japan: the two belong to different days there.
    base = NOW - 3 * DAY_MS
    rig.cycles(
        key,
        [
            CycleRow(base + 14 * HOUR_MS, base + 14 * HOUR_MS + 1, "pump1", "", {"capacity_m3s": 4.0}),
            CycleRow(base + 16 * HOUR_MS, base + 16 * HOUR_MS + 1, "pump1", "", {"capacity_m3s": 6.0}),
            CycleRow(base + 17 * HOUR_MS, base + 17 * HOUR_MS + 1, "pump1", "", {"capacity_m3s": 8.0}),
            CycleRow(base + 18 * HOUR_MS, base + 18 * HOUR_MS + 1, "pump1", "gap", {"capacity_m3s": 99.0}),
            CycleRow(base + 19 * HOUR_MS, base + 19 * HOUR_MS + 1, "pump2", "", {"run_s": 1.0}),
        ],
    )  # fmt: skip
    one, two = rig.queries.site(key).capacity
    assert one.values == (4.0, 6.0, 8.0)
    assert one.day_median == (4.0, 7.0)
    assert two.values == ()


def test_a_station_nobody_approved_is_not_found(rig):
    with pytest.raises(NotFound):
        rig.queries.site(A)


# -- alerts ----------------------------------------------------------------------------------------


def sign(feature, target, now, normal, deviation):
    return {
        "feature": feature, "target": target, "now": now, "normal": normal, "deviation": deviation
    }  # fmt: skip


def test_since_is_what_the_evidence_says(rig):
    alert = rig.alert(rig.site("a"), evidence={"since": iso_utc(NOW - DAY_MS)})
    assert since_of(alert) == NOW - DAY_MS
    assert since_of(replace(alert, evidence={"since": "yesterday"})) == alert.opened_ms
    assert since_of(replace(alert, evidence={})) == alert.opened_ms


def test_odd_evidence_is_passed_over(rig):
    odd = [1, None, {"feature": 3}, {"feature": "run_s", "now": "x", "deviation": float("nan")}]
    alert = rig.alert(rig.site("a"), evidence={"signs": odd})
    (only,) = signs_of(alert)
    assert (only.feature, only.now, only.deviation) == ("run_s", None, 0.0)
    assert signs_of(replace(alert, evidence={"signs": "none"})) == []


def test_the_chart_shows_the_strongest_sign_that_cycles_know(rig):
    key = rig.site("a")
    since = NOW - 3 * DAY_MS
    rows = [
        CycleRow(NOW - h * HOUR_MS, NOW - h * HOUR_MS + 1, "pump1", "", {"capacity_m3s": 0.005})
        for h in range(400, 0, -2)
    ]
    rig.cycles(key, rows)
    signs = [
        sign("run_s", "pump1", 9, 5, 2.0),
        sign("capacity_m3s", "pump1", 0.004, 0.005, -8.0),
        sign("anomaly_p", None, 0.001, None, 20.0),
    ]
    alert = rig.alert(key, evidence={"since": iso_utc(since), "signs": signs})
    chart = rig.queries.alert(alert.id).chart
    assert chart.sign.feature == "capacity_m3s"
    assert [s.pump for s in chart.series] == ["pump1"]
    assert chart.series[0].normal == 0.005
    assert chart.since_ms == since
    assert chart.span.start_ms <= since - 7 * DAY_MS


def test_a_present_fact_shows_the_level_around_its_beginning(rig):
    key = rig.site("a")
    alert = rig.alert(key, kind=Kind.CONDITION, opened_ms=NOW - 2 * HOUR_MS)
    chart = rig.queries.alert(alert.id).chart
    assert chart.level is not None
    assert (chart.span.start_ms, chart.span.end_ms) == (NOW - 8 * HOUR_MS, NOW)


def test_an_alert_survives_the_retirement_of_its_station(rig):
    key = rig.site("a")
    alert = rig.alert(key, kind=Kind.CONDITION)
    rig.ledger.retire_site(key, LOCAL, NOW)
    assert rig.queries.alert(alert.id).site.site == "a"


def test_other_open_alerts_of_the_station_stand_beside(rig):
    key = rig.site("a")
    one, two = rig.alert(key, cause="x"), rig.alert(key, cause="y")
    assert [a.id for a in rig.queries.alert(one.id).others] == [two.id]


def test_open_alerts_come_before_closed_ones(rig):
    key = rig.site("a")
    rig.alert(key, Severity.CRITICAL, "over", resolved_ms=NOW)
    rig.alert(key, Severity.WARNING, "small")
    rig.alert(key, Severity.ALARM, "big")
    assert [i.alert.cause for i in rig.queries.alerts()] == ["big", "small", "over"]
    assert len(rig.queries.alerts(include_resolved=False)) == 2


def test_an_open_alert_is_never_left_out(rig):
    key = rig.site("a")
    rig.alert(key, cause="old", opened_ms=NOW - 300 * DAY_MS)
    for n in range(5):
        rig.alert(key, cause=f"over{n}", opened_ms=NOW - n, resolved_ms=NOW)
    assert [i.alert.cause for i in rig.queries.alerts(limit=2)] == ["old", "over0", "over1"]


def test_an_alert_nobody_has_is_not_found(rig):
    with pytest.raises(NotFound):
        rig.queries.alert("none")
