"""What waits for a decision: kept within bounds, and what has to go is counted and told of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Lane, Stamp
from pumpwatch.domain.ports import Inbox, InboxRow
from pumpwatch.services.hold import ROW_BYTES, Hold, HoldLimits
from pumpwatch.stores.inbox import MemoryInbox, SqliteInbox

HEALTHY, STRANGER, OTHER = (SiteKey("default", name) for name in ("mh01", "mh98", "mh99"))
NOW = 1_763_607_600_000
SIZE = 900
MESSAGE = SIZE + ROW_BYTES


@pytest.fixture(params=["memory", "sqlite"])
def inbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Inbox]:
    made: Inbox = MemoryInbox() if request.param == "memory" else SqliteInbox(tmp_path / "inbox.db")
    yield made
    made.close()


def arrive(
    inbox: Inbox, key: SiteKey, lane: Lane, *seqs: int, received_ms: int = NOW, size: int = SIZE
) -> None:
    topic = f"pumpwatch/v1/{key.tenant}/{key.site}/{lane}"
    rows = [
        InboxRow(Stamp(key, "e", lane, seq, NOW, low=1), topic, bytes(size), received_ms)
        for seq in seqs
    ]
    inbox.commit(rows, [], NOW)


def left(inbox: Inbox, key: SiteKey, lane: Lane = Lane.TELEMETRY) -> list[int]:
    rows = inbox.read(0, 10_000)
    return [r.stamp.seq for r in rows if (r.stamp.key, r.stamp.lane) == (key, lane)]


def test_one_that_waits_holds_back_nobody_elses_rows(inbox: Inbox) -> None:
    hold = Hold(inbox, HoldLimits())
    for seq in range(1, 6):
        arrive(inbox, STRANGER, Lane.TELEMETRY, seq)
        arrive(inbox, HEALTHY, Lane.TELEMETRY, seq)
    assert hold.tidy(8, {STRANGER: 0}, NOW) == 4
    assert left(inbox, HEALTHY) == [5]
    assert left(inbox, STRANGER) == [1, 2, 3, 4, 5]
    assert hold.holdings[STRANGER].messages == 4
    assert hold.holdings[STRANGER].bytes == 4 * MESSAGE
    assert hold.problems() == []


def test_of_a_site_that_was_set_aside_only_what_its_checkpoint_lacks_is_kept(inbox: Inbox) -> None:
    arrive(inbox, HEALTHY, Lane.TELEMETRY, 1, 2, 3, 4)
    Hold(inbox, HoldLimits()).tidy(4, {HEALTHY: 2}, NOW)
    assert left(inbox, HEALTHY) == [3, 4]


def test_the_oldest_telemetry_goes_first_and_events_last(inbox: Inbox) -> None:
    hold = Hold(inbox, HoldLimits(site_bytes=4 * MESSAGE))
    for seq in range(1, 4):
        arrive(inbox, STRANGER, Lane.EVENT, seq)
        arrive(inbox, STRANGER, Lane.TELEMETRY, seq)
    hold.tidy(6, {STRANGER: 0}, NOW)
    assert left(inbox, STRANGER) == [3]
    assert left(inbox, STRANGER, Lane.EVENT) == [1, 2, 3]
    assert hold.given_up[STRANGER] == 2
    assert "default/mh98" in hold.problems()[0]
    assert "2 of its oldest messages were given up" in hold.problems()[0]

    arrive(inbox, STRANGER, Lane.EVENT, 4, 5, 6)
    hold.tidy(9, {STRANGER: 0}, NOW)
    assert left(inbox, STRANGER) == []
    assert left(inbox, STRANGER, Lane.EVENT) == [3, 4, 5, 6]


def test_all_that_wait_share_one_room_and_a_quiet_one_loses_nothing_to_a_loud_one(
    inbox: Inbox,
) -> None:
    hold = Hold(inbox, HoldLimits(total_bytes=10 * MESSAGE))
    arrive(inbox, OTHER, Lane.TELEMETRY, 1, 2, 3)
    arrive(inbox, STRANGER, Lane.TELEMETRY, *range(1, 21))
    hold.tidy(23, {STRANGER: 0, OTHER: 0}, NOW)
    assert left(inbox, OTHER) == [1, 2, 3]
    assert left(inbox, STRANGER) == [16, 17, 18, 19, 20]


def test_nothing_waits_for_ever(inbox: Inbox) -> None:
    hold = Hold(inbox, HoldLimits(age_ms=30 * DAY_MS))
    arrive(inbox, STRANGER, Lane.EVENT, 1, received_ms=NOW - 31 * DAY_MS)
    arrive(inbox, STRANGER, Lane.EVENT, 2, received_ms=NOW - 29 * DAY_MS)
    hold.tidy(2, {STRANGER: 0}, NOW)
    assert left(inbox, STRANGER, Lane.EVENT) == [2]


def test_before_anything_is_given_up_it_is_said(inbox: Inbox) -> None:
    hold = Hold(inbox, HoldLimits(site_bytes=10 * MESSAGE))
    arrive(inbox, STRANGER, Lane.TELEMETRY, *range(1, 9))
    hold.tidy(8, {STRANGER: 0}, NOW)
    assert "decide before its oldest messages are given up" in hold.problems()[0]
    assert hold.given_up.total() == 0
