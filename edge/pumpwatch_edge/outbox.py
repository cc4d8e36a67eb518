"""What was recorded and is not yet on the hub's disk: kept first, sent afterwards.

Records are immutable and numbered per lane; a number is never given twice, also over reboots.
They go only below the hub's watermark, or when the size bound is met: then old telemetry is thinned
to what a minute must tell, and only when all of it is thin the oldest is dropped. Both are counted
and said before they begin; an event is never given up.
"""

from __future__ import annotations

import sqlite3
import sys
import uuid
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pumpwatch_edge.errors import OutboxRefused, OutboxUnavailable
from pumpwatch_edge.message import Body, Lane, Record
from pumpwatch_edge.thinning import thin

MAX_BYTES = 100_000_000
OVERHEAD = 64
"""Bytes a record costs beside its text."""
RUN = 20
"""Records thinned together: the rows of a minute are mostly spread over some of them."""
FILLING, EMPTIED = 80, 60
"""Percent of the bound at which people are told, and below which they are told again next time."""
FORMAT = 1


class Outbox(Protocol):
    """The contract that the file and the memory twin share. Not for two threads at once."""

    @property
    def epoch(self) -> str:
        """Born with the outbox; a new one means that numbering began anew."""
        ...

    @property
    def notices(self) -> list[str]:
        """What people should know about this outbox, one line each."""
        ...

    @property
    def thinned(self) -> int:
        """Samples given up for the size bound since the epoch began, of minutes that keep others."""
        ...

    @property
    def dropped(self) -> int:
        """Samples given up for the size bound since the epoch began, with their whole record."""
        ...

    @property
    def percent(self) -> int:
        """How full it is, of its size bound."""
        ...

    @property
    def is_filling(self) -> bool:
        """It passed `FILLING` percent and has not come below `EMPTIED` since."""
        ...

    @property
    def taken(self) -> int:
        """Samples kept since the epoch began, also those that are gone again: where a source that
        can be read anew goes on after a restart."""
        ...

    def append(self, bodies: Sequence[Body]) -> list[int]:
        """Keep all of them durably, or none; their seqs. Raises `OutboxUnavailable`."""
        ...

    def read(self, lane: Lane, after: int, limit: int) -> list[Record]:
        """The oldest records with seq > ``after``, at most ``limit``."""
        ...

    def trim(self, lane: Lane, up_to: int) -> int:
        """Delete what the hub has, seq <= ``up_to``; how many that were."""
        ...

    def depth(self, lane: Lane | None = None) -> int:
        """Records held, of one lane or all."""
        ...

    def low(self, lane: Lane) -> int:
        """The lowest seq held; with nothing held the one that comes next."""
        ...

    def last(self, lane: Lane) -> int:
        """The highest seq ever given, 0 before the first."""
        ...

    def close(self) -> None: ...


class _Shelf(Protocol):
    """The telemetry held, as making room sees it."""

    def oldest(self, after: int, limit: int) -> list[Record]: ...

    def replace(self, records: Sequence[Record]) -> None:
        """Other texts under the same seqs."""
        ...

    def drop(self, up_to: int) -> None: ...


@dataclass(slots=True)
class _Loss:
    """What making room cost. ``thin_to`` is the seq up to which nothing is left to thin."""

    thin_to: int
    freed: int = 0
    thinned: int = 0
    dropped: int = 0
    records: int = 0


def _size(record: Record) -> int:
    return len(record.text) + OVERHEAD


def _make_room(shelf: _Shelf, excess: int, thin_to: int) -> _Loss:
    """Thin, then drop, oldest first, until ``excess`` bytes are free."""
    loss = _Loss(thin_to)
    while loss.freed < excess and len(run := shelf.oldest(loss.thin_to, RUN)) == RUN:
        thinner = [new for old, new in zip(run, thin(run), strict=True) if new is not old]
        shelf.replace(thinner)
        seqs = {record.seq for record in thinner}
        before = [record for record in run if record.seq in seqs]
        loss.freed += sum(map(_size, before)) - sum(map(_size, thinner))
        loss.thinned += sum(r.rows for r in before) - sum(r.rows for r in thinner)
        loss.thin_to = run[-1].seq
    up_to = 0
    while loss.freed < excess and (run := shelf.oldest(up_to, RUN)):
        for record in run:
            if loss.freed >= excess:
                break
            loss.freed += _size(record)
            loss.dropped += record.rows
            loss.records += 1
            up_to = record.seq
    if up_to:
        shelf.drop(up_to)
    return loss


class _Bounded:
    """How full an outbox is, and what was given up for its bound."""

    def __init__(self, max_bytes: int) -> None:
        self.notices: list[str] = []
        self.thinned = 0
        self.dropped = 0
        self.is_filling = False
        self._max_bytes = max_bytes
        self._bytes = 0
        self._thin_to = 0

    @property
    def percent(self) -> int:
        return 100 * self._bytes // self._max_bytes

    def _give_up(self, loss: _Loss) -> None:
        self._bytes -= loss.freed
        self._thin_to = loss.thin_to
        self.thinned += loss.thinned
        self.dropped += loss.dropped

    def _watch_fill(self) -> None:
        """Say once, before anything is lost, that the hub does not take what is kept for it."""
        if self.percent >= FILLING and not self.is_filling:
            self.is_filling = True
            self.notices.append(
                f"outbox {FILLING} % full ({self._bytes / 1e6:.1f} of {self._max_bytes / 1e6:.1f} MB):"
                " see why the hub acknowledges nothing; when it is full old telemetry is thinned to"
                " one-minute extremes, then dropped, and events are kept"
            )
        elif self.percent < EMPTIED:
            self.is_filling = False


class MemoryOutbox(_Bounded):
    """The same contract without a file: for the simulator, tests, and nothing that matters."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(max_bytes)
        self.epoch = uuid.uuid4().hex
        self.taken = 0
        self._last = dict.fromkeys(Lane, 0)
        self._held: dict[Lane, list[Record]] = {lane: [] for lane in Lane}

    def append(self, bodies: Sequence[Body]) -> list[int]:
        seqs = []
        self.taken += _samples(bodies)
        for lane, rows, text in bodies:
            self._last[lane] += 1
            seqs.append(self._last[lane])
            self._held[lane].append(Record(self._last[lane], rows, text))
            self._bytes += len(text) + OVERHEAD
        self._watch_fill()
        self._give_up(_make_room(self, self._bytes - self._max_bytes, self._thin_to))
        return seqs

    def oldest(self, after: int, limit: int) -> list[Record]:
        return self.read(Lane.TELEMETRY, after, limit)

    def replace(self, records: Sequence[Record]) -> None:
        held = self._held[Lane.TELEMETRY]
        for record in records:
            held[self._above(Lane.TELEMETRY, record.seq) - 1] = record

    def drop(self, up_to: int) -> None:
        del self._held[Lane.TELEMETRY][: self._above(Lane.TELEMETRY, up_to)]

    def read(self, lane: Lane, after: int, limit: int) -> list[Record]:
        start = self._above(lane, after)
        return self._held[lane][start : start + limit]

    def trim(self, lane: Lane, up_to: int) -> int:
        n = self._above(lane, up_to)
        self._bytes -= sum(map(_size, self._held[lane][:n]))
        del self._held[lane][:n]
        self._watch_fill()
        return n

    def depth(self, lane: Lane | None = None) -> int:
        return sum(len(self._held[one]) for one in ([lane] if lane else Lane))

    def low(self, lane: Lane) -> int:
        held = self._held[lane]
        return held[0].seq if held else self._last[lane] + 1

    def last(self, lane: Lane) -> int:
        return self._last[lane]

    def close(self) -> None:
        """Nothing to close."""

    def _above(self, lane: Lane, seq: int) -> int:
        return bisect_right(self._held[lane], seq, key=lambda record: record.seq)


_TABLES = "".join(
    f"CREATE TABLE IF NOT EXISTS {lane} (seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " rows INTEGER NOT NULL, text BLOB NOT NULL);"
    for lane in Lane
)
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
{_TABLES}
INSERT OR IGNORE INTO meta VALUES ('format', {FORMAT});
INSERT OR IGNORE INTO meta VALUES ('epoch', '%s');
INSERT OR IGNORE INTO meta VALUES ('dropped', 0);
INSERT OR IGNORE INTO meta VALUES ('taken', 0);
INSERT OR IGNORE INTO meta VALUES ('thinned', 0);
INSERT OR IGNORE INTO meta VALUES ('thin_to', 0);
COMMIT;
"""  # noqa: S608


class _Damaged(sqlite3.DatabaseError):
    """The integrity check found something."""


def _samples(bodies: Sequence[Body]) -> int:
    return sum(rows for lane, rows, _ in bodies if lane is Lane.TELEMETRY)


def _is_damage(error: sqlite3.Error) -> bool:
    """Only what says that the bytes are wrong: a healthy file must never be set aside."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, _Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class _Table:
    """The telemetry of a file, inside a transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def oldest(self, after: int, limit: int) -> list[Record]:
        rows = self._db.execute(
            "SELECT seq, rows, text FROM telemetry WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, limit),
        )
        return [Record(*row) for row in rows]

    def replace(self, records: Sequence[Record]) -> None:
        # Taken out and put in anew, for a text that only shrinks leaves its page as it was: full of holes.
        self._db.executemany("DELETE FROM telemetry WHERE seq = ?", [(r.seq,) for r in records])
        self._db.executemany("INSERT INTO telemetry (seq, rows, text) VALUES (?, ?, ?)", records)

    def drop(self, up_to: int) -> None:
        self._db.execute("DELETE FROM telemetry WHERE seq <= ?", (up_to,))


class SqliteOutbox(_Bounded):
    """The outbox on disk: SQLite, WAL, ``synchronous=FULL``; one process holds it at a time.

    A file that is damaged, found at opening or later, is set aside beside the new one (nothing is
    deleted), and a new epoch begins; ``notices`` says so.
    """

    def __init__(self, file: Path | str, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(max_bytes)
        self.file = Path(file)
        self.taken = 0
        self._last: dict[Lane, int] = {}
        self._low: dict[Lane, int] = {}
        self._lost = False
        """The file was set aside and no new one could be opened yet."""
        self._open()

    # -- the contract ------------------------------------------------------------------------

    def append(self, bodies: Sequence[Body]) -> list[int]:
        if not bodies:
            return []
        last, seqs = dict(self._last), []
        for lane, _, _ in bodies:
            last[lane] += 1
            seqs.append(last[lane])
        held = self._bytes + sum(len(text) + OVERHEAD for _, _, text in bodies)
        with self._writing() as db:
            for seq, (lane, rows, text) in zip(seqs, bodies, strict=True):
                db.execute(
                    f"INSERT INTO {lane} (seq, rows, text) VALUES (?, ?, ?)",  # noqa: S608
                    (seq, rows, text),
                )
            loss = _make_room(_Table(db), held - self._max_bytes, self._thin_to)
            sys.audit("pumpwatch.reached", "edge.in_txn")
            if loss.freed:
                sys.audit("pumpwatch.reached", "edge.thinned")
            taken = self.taken + _samples(bodies)
            counted = {
                "taken": taken,
                "thinned": self.thinned + loss.thinned,
                "thin_to": loss.thin_to,
                "dropped": self.dropped + loss.dropped,
            }
            db.executemany(
                "UPDATE meta SET value = ? WHERE name = ? AND value <> ?",
                [(value, name, value) for name, value in counted.items()],
            )
        sys.audit("pumpwatch.reached", "edge.committed")
        self.taken, self._last, self._bytes = taken, last, held
        self._watch_fill()
        self._give_up(loss)
        self._low[Lane.TELEMETRY] += loss.records
        return seqs

    def read(self, lane: Lane, after: int, limit: int) -> list[Record]:
        if after >= self._last[lane]:
            return []
        with self._guarded():
            rows = self._db.execute(
                f"SELECT seq, rows, text FROM {lane} WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
                (after, limit),
            )
            return [Record(*row) for row in rows]

    def trim(self, lane: Lane, up_to: int) -> int:
        up_to = min(up_to, self._last[lane])
        gone = up_to - self._low[lane] + 1
        if gone <= 0:
            return 0
        # A deletion that a power cut undoes only costs a repetition: it need not wait for the disk.
        with self._writing("NORMAL") as db:
            (freed,) = db.execute(
                f"SELECT total(length(text)) FROM {lane} WHERE seq <= ?",  # noqa: S608
                (up_to,),
            ).fetchone()
            db.execute(f"DELETE FROM {lane} WHERE seq <= ?", (up_to,))  # noqa: S608
        self._low[lane] = up_to + 1
        self._bytes -= int(freed) + gone * OVERHEAD
        self._watch_fill()
        return gone

    def depth(self, lane: Lane | None = None) -> int:
        lanes = [lane] if lane else list(Lane)
        return sum(self._last[one] - self._low[one] + 1 for one in lanes)

    def low(self, lane: Lane) -> int:
        return self._low[lane]

    def last(self, lane: Lane) -> int:
        return self._last[lane]

    def close(self) -> None:
        self._db.close()

    # -- inside ------------------------------------------------------------------------------

    @contextmanager
    def _writing(self, synchronous: str = "FULL") -> Iterator[sqlite3.Connection]:
        with self._guarded():
            self._db.execute(f"PRAGMA synchronous = {synchronous}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """SQLite's errors as ours; damage sets the file aside and begins anew."""
        if self._lost:
            self._open()
        try:
            yield
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise OutboxUnavailable(
                    f"outbox {self.file}: {error}", "free disk space, check the disk and the rights"
                ) from error
            self._set_aside(error)
            self._open()
            raise OutboxUnavailable(self.notices[-1], "recording goes on") from error

    def _open(self) -> None:
        try:
            self._connect()
        except sqlite3.Error as error:
            if _is_damage(error) and not self._lost:
                self._set_aside(error)
                self._open()
            elif "locked" in str(error):
                raise OutboxRefused(
                    f"outbox {self.file}: another process holds it",
                    "stop the other agent or name another file",
                ) from error
            else:
                raise OutboxUnavailable(
                    f"outbox {self.file}: {error}", "check the folder, its rights and its space"
                ) from error

    def _connect(self) -> None:
        db = self._db = sqlite3.connect(
            self.file, timeout=1.0, isolation_level=None, check_same_thread=False
        )
        try:
            # Small pages waste little on records of 1 to 3 KB: the file is as large as the bound says.
            db.execute("PRAGMA page_size = 1024")
            # One process holds the file: that needs no shared memory and refuses a second agent.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA trusted_schema = OFF")
            db.executescript(_SCHEMA % uuid.uuid4().hex)
            (sound,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if sound != "ok":
                raise _Damaged(sound)
            self._load(db)
            self._lost = False
        except BaseException:
            db.close()
            raise

    def _load(self, db: sqlite3.Connection) -> None:
        meta = dict(db.execute("SELECT name, value FROM meta"))
        if meta["format"] != FORMAT:
            raise OutboxRefused(
                f"outbox {self.file}: format {meta['format']} is not {FORMAT}",
                "update pumpwatch-edge or name another file",
            )
        self.epoch: str = meta["epoch"]
        self.taken, self._thin_to = int(meta["taken"]), int(meta["thin_to"])
        self.thinned, self.dropped = int(meta["thinned"]), int(meta["dropped"])
        self._last = dict.fromkeys(Lane, 0)
        self._last |= {
            Lane(name): seq
            for name, seq in db.execute("SELECT name, seq FROM sqlite_sequence")
            if name in set(Lane)
        }
        self._bytes = 0
        for lane in Lane:
            depth, low, size = db.execute(
                f"SELECT count(*), min(seq), total(length(text)) FROM {lane}"  # noqa: S608
            ).fetchone()
            self._low[lane] = low if depth else self._last[lane] + 1
            self._bytes += int(size) + depth * OVERHEAD
        self._watch_fill()

    def _set_aside(self, error: Exception) -> None:
        self._db.close()
        self._lost = True
        self._last, self._low, self._bytes = dict.fromkeys(Lane, 0), dict.fromkeys(Lane, 1), 0
        n = 1
        while (aside := self.file.with_name(f"{self.file.name}.damaged-{n}")).exists():
            n += 1
        for suffix in ("", "-wal", "-shm"):
            part = self.file.with_name(self.file.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        self.notices.append(
            f"outbox {self.file} was damaged ({error}); it is kept as {aside.name}"
            " and a new epoch began"
        )
