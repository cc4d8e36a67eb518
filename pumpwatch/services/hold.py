"""What waits in the inbox for somebody's decision, and the bounds within which it may."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.messages import Lane
from pumpwatch.domain.ports import Inbox, WaitingRow

ROW_BYTES = 100
"""What a message costs in the inbox beside its payload."""
NEARLY_FULL = 0.8
_SLICE = 5_000


@dataclass(frozen=True, slots=True)
class HoldLimits:
    """What may wait: of one site, of all together (each gets an equal part), and how long."""

    site_bytes: int = 100_000_000
    total_bytes: int = 1_000_000_000
    age_ms: int = 30 * DAY_MS

    def of_one(self, sites: int) -> int:
        return min(self.site_bytes, self.total_bytes // max(1, sites))


@dataclass(slots=True)
class Holding:
    """What waits of one site."""

    messages: int = 0
    bytes: int = 0

    def add(self, row: WaitingRow) -> None:
        self.messages += 1
        self.bytes += _cost(row)


class Hold:
    """Lets the inbox forget what every consumer has seen, and keeps what is still wanted of senders
    nobody has approved and of sites whose assessment failed: within bounds, so that nobody can
    fill the disk. What is too old goes first, then the oldest telemetry, events last.
    """

    def __init__(self, inbox: Inbox, limits: HoldLimits) -> None:
        self._inbox, self._limits = inbox, limits
        self.holdings: Mapping[SiteKey, Holding] = {}
        """What waits, as it was when the inbox was last tidied."""
        self.given_up: Counter[SiteKey] = Counter()
        """Messages given up since the hub started."""

    def tidy(self, up_to_id: int, keep: Mapping[SiteKey, int], now_ms: int) -> int:
        """Forget rows up to ``up_to_id`` but what is wanted of the sites in ``keep``: rows above
        their id. Returns how many rows went because they were seen. Raises `StoreUnavailable`."""
        pruned = self._inbox.prune(up_to_id, keep)
        holdings = self._look(up_to_id)
        limit = self._limits.of_one(len(holdings))
        oldest_ms = now_ms - self._limits.age_ms
        self._give_up(row for row in self._rows(up_to_id) if row.received_ms < oldest_ms)
        for lane in (Lane.TELEMETRY, Lane.EVENT):
            holdings = self._look(up_to_id)
            excess = {key: held.bytes - limit for key, held in holdings.items()}
            if max(excess.values(), default=0) > 0:
                self._give_up(_oldest(self._rows(up_to_id), lane, excess))
                holdings = self._look(up_to_id)
        self.holdings = holdings
        return pruned

    def problems(self) -> list[str]:
        """One line for each site that fills its room or has lost something."""
        limit = self._limits.of_one(len(self.holdings))
        lines = []
        for key, held in self.holdings.items():
            gone = self.given_up[key]
            if gone:
                lines.append(
                    f"{key} waits (not approved, or set aside) and filled its room: {gone} of its "
                    "oldest messages were given up; approve it, stop its agent or restart the hub"
                )
            elif held.bytes >= NEARLY_FULL * limit:
                lines.append(
                    f"{key} waits (not approved, or set aside), {held.bytes / 1e6:.0f} MB of the "
                    f"{limit / 1e6:.0f} MB it may: decide before its oldest messages are given up"
                )
        return lines

    def _look(self, up_to_id: int) -> dict[SiteKey, Holding]:
        found: defaultdict[SiteKey, Holding] = defaultdict(Holding)
        for row in self._rows(up_to_id):
            found[row.key].add(row)
        return dict(found)

    def _rows(self, up_to_id: int) -> Iterator[WaitingRow]:
        after = 0
        while rows := self._inbox.waiting(after, up_to_id, _SLICE):
            yield from rows
            after = rows[-1].id

    def _give_up(self, rows: Iterator[WaitingRow]) -> None:
        gone: list[int] = []
        for row in rows:
            gone.append(row.id)
            self.given_up[row.key] += 1
            if len(gone) >= _SLICE:
                self._inbox.forget(gone)
                gone = []
        self._inbox.forget(gone)


def _oldest(
    rows: Iterator[WaitingRow], lane: Lane, excess: dict[SiteKey, int]
) -> Iterator[WaitingRow]:
    """Rows of this lane, oldest first, until of no site there is too much."""
    for row in rows:
        if row.lane is lane and excess.get(row.key, 0) > 0:
            excess[row.key] -= _cost(row)
            yield row


def _cost(row: WaitingRow) -> int:
    return row.bytes + ROW_BYTES
