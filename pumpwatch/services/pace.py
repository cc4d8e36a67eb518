"""Whether a site sends more than its readings need."""

from __future__ import annotations

from dataclasses import dataclass

USUAL_SAMPLE_S = 10.0
SLACK = 4.0
"""So many times the messages that one reading a message would need; edges come on top of readings."""
LEAST_PER_S = 0.2
BURST = 600.0


@dataclass(slots=True)
class Pace:
    """A bucket that each message takes one token from and that *event time* fills.

    A backlog, however fast it comes in, moves event time on with every message; a storm does not.
    """

    tokens: float = BURST
    newest_ms: int = 0

    def take(self, t_ms: int, sample_s: float | None) -> None:
        """A message whose newest reading is of ``t_ms``."""
        if t_ms > self.newest_ms:
            per_s = max(LEAST_PER_S, SLACK / (sample_s or USUAL_SAMPLE_S))
            gained = per_s * (t_ms - self.newest_ms) / 1000
            self.tokens, self.newest_ms = min(BURST, self.tokens + gained), t_ms
        self.tokens = max(0.0, self.tokens - 1)

    @property
    def is_storm(self) -> bool:
        return self.tokens < 1
