"""How long work has waited for each stage of the street, against how long it may."""

from __future__ import annotations

from collections.abc import Iterable

from pumpwatch.domain.clock import SECOND_MS
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.ports import Inbox, StageAge

_REMEDIES = {
    "message": "see whether agents, broker and network are up",
    "commit": "see whether the disk is full or slow",
    "assess": "see the log, and whether the machine is too busy",
    "series": "see whether the store of samples answers",
    "notification": "see whether the channel works: pumpwatch doctor",
}


def waiting_ms(inbox: Inbox, position: int, now_ms: int) -> int:
    """How long the oldest message behind a consumer's position has been in the inbox; 0 if none."""
    try:
        rows = inbox.read(position, 1)
    except StoreUnavailable:
        return 0  # whoever reads for a living says so
    return max(0, now_ms - rows[0].received_ms) if rows else 0


def reasons(stages: Iterable[StageAge]) -> list[str]:
    """One line for each stage that keeps its work waiting too long."""
    return [
        f"{age.stage}: waits for {age.waiting_ms // SECOND_MS} s, may wait for "
        f"{age.bound_ms // SECOND_MS} s: {_REMEDIES[age.stage]}"
        for age in stages
        if age.is_late
    ]
