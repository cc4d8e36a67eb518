import pytest

from pumpwatch.alerting.i18n import translator
from pumpwatch.alerting.outlook import how_soon, not_known
from pumpwatch.alerting.wording import notice_text, word
from pumpwatch.domain.alerts import Alert, Kind, Severity, Step, ms_from_iso
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site

NOW = ms_from_iso("2025-11-18T03:00:00Z")
SITE = Site("mh0003", well_diameter_m=1.2, has_current=True, has_rain=True)
EN, JA = translator("en"), translator("ja")
RANGE = {"days": 6.0, "from_days": 3.0, "to_days": 12.5}


def alert(breakdown=RANGE, fault="pump_ragging", kind=Kind.PREDICTIVE, **changes):
    evidence = {} if breakdown == "none" else {"breakdown": breakdown}
    return Alert("a1", SiteKey("default", "mh0003"), "capacity:pump2", kind, Severity.WARNING,
                 (fault,), "pump2", 0.9, evidence, NOW, NOW, **changes)  # fmt: skip


def test_the_days_to_come_are_dates_at_the_site_which_stay_true():
    assert how_soon(alert(), SITE, EN) == (
        "Forecast of Tue 18 Nov: breakdown likely about Mon 24 Nov, between Fri 21 Nov and Mon 1 Dec, "
        "if it goes on so."
    )
    assert "11月24日(月)頃(11月21日(金)から12月1日(月)の間)に" in how_soon(alert(), SITE, JA)


def test_a_range_without_an_end_says_its_beginning():
    text = how_soon(alert({**RANGE, "to_days": None}), SITE, EN)
    assert "not before Fri 21 Nov" in text
    assert "Dec" not in text


def test_what_has_come_as_far_as_pumps_do_may_break_at_any_moment():
    said = {"days": 0.0, "from_days": 0.0, "to_days": 0.0}
    assert how_soon(alert(said), SITE, EN) == "Breakdown possible at any moment."


@pytest.mark.parametrize("odd", [None, "soon", {}, {"days": "x"}, {"days": -1, "from_days": 1e9}])
def test_what_cannot_be_told_is_said_whatever_the_evidence_holds(odd):
    assert how_soon(alert(odd), SITE, EN) == "How soon it breaks down cannot be told yet."


def test_where_it_is_no_question_nothing_is_said():
    assert how_soon(alert("none"), SITE, EN) == ""
    assert how_soon(alert(resolved_ms=NOW), SITE, EN) == ""


@pytest.mark.parametrize(
    ("fault", "site", "said"),
    [
        ("pump_wear", {"has_current": False}, "motor current is not measured"),
        ("infiltration_growth", {"has_rain": False}, "no rain gauge"),
        ("pump_wear", {"well_diameter_m": None}, "size of the well"),
    ],
)
def test_a_missing_signal_that_would_tell_more_is_named(fault, site, said):
    poor = Site(**{"site": "mh0003", "well_diameter_m": 1.2, **site})
    (text,) = not_known(alert(fault=fault), poor, EN)
    assert said in text
    assert not_known(alert(fault=fault), SITE, EN) == []
    assert not_known(alert(fault=fault, kind=Kind.CONDITION), poor, EN) == []


def test_notices_carry_priority_and_the_days_to_come():
    _, body = notice_text(alert(), Step.OPENED, SITE, EN)
    assert "P3 Plan a visit" in body
    assert "between Fri 21 Nov and Mon 1 Dec" in body
    assert word(alert(), SITE, JA).priority == "P3"
