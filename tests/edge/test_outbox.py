"""One contract, two outboxes; then what only a file can suffer."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch_edge.errors import OutboxUnavailable
from pumpwatch_edge.message import Body, Clock, Lane, telemetry_bodies
from pumpwatch_edge.outbox import OVERHEAD, RUN, MemoryOutbox, Outbox, SqliteOutbox
from pumpwatch_edge.source import Reading

T, E = Lane.TELEMETRY, Lane.EVENT
Make = Callable[..., Outbox]


def body(lane: Lane = T, text: bytes = b'{"t":[1]}', rows: int = 1) -> Body:
    return Body(lane, rows, text)


@pytest.fixture(params=["memory", "file"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    made: list[Outbox] = []

    def build(max_bytes: int = 10**8) -> Outbox:
        if request.param == "memory":
            made.append(MemoryOutbox(max_bytes))
        else:
            made.append(SqliteOutbox(tmp_path / f"outbox{len(made)}.db", max_bytes))
        return made[-1]

    yield build
    for outbox in made:
        outbox.close()


def test_each_lane_counts_its_own_records_from_one(make: Make) -> None:
    outbox = make()

    assert outbox.append([body(T), body(E), body(T)]) == [1, 1, 2]
    assert outbox.append([body(E)]) == [2]
    assert (outbox.last(T), outbox.last(E), outbox.depth()) == (2, 2, 4)


def test_records_come_back_as_they_were_oldest_first(make: Make) -> None:
    outbox = make()
    outbox.append([body(text=b"{%d}" % i, rows=i) for i in range(1, 6)])

    assert outbox.read(T, 2, 2) == [(3, 3, b"{3}"), (4, 4, b"{4}")]
    assert outbox.read(T, 5, 10) == []
    assert outbox.read(E, 0, 10) == []


def test_only_what_the_hub_has_is_deleted(make: Make) -> None:
    outbox = make()
    outbox.append([body() for _ in range(5)] + [body(E)])

    assert outbox.trim(T, 3) == 3
    assert (outbox.low(T), outbox.depth(T), outbox.depth(E)) == (4, 2, 1)
    assert outbox.trim(T, 3) == 0
    assert outbox.trim(T, 99) == 2
    assert (outbox.low(T), outbox.last(T), outbox.depth(T)) == (6, 5, 0)


def test_samples_taken_are_counted_also_when_they_are_gone_again(make: Make) -> None:
    outbox = make()
    outbox.append([body(T, rows=7), body(E), body(T, rows=3)])
    outbox.trim(T, 2)

    assert outbox.taken == 10
    outbox.append([body(T, rows=5)])
    assert outbox.taken == 15


def test_a_number_is_never_given_twice(make: Make) -> None:
    outbox = make()
    outbox.append([body()] * 3)
    outbox.trim(T, 3)

    assert outbox.append([body()]) == [4]


def test_an_empty_outbox_names_the_number_that_comes_next(make: Make) -> None:
    outbox = make()

    assert (outbox.low(T), outbox.low(E), outbox.depth(), outbox.last(T)) == (1, 1, 0, 0)


def test_at_the_bound_the_oldest_telemetry_goes_counted_and_no_event_ever(make: Make) -> None:
    size = 1000 + OVERHEAD
    outbox = make(max_bytes=10 * size)
    outbox.append([body(E, b"e" * 1000)] * 4)
    for _ in range(20):
        outbox.append([body(T, b"t" * 1000, rows=7)])

    assert (outbox.depth(E), outbox.depth(T)) == (4, 6)
    assert (outbox.low(T), outbox.last(T)) == (15, 20)
    assert outbox.dropped == 14 * 7
    outbox.append([body(E, b"e" * 1000)] * 10)
    assert (outbox.depth(E), outbox.depth(T)) == (14, 0)
    assert outbox.low(T) == 21


def telemetry(first: int, rows: int) -> Body:
    """Rows ten seconds apart, a level that rises."""
    readings = [
        Reading(10_000 * i, {"level_m": i / 1000, "pump1_run": 0})
        for i in range(first, first + rows)
    ]
    [made] = telemetry_bodies(readings, "b", Clock.NTP)
    return made


def filled(outbox: Outbox, records: int, rows: int = 6, start: int = 0) -> None:
    for i in range(start, start + records):
        outbox.append([telemetry(i * rows, rows)])


def test_at_the_bound_old_telemetry_is_thinned_before_any_is_dropped(make: Make) -> None:
    outbox = make(max_bytes=50_000)
    outbox.append([body(E)] * 3)
    dropped = []
    while not outbox.thinned:
        filled(outbox, 1, start=outbox.last(T))
        dropped.append(outbox.dropped)

    assert dropped[-1] == 0
    assert (outbox.low(T), outbox.depth(E)) == (1, 3)
    records = outbox.read(T, 0, 10_000)
    assert [r.seq for r in records] == list(range(1, outbox.last(T) + 1))
    assert [r.rows for r in records[:20]] == [2] * 20
    assert {r.rows for r in records[20:]} == {6}


def test_nothing_is_dropped_while_anything_but_the_newest_run_can_still_be_thinned(
    make: Make,
) -> None:
    outbox = make(max_bytes=50_000)
    while not outbox.dropped:
        filled(outbox, 1, start=outbox.last(T))

    records = outbox.read(T, 0, 10_000)
    assert len(records) > 10 * RUN
    assert {r.rows for r in records[: 1 - RUN]} == {2}


def test_every_sample_taken_is_held_at_the_hub_or_counted_as_thinned_or_dropped(make: Make) -> None:
    outbox = make(max_bytes=30_000)
    filled(outbox, 600)

    held = sum(record.rows for record in outbox.read(T, 0, 10_000))
    assert outbox.thinned > 0
    assert outbox.dropped > 0
    assert held + outbox.thinned + outbox.dropped == outbox.taken == 3600
    assert outbox.percent <= 100


def test_people_are_told_once_at_eighty_percent_and_again_after_it_was_emptied(make: Make) -> None:
    outbox = make(max_bytes=50_000)
    while outbox.percent < 79:
        filled(outbox, 1, start=outbox.last(T))
        assert outbox.notices == []
    filled(outbox, 20, start=outbox.last(T))

    assert len(outbox.notices) == 1
    assert outbox.notices[0].startswith("outbox 80 % full")
    assert outbox.is_filling
    outbox.trim(T, outbox.last(T))
    assert not outbox.is_filling
    filled(outbox, 400, start=outbox.last(T))
    assert len(outbox.notices) == 2


def test_what_was_thinned_is_remembered_over_a_restart(tmp_path: Path) -> None:
    first = SqliteOutbox(tmp_path / "o.db", 30_000)
    filled(first, 300)
    first.close()
    second = SqliteOutbox(tmp_path / "o.db", 30_000)

    assert first.thinned > 0
    assert (second.thinned, second.dropped) == (first.thinned, first.dropped)
    assert second.is_filling
    filled(second, 300, start=300)
    held = sum(record.rows for record in second.read(T, 0, 10_000))
    assert held + second.thinned + second.dropped == second.taken
    second.close()


SEVEN = {"level_m": 0.8371, "pump1_run": 1, "pump2_run": 0, "pump1_current_a": 6.213,
         "pump2_current_a": 0.0, "high_level": 0, "power_ok": 1}  # fmt: skip


@pytest.mark.parametrize("rows", [3, 30, 60])
def test_thirty_days_of_seven_signals_at_ten_seconds_fit_into_the_bound(
    tmp_path: Path, rows: int
) -> None:
    """One day is written and held against a thirtieth of the 100 MB, log and all."""
    outbox = SqliteOutbox(tmp_path / "o.db")
    for start in range(0, 8640, 720):
        readings = [Reading(1_763_607_540_000 + 10_000 * (start + i), SEVEN) for i in range(720)]
        batches = [readings[i : i + rows] for i in range(0, 720, rows)]
        outbox.append(
            [b for r in batches for b in telemetry_bodies(r, "a1b2c3d4e5f60718", Clock.NTP)]
        )
    counted = 8640 * outbox._bytes / outbox.taken
    outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    outbox.close()

    size = (tmp_path / "o.db").stat().st_size
    assert size < 100e6 / 30
    assert size == pytest.approx(counted, rel=0.1)


def test_the_file_of_a_full_outbox_is_as_large_as_its_bound_says(file: Path) -> None:
    outbox = SqliteOutbox(file, 1_000_000)
    first = 0
    while not outbox.dropped:
        readings = [
            Reading(1_763_607_540_000 + 10_000 * i, SEVEN | {"level_m": i / 1000})
            for i in range(first, first + 300)
        ]
        batches = [readings[i : i + 3] for i in range(0, 300, 3)]
        outbox.append([b for r in batches for b in telemetry_bodies(r, "a1b2c3d4", Clock.NTP)])
        first += 300
    outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    outbox.close()

    assert file.stat().st_size < 1_150_000


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"), st.lists(st.tuples(st.sampled_from(Lane), st.integers(1, 400)))
        ),
        st.tuples(st.just("record"), st.integers(1, 60)),
        st.tuples(st.just("trim"), st.tuples(st.sampled_from(Lane), st.integers(0, 40))),
        st.tuples(st.just("reopen"), st.none()),
    ),
    max_size=25,
)


@settings(deadline=None)  # a disk may be slow
@given(STEPS)
def test_file_and_memory_agree_over_any_history(
    tmp_path_factory: pytest.TempPathFactory, steps: list
) -> None:
    file = tmp_path_factory.mktemp("outbox") / "o.db"
    memory, disk = MemoryOutbox(5000), SqliteOutbox(file, 5000)
    for what, how in steps:
        if what == "append":
            bodies = [body(lane, b"x" * size, rows=size) for lane, size in how]
            assert memory.append(bodies) == disk.append(bodies)
        elif what == "record":
            recorded = [telemetry(i, 6) for i in range(how)]
            assert memory.append(recorded) == disk.append(recorded)
        elif what == "trim":
            assert memory.trim(*how) == disk.trim(*how)
        else:
            epoch = disk.epoch
            disk.close()
            disk = SqliteOutbox(file, 5000)
            assert disk.epoch == epoch
        for lane in Lane:
            assert memory.read(lane, 0, 1000) == disk.read(lane, 0, 1000)
            assert (memory.low(lane), memory.last(lane)) == (disk.low(lane), disk.last(lane))
            assert memory.depth(lane) == disk.depth(lane) == len(disk.read(lane, 0, 1000))
        assert (memory.dropped, memory.thinned) == (disk.dropped, disk.thinned)
        assert memory.percent == disk.percent
    disk.close()


# -- the file --------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def test_the_file_is_kept_with_full_synchronisation_and_a_write_ahead_log(file: Path) -> None:
    outbox = SqliteOutbox(file)
    outbox.append([body()] * 2)
    outbox.trim(T, 1)
    outbox.append([body()])
    pragma = {name: outbox._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}  # fmt: skip
    outbox.close()

    assert pragma == {"journal_mode": "wal", "synchronous": 2}


def test_every_append_that_returned_survives_a_kill(file: Path) -> None:
    script = (
        "import sys\n"
        "from pumpwatch_edge.outbox import SqliteOutbox\n"
        "from pumpwatch_edge.message import Body, Lane\n"
        "outbox = SqliteOutbox(sys.argv[1])\n"
        "while True:\n"
        "    seqs = outbox.append([Body(Lane.TELEMETRY, 1, b'x' * 500), Body(Lane.EVENT, 1, b'y')])\n"
        "    print(seqs[0], flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    promised = [int(next(process.stdout)) for _ in range(50)]
    os.kill(process.pid, signal.SIGKILL)
    promised += [int(line) for line in process.stdout if line.endswith("\n")]
    process.wait()

    outbox = SqliteOutbox(file)
    held = [record.seq for record in outbox.read(T, 0, 10**6)]
    assert held[: len(promised)] == promised
    assert outbox.depth(T) == outbox.depth(E)
    assert outbox.append([body()]) == [held[-1] + 1]
    outbox.close()


def test_a_second_agent_on_the_same_file_is_refused_with_the_remedy(file: Path) -> None:
    first = SqliteOutbox(file)
    with pytest.raises(OutboxUnavailable, match="another process holds it: stop the other agent"):
        SqliteOutbox(file)
    first.append([body()])
    first.close()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutboxUnavailable, match=r"nowhere.*check the folder"):
        SqliteOutbox(tmp_path / "nowhere" / "outbox.db")


def test_an_outbox_from_a_newer_version_is_not_touched(file: Path) -> None:
    SqliteOutbox(file).close()
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE meta SET value = 99 WHERE name = 'format'")
    with pytest.raises(OutboxUnavailable, match="format 99"):
        SqliteOutbox(file)


def test_a_file_that_is_no_database_is_set_aside_and_a_new_epoch_begins(file: Path) -> None:
    file.write_bytes(b"no database at all" * 500)
    outbox = SqliteOutbox(file)

    assert outbox.append([body()]) == [1]
    assert len(outbox.notices) == 1
    assert "outbox.db.damaged-1" in outbox.notices[0]
    assert file.with_name("outbox.db.damaged-1").read_bytes().startswith(b"no database")
    outbox.close()


def damage(outbox: SqliteOutbox) -> None:
    """Overwrite everything behind the first two pages below a running outbox."""
    outbox.append([body(text=b"x" * 3000)] * 200)
    outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    outbox._db.execute("PRAGMA cache_size = 1")
    with outbox.file.open("r+b") as damaged:
        damaged.seek(8192)
        damaged.write(os.urandom(outbox.file.stat().st_size - 8192))


def test_damage_met_at_work_begins_a_new_epoch_too(file: Path) -> None:
    outbox = SqliteOutbox(file)
    before = outbox.epoch
    damage(outbox)

    with pytest.raises(OutboxUnavailable, match="was damaged"):
        outbox.read(T, 0, 200)
    assert outbox.epoch != before
    assert outbox.append([body()]) == [1]
    assert outbox.depth() == 1
    outbox.close()


def test_use_after_closing_is_refused_and_sets_nothing_aside(file: Path) -> None:
    outbox = SqliteOutbox(file)
    outbox.append([body()])
    outbox.close()

    with pytest.raises(OutboxUnavailable, match="closed"):
        outbox.append([body()])
    assert [path.name for path in file.parent.iterdir()] == ["outbox.db"]


def test_a_new_file_that_cannot_be_made_is_tried_again_later(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    outbox = SqliteOutbox(file)
    damage(outbox)
    with monkeypatch.context() as broken:
        broken.setattr(outbox, "_connect", fail)
        with pytest.raises(OutboxUnavailable, match="disk I/O error"):
            outbox.read(T, 0, 200)
        with pytest.raises(OutboxUnavailable, match="disk I/O error"):
            outbox.append([body()])

    assert outbox.append([body()]) == [1]
    assert len(outbox.notices) == 1
    outbox.close()


def test_a_full_disk_refuses_loudly_and_changes_nothing(file: Path) -> None:
    outbox = SqliteOutbox(file)
    outbox.append([body()])
    (pages,) = outbox._db.execute("PRAGMA page_count").fetchone()
    outbox._db.execute(f"PRAGMA max_page_count = {pages + 4}")

    with pytest.raises(OutboxUnavailable, match="full"):
        outbox.append([body(text=b"x" * 50_000)])
    assert (outbox.depth(), outbox.last(T)) == (1, 1)
    outbox._db.execute("PRAGMA max_page_count = 100000")
    assert outbox.append([body(text=b"x" * 50_000)]) == [2]
    outbox.close()
