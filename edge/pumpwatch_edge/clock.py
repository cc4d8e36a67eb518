"""The machine's clock, and how far it can be trusted."""

from __future__ import annotations

import ctypes
import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from pumpwatch_edge.message import Clock
from pumpwatch_edge.source import Edge, Reading

BUILT_MS = 1_760_000_000_000
"""No agent of this version ran before this (October 2025): an earlier clock was never set."""
_TIME_ERROR = 5
_TIMEX_BYTES = 512
"""More than `struct timex` takes on any Linux (208 bytes with 64-bit longs)."""


JUMP_MS = 1_000
"""A wall clock that moves by more than this against the monotonic one was set."""


class Now(NamedTuple):
    """What time it is: ``wall_ms`` is written on messages, delays run on ``mono_ms``."""

    wall_ms: int
    mono_ms: int


class ClockWatch:
    """Watches one start of a machine whose wall clock may wake up in 1970 and be set while it runs.

    While the wall clock cannot be true, what was stamped with it is held with its time since the
    boot, and comes out with its true time once the clock is right. At most ``room`` readings are
    held, the newest; edges all. Time of a recording, which is not of this boot, passes untouched.
    """

    def __init__(self, room: int = 20_000) -> None:
        self.lost = 0
        """Readings given up for want of room."""
        self._readings: deque[Reading] = deque()
        self._edges: list[Edge] = []
        self._room = room
        self._offset_ms: int | None = None
        self._false_ms: int | None = None
        """Wall minus monotonic time when the wall clock was last seen to be wrong."""

    @property
    def held(self) -> int:
        """Readings and edges that wait for their time."""
        return len(self._readings) + len(self._edges)

    def step(self, now: Now) -> int:
        """By how much [ms] the wall clock was set since the last step; 0 when it was not."""
        offset = now.wall_ms - now.mono_ms
        before, self._offset_ms = self._offset_ms, offset
        if not self.is_true(now):
            self._false_ms = offset
        jump = 0 if before is None else offset - before
        return jump if abs(jump) > JUMP_MS else 0

    def is_true(self, now: Now) -> bool:
        return now.wall_ms >= BUILT_MS

    def take(self, items: Iterable[Reading | Edge], now: Now) -> list[Reading | Edge]:
        """What of ``items``, after what was held, has its true time now; call `step` before."""
        passing: list[Reading | Edge] = []
        for item in items:
            age = item.t_ms - self._false_ms if self._false_ms is not None else -1
            if 0 <= age <= now.mono_ms + JUMP_MS:
                self._hold(item, age)
            else:
                passing.append(item)
        return self._release(now) + passing if self.is_true(now) else passing

    def _hold(self, item: Reading | Edge, age_ms: int) -> None:
        if isinstance(item, Edge):
            self._edges.append(item._replace(t_ms=age_ms))
            return
        self._readings.append(item._replace(t_ms=age_ms))
        if len(self._readings) > self._room:
            self._readings.popleft()
            self.lost += 1

    def _release(self, now: Now) -> list[Reading | Edge]:
        offset = now.wall_ms - now.mono_ms
        held: list[Reading | Edge] = [*self._readings, *self._edges]
        self._readings.clear()
        self._edges.clear()
        return [
            item._replace(t_ms=item.t_ms + offset) for item in sorted(held, key=lambda i: i.t_ms)
        ]


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


def clock_quality(now_ms: int | None = None) -> Clock:
    """``ntp`` when the kernel says its clock is disciplined (adjtimex), else ``rtc``; ``unsynced``
    when the time cannot be true."""
    if (wall_ms() if now_ms is None else now_ms) < BUILT_MS:
        return Clock.UNSYNCED
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return Clock.RTC
    return Clock.RTC if state in (-1, _TIME_ERROR) else Clock.NTP
