"""Present facts: found in time, stamped alike whoever notices, silent about what is harmless."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.diagnosis.present import PresentFacts, PresentSettings, PresentState
from pumpwatch.domain.alerts import Finding, Kind, Severity
from pumpwatch.domain.faults import CONDITION_FAULTS, FAULT_GROUP
from pumpwatch.domain.features import FEATURE_UNITS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import Site

KEY = SiteKey("default", "mh0001")
SITE = Site(
    "mh0001",
    sample_s=60,
    well_depth_m=3.0,
    stop_level_m=0.4,
    start_level_m=1.2,
    lag_start_level_m=1.5,
    high_level_m=1.9,
)
MIN = 60_000
HOUR = 60 * MIN
DAY = 24 * HOUR
T0 = 1_700_000_000_000 // DAY * DAY


def record(minutes: int, *, seed: int = 0, period_min: int = 1) -> dict[str, Any]:
    """A healthy station: fills in 20 min, empties in 4, 3 mm of noise on a 1 mm transmitter."""
    t = np.arange(0, minutes, period_min)
    phase = t % 24
    level = np.where(phase < 20, 0.4 + 0.04 * phase, 1.2 - 0.2 * (phase - 20))
    level = np.round(level + np.random.default_rng(seed).normal(0, 0.003, len(t)), 3)
    running = (phase >= 20).astype(float)
    return {
        "t": T0 + t * MIN,
        "level_m": level,
        "pump1_run": running * (t // 24 % 2),
        "pump2_run": running * (1 - t // 24 % 2),
        "power_ok": np.ones(len(t)),
        "high_level": np.zeros(len(t)),
    }


def chunk(raw: Mapping[str, Any], rows: Any = slice(None)) -> Chunk:
    signals = {k: np.asarray(v, dtype=float)[rows] for k, v in raw.items() if k != "t"}
    return Chunk(np.asarray(raw["t"], dtype=np.int64)[rows], signals)


def findings(
    raw: Mapping[str, Any], site: Site = SITE, edges: Sequence[Edge] = ()
) -> list[Finding]:
    return PresentFacts(KEY, site).feed(chunk(raw), edges)


def story(found: Sequence[Finding]) -> list[tuple[str, str, float]]:
    """(cause, phase, minutes since the start)"""
    return [(f.cause, str(f.phase), (f.t_ms - T0) / MIN) for f in found]


def without(raw: Mapping[str, Any], first: int, last: int) -> dict[str, Any]:
    """The record with the rows first ... last - 1 missing."""
    keep = np.r_[0:first, last : len(raw["t"])]
    return {k: np.asarray(v)[keep] for k, v in raw.items()}


def test_a_healthy_month_says_nothing() -> None:
    assert findings(record(30 * 1440)) == []


def test_an_outage_is_an_alarm_and_critical_once_the_level_rises() -> None:
    raw = record(600)
    raw["power_ok"][240:300] = 0  # from a stop on: the level begins at 0.4 m
    raw["level_m"][240:300] = 0.4 + 0.01 * np.arange(60)
    found = findings(raw)
    assert story(found) == [
        ("power", "opened", 240.5),
        ("power", "worsened", 250.0),
        ("power", "resolved", 302.0),
    ]
    assert [f.severity for f in found] == [Severity.ALARM, Severity.CRITICAL, Severity.CRITICAL]
    assert found[0].kind is Kind.CONDITION
    assert found[0].fault == ("power_outage",)
    assert found[1].evidence["since"] == "2023-11-14T04:00:00Z"


def test_an_outage_that_an_edge_tells_ahead_of_the_rows_is_critical_at_the_same_rise() -> None:
    raw = record(600)
    raw["power_ok"][240:300] = 0
    raw["level_m"][237:300] = 0.8, 0.7, 0.4, *(0.4 + 0.01 * np.arange(60))
    lost = Edge(T0 + 240 * MIN - 1_000, "power_ok", 0)
    facts = PresentFacts(KEY, SITE)
    found = facts.feed(chunk(raw, slice(0, 238)))
    found += facts.feed(chunk(raw, slice(0)), [lost])
    found += facts.feed(chunk(raw, slice(238, None)))
    assert found == findings(raw, edges=[lost])
    assert [f.severity for f in found][1:] == [Severity.CRITICAL, Severity.CRITICAL]


def test_an_outage_above_the_start_level_is_critical_at_once() -> None:
    raw = record(400)
    raw["power_ok"][240:] = 0
    raw["level_m"][235:] = 1.25
    assert [f.severity for f in findings(raw)][:1] == [Severity.CRITICAL]


def test_a_flicker_of_the_mains_is_no_outage() -> None:
    raw = record(400)
    edges = [
        Edge(T0 + 200 * MIN + 5_000, "power_ok", 0),
        Edge(T0 + 200 * MIN + 20_000, "power_ok", 1),
    ]
    assert findings(raw, edges=edges) == []


def test_a_short_high_level_that_only_late_edges_tell_is_told_all_the_same() -> None:
    facts = PresentFacts(KEY, SITE)
    assert facts.feed(chunk(record(400))) == []
    began = T0 + 200 * MIN + 5_000
    assert facts.feed(chunk({"t": []}), [Edge(began, "high_level", 1)]) == []
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(facts.state), type=PresentState)
    found = PresentFacts(KEY, SITE, None, kept).feed(
        chunk({"t": []}), [Edge(began + 40_000, "high_level", 0)]
    )
    assert [(f.phase, f.t_ms - began) for f in found] == [("opened", 5_000), ("resolved", 160_000)]
    assert found[0].severity is Severity.CRITICAL


def test_it_is_told_though_its_end_comes_before_its_beginning() -> None:
    facts, began = PresentFacts(KEY, SITE), T0 + 200 * MIN + 5_000
    assert facts.feed(chunk(record(400))) == []
    assert facts.feed(chunk({"t": []}), [Edge(began + 40_000, "high_level", 0)]) == []
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(facts.state), type=PresentState)
    facts = PresentFacts(KEY, SITE, None, kept)
    found = facts.feed(chunk({"t": []}), [Edge(began, "high_level", 1)])
    assert [(f.phase, f.t_ms - began) for f in found] == [("opened", 5_000), ("resolved", 160_000)]
    later = [Edge(began + 3 * MIN, "high_level", 1), Edge(began + 4 * MIN, "high_level", 0)]
    found = facts.feed(chunk({"t": []}), later)
    assert [f.t_ms - began for f in found] == [185_000, 360_000]


def test_it_is_told_though_its_end_comes_with_the_rows_after_it_and_its_beginning_later() -> None:
    facts, began = PresentFacts(KEY, SITE), T0 + 200 * MIN + 5_000
    raw = record(400)
    before, after = ({n: v[part] for n, v in raw.items()} for part in (slice(200), slice(220, 400)))
    assert facts.feed(chunk(before)) == []
    assert facts.feed(chunk(after), [Edge(began + 40_000, "high_level", 0)]) == []
    found = facts.feed(chunk({"t": []}), [Edge(began, "high_level", 1)])
    assert [(f.phase, f.t_ms - began) for f in found] == [("opened", 5_000), ("resolved", 160_000)]


def test_the_end_of_one_episode_is_not_that_of_a_later_one() -> None:
    facts, over = PresentFacts(KEY, SITE), T0 + 200 * MIN
    assert facts.feed(chunk(record(400))) == []
    assert facts.feed(chunk({"t": []}), [Edge(over, "high_level", 0)]) == []
    assert facts.feed(chunk({"t": []}), [Edge(over + 10 * MIN, "high_level", 1)]) == []
    found = facts.feed(chunk({"t": []}), [Edge(over + 11 * MIN, "high_level", 0)])
    assert [f.t_ms - over for f in found] == [605_000, 780_000]


@pytest.mark.parametrize("turn", [1, -1])
def test_late_edges_of_an_episode_that_rows_have_told_say_nothing_new(turn: int) -> None:
    facts = PresentFacts(KEY, SITE)
    raw = record(400)
    raw["high_level"][200:210] = 1
    told = story(facts.feed(chunk(raw)))
    assert [phase for _, phase, _ in told] == ["opened", "resolved"]
    edges = [
        Edge(T0 + 199 * MIN + 50_000, "high_level", 1),
        Edge(T0 + 209 * MIN + 50_000, "high_level", 0),
    ]
    assert [f for edge in edges[::turn] for f in facts.feed(chunk({"t": []}), [edge])] == []


def test_an_outage_reported_by_an_edge_as_the_last_word_is_found_by_the_clock() -> None:
    facts = PresentFacts(KEY, SITE)
    at = T0 + 99 * MIN + 7_000
    assert facts.feed(chunk(record(100)), [Edge(at, "power_ok", 0)]) == []
    assert facts.tick(at + 29_000) == []
    found = facts.tick(at + 400_000)
    assert [(f.cause, f.t_ms) for f in found] == [("power", at + 30_000)]


def test_silence_after_a_lost_supply_is_not_a_second_alert() -> None:
    raw = record(600)
    raw["power_ok"][240:250] = 0
    raw = without(raw, 250, 400)
    assert [(c, p) for c, p, _ in story(findings(raw))] == [
        ("power", "opened"),
        ("power", "worsened"),
        ("power", "resolved"),
    ]


def test_silence_is_stamped_last_sample_plus_timeout_by_the_next_sample() -> None:
    found = findings(without(record(600), 200, 300))
    assert story(found) == [("comms", "opened", 229.0), ("comms", "resolved", 300.0)]
    assert found[0].evidence["since"] == "2023-11-14T03:19:00Z"
    assert found[0].fault == ("comms_gap",)


def test_the_clock_finds_silence_with_the_same_stamp() -> None:
    facts = PresentFacts(KEY, SITE)
    raw = record(600)
    assert facts.feed(chunk(raw, slice(0, 200))) == []
    assert facts.tick(T0 + 228 * MIN) == []
    live = facts.tick(T0 + 240 * MIN)
    assert facts.tick(T0 + 250 * MIN) == []
    live += facts.feed(chunk(raw, slice(300, 600)))
    assert live == findings(without(raw, 200, 300))


def test_an_old_backlog_after_a_silence_does_not_end_it_and_raises_no_other() -> None:
    facts, raw = PresentFacts(KEY, SITE), record(600)
    facts.feed(chunk(raw, slice(0, 200)))
    assert story(facts.tick(T0 + 400 * MIN)) == [("comms", "opened", 229.0)]
    assert facts.feed(chunk(raw, slice(200, 300))) == []
    assert facts.tick(T0 + 401 * MIN) == []
    assert story(facts.feed(chunk(raw, slice(300, 401)))) == [("comms", "resolved", 371.0)]


def test_short_gaps_are_harmless() -> None:
    assert findings(without(record(600), 200, 228)) == []


def test_a_slow_site_may_be_silent_for_twenty_periods() -> None:
    site = Site("mh0001", sample_s=600)
    raw = record(3000, period_min=10)
    assert findings(without(raw, 100, 118), site) == []
    assert story(findings(without(raw, 100, 130), site))[0] == ("comms", "opened", 990 + 200)


def test_the_float_is_critical_until_it_has_been_down_for_two_minutes() -> None:
    raw = record(300)
    raw["high_level"][100:110] = 1
    raw["high_level"][111:120] = 1
    found = findings(raw)
    assert [(c, p, round(m, 2)) for c, p, m in story(found)] == [
        ("high_level", "opened", 100.08),
        ("high_level", "resolved", 122.0),
    ]
    assert {f.severity for f in found} == {Severity.CRITICAL}


def test_without_a_float_the_level_itself_tells_that_it_is_high() -> None:
    raw = record(300)
    del raw["high_level"]
    raw["level_m"][100:110] = 2.0
    raw["level_m"][110:120] = 1.88  # inside the margin
    raw["pump1_run"][100:120] = 1
    assert [(c, round(m)) for c, _, m in story(findings(raw))] == [
        ("high_level", 100),
        ("high_level", 122),
    ]


def test_a_level_at_the_cover_is_an_overflow_and_a_spike_is_not() -> None:
    raw = record(300)
    raw["level_m"][50] = 3.1
    raw["level_m"][100:110] = 3.0 + 0.001 * np.arange(10)
    raw["pump1_run"][100:110] = 1
    assert story(findings(raw)) == [("overflow", "opened", 101.5), ("overflow", "resolved", 115.0)]


def frozen(first: int, last: int, minutes: int = 3 * 1440) -> dict[str, Any]:
    raw = record(minutes)
    raw["level_m"][first:last] = raw["level_m"][first]
    return raw


def test_a_level_that_stands_while_pumps_start_and_stop_is_frozen() -> None:
    found = findings(frozen(2003, 2040))
    assert story(found)[0] == ("frozen_level", "opened", 2023.0)
    assert found[0].kind is Kind.PREDICTIVE
    assert found[0].fault[0] == "frozen_level"
    assert found[0].evidence["pump_switches"] == 2
    assert found[0].evidence["since"] == "2023-11-15T09:23:00Z"


def test_a_level_that_stands_for_an_hour_is_worse_and_two_quiet_days_end_it() -> None:
    found = findings(frozen(2000, 2070, 6 * 1440))
    assert story(found) == [
        ("frozen_level", "opened", 2020.0),
        ("frozen_level", "worsened", 2060.0),
        ("frozen_level", "resolved", 2069.0 + 2880),
    ]


def test_freezing_again_the_next_day_is_the_same_episode() -> None:
    raw = frozen(2000, 2030, 6 * 1440)
    raw["level_m"][3500:3530] = raw["level_m"][3500]
    assert [(c, p) for c, p, _ in story(findings(raw))] == [
        ("frozen_level", "opened"),
        ("frozen_level", "resolved"),
    ]


def test_long_constant_readings_are_normal_where_they_are_usual() -> None:
    raw = record(10 * 1440)
    for night in range(10):  # no inflow for half an hour every night
        raw["level_m"][night * 1440 + 100 : night * 1440 + 130] = 0.9
        for pump in ("pump1_run", "pump2_run"):
            raw[pump][night * 1440 + 100 : night * 1440 + 130] = 0
    assert findings(raw) == []


def test_a_storm_may_hold_the_level_still_above_the_lag_start() -> None:
    raw = record(2 * 1440)
    raw["level_m"][1000:1060] = 1.7
    raw["pump1_run"][1000:1060] = raw["pump2_run"][1000:1060] = 1
    assert findings(raw) == []


def test_a_pump_that_runs_dry_at_the_bottom_does_not_stop_and_the_transmitter_is_not_frozen() -> (
    None
):
    raw = record(2 * 1440)
    raw["level_m"][1000:1090] = 0.0
    raw["pump1_run"][1000:1090] = 1
    found = findings(raw)
    assert story(found) == [("dry_run:pump1", "opened", 1020), ("dry_run:pump1", "resolved", 1100)]
    assert (found[0].fault, found[0].target) == (("stuck_on",), "pump1")


def test_a_pump_that_dips_below_the_stop_level_for_minutes_is_no_news() -> None:
    raw = record(2 * 1440)
    raw["level_m"][1000:1015] = 0.3
    raw["pump1_run"][1000:1015] = 1
    assert findings(raw) == []


@pytest.mark.parametrize(
    ("control", "fault"), [("level", "phase_loss"), ("float", "float_hangup"), (None, "phase_loss")]
)
def test_a_well_at_its_alarm_level_whose_pumps_stand_is_told_by_what_holds_them(
    control: str | None, fault: str
) -> None:
    raw = record(300)
    raw["level_m"][100:130] = 1.9 + 0.01 * np.arange(30)
    raw["pump1_run"][100:130] = raw["pump2_run"][100:130] = 0
    found = [f for f in findings(raw, replace(SITE, control=control)) if f.kind is Kind.PREDICTIVE]
    assert story(found) == [("unanswered", "opened", 105), ("unanswered", "resolved", 131)]
    assert found[0].fault == (fault,)


def test_an_only_pump_that_lets_the_well_rise_to_the_alarm_is_itself_out_of_service() -> None:
    raw = record(300)
    del raw["pump2_run"]
    raw["level_m"][100:130] = 1.9 + 0.01 * np.arange(30)
    raw["pump1_run"][100:130] = 0
    only = replace(SITE, pumps=1, control="float")
    found = [f for f in findings(raw, only) if f.cause == "unanswered"]
    assert [(f.fault, f.target) for f in found] == [(("pump_out_of_service",), "pump1")] * 2


def test_pumps_that_stand_in_a_power_cut_by_hand_or_at_an_open_door_are_not_called_dead() -> None:
    for signal, now in (("power_ok", 0), ("mode_auto", 0), ("door_open", 1)):
        raw = record(300)
        raw["level_m"][100:130] = 1.95
        raw["pump1_run"][100:130] = raw["pump2_run"][100:130] = 0
        raw[signal] = np.full(300, 1 - now)
        raw[signal][95:130] = now
        assert not [f for f in findings(raw) if f.cause == "unanswered"]


def test_a_transmitter_that_lies_at_zero_while_nothing_runs_has_failed() -> None:
    raw = record(2 * 1440)
    raw["level_m"][1000:] = 0.0
    raw["pump1_run"][1000:] = raw["pump2_run"][1000:] = 0
    found = findings(raw)
    assert story(found)[0] == ("frozen_level", "opened", 1060.0)
    assert found[0].fault == ("sensor_failed", "frozen_level")


@pytest.mark.parametrize("value", [np.nan, -1.5, 40.0])
def test_a_transmitter_that_says_nothing_sound_for_an_hour_has_failed(value: float) -> None:
    raw = record(600)
    raw["level_m"][100:200] = value
    assert story(findings(raw)) == [
        ("sensor_failed", "opened", 155.0),
        ("sensor_failed", "resolved", 210.0),
    ]


def test_blank_levels_now_and_then_are_harmless() -> None:
    raw = record(2 * 1440)
    raw["level_m"][::7] = np.nan
    raw["level_m"][500:550] = np.nan
    assert findings(raw) == []


def test_a_site_without_a_transmitter_has_none_that_fails() -> None:
    raw = record(600)
    raw["level_m"][:] = np.nan
    assert findings(raw) == []
    del raw["level_m"]
    assert findings(raw) == []


def test_contacts_that_mean_the_same_make_one_fact_with_its_pump() -> None:
    raw = record(300)
    raw["pump1_fault"] = np.zeros(300)
    raw["pump1_overload"] = np.zeros(300)
    raw["pump1_overload"][100:150] = 1
    raw["pump1_fault"][101:160] = 1
    found = findings(raw)
    assert [(c, round(m)) for c, _, m in story(found)] == [
        ("contact:pump1_fault", 100),
        ("contact:pump1_fault", 161),
    ]
    assert (found[0].fault, found[0].target) == (("pump_trip",), "pump1")
    assert found[0].severity is Severity.ALARM
    assert found[0].evidence["contacts"] == ["pump1_overload"]


def test_the_last_pump_that_trips_is_critical() -> None:
    raw = record(300)
    for n, first in ((1, 100), (2, 200)):
        raw[f"pump{n}_thermal"] = np.zeros(300)
        raw[f"pump{n}_thermal"][first:] = 1
    assert [(f.target, f.severity) for f in findings(raw)] == [
        ("pump1", Severity.ALARM),
        ("pump2", Severity.CRITICAL),
    ]


def test_seal_water_is_maintenance_work() -> None:
    raw = record(300)
    raw["pump2_seal"] = np.zeros(300)
    raw["pump2_seal"][100:] = 1
    (found,) = findings(raw)
    assert (found.cause, found.fault, found.severity) == (
        "contact:pump2_seal",
        ("seal_leak",),
        Severity.WARNING,
    )


def test_a_pump_left_in_manual_is_told_four_hours_after_the_crew_left() -> None:
    raw = record(900)
    raw["mode_auto"] = np.ones(900)
    raw["mode_auto"][100:800] = 0
    raw["door_open"] = np.zeros(900)
    raw["door_open"][90:200] = 1
    assert story(findings(raw)) == [
        ("left_in_manual", "opened", 440.0),
        ("left_in_manual", "resolved", 805.0),
    ]


def test_repeated_and_late_rows_change_nothing() -> None:
    raw = record(2000)
    order = np.r_[0:500, 400:700, 650, 650, 700:2000]
    again = {k: np.asarray(v)[order] for k, v in raw.items()}
    raw["power_ok"][1000:1200] = again["power_ok"][(order >= 1000) & (order < 1200)] = 0
    assert findings(again) == findings(raw)


def test_a_clock_set_back_is_told_and_the_facts_go_on_from_there() -> None:
    raw = record(3000)
    raw["t"] = np.r_[raw["t"][:1500], raw["t"][1500:] - 2 * DAY]
    raw["high_level"][2500:2510] = 1
    found = findings(raw)
    assert [(f.cause, str(f.phase)) for f in sorted(found, key=lambda f: (f.cause, f.t_ms))] == [
        ("clock_error", "opened"),
        ("clock_error", "resolved"),
        ("high_level", "opened"),
        ("high_level", "resolved"),
    ]
    assert found[0].severity is Severity.WARNING


def test_a_clock_set_back_is_told_alike_when_rows_come_one_message_at_a_time() -> None:
    raw = record(3000)
    raw["t"] = np.r_[raw["t"][:1500], raw["t"][1500:] - 2 * DAY]
    facts, parts = PresentFacts(KEY, SITE), []
    for first in range(0, 3000, 37):
        parts += facts.feed(chunk(raw, slice(first, first + 37)))
    assert ordered(parts) == ordered(findings(raw))
    assert "clock_error" in {f.cause for f in parts}


def test_rows_from_the_future_are_told_by_the_clock() -> None:
    facts = PresentFacts(KEY, SITE)
    facts.feed(chunk(record(100)))
    assert [f.cause for f in facts.tick(T0 + 20 * MIN)] == ["clock_error"]
    assert facts.tick(T0 + 21 * MIN) == []
    assert story(facts.tick(T0 + 96 * MIN)) == []
    assert story(facts.tick(T0 + 160 * MIN))[0] == ("comms", "opened", 129.0)


def test_an_empty_chunk_says_nothing() -> None:
    facts = PresentFacts(KEY, SITE)
    assert facts.feed(Chunk(np.zeros(0, np.int64), {})) == []
    assert facts.tick(T0) == []


def eventful(seed: int) -> tuple[dict[str, Any], list[Edge]]:
    """Four days with nearly everything in them."""
    rng = np.random.default_rng(seed)
    n = 4 * 1440
    raw = record(n, seed=seed)
    names = ("pump1_fault", "pump2_seal", "door_open", "mode_auto")
    raw |= {name: np.full(n, float(name == "mode_auto")) for name in names}

    def some(most: int) -> slice:
        first = int(rng.integers(0, n))
        return slice(first, first + int(rng.integers(1, most)))

    for _ in range(3):
        raw["power_ok"][some(60)] = 0
        raw["high_level"][some(20)] = 1
        raw["pump1_fault"][some(100)] = 1
        raw["pump2_seal"][some(100)] = np.nan
        raw["level_m"][some(150)] = np.nan
        raw["level_m"][some(10)] += 2.5
        raw["level_m"][some(120)] = 0.777
        raw["level_m"][some(120)] = 0.05
        raw["mode_auto"][some(400)] = 0
        raw["door_open"][some(100)] = 1
    keep = np.ones(n, dtype=bool)
    for _ in range(3):
        keep[some(90)] = False
    raw = {k: np.asarray(v)[keep] for k, v in raw.items()}
    edges = [
        Edge(T0 + int(t), str(rng.choice(["power_ok", "high_level"])), float(rng.integers(0, 2)))
        for t in np.sort(rng.integers(0, n * MIN, 8))
    ]
    return raw, edges


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.floats(0, 1), max_size=12),
    with_edges=st.booleans(),
)
def test_the_findings_are_the_same_however_the_record_is_split_and_the_state_is_kept(
    seed: int, cuts: list[float], with_edges: bool
) -> None:
    raw, edges = eventful(seed)
    edges = edges if with_edges else []
    n = len(raw["t"])
    whole = findings(raw, edges=edges)
    borders = [0, *sorted({int(c * n) for c in cuts}), n]
    state, parts = PresentState(), []
    for i, j in pairwise(borders):
        if i == j:
            continue
        facts = PresentFacts(KEY, SITE, PresentSettings(), state)
        after = -np.inf if i == 0 else raw["t"][i - 1]
        until = np.inf if j == n else raw["t"][j - 1]
        told = [e for e in edges if after < e.t_ms <= until]
        parts += facts.feed(chunk(raw, slice(i, j)), told)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(facts.state), type=PresentState)
    assert ordered(parts) == ordered(whole)


def ordered(found: Sequence[Finding]) -> list[Finding]:
    return sorted(found, key=lambda f: (f.t_ms, f.cause, str(f.phase)))


@pytest.mark.parametrize("seed", range(8))
def test_every_finding_speaks_the_closed_vocabulary_in_order(seed: int) -> None:
    raw, edges = eventful(seed)
    found = findings(raw, edges=edges)
    assert found
    open_causes: set[str] = set()
    for f in found:
        assert f.fault[0] in FAULT_GROUP
        assert (f.kind is Kind.CONDITION) == (f.fault[0] in CONDITION_FAULTS)
        assert all(s["feature"] in FEATURE_UNITS for s in f.evidence["signs"])  # type: ignore
        assert (f.phase == "opened") == (f.cause not in open_causes)
        open_causes ^= {f.cause} if f.phase != "worsened" else set()
        msgspec.json.encode(f.to_line())


@pytest.mark.parametrize(
    ("limit", "cause", "level_m"),
    [("high_level_m", "high_level", 2.0), ("well_depth_m", "overflow", 3.1)],
)
def test_a_fact_ends_when_people_take_its_limit_away(
    limit: str, cause: str, level_m: float
) -> None:
    raw = {"t": T0 + np.arange(120) * MIN, "level_m": level_m + 0.001 * (np.arange(120) % 7)}
    before = PresentFacts(KEY, SITE)
    found = before.feed(chunk(raw, slice(0, 60)))
    assert cause in {f.cause for f in found if f.phase == "opened"}
    after = PresentFacts(KEY, replace(SITE, **{limit: None}), None, before.state)
    found = after.feed(chunk(raw, slice(60, None)))
    assert [(f.phase, f.cause) for f in found if f.cause == cause] == [("resolved", cause)]
