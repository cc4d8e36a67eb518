"""The door: nothing is answered for before it is on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from pumpwatch.domain.clock import HOUR_MS
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Arrival, Poison, Watermark
from pumpwatch.domain.ports import CommitReceipt, InboxRow
from pumpwatch.services.ingest import Door
from pumpwatch.stores.inbox import MemoryInbox
from pumpwatch.transports.wire import decode, inspect

NOW = 1_763_607_600_000
KEY, STRANGER = SiteKey("default", "mh0001"), SiteKey("default", "mh0099")


class FullInbox(MemoryInbox):
    full = False

    def commit(
        self, rows: Sequence[InboxRow], poison: Sequence[Poison], now_ms: int
    ) -> CommitReceipt:
        if self.full:
            raise StoreUnavailable("the disk is full")
        return super().commit(rows, poison, now_ms)


def arrival(
    seq: int, site: str = "mh0001", epoch: str = "e1", lane: str = "telemetry", **changes: Any
) -> Arrival:
    content = {"schema": 1, "epoch": epoch, "seq": seq, "low": 1, "sent": NOW}
    content |= {"t": NOW, "signal": "pump1_run", "value": 1} if lane == "event" else {
        "t": [NOW], "signals": {"level_m": [0.8]}
    }  # fmt: skip
    payload = json.dumps(content | changes).encode()
    return Arrival(f"pumpwatch/v1/default/{site}/{lane}", payload, NOW + seq, (epoch, lane, seq))


def birth(site: str = "mh0001") -> Arrival:
    topic = f"pumpwatch/v1/default/{site}/status"
    return Arrival(topic, b'{"schema": 1, "online": true}', NOW, "birth")


@pytest.fixture
def inbox() -> FullInbox:
    return FullInbox()


@pytest.fixture
def door(inbox: FullInbox) -> Door:
    return Door(inbox, inspect, known_sites=lambda: {KEY})


def test_a_batch_is_stored_and_then_answered_in_order(door: Door, inbox: FullInbox) -> None:
    outcome = door.take([arrival(1), arrival(1, lane="event"), arrival(2)], NOW)
    assert outcome.tokens == [("e1", "telemetry", 1), ("e1", "event", 1), ("e1", "telemetry", 2)]
    assert outcome.watermarks == [Watermark(KEY, "e1", 2, 1)]
    assert [row.stamp.seq for row in inbox.read(0, 9)] == [1, 1, 2]
    assert outcome.receipt.stored == 3


def test_without_room_telemetry_is_left_with_its_sender_and_events_are_taken(
    inbox: FullInbox,
) -> None:
    room = False
    door = Door(inbox, inspect, lambda: {KEY}, lambda key: room or key != KEY)
    outcome = door.take([arrival(1), arrival(1, lane="event")], NOW)
    assert len(outcome.tokens) == 2, "the broker's window must not fill with what is refused"
    assert outcome.watermarks == [Watermark(KEY, "e1", 0, 1)]
    assert [row.stamp.lane for row in inbox.read(0, 9)] == ["event"]
    assert door.take([arrival(2)], NOW).watermarks == [], "its sender goes on waiting"
    assert door.health().counters["left_at_edge"] == 2
    room = True
    assert door.take([arrival(1), arrival(2)], NOW).watermarks == [Watermark(KEY, "e1", 2, 1)]


def test_the_full_reading_serves_the_door_as_well(inbox: FullInbox) -> None:
    door = Door(inbox, decode, known_sites=lambda: {KEY})
    outcome = door.take([arrival(1), arrival(1, lane="event")], NOW)
    assert outcome.watermarks == [Watermark(KEY, "e1", 1, 1)]


def test_a_failed_commit_answers_nothing_counts_nothing_and_may_be_repeated(
    door: Door, inbox: FullInbox
) -> None:
    inbox.full = True
    with pytest.raises(StoreUnavailable):
        door.take([arrival(1)], NOW)
    assert door.health().last_commit_ms is None
    assert set(door.health().counters.values()) == {0}
    inbox.full = False
    assert door.take([arrival(1)], NOW).receipt.stored == 1


def test_a_repetition_is_answered_with_the_watermark_its_sender_missed(door: Door) -> None:
    door.take([arrival(1), arrival(2)], NOW)
    outcome = door.take([arrival(1)], NOW)
    assert outcome.receipt.duplicates == 1
    assert outcome.watermarks == [Watermark(KEY, "e1", 2, 0)]


def test_a_door_opened_anew_knows_the_watermarks_on_disk(door: Door, inbox: FullInbox) -> None:
    door.take([arrival(1), arrival(1, lane="event")], NOW)
    again = Door(inbox, inspect, known_sites=lambda: {KEY})
    assert again.take([arrival(2)], NOW).watermarks == [Watermark(KEY, "e1", 2, 1)]


def test_poison_is_set_aside_counted_answered_and_covered(door: Door, inbox: FullInbox) -> None:
    bad = arrival(2, signals={"level_m": ["x"]})
    outcome = door.take([arrival(1), bad, arrival(3)], NOW)
    assert len(outcome.tokens) == 3
    assert outcome.watermarks == [Watermark(KEY, "e1", 3, 0)]
    assert door.health().counters["poison_schema"] == 1
    assert [q.reason for q in inbox.quarantine()] == ["schema"]


def test_a_topic_of_nobody_is_answered_too(door: Door) -> None:
    outcome = door.take([Arrival("else/where", b"x", NOW, 7)], NOW)
    assert (outcome.tokens, outcome.watermarks) == ([7], [])
    assert door.health().counters["poison_topic"] == 1


def test_a_site_nobody_approved_is_stored_held_and_counted(door: Door, inbox: FullInbox) -> None:
    outcome = door.take([arrival(1), arrival(1, "mh0099"), birth("mh0099")], NOW)
    assert outcome.held == {STRANGER: 2}
    assert [row.stamp.key for row in inbox.read(0, 9)] == [KEY, STRANGER]
    assert door.health().counters["held"] == 2
    assert Watermark(STRANGER, "e1", 1, 0) in outcome.watermarks


def test_a_birth_is_handed_on_without_touching_the_disk(door: Door, inbox: FullInbox) -> None:
    inbox.full = True
    outcome = door.take([birth()], NOW)
    assert [b.key for b in outcome.births] == [KEY]
    assert outcome.tokens == ["birth"]
    assert outcome.held == {}


def test_two_agents_of_one_site_keep_their_own_watermarks_the_last_heard_last(door: Door) -> None:
    batch = [arrival(1), arrival(1, epoch="e2"), arrival(2)]
    assert door.take(batch, NOW).watermarks == [
        Watermark(KEY, "e2", 1, 0), Watermark(KEY, "e1", 2, 0),
    ]  # fmt: skip


def test_poison_nobody_can_place_publishes_the_watermark_it_moved(door: Door) -> None:
    topic = "pumpwatch/v1/default/mh0001/telemetry"
    door.take([arrival(1), arrival(3)], NOW)
    outcome = door.take([Arrival(topic, b"?", NOW, n) for n in range(3)], NOW)
    assert outcome.watermarks == [Watermark(KEY, "e1", 3, 0)]


def test_health_tells_when_and_how_much(door: Door) -> None:
    door.take([arrival(1), arrival(1), arrival(4)], NOW + 9)
    health = door.health()
    assert (health.last_message_ms, health.last_commit_ms) == (NOW + 4, NOW + 9)
    assert (health.counters["received"], health.counters["stored"]) == (3, 2)
    assert health.counters["duplicate"] == 1


def test_an_empty_batch_is_nothing(door: Door) -> None:
    outcome = door.take([], NOW)
    assert (outcome.tokens, outcome.watermarks, outcome.births) == ([], [], [])


def test_two_agents_with_one_id_lose_nothing_are_counted_and_named(
    door: Door, inbox: FullInbox
) -> None:
    for seq in (1, 2):
        for epoch in ("e1", "e2"):
            door.take([arrival(seq, epoch=epoch)], NOW)
    assert inbox.last_id() == 4
    assert door.health().counters["rival_senders"] == 2
    (line,) = door.rivals(NOW)
    assert line.startswith("default/mh0001 is sent by two agents")
    assert door.rivals(NOW + 2 * 3_600_000) == []


def test_an_outbox_that_replaces_another_is_no_rival(door: Door) -> None:
    for seq, epoch in [(1, "e1"), (2, "e1"), (1, "e2"), (2, "e2")]:
        door.take([arrival(seq, epoch=epoch)], NOW)
    assert door.health().counters["rival_senders"] == 0
    assert door.rivals(NOW) == []


def late(site: str, seq: int = 1) -> Arrival:
    """A message that is an hour ahead of the hub."""
    return arrival(seq, site, t=[NOW + HOUR_MS])


def test_a_hub_whose_clock_is_behind_lets_its_stations_keep_what_they_send(
    door: Door, inbox: FullInbox
) -> None:
    door.take([late("a"), late("b")], NOW)
    outcome = door.take([late("c"), late("d")], NOW)

    assert len(outcome.tokens) == 2
    assert outcome.watermarks == []
    assert door.health().counters["clock_doubted"] == 2
    assert "set the hub's clock" in door.clock_problem


def test_one_station_with_a_wrong_clock_is_told_so_whoever_else_is_right(
    door: Door, inbox: FullInbox
) -> None:
    door.take([arrival(1, site) for site in ("a", "b", "c")], NOW)
    door.take([late("wrong")], NOW)

    assert [q.reason for q in inbox.quarantine()] == ["future"]
    assert door.clock_problem == ""


def test_the_hubs_clock_is_trusted_again_once_it_is_right(door: Door) -> None:
    door.take([late(site) for site in ("a", "b", "c", "d")], NOW)
    door.take([arrival(2, site) for site in ("a", "b", "c", "d")], NOW + HOUR_MS)

    assert door.clock_problem == ""


def damaged(seq: int, sent: int = NOW) -> Arrival:
    """As the agent sends it, with one byte that the line has spoilt behind the stamp."""
    whole = arrival(seq, sent=sent)
    payload = whole.payload.replace(b"level_m", b"l\xe5vel_m")
    return whole._replace(payload=payload)


def test_a_message_damaged_on_the_way_is_taken_when_it_comes_again_whole(
    door: Door, inbox: FullInbox
) -> None:
    outcome = door.take([arrival(1), damaged(2), arrival(3)], NOW)
    assert outcome.watermarks == [Watermark(KEY, "e1", 1, 0)]
    assert door.take([arrival(2)], NOW).watermarks == [Watermark(KEY, "e1", 3, 0)]
    assert [row.stamp.seq for row in inbox.read(0, 9)] == [1, 3, 2]


def test_a_message_that_is_damaged_each_time_it_comes_does_not_block_its_lane(
    door: Door, inbox: FullInbox
) -> None:
    door.take([arrival(1), arrival(3)], NOW)
    marks = [door.take([damaged(2, sent=NOW + n)], NOW + n).watermarks for n in range(3)]
    assert marks == [[], [], [Watermark(KEY, "e1", 3, 0)]]
    assert [row.reason for row in inbox.quarantine()] == ["encoding"] * 3
