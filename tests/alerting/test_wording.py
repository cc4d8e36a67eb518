import dataclasses
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pumpwatch.alerting
from pumpwatch.alerting.catalogue import ENTRIES, GROUP_TITLE, JOINED, URGENCY, URGENCY_TEXT
from pumpwatch.alerting.catalogues import problems
from pumpwatch.alerting.i18n import LANGS, translator
from pumpwatch.alerting.signs import POINTS, SIGNS, sentence
from pumpwatch.alerting.wording import notice_text, word
from pumpwatch.diagnosis.causes import TABLE
from pumpwatch.domain.alerts import Alert, Kind, Severity, Step, ms_from_iso
from pumpwatch.domain.faults import FAULT_GROUP, HUB_FAULTS, Group
from pumpwatch.domain.features import FEATURE_UNITS
from pumpwatch.domain.keys import HUB_KEY, SiteKey
from pumpwatch.domain.sites import Site

OPENED = ms_from_iso("2025-11-17T18:00:00Z")
SITE = Site(site="mh0003", name="港町第3")
ALERT = Alert(
    id="a1",
    key=SiteKey("default", "mh0003"),
    cause="capacity:pump2",
    kind=Kind.PREDICTIVE,
    severity=Severity.WARNING,
    fault=("pump_ragging", "pump_wear"),
    target="pump2",
    score=0.93,
    evidence={
        "since": "2025-11-17T12:00:00Z",
        "capacity_index": 0.73,
        "signs": [
            {"feature": "current_a", "target": "pump2", "now": 7.1, "normal": 6.2, "deviation": 3.0},
            {"feature": "capacity_m3s", "target": "pump2", "now": 0.00365, "normal": 0.005, "deviation": -9.0},
        ],
        "causes": [
            {"fault": "pump_ragging", "p": 0.6, "for": ["capacity:pump2", "current:pump2", "scatter:pump2"], "against": []},
            {"fault": "pump_wear", "p": 0.2, "for": ["capacity:pump2"], "against": ["current:pump2", "backflow:pump2", "nonsense"]},
        ],
    },
    opened_ms=OPENED,
    changed_ms=OPENED,
)  # fmt: skip


def test_every_fault_code_has_words():
    assert set(ENTRIES) == {*FAULT_GROUP, *HUB_FAULTS}
    for code, entry in ENTRIES.items():
        assert all((entry.title, entry.meaning, entry.do, entry.verify)), code


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("cause", JOINED)
def test_a_station_that_joins_weak_has_words_of_its_own(cause, lang):
    sign = {"feature": "nameplate_capacity_m3s", "target": "pump2", "now": 0.003, "normal": 0.004,
            "deviation": -8.0}  # fmt: skip
    alert = dataclasses.replace(
        ALERT, cause=cause, kind=Kind.INFO, severity=Severity.INFO, fault=("unusual", "pump_wear"),
        target="pump2", evidence={"since": "2025-11-16T00:00:00Z", "signs": [sign]},
    )  # fmt: skip
    tr = translator(lang)
    words = word(alert, SITE, tr)
    assert tr._(JOINED[cause].title) in words.title
    assert [c.meaning for c in words.causes][:1] == [tr._(JOINED[cause].meaning)]
    assert {"en": "25% less", "ja": "銘板値より25%少ない"}[lang] in words.summary


def test_every_feature_severity_and_group_has_words():
    assert set(SIGNS) == set(FEATURE_UNITS)
    assert set(URGENCY) == set(URGENCY_TEXT) == set(Severity)
    assert set(GROUP_TITLE) == set(Group)


def test_everything_said_is_translated_and_nothing_is_stale():
    assert problems(Path(pumpwatch.alerting.__file__).parent) == []


def test_the_title_says_how_urgent_where_which_pump_and_what():
    assert word(ALERT, SITE, translator("en")).title == (
        "[Next working days] 港町第3, Pump 2: clogging with rags suspected"
    )
    assert word(ALERT, SITE, translator("ja")).title == (
        "【数日以内に点検】港町第3 2号ポンプ 異物絡まりの疑い"
    )


def test_the_summary_is_the_strongest_sign_and_since_when():
    assert word(ALERT, SITE, translator("en")).summary == (
        "Pump 2 moves 27% less water per minute than its own reference: 0.22 m³/min "
        "(normally 0.30 m³/min), since Mon 17 Nov 21:00."
    )
    assert word(ALERT, SITE, translator("ja")).summary == (
        "11月17日(月) 21:00から2号ポンプの毎分揚水量が自身の基準より27%少ない："
        "0.22m³/分(普段は0.30m³/分)。"
    )


def test_the_unknown_rest_is_said():
    causes = word(ALERT, SITE, translator("en")).causes
    assert [(c.fault, c.share) for c in causes] == [
        ("pump_ragging", "60%"),
        ("pump_wear", "20%"),
        ("", "20%"),
    ]


def test_what_speaks_for_and_against_a_cause_is_said_by_signs_where_there_are_any():
    ragging, wear, _ = word(ALERT, SITE, translator("en")).causes
    draws_more = "Pump 2 draws more current than usual: 7.1 A (normally 6.2 A)"
    assert ragging.speaks_for[1:] == [draws_more, "Pump 2: scatter of the pump capacity"]
    assert wear.speaks_against == [draws_more, "Pump 2: back-flow after a stop is as usual"]


def test_what_to_bring_covers_the_two_likeliest_causes_once():
    bring = word(ALERT, SITE, translator("en")).bring
    assert "Wear ring, impeller and gasket" in bring
    assert bring.count("Lifting gear and chain") == 1


def test_a_present_fact_says_what_it_means():
    fact = dataclasses.replace(
        ALERT,
        kind=Kind.CONDITION,
        severity=Severity.CRITICAL,
        fault=("power_outage",),
        target=None,
        evidence={},
    )
    words = word(fact, Site(site="mh0003"), translator("en"))
    assert words.title == "[Go now] mh0003: power failure"
    assert words.summary.startswith(
        "Power failure, since Tue 18 Nov 03:00. The station has no mains"
    )


@pytest.mark.parametrize(
    ("lang", "title", "says", "do"),
    [
        ("en", "[Within hours] pumpwatch: no connection to the broker",
         "No station is heard, so no new alert", "See to it within hours, at night too"),
        ("ja", "【数時間以内に対応】pumpwatch ブローカーとの接続断",
         "どの施設からも受信できず", "夜間でも数時間以内に対応"),
    ],
)  # fmt: skip
def test_an_alert_of_the_installation_sends_nobody_to_a_well(lang, title, says, do):
    own = dataclasses.replace(
        ALERT, key=HUB_KEY, kind=Kind.CONDITION, severity=Severity.ALARM, fault=("broker_lost",),
        target=None, evidence={},
    )  # fmt: skip
    said, body = notice_text(own, Step.OPENED, Site(HUB_KEY.site), translator(lang))
    assert said == title
    assert says in body
    assert do in body


def test_the_end_of_an_alert_is_told_as_over():
    over = dataclasses.replace(ALERT, resolved_ms=OPENED + 3_600_000)
    title, body = notice_text(over, Step.RESOLVED, SITE, translator("en"))
    assert title == "Over: 港町第3, Pump 2: clogging with rags suspected"
    assert "Tue 18 Nov 04:00" in body


def test_an_opening_that_is_told_late_says_that_it_is_over():
    over = dataclasses.replace(ALERT, resolved_ms=OPENED + 3_600_000)
    _, body = notice_text(over, Step.OPENED, SITE, translator("en"))
    assert "By itself it was over Tue 18 Nov 04:00." in body


@pytest.mark.parametrize("feature", sorted(FEATURE_UNITS))
@pytest.mark.parametrize("lang", LANGS)
def test_a_sign_tells_lower_from_higher_and_names_its_value(feature, lang):
    tr = translator(lang)
    low = sentence({"feature": feature, "target": "pump1", "now": 0.5, "normal": 0.9}, tr)
    high = sentence({"feature": feature, "target": "pump1", "now": 0.9, "normal": 0.5}, tr)
    assert low is not None
    assert high is not None
    assert "{" not in low + high
    if SIGNS[feature].lower != SIGNS[feature].higher:
        assert low.split("(")[0] != high.split("(")[0]


def test_the_cause_the_alert_names_stands_first_and_what_nothing_speaks_for_is_left_out():
    causes = [
        {"fault": "upstream_blockage", "target": None, "p": 0.5, "for": [], "against": []},
        {"fault": "motor_degradation", "target": "pump1", "p": 0.1, "for": ["current:pump1"]},
        {"fault": "pump_wear", "target": "pump2", "p": 0.1, "for": ["capacity:pump2"]},
    ]
    alert = dataclasses.replace(
        ALERT, fault=("pump_wear", "air_lock"), evidence=dict(ALERT.evidence) | {"causes": causes}
    )
    assert [(c.name, c.share) for c in word(alert, SITE, translator("en")).causes] == [
        ("impeller wear", "10%"),
        ("air lock", ""),
        ("Pump 1: motor or bearing degradation", "10%"),
        ("unknown", "80%"),
    ]


def test_the_summary_speaks_of_the_alerts_own_pump():
    other = {"feature": "current_a", "target": "pump1", "now": 9, "normal": 6, "deviation": 30.0}
    signs = [other, *ALERT.evidence["signs"]]
    alert = dataclasses.replace(ALERT, evidence={"signs": signs})
    assert word(alert, SITE, translator("en")).summary.startswith("Pump 2 moves 27% less")


def test_what_speaks_for_the_named_cause_is_said_before_stronger_signs():
    causes = [{"fault": "pump_ragging", "p": 0.9, "for": ["current:pump2"], "against": []}]
    alert = dataclasses.replace(ALERT, evidence=dict(ALERT.evidence) | {"causes": causes})
    assert word(alert, SITE, translator("en")).why[0].startswith("Pump 2 draws more current")


def test_what_raised_the_alert_is_said_first_and_what_hardly_moved_last():
    stands = {"feature": "capacity_m3s", "target": "pump2", "now": 0.01703, "normal": 0.01688,
              "deviation": 6.6}  # fmt: skip
    raised = {"feature": "backflow_m3s", "target": "pump1", "now": 0.004, "normal": 0.0001,
              "deviation": 6.4}  # fmt: skip
    own = {"feature": "backflow_m3s", "target": "pump2", "now": 0.0002, "normal": 0.0001,
           "deviation": 6.5}  # fmt: skip
    causes = [
        {
            "fault": "check_valve_leak",
            "p": 0.8,
            "for": ["capacity:pump2", "backflow:pump1", "backflow:pump2"],
        }
    ]
    alert = dataclasses.replace(
        ALERT, cause="backflow:pump1", fault=("check_valve_leak",),
        evidence={"signs": [stands, own, raised], "causes": causes},
    )  # fmt: skip
    why = word(alert, SITE, translator("en")).why
    assert why[0].startswith("After a stop of Pump 1 4.00 L/s")
    assert why[-1].startswith("Pump 2 moves 1% more")


def test_every_point_diagnosis_weighs_has_words():
    weighed = {name for e in TABLE for odds in (e.own, e.others, e.site) for name in odds}
    assert weighed <= set(POINTS)
    assert {p.feature for p in POINTS.values()} - {None} <= set(FEATURE_UNITS)


numbers = st.floats() | st.integers() | st.booleans() | st.none() | st.text(max_size=5)
json = st.recursive(
    numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
signs = st.fixed_dictionaries(
    {"feature": st.sampled_from([*FEATURE_UNITS, "nonsense"])},
    optional={"target": json, "now": numbers, "normal": numbers, "deviation": numbers},
)
causes = st.fixed_dictionaries(
    {"fault": st.sampled_from([*FAULT_GROUP, "nonsense"])},
    optional={"p": numbers, "for": st.lists(json | signs, max_size=2), "against": json},
)
evidence = st.fixed_dictionaries(
    {},
    optional={
        "since": json | st.just("2025-11-17T12:00:00Z"),
        "signs": st.lists(signs | json, max_size=3) | json,
        "causes": st.lists(causes | json, max_size=3) | json,
    },
)


@given(
    evidence,
    st.lists(st.sampled_from([*FAULT_GROUP, "nonsense"]), max_size=2),
    st.sampled_from([None, "pump1", "both", "valve"]),
    st.sampled_from(Kind),
    st.sampled_from(Severity),
    st.sampled_from([Step.OPENED, Step.WORSENED, Step.RESOLVED]),
    st.sampled_from(LANGS),
)
def test_no_evidence_however_odd_keeps_a_notice_from_being_worded(
    evidence, fault, target, kind, severity, step, lang
):
    alert = dataclasses.replace(
        ALERT,
        evidence=evidence,
        fault=tuple(fault),
        target=target,
        kind=kind,
        severity=severity,
        resolved_ms=OPENED,
    )
    title, body = notice_text(alert, step, SITE, translator(lang))
    assert title
    assert body


def test_numbers_that_are_none_are_not_said():
    tr = translator("en")
    for now in (math.nan, math.inf, None, "x", True):
        assert sentence({"feature": "level_m", "now": now}, tr) is None
