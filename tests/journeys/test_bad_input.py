"""Bad input beside good input, through a real broker and a whole hub: named, counted, nothing else lost."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from pumpwatch.app.cli import app
from pumpwatch.app.datadir import DataDir
from pumpwatch.app.hub import Hub
from pumpwatch.app.settings import Settings
from pumpwatch.diagnosis.assessor import Assessment, SiteAssessor
from pumpwatch.domain.actors import SYSTEM
from pumpwatch.domain.clock import HOUR_MS, MINUTE_MS, WallClock
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site, site_from_dict
from pumpwatch.transports.broker import EmbeddedBroker
from pumpwatch.web.app import create_app
from pumpwatch.web.deps import WebDeps

from .conftest import until

pytestmark = [pytest.mark.broker, pytest.mark.journey]

GOOD, STRANGER = SiteKey("default", "mh-01"), SiteKey("default", "mh-77")
SITE = {
    "site": "mh-77", "sample_s": 10, "well_diameter_m": 1.5, "well_depth_m": 3.4,
    "stop_level_m": 0.45, "start_level_m": 1.2, "high_level_m": 1.8, "pump_capacity_m3_min": 0.6,
}  # fmt: skip
SECONDS = 20


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path / "broker", programs=("mosquitto",)) as broker:
        yield broker


@contextmanager
def hub_at(path: Path, port: int, *sites: SiteKey) -> Iterator[Hub]:
    directory = DataDir(path)
    directory.claim("live")
    with directory.locked():
        hub = Hub(Settings(), directory, WallClock(), [], broker_port=port)
        for key in sites:
            hub.stores.ledger.put_site(key, Site(key.site), SYSTEM, hub.clock.now_ms())
        hub.start()
        try:
            yield hub
        finally:
            hub.stop()


@pytest.fixture
def hub(tmp_path: Path, broker: EmbeddedBroker) -> Iterator[Hub]:
    with hub_at(tmp_path / "hub", broker.port, GOOD) as hub:
        until(lambda: hub.client.connected, "the hub is connected", SECONDS)
        yield hub


class Panel:
    """A bare MQTT client that may say anything."""

    def __init__(self, port: int) -> None:
        self.acks: dict[str, dict[str, Any]] = {}
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_message = self._heard
        self._client.connect("127.0.0.1", port)
        self._client.subscribe("pumpwatch/v1/+/+/ack", 1)
        self._client.loop_start()

    def say(self, payload: bytes, key: SiteKey = GOOD, channel: str = "telemetry") -> None:
        self._client.publish(f"pumpwatch/v1/{key}/{channel}", payload, 1).wait_for_publish(5)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _heard(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self.acks[message.topic] = json.loads(message.payload)


@pytest.fixture
def panel(broker: EmbeddedBroker) -> Iterator[Panel]:
    panel = Panel(broker.port)
    yield panel
    panel.close()


def telemetry(seq: int, t_ms: list[int], epoch: str = "e1", **more: Any) -> bytes:
    signals = more.pop("signals", {"level_m": [0.8] * len(t_ms)})
    body = {"schema": 1, "epoch": epoch, "seq": seq, "low": 1, "sent": t_ms[-1]}
    return json.dumps(body | {"t": t_ms, "signals": signals} | more).encode()


def settled(hub: Hub, messages: int) -> None:
    until(lambda: hub.status().counters["received"] >= messages, "all was received", SECONDS)
    until(hub.caught_up, "all was judged", SECONDS)


def api(hub: Hub) -> TestClient:
    deps = WebDeps(
        queries=hub.queries, alerts=hub.alerts, sites=hub.stores.ledger, feed=hub.feed,
        clock=hub.clock, word=lambda *_: None, status=hub, demo=None, hosts=("127.0.0.1",),
    )  # fmt: skip
    return TestClient(create_app(deps), "http://127.0.0.1")


NOW = WallClock().now_ms() // 1000 * 1000
T = [NOW - 2000, NOW - 1000]
POISON: dict[str, list[bytes]] = {
    "json": [telemetry(2, T)[:-20], b"[" * 50_000],
    "encoding": [b"\xff\xfe\x00"],
    "not_finite": [
        telemetry(4, T).replace(b"0.8,", b"NaN,"),
        telemetry(6, T).replace(b"0.8,", b"1e309,"),
    ],
    "future": [telemetry(8, [NOW, NOW + 24 * HOUR_MS])],
    "mismatch": [telemetry(10, T, site="mh-02"), telemetry(12, T, tenant="demo")],
    "schema": [telemetry(14, T, schema=9), b"[]"],
    "too_large": [b"[" * 100_000],
}


def test_poison_is_set_aside_with_its_reason_and_costs_nothing_else(hub: Hub, panel: Panel) -> None:
    poison = [payload for payloads in POISON.values() for payload in payloads]
    good = 0
    for n, payload in enumerate(poison):
        panel.say(payload)
        panel.say(telemetry(2 * n + 1, [NOW - 60_000 + 1000 * n]))
        good += 1
    settled(hub, len(poison) + good)
    assert hub.stores.series.count(GOOD) == good
    answer = api(hub).get("/api/v1/status").json()
    found = {reason: answer["counters"][f"poison_{reason}"] for reason in POISON}
    assert found == {reason: len(payloads) for reason, payloads in POISON.items()}
    assert answer["problems"] == []
    quarantine = hub.stores.inbox.quarantine()
    assert sorted(row.reason for row in quarantine) == sorted(
        reason for reason, payloads in POISON.items() for _ in payloads
    )
    for row in quarantine:
        assert row.detail
        assert "\n" not in row.detail
        assert row.topic == f"pumpwatch/v1/{GOOD}/telemetry"
    # poison whose number could be read is passed by the watermark, damaged bytes when they come again
    # and again: 15 is the last good one behind them
    for _ in range(2):
        panel.say(POISON["json"][0])
    topic = f"pumpwatch/v1/{GOOD}/ack"
    until(lambda: panel.acks.get(topic, {}).get("telemetry") == 15, "the watermark", SECONDS)


def test_two_agents_with_one_id_lose_nothing_and_are_named(hub: Hub, panel: Panel) -> None:
    for seq in range(1, 6):
        for n, epoch in enumerate(("first", "second")):
            panel.say(telemetry(seq, [NOW - 60_000 + 2000 * seq + 1000 * n], epoch))
            settled(hub, 2 * (seq - 1) + n + 1)
    assert hub.stores.series.count(GOOD) == 10
    status = hub.status()
    assert status.counters["rival_senders"] > 0
    assert status.problems == [
        "default/mh-01 is sent by two agents: give each its own site id, or stop one"
    ]


def test_a_site_whose_judging_fails_is_named_and_costs_no_other_anything(
    hub: Hub, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = SiteAssessor.feed

    def broken(self: SiteAssessor, *rows: Any) -> Assessment:
        if self.key == GOOD:
            raise IndexError("no such cycle")
        return feed(self, *rows)

    monkeypatch.setattr(SiteAssessor, "feed", broken)
    hub.stores.ledger.put_site(STRANGER, site_from_dict(SITE), SYSTEM, NOW)
    messages = three_hours(NOW)
    for payload in messages:
        panel.say(payload, GOOD)
        panel.say(payload, STRANGER)
    settled(hub, 2 * len(messages))
    until(lambda: hub.stores.ledger.open_alerts(STRANGER), "the other's alert", SECONDS)
    until(lambda: hub.stores.series.count(GOOD) == 3 * 360, "its samples all the same", SECONDS)
    status = hub.status()
    assert status.counters["failed_sites"] == 1
    (line,) = status.problems
    assert line.startswith("default/mh-01 is not being judged (IndexError: no such cycle)")
    assert "restart the hub" in line


def three_hours(end_ms: int) -> list[bytes]:
    """A well that fills in 20 minutes and is emptied in 3, and a float that rises at the end."""
    rows: list[tuple[int, float, int, int]] = []
    t_ms, level, run = end_ms - 3 * HOUR_MS, 0.45, 0
    while t_ms < end_ms:
        if level >= 1.2:
            run = 1
        elif level <= 0.45:
            run = 0
        level += -0.75 / 18 if run else 0.75 / 120
        rows.append((t_ms, round(level, 3), run, int(t_ms > end_ms - 5 * MINUTE_MS)))
        t_ms += 10_000
    names = ("level_m", "pump1_run", "high_level")
    return [
        telemetry(
            n + 1,
            [row[0] for row in part],
            signals={name: [row[i + 1] for row in part] for i, name in enumerate(names)},
        )
        for n, part in enumerate(rows[i : i + 30] for i in range(0, len(rows), 30))
    ]


def test_a_site_nobody_approved_is_held_and_gets_everything_once_it_is(
    hub: Hub, panel: Panel
) -> None:
    messages = three_hours(NOW)
    for payload in messages:
        panel.say(payload, STRANGER)
    panel.say(telemetry(1, [NOW - 1000]))
    settled(hub, len(messages) + 1)
    ledger = hub.stores.ledger
    assert hub.status().counters["held"] == len(messages)
    (held,) = until(ledger.held, "the stranger is shown", SECONDS)
    assert (held.key, held.messages) == (STRANGER, len(messages))
    assert hub.stores.series.count(STRANGER) == 0
    assert hub.stores.series.count(GOOD) == 1
    hub.stores.inbox.prune(min(hub.assess.safe_position(), hub.recorder.safe_position()))
    ledger.put_site(STRANGER, site_from_dict(SITE), SYSTEM, hub.clock.now_ms())
    rows = 3 * 360
    until(lambda: hub.stores.series.count(STRANGER) == rows, "its samples are stored", SECONDS)
    until(lambda: ledger.open_alerts(STRANGER), "its alert", SECONDS)
    until(lambda: len(ledger.cycles(STRANGER, 0, NOW)) >= 6, "its cycles", SECONDS)
    assert [a.fault for a in ledger.open_alerts(STRANGER)] == [("high_level",)]
    assert ledger.held() == []


def test_a_broker_that_comes_late_is_found_and_one_that_goes_is_named(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "broker", programs=("mosquitto",))
    with broker:
        port = broker.port
    broker = EmbeddedBroker(tmp_path / "broker", port, programs=("mosquitto",))
    with hub_at(tmp_path / "hub", port, GOOD) as hub:
        (line,) = until(lambda: hub.status().problems, "the hub misses its broker", SECONDS)
        assert line.startswith(f"no broker at 127.0.0.1:{port}")
        with broker:
            panel = Panel(port)
            until(lambda: hub.client.connected, "the hub is connected", SECONDS)
            panel.say(telemetry(1, [NOW - 1000]))
            settled(hub, 1)
            assert hub.status().problems == []
            panel.close()
        until(lambda: hub.status().problems, "the hub misses it again", SECONDS)
        assert hub.stores.series.count(GOOD) == 1


# -- recorded files -------------------------------------------------------------------------------


@pytest.fixture
def broken_town(tmp_path: Path) -> Path:
    """One sound site with repeated and unordered rows among folders that are each broken in a way."""
    town = tmp_path / "town"
    lines = ["ts,level_m,pump1_run"]
    lines += [f"2026-03-01T00:{m:02}:{s:02}Z,0.8,0" for m in range(30) for s in (0, 30)]
    body = "\n".join([*lines, lines[3], lines[2]]) + "\n"

    def site(name: str, content: str | bytes, file: str = "data.csv", about: str = "") -> None:
        folder = town / name
        folder.mkdir(parents=True)
        raw = content.encode() if isinstance(content, str) else content
        (folder / file).write_bytes(raw)
        (folder / "site.json").write_text(about or json.dumps({"site": name, "sample_s": 30}))

    site("sound", body)
    site("future", body.replace("2026-", "2096-"))
    site("columnless", body.replace("level_m", "depth"))
    site("empty", "")
    site("truncated", gzip.compress(body.encode())[:-40], "data.csv.gz")
    site("unreadable", body, about='{"site": ')
    site("twin", body, about='{"site": "sound"}')
    return town


def run(*arguments: object) -> tuple[int, dict[str, Any]]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert not done.exception or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout)


BROKEN = {
    "columnless": "level_m",
    "empty": "empty",
    "truncated": "data.csv.gz",
    "unreadable": "JSON",
}


def test_broken_recordings_stop_no_other_on_the_road(broken_town: Path, tmp_path: Path) -> None:
    code, answer = run("replay", broken_town, "--data-dir", tmp_path / "replay")
    rows = {row["site"]: row for row in answer["sites"]}
    assert code == 3
    assert not answer["complete"]
    assert set(answer["failed"]) == {*BROKEN, "twin", "future"}
    for name, says in BROKEN.items():
        assert says in answer["failed"][name]
        assert "\n" not in answer["failed"][name]
    assert "its own id" in answer["failed"]["twin"]
    future = answer["failed"]["future"]
    assert future.startswith("1 messages set aside: default/future telemetry: t: 2096-")
    assert (rows["future"]["sent"], rows["future"]["rejected"]) == (62, 62)
    sound = rows["sound"]
    assert (sound["sent"], sound["stored"], sound["duplicate"], sound["rejected"]) == (62, 60, 2, 0)
    assert sound["problem"] == ""


def test_broken_recordings_stop_no_other_in_a_backtest(broken_town: Path, tmp_path: Path) -> None:
    shutil.rmtree(broken_town / "twin")
    out = tmp_path / "alerts.jsonl"
    code, answer = run("backtest", broken_town, "--out", out, "--workers", 1)
    assert code == 3
    assert (answer["sites"], answer["rows"]) == (6, 120)
    assert set(answer["failed"]) == set(BROKEN)
    for name, says in BROKEN.items():
        assert says in answer["failed"][name]
    assert out.exists()


def test_a_town_of_nothing_but_broken_recordings_fails(broken_town: Path, tmp_path: Path) -> None:
    shutil.rmtree(broken_town / "sound")
    shutil.rmtree(broken_town / "future")
    shutil.rmtree(broken_town / "twin")
    for command in (
        ("replay", broken_town, "--data-dir", tmp_path / "replay"),
        ("backtest", broken_town, "--out", tmp_path / "out", "--workers", 1),
        ("sites", "import", broken_town, "--site", "unreadable", "--data-dir", tmp_path / "live"),
    ):
        code, answer = run(*command)
        assert code == 1, command
        assert "unreadable" in answer["failed"]
