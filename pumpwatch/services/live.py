"""Fan-out of what just happened to whoever watches, without ever holding up the one who tells.

Kinds that the pages listen to, with their data:

- ``sample``: ``{"tenant", "site", "t_ms", "values": {signal: value}}``: the newest row of a site.
- ``alert``: ``{"id", "tenant", "site", "step"}``: an alert opened, changed or closed.
- ``site``: ``{"tenant", "site"}``: a site was approved, changed, retired or is newly held.
- ``clock``: ``{"now_ms", "speed"}``: what time it is, and how fast time runs.
- ``resync``: ``{}``: something was missed; read everything again.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

RESYNC = "resync"


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One thing that happened. ``id`` is ``run.number``: numbers of another run mean nothing."""

    id: str
    kind: str
    data: Mapping[str, Any]


class Subscription:
    """One watcher's queue: at most ``size`` events; one that overflows becomes a ``resync``.

    An event about the same thing as one still waiting replaces it, so a slow watcher
    sees the newest value of each site and not a long tail of old ones.
    """

    def __init__(self, size: int, leave: Callable[[Subscription], None]) -> None:
        self._size = size
        self._leave = leave
        self._lock = threading.Lock()
        self._queue: OrderedDict[object, LiveEvent] = OrderedDict()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self.closed = False

    def __repr__(self) -> str:
        return f"Subscription({len(self._queue)} waiting{', closed' if self.closed else ''})"

    def put(self, event: LiveEvent, about: object = None) -> None:
        """Queue an event; ``about`` (None: nothing else replaces it) names what it tells of."""
        slot = (event.kind, about) if about is not None else event.id
        with self._lock:
            self._queue.pop(slot, None)
            if len(self._queue) >= self._size:
                self._queue.clear()
                event, slot = LiveEvent(event.id, RESYNC, {}), RESYNC
            self._queue[slot] = event
        self._signal()

    def take(self, timeout_s: float | None = None) -> list[LiveEvent]:
        """Everything that waits, oldest first; waits up to ``timeout_s`` for a first one."""
        self._ready.wait(timeout_s)
        return self._drain()

    async def take_async(self, timeout_s: float) -> list[LiveEvent]:
        """Like `take`, for an event loop. An empty list: nothing came, or the feed was closed."""
        if self._wake is None:
            self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        if not self._ready.is_set():
            try:
                await asyncio.wait_for(self._wake.wait(), timeout_s)
            except TimeoutError:
                return []
        self._wake.clear()
        return self._drain()

    def close(self) -> None:
        self.closed = True
        self._leave(self)
        self._signal()

    def _drain(self) -> list[LiveEvent]:
        with self._lock:
            events = list(self._queue.values())
            self._queue.clear()
            if not self.closed:
                self._ready.clear()
        return events

    def _signal(self) -> None:
        self._ready.set()
        if self._loop is not None and self._wake is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)


class LiveFeed:
    """Thread-safe fan-out with replay of the last ``ring`` events to a watcher that comes back."""

    def __init__(self, *, ring: int = 2_000, queue: int = 2_000, run: str | None = None) -> None:
        self._run = run or secrets.token_hex(4)
        self._queue = queue
        self._lock = threading.Lock()
        self._number = 0
        self._ring: deque[tuple[LiveEvent, object]] = deque(maxlen=ring)
        self._subscriptions: set[Subscription] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"LiveFeed(run {self._run}, {self._number} events, {self.watchers} watching)"

    @property
    def watchers(self) -> int:
        return len(self._subscriptions)

    @property
    def last_id(self) -> str:
        """The id of the newest event; a page drawn now that asks from here misses nothing."""
        return f"{self._run}.{self._number}"

    def publish(self, kind: str, data: Mapping[str, Any]) -> str:
        """Tell every watcher; never blocks. Returns the event's id."""
        # Only the newest sample of a site matters; every change of an alert does.
        about = (data.get("tenant"), data.get("site")) if kind == "sample" else None
        with self._lock:
            self._number += 1
            event = LiveEvent(self.last_id, kind, data)
            self._ring.append((event, about))
            for subscription in self._subscriptions:
                subscription.put(event, about)
        return event.id

    def subscribe(self, last_id: str | None = None) -> Subscription:
        """A new queue, filled with what came after ``last_id`` or with one ``resync``.

        ``last_id`` None begins with the next event. Close the subscription when done.
        """
        subscription = Subscription(self._queue, self._forget)
        with self._lock:
            if last_id is not None:
                self._replay(subscription, last_id)
            if self._closed:
                subscription.closed = True
            else:
                self._subscriptions.add(subscription)
        return subscription

    def close(self) -> None:
        """End every subscription, so that a stopping server waits for nobody."""
        with self._lock:
            self._closed = True
            leaving = list(self._subscriptions)
        for subscription in leaving:
            subscription.close()

    def _replay(self, subscription: Subscription, last_id: str) -> None:
        run, _, number = last_id.partition(".")
        oldest = self._number - len(self._ring)
        known = run == self._run and number.isdecimal() and oldest <= int(number) <= self._number
        if not known:
            subscription.put(LiveEvent(self.last_id, RESYNC, {}))
            return
        for event, about in list(self._ring)[int(number) - oldest :]:
            subscription.put(event, about)

    def _forget(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions.discard(subscription)
