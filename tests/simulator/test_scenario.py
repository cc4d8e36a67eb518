"""Scenario files: what they may say, and that whatever is wrong is named by line before anything runs."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import InvalidInput, NotFound
from pumpwatch.domain.sites import LogKind
from pumpwatch.simulator.scenario import load_scenario, read_scenario, shipped
from pumpwatch.simulator.toml_lines import line_of

TEXT = """\
title = "A pump rags over a leap day"
seed = 3

[span]
start = 2028-02-27
days = 3

[fleet]
draw = 3

[fleet.mix]
one_minute = 1.0

[fleet.district]
harbour = ["mh-01", "mh-02"]

[[station]]
site = "quay"
stop_level_m = 0.4
start_level_m = 1.1

[[weather.storm]]
start = 2028-02-27T20:00:00
hours = 6
depth_mm = 40
district = "harbour"

[[event]]
what = "pump_ragging"
station = "mh-01"
target = "pump1"
start = 2028-02-28T22:00:00
breakdown = "1d"
repair = "26h"
log = "cleaning"

[[event]]
what = "power_outage"
district = "harbour"
start = "2d"
repair = "90m"

[[expect]]
fault = "power_outage"
district = "harbour"
after = "2d"
by = "15m"

[[allow]]
group = "state"
station = "*"
why = "no mains, no pumps"
"""


def ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)


def line_number(needle: str, text: str = TEXT) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if needle in line)


def problem(old: str, new: str) -> tuple[int, str]:
    """(line, words) of what is wrong when ``old`` is written as ``new``."""
    assert old in TEXT
    with pytest.raises(InvalidInput) as refused:
        read_scenario(TEXT.replace(old, new, 1), "storm.toml")
    file, line = refused.value.field.split(":")
    assert file == "storm.toml"
    return int(line), str(refused.value)


def test_a_scenario_says_whom_it_befalls_and_when() -> None:
    scenario = read_scenario(TEXT, "leap.toml")
    ragging, cut, other = scenario.events
    assert scenario.name == "leap"
    assert (ragging.station, ragging.target) == ("mh-01", "pump1")
    assert ragging.start_ms == ms(2028, 2, 28, 13)
    assert ragging.repair_ms is not None
    assert ragging.breakdown_ms == ragging.start_ms + DAY_MS == ragging.repair_ms - 2 * HOUR_MS
    assert (cut.station, other.station) == ("mh-01", "mh-02")
    assert cut.repair_ms == cut.start_ms + 90 * 60_000
    assert {w.station for w in scenario.expected} == {"mh-01", "mh-02"}
    assert {w.by_ms - cut.start_ms for w in scenario.expected} == {15 * 60_000}
    assert len(scenario.allowed) == len(scenario.fleet.stations) == 4
    (entry,) = scenario.log["mh-01"]
    assert (entry.kind, entry.target, entry.t_ms) == (
        LogKind.CLEANING, "pump1", ragging.repair_ms,
    )  # fmt: skip


def test_three_days_over_a_leap_day_are_three_days() -> None:
    scenario = read_scenario(TEXT, "leap.toml")
    assert scenario.start_ms == ms(2028, 2, 26, 15)
    assert scenario.end_ms == ms(2028, 2, 29, 15)


def test_a_day_on_which_clocks_change_has_the_hours_it_has() -> None:
    text = TEXT.replace("seed = 3", 'seed = 3\ntimezone = "Europe/Berlin"')
    text = text.replace("2028-02-27T", "2028-03-25T").replace("2028-02-28T", "2028-03-26T")
    scenario = read_scenario(text.replace("2028-02-27", "2028-03-25"), "spring.toml")
    assert scenario.end_ms - scenario.start_ms == 3 * DAY_MS - HOUR_MS


def test_stations_are_drawn_mixed_given_and_put_under_their_sky() -> None:
    fleet = read_scenario(TEXT, "leap.toml").fleet
    drawn, quay = fleet.stations[:3], fleet["quay"]
    assert [s.site.sample_s for s in drawn] == [60, 60, 60]
    assert [s.district == "harbour" for s in fleet.stations] == [True, True, False, False]
    assert (quay.site.stop_level_m, quay.site.start_level_m) == (0.4, 1.1)
    assert quay.site.pump_capacity_m3_min is not None


def test_a_mix_is_met_exactly_and_chosen_by_the_seed() -> None:
    text = TEXT.replace("draw = 3", "draw = 20").replace("one_minute = 1.0", "no_current = 0.4")
    one = read_scenario(text, "x.toml").fleet.stations[:20]
    other = read_scenario(text.replace("seed = 3", "seed = 4"), "x.toml").fleet.stations[:20]
    lacking = [[s.site.site for s in f if s.site.has_current is False] for f in (one, other)]
    assert [len(names) for names in lacking] == [8, 8]
    assert lacking[0] != lacking[1]


@pytest.mark.parametrize(
    ("old", "new", "says", "remedy"),
    [
        ('what = "pump_ragging"', 'what = "pump_raging"', "no event 'pump_raging'", "'pump_ragging'"),
        ("stop_level_m = 0.4", "stop_level_m = 1.4", "1.4 is not below start_level_m 1.1", "levels"),
        ("start_level_m = 1.1", "strt_level_m = 1.1", "no key 'strt_level_m'", "'start_level_m'"),
        ("days = 3", "dys = 3", "there is no such key", "did you mean 'days'?"),
        ("days = 3", "days = -3", "greater than or equal to 1", "correct it"),
        ("days = 3", "end = 2028-02-26", "the end is not after the start", "later end"),
        ("hours = 6", "hours = -6.0", "greater than 0", "correct it"),
        ('breakdown = "1d"', 'breakdown = "-1d"', "not longer than nothing", "positive duration"),
        ('breakdown = "1d"', 'breakdown = "soon"', "not a duration", "2d 6h"),
        ('breakdown = "1d"', "breakdown = 23:30:00", "does not say of which day", "write the date"),
        ('breakdown = "1d"', "breakdown = 2028-02-27", "before the start", "correct it"),
        ('repair = "26h"', "repair = 2028-02-28T22:00:00", "not after the start", "correct it"),
        ("start = 2028-02-28T22:00:00", "start = 2028-03-28", "outside the span", "2028-03-01"),
        ("start = 2028-02-27\n", "start = 2027-02-29\n", "is not TOML", "correct that line"),
        ('target = "pump1"', 'target = "pump7"', "'pump7' is not there", "pump1 or pump2"),
        ('station = "mh-01"', 'station = "mh-10"', "no station 'mh-10'", "did you mean 'mh-0"),
        ('district = "harbour"\n\n[[event]]', 'district = "habour"\n\n[[event]]', "'habour'", "'harbour'"),
        ('log = "cleaning"', 'log = "cleened"', "overhaul", "correct it"),
        ('log = "cleaning"', 'params = { rpm = 3 }', "has no 'rpm'", "it has"),
        ('fault = "power_outage"', 'fault = "power_outtage"', "no fault", "'power_outage'"),
        ('group = "state"', 'group = "stat"', "no group 'stat'", "'state'"),
        ('by = "15m"', "by = 2028-02-27", "not after its beginning", "later time"),
        ("seed = 3", 'seed = "3"', "valid integer", "correct it"),
        ("draw = 3", "draw = 3\nkeep = 'mh-77'", "no station 'mh-77'", "mh-0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line_and_a_remedy(
    old: str, new: str, says: str, remedy: str
) -> None:
    line, words = problem(old, new)
    changed = TEXT.replace(old, new, 1)
    assert line == line_number(new.splitlines()[-1 if "keep" in new else 0], changed)
    assert says in words
    assert remedy in words


def test_what_is_missing_is_named_where_it_belongs() -> None:
    assert problem('station = "mh-01"\n', "")[0] == line_number('what = "pump_ragging"') - 1
    assert problem('target = "pump1"\n', "")[0] == line_number('what = "pump_ragging"') - 1
    line, words = problem("start = 2028-02-27\n", "")
    assert (line, "span.start: is missing: add it" in words) == (line_number("[span]"), True)


def test_one_fault_cannot_be_at_work_twice_at_once() -> None:
    again = '\n[[event]]\nwhat = "pump_ragging"\nstation = ["mh-02", "mh-01"]\ntarget = "pump1"\nstart = 2028-02-29\n'
    line, words = problem("\n[[expect]]", f"{again}\n[[expect]]")
    assert line == line_number(
        "start = 2028-02-29", TEXT.replace("\n[[expect]]", f"{again}\n[[expect]]")
    )
    assert "pump_ragging is at work at mh-01" in words
    assert "repair the first before, or start the second later" in words
    later = again.replace("2028-02-29", "2028-02-29T23:59:00")
    text = TEXT.replace('"26h"', '"25h"').replace("\n[[expect]]", f"{later}\n[[expect]]")
    assert len(read_scenario(text, "x.toml").events) == 5


def test_a_time_the_clocks_skip_is_refused() -> None:
    text = TEXT.replace("seed = 3", 'seed = 3\ntimezone = "Europe/Berlin"')
    text = text.replace("2028-02-27\n", "2028-03-25\n").replace("2028-02-27T20", "2028-03-25T20")
    text = text.replace("2028-02-28T22:00:00", "2028-03-26T02:30:00")
    with pytest.raises(InvalidInput, match=r"event\[1\]\.start: .*does not exist.*clocks skip it"):
        read_scenario(text, "x.toml")


def test_a_name_that_is_not_shipped_is_answered_with_the_nearest() -> None:
    with pytest.raises(NotFound, match="did you mean 'typhoon'"):
        load_scenario("typhon")
    with pytest.raises(NotFound, match="no scenario file"):
        load_scenario("none/storm.toml")


def test_at_least_eight_scenarios_are_shipped_and_each_can_be_read() -> None:
    names = {
        "quiet-week", "plum-rain", "typhoon", "rag-season", "new-pump", "sensor-swap",
        "carrier-outage", "holiday",
    }  # fmt: skip
    assert names <= set(shipped())
    for name in shipped():
        scenario = load_scenario(name)
        assert 1 <= len(scenario.fleet.stations) <= 24
        assert scenario.title == shipped()[name]


KEYS = st.sampled_from("abcdefgh")
VALUES = st.one_of(
    st.integers(0, 99).map(str),
    st.lists(st.integers(0, 9), max_size=3).map(lambda v: "[\n" + ",\n".join(map(str, v)) + "\n]"),
    st.text("xyz# =[]\n", max_size=8).map(lambda v: f'"""{v}"""'),
)


@given(st.lists(st.tuples(KEYS, VALUES), unique_by=lambda pair: pair[0]), st.integers(0, 3))
def test_a_line_is_found_whatever_stands_before(pairs: list[tuple[str, str]], gap: int) -> None:
    text, lines = "# [t]\n", {}
    for table in (0, 1):
        text += "\n" * gap + "[[t]]\n"
        for key, value in pairs:
            lines["t", table, key] = text.count("\n") + 1
            text += f"{key} = {value} # = 1\n"
    tomllib.loads(text)
    for path, line in lines.items():
        assert line_of(text, path) == line
