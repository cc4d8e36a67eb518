"""The hub's door: whatever arrives is read, put on disk, and only then answered for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pumpwatch.domain.clock import HOUR_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import (
    Arrival,
    Birth,
    EdgeEvent,
    Lane,
    Message,
    Poison,
    PoisonReason,
    Stamp,
    Telemetry,
    Watermark,
)
from pumpwatch.domain.ports import CommitReceipt, DoorOutcome, Inbox, InboxRow

_REMEMBERED_SITES = 100_000
_REMEMBERED_OUTBOXES = 8
"""Of one site. It has one; more than two means that somebody makes names up."""

_DAMAGED = {PoisonReason.ENCODING, PoisonReason.JSON}
_DAMAGE_ARRIVALS = 3
"""Arrivals of one message as damaged bytes after which its sender holds nothing better."""
_REMEMBERED_DAMAGE = 10_000

_RIVALS_MS = HOUR_MS
"""So long two agents of one id are told of after the last sign of both."""

CLOCK_BEHIND = "most stations are ahead of the hub: set the hub's clock (NTP); until then they keep what they send"
_CLOCK_WITNESSES = 3
"""So many stations at least must be ahead of the hub before its own clock is doubted."""

_SOUND = (Telemetry, EdgeEvent)

Sender = tuple[SiteKey, str]
"""A site and the epoch of the outbox that speaks for it."""


class Inspect(Protocol):
    """What a payload is: a sound message or just its stamp, a birth, or poison."""

    def __call__(self, topic: str, payload: bytes, now_ms: int, /) -> Stamp | Message | Poison: ...


@dataclass(frozen=True, slots=True)
class DoorHealth:
    """When something last arrived and was last made durable (None: never), and what was counted."""

    last_message_ms: int | None
    last_commit_ms: int | None
    counters: dict[str, int]


@dataclass
class _Batch:
    """A batch, read and sorted out."""

    rows: list[InboxRow]
    poison: list[Poison]
    births: list[Birth]
    senders: dict[Sender, int]
    """The place in the batch at which each was heard last."""
    held: Counter[SiteKey]
    in_doubt: int = 0
    """Messages from the future that were not taken, because the hub's own clock is in doubt."""
    left: int = 0
    """Telemetry for which there is no room."""


class Door:
    """Takes batches of arrivals; only one thread calls `take`, any may ask for `health`.

    A message of a site nobody approved goes into the inbox like any other, so that nothing is lost
    while somebody makes up their mind: it is counted in ``held``, and the consumers of the inbox,
    who ask the `SiteBook` which sites there are, pass over it. Approval makes them read that site
    again from the inbox's beginning. The same payload read again at its ``received_ms`` gives the
    same message, so consumers decode what the inbox holds and always agree with the door.

    Bytes that were damaged are set aside, but a watermark covers them only when the message has come
    damaged several times: mostly it is whole at its sender.

    Where there is no ``room`` for a site, its telemetry is neither kept nor covered by a watermark:
    its sender holds it, sends no more than its window and tries again by and by. Events are taken
    to the last.

    Births (retained, hence delivered again at every connect) are handed on, not stored here. A
    watermark is given for every sender heard, also when only repeated messages came: a repetition
    means that the sender did not get the last one.
    """

    def __init__(
        self,
        inbox: Inbox,
        inspect: Inspect,
        known_sites: Callable[[], Collection[SiteKey]],
        room: Callable[[SiteKey], bool] = lambda _: True,
    ) -> None:
        self._inbox, self._inspect, self._known_sites = inbox, inspect, known_sites
        self._room = room
        self._marks: dict[SiteKey, dict[str, dict[Lane, int]]] = {}
        """By site and epoch."""
        self._speaking: dict[SiteKey, str] = {}
        self._rivals: dict[SiteKey, int] = {}
        self._damaged: Counter[tuple[object, ...]] = Counter()
        self._ahead: set[SiteKey] = set()
        """Stations whose last message was from the future."""
        self.clock_problem = ""
        """One line while most stations say that it is later than the hub thinks."""
        self._last_message_ms: int | None = None
        self._last_commit_ms: int | None = None
        names = [
            "received",
            "stored",
            "duplicate",
            "held",
            "births",
            "rival_senders",
            "clock_doubted",
            "left_at_edge",
        ]
        self._counters = dict.fromkeys([*names, *map(_poison_counter, PoisonReason)], 0)

    def take(self, batch: Sequence[Arrival], now_ms: int) -> DoorOutcome:
        """See `pumpwatch.domain.ports.IngestDoor`."""
        read = self._read(batch)
        if read.rows or read.poison:
            receipt = self._inbox.commit(read.rows, read.poison, now_ms)
            self._last_commit_ms = now_ms
        else:
            receipt = CommitReceipt(0, 0)
        for key, epoch, _ in receipt.watermarks:
            read.senders.setdefault((key, epoch), len(batch))
        # the retained ack of a site belongs to the outbox that was heard last
        senders = sorted(read.senders, key=read.senders.__getitem__)
        for sender in senders:
            self._look_for_rival(sender, now_ms)
        watermarks = [self._watermark(sender, receipt) for sender in senders]
        held = dict(read.held)
        self._count(batch, read, receipt)
        self.clock_problem = CLOCK_BEHIND if self._most_are_ahead() else ""
        return DoorOutcome([a.token for a in batch], watermarks, read.births, held, receipt)

    def health(self) -> DoorHealth:
        return DoorHealth(self._last_message_ms, self._last_commit_ms, dict(self._counters))

    def standing(self) -> list[Watermark]:
        """See `pumpwatch.domain.ports.IngestDoor`."""
        return self._inbox.standing()

    def rivals(self, now_ms: int) -> list[str]:
        """One line for each site for which two agents spoke lately."""
        return [
            f"{key} is sent by two agents: give each its own site id, or stop one"
            for key, seen_ms in list(self._rivals.items())
            if now_ms - seen_ms <= _RIVALS_MS
        ]

    def _doubts_clock(self, poison: Poison) -> bool:
        """Whether a message from the future is more likely proof that the hub's own clock is behind.

        Then it is neither kept nor covered by a watermark: its sender holds it and sends it again,
        so a hub that woke up with a wrong clock loses nothing.
        """
        if poison.key is not None:
            self._ahead.add(poison.key)
        return self._most_are_ahead()

    def _most_are_ahead(self) -> bool:
        heard = len(self._ahead | self._speaking.keys())
        return len(self._ahead) >= _CLOCK_WITNESSES and 2 * len(self._ahead) > heard

    def _as_it_counts(self, poison: Poison) -> Poison:
        """Bytes that were damaged on the way are whole at their sender, who sends them again while no
        watermark covers them; what is damaged each time it comes is so at the sender, and is passed.
        """
        if poison.stamp is None or poison.reason not in _DAMAGED:
            return poison
        name = poison.stamp[:4]
        if len(self._damaged) >= _REMEMBERED_DAMAGE:
            self._damaged.clear()
        self._damaged[name] += 1
        if self._damaged[name] < _DAMAGE_ARRIVALS:
            return replace(poison, stamp=None)
        return poison

    def _look_for_rival(self, sender: Sender, now_ms: int) -> None:
        """An outbox that is replaced never speaks again: one that does has a rival."""
        key, epoch = sender
        before = self._speaking.get(key)
        self._speaking[key] = epoch
        if before not in (None, epoch) and epoch in self._marks.get(key, ()):
            self._rivals[key] = now_ms
            self._counters["rival_senders"] += 1

    def _read(self, batch: Sequence[Arrival]) -> _Batch:
        read = _Batch([], [], [], {}, Counter())
        known = self._known_sites() if batch else ()
        for place, arrival in enumerate(batch):
            topic, payload, received_ms, _ = arrival
            found = self._inspect(topic, payload, received_ms)
            if isinstance(found, _SOUND):
                found = found.stamp
            if isinstance(found, Stamp):
                if found.lane is Lane.TELEMETRY and not self._room(found.key):
                    read.left += 1
                    continue
                read.rows.append(InboxRow(found, topic, payload, received_ms))
                read.senders[found[:2]] = place
                if self._ahead:
                    self._ahead.discard(found.key)
            elif isinstance(found, Birth):
                read.births.append(found)
            elif found.reason is PoisonReason.FUTURE and self._doubts_clock(found):
                read.in_doubt += 1
                continue
            else:
                found = self._as_it_counts(found)
                read.poison.append(found)
                if found.stamp is not None:
                    read.senders[found.stamp.key, found.stamp.epoch] = place
                continue
            if found.key not in known:
                read.held[found.key] += 1
        return read

    def _watermark(self, sender: Sender, receipt: CommitReceipt) -> Watermark:
        key, epoch = sender
        if len(self._marks) >= _REMEMBERED_SITES and key not in self._marks:
            self._marks.clear()
        outboxes = self._marks.setdefault(key, {})
        marks = outboxes.get(epoch)
        if marks is None:
            if len(outboxes) >= _REMEMBERED_OUTBOXES:
                del outboxes[next(iter(outboxes))]
            on_disk = self._inbox.watermarks(key, epoch)
            marks = outboxes[epoch] = {lane: on_disk.get((epoch, lane), 0) for lane in Lane}
        for lane in Lane:
            moved = receipt.watermarks.get((key, epoch, lane))
            if moved is not None:
                marks[lane] = moved
        return Watermark(key, epoch, marks[Lane.TELEMETRY], marks[Lane.EVENT])

    def _count(self, batch: Sequence[Arrival], read: _Batch, receipt: CommitReceipt) -> None:
        """Only what was taken is counted: a batch whose commit failed is offered again."""
        if batch:
            self._last_message_ms = batch[-1].received_ms
        counters = self._counters
        counters["received"] += len(batch)
        counters["stored"] += receipt.stored
        counters["duplicate"] += receipt.duplicates
        counters["held"] += read.held.total()
        counters["births"] += len(read.births)
        counters["clock_doubted"] += read.in_doubt
        counters["left_at_edge"] += read.left
        for poison in read.poison:
            counters[_poison_counter(poison.reason)] += 1


def _poison_counter(reason: PoisonReason) -> str:
    return f"poison_{reason}"
