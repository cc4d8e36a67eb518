"""References, events and steps: what is learnt, what is odd, and what is only new."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pumpwatch.diagnosis import robust
from pumpwatch.diagnosis.calendar import HalfDays
from pumpwatch.diagnosis.charts import Chart
from pumpwatch.diagnosis.episodes import Episode
from pumpwatch.diagnosis.events import Turns, Usual, events_of
from pumpwatch.diagnosis.gates import WetGate
from pumpwatch.diagnosis.halfday import Value
from pumpwatch.diagnosis.judge import Judge, _holding
from pumpwatch.diagnosis.learning import apply_log, keep, set_references
from pumpwatch.diagnosis.references import PumpReference, SiteReference, learn_pump, learn_site
from pumpwatch.diagnosis.seen import NAN, Seen
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.state import AssessorState
from pumpwatch.diagnosis.steps import accept_step
from pumpwatch.diagnosis.strangeness import Strangeness, StrangenessState
from pumpwatch.domain.alerts import Phase, ms_from_iso
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import LogEntry, LogKind, site_from_dict

S = DiagnosisSettings()
HOUR = 3_600_000
NORMAL = Seen(
    start_ms=0, final_ms=HOUR, pump=1, last_pump=1, pumps=1, reason="", flags=0, run_s=300.0, first_s=300.0,
    fill_s=600.0, start_m=1.0, stop_m=0.4, max_m=1.0, inflow=0.001, fill_inflow=0.001, capacity=0.003,
    backflow=0.0, current=3.0, scatter=0.02, rain_mm=0.0, samples=30,
)  # fmt: skip


def history(n: int = 240, **change: float) -> list[tuple[int, Seen]]:
    rng = np.random.default_rng(1)
    out = []
    for k in range(n):
        inflow = 0.001 * math.exp(0.3 * math.sin(k / 4))
        noise = rng.normal(0, 0.02, 4)
        out.append(
            (
                k // 12,
                replace_seen(
                    NORMAL,
                    start_ms=k * HOUR,
                    final_ms=(k + 1) * HOUR,
                    pump=1 + k % 2,
                    inflow=inflow,
                    capacity=0.003 * (inflow / 0.001) ** -0.1 * math.exp(noise[0]),
                    start_m=1.0 + noise[1] / 4,
                    stop_m=0.4 + noise[2] / 4,
                    current=3.0 * math.exp(noise[3] / 2),
                    **change,
                ),
            )
        )
    return out


def replace_seen(c: Seen, **change: float) -> Seen:
    return c._replace(**change)


@pytest.fixture
def site() -> SiteReference:
    seen = history()
    ref = learn_site(seen, [k % 24 for k in range(len(seen))], 0.001, S)
    assert ref is not None
    return ref


@pytest.fixture
def pump() -> PumpReference:
    ref = learn_pump([(h, c) for h, c in history() if c.pump == 1], 0.0, S)
    assert ref is not None
    return ref


def test_a_reference_takes_the_inflow_out(pump: PumpReference) -> None:
    assert pump.capacity.expect(math.log(0.0013)) == pytest.approx(
        math.log(0.003 * 1.3**-0.1), abs=0.01
    )
    assert pump.capacity.slope == pytest.approx(-0.1, abs=0.04)


def test_a_reference_is_not_stretched_beyond_what_was_seen(pump: PumpReference) -> None:
    assert pump.capacity.expect(math.log(1.0)) == pump.capacity.expect(pump.capacity.high)


def test_a_few_bad_cycles_do_not_move_a_reference(pump: PumpReference) -> None:
    seen = [
        (h, replace_seen(c, capacity=1e-4) if n % 10 == 0 else c)
        for n, (h, c) in enumerate(history())
        if c.pump == 1
    ]
    spoilt = learn_pump(seen, 0.0, S)
    assert spoilt is not None
    assert spoilt.capacity.value == pytest.approx(pump.capacity.value, abs=0.02)


def test_too_few_cycles_give_no_reference() -> None:
    assert learn_pump(history(20), 0.0, S) is None
    assert learn_site(history(10), [0.0] * 10, 0.001, S) is None


def test_an_unknown_current_leaves_its_line_unknown() -> None:
    seen = [(h, replace_seen(c, current=NAN)) for h, c in history()]
    ref = learn_pump(seen, 0.0, S)
    assert ref is not None
    assert not ref.current.known


def happened(c: Seen, site: SiteReference, pump: PumpReference, **more: object) -> set[str]:
    usual, expected, wet = Usual(), more.get("expected"), bool(more.get("wet"))
    found = events_of(c, site, pump, usual, expected, wet, S)  # type: ignore[arg-type]
    return {f"{name}:{p}" if p else name for name, p, hit in found if hit}


def test_a_normal_cycle_is_nothing_odd(site: SiteReference, pump: PumpReference) -> None:
    assert happened(NORMAL, site, pump) == set()


@pytest.mark.parametrize(
    ("change", "event"),
    [
        ({"stop_m": 0.95, "run_s": 10.0, "samples": 1}, "short_run:1"),
        ({"stop_m": 0.05}, "low_stop:1"),
        ({"start_m": 1.25}, "late_start"),
        ({"capacity": 0.0008}, "low_capacity:1"),
        ({"reason": "hand_over", "first_s": 900.0}, "hand_over:1"),
        ({"reason": "hand_over", "first_s": 20.0}, "trip:1"),
    ],
)
def test_odd_cycles_are_told_by_name(
    change: dict[str, float], event: str, site: SiteReference, pump: PumpReference
) -> None:
    assert event in happened(replace_seen(NORMAL, **change), site, pump)


def test_a_lost_turn_names_the_pump_that_missed_it(
    site: SiteReference, pump: PumpReference
) -> None:
    late = replace_seen(NORMAL, start_m=1.25)
    assert "turn_lost:2" in happened(late, site, pump, expected=2)
    assert "turn_lost:1" not in happened(late, site, pump, expected=1)


def test_a_storm_excuses_late_starts_but_no_low_stop(
    site: SiteReference, pump: PumpReference
) -> None:
    odd = replace_seen(NORMAL, start_m=1.25, stop_m=0.05)
    assert happened(odd, site, pump, wet=True) == {"low_stop:1"}


def test_much_inflow_excuses_a_hand_over(site: SiteReference, pump: PumpReference) -> None:
    busy = replace_seen(NORMAL, reason="parallel_run", first_s=900.0, inflow=0.0025)
    assert "hand_over:1" not in happened(busy, site, pump)


def test_a_new_set_point_is_soon_the_usual_one(site: SiteReference) -> None:
    usual = Usual()
    for _ in range(9):
        usual.add(NORMAL, site, S)
    moved = [usual.add(replace_seen(NORMAL, start_m=1.2), site, S) for _ in range(5)]
    assert any(moved)
    assert usual.start_m(0.0) == pytest.approx(1.2)


def test_stops_that_are_seen_late_make_the_others_no_low_ones(
    site: SiteReference, pump: PumpReference
) -> None:
    usual = Usual()
    for k in range(30):
        usual.add(replace_seen(NORMAL, stop_m=0.7 if k % 2 else 0.4), site, S)
    assert usual.stop_m(0.0) == pytest.approx(0.7)
    found = events_of(NORMAL, site, pump, usual, None, False, S)
    assert ("low_stop", 1, False) in found


def test_every_second_start_late_stays_late(site: SiteReference) -> None:
    usual = Usual()
    for k in range(30):
        usual.add(replace_seen(NORMAL, start_m=1.25 if k % 2 else 1.0), site, S)
    assert usual.start_m(0.0) == pytest.approx(1.0)


def test_a_pump_that_missed_turns_and_came_back_was_worked_on() -> None:
    turns = Turns()
    for k, pump in enumerate([1, 2, 1, 1, 1, 1, 2]):
        turns.add(replace_seen(NORMAL, pump=pump, final_ms=k), 2)
    assert turns.back_ms == {2: 6}


def feed_steps(
    key: str, values: list[float], sigma: float = 0.02, state: AssessorState | None = None
) -> AssessorState:
    state = state or AssessorState()
    for n, v in enumerate(values):
        state.charts.setdefault(key, Chart())
        accept_step(key, Value(v, sigma, 0.0, 0.0), n * 12 * HOUR, state, S)
    return state


def test_a_stronger_pump_is_accepted_once_it_stands_still() -> None:
    state = feed_steps("capacity:pump1", [0, 0, 0.01, 0.12, 0.2, 0.2, 0.205])
    assert state.offsets["capacity:pump1"] == pytest.approx(0.2, abs=0.01)


def test_a_slow_loss_is_never_accepted() -> None:
    state = feed_steps("capacity:pump1", [-0.01 * k for k in range(40)])
    assert state.offsets == {}


def test_a_large_loss_at_once_is_not_accepted() -> None:
    state = feed_steps("capacity:pump1", [0, 0, 0, 0, -0.3, -0.3, -0.3, -0.3, -0.3])
    assert state.offsets == {}


def test_a_drifting_level_is_no_step_and_a_new_set_point_is() -> None:
    drift = feed_steps("start_level", [-0.006 * k for k in range(30)], sigma=0.005)
    step = feed_steps("start_level", [0, 0.001, 0, 0, 0.05, 0.1, 0.1, 0.1], sigma=0.005)
    assert drift.offsets == {}
    assert step.offsets["start_level"] == pytest.approx(0.1, abs=0.005)


def test_a_return_to_the_first_reference_is_no_step() -> None:
    state = feed_steps("capacity:pump1", [0, 0, 0.01, 0.12, 0.2, 0.2, 0.205, 0.2, 0.01, 0.0])
    assert state.offsets == {}


def test_more_water_with_more_capacity_is_no_better_pump() -> None:
    state = AssessorState()
    state.charts["night_inflow"] = Chart(level=4.0)
    feed_steps("capacity:pump1", [0, 0, 0.01, 0.12, 0.2, 0.2, 0.205], state=state)
    assert state.offsets == {}


def test_rain_is_remembered_and_forgotten(site: SiteReference) -> None:
    gate = WetGate()
    assert gate.add(replace_seen(NORMAL, rain_mm=8.0), site, True, S)
    assert gate.add(replace_seen(NORMAL, final_ms=4 * HOUR), site, True, S)
    assert not gate.add(replace_seen(NORMAL, final_ms=48 * HOUR), site, True, S)


def test_without_a_gauge_the_inflow_tells_but_not_for_ever(site: SiteReference) -> None:
    gate = WetGate()
    flood = [
        gate.add(replace_seen(NORMAL, inflow=0.01, final_ms=k * HOUR), site, False, S)
        for k in range(1, 200)
    ]
    assert all(flood[:48])
    assert not flood[-1]


def test_half_days_are_the_sites_own() -> None:
    days = HalfDays("Asia/Tokyo")
    noon = ms_from_iso("2024-05-01T03:00:00Z")
    number, first, following = days.of(noon)
    assert first == noon
    assert following == ms_from_iso("2024-05-01T15:00:00Z")
    assert days.of(noon - 1)[0] == number - 1


def test_daylight_saving_makes_a_half_day_longer() -> None:
    days = HalfDays("Europe/Berlin")
    _, first, following = days.of(ms_from_iso("2024-10-27T03:00:00Z"))
    assert following - first == 13 * HOUR


def test_a_robust_line_holds_against_outliers() -> None:
    rng = np.random.default_rng(5)
    x = rng.uniform(0, 2, 200)
    y = 1.0 - 0.2 * x + rng.normal(0, 0.01, 200)
    y[:20] -= 3.0
    a, b, m = robust.line(x, y)
    assert a - b * m == pytest.approx(1.0, abs=0.02)
    assert b == pytest.approx(-0.2, abs=0.02)


def test_settings_are_one_frozen_set() -> None:
    assert replace(S, limit=3.0).limit == 3.0
    with pytest.raises(AttributeError):
        S.limit = 1.0  # type: ignore[misc]


def test_a_pump_that_takes_turns_has_a_usual_rest_and_one_that_rests_for_a_week_has_none() -> None:
    hours = [float(k % 24) for k in range(240)]
    in_turn = learn_site(history(), hours, 0.001, S)
    assert in_turn is not None
    assert in_turn.rests_h == {1: 2.0, 2: 2.0}
    weekly = [(h, c._replace(pump=1 + k // 168)) for k, (h, c) in enumerate(history())]
    rare = learn_site(weekly, hours, 0.001, S)
    daily = [(h, c._replace(pump=1 + k // 24 % 2)) for k, (h, c) in enumerate(history())]
    by_clock = learn_site(daily, hours, 0.001, S)
    assert rare is not None
    assert by_clock is not None
    assert rare.rests_h == {}
    assert by_clock.rests_h == {1: 25.0, 2: 25.0}


def test_a_duty_that_passes_on_daily_shows_its_rests_after_the_first_week(
    site: SiteReference,
) -> None:
    daily = replace(site, turns=0.01, rests_h={1: 25.0}, rests_seen={2: [24.5]})
    for rest_h in (0.3, 25.5, 130.0):
        daily.rested(2, rest_h)
    assert daily.rests_h == {1: 25.0, 2: 25.5}
    in_turn = replace(site, rests_h={}, rests_seen={})
    in_turn.rested(2, 25.5)
    assert in_turn.rests_seen == {}


def test_a_new_set_point_moves_the_levels_and_brings_no_other_water(site: SiteReference) -> None:
    before = replace(site, quiet_inflow=0.0005, rates={"trip:pump1": 0.02})
    state = AssessorState(first_ms=0, site=before, pumps=dict.fromkeys((1, 2), PumpReference()))
    apply_log([LogEntry(HOUR, LogKind.SET_POINT, None, "")], 2 * HOUR, state)
    assert state.site is None
    for k in range(30):
        keep(NORMAL._replace(start_m=1.2, start_ms=k * HOUR), k % 6 + 12.0, False, state, S)
    well = site_from_dict({"site": "well", "pumps": 2})
    forest = Strangeness(SiteKey("t", "well"), lambda _: None, StrangenessState(), S)
    set_references(8 * 24 * HOUR, state, well, forest, S)
    assert state.site is not None
    assert state.site.start_m == pytest.approx(1.2)
    assert state.site.start_spread >= before.start_spread
    assert (state.site.quiet_inflow, state.site.rates) == (0.0005, before.rates)
    assert state.site.hours == before.hours


def test_what_the_season_brings_holds_no_pumps_episode_open() -> None:
    assert _holding(["capacity:pump1", "night_inflow"]) == ["capacity:pump1"]
    assert _holding(["night_inflow"]) == ["night_inflow"]


def test_the_nights_of_a_leak_are_not_counted_again_once_its_valve_is_mended() -> None:
    leak = Episode(
        "capacity:pump1", ["capacity:pump1", "night_inflow"], ["check_valve_leak"], "pump1", "pump1",
        "warning", 0.9, 0, 0, calm=S.clear_halves - 1,
    )  # fmt: skip
    state = AssessorState(episodes=[leak], nights=20)
    state.charts = {"capacity:pump1": Chart(), "night_inflow": Chart(level=4.0)}
    state.values = dict.fromkeys(state.charts, Value(0.0, 0.02, 1.0, 1.0))
    state.water.raised = [0, 3, 9, 0, 0, 0]
    well = site_from_dict({"site": "well", "pumps": 2})
    found = Judge(SiteKey("t", "well"), well, state, S).half_day(HOUR, {"night_inflow"})
    assert [f.phase for f in found] == [Phase.RESOLVED]
    assert (state.nights, max(state.water.raised)) == (0, 0)


def test_a_run_of_hours_that_does_not_empty_the_well_moved_hardly_any_water(
    site: SiteReference,
) -> None:
    pump = learn_pump([(h, c) for h, c in history() if c.pump == 1], 0.001, S)
    endless = NORMAL._replace(reason="long_run", capacity=NAN, inflow=NAN)
    dry = events_of(endless, site, pump, Usual(), None, False, S)
    assert ("low_capacity", 1, True) in dry
    for much in (endless._replace(fill_inflow=0.002), endless._replace(fill_inflow=NAN)):
        assert "low_capacity" not in {
            e[0] for e in events_of(much, site, pump, Usual(), None, False, S)
        }
    assert "low_capacity" not in {
        e[0] for e in events_of(endless, site, pump, Usual(), None, True, S)
    }
