"""The consumer that fills the time series: inbox → samples by site and time."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pumpwatch.domain.clock import SECOND_MS
from pumpwatch.domain.errors import StoreUnavailable
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Message, Poison, Telemetry
from pumpwatch.domain.ports import Inbox, InboxRow, SiteBook, TimeSeriesStore
from pumpwatch.domain.samples import Chunk

Decode = Callable[[str, bytes, int], Message | Poison]

BATCH_MESSAGES = 1_000
SITES_MS = 2 * SECOND_MS
"""How old the list of approved sites may be."""
FIRST_WAIT_MS = SECOND_MS
LONGEST_WAIT_MS = 60 * SECOND_MS


@dataclass
class RecordCounts:
    """Rows of one site since the hub started: new, already there, and not taken.

    ``rejected`` counts rows the store refused and messages that can no longer be read.
    """

    stored: int = 0
    duplicate: int = 0
    rejected: int = 0


class Recorder:
    """Reads the inbox behind the position that the store keeps with its rows.

    Rows of a site nobody approved are passed over and stay in the inbox, which notes that (see
    `waiting`). When it is approved, everything of it is read again from the inbox's beginning, a
    batch at a time beside what arrives; only when that is done is the note taken away, so a crash
    means that it is done again. Repeated rows change nothing. Edges are not samples: they are for
    the assessment.
    """

    def __init__(
        self, *, inbox: Inbox, sites: SiteBook, store: TimeSeriesStore, decode: Decode
    ) -> None:
        self._inbox, self._sites, self._store, self._decode = inbox, sites, store, decode
        self._recorded: set[SiteKey] = set()
        self.position = store.position()
        """Rows up to here have been passed, and are recorded but those of `waiting` sites."""
        self._passed = inbox.passed_over()
        self._filling: set[SiteKey] = set()
        """Approved sites of which rows were passed over, up to `_fill_end`; `_filled` is done."""
        self._filled = self._fill_end = 0
        self._listed_ms: int | None = None
        self._changes_seen = 0
        self._wait_ms = 0
        self.next_try_ms = 0
        """No use calling `step` before: the store does not answer."""
        self.last_write_ms: int | None = None
        self.last_error = ""
        self.values = {"unknown_signals": 0, "out_of_range": 0}
        """Values kept beside because no signal of the nomenclature has their name, and values left
        blank because no such signal can have them."""
        self.counts: defaultdict[SiteKey, RecordCounts] = defaultdict(RecordCounts)

    # -- the work ------------------------------------------------------------------------------

    def step(self, now_ms: int) -> int:
        """Record the next batch. Returns how many inbox rows were passed, 0 when there is nothing
        to do or the store is not to be tried again before `next_try_ms`."""
        if 0 < self.next_try_ms - now_ms <= LONGEST_WAIT_MS:  # else the clock was set back
            return 0
        try:
            self._list_sites(now_ms)
            position = self._store.position()
            rows = self._inbox.read(position, BATCH_MESSAGES)
            if rows:
                self._pass_over({row.stamp.key for row in rows} - self._recorded)
                self._write(rows, self._recorded, rows[-1].id, now_ms)
            self.position = rows[-1].id if rows else position
            read = len(rows) + self._fill(now_ms)
        except StoreUnavailable as error:
            self._wait_ms = min(max(2 * self._wait_ms, FIRST_WAIT_MS), LONGEST_WAIT_MS)
            self.next_try_ms = now_ms + self._wait_ms
            self.last_error = str(error)
            return 0
        self._wait_ms, self.last_error = 0, ""
        return read

    def lag(self) -> int:
        """Inbox rows not yet passed."""
        return max(self._inbox.last_id() - self._store.position(), 0)

    def waiting(self) -> set[SiteKey]:
        """Sites of which rows up to the position are still wanted."""
        return set(self._passed)

    def safe_position(self) -> int:
        """The inbox may forget rows up to here, whoever's they are."""
        position = self._store.position()
        if self._passed:
            for row in self._rows_up_to(position):
                if row.stamp.key in self._passed:
                    return row.id - 1
        return position

    # -- inside --------------------------------------------------------------------------------

    def _list_sites(self, now_ms: int) -> None:
        """Take up sites that were approved; of a new one, first what waits in the inbox."""
        if self._listed_ms is not None and 0 <= now_ms - self._listed_ms < SITES_MS:
            return
        newest, changed = self._sites.changed_since(self._changes_seen)
        if changed:
            approved = set(self._sites.sites())
            owed = approved & self._passed
            if owed - self._filling:
                self._filled, self._fill_end = 0, self._store.position()
            self._filling = owed
            self._recorded, self._changes_seen = approved, newest
        self._listed_ms = now_ms

    def _pass_over(self, strangers: set[SiteKey]) -> None:
        new = strangers - self._passed
        if new:
            self._inbox.pass_over(new)
            self._passed = self._passed | new  # other threads read it

    def _fill(self, now_ms: int) -> int:
        """Record the next batch of what was passed over of sites that are approved now."""
        if not self._filling:
            return 0
        rows = self._inbox.read(self._filled, BATCH_MESSAGES)
        rows = [row for row in rows if row.id <= self._fill_end]
        if any(row.stamp.key in self._filling for row in rows):
            self._write(rows, self._filling, self._store.position(), now_ms)
        if rows:
            self._filled = rows[-1].id
        else:
            self._inbox.take_up(self._filling)
            self._passed = self._passed - self._filling
            self._filling = set()
        return len(rows)

    def _rows_up_to(self, position: int) -> Iterator[InboxRow]:
        after = 0
        while after < position:
            rows = self._inbox.read(after, BATCH_MESSAGES)
            if not rows:
                return
            yield from (row for row in rows if row.id <= position)
            after = rows[-1].id

    def _write(
        self, rows: Iterable[InboxRow], keys: set[SiteKey], position: int, now_ms: int
    ) -> None:
        """Store the samples of these sites among the rows, and count once they are stored."""
        batch: list[tuple[SiteKey, Chunk]] = []
        unreadable: Counter[SiteKey] = Counter()
        unknown = out_of_range = 0
        for row in rows:
            key = row.stamp.key
            if key not in keys:
                continue
            message = self._decode(row.topic, row.payload, row.received_ms)
            if isinstance(message, Poison):
                unreadable[key] += 1
            elif isinstance(message, Telemetry):
                batch.append((key, _with_unknown(message)))
                unknown += sum(map(len, message.unknown.values()))
                out_of_range += message.out_of_range
        receipt = self._store.write(batch, position)
        sys.audit("pumpwatch.reached", "record.written")
        for key, site in receipt.by_site.items():
            counts = self.counts[key]
            counts.stored += site.stored
            counts.duplicate += site.duplicates
            counts.rejected += site.rejected
        self.values["unknown_signals"] += unknown
        self.values["out_of_range"] += out_of_range
        for key, messages in unreadable.items():
            self.counts[key].rejected += messages
        if batch:
            self.last_write_ms = now_ms


def _with_unknown(message: Telemetry) -> Chunk:
    """All columns of a message: the store keeps those outside the nomenclature beside."""
    chunk = message.chunk
    if not message.unknown:
        return chunk
    unknown = {name: np.array(values, np.float64) for name, values in message.unknown.items()}
    return Chunk(chunk.t_ms, {**chunk.signals, **unknown})
