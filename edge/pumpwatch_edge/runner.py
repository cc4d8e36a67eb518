"""An agent at work: its source, its outbox and its connection, in one thread of its own."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable

from pumpwatch_edge.agent import Action, Agent, Publish, Subscribe
from pumpwatch_edge.clock import Now
from pumpwatch_edge.errors import SourceError
from pumpwatch_edge.message import Clock
from pumpwatch_edge.publisher import (
    Acked,
    Arrived,
    Connected,
    Ended,
    Event,
    Publisher,
    monotonic_ms,
)
from pumpwatch_edge.settings import BrokerSettings
from pumpwatch_edge.source import Resumable, Source

log = logging.getLogger(__name__)

POLL_LIMIT = 5_000
DEEP = 200
"""Messages waiting for the hub above which a patient source is left alone."""


class AgentRunner:
    """Runs one agent until it is stopped; takes over source and outbox and closes both.

    ``clock`` gives epoch milliseconds (the wall's, or a scaled one); delays of the network run on
    ``mono_ms``. ``patient`` says that the source can wait, as a recording can: it is not polled while
    more than ``DEEP`` messages wait for the hub, so that disk and memory stay flat. `start` and
    `stop` may be called from any thread.
    """

    def __init__(
        self,
        agent: Agent,
        source: Source,
        clock: Callable[[], int],
        broker: BrokerSettings,
        *,
        patient: bool = False,
        idle_s: float = 0.05,
        clock_quality: Callable[[], Clock] | None = None,
        mono_ms: Callable[[], int] = monotonic_ms,
    ) -> None:
        self.agent = agent
        self.source = source
        self.error: str = ""
        """Why the source, or the agent itself, came to an end before its time."""
        self._clock, self._mono_ms = clock, mono_ms
        self._clock_quality = clock_quality
        self._quality_due_ms = 0
        self._patient, self._idle_s = patient, idle_s
        client_id = broker.client_id or f"pumpwatch-edge-{agent.tenant}-{agent.site}"
        self._publisher = Publisher(broker, client_id, lambda: agent.will)
        if isinstance(source, Resumable):
            source.resume(agent.resume_at)
        self._source_ended = False
        self._stopping = threading.Event()
        self._done = threading.Event()
        self._stop_timeout_s = 10.0
        self._reason = "stopped"
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        name = f"edge-{self.agent.tenant}-{self.agent.site}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self, timeout: float = 10.0, reason: str = "stopped") -> bool:
        """Close the open batch, take leave of the broker, hang up. False: it took too long, and the
        thread was left to the end of the process; nothing that was stored is lost by that."""
        self._stop_timeout_s, self._reason = timeout, reason
        self._stopping.set()
        self._publisher.wake()
        if self._thread is None:
            self._leave()
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until `finished`, the agent died, or ``timeout`` seconds passed; whether it is over."""
        return self._done.wait(timeout)

    @property
    def finished(self) -> bool:
        """The source has ended and the hub has everything on disk."""
        return self._source_ended and not self.agent.pending and not self.agent.backlog

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    @property
    def counters(self) -> dict[str, int]:
        """What was counted so far, `Agent.counters` and the state of outbox and connection."""
        counted = dict.fromkeys(("read", "samples", "edges", "sent", "resent", "acked"), 0)
        return (
            counted
            | dict(self.agent.counters)
            | {
                "outbox": self.agent.backlog,
                "thinned_samples": self.agent.outbox.thinned,
                "dropped_samples": self.agent.outbox.dropped,
                "bad_rows": getattr(self.source, "bad_rows", 0),
                "connections": self._publisher.connections,
            }
        )

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn()
        except Exception as error:
            # The one place where anything may arrive: said aloud, and the thread ends whole.
            self.error = f"{type(error).__name__}: {error}"
            log.exception("the agent of %s/%s broke off", self.agent.tenant, self.agent.site)
        finally:
            self._leave()
            self._done.set()

    def _turn(self) -> None:
        now = self._now()
        self._publisher.step(now.mono_ms)
        eager = self._read(now)
        for event in self._publisher.events(0 if eager else self._idle_s, self._mono_ms):
            self._perform(self._tell(event))
        self._perform(self.agent.tick(self._now()))
        if self.finished:
            self._done.set()

    def _read(self, now: Now) -> bool:
        """Poll the source; whether it has more for us at once."""
        if self._clock_quality is not None and now.mono_ms >= self._quality_due_ms:
            self.agent.clock, self._quality_due_ms = self._clock_quality(), now.mono_ms + 60_000
        limit = self._room()
        if self._source_ended or limit <= 0:
            return False
        try:
            items = self.source.poll(now.wall_ms, limit)
        except SourceError as error:
            self.error, items = str(error), []
            log.error("%s", error)
            self._source_ended = True
        if items:
            sys.audit("pumpwatch.reached", "edge.read")
            self._perform(self.agent.take(items, now))
        if self._source_ended or self.source.finished:
            self._perform(self.agent.source_finished(now))
            self._source_ended = True
        return len(items) == limit

    def _room(self) -> int:
        """How many readings may be taken now: a patient source fills the outbox to `DEEP` only."""
        if not self._patient:
            return POLL_LIMIT
        return min(POLL_LIMIT, (DEEP - self.agent.backlog) * self.agent.plan.batch_samples)

    def _tell(self, event: Event) -> list[Action]:
        now = self._now()
        match event:
            case Connected():
                return self.agent.connected(now, event.receive_maximum)
            case Acked():
                sys.audit("pumpwatch.reached", "edge.puback")
                return self.agent.puback(event.handles, now)
            case Arrived():
                return self.agent.message(event.topic, event.payload, now, retained=event.retained)
            case Ended():
                return self.agent.disconnected(now)

    def _perform(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Publish):
                self._publisher.publish(action)
                sys.audit("pumpwatch.reached", "edge.published")
            elif isinstance(action, Subscribe):
                self._publisher.subscribe(action)
            else:
                log.log(logging.WARNING if action.warning else logging.INFO, "%s", action.text)

    def _leave(self) -> None:
        deadline = time.monotonic() + 0.6 * self._stop_timeout_s
        try:
            self._perform(self.agent.stop(self._now(), self._reason))
            while not self.agent.is_stopped and time.monotonic() < deadline:
                for event in self._publisher.events(0.02, self._mono_ms):
                    self._perform(self._tell(event))
        finally:
            self._publisher.close(0.3 * self._stop_timeout_s)
            self.source.close()
            self.agent.outbox.close()

    def _now(self) -> Now:
        return Now(self._clock(), self._mono_ms())
