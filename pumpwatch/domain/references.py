"""What a station is judged against, in physical units, as a record that is only ever added to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReferenceValue:
    """The normal of one feature (unit as in `FEATURE_UNITS`) of one pump, or of the station (None),
    from ``since_ms`` on: learnt then, or moved then by an accepted change."""

    feature: str
    target: str | None
    since_ms: int
    value: float


@dataclass(frozen=True, slots=True)
class ReferenceDrift:
    """All accepted changes of one normal together: what it was at first, what it is now, how many
    changes lie between."""

    feature: str
    target: str | None
    first_ms: int
    first: float
    since_ms: int
    now: float
    changes: int

    @property
    def total(self) -> float:
        """Now less first, in the feature's unit."""
        return self.now - self.first

    @property
    def share(self) -> float | None:
        """The same as a share of the first; None of a first that is zero."""
        return self.total / self.first if self.first else None


def drifts(values: Iterable[ReferenceValue]) -> list[ReferenceDrift]:
    """Of each normal the sum of its accepted changes, by feature and pump."""
    kept: dict[tuple[str, str], list[ReferenceValue]] = {}
    for value in values:
        kept.setdefault((value.feature, value.target or ""), []).append(value)
    found = []
    for _, of_one in sorted(kept.items()):
        of_one.sort(key=_since_ms)
        first, last = of_one[0], of_one[-1]
        found.append(
            ReferenceDrift(
                first.feature, first.target, first.since_ms, first.value, last.since_ms, last.value,
                len(of_one) - 1,
            )
        )  # fmt: skip
    return found


def _since_ms(value: ReferenceValue) -> int:
    return value.since_ms
