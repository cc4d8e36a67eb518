"""The broker and the lines to it: QoS 1, retained messages, the hub's durable session, and all their failures.

A message that the broker took (PUBACK) may still be lost: with the broker's memory, over a full queue, or for no
reason at all. That is the broker that pumpwatch promises to live with.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, Protocol

from .timeline import MINUTE, SECOND, Timeline


class Packet(NamedTuple):
    topic: str
    payload: bytes
    retain: bool


@dataclass
class Weather:
    """How bad the lines are. Chances are per message, delays in ms."""

    delay: float = 50.0
    drop: float = 0.0
    twice: float = 0.0
    garble: float = 0.0
    reorder: bool = False


class Client(Protocol):
    """A process at the other end of a line."""

    def accepted(self) -> None: ...
    def ended(self, line: Line) -> None: ...
    def took(self, handle: int) -> None: ...
    def arrived(self, packet: Packet, mid: int) -> None: ...


@dataclass
class Line:
    """One connection. What travels on a line that was cut never arrives."""

    client: Client
    name: str
    open: bool = True
    blackhole: bool = False
    """Half open: both sides believe in it and nothing passes."""
    free_at: dict[str, int] = field(default_factory=dict)


@dataclass
class HubSession:
    """What the broker keeps for the hub while it is away."""

    queue: deque[Packet] = field(default_factory=deque)
    inflight: dict[int, Packet] = field(default_factory=dict)
    next_mid: int = 1
    subscribed: bool = False

    def copied(self) -> HubSession:
        waiting = deque([*self.inflight.values(), *self.queue])
        return HubSession(waiting, {}, self.next_mid, self.subscribed)


class Broker:
    """Routes what agents send to the hub's session, and what the hub sends to the agents."""

    def __init__(
        self, timeline: Timeline, *, weather: Weather, max_queued: int, max_inflight: int
    ) -> None:
        self._time, self.weather = timeline, weather
        self._chance: Random = timeline.chance("broker")
        self._max_queued, self._max_inflight = max_queued, max_inflight
        self.is_up = True
        self.unreachable: set[str] = set()
        self.retained: dict[str, bytes] = {}
        self.session = HubSession()
        self._lines: dict[str, Line] = {}
        self._subscribers: dict[str, str] = {}
        self._saved: tuple[dict[str, bytes], HubSession] = ({}, HubSession())

    # -- lines -----------------------------------------------------------------------------------

    def connect(self, name: str, client: Client) -> Line | None:
        """A line to the broker, accepted after a while; None when there is no way there."""
        if not self.is_up or name in self.unreachable:
            return None
        self.hang_up(name)
        line = self._lines[name] = Line(client, name)
        self._travel(line, client.accepted)
        return line

    def hang_up(self, name: str, *, tell: bool = True) -> None:
        line = self._lines.pop(name, None)
        if line is None:
            return
        line.open = False
        for topic in [t for t, owner in self._subscribers.items() if owner == name]:
            del self._subscribers[topic]
        if name == "hub":
            self.session = self.session.copied()
        if tell:
            self._time.after(self._chance.uniform(1, 200), line.client.ended, line)

    def stall(self, name: str) -> None:
        """Half open until somebody's keep-alive notices, within one and a half minutes."""
        line = self._lines.get(name)
        if line is not None:
            line.blackhole = True
            wait = self._chance.uniform(30 * SECOND, 90 * SECOND)
            self._time.after(wait, self._notice, line)

    def _notice(self, line: Line) -> None:
        if line.open:
            self.hang_up(line.name)

    # -- life ------------------------------------------------------------------------------------

    def save(self) -> None:
        """What a broker with persistence has on disk, until it saves again."""
        self._saved = dict(self.retained), self.session.copied()

    def kill(self, *, empty: bool) -> None:
        self.is_up = False
        for name in list(self._lines):
            self.hang_up(name)
        self.retained, self.session = ({}, HubSession()) if empty else self._saved
        self.session = self.session.copied()

    def start(self) -> None:
        self.is_up = True

    # -- what clients do -------------------------------------------------------------------------

    def publish(self, line: Line, packet: Packet, handle: int) -> None:
        """From an agent, a stranger or the hub. The PUBACK says nothing of what becomes of it."""
        for sent in self._spoilt(packet):
            self._travel(line, self._take, line, sent, handle)

    def subscribe(self, line: Line, topics: Sequence[str]) -> None:
        self._travel(line, self._subscribe, line, topics)

    def subscribe_hub(self, line: Line) -> None:
        self._travel(line, self._subscribe_hub, line)

    def ack(self, line: Line, mids: Sequence[int]) -> None:
        self._travel(line, self._acked, line, mids)

    # -- at the broker ---------------------------------------------------------------------------

    def _take(self, line: Line, packet: Packet, handle: int) -> None:
        self._travel(line, line.client.took, handle)
        if self._chance.random() < self.weather.drop:
            self._time.counts["dropped"] += 1
            return
        if packet.retain:
            self.retained[packet.topic] = packet.payload
        subscriber = self._lines.get(self._subscribers.get(packet.topic, ""))
        if subscriber is not None:
            live = packet._replace(retain=False)
            self._travel(subscriber, subscriber.client.arrived, live, 0)
        elif not packet.topic.endswith(("/ack", "/config", "/config/reported")):
            self._queue(packet)

    def _queue(self, packet: Packet) -> None:
        session = self.session
        if not session.subscribed:
            self._time.counts["unheard"] += 1
        elif len(session.queue) >= self._max_queued:
            self._time.counts["overflowed"] += 1
        else:
            session.queue.append(packet)
            self._serve()

    def _serve(self) -> None:
        line, session = self._lines.get("hub"), self.session
        while line and session.subscribed and session.queue:
            if len(session.inflight) >= self._max_inflight:
                return
            packet, mid = session.queue.popleft(), session.next_mid
            session.next_mid = mid % 65_535 + 1
            session.inflight[mid] = packet
            self._travel(line, line.client.arrived, packet, mid)
            if self._chance.random() < self.weather.twice:
                self._time.counts["doubled"] += 1
                self._travel(line, line.client.arrived, packet, mid)

    def _acked(self, line: Line, mids: Sequence[int]) -> None:
        if line is self._lines.get("hub"):
            for mid in mids:
                self.session.inflight.pop(mid, None)
            self._serve()

    def _subscribe(self, line: Line, topics: Sequence[str]) -> None:
        for topic in topics:
            self._subscribers[topic] = line.name
            if topic in self.retained:
                packet = Packet(topic, self.retained[topic], True)
                self._travel(line, line.client.arrived, packet, 0)

    def _subscribe_hub(self, line: Line) -> None:
        if line is self._lines.get("hub"):
            self.session.subscribed = True
            for topic, payload in list(self.retained.items()):
                if topic.endswith("/status"):
                    self._queue(Packet(topic, payload, True))
            self._serve()

    # -- on the way ------------------------------------------------------------------------------

    def _spoilt(self, packet: Packet) -> list[Packet]:
        weather, chance = self.weather, self._chance
        if weather.garble and chance.random() < weather.garble:
            # A checksum protects what travels; what gets past it is garbage that is nobody's twin.
            self._time.counts["garbled"] += 1
            keep = chance.randrange(len(packet.payload) // 2 + 1)
            noise = bytes([0xFF, *chance.randbytes(8)])
            packet = packet._replace(payload=noise + packet.payload[:keep])
        if weather.twice and chance.random() < weather.twice:
            self._time.counts["doubled"] += 1
            return [packet, packet]
        return [packet]

    def _travel(self, line: Line, what: Callable[..., None], *args: object) -> None:
        """Let it happen after a delay, unless the line is gone by then."""
        wait = self._chance.expovariate(1 / self.weather.delay) if self.weather.delay else 0
        due = self._time.now + int(min(wait, 2 * MINUTE)) + 1
        if not self.weather.reorder:
            way = "in" if getattr(what, "__self__", None) is self else "out"
            due = line.free_at[way] = max(due, line.free_at.get(way, 0))
        self._time.at(due, self._arrive, line, what, *args)

    def _arrive(self, line: Line, what: Callable[..., None], *args: object) -> None:
        if line.open and not line.blackhole:
            what(*args)
