"""The order in which a site's messages are judged does not depend on how they arrived."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import EdgeEvent, Lane, Stamp, Telemetry
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.services.ordering import HOLD_MS, KEPT_LANES, KEPT_MISSED, Resequencer

KEY = SiteKey("default", "mh0001")


def message(seq: int, low: int | None = 1, epoch: str = "e1") -> Telemetry:
    stamp = Stamp(KEY, epoch, Lane.TELEMETRY, seq, sent_ms=0, low=low)
    return Telemetry(stamp, Chunk(np.array([seq]), {}))


def feed(order: Resequencer, seqs: list[int], low: int | None = 1) -> list[int]:
    out = []
    for i, seq in enumerate(seqs):
        out += [m.stamp.seq for m in order.take(i + 1, 0, message(seq, low))]
    return out


@given(st.lists(st.integers(1, 30), max_size=80), st.integers(0, 2**32))
def test_any_arrival_order_comes_out_in_sequence_and_once(repeats: list[int], seed: int) -> None:
    seqs = list(range(1, 31)) + repeats
    random.Random(seed).shuffle(seqs)
    assert feed(Resequencer(), seqs) == list(range(1, 31))


def test_without_low_the_first_message_seen_begins_the_lane() -> None:
    assert feed(Resequencer(), [7, 9, 8], low=None) == [7, 8, 9]


def test_rows_wait_for_a_hole_among_the_edges() -> None:
    order = Resequencer()

    def take(number: int, lane: Lane, seq: int, at: int = 0) -> list[tuple[str, int]]:
        stamp = Stamp(KEY, "e1", lane, seq, sent_ms=0, low=1)
        sent: Telemetry | EdgeEvent = Telemetry(stamp, Chunk(np.array([seq]), {}))
        if lane is Lane.EVENT:
            sent = EdgeEvent(stamp, Edge(seq, "high_level", 1))
        return [(str(m.stamp.lane), m.stamp.seq) for m in order.take(number, at, sent)]

    assert take(1, Lane.EVENT, 1) == [("event", 1)]
    assert take(2, Lane.TELEMETRY, 1) == [("telemetry", 1)]
    assert take(3, Lane.EVENT, 3) == []
    assert take(4, Lane.TELEMETRY, 2) == []
    assert order.oldest_held_id() == 3
    assert take(5, Lane.EVENT, 2) == [("event", 2), ("event", 3), ("telemetry", 2)]
    assert take(6, Lane.EVENT, 5) == take(7, Lane.TELEMETRY, 3) == []
    late = take(8, Lane.TELEMETRY, 4, HOLD_MS + 1)
    assert late == [("event", 5), ("telemetry", 3), ("telemetry", 4)]


def test_low_says_that_nothing_below_will_come() -> None:
    order = Resequencer()
    assert feed(order, [1, 3]) == [1]
    assert [m.stamp.seq for m in order.take(3, 0, message(4, low=3))] == [3, 4]


def test_a_hole_that_never_closes_is_given_up_by_the_inboxs_own_time() -> None:
    order = Resequencer()
    order.take(1, 0, message(1))
    assert order.take(2, 0, message(3)) == []
    assert order.oldest_held_id() == 2
    late = order.take(3, HOLD_MS + 1, message(4))
    assert [m.stamp.seq for m in late] == [3, 4]
    assert order.oldest_held_id() is None


def test_a_hole_of_an_outbox_that_was_replaced_is_given_up_when_the_new_one_speaks() -> None:
    order = Resequencer()
    order.take(1, 0, message(1, epoch="old"))
    assert order.take(2, 0, message(3, epoch="old")) == []
    late = order.take(3, HOLD_MS + 1, message(1, epoch="new"))
    assert sorted((m.stamp.epoch, m.stamp.seq) for m in late) == [("new", 1), ("old", 3)]
    assert order.oldest_held_id() is None


def test_a_hole_of_a_silent_site_is_given_up_by_the_clock() -> None:
    order = Resequencer()
    order.take(1, 0, message(1))
    order.take(2, 0, message(3))
    assert order.give_up(HOLD_MS) == []
    assert [m.stamp.seq for m in order.give_up(HOLD_MS + 1)] == [3]
    assert order.oldest_held_id() is None


def test_going_on_from_the_expected_numbers_repeats_nothing() -> None:
    first = Resequencer()
    feed(first, [1, 2, 4])
    again = Resequencer(first.expected())
    assert feed(again, [1, 2, 3, 4]) == [3, 4]


def test_a_new_outbox_is_a_new_sequence() -> None:
    order = Resequencer()
    feed(order, [1, 2, 3])
    assert [m.stamp.seq for m in order.take(9, 0, message(1, epoch="e2"))] == [1]


def test_outboxes_that_are_made_up_are_forgotten_and_cost_the_true_one_nothing() -> None:
    order = Resequencer()
    feed(order, [1, 2])
    order.take(3, 0, message(4))  # waits for 3
    for n in range(10 * KEPT_LANES):
        assert order.take(10 + n, 0, message(1, epoch=f"made-up-{n}")) != []
    assert len(order.expected()) == KEPT_LANES
    assert feed(order, [3]) == [3, 4]


def test_an_edge_that_was_given_up_and_comes_after_all_is_not_lost() -> None:
    order = Resequencer()

    def take(order: Resequencer, seq: int, at: int = 0) -> list[int]:
        stamp = Stamp(KEY, "e1", Lane.EVENT, seq, sent_ms=0, low=1)
        return [
            m.stamp.seq for m in order.take(seq, at, EdgeEvent(stamp, Edge(seq, "power_ok", 1)))
        ]

    assert take(order, 1) == [1]
    assert take(order, 4) == []
    assert [m.stamp.seq for m in order.give_up(HOLD_MS + 1)] == [4]
    again = Resequencer(order.expected(), order.missed())
    assert take(again, 3, HOLD_MS + 2) == [3]
    assert take(again, 3, HOLD_MS + 3) == []
    assert take(again, 2, HOLD_MS + 4) == [2]
    assert again.missed() == {}
    assert take(again, 5, HOLD_MS + 5) == [5]


def test_edges_given_up_without_end_are_remembered_up_to_a_bound() -> None:
    order = Resequencer()
    for seq in range(1, 10 * KEPT_MISSED, 5):
        stamp = Stamp(KEY, "e1", Lane.EVENT, seq, sent_ms=0, low=1)
        order.take(seq, 0, EdgeEvent(stamp, Edge(seq, "power_ok", 1)))
        order.give_up(HOLD_MS + 1)
    [missed] = order.missed().values()
    assert len(missed) == KEPT_MISSED
    assert missed[-1] == seq - 1
