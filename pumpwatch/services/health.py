"""How long work has waited for each stage of the street, against how long it may."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pumpwatch.domain.clock import SECOND_MS
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.faults import HUB_FAULTS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import Contact, Inbox, SiteAge, StageAge

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


def site_ages(
    ages: Mapping[SiteKey, tuple[int, int, int | None]],
    online: Mapping[SiteKey, bool],
    quiet_ms: Mapping[SiteKey, int],
    now_ms: int,
) -> list[SiteAge]:
    """Every station's ages, first those that are not heard, the longest unheard first.

    ``ages`` is `AssessService.ages`; ``online`` says whose agent has a session at the broker, ``quiet_ms``
    how long each may send nothing.
    """

    def contact(key: SiteKey, received_ms: int) -> Contact:
        if now_ms - received_ms <= quiet_ms[key]:
            return Contact.HEARD
        return Contact.MUTE if online.get(key) else Contact.OFFLINE

    told = [
        SiteAge(key, contact(key, received_ms), sample_ms or None, received_ms, assessed_ms)
        for key, (sample_ms, received_ms, assessed_ms) in ages.items()
        if key in quiet_ms
    ]
    return sorted(told, key=lambda s: (s.contact is Contact.HEARD, s.received_ms, s.key))


def reasons(stages: Iterable[StageAge]) -> list[str]:
    """One line for each stage that keeps its work waiting too long."""
    return [
        f"{age.stage}: waits for {age.waiting_ms // SECOND_MS} s, may wait for "
        f"{age.bound_ms // SECOND_MS} s: {_REMEDIES[age.stage]}"
        for age in stages
        if age.is_late
    ]


def outages(hears: bool, held_back: bool, stages: Iterable[StageAge]) -> frozenset[str]:
    """Which of `HUB_FAULTS` hold: does it hear the broker (connected, and allowed to read), is telemetry
    ``held_back``, which stages are late.

    That nothing is heard is none of them: silent stations have alerts of their own.
    """
    late = {age.stage for age in stages if age.is_late}
    holds = {
        "broker_lost": not hears,
        "hub_behind": bool(late & {"commit", "assess"}),
        "telemetry_held": held_back,
        "series_away": "series" in late,
        "notify_failing": "notification" in late,
    }
    return frozenset(fault for fault in HUB_FAULTS if holds[fault])
