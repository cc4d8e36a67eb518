"""One contract for every inbox, and what only the one on disk can promise."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Lane, Poison, PoisonReason, Stamp, Watermark
from pumpwatch.domain.ports import Inbox, InboxRow
from pumpwatch.stores import inbox as module
from pumpwatch.stores.inbox import MemoryInbox, SqliteInbox
from pumpwatch.stores.lanes import LaneRecord
from pumpwatch.stores.sqlite import connect

KEY, OTHER = SiteKey("default", "mh0001"), SiteKey("other", "mh0001")
TOPIC = "pumpwatch/v1/default/mh0001/telemetry"
NOW = 1_763_607_600_000


def stamp(
    seq: int,
    low: int | None = 1,
    epoch: str = "e1",
    lane: Lane = Lane.TELEMETRY,
    key: SiteKey = KEY,
) -> Stamp:
    return Stamp(key, epoch, lane, seq, NOW, "boot", "ntp", low)


def row(
    seq: int,
    low: int | None = 1,
    epoch: str = "e1",
    lane: Lane = Lane.TELEMETRY,
    key: SiteKey = KEY,
) -> InboxRow:
    topic = f"pumpwatch/v1/{key.tenant}/{key.site}/{lane}"
    return InboxRow(stamp(seq, low, epoch, lane, key), topic, b"%d" % seq, NOW + seq)


def rows(*seqs: int, low: int | None = 1) -> list[InboxRow]:
    return [row(seq, low) for seq in seqs]


def poison(payload: bytes = b"?", at: Stamp | None = None, key: SiteKey | None = KEY) -> Poison:
    return Poison(TOPIC, payload, PoisonReason.JSON, "not JSON", key, at)


def mark(inbox: Inbox, epoch: str = "e1", lane: Lane = Lane.TELEMETRY) -> int | None:
    return inbox.watermarks(KEY).get((epoch, lane))


@pytest.fixture(params=["memory", "sqlite"])
def inbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Inbox]:
    made: Inbox = MemoryInbox() if request.param == "memory" else SqliteInbox(tmp_path / "inbox.db")
    yield made
    made.close()


def test_what_was_committed_is_read_in_order_as_it_was_received(inbox: Inbox) -> None:
    receipt = inbox.commit([row(1), row(1, lane=Lane.EVENT), row(2)], [], NOW)
    assert (receipt.stored, receipt.duplicates) == (3, 0)
    read = inbox.read(0, 10)
    assert [r.id for r in read] == [1, 2, 3]
    assert inbox.last_id() == 3
    assert (read[1].stamp, read[1].topic) == (
        stamp(1, lane=Lane.EVENT),
        row(1, lane=Lane.EVENT).topic,
    )
    assert (read[2].payload, read[2].received_ms) == (b"2", NOW + 2)


def test_reading_goes_on_after_a_cursor_and_stops_at_the_limit(inbox: Inbox) -> None:
    inbox.commit(rows(*range(1, 251)), [], NOW)
    assert [r.stamp.seq for r in inbox.read(100, 3)] == [101, 102, 103]
    assert len(inbox.read(0, 1_000)) == 250
    assert inbox.read(250, 10) == []


def test_of_every_site_the_watermarks_of_its_newest_outbox_can_be_told(inbox: Inbox) -> None:
    inbox.commit([*rows(1, 2), row(7, epoch="e2", low=7), row(5, key=OTHER, low=5)], [], NOW)
    inbox.commit([row(1, lane=Lane.EVENT), row(3, epoch="e2", lane=Lane.EVENT)], [], NOW)
    assert inbox.standing() == [Watermark(KEY, "e2", 7, 0), Watermark(OTHER, "e1", 5, 0)]


def test_pruning_keeps_what_is_still_wanted_of_a_site(inbox: Inbox) -> None:
    inbox.commit([row(1), row(1, key=OTHER), row(2), row(2, key=OTHER), row(3)], [], NOW)
    assert inbox.prune(4, {OTHER: 2}) == 3
    assert [r.id for r in inbox.read(0, 10)] == [4, 5]
    (left,) = inbox.waiting(0, 4, 10)
    assert left == (4, OTHER, Lane.TELEMETRY, 1, NOW + 2)
    inbox.forget([4])
    assert [r.id for r in inbox.read(0, 10)] == [5]
    assert inbox.commit([row(2, key=OTHER)], [], NOW).duplicates == 1, "it was here"


def test_who_was_passed_over_is_remembered_until_taken_up(inbox: Inbox) -> None:
    inbox.pass_over({KEY, OTHER})
    inbox.pass_over({KEY})
    assert inbox.passed_over() == {KEY, OTHER}
    inbox.take_up({KEY})
    assert inbox.passed_over() == {OTHER}


def test_an_inbox_of_before_has_everybody_recorded_once_more(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    old = SqliteInbox(path)
    old.commit([row(1), row(1, key=OTHER)], [], NOW)
    old.close()
    db = connect(path)
    db.executescript("DROP TABLE passed_over; DROP TABLE forgotten; PRAGMA user_version = 1;")
    db.close()
    new = SqliteInbox(path)
    assert new.passed_over() == {KEY, OTHER}
    assert [r.stamp.seq for r in new.read(0, 10)] == [1, 1]
    new.close()
    again = SqliteInbox(path)
    again.take_up({KEY, OTHER})
    again.close()


def test_a_repeated_row_changes_nothing(inbox: Inbox) -> None:
    inbox.commit(rows(1, 2), [], NOW)
    receipt = inbox.commit(rows(2, 3, 3), [], NOW)
    assert (receipt.stored, receipt.duplicates) == (1, 2)
    assert [r.stamp.seq for r in inbox.read(0, 10)] == [1, 2, 3]


def test_the_same_seq_of_another_epoch_lane_or_tenant_is_another_message(inbox: Inbox) -> None:
    others = [row(1), row(1, epoch="e2"), row(1, lane=Lane.EVENT), row(1, key=OTHER)]
    assert inbox.commit(others, [], NOW).stored == 4
    assert inbox.watermarks(KEY) == {
        ("e1", Lane.TELEMETRY): 1, ("e2", Lane.TELEMETRY): 1, ("e1", Lane.EVENT): 1,
    }  # fmt: skip


def test_the_watermark_stops_below_a_hole_and_jumps_when_it_closes(inbox: Inbox) -> None:
    assert inbox.commit(rows(1, 3, 4), [], NOW).watermarks == {(KEY, "e1", Lane.TELEMETRY): 1}
    assert inbox.commit(rows(6), [], NOW).watermarks == {}
    assert inbox.commit(rows(2), [], NOW).watermarks == {(KEY, "e1", Lane.TELEMETRY): 4}
    assert mark(inbox) == 4


def test_a_hub_that_lost_its_inbox_begins_where_the_sender_still_holds_something(
    inbox: Inbox,
) -> None:
    inbox.commit(rows(52, low=50), [], NOW)
    assert mark(inbox) == 49
    inbox.commit(rows(50, 51, low=50), [], NOW)
    assert mark(inbox) == 52


def test_without_low_the_watermark_begins_at_the_first_message_seen(inbox: Inbox) -> None:
    inbox.commit(rows(10, 12, low=None), [], NOW)
    assert mark(inbox) == 10
    assert inbox.commit(rows(9, low=None), [], NOW).stored == 1


def test_what_the_sender_gave_up_is_no_hole_for_ever(inbox: Inbox) -> None:
    inbox.commit(rows(1, 5), [], NOW)
    inbox.commit(rows(6, low=5), [], NOW)
    assert mark(inbox) == 6


def test_a_late_message_below_the_watermark_that_was_never_seen_is_still_stored(
    inbox: Inbox,
) -> None:
    inbox.commit(rows(9, low=8), [], NOW)
    inbox.commit(rows(8, low=8), [], NOW)
    assert inbox.commit(rows(3, low=3), [], NOW).stored == 1
    assert mark(inbox) == 9


def test_the_watermark_never_goes_back(inbox: Inbox) -> None:
    inbox.commit(rows(*range(1, 11)), [], NOW)
    assert inbox.commit(rows(11, low=2), [], NOW).watermarks[(KEY, "e1", Lane.TELEMETRY)] == 11


def test_a_pruned_message_that_is_repeated_is_still_a_duplicate(inbox: Inbox) -> None:
    inbox.commit(rows(1, 2, 4), [], NOW)
    assert inbox.prune(3) == 3
    assert inbox.read(0, 10) == []
    assert inbox.commit(rows(1, 2, 4), [], NOW).duplicates == 3
    assert inbox.last_id() == 3


def test_ids_go_on_after_everything_was_pruned(inbox: Inbox) -> None:
    inbox.commit(rows(1, 2), [], NOW)
    inbox.prune(1)
    assert [r.id for r in inbox.read(0, 10)] == [2]
    inbox.prune(99)
    inbox.commit(rows(3), [], NOW)
    assert [r.id for r in inbox.read(2, 10)] == [3]


def test_an_inbox_that_replaces_a_lost_one_counts_on_behind_its_consumers(inbox: Inbox) -> None:
    inbox.continue_after(70)
    inbox.commit([row(1), row(2)], [], NOW)
    inbox.continue_after(50)

    assert [r.id for r in inbox.read(70, 10)] == [71, 72]
    assert inbox.last_id() == 72


def test_poison_with_a_stamp_is_covered_by_the_watermark(inbox: Inbox) -> None:
    inbox.commit(rows(1, 3), [], NOW)
    receipt = inbox.commit([], [poison(at=stamp(2))], NOW)
    assert receipt.watermarks == {(KEY, "e1", Lane.TELEMETRY): 3}
    assert [r.stamp.seq for r in inbox.read(0, 10)] == [1, 3]


def test_identical_poison_is_kept_once_and_counted(inbox: Inbox) -> None:
    inbox.commit([], [poison(b"a"), poison(b"b"), poison(b"a")], NOW)
    inbox.commit([], [poison(b"a", key=None)], NOW + 5)
    newest, other = inbox.quarantine()
    assert (newest.payload, newest.count, newest.first_ms, newest.last_ms) == (
        b"a",
        3,
        NOW,
        NOW + 5,
    )
    assert (newest.topic, newest.reason, newest.detail) == (TOPIC, "json", "not JSON")
    assert other.count == 1
    assert inbox.quarantine_counts() == {"json": 4}
    assert len(inbox.quarantine(limit=1)) == 1


def test_a_long_poisonous_payload_is_kept_in_part_but_told_apart_in_full(inbox: Inbox) -> None:
    inbox.commit([], [poison(b"x" * 9_000 + b"1"), poison(b"x" * 9_000 + b"2")], NOW)
    assert [len(q.payload) for q in inbox.quarantine()] == [4_096, 4_096]


def test_the_quarantine_forgets_the_oldest_but_not_the_count(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_QUARANTINE_ROWS", 2)
    for i in range(4):
        inbox.commit([], [poison(b"%d" % i)], NOW + i)
    assert [q.payload for q in inbox.quarantine()] == [b"3", b"2"]
    assert inbox.quarantine_counts() == {"json": 4}


def test_poison_nobody_can_place_stops_blocking_its_lane_when_it_is_repeated(inbox: Inbox) -> None:
    inbox.commit(rows(1, 3, 5), [poison()], NOW)
    inbox.commit([], [poison()], NOW)
    assert mark(inbox) == 1
    assert inbox.commit([], [poison()], NOW).watermarks == {(KEY, "e1", Lane.TELEMETRY): 3}
    assert inbox.commit(rows(2), [], NOW).stored == 1, "the true message is still new"


def test_poison_nobody_can_place_moves_nothing_where_nothing_is_missing(inbox: Inbox) -> None:
    inbox.commit(rows(1, 2), [poison()] * 5, NOW)
    inbox.commit([], [poison(key=OTHER)] * 5, NOW)
    assert mark(inbox) == 2


def test_poison_nobody_can_place_moves_the_newest_epoch_of_its_own_lane_only(inbox: Inbox) -> None:
    inbox.commit([*rows(1, 3), row(1, epoch="e2"), row(3, epoch="e2")], [], NOW)
    inbox.commit([row(1, lane=Lane.EVENT), row(3, lane=Lane.EVENT)], [poison()] * 3, NOW)
    assert mark(inbox) == 1
    assert mark(inbox, "e2") == 3
    assert mark(inbox, lane=Lane.EVENT) == 1


batches = st.lists(st.lists(st.integers(1, 30), max_size=8), max_size=8)


@given(batches=batches, lows=st.lists(st.integers(1, 30), min_size=8, max_size=8))
def test_both_inboxes_agree_and_the_watermark_is_what_the_contract_says(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]], lows: list[int]
) -> None:
    memory = MemoryInbox()
    disk = SqliteInbox(tmp_path_factory.mktemp("inbox") / "inbox.db")
    expected: int | None = None
    seen: set[int] = set()
    for seqs, low in zip(batches, lows, strict=False):
        batch = [row(seq, min(low, seq)) for seq in seqs]
        assert memory.commit(batch, [], NOW) == disk.commit(batch, [], NOW)
        for seq in seqs:
            seen.add(seq)
            expected = max(expected or 0, min(low, seq) - 1)
            while expected + 1 in seen:
                expected += 1
    assert mark(memory) == mark(disk) == expected
    assert [r.stamp.seq for r in disk.read(0, 100)] == [r.stamp.seq for r in memory.read(0, 100)]
    assert {r.stamp.seq for r in disk.read(0, 100)} == seen
    disk.close()


@given(st.lists(st.integers(1, 40)))
def test_ranges_tell_new_from_seen_like_a_set(seqs: list[int]) -> None:
    record, kept, seen = LaneRecord(), dict[int, int](), set[int]()
    for seq in seqs:
        assert record.add(seq, None) == (seq not in seen)
        seen.add(seq)
        for first, last in record.take_changes().items():
            if last is None:
                del kept[first]
            else:
                kept[first] = last
    again = LaneRecord(record.watermark, kept.items())
    assert all(again.add(seq, None) == (seq not in seen) for seq in range(1, 41))


# -- on disk -------------------------------------------------------------------------------------


def test_everything_survives_closing_and_opening(tmp_path: Path) -> None:
    first = SqliteInbox(tmp_path / "inbox.db")
    first.commit(rows(1, 2, 4), [poison()], NOW)
    before = (first.read(0, 10), first.watermarks(KEY), first.quarantine(), first.last_id())
    first.close()
    again = SqliteInbox(tmp_path / "inbox.db")
    assert (again.read(0, 10), again.watermarks(KEY), again.quarantine(), again.last_id()) == before
    receipt = again.commit(rows(2, 3), [], NOW)
    assert (receipt.stored, receipt.duplicates) == (1, 1)
    assert receipt.watermarks == {(KEY, "e1", Lane.TELEMETRY): 4}
    again.close()


def test_ids_go_on_after_pruning_and_opening_again(tmp_path: Path) -> None:
    first = SqliteInbox(tmp_path / "inbox.db")
    first.commit(rows(1, 2), [], NOW)
    first.prune(2)
    first.close()
    again = SqliteInbox(tmp_path / "inbox.db")
    again.commit(rows(3), [], NOW)
    assert [r.id for r in again.read(0, 10)] == [3]
    again.close()


def fill_disk(inbox: SqliteInbox) -> Callable[[], None]:
    """Let the file grow no further; the returned function makes room again."""
    (pages,) = inbox._db.execute("PRAGMA page_count").fetchone()
    inbox._db.execute(f"PRAGMA max_page_count = {pages}")
    return lambda: inbox._db.execute("PRAGMA max_page_count = 1000000").close()


def test_a_full_disk_takes_nothing_and_later_everything(tmp_path: Path) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db")
    inbox.commit(rows(1), [], NOW)
    make_room = fill_disk(inbox)
    big = [InboxRow(stamp(seq), TOPIC, b"x" * 2_000, NOW) for seq in (2, 3, 4, 5)]
    with pytest.raises(StoreUnavailable, match="full"):
        inbox.commit(big, [poison()], NOW)
    assert (mark(inbox), inbox.last_id(), inbox.quarantine()) == (1, 1, [])
    make_room()
    receipt = inbox.commit(big, [], NOW)
    assert (receipt.stored, mark(inbox)) == (4, 5)
    assert [r.id for r in inbox.read(0, 10)] == [1, 2, 3, 4, 5]
    inbox.close()


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = SqliteInbox(tmp_path / "inbox.db")

    def fail(_: Sequence[object]) -> None:
        raise RuntimeError("torn")

    with monkeypatch.context() as patch:
        patch.setattr(inbox, "_keep_lanes", fail)
        with pytest.raises(RuntimeError):
            inbox.commit(rows(1, 2), [], NOW)
    assert inbox.read(0, 10) == []
    assert inbox.commit(rows(1, 2), [], NOW).stored == 2
    inbox.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "inbox.db").write_bytes(b"not a database, just some text" * 50)
    with pytest.raises(StoreUnavailable, match=r"inbox\.db"):
        SqliteInbox(tmp_path / "inbox.db")


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    SqliteInbox(tmp_path / "inbox.db").close()
    with sqlite3.connect(tmp_path / "inbox.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreUnavailable, match="newer pumpwatch"):
        SqliteInbox(tmp_path / "inbox.db")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="nowhere"):
        connect(tmp_path / "nowhere" / "x.db")


def test_every_connection_is_durable_and_trusts_nothing(tmp_path: Path) -> None:
    db = connect(tmp_path / "x.db")
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "trusted_schema": 0}
    found = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted}
    assert found == wanted
    reader = connect(tmp_path / "x.db", reader=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("CREATE TABLE t (x)")
    reader.close()
    db.close()
