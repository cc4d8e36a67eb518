from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch_edge.agent import Action, Agent, Limits, Publish, Report, Subscribe
from pumpwatch_edge.clock import Now
from pumpwatch_edge.errors import InvalidMessage, OutboxUnavailable
from pumpwatch_edge.message import Ack, Body, Lane, Plan, encode_ack, encode_config
from pumpwatch_edge.outbox import MemoryOutbox
from pumpwatch_edge.source import Edge, Reading

BASE = "pumpwatch/v1/default/mh0001"
SIGNALS: dict[str, dict[str, object]] = {"level_m": {"unit": "m"}, "pump1_run": {"kind": "state"}}
AT_ONCE = Plan(batch_samples=1)


def agent_on(outbox: MemoryOutbox, plan: Plan = AT_ONCE, **more: Any) -> Agent:
    return Agent("default", "mh0001", outbox, signals=SIGNALS, period_s=10, plan=plan, **more)


def at(mono_ms: int) -> Now:
    return Now(1_700_000_000_000 + mono_ms, mono_ms)


def rows(n: int, start: int = 0) -> list[Reading]:
    return [Reading(1000 * i, {"level_m": i / 100}) for i in range(start, start + n)]


def published(actions: list[Action], channel: str = "") -> list[dict[str, Any]]:
    return [
        json.loads(a.payload)
        for a in actions
        if isinstance(a, Publish) and a.topic.endswith(channel)
    ]


def seqs(actions: list[Action], channel: str = "telemetry") -> list[int]:
    return [content["seq"] for content in published(actions, channel)]


def handles(actions: list[Action]) -> list[int]:
    return [a.handle for a in actions if isinstance(a, Publish)]


def ack(agent: Agent, telemetry: int = 0, event: int = 0, epoch: str = "") -> tuple[str, bytes]:
    return f"{BASE}/ack", encode_ack(Ack(epoch or agent.outbox.epoch, telemetry, event))


def take_all(agent: Agent, actions: list[Action], now: Now) -> list[Action]:
    """The broker takes everything at once; what more is sent then."""
    sent: list[Action] = []
    while actions:
        sent += actions
        actions = [a for handle in handles(actions) for a in agent.puback([handle], now)]
    return sent


@pytest.fixture
def outbox() -> MemoryOutbox:
    return MemoryOutbox()


@pytest.fixture
def agent(outbox: MemoryOutbox) -> Agent:
    return agent_on(outbox)


def test_a_connection_begins_with_subscriptions_and_the_birth(agent: Agent) -> None:
    subscribe, birth = agent.connected(at(0))

    assert subscribe == Subscribe((f"{BASE}/ack", f"{BASE}/config"))
    assert isinstance(birth, Publish)
    assert (birth.topic, birth.retain, birth.qos) == (f"{BASE}/status", True, 1)
    content = json.loads(birth.payload)
    assert content["online"] is True
    assert (content["signals"], content["period_s"], content["outbox"]) == (SIGNALS, 10, 0)


def test_the_will_says_offline_and_is_retained(agent: Agent) -> None:
    assert agent.will.retain
    assert json.loads(agent.will.payload)["online"] is False


def test_nothing_is_published_while_disconnected_but_everything_is_kept(agent: Agent) -> None:
    assert agent.take([*rows(3), Edge(1, "pump1_run", 1)], at(0)) == []
    assert agent.outbox.depth() == 4


def test_a_puback_deletes_nothing(agent: Agent) -> None:
    agent.take(rows(3), at(0))
    take_all(agent, agent.connected(at(0)), at(0))

    assert agent.outbox.depth() == 3
    agent.message(*ack(agent, telemetry=2), at(1))
    assert agent.outbox.low(Lane.TELEMETRY) == 3


def test_events_go_before_bulk(agent: Agent) -> None:
    agent.take([*rows(5), Edge(1, "pump1_run", 1)], at(0))
    actions = agent.connected(at(0))

    topics = [a.topic.rsplit("/", 1)[1] for a in actions if isinstance(a, Publish)]
    assert topics == ["status", "event"] + ["telemetry"] * 5


def test_an_event_passes_though_bulk_has_used_its_credit(agent: Agent) -> None:
    agent.take(rows(60), at(0))
    actions = agent.connected(at(0))

    assert len(handles(actions)) == 16
    assert published(agent.take([Edge(1, "pump1_run", 1)], at(1)), "event")


def test_no_more_is_handed_over_than_the_broker_can_receive(outbox: MemoryOutbox) -> None:
    for maximum, expected in [(None, 16), (5, 4), (1, 1), (65_535, 16)]:
        agent = agent_on(outbox)
        agent.take(rows(60), at(0))
        first = agent.connected(at(0), maximum)
        after = agent.puback(handles(first)[:1], at(0))
        assert len(handles(first + after)) - 1 == expected


def test_what_the_broker_took_in_one_go_is_followed_by_as_much(agent: Agent) -> None:
    agent.take(rows(60), at(0))
    first = handles(agent.connected(at(0)))[1:]

    assert seqs(agent.puback(first[:10], at(0))) == list(range(16, 26))
    assert seqs(agent.puback([first[10], 9_999], at(0))) == [26]


def test_bulk_stops_when_the_hub_is_a_window_behind_and_events_do_not(agent: Agent) -> None:
    agent.take(rows(500), at(0))
    sent = take_all(agent, agent.connected(at(0)), at(0))

    assert seqs(sent) == list(range(1, 101))
    assert seqs(agent.take([Edge(1, "pump1_run", 1)], at(1)), "event") == [1]
    assert seqs(take_all(agent, agent.message(*ack(agent, telemetry=40), at(2)), at(2))) == list(
        range(101, 141)
    )


def test_large_messages_are_handed_over_a_few_at_a_time(outbox: MemoryOutbox) -> None:
    outbox.append([Body(Lane.TELEMETRY, 500, b'{"x":"' + b"x" * 50_000 + b'"}')] * 50)

    assert len(seqs(agent_on(outbox).connected(at(0)))) == 6


def test_low_is_what_the_outbox_still_holds_when_the_message_goes(agent: Agent) -> None:
    agent.take(rows(5), at(0))
    take_all(agent, agent.connected(at(0)), at(0))
    agent.message(*ack(agent, telemetry=2), at(1))
    agent.disconnected(at(2))
    again = published(agent.connected(at(3)), "telemetry")

    assert [(m["seq"], m["low"]) for m in again] == [(3, 3), (4, 3), (5, 3)]


def test_a_record_sent_again_is_the_same_but_for_low_and_the_time_of_sending(agent: Agent) -> None:
    agent.take(rows(1), at(0))
    [first] = published(agent.connected(at(0)), "telemetry")
    agent.disconnected(at(1))
    [second] = published(agent.connected(at(7)), "telemetry")

    assert second["sent"] - first["sent"] == 7
    assert {**first, "sent": 0} == {**second, "sent": 0}


def test_silence_of_the_hub_brings_everything_again_ever_more_rarely(agent: Agent) -> None:
    agent.take(rows(2), at(0))
    take_all(agent, agent.connected(at(0)), at(0))
    resent, said = [], []
    for second in range(1, 3000):
        actions = take_all(agent, agent.tick(at(1000 * second)), at(1000 * second))
        said += [a.text for a in actions if isinstance(a, Report)]
        if seqs(actions):
            resent.append(second)
            assert seqs(actions) == [1, 2]

    assert resent == [60, 180, 420, 900, 1800, 2700]
    said += [a.text for a in agent.message(*ack(agent, 2), at(0)) if isinstance(a, Report)]
    assert ["does not acknowledge" in said[0], said[1:]] == [True, ["the hub acknowledges again"]]


def test_the_hub_heard_again_restores_patience(agent: Agent) -> None:
    agent.take(rows(1), at(0))
    take_all(agent, agent.connected(at(0)), at(0))
    for second in (60, 180, 420):
        take_all(agent, agent.tick(at(1000 * second)), at(1000 * second))
    agent.message(*ack(agent), at(430_000))

    assert seqs(agent.tick(at(480_000))) == [1]


def test_what_is_lost_on_the_way_to_a_hub_that_speaks_goes_again_every_minute(agent: Agent) -> None:
    agent.take([Edge(1, "high_level", 1), *rows(1)], at(0))
    take_all(agent, agent.connected(at(0)), at(0))
    resent = []
    for second in range(1, 400):
        now = at(1000 * second)
        actions = take_all(agent, agent.tick(now), now)
        resent += [second for m in published(actions, "event")]
        agent.take(rows(1, second), now)
        take_all(agent, agent.message(*ack(agent, second), now), now)

    assert resent == [60, 120, 180, 240, 300, 360]


def test_a_message_still_on_its_way_to_the_broker_is_not_sent_twice(agent: Agent) -> None:
    agent.take(rows(1), at(0))
    agent.connected(at(0))

    assert seqs(agent.tick(at(10_000_000))) == []


def test_it_runs_on_when_the_watermark_never_comes(outbox: MemoryOutbox) -> None:
    small = MemoryOutbox(max_bytes=50_000)
    agent = agent_on(small)
    take_all(agent, agent.connected(at(0)), at(0))
    for i in range(2000):
        take_all(agent, agent.take(rows(1, i), at(1000 * i)), at(1000 * i))

    assert small.dropped > 0
    assert small.last(Lane.TELEMETRY) == 2000
    assert agent.unacked == 0
    statuses = published(agent.tick(at(3_000_000)), "status")
    assert [s["dropped"] for s in statuses] == [small.dropped]


def test_people_and_the_hub_are_told_that_the_outbox_fills_before_anything_is_lost() -> None:
    small = MemoryOutbox(max_bytes=50_000)
    agent = agent_on(small)
    agent.connected(at(0))
    said: list[Report] = []
    while not said:
        actions = agent.take(rows(1, small.last(Lane.TELEMETRY)), at(0))
        said += [a for a in actions if isinstance(a, Report)]

    assert said[0].warning
    assert said[0].text.startswith("outbox 80 % full")
    [status] = published(agent.tick(at(60_000)), "status")
    assert (status["outbox_percent"], status["thinned"], status["dropped"]) == (80, 0, 0)


def test_a_watermark_of_another_epoch_deletes_nothing(agent: Agent) -> None:
    agent.take(rows(3), at(0))
    agent.connected(at(0))
    agent.message(*ack(agent, telemetry=3, epoch="of-yesterday"), at(1))

    assert agent.outbox.depth() == 3
    assert agent.counters["foreign_acks"] == 1


def test_a_watermark_beyond_what_was_sent_is_refused_counted_and_said_once(agent: Agent) -> None:
    agent.connected(at(0))
    agent.disconnected(at(0))
    agent.take(rows(3), at(0))
    said = [a for _ in range(3) for a in agent.message(*ack(agent, telemetry=3), at(1))]

    assert agent.outbox.depth() == 3
    assert agent.counters["refused_acks"] == 3
    assert len(said) == 1
    assert isinstance(said[0], Report)
    assert "only 0 was sent" in said[0].text


def test_after_a_restart_a_watermark_for_earlier_records_counts(
    outbox: MemoryOutbox,
) -> None:
    first = agent_on(outbox)
    first.take(rows(5), at(0))
    take_all(first, first.connected(at(0)), at(0))
    second = agent_on(outbox)
    second.connected(at(0))
    second.message(*ack(second, telemetry=4), at(1))

    assert outbox.low(Lane.TELEMETRY) == 5
    assert second.counters["refused_acks"] == 0


def test_a_watermark_the_broker_had_kept_deletes_nothing_for_its_hub_may_be_lost(
    agent: Agent,
) -> None:
    agent.take(rows(3), at(0))
    take_all(agent, agent.connected(at(0)), at(0))
    agent.message(*ack(agent, telemetry=3), at(1), retained=True)
    assert agent.outbox.depth() == 3
    assert agent.counters["kept_acks"] == 1

    agent.message(*ack(agent, telemetry=2), at(2))
    assert agent.outbox.low(Lane.TELEMETRY) == 3, "what a hub says now counts"


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        (f"{BASE}/ack", b"\xff"),
        (f"{BASE}/ack", b'{"schema":1,"epoch":"e","telemetry":1e309,"event":0}'),
        ("pumpwatch/v1/default/mh0002/ack", b"{}"),
        ("elsewhere", b""),
    ],
)
def test_a_bad_message_is_counted_and_said_once(agent: Agent, topic: str, payload: bytes) -> None:
    said = [a for _ in range(3) for a in agent.message(topic, payload, at(0))]

    assert len(said) == 1
    assert agent.counters["bad_messages"] == 3


def test_a_desired_plan_takes_effect_and_is_answered(agent: Agent) -> None:
    agent.connected(at(0))
    [reply] = published(
        agent.message(f"{BASE}/config", encode_config(Plan(20, batch_samples=2)), at(1)), "reported"
    )

    assert (reply["ok"], reply["period_s"], reply["batch_samples"]) == (True, 20, 2)
    assert len(seqs(agent.take(rows(100), at(2)))) == 2
    [status] = published(agent.tick(at(60_000)), "status")
    assert status["period_s"] == 20
    [reply] = published(agent.message(f"{BASE}/config", b"", at(3)), "reported")
    assert reply["period_s"] is None


def test_a_refused_plan_changes_nothing_and_is_answered_with_the_reason(agent: Agent) -> None:
    actions = agent.message(f"{BASE}/config", b'{"schema":1,"batch_samples":0}', at(1))
    [reply] = published(actions, "reported")

    assert (reply["ok"], reply["batch_samples"]) == (False, 1)
    assert "batch_samples" in reply["error"]


def test_a_clean_stop_keeps_the_open_batch_and_takes_leave(outbox: MemoryOutbox) -> None:
    agent = agent_on(outbox, plan=Plan())
    agent.connected(at(0))
    agent.take(rows(3), at(0))
    [farewell] = agent.stop(at(1), "upgrade")

    assert outbox.depth() == 1
    assert isinstance(farewell, Publish)
    assert (json.loads(farewell.payload)["online"], farewell.retain) == (False, True)
    assert json.loads(farewell.payload)["reason"] == "upgrade"
    assert not agent.is_stopped
    agent.puback([farewell.handle], at(2))
    assert agent.is_stopped


def test_a_stop_without_a_connection_waits_for_nobody(agent: Agent) -> None:
    agent.stop(at(0))

    assert agent.is_stopped


def test_bad_values_cost_only_themselves(agent: Agent) -> None:
    agent.take(
        [Reading(0, {"level_m": math.nan, "pump1_run": 1}), Reading(-5, {}), *rows(1)], at(0)
    )
    agent.take([Edge(0, "pump1_run", math.nan), Edge(0, "pump1_run", 1)], at(0))

    texts = [json.loads(r.text) for r in agent.outbox.read(Lane.TELEMETRY, 0, 9)]
    assert [t["signals"] for t in texts] == [
        {"level_m": [None], "pump1_run": [1.0]},
        {"level_m": [0.0]},
    ]
    assert agent.outbox.depth(Lane.EVENT) == 1
    assert (agent.counters["not_finite"], agent.counters["refused"]) == (1, 2)


def test_ids_that_may_not_stand_in_a_topic_are_refused(outbox: MemoryOutbox) -> None:
    with pytest.raises(InvalidMessage, match="site"):
        Agent("default", "MH 1", outbox, signals={}, period_s=10)


class Unwritable(MemoryOutbox):
    broken = True

    def append(self, bodies: Any) -> list[int]:
        if self.broken:
            raise OutboxUnavailable("disk full", "free some")
        return super().append(bodies)


def test_what_cannot_be_written_waits_in_memory_within_a_bound_events_to_the_last() -> None:
    outbox = Unwritable()
    agent = agent_on(outbox, limits=Limits(waiting=10))
    said = agent.take([Edge(0, "pump1_run", 1), *rows(30), Edge(1, "pump1_run", 0)], at(0))
    said += agent.tick(at(1))

    assert len(said) == 1
    assert agent.counters["lost_samples"] == 22
    outbox.broken = False
    agent.tick(at(2))
    assert (outbox.depth(Lane.EVENT), outbox.depth(Lane.TELEMETRY)) == (2, 8)


class Replaceable(MemoryOutbox):
    def begin_anew(self) -> None:
        notices = [*self.notices, "the outbox was damaged"]
        self.__init__()  # type: ignore[misc]
        self.notices = notices


def test_a_new_epoch_starts_from_one_is_announced_and_deaf_to_the_old_watermark() -> None:
    outbox = Replaceable()
    agent = agent_on(outbox)
    agent.take(rows(9), at(0))
    take_all(agent, agent.connected(at(0)), at(0))
    old = ack(agent, telemetry=9)
    outbox.begin_anew()
    outbox.append([Body(Lane.TELEMETRY, 1, b'{"t":[1]}')])
    said = agent.message(*old, at(1))
    assert outbox.depth() == 1
    assert [a.text for a in said if isinstance(a, Report)] == ["the outbox was damaged"]

    actions = agent.tick(at(60_001))
    assert seqs(agent.connected(at(60_002))) == [1]
    assert [s["epoch"] for s in published(actions, "status")] == [outbox.epoch]


# -- the whole road, with everything that can go wrong on it ---------------------------------------


class World:
    """A broker that loses, doubles and reorders, a hub that keeps, and an agent that restarts."""

    def __init__(self) -> None:
        self.outbox = MemoryOutbox()
        self.ms = 0
        self.made: Counter[tuple[str, int]] = Counter()
        self.up: list[Publish] = []
        self.down: list[tuple[str, bytes]] = []
        self.inbox: dict[tuple[str, int], dict[str, Any]] = {}
        self.marks = dict.fromkeys(Lane, 0)
        self.restart()

    @property
    def now(self) -> Now:
        return at(self.ms)

    def restart(self) -> None:
        self.agent = agent_on(self.outbox, plan=Plan(batch_samples=2, batch_age_s=0))
        self.flight: list[Publish] = []

    def do(self, actions: list[Action]) -> None:
        """What is handed to the connection is in flight until it is taken or the line breaks."""
        for action in actions:
            if isinstance(action, Publish):
                assert self.agent.is_connected
                self.flight.append(action)
        assert self.agent.unacked <= 20 + 2

    def read(self, n: int) -> None:
        items: list[Reading | Edge] = []
        for _ in range(n):
            self.ms += 10
            items += [Reading(self.ms, {"level_m": 0.1}), Edge(self.ms, "pump1_run", 1)]
            self.made["telemetry", self.ms] += 1
            self.made["event", self.ms] += 1
        self.do(self.agent.take(items, self.now))

    def broker_takes(self, n: int, *, lose: bool = False) -> None:
        for _ in range(n):
            if self.flight:
                message = self.flight.pop(0)
                if not lose:
                    self.up.append(message)
                self.do(self.agent.puback([message.handle], self.now))

    def hub_takes(self, at: int, *, keep: bool = False) -> None:
        if not self.up:
            return
        message = self.up[at % len(self.up)] if keep else self.up.pop(at % len(self.up))
        channel = message.topic.rsplit("/", 1)[1]
        if channel not in set(Lane):
            return
        content = json.loads(message.payload)
        same = self.inbox.setdefault((channel, content["seq"]), content)
        assert {**same, "low": 0, "sent": 0} == {**content, "low": 0, "sent": 0}
        lane = Lane(channel)
        self.marks[lane] = max(self.marks[lane], content["low"] - 1)
        while (channel, self.marks[lane] + 1) in self.inbox:
            self.marks[lane] += 1
        mark = Ack(content["epoch"], self.marks[Lane.TELEMETRY], self.marks[Lane.EVENT])
        self.down.append((f"{BASE}/ack", encode_ack(mark)))

    def agent_hears(self, at: int, *, keep: bool = False) -> None:
        if self.down and self.agent.is_connected:
            message = self.down[at % len(self.down)] if keep else self.down.pop(at % len(self.down))
            self.do(self.agent.message(*message, self.now))

    def line(self, *, up: bool) -> None:
        self.flight.clear()
        self.do(self.agent.connected(self.now) if up else self.agent.disconnected(self.now))

    def wait(self, s: int) -> None:
        self.ms += 1000 * s
        self.do(self.agent.tick(self.now))

    def heal(self) -> None:
        if not self.agent.is_connected:
            self.line(up=True)
        for _ in range(200):
            self.broker_takes(100)
            while self.up:
                self.hub_takes(0)
            while self.down:
                self.agent_hears(0)
            if not self.outbox.depth() and not self.flight:
                return
            self.wait(1000)
        raise AssertionError(f"{self.outbox.depth()} never came below the watermark")


INDEX = st.integers(0, 50)
CHAOS = st.lists(
    st.one_of(
        st.tuples(st.just(World.read), st.tuples(st.integers(1, 30))),
        st.tuples(st.just(World.broker_takes), st.tuples(st.integers(1, 40))),
        st.tuples(
            st.just(lambda w, n: w.broker_takes(n, lose=True)), st.tuples(st.integers(1, 10))
        ),
        st.tuples(st.just(World.hub_takes), st.tuples(INDEX)),
        st.tuples(st.just(lambda w, i: w.hub_takes(i, keep=True)), st.tuples(INDEX)),
        st.tuples(st.just(World.agent_hears), st.tuples(INDEX)),
        st.tuples(st.just(lambda w, i: w.agent_hears(i, keep=True)), st.tuples(INDEX)),
        st.tuples(st.just(lambda w: w.down.clear()), st.just(())),
        st.tuples(st.just(lambda w: w.up.clear()), st.just(())),
        st.tuples(st.just(lambda w: w.line(up=True)), st.just(())),
        st.tuples(st.just(lambda w: w.line(up=False)), st.just(())),
        st.tuples(st.just(World.restart), st.just(())),
        st.tuples(st.just(World.wait), st.tuples(st.integers(1, 1000))),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=200)
@given(CHAOS)
def test_whatever_the_line_does_everything_ends_below_the_watermark_exactly_once(
    chaos: list,
) -> None:
    world = World()
    for step, arguments in chaos:
        step(world, *arguments)
        held = {(str(lane), r.seq) for lane in Lane for r in world.outbox.read(lane, 0, 10**6)}
        covered = {(str(lane), s) for lane in Lane for s in range(1, world.outbox.low(lane))}
        assert covered <= world.inbox.keys(), "deleted what the hub does not have"
        assert not held & covered
    world.heal()

    stored: Counter[tuple[str, int]] = Counter()
    for (channel, _), content in world.inbox.items():
        times = content["t"] if channel == "telemetry" else [content["t"]]
        stored.update((channel, t) for t in times)
    assert stored == world.made
