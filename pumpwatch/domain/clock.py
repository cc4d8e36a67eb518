"""Time is handed in. Nothing below `app` asks the operating system what time it is."""

from __future__ import annotations

import time
from typing import Protocol

SECOND_MS = 1_000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS


class Clock(Protocol):
    """What time it is for the part that holds this clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        ...


class WallClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class ManualClock:
    """A clock that stands still until it is moved: for tests, replay and simulation."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, ms: int) -> int:
        self._now_ms += ms
        return self._now_ms

    def set(self, now_ms: int) -> None:
        self._now_ms = now_ms


class ScaledClock:
    """Time that runs ``factor`` times faster than ``base``, from ``start_ms`` on.

    The demo shares one such clock between agents and hub. The factor may be changed while it runs:
    the clock goes on from where it stands.
    """

    def __init__(self, start_ms: int, factor: float, base: Clock) -> None:
        self._base = base
        self._run = (start_ms, base.now_ms(), factor)

    @classmethod
    def at(cls, origin_ms: int, base_ms: int, factor: float, base: Clock) -> ScaledClock:
        """A clock that stood at ``origin_ms`` when ``base`` said ``base_ms``: another's `run`."""
        clock = cls(origin_ms, factor, base)
        clock._run = (origin_ms, base_ms, factor)
        return clock

    @property
    def factor(self) -> float:
        return self._run[2]

    @property
    def run(self) -> tuple[int, int, float]:
        """(origin_ms, base_ms, factor): all that another process needs to show the same time."""
        return self._run

    def now_ms(self) -> int:
        origin_ms, base_ms, factor = self._run
        return origin_ms + int((self._base.now_ms() - base_ms) * factor)

    def set_factor(self, factor: float) -> None:
        base_ms = self._base.now_ms()
        origin_ms, before_ms, old = self._run
        self._run = (origin_ms + int((base_ms - before_ms) * old), base_ms, factor)
