"""One pump cycle as the ledger keeps it and a page draws it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CycleRow:
    """A fill and the run that emptied it.

    ``start_ms`` and ``end_ms`` bound the run; ``pump`` is ``pump1`` ... ``pump4``, or ``both``
    for a simultaneous run. ``reason`` says why a cycle is not valid for judging a pump ('' when
    it is). ``features`` holds names of `pumpwatch.domain.features`; what could not be known is
    an absent key.
    """

    start_ms: int
    end_ms: int
    pump: str
    reason: str = ""
    features: Mapping[str, float] = field(default_factory=dict)

    @property
    def valid(self) -> bool:
        return not self.reason
