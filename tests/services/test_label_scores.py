"""How right the alerts were, by what people found."""

from dataclasses import replace

import pytest

from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Kind
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Label, Said
from pumpwatch.services.label_scores import Share, label_scores, scores_by_site

KEY, OTHER = SiteKey("default", "mh0001"), SiteKey("default", "mh0002")
CREW = Actor("sato", "crew")


def label(subject, cause, said="pump_ragging", *, n=1, key=KEY, kind=Kind.PREDICTIVE, opened=0,
          found=10, target="pump1", said_target="pump1"):  # fmt: skip
    told = Said(kind, said, said_target, opened) if said else None
    return Label(subject, n, key, cause, target, "", found, found, CREW, told)


def test_of_no_label_nothing_is_claimed():
    scores = label_scores([])
    assert scores.precision == scores.named == scores.recall == Share(0, 0)
    assert scores.precision.value is None
    assert scores.precision.interval is None


def test_precision_is_the_share_of_answered_alerts_at_which_something_was_wrong():
    scores = label_scores(
        [label("a", "pump_ragging"), label("b", "pump_wear", opened=20, found=30),
         label("c", "nothing_found"), label("d", "other", opened=20, found=30)]
    )  # fmt: skip
    assert scores.precision == Share(3, 4)
    assert scores.named == Share(1, 3)
    low, high = scores.precision.interval
    assert (low, high) == pytest.approx((0.3006, 0.9544), abs=1e-4)  # Wilson's, worked by hand


def test_the_wrong_pump_is_not_named_rightly():
    wrong = label("a", "pump_ragging", target="pump2")
    assert label_scores([wrong]).named == Share(0, 1)
    assert label_scores([replace(wrong, target=None)]).named == Share(1, 1)


def test_recall_counts_the_failures_that_were_told_of_and_those_that_were_not():
    scores = label_scores([label("a", "pump_ragging"), label("m", "pump_trip", said=None)])
    assert scores.recall == Share(1, 2)
    assert scores.missed == 1


def test_several_alerts_of_one_failure_are_one_failure_told_of():
    one = [label("a", "pump_ragging", found=10), label("b", "pump_ragging", opened=5, found=20)]
    again = label("c", "pump_ragging", opened=21, found=30)
    elsewhere = label("d", "pump_ragging", key=OTHER)
    assert label_scores(one).recall == Share(1, 1)
    assert label_scores([*one, again]).recall == Share(2, 2)
    assert label_scores([*one, elsewhere]).recall == Share(2, 2)


def test_only_the_newest_answer_counts():
    first, corrected = label("a", "pump_ragging"), label("a", "nothing_found", n=2)
    assert label_scores([corrected, first]).precision == Share(0, 1)
    withdrawn = [label("m", "pump_trip", said=None), label("m", "nothing_found", said=None, n=2)]
    assert label_scores(withdrawn).recall == Share(0, 0)


def test_notices_are_left_out():
    assert label_scores([label("a", "nothing_found", kind=Kind.INFO)]).precision == Share(0, 0)


def test_each_station_has_its_own_scores():
    scores = scores_by_site([label("a", "pump_ragging"), label("b", "nothing_found", key=OTHER)])
    assert scores[KEY].precision == Share(1, 1)
    assert scores[OTHER].precision == Share(0, 1)
