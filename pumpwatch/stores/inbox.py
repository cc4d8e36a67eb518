"""The inbox: everything the hub accepted, in order, on disk before anybody is told so.

One writing connection and one lock; consumers read through a second connection and wait for no
commit. What was seen of each lane is kept as ranges beside the messages, so that a repeated message
is recognised however long ago the first one was pruned.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Lane, Poison, Stamp, Watermark
from pumpwatch.domain.ports import NOTHING, CommitReceipt, InboxRow, QuarantineRow, WaitingRow
from pumpwatch.stores.lanes import LaneRecord
from pumpwatch.stores.sqlite import TROUBLE, connect, remedy, transaction

KEPT_PAYLOAD_BYTES = 4_096
"""Of a poisonous payload; enough to see what it was."""
KEPT_QUARANTINE_ROWS = 10_000
BLIND_ARRIVALS = 3
"""Arrivals of one identical payload without a stamp after which it is taken for the hole."""
_PRUNE_SLICE = 5_000
_CHECKPOINT_PAGES = 8_000
"""32 MB of journal: a burst is copied into the file once, not after every commit."""
_LANES_IN_MEMORY = 200_000
_OUTBOXES_IN_MEMORY = 4
"""Of one site. It has one; more than two means that somebody makes names up."""

LaneName = tuple[SiteKey, str, Lane]


@dataclass(slots=True)
class _OpenLane:
    id: int
    name: LaneName
    record: LaneRecord
    moved_from: int | None


class _Receiving(ABC):
    """What both inboxes do with a batch; they differ in where they keep the outcome."""

    @abstractmethod
    def _lane(self, name: LaneName, topic: str) -> _OpenLane:
        """The lane, made when this is the first message of it."""

    @abstractmethod
    def _newest_lane(self, key: SiteKey, lane: Lane) -> _OpenLane | None: ...

    @abstractmethod
    def _set_aside(self, poison: Poison, now_ms: int) -> int:
        """Put into quarantine; how often this very payload has come now."""

    @abstractmethod
    def _trim_quarantine(self) -> None: ...

    @abstractmethod
    def _append(self, new: Sequence[tuple[_OpenLane, InboxRow]]) -> None: ...

    @abstractmethod
    def _keep_lanes(self, touched: Sequence[_OpenLane]) -> None: ...

    def _receive(
        self, rows: Sequence[InboxRow], poison: Sequence[Poison], now_ms: int
    ) -> CommitReceipt:
        touched: dict[LaneName, _OpenLane] = {}

        def note(stamp: Stamp, topic: str) -> _OpenLane | None:
            """The lane when the message is new to it."""
            name = stamp[:3]
            lane = touched.get(name)
            if lane is None:
                lane = touched[name] = self._lane(name, topic)
                lane.moved_from = lane.record.watermark
            return lane if lane.record.add(stamp.seq, stamp.low) else None

        new = [(lane, row) for row in rows if (lane := note(row.stamp, row.topic))]
        self._append(new)
        for item in poison:
            arrivals = self._set_aside(item, now_ms)
            if item.stamp is not None:
                note(item.stamp, item.topic)
            elif item.key is not None and arrivals >= BLIND_ARRIVALS:
                self._pass_blind(item.key, item.topic, touched)
        if poison:
            self._trim_quarantine()
        self._keep_lanes(list(touched.values()))
        moved = {
            name: lane.record.watermark
            for name, lane in touched.items()
            if lane.record.watermark is not None and lane.record.watermark != lane.moved_from
        }
        return CommitReceipt(len(new), len(rows) - len(new), moved)

    def _pass_blind(self, key: SiteKey, topic: str, touched: dict[LaneName, _OpenLane]) -> None:
        """Let the watermark over the hole that a payload without a readable stamp must have left.

        Which seq it was cannot be known; but its sender repeats it until the watermark covers it, and
        sends what is missing oldest first, so what still comes when everything above is there is the
        hole. Without this one undecodable record would block its lane, and fill the sender's outbox,
        for ever. The seq stays new: should the true message come after all, it is stored.
        """
        channel = topic.rpartition("/")[2]
        if channel not in set(Lane):
            return
        lane = self._newest_lane(key, Lane(channel))
        if lane is None:
            return
        if lane.name not in touched:
            lane.moved_from = lane.record.watermark
            touched[lane.name] = lane
        lane = touched[lane.name]
        if lane.record.has_hole:
            lane.record.pass_hole()


def _standing(lanes: Iterable[tuple[SiteKey, str, Lane, int | None]]) -> list[Watermark]:
    """Of lanes in the order in which they were first heard of."""
    marks = {(key, epoch, lane): at or 0 for key, epoch, lane, at in lanes}
    newest = {key: epoch for key, epoch, _ in marks}
    return [
        Watermark(key, epoch, *(marks.get((key, epoch, lane), 0) for lane in Lane))
        for key, epoch in newest.items()
    ]


# -- in memory -----------------------------------------------------------------------------------


class MemoryInbox(_Receiving):
    """The inbox without a disk, for tests and for runs nobody will ask about again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: list[InboxRow] = []
        self._last_id = 0
        self._lanes: dict[LaneName, _OpenLane] = {}
        self._quarantine: dict[tuple[str, bytes], QuarantineRow] = {}
        self._counts: Counter[str] = Counter()
        self._passed_over: set[SiteKey] = set()

    def commit(
        self, rows: Sequence[InboxRow], poison: Sequence[Poison], now_ms: int
    ) -> CommitReceipt:
        with self._lock:
            return self._receive(rows, poison, now_ms)

    def read(self, after_id: int, limit: int) -> list[InboxRow]:
        with self._lock:
            start = bisect_right(self._rows, after_id, key=lambda row: row.id)
            return self._rows[start : start + limit]

    def last_id(self) -> int:
        return self._last_id

    def continue_after(self, inbox_id: int) -> None:
        with self._lock:
            self._last_id = max(self._last_id, inbox_id)

    def watermarks(self, key: SiteKey, epoch: str | None = None) -> dict[tuple[str, Lane], int]:
        with self._lock:
            return {
                (spoke, lane): opened.record.watermark
                for (owner, spoke, lane), opened in self._lanes.items()
                if owner == key and epoch in (None, spoke) and opened.record.watermark is not None
            }

    def standing(self) -> list[Watermark]:
        with self._lock:
            return _standing(
                (*name, opened.record.watermark) for name, opened in self._lanes.items()
            )

    def prune(self, up_to_id: int, keep: Mapping[SiteKey, int] = NOTHING) -> int:
        with self._lock:
            kept = [r for r in self._rows if r.id > min(up_to_id, keep.get(r.stamp.key, up_to_id))]
            pruned = len(self._rows) - len(kept)
            self._rows = kept
            return pruned

    def waiting(self, after_id: int, up_to_id: int, limit: int) -> list[WaitingRow]:
        rows = [row for row in self.read(after_id, limit) if row.id <= up_to_id]
        return [
            WaitingRow(r.id, r.stamp.key, r.stamp.lane, len(r.payload), r.received_ms) for r in rows
        ]

    def forget(self, ids: Iterable[int]) -> None:
        gone = set(ids)
        with self._lock:
            self._rows = [row for row in self._rows if row.id not in gone]

    def passed_over(self) -> set[SiteKey]:
        return set(self._passed_over)

    def pass_over(self, keys: Collection[SiteKey]) -> None:
        self._passed_over |= set(keys)

    def take_up(self, keys: Collection[SiteKey]) -> None:
        self._passed_over -= set(keys)

    def quarantine(self, limit: int = 100) -> list[QuarantineRow]:
        with self._lock:
            newest = sorted(self._quarantine.values(), key=lambda row: (-row.last_ms, -row.id))
            return newest[:limit]

    def quarantine_counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def close(self) -> None:
        pass

    def _lane(self, name: LaneName, topic: str) -> _OpenLane:
        if name not in self._lanes:
            self._lanes[name] = _OpenLane(len(self._lanes) + 1, name, LaneRecord(), None)
        return self._lanes[name]

    def _newest_lane(self, key: SiteKey, lane: Lane) -> _OpenLane | None:
        own = [o for o in self._lanes.values() if (o.name[0], o.name[2]) == (key, lane)]
        return own[-1] if own else None

    def _set_aside(self, poison: Poison, now_ms: int) -> int:
        self._counts[str(poison.reason)] += 1
        name = (poison.topic, _digest(poison.payload))
        row = self._quarantine.get(name)
        if row is None:
            kept = poison.payload[:KEPT_PAYLOAD_BYTES]
            number = sum(self._counts.values())
            row = QuarantineRow(
                number, poison.topic, kept, str(poison.reason), poison.detail, now_ms, now_ms, 0
            )
        self._quarantine[name] = replace(row, last_ms=now_ms, count=row.count + 1)
        return row.count + 1

    def _trim_quarantine(self) -> None:
        by_age = sorted(self._quarantine.items(), key=lambda item: (item[1].last_ms, item[1].id))
        for name, _ in by_age[: max(0, len(by_age) - KEPT_QUARANTINE_ROWS)]:
            del self._quarantine[name]

    def _append(self, new: Sequence[tuple[_OpenLane, InboxRow]]) -> None:
        for _, row in new:
            self._last_id += 1
            self._rows.append(row._replace(id=self._last_id))

    def _keep_lanes(self, touched: Sequence[_OpenLane]) -> None:
        for lane in touched:
            lane.record.take_changes()


# -- on disk -------------------------------------------------------------------------------------

_VERSION = 2
_SCHEMA = """
CREATE TABLE lanes (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL, site TEXT NOT NULL, epoch TEXT NOT NULL, lane TEXT NOT NULL,
    topic TEXT NOT NULL,
    watermark INTEGER,
    UNIQUE (tenant, site, lane, epoch)
);
CREATE TABLE seen (
    lane INTEGER NOT NULL REFERENCES lanes (id), first INTEGER NOT NULL, last INTEGER NOT NULL,
    PRIMARY KEY (lane, first)
) WITHOUT ROWID;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane INTEGER NOT NULL REFERENCES lanes (id), seq INTEGER NOT NULL,
    sent_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL,
    boot TEXT NOT NULL, clock TEXT NOT NULL, low INTEGER,
    payload BLOB NOT NULL
);
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL, digest BLOB NOT NULL, payload BLOB NOT NULL,
    reason TEXT NOT NULL, detail TEXT NOT NULL,
    first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL, count INTEGER NOT NULL,
    UNIQUE (topic, digest)
);
CREATE INDEX quarantine_age ON quarantine (last_ms);
CREATE TABLE poisoned (reason TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
"""
_SINCE_2 = """
CREATE TABLE passed_over (
    tenant TEXT NOT NULL, site TEXT NOT NULL, PRIMARY KEY (tenant, site)
) WITHOUT ROWID;
CREATE TABLE forgotten (times INTEGER NOT NULL);
INSERT INTO forgotten VALUES (0);
INSERT INTO passed_over SELECT DISTINCT tenant, site FROM lanes;
"""
"""``forgotten`` grows whenever something goes: a backup sees by it that nothing did meanwhile. An
inbox of before knew nobody's debts: everything that is left in it is recorded once more."""


_COLUMNS = 9
_ROWS_AT_ONCE = 100


def _insert(rows: int) -> str:
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    names = "id, lane, seq, sent_ms, received_ms, boot, clock, low, payload"
    return f"INSERT INTO messages ({names}) VALUES {values}"  # noqa: S608


_INSERT_MANY = _insert(_ROWS_AT_ONCE)


class SqliteInbox(_Receiving):
    """The inbox in one SQLite file. Any thread may call; commits and pruning take turns.

    Every method raises `StoreUnavailable` when the disk refuses; a commit that raised left nothing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._db = connect(path)
        try:
            self._last_id = self._prepare()
            self._db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            self._reader = connect(path, reader=True)
        except BaseException:
            self._db.close()
            raise
        self._lanes: dict[LaneName, _OpenLane] = {}
        self._open: defaultdict[tuple[SiteKey, Lane], list[str]] = defaultdict(list)
        """The epochs in `_lanes`, oldest first."""

    def commit(
        self, rows: Sequence[InboxRow], poison: Sequence[Poison], now_ms: int
    ) -> CommitReceipt:
        with self._writing, self._trouble("written"):
            before = self._last_id
            try:
                with transaction(self._db):
                    receipt = self._receive(rows, poison, now_ms)
                    sys.audit("pumpwatch.reached", "ingest.in_txn")
                    return receipt
            except BaseException:
                # memory has run ahead of the disk: go back to what is written there
                self._close_lanes()
                self._last_id = before
                raise

    def read(self, after_id: int, limit: int) -> list[InboxRow]:
        with self._reading, self._trouble("read"):
            found = self._reader.execute(
                "SELECT m.id, l.tenant, l.site, l.epoch, l.lane, l.topic, m.seq, m.sent_ms,"
                " m.received_ms, m.boot, m.clock, m.low, m.payload"
                " FROM messages m JOIN lanes l ON l.id = m.lane"
                " WHERE m.id > ? ORDER BY m.id LIMIT ?",
                (after_id, limit),
            ).fetchall()
        return [
            InboxRow(
                Stamp(SiteKey(tenant, site), epoch, _LANES[lane], seq, sent, boot, clock, low),
                topic,
                payload,
                received,
                number,
            )
            for number, tenant, site, epoch, lane, topic, seq, sent, received, boot, clock, low, payload in found
        ]  # fmt: skip

    def last_id(self) -> int:
        return self._last_id

    def continue_after(self, inbox_id: int) -> None:
        with self._writing, self._trouble("written"), transaction(self._db):
            if inbox_id > self._last_id:
                self._db.execute("DELETE FROM sqlite_sequence WHERE name = 'messages'")
                self._db.execute("INSERT INTO sqlite_sequence VALUES ('messages', ?)", (inbox_id,))
                self._last_id = inbox_id

    def watermarks(self, key: SiteKey, epoch: str | None = None) -> dict[tuple[str, Lane], int]:
        query = (
            "SELECT epoch, lane, watermark FROM lanes WHERE tenant = ? AND site = ?"
            " AND lane IN ('telemetry', 'event') AND watermark IS NOT NULL"
        )
        with self._reading, self._trouble("read"):
            if epoch is None:
                found = self._reader.execute(query, key).fetchall()
            else:
                found = self._reader.execute(f"{query} AND epoch = ?", (*key, epoch)).fetchall()
        return {(epoch, _LANES[lane]): watermark for epoch, lane, watermark in found}

    def standing(self) -> list[Watermark]:
        with self._reading, self._trouble("read"):
            found = self._reader.execute(
                "SELECT tenant, site, epoch, lane, watermark FROM lanes ORDER BY id"
            ).fetchall()
        return _standing(
            (SiteKey(t, s), epoch, _LANES[lane], at) for t, s, epoch, lane, at in found
        )

    def prune(self, up_to_id: int, keep: Mapping[SiteKey, int] = NOTHING) -> int:
        pruned, after = 0, 0
        while True:  # in slices, so that no commit waits long
            rows = self.waiting(after, up_to_id, _PRUNE_SLICE)
            gone = [row.id for row in rows if row.id <= keep.get(row.key, up_to_id)]
            self.forget(gone)
            pruned += len(gone)
            if len(rows) < _PRUNE_SLICE:
                return pruned
            after = rows[-1].id

    def waiting(self, after_id: int, up_to_id: int, limit: int) -> list[WaitingRow]:
        with self._reading, self._trouble("read"):
            found = self._reader.execute(
                "SELECT m.id, l.tenant, l.site, l.lane, length(m.payload), m.received_ms"
                " FROM messages m JOIN lanes l ON l.id = m.lane"
                " WHERE m.id > ? AND m.id <= ? ORDER BY m.id LIMIT ?",
                (after_id, up_to_id, limit),
            ).fetchall()
        return [
            WaitingRow(number, SiteKey(tenant, site), _LANES[lane], size, received_ms)
            for number, tenant, site, lane, size, received_ms in found
        ]

    def forget(self, ids: Iterable[int]) -> None:
        rows = [(number,) for number in ids]
        if rows:
            with self._writing, self._trouble("pruned"), transaction(self._db):
                self._db.executemany("DELETE FROM messages WHERE id = ?", rows)
                self._db.execute("UPDATE forgotten SET times = times + 1")

    def passed_over(self) -> set[SiteKey]:
        with self._reading, self._trouble("read"):
            found = self._reader.execute("SELECT tenant, site FROM passed_over").fetchall()
        return {SiteKey(*row) for row in found}

    def pass_over(self, keys: Collection[SiteKey]) -> None:
        with self._writing, self._trouble("written"), transaction(self._db):
            self._db.executemany("INSERT OR IGNORE INTO passed_over VALUES (?, ?)", list(keys))

    def take_up(self, keys: Collection[SiteKey]) -> None:
        with self._writing, self._trouble("written"), transaction(self._db):
            self._db.executemany(
                "DELETE FROM passed_over WHERE tenant = ? AND site = ?", list(keys)
            )
            self._db.execute("UPDATE forgotten SET times = times + 1")

    def quarantine(self, limit: int = 100) -> list[QuarantineRow]:
        with self._reading, self._trouble("read"):
            found = self._reader.execute(
                "SELECT id, topic, payload, reason, detail, first_ms, last_ms, count"
                " FROM quarantine ORDER BY last_ms DESC, id DESC LIMIT ?",
                (limit,),
            ).fetchall()
        return [QuarantineRow(*row) for row in found]

    def quarantine_counts(self) -> dict[str, int]:
        with self._reading, self._trouble("read"):
            return dict(self._reader.execute("SELECT reason, count FROM poisoned").fetchall())

    def close(self) -> None:
        with self._writing, self._reading:
            self._reader.close()
            self._db.close()

    def _prepare(self) -> int:
        """Make or check the tables; the highest id ever given."""
        with self._trouble("opened"):
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise StoreUnavailable(
                    f"{self._path} was written by a newer pumpwatch (inbox version {version})",
                    "install that version again, or a newer one",
                )
            if version < _VERSION:
                missing = (_SCHEMA if version == 0 else "") + _SINCE_2
                self._db.executescript(
                    f"BEGIN IMMEDIATE; {missing} PRAGMA user_version = {_VERSION}; COMMIT;"
                )
            known = self._db.execute(
                "SELECT seq FROM sqlite_sequence WHERE name = 'messages'"
            ).fetchone()
            return int(known[0]) if known else 0

    def _lane(self, name: LaneName, topic: str) -> _OpenLane:
        lane = self._lanes.get(name)
        if lane is None:
            if len(self._lanes) >= _LANES_IN_MEMORY:
                self._close_lanes()
            key, epoch, kind = name
            self._make_room(key, epoch, kind)
            self._db.execute(
                "INSERT OR IGNORE INTO lanes (tenant, site, epoch, lane, topic) VALUES (?, ?, ?, ?, ?)",
                (*key, epoch, kind, topic),
            )
            lane = self._lanes[name] = self._load(name)
        return lane

    def _make_room(self, key: SiteKey, epoch: str, kind: Lane) -> None:
        """What is closed here is read from disk again when it is heard again."""
        opened = self._open[key, kind]
        if len(opened) >= _OUTBOXES_IN_MEMORY:
            self._lanes.pop((key, opened.pop(0), kind), None)
        opened.append(epoch)

    def _close_lanes(self) -> None:
        self._lanes.clear()
        self._open.clear()

    def _newest_lane(self, key: SiteKey, lane: Lane) -> _OpenLane | None:
        found = self._db.execute(
            "SELECT epoch FROM lanes WHERE tenant = ? AND site = ? AND lane = ?"
            " ORDER BY id DESC LIMIT 1",
            (*key, lane),
        ).fetchone()
        return None if found is None else self._lane((key, found[0], lane), "")

    def _load(self, name: LaneName) -> _OpenLane:
        key, epoch, kind = name
        number, watermark = self._db.execute(
            "SELECT id, watermark FROM lanes"
            " WHERE tenant = ? AND site = ? AND lane = ? AND epoch = ?",
            (*key, kind, epoch),
        ).fetchone()
        ranges = self._db.execute("SELECT first, last FROM seen WHERE lane = ?", (number,))
        return _OpenLane(number, name, LaneRecord(watermark, ranges), None)

    def _set_aside(self, poison: Poison, now_ms: int) -> int:
        self._db.execute(
            "INSERT INTO poisoned (reason, count) VALUES (?, 1)"
            " ON CONFLICT (reason) DO UPDATE SET count = count + 1",
            (poison.reason,),
        )
        (count,) = self._db.execute(
            "INSERT INTO quarantine"
            " (topic, digest, payload, reason, detail, first_ms, last_ms, count)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 1)"
            " ON CONFLICT (topic, digest) DO UPDATE SET last_ms = excluded.last_ms, count = count + 1"
            " RETURNING count",
            (
                poison.topic,
                _digest(poison.payload),
                poison.payload[:KEPT_PAYLOAD_BYTES],
                poison.reason,
                poison.detail,
                now_ms,
                now_ms,
            ),
        ).fetchone()
        return int(count)

    def _trim_quarantine(self) -> None:
        self._db.execute(
            "DELETE FROM quarantine WHERE id IN (SELECT id FROM quarantine ORDER BY last_ms, id"
            " LIMIT max(0, (SELECT count(*) FROM quarantine) - ?))",
            (KEPT_QUARANTINE_ROWS,),
        )

    def _append(self, new: Sequence[tuple[_OpenLane, InboxRow]]) -> None:
        values: list[object] = []
        for number, (lane, row) in enumerate(new, self._last_id + 1):
            (_, _, _, seq, sent_ms, boot, clock, low), _, payload, received_ms, _ = row
            values += (number, lane.id, seq, sent_ms, received_ms, boot, clock, low, payload)
        # many rows to a statement: sqlite3 lets another thread run at every one
        step = _COLUMNS * _ROWS_AT_ONCE
        whole = len(values) - len(values) % step
        for start in range(0, whole, step):
            self._db.execute(_INSERT_MANY, values[start : start + step])
        rest = values[whole:]
        if rest:
            self._db.execute(_insert(len(rest) // _COLUMNS), rest)
        self._last_id += len(new)

    def _keep_lanes(self, touched: Sequence[_OpenLane]) -> None:
        changes = [(lane, lane.record.take_changes()) for lane in touched]
        self._db.executemany(
            "DELETE FROM seen WHERE lane = ? AND first = ?",
            [(lane.id, first) for lane, c in changes for first, last in c.items() if last is None],
        )
        self._db.executemany(
            "INSERT INTO seen (lane, first, last) VALUES (?, ?, ?)"
            " ON CONFLICT (lane, first) DO UPDATE SET last = excluded.last",
            [
                (lane.id, first, last)
                for lane, c in changes
                for first, last in c.items()
                if last is not None
            ],
        )
        self._db.executemany(
            "UPDATE lanes SET watermark = ? WHERE id = ?",
            [
                (lane.record.watermark, lane.id)
                for lane in touched
                if lane.record.watermark != lane.moved_from
            ],
        )

    @contextmanager
    def _trouble(self, verb: str) -> Iterator[None]:
        try:
            yield
        except TROUBLE as error:
            raise StoreUnavailable(
                f"the inbox {self._path} cannot be {verb} ({error})",
                remedy(error, "check that its disk is there, writable and not full"),
            ) from error


_LANES = {str(lane): lane for lane in Lane}


def _digest(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).digest()


# -- looked at from outside ------------------------------------------------------------------------

_LOOKED_AT = 20_000
"""Messages; an inbox is emptied every few minutes, one with a backlog is long."""


class SenderClock(NamedTuple):
    """What the newest messages of a site tell of its agent's clock: the least time from sending to
    receipt [ms], negative where it is ahead of the hub's; when the last one was received; and what the
    agent itself says of its clock."""

    key: SiteKey
    late_ms: int
    received_ms: int
    clock: str


def sender_clocks(path: Path) -> list[SenderClock]:
    """Read them from the inbox of a hub that may be running. Raises `StoreUnavailable`."""
    found: dict[SiteKey, SenderClock] = {}
    try:
        with closing(connect(path, reader=True)) as reader:
            rows = reader.execute(
                "SELECT l.tenant, l.site, m.received_ms - m.sent_ms, m.received_ms, m.clock"
                " FROM (SELECT * FROM messages ORDER BY id DESC LIMIT ?) m"
                " JOIN lanes l ON l.id = m.lane ORDER BY m.id",
                (_LOOKED_AT,),
            )
            for tenant, site, late_ms, received_ms, clock in rows:
                key = SiteKey(tenant, site)
                least = min(late_ms, found[key].late_ms) if key in found else late_ms
                found[key] = SenderClock(key, least, received_ms, clock)
    except TROUBLE as error:
        raise StoreUnavailable(
            f"{path} cannot be read ({error})", remedy(error, "see its disk")
        ) from error
    return list(found.values())
