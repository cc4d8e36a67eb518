"""Charts: honest about gaps, readable, well-formed whatever comes."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.alerting.i18n import translator
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.sites import Site
from pumpwatch.services.queries import FeatureSeries, LevelBand, PumpRuns, Span
from pumpwatch.web import charts

EN = translator("en")
SITE = Site("a", start_level_m=1.3, stop_level_m=0.4, high_level_m=1.9)


def level(values, gaps=()):
    t_ms = tuple(i * HOUR_MS for i in range(len(values)))
    values = tuple(values)
    return LevelBand(0, DAY_MS, HOUR_MS, t_ms, values, values, values, tuple(gaps))


def capacity(pump, values, normal=None):
    days = tuple(DAY_MS // 2 + i * DAY_MS for i in range(len(values)))
    return FeatureSeries(pump, "capacity_m3s", days, tuple(values), days, tuple(values), normal)


def drawings(markup):
    return ElementTree.fromstring(str(markup)).findall("svg")


def texts(svg):
    return [t.text for t in svg.iter("text")]


def test_a_chart_is_drawn_for_a_phone_and_for_a_desk():
    phone, desk = drawings(charts.level_chart(level([1.0] * 24), (), SITE, EN))
    assert phone.get("viewBox").split()[2] == "360"
    assert int(desk.get("viewBox").split()[2]) > 700


def test_the_axis_is_in_the_time_of_the_site():
    (phone, _) = drawings(charts.level_chart(level([1.0] * 24), (), SITE, EN))
    assert "Jan 2" in texts(phone)  # 1970-01-01 00:00 UTC is 09:00 there


def test_a_gap_breaks_the_line_and_is_marked():
    whole, holed = level([1.0] * 24), level([1.0] * 24, [Span(5 * HOUR_MS, 6 * HOUR_MS)])

    def lines(band):
        return str(charts.level_chart(band, (), SITE, EN)).count('class="mean"') // 2

    assert (lines(whole), lines(holed)) == (1, 2)
    assert 'class="gap"' in str(charts.level_chart(holed, (), SITE, EN))


def test_pumps_differ_without_colour():
    shapes = {str(charts._marker(f"pump{n}", 0, 0)).split("l")[0].count("a") for n in (1, 2)}
    assert shapes == {0, 2}
    runs = [PumpRuns(f"pump{n}", (Span(HOUR_MS, 2 * HOUR_MS),)) for n in (1, 2)]
    drawn = str(charts.level_chart(level([1.0] * 24), runs, SITE, EN))
    assert re.search(r'fill="url\(#\w+pump2\)" class="run pump2"', drawn)


def test_the_normal_and_the_beginning_are_marked():
    series = [capacity("pump1", [0.005] * 10, normal=0.0052)]
    span = Span(0, 10 * DAY_MS)
    markup = charts.feature_chart(series, span, SITE, EN, since_ms=6 * DAY_MS)
    said = " ".join(t or "" for t in texts(drawings(markup)[0]))
    assert "normal 0.31" in said
    assert "began Wed 7 Jan 09:00" in said


def test_a_missing_day_breaks_the_line_of_medians():
    days = (0, DAY_MS, 3 * DAY_MS, 4 * DAY_MS)
    series = FeatureSeries("pump1", "capacity_m3s", days, (1.0,) * 4, days, (1.0,) * 4)
    markup = str(charts.feature_chart([series], Span(0, 5 * DAY_MS), SITE, EN))
    assert markup.count('class="median pump1"') == 2 * 2


@given(
    st.lists(st.floats(-5, 50), max_size=24),
    st.one_of(st.none(), st.integers(0, DAY_MS)),
    st.sampled_from(["ja", "en"]),
)
def test_any_level_gives_a_drawing_that_can_be_read(values, since_ms, lang):
    markup = charts.level_chart(level(values), (), SITE, translator(lang), since_ms=since_ms)
    assert "nan" not in str(markup)
    assert len(drawings(markup)) == 2


@given(st.lists(st.floats(-1, 1), max_size=40), st.one_of(st.none(), st.floats(-1, 1)))
def test_any_feature_gives_a_drawing_that_can_be_read(values, normal):
    markup = charts.feature_chart(
        [capacity("pump1", values, normal)], Span(0, 30 * DAY_MS), SITE, EN
    )
    assert "nan" not in str(markup)
    assert len(drawings(markup)) == 2


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4))
def test_ticks_are_round_few_and_inside(low, width):
    ticks = charts._ticks(low, low + width)
    assert 2 <= len(ticks) <= 6
    assert all(low - 1e-6 <= value <= low + width + 1e-6 for value, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


@pytest.mark.parametrize("hours", [1, 6, 24, 72, 24 * 14, 24 * 30, 24 * 365])
def test_time_ticks_fit_on_a_phone(hours):
    from zoneinfo import ZoneInfo

    ticks = charts._time_ticks(0, hours * HOUR_MS, ZoneInfo("Asia/Tokyo"), "ja", 5)
    assert 1 <= len(ticks) <= 7
