"""Control charts: signed CUSUM for amounts, log-likelihood CUSUM for counts. State is plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Chart:
    """Two-sided CUSUM of standardised residuals (Page 1954), bounded so that a repair ends it soon."""

    up: float = 0.0
    down: float = 0.0
    streak: int = 0
    """Updates in a row on the same side beyond the slack; its sign is the side."""
    level: float = 0.0
    """Smoothed residual [sigmas]."""
    n: int = 0
    since_ms: int = 0
    """When the present excursion began."""

    def add(self, z: float, t_ms: int, *, slack: float, limit: float, clip: float) -> None:
        z = max(-clip, min(clip, z))
        self.up = min(max(0.0, self.up + z - slack), 2.0 * limit)
        self.down = min(max(0.0, self.down - z - slack), 2.0 * limit)
        side = (z > slack) - (z < -slack)
        same = side != 0 and side * self.streak >= 0
        self.streak = self.streak + side if same else side
        if not self.n or (not self.up and not self.down):
            self.since_ms = t_ms
        self.level += (z - self.level) / min(self.n + 1, 3)
        self.n += 1

    def fires(self, side: int, limit: float, persistence: int) -> bool:
        total = self.up if side > 0 else self.down
        return total > limit and side * self.streak >= persistence

    def reset(self) -> None:
        self.up = self.down = self.level = 0.0
        self.streak = 0


@dataclass
class CountChart:
    """CUSUM of a share: log likelihood ratio of ``rate`` against the healthy share ``base``."""

    total: float = 0.0
    share: float = 0.0
    """Smoothed share of events."""
    since_ms: int = 0
    last_ms: int = 0
    """When an event was last seen."""
    hits: int = 0
    first_ms: int = 0
    """The first event of the present excursion."""

    def add(self, hit: bool, t_ms: int, *, base: float, rate: float, limit: float) -> None:
        step = math.log(rate / base) if hit else math.log((1 - rate) / (1 - base))
        self.total = min(max(0.0, self.total + step), 2.0 * limit)
        if self.total == 0.0:
            self.since_ms, self.hits = t_ms, 0
        elif not self.since_ms:
            self.since_ms = t_ms
        self.share += ((1.0 if hit else 0.0) - self.share) / 20
        if hit:
            self.first_ms = t_ms if self.hits == 0 else self.first_ms
            self.last_ms = t_ms
            self.hits += 1

    def fires(self, limit: float, span_ms: int) -> bool:
        """Enough events, and not all of them within one visit, wash-down or cloudburst."""
        return self.total > limit and self.hits >= 3 and self.last_ms - self.first_ms >= span_ms

    def reset(self) -> None:
        self.total, self.hits = 0.0, 0
