"""The shell around the door: with a fake network for its rules, with a real broker for its promises."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from pumpwatch.domain.clock import ManualClock, WallClock
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Arrival, Watermark
from pumpwatch.domain.ports import CommitReceipt, DoorOutcome
from pumpwatch.services.ingest import Door
from pumpwatch.stores.inbox import SqliteInbox
from pumpwatch.transports.broker import EmbeddedBroker
from pumpwatch.transports.mqtt import HubClient, IngestLoop, TakeoverWatch, WatermarkPublisher
from pumpwatch.transports.wire import inspect

NOW = 1_763_607_600_000
KEY = SiteKey("default", "mh0001")
TOPIC = "pumpwatch/v1/default/mh0001/telemetry"


def telemetry(seq: int) -> bytes:
    return json.dumps(
        {"schema": 1, "epoch": "e1", "seq": seq, "low": 1, "sent": NOW, "t": [NOW + seq],
         "signals": {"level_m": [0.8]}}
    ).encode()  # fmt: skip


# -- rules ---------------------------------------------------------------------------------------


class FakeLink:
    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.done: list[object] = []
        self.connections = 0

    @property
    def waiting(self) -> int:
        return len(self.arrivals)

    def tend(self) -> None:
        pass

    def drain(self, limit: int) -> list[Arrival]:
        taken, self.arrivals = self.arrivals[:limit], self.arrivals[limit:]
        return taken

    def ack(self, tokens: Sequence[Hashable]) -> None:
        self.done.append(("ack", list(tokens)))

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        self.done.append(("publish", topic, json.loads(payload)["telemetry"], qos, retain))


class FakeDoor:
    def __init__(self, link: FakeLink) -> None:
        self.link = link
        self.error: Exception | None = None
        self.taken: list[list[Hashable]] = []

    def take(self, batch: Sequence[Arrival], now_ms: int) -> DoorOutcome:
        if self.error is not None:
            raise self.error
        tokens = [arrival.token for arrival in batch]
        self.taken.append(tokens)
        self.link.done.append("commit")
        mark = Watermark(KEY, "e1", len(self.taken), 0)
        return DoorOutcome(tokens, [mark], [], {}, CommitReceipt(len(batch), 0))

    def standing(self) -> list[Watermark]:
        if self.error is not None:
            raise self.error
        return [Watermark(KEY, "e1", 300, 0)]


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def door(link: FakeLink) -> FakeDoor:
    return FakeDoor(link)


def arrivals(*tokens: int) -> list[Arrival]:
    return [Arrival(TOPIC, b"", NOW, token) for token in tokens]


def test_first_the_disk_then_the_acknowledgement_then_the_watermark(
    link: FakeLink, door: FakeDoor
) -> None:
    loop = IngestLoop(link, door, ManualClock(NOW))
    link.arrivals = arrivals(1, 2)
    loop.step(0.0)
    ack_topic = "pumpwatch/v1/default/mh0001/ack"
    assert link.done == ["commit", ("ack", [1, 2]), ("publish", ack_topic, 1, 1, True)]


def test_a_full_disk_acknowledges_nothing_backs_off_and_recovers(
    link: FakeLink, door: FakeDoor
) -> None:
    loop = IngestLoop(link, door, ManualClock(NOW), max_retry_s=1.0)
    link.arrivals = arrivals(1)
    door.error = StoreUnavailable("the disk is full")
    for now_s in (0.0, 0.1, 0.3, 0.4):
        loop.step(now_s)
    assert link.done == []
    assert loop.counters["failed_commits"] == 2, "at 0.0 and 0.3: it waits longer each time"
    assert "the disk is full" in str(loop.problem)
    link.arrivals = arrivals(2)
    door.error = None
    loop.step(2.0)
    loop.step(2.1)
    assert door.taken == [[1], [2]]
    assert loop.problem is None


def test_a_disk_that_is_full_for_hours_ends_nothing(link: FakeLink, door: FakeDoor) -> None:
    door.error = StoreUnavailable("the disk is full", "make room")
    loop = IngestLoop(link, door, ManualClock())
    link.arrivals = arrivals(1)
    for tries in range(1_100):
        loop.step(10.0 * tries)
    door.error = None
    loop.step(20_000.0)
    assert door.taken == [[1]]


def test_an_error_nobody_foresaw_loses_nothing_either(link: FakeLink, door: FakeDoor) -> None:
    loop = IngestLoop(link, door, ManualClock(NOW))
    link.arrivals = arrivals(1)
    door.error = ZeroDivisionError("?")
    loop.step(0.0)
    door.error = None
    loop.step(9.0)
    assert door.taken == [[1]]


def test_a_listener_that_fails_stops_nothing(link: FakeLink, door: FakeDoor) -> None:
    def fail(_: DoorOutcome) -> None:
        raise RuntimeError("listener")

    loop = IngestLoop(link, door, ManualClock(NOW), fail)
    link.arrivals = arrivals(1)
    loop.step(0.0)
    assert loop.counters["failed_hooks"] == 1
    assert ("ack", [1]) in link.done


def test_a_batch_is_never_larger_than_the_most(link: FakeLink, door: FakeDoor) -> None:
    loop = IngestLoop(link, door, ManualClock(NOW))
    link.arrivals = arrivals(*range(1, 6_001))
    loop.step(0.0)
    loop.step(0.1)
    assert [len(batch) for batch in door.taken] == [5_000, 1_000]


def test_all_watermarks_are_told_once_on_every_new_connection(
    link: FakeLink, door: FakeDoor
) -> None:
    loop = IngestLoop(link, door, ManualClock(NOW))
    ack = ("publish", "pumpwatch/v1/default/mh0001/ack", 300, 1, True)
    loop.step(0.0)
    assert link.done == []
    door.error = StoreUnavailable("the disk is away")
    link.connections = 1
    loop.step(1.0)
    door.error = None
    loop.step(2.0)
    loop.step(3.0)
    assert link.done == [ack]
    link.connections = 2
    loop.step(4.0)
    assert link.done == [ack, ack]


def test_what_is_published_before_there_is_a_connection_waits_for_it_the_newest_of_each_topic() -> (
    None
):
    client = HubClient("127.0.0.1", 1, install_id="x", clock=ManualClock(NOW))
    sent: list[tuple[str, bytes]] = []
    client._client.publish = lambda topic, payload, *_: sent.append((topic, payload))  # type: ignore[method-assign,assignment]
    for topic, payload in (("a", b"1"), ("b", b"1"), ("a", b"2")):
        client.publish(topic, payload)
    client._send()
    assert sent == []
    client._accepted_at = 0.0
    client._send()
    client._send()
    assert sorted(sent) == [("a", b"2"), ("b", b"1")]


def test_watermarks_of_a_site_are_joined_and_the_last_one_always_goes_out() -> None:
    sent: list[int] = []
    publisher = WatermarkPublisher(
        lambda _topic, payload, _qos, _retain: sent.append(json.loads(payload)["telemetry"]), 0.2
    )
    for n, now_s in enumerate([0.0, 0.05, 0.1, 0.15, 0.21, 0.25]):
        publisher.offer([Watermark(KEY, "e1", n, 0)])
        publisher.flush(now_s)
    assert sent == [0, 4]
    publisher.flush(0.26, everything=True)
    assert sent == [0, 4, 5]
    publisher.flush(9.0)
    assert sent == [0, 4, 5], "nothing new, nothing sent"


def test_short_connections_are_a_takeover_only_when_they_are_many() -> None:
    watch = TakeoverWatch()
    assert [watch.ended(t, t + 2_000) for t in (0, 5_000, 10_000, 15_000, 20_000)] == [
        False, False, False, True, False,
    ]  # fmt: skip
    assert not watch.ended(20_000, 90_000), "one that lasted ends the episode"
    assert not watch.reported
    assert not any(watch.ended(t, t + 100) for t in (100_000, 140_000, 180_000, 220_000))


def test_acknowledgements_of_an_ended_connection_are_dropped() -> None:
    client = HubClient("127.0.0.1", 1, install_id="x", clock=ManualClock(NOW))
    sent: list[int] = []
    client._client.send_pubacks = lambda mids: sent.extend(mids)  # type: ignore[method-assign]
    client._accepted_at = 0.0
    client._on_messages([(b"t", b"", 7), (b"t", b"", 0)])
    old = [arrival.token for arrival in client.drain(9)]
    client._send_acks(old)
    client._connection += 1
    client._send_acks(old)
    assert sent == [7]
    assert client.counters["stale_acks"] == 1


def test_a_topic_that_is_not_utf8_is_still_a_message() -> None:
    client = HubClient("127.0.0.1", 1, install_id="x", clock=ManualClock(NOW))
    client._on_messages([(b"\xff", b"p", 1)])
    assert client.drain(1)[0].topic == "\ufffd"


@pytest.mark.broker
def test_a_broker_that_is_away_at_start_is_named_and_waited_for(
    hubs: Hubs, mosquitto: EmbeddedBroker
) -> None:
    mosquitto.stop()
    hub = hubs(mosquitto.port)
    until(lambda: hub.client.problem)
    assert f"127.0.0.1:{mosquitto.port}" in str(hub.client.problem)
    assert not hub.client.connected
    mosquitto.start()
    until(lambda: hub.client.subscribed)
    assert hub.client.problem is None


def test_a_network_thread_that_died_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    client = HubClient("127.0.0.1", 1, install_id="x", clock=ManualClock(NOW))
    monkeypatch.setattr(client, "_run", lambda: None)
    client.start()
    first = client._thread
    assert first is not None
    first.join()
    assert not client.connected
    client.tend()
    assert client._thread is not first
    client.stop()


# -- promises, with a real broker ----------------------------------------------------------------


def until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Return as soon as the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.005)


class RunningHub:
    """The door with its threads, as `app` puts it together."""

    def __init__(self, folder: Path, port: int, install_id: str = "test") -> None:
        self.clock = WallClock()
        self.inbox = SqliteInbox(folder / "inbox.db")
        self.door = Door(self.inbox, inspect, known_sites=frozenset)
        self.client = HubClient(
            "127.0.0.1", port, install_id=install_id, clock=self.clock, max_retry_s=0.2
        )
        self.loop = IngestLoop(self.client, self.door, self.clock)

    def start(self) -> RunningHub:
        self.client.start()
        self.loop.start()
        return self

    def seqs(self) -> list[int]:
        return [row.stamp.seq for row in self.inbox.read(0, 100_000)]

    def stop(self) -> None:
        self.loop.stop()
        self.client.stop()
        self.inbox.close()


class Agent:
    """Publishes at QoS 1 and remembers the acks it hears."""

    def __init__(self, port: int) -> None:
        self.acks: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_message = self._hear
        self._client.on_connect = lambda client, *_: client.subscribe("pumpwatch/v1/+/+/ack", 1)
        self._client.max_inflight_messages_set(1_000)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _hear(self, _client: object, _data: object, message: Any) -> None:
        self.acks.append((message.topic, message.payload))

    def publish(self, topic: str, payload: bytes) -> None:
        """Return when the broker has it."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(10)

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[Callable[..., RunningHub]]:
    made: list[RunningHub] = []

    def make(port: int, folder: str = "hub", install_id: str = "test") -> RunningHub:
        (tmp_path / folder).mkdir(exist_ok=True)
        made.append(RunningHub(tmp_path / folder, port, install_id).start())
        return made[-1]

    yield make
    for hub in made:
        hub.stop()


@pytest.fixture
def agents() -> Iterator[Callable[[int], Agent]]:
    made: list[Agent] = []

    def make(port: int) -> Agent:
        made.append(Agent(port))
        return made[-1]

    yield make
    for agent in made:
        agent.stop()


Hubs = Callable[..., RunningHub]
Agents = Callable[[int], Agent]


def round_trip(broker: EmbeddedBroker, hubs: Hubs, agents: Agents) -> None:
    hub, agent = hubs(broker.port), agents(broker.port)
    until(lambda: hub.client.subscribed)
    for seq in (1, 2, 2, 3):
        agent.publish(TOPIC, telemetry(seq))
    agent.publish(TOPIC, b"{")
    agent.publish("pumpwatch/v1/default/mh0001/status", b'{"schema": 1, "online": true}')
    until(lambda: hub.door.health().counters["received"] == 6)
    until(lambda: agent.acks and json.loads(agent.acks[-1][1])["telemetry"] == 3)
    assert hub.seqs() == [1, 2, 3]
    assert agent.acks[-1][0] == "pumpwatch/v1/default/mh0001/ack"
    counters = hub.door.health().counters
    assert (counters["duplicate"], counters["poison_json"], counters["births"]) == (1, 1, 1)
    late = agents(broker.port)
    until(lambda: late.acks)
    assert json.loads(late.acks[0][1]) == {"schema": 1, "epoch": "e1", "telemetry": 3, "event": 0}


@pytest.mark.broker
def test_what_is_published_is_stored_acknowledged_and_answered_with_a_watermark(
    mosquitto: EmbeddedBroker, hubs: Hubs, agents: Agents
) -> None:
    round_trip(mosquitto, hubs, agents)


def test_the_broker_in_python_serves_as_well(
    amqtt: EmbeddedBroker, hubs: Hubs, agents: Agents
) -> None:
    round_trip(amqtt, hubs, agents)


@pytest.mark.broker
def test_a_hub_that_was_away_receives_what_was_published_meanwhile(
    mosquitto: EmbeddedBroker, hubs: Hubs, agents: Agents
) -> None:
    agent = agents(mosquitto.port)
    first = hubs(mosquitto.port)
    until(lambda: first.client.subscribed)
    agent.publish(TOPIC, telemetry(1))
    until(lambda: first.seqs() == [1])
    first.stop()
    for seq in range(2, 302):
        agent.publish(TOPIC, telemetry(seq))
    again = hubs(mosquitto.port)
    until(lambda: len(again.seqs()) == 301)
    assert again.seqs() == list(range(1, 302))
    assert again.door.health().counters["duplicate"] == 0


@pytest.mark.broker
def test_what_was_not_durable_is_delivered_again_to_the_next_hub(
    mosquitto: EmbeddedBroker, hubs: Hubs, agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = agents(mosquitto.port)
    first = hubs(mosquitto.port)
    until(lambda: first.client.subscribed)

    def full(*_: object) -> DoorOutcome:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(first.door, "take", full)
    for seq in range(1, 51):
        agent.publish(TOPIC, telemetry(seq))
    until(lambda: first.loop.counters["failed_commits"])
    first.stop()
    again = hubs(mosquitto.port)
    until(lambda: len(again.seqs()) == 50)
    assert again.seqs() == list(range(1, 51))


@pytest.mark.broker
def test_a_killed_broker_is_found_again_and_a_repeated_outbox_completes_the_inbox(
    mosquitto: EmbeddedBroker, hubs: Hubs, agents: Agents
) -> None:
    hub = hubs(mosquitto.port)
    until(lambda: hub.client.subscribed)
    agent = agents(mosquitto.port)
    for seq in range(1, 21):
        agent.publish(TOPIC, telemetry(seq))
    assert mosquitto.pid is not None
    os.kill(mosquitto.pid, signal.SIGKILL)
    until(lambda: not mosquitto.alive)
    until(lambda: not hub.client.connected)
    mosquitto.start()
    until(lambda: hub.client.subscribed)
    again = agents(mosquitto.port)
    for seq in range(1, 41):
        again.publish(TOPIC, telemetry(seq))
    until(lambda: again.acks and json.loads(again.acks[-1][1])["telemetry"] == 40)
    assert sorted(hub.seqs()) == list(range(1, 41))


@pytest.mark.broker
def test_two_hubs_with_one_id_are_told_apart_from_a_bad_line(
    mosquitto: EmbeddedBroker, hubs: Hubs
) -> None:
    one, two = hubs(mosquitto.port, "one"), hubs(mosquitto.port, "two")
    until(lambda: one.client.counters["takeovers"] + two.client.counters["takeovers"])
    problem = str(one.client.problem or two.client.problem)
    assert one.client.client_id in problem
    assert "install id" in problem


@pytest.mark.broker
def test_hubs_with_ids_of_their_own_both_receive(
    mosquitto: EmbeddedBroker, hubs: Hubs, agents: Agents
) -> None:
    pair = [hubs(mosquitto.port, name, install_id=name) for name in ("one", "two")]
    until(lambda: all(hub.client.subscribed for hub in pair))
    agents(mosquitto.port).publish(TOPIC, telemetry(1))
    until(lambda: all(hub.seqs() == [1] for hub in pair))
