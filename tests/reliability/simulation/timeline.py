"""Virtual time: what happens next, and chance that a seed repeats exactly."""

from __future__ import annotations

import heapq
import zlib
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000


class Crash(BaseException):
    """The process that was at work ends here, without another instruction."""

    def __init__(self, label: str) -> None:
        super().__init__(label)
        self.label = label


class Timeline:
    """A heap of what is to happen. ``now`` is true time [ms since 1970], which no actor sees."""

    def __init__(self, seed: int, start: int) -> None:
        self.now = start
        self.seed = seed
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self._digest = 0
        self._next = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []

    def at(self, when: int, what: Callable[..., None], *args: Any) -> None:
        self._next += 1
        heapq.heappush(self._heap, (max(when, self.now), self._next, what, args))

    def after(self, wait: float, what: Callable[..., None], *args: Any) -> None:
        self.at(self.now + int(wait), what, *args)

    def run_until(self, end: int) -> None:
        heap = self._heap
        while heap and heap[0][0] <= end:
            self.now, _, what, args = heapq.heappop(heap)
            what(*args)
        self.now = end

    def chance(self, name: str) -> Random:
        """A source of chance of its own for each part: more draws in one do not move another."""
        return Random(f"{self.seed}/{name}")

    def note(self, *what: object) -> None:
        """Into the digest of the run: equal digests mean that the same happened at the same times."""
        self._digest = zlib.crc32(repr((self.now, *what)).encode(), self._digest)

    @property
    def digest(self) -> int:
        return self._digest

    def violate(self, text: str) -> None:
        if len(self.violations) < 20:
            self.violations.append(f"seed {self.seed}, t={self.now}: {text}")
        self.counts["violations"] += 1


class Fuse:
    """Burns a little at every labelled step of a process and ends it when it has burnt down."""

    def __init__(self) -> None:
        self.left: int | None = None

    def light(self, steps: int) -> None:
        self.left = steps

    def burn(self, label: str) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left <= 0:
                self.left = None
                raise Crash(label)
