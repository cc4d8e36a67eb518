"""One station's edge: the real agent on a modelled disk, with a clock that may be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from pumpwatch_edge.agent import Action, Agent, Limits, Publish, Subscribe
from pumpwatch_edge.clock import ClockWatch, Now
from pumpwatch_edge.errors import OutboxUnavailable
from pumpwatch_edge.message import Body, Lane, Plan, Record
from pumpwatch_edge.outbox import MemoryOutbox
from pumpwatch_edge.publisher import Backoff
from pumpwatch_edge.source import Edge, Reading
from pumpwatch_edge.standby import StandbyOutbox

from .broker import Broker, Line, Packet
from .plant import SERIAL, SIGNALS, Plant
from .timeline import MINUTE, SECOND, Crash, Fuse, Timeline

Name = tuple[str, str, int]
"""epoch, lane, seq: a record of a station."""
Row = tuple[int, int | str]
"""Time as it was stamped, and the serial of the row or the signal of the edge."""


@dataclass
class SideLog:
    """What was durably in the outboxes of a station, written down by an angel."""

    rows: dict[Name, list[Row]] = field(default_factory=dict)
    given_up: set[Name] = field(default_factory=set)
    """Dropped for want of room, set aside with a damaged file, or rotten: said, and not owed."""
    trimmed: int = 0

    def keep(self, name: Name, body: Body | Record) -> None:
        self.rows[name] = _rows_of(body.text)


def _rows_of(text: bytes) -> list[Row]:
    content = json.loads(text)
    if "value" in content:
        return [(content["t"], f"{content['signal']}={content['value']}")]
    return list(zip(content["t"], content["signals"][SERIAL], strict=True))


class Flash(MemoryOutbox):
    """The outbox, as its disk keeps it: appends are synced at once, deletions when the next append is."""

    def __init__(
        self, timeline: Timeline, epoch: str, log: SideLog, fuse: Fuse, max_bytes: int
    ) -> None:
        super().__init__(max_bytes)
        self.epoch = epoch
        self.is_full = False
        self.log = log
        self.fuse = fuse
        self._time = timeline
        self._unsynced: dict[Lane, list[Record]] = {lane: [] for lane in Lane}
        self.on_trim: Callable[[str, Lane, list[Record]], None] = lambda *_: None

    def append(self, bodies: Sequence[Body]) -> list[int]:
        if self.is_full:
            raise OutboxUnavailable("the disk is full", "wait")
        self.fuse.burn("before outbox.append")
        next_seq = dict(self._last)
        for body in bodies:
            next_seq[body.lane] += 1
            self.log.keep((self.epoch, body.lane, next_seq[body.lane]), body)
        seqs = super().append(bodies)
        self._unsynced = {lane: [] for lane in Lane}
        self.fuse.burn("after outbox.append")
        return seqs

    def replace(self, records: Sequence[Record]) -> None:
        for record in records:
            self.log.keep((self.epoch, Lane.TELEMETRY, record.seq), record)
        super().replace(records)

    def drop(self, up_to: int) -> None:
        held = self._held[Lane.TELEMETRY]
        gone = {(self.epoch, str(Lane.TELEMETRY), r.seq) for r in held if r.seq <= up_to}
        self.log.given_up |= gone
        self._time.counts["outbox_dropped"] += len(gone)
        super().drop(up_to)

    def trim(self, lane: Lane, up_to: int) -> int:
        self.fuse.burn("before outbox.trim")
        gone = [record for record in self._held[lane] if record.seq <= up_to]
        self.on_trim(self.epoch, lane, gone)
        self._unsynced[lane] += gone
        trimmed = super().trim(lane, up_to)
        self.fuse.burn("after outbox.trim")
        return trimmed

    def lose_power(self) -> None:
        """What was deleted and not synced is there again."""
        for lane, records in self._unsynced.items():
            self._held[lane] = records + self._held[lane]
            self._bytes += sum(len(record.text) + 64 for record in records)
        self._time.counts["trims_undone"] += sum(map(len, self._unsynced.values()))
        self._unsynced = {lane: [] for lane in Lane}

    def rot(self, chance: Random) -> bool:
        """A bit of flash dies under a record: it stays unreadable whenever it is sent."""
        held = self._held[Lane.TELEMETRY]
        if not held:
            return False
        i = chance.randrange(len(held))
        record = held[i]
        held[i] = record._replace(text=b"\xff\xfe" + record.text[2:])
        self.log.given_up.add((self.epoch, str(Lane.TELEMETRY), record.seq))
        return True


@dataclass
class EdgeHabits:
    """How a station's agent is set up."""

    batch_age_s: float = 600.0
    wake: int = 10 * MINUTE
    max_bytes: int = 10**8
    limits: Limits = field(default_factory=Limits)
    agent: type[Agent] = Agent


class Station:
    """Plant, disk and agent process of one site; `wake` is its clockwork."""

    def __init__(
        self,
        timeline: Timeline,
        broker: Broker,
        plant: Plant,
        habits: EdgeHabits,
        on_trim: Callable[[Station, str, Lane, list[Record]], None],
    ) -> None:
        self.time, self.broker, self.plant, self.habits = timeline, broker, plant, habits
        self.name = plant.key.site
        self.chance = timeline.chance(f"station {self.name}")
        self.log = SideLog()
        self.fuse = Fuse()
        self.wall_offset = 0
        self.is_pristine = True
        """Nothing kept a reading from the outbox or stamped one with a wrong time."""
        self.agent: Agent | None = None
        self._epochs = 0
        self._boots = 0
        self._life = 0
        self._read_to = plant.start - 1
        self._line: Line | None = None
        self._backoff = Backoff(2_000, 60_000, self.chance.random)
        self._on_trim = on_trim
        self.disk = self._new_disk()

    def _new_disk(self) -> Flash:
        self._epochs += 1
        epoch = f"{self.name}-{self._epochs}"
        disk = Flash(self.time, epoch, self.log, self.fuse, self.habits.max_bytes)
        disk.on_trim = lambda epoch, lane, gone: self._on_trim(self, epoch, lane, gone)
        return disk

    # -- life --------------------------------------------------------------------------------------

    def boot(self, *, wrong_clock_for: int = 0) -> None:
        """Start the agent; with a clock that begins in 1970 and is set right after a while."""
        self._boots += 1
        self._life += 1
        self._booted = self.time.now
        self.wall_offset = -self.time.now if wrong_clock_for else 0
        self._read_to = max(self._read_to, self.time.now)
        self.disk.notices.clear()
        self.agent = self.habits.agent(
            self.plant.key.tenant,
            self.plant.key.site,
            StandbyOutbox(self._opened),
            signals=SIGNALS,
            period_s=self.plant.period / 1000,
            plan=Plan(batch_age_s=self.habits.batch_age_s),
            limits=self.habits.limits,
            boot=f"{self.name}-{self._boots}",
            watch=ClockWatch(),
        )
        self._appended = 0
        self._connect(self._life)
        self._wake(self._life)
        if wrong_clock_for:
            self.time.after(wrong_clock_for, self._clock_found, self._life)

    def _opened(self) -> Flash:
        if self.disk.is_full:
            raise OutboxUnavailable("the disk is full", "wait")
        return self.disk

    def end(self, *, power: bool = False) -> None:
        """The process ends without a word; with the power gone, what was not synced goes too."""
        if self.agent is None:
            return
        lost = self.agent.pending + len(self.agent._waiting)
        self.time.counts["readings_lost_in_ram"] += lost
        self.is_pristine = False
        self.agent, self._line = None, None
        self._life += 1
        self.fuse.left = None
        self.broker.hang_up(self.name, tell=False)
        if power:
            self.disk.lose_power()

    def lose_disk(self) -> None:
        """The file is damaged: set aside, said, and begun anew."""
        self.end()
        for lane in Lane:
            for record in self.disk.read(lane, 0, 10**9):
                self.log.given_up.add((self.disk.epoch, str(lane), record.seq))
        self.disk = self._new_disk()

    def set_clock(self, offset: int) -> None:
        """Somebody, or NTP, sets the wall clock: what was read before bears the old one."""
        if self.agent is not None:
            self._guarded(self._read)
        self.wall_offset = offset
        if self.agent is not None:
            self._guarded(self._tick)

    def _clock_found(self, life: int) -> None:
        if life == self._life:
            self.set_clock(0)

    # -- the clockwork -----------------------------------------------------------------------------

    def now(self) -> Now:
        return Now(self.time.now + self.wall_offset, self.time.now - self._booted + 10 * SECOND)

    def _wake(self, life: int) -> None:
        if life != self._life:
            return
        self._guarded(self._read)
        self._guarded(self._tick)
        change = self.plant.next_change(self.time.now)
        wake = self.time.now + int(self.habits.wake * self.chance.uniform(0.5, 1.0))
        self.time.at(min(wake, change or wake), self._wake, life)

    def _read(self) -> None:
        agent, now = self._alive(), self.now()
        items: list[Reading | Edge] = [
            Edge(t + self.wall_offset, signal, value)
            for t, signal, value in self.plant.changes_in(self._read_to, self.time.now)
        ]
        for t, values in self.plant.rows(self._read_to, self.time.now):
            items.append(Reading(t + self.wall_offset, values))
        self._read_to = self.time.now
        self.time.counts["readings"] += len(items)
        if items:
            items.sort(key=lambda item: item.t_ms)
            self._perform(agent.take(items, now))

    def _tick(self) -> None:
        self._perform(self._alive().tick(self.now()))

    def _alive(self) -> Agent:
        assert self.agent is not None
        return self.agent

    def _guarded(self, step: Callable[..., None], *args: object) -> None:
        """One step of the process, which may be its last."""
        if self.agent is None:
            return
        try:
            step(*args)
        except Crash as crash:
            self.time.counts[f"killed {crash.label}"] += 1
            self.time.counts["edge_kills"] += 1
            self.end(power=self.chance.random() < 0.5)
            self.time.after(self.chance.uniform(1, 30) * SECOND, self.boot)

    # -- the network -------------------------------------------------------------------------------

    def _connect(self, life: int) -> None:
        if life != self._life or self._line is not None:
            return
        self._line = self.broker.connect(self.name, self)
        if self._line is None:
            self._retry(life)

    def _retry(self, life: int) -> None:
        wait = self._backoff.next_ms()
        # Nobody needs to see each of the attempts of a night without a network.
        if self.name in self.broker.unreachable or not self.broker.is_up:
            wait += MINUTE
        self.time.after(wait, self._connect, life)

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Publish):
                self.fuse.burn("before agent.publish")
                if self._line is not None:
                    packet = Packet(action.topic, action.payload, action.retain)
                    self.broker.publish(self._line, packet, action.handle)
            elif isinstance(action, Subscribe) and self._line is not None:
                self.broker.subscribe(self._line, action.topics)
        self.fuse.burn("after agent.turn")

    def accepted(self) -> None:
        self._backoff.reset()
        self._guarded(lambda: self._perform(self._alive().connected(self.now())))

    def ended(self, line: Line) -> None:
        if line is not self._line:
            return
        self._line = None
        self._guarded(lambda: self._perform(self._alive().disconnected(self.now())))
        self._retry(self._life)

    def took(self, handle: int) -> None:
        self._guarded(lambda: self._perform(self._alive().puback([handle], self.now())))

    def arrived(self, packet: Packet, mid: int) -> None:
        def take() -> None:
            agent, now = self._alive(), self.now()
            kept = packet.retain
            self._perform(agent.message(packet.topic, packet.payload, now, retained=kept))

        self._guarded(take)
