"""Everything a store holds of a site, piece by piece: a year needs no more memory than a month."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import SiteBook, TimeSeriesStore
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.signals import SIGNALS

PIECE_MS = 7 * DAY_MS
LONGEST_MS = 28 * DAY_MS
EARLIEST_MS = 1_420_070_400_000
"""2015-01-01: the hub takes no sample that is older."""


def backwards(
    store: TimeSeriesStore, key: SiteKey, start_ms: int, end_ms: int, beside: Sequence[str] = ()
) -> Iterator[tuple[int, Chunk]]:
    """The rows with start_ms <= t < end_ms, newest piece first; each piece is in order.

    Yields (begin_ms, rows): with them, everything from ``begin_ms`` on has been given. No store tells
    its oldest row, so the walk goes back to ``start_ms``, over empty stretches in longer steps.
    ``beside`` names signals outside the nomenclature that are wanted as well. Raises
    `StoreUnavailable`.
    """
    newest = store.latest([key]).get(key)
    if newest is None:
        return
    names = [*SIGNALS, *beside] if beside else None
    start_ms, end_ms = max(start_ms, EARLIEST_MS), min(end_ms, newest[0] + 1)
    width_ms = PIECE_MS
    while end_ms > start_ms:
        begin_ms = max(end_ms - width_ms, start_ms)
        rows = store.read_raw(key, begin_ms, end_ms, names)
        yield begin_ms, rows
        width_ms = PIECE_MS if len(rows) else min(2 * width_ms, LONGEST_MS)
        end_ms = begin_ms


def told_beside(book: SiteBook) -> dict[SiteKey, list[str]]:
    """The signals outside the nomenclature that stations announced."""
    return {
        key: sorted(birth.signals.keys() - SIGNALS.keys())
        for key, (_, birth) in book.births().items()
    }
