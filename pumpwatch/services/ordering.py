"""Messages of one sender in the order in which it wrote them, however they arrived."""

from __future__ import annotations

from dataclasses import dataclass, field

from pumpwatch.domain.clock import MINUTE_MS
from pumpwatch.domain.messages import EdgeEvent, Lane, Telemetry

HOLD_MS = 10 * MINUTE_MS
HOLD_MESSAGES = 1_000
KEPT_MISSED = 500
"""Edges of an outbox that were given up and may yet come."""
KEPT_LANES = 64
"""Of one site. An outbox has two, and a replaced one is never heard again: more than so many means
that somebody makes names up, and must not make every later message dearer."""

Sequenced = Telemetry | EdgeEvent
_ROWS = f"/{Lane.TELEMETRY}"


@dataclass
class _LaneOrder:
    expected: int
    held: dict[int, tuple[int, int, Sequenced]] = field(default_factory=dict)
    """seq → (inbox id, received_ms, message)"""
    missed: set[int] = field(default_factory=set)
    """Edges that were given up. Only the hub has: their sender keeps them, and sends them again."""

    def go_on_from(self, seq: int, *, keep: bool) -> None:
        """Give up what lies before ``seq``; ``keep`` it in mind."""
        if keep:
            newly = range(max(self.expected, seq - KEPT_MISSED), seq)
            self.missed = set(sorted(self.missed.union(newly))[-KEPT_MISSED:])
        self.expected = seq


class Resequencer:
    """Puts the messages of one site back into ``seq`` order, per epoch and lane.

    A message that comes too early is held until the hole before it closes, until the sender says
    that nothing below it will come (``low``), or until messages received `HOLD_MS` later (in any
    lane) or `HOLD_MESSAGES` held ones say that it will not. While messages come, only what is in
    the inbox decides, so a replay of the inbox gives the same order; only of a site that fell
    silent does the clock decide (`give_up`). Repeated messages are left out; an edge that was given up
    and comes after all goes on at once, rows that come so late are history for the series alone. While a hole among the edges of an outbox is known, its rows wait too.

    ``expected`` and ``missed`` are what an earlier run said of itself.
    """

    def __init__(
        self, expected: dict[str, int] | None = None, missed: dict[str, list[int]] | None = None
    ) -> None:
        late = missed or {}
        self._lanes = {
            name: _LaneOrder(seq, missed=set(late.get(name, ())))
            for name, seq in (expected or {}).items()
        }

    def take(self, inbox_id: int, received_ms: int, message: Sequenced) -> list[Sequenced]:
        """All messages that may go on now, in order."""
        stamp = message.stamp
        name = f"{stamp.epoch}/{stamp.lane}"
        lane = self._lanes.pop(name, None)
        if lane is None:
            self._forget_one()
            lane = _LaneOrder(stamp.low or stamp.seq)
        self._lanes[name] = lane  # the one heard last is the last
        if stamp.low is not None and stamp.low > lane.expected:
            ready = self._release_up_to(lane, stamp.low)
        else:
            ready = []
        if stamp.seq >= lane.expected:
            lane.held[stamp.seq] = (inbox_id, received_ms, message)
        elif stamp.seq in lane.missed:
            lane.missed.discard(stamp.seq)
            ready.append(message)
        ready += self._release(name, lane)
        return ready + self.give_up(received_ms)

    def give_up(self, now_ms: int) -> list[Sequenced]:
        """What has waited too long by ``now_ms``, in whichever lane: of an outbox that was replaced,
        or of a site that fell silent, nothing may ever come to say so."""
        ready = []
        for name, lane in sorted(self._lanes.items(), key=lambda item: item[0].endswith(_ROWS)):
            while lane.held and self._given_up(lane, now_ms):
                lane.go_on_from(min(lane.held), keep=not name.endswith(_ROWS))
                ready += self._release_in_order(lane)
                ready += self._release(name, lane)
        return ready

    def expected(self) -> dict[str, int]:
        """What the next run must be told to go on from here."""
        return {name: lane.expected for name, lane in self._lanes.items()}

    def missed(self) -> dict[str, list[int]]:
        """The edges that were given up and have not come, of each lane that has any."""
        return {name: sorted(lane.missed) for name, lane in self._lanes.items() if lane.missed}

    def oldest_held_id(self) -> int | None:
        """The lowest inbox id that is still held; a cursor may not pass it."""
        return min(
            (i for lane in self._lanes.values() for i, _, _ in lane.held.values()), default=None
        )

    def _forget_one(self) -> None:
        """Make room for another lane: the one that was silent longest and holds nothing goes."""
        if len(self._lanes) >= KEPT_LANES:
            silent = (name for name, lane in self._lanes.items() if not lane.held)
            self._lanes.pop(next(silent, ""), None)

    def _release(self, name: str, lane: _LaneOrder) -> list[Sequenced]:
        """What may go on of a lane, and the rows that waited for a hole among the edges of their outbox:
        an edge that comes after rows of a later time is old news, and might never be told."""
        epoch, _, kind = name.rpartition("/")
        if kind == Lane.TELEMETRY:
            edges = self._lanes.get(f"{epoch}/{Lane.EVENT}")
            return [] if edges is not None and edges.held else self._release_in_order(lane)
        ready = self._release_in_order(lane)
        rows = self._lanes.get(f"{epoch}/{Lane.TELEMETRY}")
        if rows is not None and not lane.held:
            ready += self._release_in_order(rows)
        return ready

    @staticmethod
    def _release_up_to(lane: _LaneOrder, low: int) -> list[Sequenced]:
        early = sorted(seq for seq in lane.held if seq < low)
        lane.expected = low
        lane.missed = {seq for seq in lane.missed if seq >= low}
        return [lane.held.pop(seq)[2] for seq in early]

    @staticmethod
    def _release_in_order(lane: _LaneOrder) -> list[Sequenced]:
        ready = []
        while lane.expected in lane.held:
            ready.append(lane.held.pop(lane.expected)[2])
            lane.expected += 1
        return ready

    @staticmethod
    def _given_up(lane: _LaneOrder, received_ms: int) -> bool:
        oldest = min(received for _, received, _ in lane.held.values())
        return received_ms - oldest > HOLD_MS or len(lane.held) > HOLD_MESSAGES
