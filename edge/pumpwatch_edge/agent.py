"""The agent: what to keep, what to send, when to send it again. No socket, thread or clock inside.

It is fed with what happened and what time it is, and answers with what is to be done. Two lanes
share one connection: events go before bulk, a part of the broker's credit is kept free for them,
and bulk stops when the hub has fallen ``window`` messages behind. A record leaves the outbox only
below the hub's watermark for this epoch; that the broker took it (PUBACK) proves nothing.
"""

from __future__ import annotations

import sys
import uuid
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from pumpwatch_edge import __version__
from pumpwatch_edge.clock import ClockWatch, Now
from pumpwatch_edge.errors import InvalidMessage, OutboxUnavailable
from pumpwatch_edge.message import (
    QOS,
    RETAINED,
    Ack,
    Body,
    Channel,
    Clock,
    Lane,
    Plan,
    Record,
    check_id,
    check_signal,
    decode_ack,
    decode_config,
    encode_reported,
    encode_status,
    event_body,
    parse_topic,
    stamped,
    telemetry_bodies,
    topic,
)
from pumpwatch_edge.outbox import Outbox
from pumpwatch_edge.sampling import Sampled, Sampler, cleaned
from pumpwatch_edge.source import Edge, Reading


@dataclass(frozen=True, slots=True)
class Publish:
    """Hand this to the broker; report its PUBACK by ``handle``."""

    topic: str
    payload: bytes
    retain: bool
    handle: int
    qos: int = QOS


@dataclass(frozen=True, slots=True)
class Subscribe:
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """One line for people."""

    text: str
    warning: bool = True


Action = Publish | Subscribe | Report


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and patience. Messages unless the name says otherwise."""

    window: int = 100
    """Bulk messages above the watermark; events may be ten times as many."""
    unacked: int = 20
    """Messages handed to the broker without its PUBACK."""
    unacked_bulk_bytes: int = 256 * 1024
    patience_ms: int = 60_000
    """How long the hub may stay silent about a message the broker took, before it goes again."""
    max_patience_ms: int = 900_000
    waiting: int = 1_000
    """Messages kept in memory while the outbox cannot be written."""
    status_every_ms: int = 60_000
    """How often a changed status is published anew."""


@dataclass(slots=True)
class _LaneState:
    """Where a lane stands. ``known`` is the highest seq that was, or before a restart may have
    been, sent; ``fresh`` the highest sent by this process."""

    next: int
    known: int
    patience_ms: int
    fresh: int = 0
    taken_ms: dict[int, int] = field(default_factory=dict)
    """seq → when the broker took it, for what is above the watermark."""
    moved_ms: int = 0
    """When the watermark last moved."""


class _Sent(NamedTuple):
    lane: Lane | None
    seq: int
    bulk_bytes: int


class Agent:
    """One station's agent. Every event method returns what is to be done now, in order."""

    def __init__(
        self,
        tenant: str,
        site: str,
        outbox: Outbox,
        *,
        signals: Mapping[str, Mapping[str, object]],
        period_s: float,
        plan: Plan | None = None,
        derive_edges: bool = False,
        limits: Limits | None = None,
        boot: str | None = None,
        watch: ClockWatch | None = None,
    ) -> None:
        self.tenant = check_id(tenant, "tenant")
        self.site = check_id(site, "site")
        self.outbox = outbox
        self.limits = limits or Limits()
        self.boot = boot or uuid.uuid4().hex[:16]
        self.clock = Clock.NTP
        self._watch = watch
        """Only for a wall clock: a scaled one leaves the monotonic clock behind all the time."""
        self.counters: Counter[str] = Counter()
        self.is_connected = False
        self.is_stopped = False
        """The farewell has reached the broker, or there was nobody to take it."""
        self._signals = {check_signal(name): about for name, about in signals.items()}
        self._period_s = period_s
        self._local_plan = plan or Plan()
        self._sampler = Sampler(self._local_plan, signals, derive_edges=derive_edges)
        self._topics = {channel: topic(tenant, site, channel) for channel in Channel}
        self._actions: list[Action] = []
        self._waiting: deque[Body] = deque()
        self._unacked: dict[int, _Sent] = {}
        self._bulk_bytes = 0
        self._credit = self.limits.unacked
        self._handle = 0
        self._farewell: int | None = None
        self._stopping = False
        self._heard_ms = 0
        self._status_ms = 0
        self._status_said: tuple[object, ...] = ()
        self._said: set[str] = set()
        self._is_dated = True
        self._notices = 0
        self._begin_epoch()

    # -- what happens --------------------------------------------------------------------------

    def take(self, items: Iterable[Reading | Edge], now: Now) -> list[Action]:
        """New readings and edges, oldest first."""
        items = list(items)
        self.counters["read"] += len(items)
        self._follow_clock(now)
        if self._watch is not None:
            lost = self._watch.lost
            items = self._watch.take(items, now)
            self.counters["lost_samples"] += self._watch.lost - lost
        self._keep(self._sampler.take(items, now.wall_ms))
        return self._do(now)

    def tick(self, now: Now) -> list[Action]:
        """Time passed."""
        self._date_held(now)
        self._keep(self._sampler.due(now.wall_ms))
        return self._do(now)

    def source_finished(self, now: Now) -> list[Action]:
        """Nothing more will be read: the open batch is closed."""
        self._date_held(now)
        self._keep(self._sampler.flush())
        return self._do(now)

    def connected(self, now: Now, receive_maximum: int | None = None) -> list[Action]:
        """The broker accepted us. Everything above the watermark goes again."""
        self._forget_connection()
        self.is_connected = True
        self._credit = max(1, min(self.limits.unacked, receive_maximum or self.limits.unacked))
        self._actions.append(Subscribe((self._topics[Channel.ACK], self._topics[Channel.CONFIG])))
        self._birth(now)
        return self._do(now)

    def disconnected(self, now: Now) -> list[Action]:
        self._forget_connection()
        self.is_stopped = self._stopping
        return self._do(now)

    def puback(self, handles: Iterable[int], now: Now) -> list[Action]:
        """The broker took messages. An unknown handle belongs to an earlier connection."""
        for handle in handles:
            sent = self._unacked.pop(handle, None)
            if sent is not None:
                self._bulk_bytes -= sent.bulk_bytes
                if sent.lane is not None and sent.seq >= self.outbox.low(sent.lane):
                    self._lanes[sent.lane].taken_ms[sent.seq] = now.mono_ms
            if handle == self._farewell:
                self.is_stopped = True
        return self._do(now)

    def message(
        self, topic_text: str, payload: bytes, now: Now, *, retained: bool = False
    ) -> list[Action]:
        """Something arrived on a topic of ours; ``retained`` when the broker had kept it.

        A kept watermark may be the word of a hub that has since lost its disk: nothing is deleted on
        it. What it covers is sent again, and a hub that has it answers at once.
        """
        try:
            tenant, site, channel = parse_topic(topic_text)
            if (tenant, site) != (self.tenant, self.site):
                raise InvalidMessage("topic", f"{topic_text} is for another site", "check the ACL")
            if channel is Channel.ACK and retained:
                self.counters["kept_acks"] += 1
            elif channel is Channel.ACK and payload:
                self._watermark(decode_ack(payload), now)
            elif channel is Channel.CONFIG:
                self._configure(payload)
        except InvalidMessage as error:
            self.counters["bad_messages"] += 1
            self._say_once(f"bad {topic_text}", f"{topic_text}: {error}")
        return self._do(now)

    def stop(self, now: Now, reason: str = "stopped") -> list[Action]:
        """Close the open batch, take leave; ask `is_stopped` when to hang up."""
        self._date_held(now)
        self._keep(self._sampler.flush())
        self._store()
        if self._watch is not None and self._watch.held:
            self.counters["lost_samples"] += self._watch.held
            self._actions.append(
                Report(f"{self._watch.held} readings are lost: the clock was never right")
            )
        self._stopping = True
        if self.is_connected:
            self._farewell = self._publish(Channel.STATUS, self._offline(reason))
        else:
            self.is_stopped = True
        return self._drain()

    # -- what is asked -------------------------------------------------------------------------

    @property
    def will(self) -> Publish:
        """What the broker says for us when we are gone without a word."""
        return Publish(self._topics[Channel.STATUS], self._offline("connection lost"), True, 0)

    @property
    def resume_at(self) -> int:
        """How many rows of a source that is read anew are in the outbox or at the hub already;
        0 where that cannot be told, because the plan leaves rows out."""
        return 0 if self._sampler.thins else self.outbox.taken

    @property
    def backlog(self) -> int:
        """Messages kept and not yet covered by the watermark."""
        return self.outbox.depth() + len(self._waiting)

    @property
    def plan(self) -> Plan:
        """The sampling plan in force."""
        return self._sampler.plan

    @property
    def pending(self) -> int:
        """Readings taken that are in no message yet."""
        return self._sampler.pending + (self._watch.held if self._watch is not None else 0)

    @property
    def unacked(self) -> int:
        """Messages handed to the broker on this connection without its PUBACK."""
        return len(self._unacked)

    def __repr__(self) -> str:
        state = "connected" if self.is_connected else "disconnected"
        return f"Agent({self.tenant}/{self.site}, {state}, {self.backlog} in outbox)"

    # -- keeping -------------------------------------------------------------------------------

    def _keep(self, sampled: Sampled) -> None:
        for edge in sampled.edges:
            try:
                self._waiting.append(event_body(edge, self.boot, self.clock))
                self.counters["edges"] += 1
            except InvalidMessage as error:
                self.counters["refused"] += 1
                self._say_once(f"edge {edge.signal}", f"an edge was refused: {error}")
        for batch in sampled.batches:
            self._waiting.extend(self._bodies(batch))
            self.counters["samples"] += len(batch)

    def _follow_clock(self, now: Now) -> None:
        """Say when the wall clock was set or cannot be true; times inside one boot stay in order."""
        if self._watch is None:
            return
        jump_ms = self._watch.step(now)
        self._is_dated = self._watch.is_true(now)
        if self._is_dated:
            self._said.discard("clock")
            if self.clock is Clock.UNSYNCED:
                self.clock = Clock.RTC
        else:
            self._say_once(
                "clock",
                "the clock was never set: readings are kept in memory and nothing is sent until it"
                " is right; see that NTP is reachable",
            )
        if jump_ms:
            self.counters["clock_jumps"] += 1
            way = "ahead" if jump_ms > 0 else "back"
            self._actions.append(Report(f"the clock was set {way} by {abs(jump_ms) / 1000:.0f} s"))
        if jump_ms < 0:
            # What was read before bears later times than what comes: that is another boot's order.
            self._keep(self._sampler.flush())
            self.boot = uuid.uuid4().hex[:16]
            self._status_said = ()

    def _date_held(self, now: Now) -> None:
        """What waited for its time goes on once the clock is right."""
        self._follow_clock(now)
        if self._watch is not None and self._watch.held:
            self._keep(self._sampler.take(self._watch.take([], now), now.wall_ms))

    def _bodies(self, batch: list[Reading]) -> list[Body]:
        try:
            return telemetry_bodies(batch, self.boot, self.clock)
        except InvalidMessage as error:
            self._say_once("reading", f"a reading could not be used as it is: {error}")
        bodies = []
        good: list[Reading] = []
        for reading in batch:
            clean, lost = cleaned(reading)
            self.counters["not_finite"] += lost
            try:
                if clean is None:
                    raise InvalidMessage("t", "not a time")
                telemetry_bodies([clean], self.boot, self.clock)
                good.append(clean)
            except InvalidMessage:
                self.counters["refused"] += 1
        bodies += telemetry_bodies(good, self.boot, self.clock)
        return bodies

    def _store(self) -> None:
        if self._waiting:
            try:
                self.outbox.append(list(self._waiting))
                self._waiting.clear()
                self._said.discard("outbox")
            except OutboxUnavailable as error:
                self.counters["outbox_errors"] += 1
                self._say_once("outbox", f"{error}; {len(self._waiting)} messages wait in memory")
                self._bound_waiting()
        self._follow_epoch()
        for notice in self.outbox.notices[self._notices :]:
            self._actions.append(Report(notice))
        self._notices = len(self.outbox.notices)

    def _bound_waiting(self) -> None:
        """Memory has a bound too: the oldest telemetry goes, an event only when nothing else is left."""
        while len(self._waiting) > self.limits.waiting:
            at = next((i for i, b in enumerate(self._waiting) if b.lane is Lane.TELEMETRY), 0)
            self.counters["lost_samples"] += self._waiting[at].rows
            del self._waiting[at]

    def _follow_epoch(self) -> None:
        """A damaged outbox was replaced by a new one: numbering begins anew, and the hub is told."""
        if self.outbox.epoch != self._epoch:
            self._begin_epoch()
            self._status_said = ()

    def _begin_epoch(self) -> None:
        self._epoch = self.outbox.epoch
        self._lanes = {
            lane: _LaneState(self.outbox.low(lane), self.outbox.last(lane), self.limits.patience_ms)
            for lane in Lane
        }

    # -- sending -------------------------------------------------------------------------------

    def _do(self, now: Now) -> list[Action]:
        self._follow_clock(now)
        self._store()
        if self.is_connected and not self._stopping and self._is_dated:
            try:
                for lane in (Lane.EVENT, Lane.TELEMETRY):
                    self._resend(lane, now)
                    self._send(lane, now)
            except OutboxUnavailable as error:
                self.counters["outbox_errors"] += 1
                self._say_once("outbox", str(error))
            if now.mono_ms - self._status_ms >= self.limits.status_every_ms:
                self._birth(now, only_news=True)
        return self._drain()

    def _drain(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _send(self, lane: Lane, now: Now) -> None:
        state, low = self._lanes[lane], self.outbox.low(lane)
        state.next = max(state.next, low)
        while (room := self._room(lane, state.next - low)) > 0:
            records = self.outbox.read(lane, state.next - 1, min(room, 16))
            if not records:
                return
            for record in records:
                if not self._may_send(lane):
                    return
                self._send_record(lane, state, record, low, now)

    def _room(self, lane: Lane, ahead: int) -> int:
        if lane is Lane.EVENT:
            return min(self._credit - len(self._unacked), 10 * self.limits.window - ahead)
        if not self._may_send(lane):
            return 0
        return min(self._bulk_credit - len(self._unacked), self.limits.window - ahead)

    def _may_send(self, lane: Lane) -> bool:
        return lane is Lane.EVENT or self._bulk_bytes < self.limits.unacked_bulk_bytes

    @property
    def _bulk_credit(self) -> int:
        """A fifth of the credit stays free for events; with a credit of one they share it."""
        return max(1, self._credit - max(1, self._credit // 5))

    def _send_record(
        self, lane: Lane, state: _LaneState, record: Record, low: int, now: Now
    ) -> None:
        payload = stamped(record, self._epoch, low, now.wall_ms)
        handle = self._publish(Channel(lane), payload)
        bulk_bytes = len(payload) if lane is Lane.TELEMETRY else 0
        self._bulk_bytes += bulk_bytes
        self._unacked[handle] = _Sent(lane, record.seq, bulk_bytes)
        state.next = record.seq + 1
        state.known = max(state.known, record.seq)
        if record.seq > state.fresh:
            state.fresh = record.seq
            self.counters["sent"] += 1
            self.counters["sent_samples"] += record.rows if lane is Lane.TELEMETRY else 0
        else:
            self.counters["resent"] += 1

    def _resend(self, lane: Lane, now: Now) -> None:
        """Go back to the watermark when the hub stays silent about what the broker took."""
        state, low = self._lanes[lane], self.outbox.low(lane)
        taken_ms = state.taken_ms.get(low)
        if taken_ms is None or state.next <= low:
            return
        if now.mono_ms - max(taken_ms, state.moved_ms) >= state.patience_ms:
            state.next = low
            state.taken_ms.clear()
            # A hub that speaks of other messages only misses this one: it shall not wait longer and longer.
            if now.mono_ms - self._heard_ms >= self.limits.patience_ms:
                state.patience_ms = min(2 * state.patience_ms, self.limits.max_patience_ms)
            self.counters["timeouts"] += 1
            self._say_once(
                "silent hub",
                f"the broker takes {lane} messages but the hub does not acknowledge them: they are"
                " kept and sent again; see whether the hub runs, knows this site and may write its"
                " ack topic",
            )

    def _publish(self, channel: Channel, payload: bytes) -> int:
        self._handle += 1
        retain = channel in RETAINED
        self._actions.append(Publish(self._topics[channel], payload, retain, self._handle))
        self._unacked[self._handle] = _Sent(None, 0, 0)
        return self._handle

    def _forget_connection(self) -> None:
        self.is_connected = False
        self._unacked.clear()
        self._bulk_bytes = 0
        for lane, state in self._lanes.items():
            state.next = self.outbox.low(lane)
            state.taken_ms.clear()
            state.patience_ms = self.limits.patience_ms

    # -- what the hub says -----------------------------------------------------------------------

    def _watermark(self, ack: Ack, now: Now) -> None:
        # 1. Another epoch: an outbox that was ours once, or a hub that knows us from before.
        # 2. Beyond what was ever sent: a fault; deleting on its word would lose records.
        # 3. Otherwise what it covers is on the hub's disk and may go.
        self._follow_epoch()
        if ack.epoch != self._epoch:
            self.counters["foreign_acks"] += 1
            return
        hub_was_silent = now.mono_ms - self._heard_ms >= self.limits.patience_ms
        self._heard_ms = now.mono_ms
        for lane, state in self._lanes.items():
            up_to = ack.up_to(lane)
            if up_to > state.known:
                self.counters["refused_acks"] += 1
                self._say_once(
                    "ack",
                    f"the hub acknowledges {lane} {up_to}, only {state.known} was sent:"
                    " ignored; does another agent use this site's id?",
                )
                continue
            try:
                gone = self.outbox.trim(lane, up_to)
            except OutboxUnavailable as error:
                self.counters["outbox_errors"] += 1
                self._say_once("outbox", str(error))
                return
            if gone:
                sys.audit("pumpwatch.reached", "edge.trimmed")
                self._hub_is_back()
                self.counters["acked"] += gone
                state.moved_ms = now.mono_ms
                state.taken_ms = {s: ms for s, ms in state.taken_ms.items() if s > up_to}
            if gone or hub_was_silent:
                state.patience_ms = self.limits.patience_ms

    def _hub_is_back(self) -> None:
        if "silent hub" in self._said:
            self._said.discard("silent hub")
            self._actions.append(Report("the hub acknowledges again", warning=False))

    def _configure(self, payload: bytes) -> None:
        """A desired plan; an empty payload (cleared) brings the local one back."""
        error = ""
        try:
            plan = decode_config(payload, self._local_plan) if payload else self._local_plan
            self._sampler.replan(plan)
            self._said.discard("plan")
        except InvalidMessage as problem:
            error = str(problem)
            self.counters["bad_messages"] += 1
            self._say_once("plan", f"the desired sampling plan was refused: {error}")
        self._publish(Channel.CONFIG_REPORTED, encode_reported(self._sampler.plan, error))

    # -- status ----------------------------------------------------------------------------------

    def _birth(self, now: Now, *, only_news: bool = False) -> None:
        period_s = self._sampler.plan.period_s or self._period_s
        outbox = self.outbox
        said = (self._epoch, period_s, outbox.thinned, outbox.dropped, outbox.is_filling)
        if only_news and said == self._status_said:
            return
        self._status_said, self._status_ms = said, now.mono_ms
        payload = encode_status(
            online=True,
            boot=self.boot,
            agent=__version__,
            epoch=self._epoch,
            signals=self._signals,
            period_s=period_s,
            outbox=outbox.depth(),
            outbox_percent=outbox.percent,
            thinned=outbox.thinned,
            dropped=outbox.dropped,
        )
        self._publish(Channel.STATUS, payload)

    def _offline(self, reason: str) -> bytes:
        return encode_status(
            online=False, boot=self.boot, agent=__version__, epoch=self._epoch, reason=reason
        )

    def _say_once(self, subject: str, text: str) -> None:
        if subject not in self._said:
            self._said.add(subject)
            self._actions.append(Report(text))
