"""Every page, in both languages, full and empty, kind and hostile."""

import re
from dataclasses import replace

import pytest

from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.proofs import FLOAT, Proof
from pumpwatch.web.pages import NOTICES

HOSTILE = """<script>alert(1)</script>"'&{{7*7}}"""


def alert_path(world, cause):
    return f"/alerts/{world.alert_of(cause).id}"


@pytest.mark.parametrize("lang", ["ja", "en"])
@pytest.mark.parametrize("path", ["/", "/alerts", "/status", "/sites/demo/mh0003"])
def test_every_page_answers_in_the_language_asked_for(client, path, lang):
    answer = client.get(path, params={"lang": lang})
    assert answer.status_code == 200
    assert f'<html lang="{lang}">' in answer.text
    assert ("施設一覧" in answer.text) == (lang == "ja")


@pytest.mark.parametrize("path", ["/", "/alerts", "/status", "/sites/demo/mh0003"])
def test_no_section_stands_on_a_page_twice(client, path):
    ids = re.findall(r' id="([^"]+)"', client.get(path).text.split("<main")[1])
    assert ids
    assert len(ids) == len(set(ids))


def test_japanese_is_spoken_where_nothing_is_asked_for(client):
    assert '<html lang="ja">' in client.get("/", headers={"accept-language": "fr"}).text


def test_the_browser_s_language_is_used(client):
    answer = client.get("/", headers={"accept-language": "fr-CH, en;q=0.9, ja;q=0.5"})
    assert '<html lang="en">' in answer.text


def test_a_language_once_chosen_stays(client):
    client.get("/?lang=en")
    assert '<html lang="en">' in client.get("/alerts", headers={"accept-language": "ja"}).text


def test_the_fleet_shows_what_needs_attention_first(client):
    text = client.get("/?lang=en").text
    order = [text.index(name) for name in ("鳳南", "東新町第3", "福田", "上野芝")]
    assert order == sorted(order)
    assert "Pump 2: clogging with rags suspected" in text
    assert "田中 has it" in text


def test_the_alert_page_says_what_where_since_when_and_what_to_do(client, world):
    text = client.get(alert_path(world, "capacity:pump2"), params={"lang": "en"}).text
    for said in ("Pump 2", "東新町第3", "Sat 14 Nov 03:12", "What to do", "What to bring", "71%"):
        assert said in text
    assert 'class="since"' in text
    assert "normal 0.30" in text


def test_a_present_fact_is_drawn_with_level_and_runs(client, world):
    text = client.get(alert_path(world, "power"), params={"lang": "en"}).text
    assert "Water level and pump runs over time" in text


def test_the_site_page_shows_gaps_as_gaps(client):
    assert "no data" in client.get("/sites/demo/mh0006?lang=en").text
    assert "Striped" not in client.get("/sites/demo/mh0003?lang=en").text


def test_a_pump_that_never_draws_down_makes_its_station_amber(world, client):
    fleet = client.get("/api/v1/sites").json()["stations"]
    well = next(s["site"] for s in fleet if s["attention"] == "normal")
    key, now_ms = SiteKey("demo", well), world.clock.now_ms()
    world.ledger.put_site(key, replace(world.ledger.site(key), pumps=3), SYSTEM, 1)
    first = Proof("pump1", now_ms - 40 * DAY_MS, now_ms, now_ms)
    late = Proof("pump2", now_ms - 40 * DAY_MS, now_ms, now_ms)
    world.ledger.add_proofs(key, [first, late])
    told = client.get(f"/api/v1/sites/demo/{well}").json()
    assert (told["unproven"], told["attention"]) == (["pump3"], "warning")
    assert told["proofs"][0]["proven_ms"] == now_ms
    assert "No proof of standby: Pump 3" in client.get("/?lang=en").text
    text = client.get(f"/sites/demo/{well}?lang=en").text
    assert "Nobody knows whether it would take over" in text
    assert "none yet" in text.split('id="proofs"')[1]


def test_the_level_sensor_s_witnesses_are_shown_with_their_last_word(world, client):
    key, now_ms = SiteKey("demo", "mh0005"), world.clock.now_ms()
    site = replace(world.ledger.site(key), high_level_m=1.9, inlet_level_m=1.5)
    world.ledger.put_site(key, site, SYSTEM, 1)
    world.ledger.add_proofs(key, [Proof(FLOAT, 1, now_ms, now_ms - DAY_MS, 1.62, 1.9)])
    text = client.get("/sites/demo/mh0005?lang=en").text.split('id="proofs"')[1]
    assert "measured 1.62, expected 1.90 m" in text
    assert "disagreed" in text
    assert "not asked yet" in text


def test_a_silent_station_does_not_pretend_to_know_its_pumps(client):
    text = client.get("/sites/demo/mh0009?lang=en").text
    assert "last 0." in text
    assert "Pumps: not known" in text
    assert "Pumps stopped" not in text.split("<main")[1]


def test_an_empty_fleet_says_what_to_do_next(empty, serve):
    client = serve(empty)
    assert "No station yet" in client.get("/?lang=en").text
    assert "No alert is open." in client.get("/alerts").text
    assert client.get("/status").status_code == 200


def test_a_station_without_data_has_a_page(world, serve, client):
    from pumpwatch.domain.actors import LOCAL
    from pumpwatch.domain.sites import Site

    world.ledger.put_site(SiteKey("demo", "new"), Site("new"), LOCAL, 0)
    text = client.get("/sites/demo/new?lang=en").text
    assert "No data yet" in text
    assert "Not enough cycles yet" in text


@pytest.mark.parametrize("path", ["/nothing", "/sites/demo/none", "/alerts/none", "/sites/x/y"])
@pytest.mark.parametrize("lang", ["ja", "en"])
def test_what_does_not_exist_has_a_page_in_the_house_s_style(client, path, lang):
    answer = client.get(path, params={"lang": lang})
    assert answer.status_code == 404
    said = {"ja": "ページが見つかりません", "en": "This page does not exist"}[lang]
    assert said in answer.text


def test_a_hostile_name_is_only_text(world, client, sample):
    sample.renamed(world, SiteKey("demo", "mh0003"), HOSTILE)
    for path in ("/", "/alerts", "/sites/demo/mh0003", alert_path(world, "capacity:pump2")):
        text = client.get(path).text
        assert "<script>alert" not in text
        assert "{{7*7}}" in text


def test_the_fleet_still_shows_alerts_when_the_time_series_store_is_away(
    world, client, monkeypatch
):
    def away(*args, **kwargs):
        raise StoreUnavailable("series.db: disk is gone", "mount it")

    for name in ("latest", "read_raw", "read_downsampled"):
        monkeypatch.setattr(world.series, name, away)
    text = client.get("/?lang=en").text
    assert "store of measurements does not answer" in text
    assert "clogging with rags suspected" in text
    assert client.get("/sites/demo/mh0003").status_code == 200
    assert client.get(alert_path(world, "power")).status_code == 200


def test_an_unexpected_error_shows_nothing_of_its_inside(world, client, monkeypatch):
    monkeypatch.setattr(world.ledger, "open_alerts", lambda key=None: 1 / 0)
    answer = client.get("/?lang=en")
    assert answer.status_code == 500
    assert "Something went wrong here" in answer.text
    assert "division" not in answer.text


def test_the_demo_says_so_in_both_languages(world, serve):
    text = serve(world, demo=True).get("/").text
    assert "模擬データ" in text
    assert "Simulated data" in text
    assert "Simulated data" not in serve(world).get("/").text


def test_the_status_page_gives_ages(client):
    text = client.get("/status?lang=en").text
    assert "2 hours ago" in text
    assert "1,203,412" in text


# -- forms -----------------------------------------------------------------------------------------


def test_acknowledging_shows_who_has_it(world, client, send):
    path = alert_path(world, "capacity:pump2")
    answer = send(client, f"{path}/acknowledge", name="山本", note="朝一番で行く")
    assert answer.status_code == 303
    text = client.get(answer.headers["location"]).text
    assert "山本が対応中" in text
    assert "朝一番で行く" in text
    assert world.alert_of("capacity:pump2").acknowledged_by == "local:山本"


def test_a_name_once_given_is_filled_in_the_next_time(world, client, send):
    send(client, f"{alert_path(world, 'capacity:pump2')}/acknowledge", name="山本")
    assert 'value="山本"' in client.get(alert_path(world, "backflow:pump1")).text


def test_the_second_to_acknowledge_learns_who_was_first(world, client, send):
    path = alert_path(world, "capacity:pump2")
    send(client, f"{path}/acknowledge", name="山本")
    answer = send(client, f"{path}/acknowledge", name="鈴木")
    text = client.get(answer.headers["location"], params={"lang": "en"}).text
    assert (
        "Somebody else acknowledged this alert before you"
        in client.get(answer.headers["location"] + "&lang=en").text
    )
    assert "山本" in text
    assert world.alert_of("capacity:pump2").acknowledged_by == "local:山本"


def test_an_alert_is_closed_with_what_was_found(world, client, send):
    path = alert_path(world, "capacity:pump2")
    send(client, f"{path}/resolve", name="山本", note="布を除去")
    assert not world.alert_of("capacity:pump2").open
    assert "布を除去" in client.get(path).text


def test_closing_without_a_word_changes_nothing(world, client, send):
    answer = send(client, f"{alert_path(world, 'capacity:pump2')}/resolve", name="山本")
    assert "notice=nothing-said" in answer.headers["location"]
    assert world.alert_of("capacity:pump2").open


def test_what_was_found_is_chosen_shown_and_corrected(world, client, send):
    path = alert_path(world, "capacity:pump2")
    fields = {"cause": "pump_ragging", "target": "pump2", "at": "2020-11-18T02:00"}
    send(client, f"{path}/resolve", name="山本", note="布を除去", **fields)
    text = client.get(path).text
    assert "調査結果を訂正する" in text
    assert "11月18日(水) 02:00" in text
    assert "以前の回答" not in text
    answer = send(client, f"{path}/found", name="鈴木", cause="nothing_found", note=HOSTILE)
    text = client.get(answer.headers["location"]).text
    assert "以前の回答" in text
    assert HOSTILE not in text
    assert [a.cause for a in world.ledger.labels()] == ["pump_ragging", "nothing_found"]
    assert "0%" in client.get("/alerts").text.split('id="right"')[1]


@pytest.mark.parametrize(
    "fields", [{"cause": "gremlins"}, {"cause": "other"}, {"cause": "pump_wear", "at": "soon"}]
)
def test_what_cannot_have_been_found_is_asked_again(world, client, send, fields):
    path = alert_path(world, "capacity:pump2")
    for form in ("resolve", "found"):
        answer = send(client, f"{path}/{form}", **fields)
        assert "notice=found-unclear" in answer.headers["location"]
    assert world.alert_of("capacity:pump2").open
    assert world.ledger.labels() == []


def test_a_failure_that_no_alert_told_of_is_written_down_and_corrected(world, client, send):
    path = "/sites/demo/mh0003"
    assert "見逃した" not in client.get(path).text
    at = {"at": "2020-01-05T10:00"}
    send(client, f"{path}/missed", cause="pump_trip", target="pump1", note="通報", **at)
    assert "通報" in client.get(path).text
    answer = send(client, f"{path}/missed", cause="pump_trip", target="pump1", **at)
    assert "notice=missed-known" in answer.headers["location"]
    (label,) = world.ledger.labels()
    send(client, f"{path}/missed/{label.subject}", cause="nothing_found")
    assert world.ledger.labels()[-1].found_ms == label.found_ms


def test_where_nothing_was_said_nothing_is_claimed(client):
    text = client.get("/alerts?lang=en").text
    assert "Nothing can be said yet" in text
    assert text.count("not known yet") == 3


def test_a_present_fact_is_not_closed_by_hand(world, client, send):
    answer = send(client, f"{alert_path(world, 'power')}/resolve", note="done")
    assert "notice=not-closed" in answer.headers["location"]
    assert world.alert_of("power").open


def test_a_present_fact_of_a_retired_station_is_closed_by_hand(world, client, send):
    path = alert_path(world, "power")
    assert f"{path}/resolve" not in client.get(path).text
    world.ledger.retire_site(world.alert_of("power").key, SYSTEM, 1)
    assert f"{path}/resolve" in client.get(path).text
    send(client, f"{path}/resolve", note="taken out of service")
    assert not world.alert_of("power").open


@pytest.mark.parametrize("notice", NOTICES)
def test_every_notice_is_given_in_the_reader_s_language(client, notice):
    assert NOTICES[notice] in client.get("/alerts", params={"notice": notice, "lang": "en"}).text
    assert (
        NOTICES[notice] not in client.get("/alerts", params={"notice": notice, "lang": "ja"}).text
    )


@pytest.mark.parametrize("notice", ["", "unheard-of", "<b>"])
def test_only_the_house_s_own_notices_are_shown(client, notice):
    assert 'class="notice' not in client.get("/alerts", params={"notice": notice}).text


def test_a_note_joins_the_history(world, client, send):
    path = alert_path(world, "power")
    send(client, f"{path}/note", note="到着<b>")
    assert "到着&lt;b&gt;" in client.get(path).text


def test_a_held_station_is_approved_with_what_its_agent_announced(world, client, send):
    assert "demo/mh0099" in client.get("/status").text
    answer = send(client, "/held/demo/mh0099/approve", label="新家第2")
    assert answer.status_code == 303
    site = world.ledger.site(SiteKey("demo", "mh0099"))
    assert (site.name, site.pumps, site.sample_s) == ("新家第2", 2, 10.0)
    assert "新家第2" in client.get("/").text


def test_only_a_held_station_can_be_approved(client, send):
    assert send(client, "/held/demo/mh7777/approve").status_code == 404


def test_the_demo_starts_and_clears_faults(world, serve, send):
    client = serve(world, demo=True)
    fault = {"station": "mh0004", "fault": "check_valve_leak", "target": "pump2"}
    assert send(client, "/demo/fault", **fault).status_code == 303
    assert world.demo.active_faults()[0].target == "pump2"
    assert "check valve" in client.get("/?lang=en").text
    send(client, "/demo/fault/clear", **fault)
    assert world.demo.active_faults() == []


def test_a_fault_of_the_whole_station_needs_no_pump(world, serve, send):
    client = serve(world, demo=True)
    fault = {"station": "mh0004", "fault": "power_outage", "target": "pump1"}
    assert "fault-started" in send(client, "/demo/fault", **fault).headers["location"]
    assert [(f.fault, f.target) for f in world.demo.active_faults()] == [("power_outage", None)]


def test_a_fault_of_a_pump_needs_its_pump(world, serve, send):
    fault = {"station": "mh0004", "fault": "pump_ragging", "target": ""}
    answer = send(serve(world, demo=True), "/demo/fault", **fault)
    assert "fault-unknown" in answer.headers["location"]
    assert world.demo.active_faults() == []


def test_a_fault_nobody_can_start_is_said_so(world, serve, send):
    answer = send(serve(world, demo=True), "/demo/fault", station="none", fault="pump_ragging")
    assert "notice=fault-unknown" in answer.headers["location"]


def test_the_demo_s_speed_is_told_to_every_page(world, serve, send):
    client, watcher = serve(world, demo=True), world.feed.subscribe()
    send(client, "/demo/speed", speed="300")
    (event,) = watcher.take(1)
    assert (event.kind, event.data["speed"]) == ("clock", 300)


def test_there_are_no_demo_controls_where_data_are_real(client, send):
    answer = send(client, "/demo/fault", station="mh0001", fault="pump_ragging")
    assert answer.status_code == 404
