"""Tuning one station on its page and by the API: the same protections as any other change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pumpwatch.diagnosis.knobs import KNOBS
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.tuning import Tuning
from pumpwatch.domain.actors import LOCAL, Actor
from pumpwatch.domain.alerts import Finding, Kind, Phase, Severity
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import LogEntry, LogKind
from pumpwatch.services.tuning import TuningService

KEY = SiteKey("demo", "mh0003")
PAGE = "/sites/demo/mh0003/tuning"
API = f"/api/v1{PAGE}"
EARLY = DiagnosisSettings(reference_days=4.0, fit_days=6)


@pytest.fixture
def client(world: Any, serve: Any) -> Any:
    """Pages over a station that has thirty days of samples; a trial of them needs no diagnosis here:
    one alert stands throughout, another only where nothing is muted."""
    end_ms = world.clock.now_ms()
    t_ms = np.arange(end_ms - 30 * DAY_MS, end_ms + 1, DAY_MS)
    rows = Chunk(t_ms, {"level_m": np.ones(len(t_ms))})

    class Series:
        def latest(self, keys: Any) -> Any:
            return {KEY: (end_ms, {})} if KEY in keys else {}

        def read_raw(self, *_: Any) -> Chunk:
            return rows

    def run(samples: Any, tunings: Any, progress: Any) -> list[list[Finding]]:
        def told(cause: str, fault: str, at_ms: int) -> Finding:
            return Finding(KEY, at_ms, Phase.OPENED, cause, Kind.PREDICTIVE, Severity.WARNING,
                           (fault,), "pump2", 0.9)  # fmt: skip

        both = [
            told("a", "pump_wear", end_ms - 3 * DAY_MS),
            told("b", "air_lock", end_ms - 2 * DAY_MS),
        ]
        return [[t.quieted(f) for f in both] for t in tunings]

    world.ledger.add_log(KEY, LogEntry(end_ms - DAY_MS, LogKind.CLEANING, "pump2"), LOCAL, end_ms)
    service: Any = TuningService(world.ledger, world.ledger, Series(), world.clock, EARLY, run)  # type: ignore[arg-type]
    deps = world.deps

    def with_tuning(**more: Any) -> Any:
        return replace(deps(**more), tuning=service)

    world.deps = with_tuning
    world.tuning = service
    return serve(world)


# -- the page ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "said"), [("ja", "診断の調整"), ("en", "Tuning")])
def test_the_page_offers_every_knob_and_says_that_nothing_was_set(
    client: Any, lang: str, said: str
) -> None:
    text = client.get(PAGE, params={"lang": lang}).text
    assert said in text
    for knob in KNOBS.values():
        assert f'name="v-{knob.name}"' in text
        assert getattr(knob.raising, lang) in text
    assert {"ja": "まだありません", "en": "Nothing was ever set"}[lang] in text
    assert 'value="high_level"' not in text
    assert PAGE in client.get("/sites/demo/mh0003").text, "its station's page leads to it"


def test_a_change_is_tried_and_then_saved_with_a_reason(client: Any, world: Any, send: Any) -> None:
    client.get("/?lang=en")
    shown = send(client, f"{PAGE}/preview", days="30", muted="air_lock", **{"v-limit": "12"})
    assert shown.status_code == 200
    for said in (
        "would vanish", "Pump 2: air lock", "Foreseen: 1 of 2; with the change 1 of 2",
        "Save as version 1", "12 σ", "muted: air lock",
    ):  # fmt: skip
        assert said in shown.text
    assert world.ledger.tunings() == {}, "a trial saves nothing"
    settings = '{"set": {"limit": 12}, "muted": ["air_lock"]}'
    wish = {"settings": settings, "based_on": "0", "name": "田中"}
    refused = send(client, f"{PAGE}/save", reason=" ", **wish)
    assert refused.status_code == 422
    assert "Say why" in refused.text
    answer = send(client, f"{PAGE}/save", reason="梅雨の誤報", **wish)
    assert answer.status_code == 303
    text = client.get(answer.headers["location"]).text
    for said in ("saved as a new version", "Version 1", "田中", "梅雨の誤報", 'value="12"'):
        assert said in text
    (made,) = world.ledger.tunings()[KEY]
    assert made.actor == Actor("local:田中", "local")
    again = send(client, f"{PAGE}/save", reason="again", **wish | {"settings": '{"muted": []}'})
    assert again.status_code == 409
    assert "Somebody else was here" in again.text


def test_versions_are_compared_and_taken_back(client: Any, world: Any, send: Any) -> None:
    world.tuning.save(KEY, Tuning({"limit": 12.0}), "one", LOCAL)
    world.tuning.save(KEY, Tuning({"limit": 14.0, "partner_comparison": False}), "two", LOCAL)
    text = client.get(PAGE, params={"lang": "en", "a": 1, "b": 2}).text
    assert "12 σ → 14 σ" in text
    assert "as everywhere (on) → off" in text
    answer = send(client, f"{PAGE}/undo", to="1", reason="wrong", name="")
    assert answer.status_code == 303
    assert "Brings back version 1" in client.get(answer.headers["location"]).text
    assert [v.restores for v in world.ledger.tunings()[KEY]] == [None, None, 1]


def test_what_cannot_be_used_is_said_in_the_reader_s_language_and_stays_in_its_field(
    client: Any, send: Any
) -> None:
    for wrong, ja, en in (
        ({"v-limit": "4000"}, "4～40 σの値", "value from 4 to 40 σ"),
        ({"v-nights": "many"}, "2～30 晩の値", "value from 2 to 30 nights"),
        ({"from-0": "2026-12-01T00:00"}, "終わり", "an end after it"),
        ({"muted": "high_level"}, "high_level", "high_level"),
        ({"days": "x"}, "14～400日", "14 to 400 days"),
        ({}, "何も変わりません", "Nothing would change"),
    ):
        for lang, said in (("ja", ja), ("en", en)):
            client.get("/status", params={"lang": lang})
            answer = send(client, f"{PAGE}/preview", **{"days": "30"} | wrong)
            assert answer.status_code == 422
            assert said in answer.text
            for name, value in wrong.items():
                if name.startswith(("v-", "from-")):
                    assert f'value="{value}"' in answer.text


def test_spans_are_on_the_station_s_clock(client: Any, world: Any, send: Any) -> None:
    span = {"from-7": "2026-12-01T09:00", "to-7": "2026-12-02T09:00"}
    text = send(client, f"{PAGE}/preview", days="30", **span).text
    begin_ms = world.clock.now_ms() + 13 * DAY_MS - 3 * HOUR_MS - 12 * 60_000 + 9 * HOUR_MS
    assert f"&#34;start_ms&#34;: {begin_ms}" in text
    assert 'name="from-0" value="2026-12-01T09:00"' in text


def test_a_station_without_samples_cannot_be_tried_on(client: Any, send: Any) -> None:
    answer = send(client, "/sites/demo/mh0004/tuning/preview", days="30", **{"v-limit": "12"})
    assert answer.status_code == 404
    assert "計測値が足りません" in answer.text


def test_a_form_that_did_not_come_from_the_page_changes_nothing(client: Any, world: Any) -> None:
    wish = {"settings": '{"muted": ["air_lock"]}', "based_on": "0", "reason": "x", "to": "0"}
    foreign = {"sec-fetch-site": "cross-site"}
    for action in ("preview", "save", "undo"):
        assert client.post(f"{PAGE}/{action}", data=wish).status_code == 403
        assert client.post(f"{PAGE}/{action}", data=wish, headers=foreign).status_code == 403
    assert client.post(API, json={}, headers=foreign).status_code == 403
    assert world.ledger.tunings() == {}


def test_a_change_of_language_on_a_result_leads_back_to_the_page(client: Any) -> None:
    answer = client.get(f"{PAGE}/preview?lang=en")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?lang=en")


def test_pages_without_a_hub_say_that_they_cannot_tune(world: Any, serve: Any) -> None:
    with_tuning = world.deps
    world.deps = lambda: replace(with_tuning(), tuning=None)
    client = serve(world)
    assert client.get(PAGE).status_code == 404
    assert PAGE not in client.get("/sites/demo/mh0003").text


# -- the api -------------------------------------------------------------------------------------


def test_the_api_tries_saves_compares_and_takes_back(client: Any, world: Any) -> None:
    settings = {"set": {"limit": 12}, "muted": ["air_lock"], "excluded": []}
    found = client.post(f"{API}/preview", json={"settings": settings}).json()
    assert (found["vanishes"], found["appears"], found["stays"]) == (1, 0, 1)
    assert found["foreseen_before"] == found["foreseen_after"] == 1
    assert found["budget"]["goal"] == 0.03
    assert found["changes"][0] == {"what": "limit", "before": None, "after": 12.0}
    made = client.post(API, json={"settings": settings, "reason": "why", "name": "Ann"}).json()
    assert (made["n"], made["actor"], made["reason"]) == (1, "local:Ann", "why")
    stale = client.post(API, json={"settings": {}, "reason": "why", "based_on": 0})
    assert stale.status_code == 409
    both = client.get(f"{API}/compare", params={"a": 1, "b": 0}).json()["differences"]
    assert both[1] == {"what": "muted", "before": "air_lock", "after": None}
    back = client.post(f"{API}/undo", json={"reason": "no"}).json()
    assert (back["n"], back["restores"], back["settings"]) == (2, 0, {})
    view = client.get(API, headers={"accept-language": "en"}).json()
    assert (view["newest"], len(view["versions"])) == (2, 2)
    limit = next(knob for knob in view["knobs"] if knob["name"] == "limit")
    assert (limit["value"], limit["unit"], limit["low"]) == (None, "σ", 4)
    assert limit["raising"].startswith("Higher")


def test_the_api_names_the_field_and_the_remedy(client: Any) -> None:
    muted = {"muted": ["air_lock"]}
    for path, body, field in (
        ("/preview", {"settings": {"set": {"limit": 1e9}}}, "limit"),
        ("/preview", {"settings": {"set": {"limt": 9}}}, "limt"),
        ("/preview", {"settings": {}}, "settings"),
        ("/preview", {"settings": {}, "days": 1}, "days"),
        ("", {"settings": muted, "reason": ""}, "reason"),
        ("", {"settings": muted}, "reason"),
        ("", {"settings": {"muted": ["overflow"]}, "reason": "why"}, "muted"),
        ("", {"settings": muted, "reason": "why", "from_ms": 1}, "from"),
    ):
        answer = client.post(API + path, json=body)
        assert answer.status_code == 422
        assert answer.json()["field"] == field
        assert answer.json()["remedy"]
