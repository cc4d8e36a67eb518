"""The hub's side of the broker: a network thread that only queues, and a writer that answers.

paho owns the protocol (connect, TLS, keep-alive, subscriptions); this module owns its thread, because
paho's own costs a system call per acknowledgement, dies of an exception without a word, and still
says it is connected. Nothing is acknowledged before it is durable, and no acknowledgement outlives
its connection: packet ids begin anew with each, and a late one would acknowledge a stranger.
"""

from __future__ import annotations

import contextlib
import logging
import random
import select
import socket
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.reasoncodes import ReasonCode

from pumpwatch.domain.clock import MINUTE_MS, SECOND_MS, Clock
from pumpwatch.domain.errors import PumpwatchError
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Arrival, Watermark
from pumpwatch.domain.ports import DoorOutcome, IngestDoor
from pumpwatch.transports.subscriber import Frame, Subscriber
from pumpwatch.transports.wire import ack_topic, encode_ack

log = logging.getLogger(__name__)

QUEUED_QOS0 = 100_000
"""Messages without acknowledgement wait up to here; the broker's window bounds all others."""
_MOST_DOUBLINGS = 20
"""Of a wait between two tries: more than a thousand no float can hold."""
_MID_BITS, _MID_MASK = 16, 0xFFFF
"""A token is the number of the connection, then the packet id; 0 owes nothing."""


class _Publication(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass
class TakeoverWatch:
    """Tells two clients with one id, who throw each other out for ever, from a bad line.

    More than ``limit`` connections within a minute that the broker accepted and ended again are a
    takeover; it is reported once, and again only after a connection has lasted.
    """

    limit: int = 3
    _short: tuple[int, ...] = ()
    reported: bool = False

    def ended(self, accepted_ms: int, ended_ms: int) -> bool:
        """Note a connection's life on any monotonic clock; True when it is time to say so."""
        if ended_ms - accepted_ms >= MINUTE_MS:
            self._short, self.reported = (), False
            return False
        recent = (t for t in self._short if ended_ms - t < MINUTE_MS)
        self._short = (*recent, ended_ms)
        if len(self._short) <= self.limit or self.reported:
            return False
        self.reported = True
        return True


class HubClient:
    """A durable session at the broker for the channels that go up.

    ``install_id`` tells installations apart: two hubs with one id would take each other's session.
    `drain`, `ack` and `publish` are for the writer's thread; `connected`, `problem` and `counters`
    may be asked by any.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        install_id: str,
        clock: Clock,
        role: str = "hub",
        tenants: Sequence[str] = ("+",),
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        keepalive_s: int = 30,
        max_retry_s: float = 15.0,
    ) -> None:
        self.client_id = f"pumpwatch-{role}-{install_id}"
        self.problem: str | None = None
        """What keeps the hub from the broker, in one line; None when nothing does."""
        self.counters = {"connections": 0, "takeovers": 0, "stale_acks": 0, "dropped_qos0": 0}
        self._host, self._port, self._keepalive_s = host, port, keepalive_s
        self._clock, self._max_retry_s = clock, max_retry_s
        self._topics = [
            f"pumpwatch/v1/{tenant}/+/{channel}"
            for tenant in tenants
            for channel in ("telemetry", "event", "status")
        ]
        self._arrivals: deque[Arrival] = deque()
        self._acks: deque[Sequence[Hashable]] = deque()
        self._publications: dict[str, _Publication] = {}
        self._publishing = threading.Lock()
        self._connection = 1
        self._accepted_at: float | None = None
        self._subscribed_ms: int | None = None
        self._takeover = TakeoverWatch()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._client = self._make_client(username, password, tls)

    # -- for the writer --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect, for as long as it takes; a broker that is away is no error."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="pumpwatch-mqtt", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Send what is ready to be sent and leave; the session stays at the broker."""
        self._stopping.set()
        self._wake()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def tend(self) -> None:
        """The watchdog's round: bring back a network thread that died."""
        if self._thread and not self._thread.is_alive() and not self._stopping.is_set():
            log.error("the MQTT thread died; starting it again")
            self.start()

    @property
    def connected(self) -> bool:
        """Accepted by the broker, and the thread that would notice the end of it is alive."""
        return self._accepted_at is not None and bool(self._thread and self._thread.is_alive())

    @property
    def subscribed(self) -> bool:
        """The broker has taken this connection's subscriptions, so nothing passes by."""
        return self.listening_since_ms is not None

    @property
    def listening_since_ms(self) -> int | None:
        """Since when, on the clock that was handed in, nothing passes by; None while it does."""
        return self._subscribed_ms if self.connected else None

    @property
    def connections(self) -> int:
        """How many the broker has accepted so far; another number is another connection."""
        return self.counters["connections"]

    @property
    def waiting(self) -> int:
        """Messages not drained yet."""
        return len(self._arrivals)

    def drain(self, limit: int) -> list[Arrival]:
        """Up to ``limit`` messages in order of arrival."""
        arrivals = self._arrivals
        return [arrivals.popleft() for _ in range(min(limit, len(arrivals)))]

    def ack(self, tokens: Sequence[Hashable]) -> None:
        """Acknowledge in this order; tokens of a connection that has ended are dropped."""
        self._acks.append(tokens)
        self._wake()

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        """Send as soon as there is a connection; until then only the newest of each topic is kept."""
        with self._publishing:
            self._publications[topic] = _Publication(topic, payload, qos, retain)
        self._wake()

    # -- the network thread ----------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                self._client.connect(self._host, self._port, self._keepalive_s)
                self._pump()
            except OSError as error:
                self._complain(
                    f"no broker at {self._host}:{self._port} ({error}): start it or correct the address"
                )
            except Exception:
                log.exception("the MQTT connection failed; it is made again")
            lasted = self._end_connection()
            failures = 0 if lasted else failures + 1
            most = self._max_retry_s
            if not self._takeover.reported:
                most = min(most, 0.5 * 2.0 ** min(failures, _MOST_DOUBLINGS))
            self._stopping.wait(random.uniform(0.05, most))  # noqa: S311  (jitter, no secret)

    def _pump(self) -> None:
        """One connection's life."""
        client, wake = self._client, self._wake_r
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        sock: Any = client.socket()
        watched = 0
        while (now := client.socket()) is not None and now is sock:
            wanted = select.POLLIN | (select.POLLOUT if client.want_write() else 0)
            if wanted != watched:
                poll.register(sock, wanted)
                watched = wanted
            ready = dict(poll.poll(SECOND_MS))
            if wake.fileno() in ready:
                wake.recv(4096)
            if sock.fileno() in ready:
                client.loop_read()
                while getattr(client.socket(), "pending", int)():  # TLS holds decrypted bytes back
                    client.loop_read()
            self._send()
            if client.want_write():
                client.loop_write()
            client.loop_misc()
            if self._stopping.is_set():
                client.disconnect()
                return

    def _send(self) -> None:
        while self._acks:
            self._send_acks(self._acks.popleft())
            sys.audit("pumpwatch.reached", "ingest.acked")
        if self._accepted_at is None or not self._publications:
            return
        with self._publishing:
            ready, self._publications = self._publications, {}
        for item in ready.values():
            self._client.publish(*item)
            sys.audit("pumpwatch.reached", "ingest.watermarked")

    def _send_acks(self, tokens: Sequence[Hashable]) -> None:
        owed = np.array(tokens, dtype=np.int64)
        owed = owed[owed != 0]
        current = owed[owed >> _MID_BITS == self._connection]
        self.counters["stale_acks"] += len(owed) - len(current)
        if len(current) and self._accepted_at is not None:
            self._client.send_pubacks(current & _MID_MASK)

    def _end_connection(self) -> bool:
        """Whether the connection that ended had been a good one."""
        accepted_at, self._accepted_at, self._subscribed_ms = self._accepted_at, None, None
        self._connection += 1
        if accepted_at is None or self._stopping.is_set():
            return accepted_at is not None
        now = time.monotonic()
        if self._takeover.ended(round(accepted_at * 1000), round(now * 1000)):
            self._complain(
                f"the broker ended {self._takeover.limit + 1} connections within a minute: another "
                f"hub probably uses the client id {self.client_id}; stop it or give one of them its "
                "own install id"
            )
            self.counters["takeovers"] += 1  # last: who sees it counted finds it explained
        return True

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("%s", problem)
        self.problem = problem

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it has enough to wake up from
            self._wake_w.send(b"w")

    # -- callbacks: only queue -------------------------------------------------------------------

    def _make_client(
        self, username: str | None, password: str | None, tls: ssl.SSLContext | None
    ) -> Subscriber:
        client = Subscriber(self.client_id, self._on_messages)
        if username is not None:
            client.username_pw_set(username, password)
        if tls is not None:
            client.tls_set_context(tls)
        client.max_inflight_messages_set(1_000)
        client.max_queued_messages_set(100_000)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = _send_at_once
        return client

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._complain(
                f"the broker at {self._host}:{self._port} refused the hub ({reason}): "
                "correct its user name, password or rights"
            )
            return
        self.counters["connections"] += 1
        self._accepted_at = time.monotonic()
        if not self._takeover.reported:
            self.problem = None
        client.subscribe([(topic, 1) for topic in self._topics])

    def _on_subscribe(
        self,
        _client: paho.Client,
        _data: Any,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Any,
    ) -> None:
        for topic, reason in zip(self._topics, reasons, strict=False):
            if reason.is_failure:
                self._complain(
                    f"the broker does not let the hub read {topic} ({reason}): correct its rights"
                )
        refused = any(reason.is_failure for reason in reasons)
        self._subscribed_ms = None if refused else self._clock.now_ms()

    def _on_messages(self, frames: list[Frame]) -> None:
        now_ms, connection = self._clock.now_ms(), self._connection << _MID_BITS
        if len(self._arrivals) >= QUEUED_QOS0:
            owed = [frame for frame in frames if frame[2]]
            self.counters["dropped_qos0"] += len(frames) - len(owed)
            frames = owed
        self._arrivals.extend(
            [
                Arrival(topic.decode("utf-8", "replace"), payload, now_ms, mid and connection | mid)
                for topic, payload, mid in frames
            ]
        )


class Link(Protocol):
    """What the writer needs of the network; `HubClient` is it."""

    @property
    def connections(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    def tend(self) -> None: ...
    def drain(self, limit: int) -> list[Arrival]: ...
    def ack(self, tokens: Sequence[Hashable]) -> None: ...
    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None: ...


def _send_at_once(_client: paho.Client, _data: Any, sock: Any) -> None:
    """Nagle's algorithm and delayed TCP acknowledgements would cost a small packet 40 ms."""
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class IngestLoop:
    """The writer's thread: drain → door → acknowledge → publish watermarks, over and over.

    A batch is taken every ``tick_s``, at once while `ENOUGH` messages wait, and never more than `MOST`. What the door could not make durable
    stays here, unacknowledged, and is offered again. ``on_outcome`` hears of births and held sites;
    it runs in the writer's thread and must be quick. Watermarks of one site go out at most every
    ``watermark_every_s``, the last one always; and all of them with each new connection to the broker,
    for those it kept may be the word of a hub that was lost.
    """

    ENOUGH, MOST = 200, 5_000

    def __init__(
        self,
        hub: Link,
        door: IngestDoor,
        clock: Clock,
        on_outcome: Callable[[DoorOutcome], None] = lambda _: None,
        *,
        tick_s: float = 0.02,
        watermark_every_s: float = 0.2,
        max_retry_s: float = 5.0,
    ) -> None:
        self.counters = {"commits": 0, "failed_commits": 0, "failed_hooks": 0}
        self.problem: str | None = None
        self._hub, self._door, self._clock, self._on_outcome = hub, door, clock, on_outcome
        self._tick_s, self._max_retry_s = tick_s, max_retry_s
        self._publisher = WatermarkPublisher(hub.publish, watermark_every_s)
        self._batch: list[Arrival] = []
        self._failures = 0
        self._retry_at_s = 0.0
        self._greeted = 0
        """The number of the connection on which all watermarks were told."""
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="pumpwatch-ingest", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Finish the batch in hand. What was not drained stays at the broker, unacknowledged."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    @property
    def alive(self) -> bool:
        return bool(self._thread and self._thread.is_alive())

    @property
    def waiting_since_ms(self) -> int | None:
        """When the oldest message in hand arrived, which is not on disk yet; None if there is none."""
        batch = self._batch
        return batch[0].received_ms if batch else None

    def step(self, now_s: float) -> None:
        """One round at ``now_s`` on a monotonic clock."""
        self._hub.tend()
        if self._greeted != self._hub.connections:
            self._greet(self._hub.connections)
        if not self._batch:
            self._batch = self._hub.drain(self.MOST)
        if self._batch and now_s >= self._retry_at_s:
            self._settle(now_s)
        self._publisher.flush(now_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            self.step(began)
            if self._batch or self._hub.waiting < self.ENOUGH:
                self._stopping.wait(max(0.0, self._tick_s - (time.monotonic() - began)))
        self._publisher.flush(time.monotonic(), everything=True)

    def _greet(self, connection: int) -> None:
        try:
            self._publisher.offer(self._door.standing())
            self._greeted = connection
        except Exception as error:
            self._report(error)

    def _settle(self, now_s: float) -> None:
        sys.audit("pumpwatch.reached", "ingest.drained")
        try:
            outcome = self._door.take(self._batch, self._clock.now_ms())
        except Exception as error:
            self._failures += 1
            wait_s = 0.1 * 2.0 ** min(self._failures, _MOST_DOUBLINGS)
            self._retry_at_s = now_s + min(self._max_retry_s, wait_s)
            self._report(error)
            return
        sys.audit("pumpwatch.reached", "ingest.committed")
        self._batch, self._failures, self.problem = [], 0, None
        self.counters["commits"] += 1
        self._hub.ack(outcome.tokens)
        self._publisher.offer(outcome.watermarks)
        try:
            self._on_outcome(outcome)
        except Exception:
            self.counters["failed_hooks"] += 1
            log.exception("what hears of births and held sites failed")

    def _report(self, error: Exception) -> None:
        self.counters["failed_commits"] += 1
        problem = f"messages wait unacknowledged: {error}"
        if problem != self.problem:
            log.error("%s", problem, exc_info=None if isinstance(error, PumpwatchError) else error)
        self.problem = problem


class WatermarkPublisher:
    """Coalesces watermarks: per site the newest, at most one in ``every_s`` seconds."""

    def __init__(self, publish: Callable[[str, bytes, int, bool], None], every_s: float) -> None:
        self._publish, self._every_s = publish, every_s
        self._due: dict[SiteKey, Watermark] = {}
        self._sent_at: dict[SiteKey, float] = {}

    def offer(self, watermarks: Iterable[Watermark]) -> None:
        for watermark in watermarks:
            self._due[watermark.key] = watermark

    def flush(self, now_s: float, *, everything: bool = False) -> None:
        """Publish what is due on a monotonic clock."""
        if not self._due:
            return
        ready = [
            w for key, w in self._due.items()
            if everything or now_s - self._sent_at.get(key, -self._every_s) >= self._every_s
        ]  # fmt: skip
        for mark in ready:
            del self._due[mark.key]
            self._sent_at[mark.key] = now_s
            payload = encode_ack(mark.epoch, mark.telemetry, mark.event)
            self._publish(ack_topic(mark.key), payload, 1, True)
