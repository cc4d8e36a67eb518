"""The outbox of a machine whose flash may wear out: a file, and memory while the file cannot be written.

A disk that is full or read-only must neither silence a station nor end its agent. What the hub still
has to get from the file is sent first; then new records are numbered in an epoch of their own that
lives in memory, and go on to the hub as ever. They do not outlive the process, and that is said. Once
the file can be written again it takes over what memory still holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pumpwatch_edge.errors import OutboxRefused, OutboxUnavailable
from pumpwatch_edge.message import Body, Lane, Record
from pumpwatch_edge.outbox import MemoryOutbox, Outbox

RAM_BYTES = 8_000_000
RETRY_EVERY = 10
"""Appends between two tries of the file; a batch is closed every half minute where nothing happens."""


class StandbyOutbox:
    """`pumpwatch_edge.outbox.Outbox` over the file that ``open_file`` opens, and memory behind it.

    A file of another agent or a newer version raises `OutboxRefused` at once: waiting does not help.
    """

    def __init__(self, open_file: Callable[[], Outbox], ram_bytes: int = RAM_BYTES) -> None:
        self._open_file, self._ram_bytes = open_file, ram_bytes
        self._file: Outbox | None = None
        self._ram: MemoryOutbox | None = None
        self._acked = dict.fromkeys(Lane, 0)
        """What the hub has of the file, where the file would not let it be deleted."""
        self._appends = 0
        self._notices: list[str] = []
        self._copied = 0
        try:
            self._file = open_file()
        except OutboxRefused:
            raise
        except OutboxUnavailable as error:
            self._stand_in(error)

    # -- the contract ------------------------------------------------------------------------

    @property
    def epoch(self) -> str:
        return self._now.epoch

    @property
    def notices(self) -> list[str]:
        if self._file is not None:
            new = self._file.notices[self._copied :]
            self._notices += new
            self._copied += len(new)
        return self._notices

    @property
    def thinned(self) -> int:
        return self._now.thinned

    @property
    def dropped(self) -> int:
        return self._now.dropped

    @property
    def percent(self) -> int:
        return self._now.percent

    @property
    def is_filling(self) -> bool:
        return self._now.is_filling

    @property
    def taken(self) -> int:
        held = self._ram.taken if self._ram is not None else 0
        return held + (self._file.taken if self._file is not None else 0)

    def append(self, bodies: Sequence[Body]) -> list[int]:
        if self._ram is not None:
            self._appends += 1
            seqs = None if self._appends % RETRY_EVERY else self._return_to_file(self._ram, bodies)
            return self._ram.append(bodies) if seqs is None else seqs
        file = self._now
        epoch = file.epoch
        try:
            return file.append(bodies)
        except OutboxUnavailable as error:
            if file.epoch != epoch or self.depth():
                raise  # begun anew, or the hub is still to get what the file holds
            self._stand_in(error)
            return self._now.append(bodies)

    def read(self, lane: Lane, after: int, limit: int) -> list[Record]:
        return self._now.read(lane, max(after, self.low(lane) - 1), limit)

    def trim(self, lane: Lane, up_to: int) -> int:
        epoch, before = self.epoch, self.low(lane)
        try:
            return self._now.trim(lane, up_to)
        except OutboxUnavailable:
            if self.epoch != epoch:
                raise
            self._acked[lane] = max(before - 1, min(up_to, self.last(lane)))
            return self.low(lane) - before

    def depth(self, lane: Lane | None = None) -> int:
        hidden = sum(self.low(one) - self._now.low(one) for one in ([lane] if lane else Lane))
        return self._now.depth(lane) - hidden

    def low(self, lane: Lane) -> int:
        low = self._now.low(lane)
        return low if self._ram is not None else max(low, self._acked[lane] + 1)

    def last(self, lane: Lane) -> int:
        return self._now.last(lane)

    def close(self) -> None:
        if self._ram is not None:
            self._return_to_file(self._ram, [])
        if self._file is not None:
            self._file.close()

    # -- inside ------------------------------------------------------------------------------

    @property
    def _now(self) -> Outbox:
        if self._ram is not None:
            return self._ram
        assert self._file is not None
        return self._file

    def _stand_in(self, error: OutboxUnavailable) -> None:
        self._ram = MemoryOutbox(self._ram_bytes)
        self._notices.append(
            f"{error}; until then records are kept in memory only and sent from there"
        )

    def _return_to_file(self, ram: MemoryOutbox, bodies: Sequence[Body]) -> list[int] | None:
        """Let the file take over what memory holds, and ``bodies``, if it can be written again."""
        held = [(lane, record) for lane in Lane for record in ram.read(lane, 0, ram.last(lane))]
        left = [Body(lane, record.rows, record.text) for lane, record in held]
        try:
            if self._file is None:
                self._file = self._open_file()
            seqs = self._file.append([*left, *bodies])
            for lane, up_to in self._acked.items():
                self._file.trim(lane, up_to)
        except OutboxUnavailable:
            return None
        self._ram, self._acked = None, dict.fromkeys(Lane, 0)
        self._notices.append("the outbox can be written again")
        return seqs[len(left) :]
