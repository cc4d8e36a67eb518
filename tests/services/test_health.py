"""A station that is connected and sends nothing is told from one that is gone, and outages have names."""

from __future__ import annotations

import pytest

from pumpwatch.domain.clock import MINUTE_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import Contact, StageAge
from pumpwatch.services.health import outages, site_ages

NOW_MS = 100 * MINUTE_MS
KEYS = [SiteKey("default", f"mh{n}") for n in range(4)]
QUIET_MS = dict.fromkeys(KEYS, 15 * MINUTE_MS)


def ages(*minutes: int) -> dict[SiteKey, tuple[int, int, int | None]]:
    return {key: (0, NOW_MS - n * MINUTE_MS, None) for key, n in zip(KEYS, minutes, strict=False)}


def test_silence_has_a_name_by_what_the_broker_knows_of_the_agent() -> None:
    online = {KEYS[0]: True, KEYS[1]: True, KEYS[2]: False}
    told = site_ages(ages(1, 16, 30, 20), online, QUIET_MS, NOW_MS)
    assert [(s.key.site, s.contact) for s in told] == [
        ("mh2", Contact.OFFLINE),
        ("mh3", Contact.OFFLINE),
        ("mh1", Contact.MUTE),
        ("mh0", Contact.HEARD),
    ]


def test_a_station_may_be_quiet_as_long_as_its_sampling_asks_for() -> None:
    [slow] = site_ages(ages(20), {}, {KEYS[0]: 60 * MINUTE_MS}, NOW_MS)
    assert slow.contact is Contact.HEARD


def test_a_retired_station_is_not_told_of() -> None:
    assert site_ages(ages(20), {}, {}, NOW_MS) == []


@pytest.mark.parametrize(
    ("hears", "held_back", "late", "found"),
    [
        (True, False, [], []),
        (False, False, ["message"], ["broker_lost"]),
        (True, True, ["assess", "commit"], ["hub_behind", "telemetry_held"]),
        (True, False, ["notification", "series"], ["notify_failing", "series_away"]),
    ],
)
def test_outages_are_named_and_a_silent_town_is_none(
    hears: bool, held_back: bool, late: list[str], found: list[str]
) -> None:
    names = ["message", "commit", "assess", "series", "notification"]
    stages = [StageAge(name, None, 2 if name in late else 1, 1) for name in names]
    assert sorted(outages(hears, held_back, stages)) == found
