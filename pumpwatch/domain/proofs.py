"""Standing proofs: when a thing that is seldom asked last showed that it works.

A stand-by pump is proven by a valid draw-down of its own; the level sensor by the float it passed, by the
knee of the fill at the inlet, and by volumes that agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.keys import SiteKey

FLOAT, KNEE, VOLUME = "level:float", "level:knee", "level:volume"
"""Subjects of the level sensor's audit; a pump's subject is its name."""
PROOF_DAYS = 14


@dataclass(frozen=True, slots=True)
class Proof:
    """``proven_ms`` is the last time the subject was shown to work (None: never yet), ``checked_ms`` the last
    time it was looked at, ``first_ms`` the first. ``measured`` and ``expected`` are the level [m] of float
    or knee, or the flow of a pump [m3/s], of that last look."""

    subject: str
    first_ms: int
    checked_ms: int
    proven_ms: int | None
    measured: float | None = None
    expected: float | None = None

    @property
    def holds(self) -> bool:
        """The last look was a proof."""
        return self.proven_ms == self.checked_ms

    def after(self, earlier: Proof | None) -> Proof:
        """What is known when this one is added, in whatever order they come."""
        if earlier is None:
            return self
        newer = self if self.checked_ms >= earlier.checked_ms else earlier
        proven = [p for p in (self.proven_ms, earlier.proven_ms) if p is not None]
        return Proof(
            self.subject,
            min(self.first_ms, earlier.first_ms),
            newer.checked_ms,
            max(proven, default=None),
            newer.measured,
            newer.expected,
        )


def draw_downs(cycles: Iterable[tuple[SiteKey, CycleRow]]) -> dict[SiteKey, list[Proof]]:
    """What these cycles prove of the pumps: each valid one of a single pump shows that it draws down."""
    found: dict[tuple[SiteKey, str], Proof] = {}
    for key, cycle in cycles:
        if cycle.valid and cycle.pump.startswith("pump"):
            at_ms = cycle.start_ms
            proof = Proof(cycle.pump, at_ms, at_ms, at_ms, cycle.features.get("capacity_m3s"))
            found[key, cycle.pump] = proof.after(found.get((key, cycle.pump)))
    by_site: dict[SiteKey, list[Proof]] = {}
    for (key, _), proof in found.items():
        by_site.setdefault(key, []).append(proof)
    return by_site


def unproven_pumps(proofs: Sequence[Proof], pumps: int, now_ms: int, days: float) -> list[str]:
    """The pumps that have shown no valid draw-down for ``days`` (0: nobody asks).

    A station is asked only when it has been watched for so long, which its first draw-down begins.
    """
    own = {p.subject: p for p in proofs if p.subject.startswith("pump")}
    began_ms = min((p.first_ms for p in own.values()), default=now_ms)
    limit_ms = days * DAY_MS
    if not days or now_ms - began_ms <= limit_ms:
        return []
    last_ms = {
        f"pump{n}": own[f"pump{n}"].proven_ms if f"pump{n}" in own else None
        for n in range(1, pumps + 1)
    }
    return [pump for pump, t in last_ms.items() if t is None or now_ms - t > limit_ms]
