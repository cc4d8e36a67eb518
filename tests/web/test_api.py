"""The JSON API: what it says, and how it says what is wrong."""

from threading import RLock

import pytest

from pumpwatch.alerting.policy import Policy
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import Contact, SiteAge, StageAge
from pumpwatch.services.outages import OutageWatch


def test_the_fleet_is_ranked(client):
    answer = client.get("/api/v1/sites").json()
    assert answer["stations"][0]["name"] == "鳳南"
    assert answer["counts"] == {
        "critical": 0, "alarm": 1, "warning": 2, "silent": 1, "info": 0, "normal": 8,
    }  # fmt: skip


def test_a_tenant_sees_its_own_sites(client):
    assert client.get("/api/v1/sites", params={"tenant": "other"}).json()["stations"] == []


def test_a_site_gives_its_capacity_by_day(client):
    site = client.get("/api/v1/sites/demo/mh0003").json()
    pump2 = site["capacity"][1]
    assert pump2["pump"] == "pump2"
    assert pump2["median_m3s"][-1] < 0.8 * pump2["median_m3s"][0]
    assert pump2["normal_m3s"] == pytest.approx(0.00502)
    assert site["settings"]["well_depth_m"] == 3.4


def test_a_series_is_downsampled(client, world):
    now = world.clock.now_ms()
    wish = {"start_ms": now - 6 * HOUR_MS, "end_ms": now, "points": 10}
    series = client.get("/api/v1/sites/demo/mh0003/series/level_m", params=wish).json()
    assert len(series["t_ms"]) == 10
    assert series["unit"] == "m"
    assert all(
        a <= b <= c for a, b, c in zip(series["min"], series["mean"], series["max"], strict=True)
    )


def test_a_signal_the_site_does_not_have_is_an_empty_series(client):
    assert client.get("/api/v1/sites/demo/mh0003/series/rain_mm_h").json()["t_ms"] == []


def test_cycles_come_in_the_time_asked_for(client, world):
    now = world.clock.now_ms()
    wish = {"start_ms": now - 2 * DAY_MS, "end_ms": now - DAY_MS}
    cycles = client.get("/api/v1/sites/demo/mh0003/cycles", params=wish).json()["cycles"]
    assert len(cycles) == 36
    assert {c["pump"] for c in cycles} == {"pump1", "pump2"}


def test_alerts_that_are_over_come_when_asked_for(client):
    assert len(client.get("/api/v1/alerts").json()["alerts"]) == 3
    every = client.get("/api/v1/alerts", params={"include_resolved": True}).json()["alerts"]
    assert [a["resolved_ms"] is None for a in every] == [True, True, True, False]


def test_an_alert_explains_itself_in_the_language_asked_for(client, world):
    path = f"/api/v1/alerts/{world.alert_of('capacity:pump2').id}"
    alert = client.get(path, headers={"accept-language": "en"}).json()
    assert "clogging with rags" in alert["title"]
    assert alert["evidence"]["capacity_index"] == 0.73
    assert alert["transitions"][0]["step"] == "opened"
    assert "異物絡まり" in client.get(path).json()["title"]


def test_acknowledging_twice_is_a_conflict_that_names_the_first(client, world):
    path = f"/api/v1/alerts/{world.alert_of('capacity:pump2').id}/acknowledge"
    assert client.post(path, json={"name": "山本"}).json()["acknowledged_by"] == "local:山本"
    answer = client.post(path, json={"name": "鈴木"})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert "local:山本" in answer.json()["detail"]
    assert answer.json()["remedy"]


def test_notes_and_closing(client, world):
    path = f"/api/v1/alerts/{world.alert_of('capacity:pump2').id}"
    client.post(f"{path}/notes", json={"note": "seen"})
    answer = client.post(f"{path}/resolve", json={"note": "rags"}).json()
    assert [t["step"] for t in answer["transitions"]] == ["opened", "note", "resolved"]


def test_what_was_found_is_said_with_closing_and_corrected(client, world):
    alert = world.alert_of("capacity:pump2")
    wish = {"name": "山本", "cause": "pump_ragging", "target": "pump2"}
    answer = client.post(f"/api/v1/alerts/{alert.id}/resolve", json=wish).json()
    assert [a["cause"] for a in answer["labels"]] == ["pump_ragging"]
    told = client.post(f"/api/v1/labels/{alert.id}", json={"cause": "nothing_found"}).json()
    assert (told["n"], told["said"], told["actor"]) == (2, "pump_ragging", "local")
    scores = client.get("/api/v1/labels").json()
    assert scores["fleet"]["precision"]["n"] == 1
    assert scores["fleet"]["precision"]["share"] == 0
    assert [site["site"] for site in scores["sites"]] == [alert.key.site]
    detail = client.get(f"/api/v1/alerts/{alert.id}").json()
    assert [a["cause"] for a in detail["labels"]] == ["nothing_found", "pump_ragging"]


def test_a_missed_failure_is_written_down_once(client):
    wish = {"cause": "pump_trip", "target": "pump1", "found_ms": 1_000}
    assert client.post("/api/v1/sites/demo/mh0003/missed", json=wish).json()["alerted"] is False
    assert client.post("/api/v1/sites/demo/mh0003/missed", json=wish).status_code == 409
    answer = client.post("/api/v1/sites/demo/mh0003/missed", json={"cause": "other"})
    assert (answer.status_code, answer.json()["field"]) == (422, "note")
    assert client.get("/api/v1/labels").json()["fleet"]["recall"] == {
        "hits": 0, "n": 1, "share": 0, "low": 0, "high": pytest.approx(0.7935, abs=1e-4),
    }  # fmt: skip


def test_of_nothing_found_nothing_is_claimed(client):
    told = client.get("/api/v1/labels").json()
    assert told["fleet"]["recall"] == {"hits": 0, "n": 0, "share": None, "low": None, "high": None}
    assert told["sites"] == told["labels"] == []


def test_a_persons_change_is_told_to_every_page(client, world):
    watcher = world.feed.subscribe()
    alert = world.alert_of("capacity:pump2")
    client.post(f"/api/v1/alerts/{alert.id}/acknowledge", json={})
    assert [e.data["step"] for e in watcher.take(1)] == ["acknowledged"]


def test_a_held_station_is_approved_with_its_settings(client, world):
    assert client.get("/api/v1/held").json()["held"][0]["messages"] == 31
    wish = {"name": "新家", "well_diameter_m": 1.2}
    answer = client.post("/api/v1/held/demo/mh0099/approve", json=wish)
    assert answer.json()["name"] == "新家"
    assert world.ledger.site(SiteKey("demo", "mh0099")).well_diameter_m == 1.2
    assert client.get("/api/v1/held").json()["held"] == []


def test_a_setting_that_cannot_be_names_its_field(client, world):
    answer = client.post("/api/v1/held/demo/mh0099/approve", json={"well_depth_m": -1})
    assert answer.status_code == 422
    assert answer.json()["field"] == "well_depth_m"
    assert world.ledger.site(SiteKey("demo", "mh0099")) is None


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/api/v1/sites/demo/none", 404, None),
        ("/api/v1/alerts/none", 404, None),
        ("/api/v1/nothing", 404, None),
        ("/api/v1/demo", 404, None),
        ("/api/v1/sites/demo/mh0001/series/smell", 422, "signal"),
        ("/api/v1/sites/demo/mh0001/series/level_m?points=0", 422, "points"),
        ("/api/v1/sites/demo/mh0001/series/level_m?start_ms=9&end_ms=5", 422, "start_ms"),
        ("/api/v1/sites/demo/mh0001/cycles?start_ms=x", 422, "start_ms"),
    ],
)
def test_errors_are_problem_details(client, path, status, field):
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem.get("field")) == (status, field)
    assert problem["detail"]


def test_the_demo_is_driven_over_the_api(world, serve):
    client = serve(world, demo=True)
    fault = {"site": "mh0004", "fault": "pump_ragging", "target": "pump1"}
    assert client.post("/api/v1/demo/faults", json=fault).json()["site"] == "mh0004"
    assert len(client.get("/api/v1/demo").json()["active"]) == 1
    assert client.post("/api/v1/demo/faults/clear", json=fault).json()["active"] == []
    assert client.post("/api/v1/demo/speed", json={"speed": 10}).json()["speed"] == 10
    wrong = client.post("/api/v1/demo/faults", json={**fault, "fault": "gremlins"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "fault")


def test_status_gives_ages(client, world):
    status = client.get("/api/v1/status").json()
    assert status["now_ms"] - status["last_message_ms"] == 2_000


def test_ready_names_what_is_not(client, world):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    world.status.connected = False
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["failed"]) == (503, ["broker"])


def test_ready_names_the_stage_that_keeps_its_work_waiting_and_the_page_marks_it(client, world):
    world.status.stages = [
        StageAge("assess", None, 10_000, 300_000), StageAge("series", 1, 901_000, 900_000),
    ]  # fmt: skip
    told = client.get("/readyz")
    assert (told.status_code, told.json()["failed"]) == (503, ["series"])
    assert told.json()["reasons"] == [
        "series: waits for 901 s, may wait for 900 s: see whether the store of samples answers"
    ]
    assert told.json()["ages"]["assess"] == {"done_s": None, "waiting_s": 10.0, "bound_s": 300.0}
    marked = client.get("/status").text.count("#i-alarm")
    world.status.stages = []
    assert client.get("/status").text.count("#i-alarm") == marked - 1


def test_an_outage_that_people_were_told_of_is_on_the_page_and_the_hub_is_not_ready(client, world):
    now_ms = world.clock.now_ms()
    watch = OutageWatch(world.ledger, Policy(), RLock(), 0)
    watch.step({"telemetry_held"}, now_ms, 0)
    told = client.get("/readyz")
    (alert,) = told.json()["alerts"]
    assert (told.status_code, told.json()["failed"]) == (503, ["telemetry_held"])
    assert (alert["fault"], alert["since_ms"]) == ("telemetry_held", now_ms)
    page, own = "elemetry is left with the stations", f"/alerts/{alert['id']}"
    for path in ("/status", "/alerts"):
        text = client.get(f"{path}?lang=en").text
        assert page in text, path
        assert own in text, path
    text = client.get(f"{own}?lang=en").text
    assert 'href="/status">pumpwatch' in text
    assert "/sites/_/" not in text
    assert alert["id"] in {a["id"] for a in client.get("/api/v1/alerts").json()["alerts"]}
    watch.step([], now_ms + 61_000, 61)
    assert client.get("/readyz").status_code == 200


def test_a_station_that_is_connected_but_silent_is_named_with_its_ages(client, world):
    now_ms = world.clock.now_ms()
    world.status.sites = [
        SiteAge(world.keys[0], Contact.MUTE, now_ms - 900_000, now_ms - 890_000, now_ms - 889_000),
        SiteAge(world.keys[1], Contact.HEARD, now_ms - 9_000, now_ms - 8_000, None),
    ]
    told = client.get("/readyz")
    assert told.status_code == 200
    stations = told.json()["stations"]
    assert (stations["heard"], stations["mute"], stations["offline"]) == (1, 1, 0)
    assert stations["unheard"] == [
        {"site": str(world.keys[0]), "contact": "mute", "sample_s": 900.0, "received_s": 890.0,
         "assessed_s": 889.0}
    ]  # fmt: skip
    page = client.get("/status?lang=en").text
    assert "1 of 2 heard" in page
    assert "connected but silent" in page


def test_operation_ids_stay(client):
    """Generated clients are named after these: add, do not rename."""
    spec = client.get("/api/v1/openapi.json").json()
    ids = {op["operationId"] for path in spec["paths"].values() for op in path.values()}
    assert ids == {
        "list_sites", "get_site", "get_series", "get_cycles", "list_alerts", "get_alert",
        "acknowledge_alert", "add_label", "add_missed_failure", "list_labels", "add_alert_note", "resolve_alert", "list_held", "approve_held",
        "get_status", "get_demo", "start_demo_fault", "clear_demo_fault", "set_demo_speed",
        "get_tuning", "preview_tuning", "save_tuning", "undo_tuning", "compare_tunings",
        "get_models", "promote_model", "roll_back_model",
        "healthz", "readyz",
    }  # fmt: skip
