"""What has arrived of one lane of one outbox, and up to where nothing is missing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

KEPT_RANGES = 2_000
"""Of one lane. A sender stops at some hundred unconfirmed messages; more holes than this are made
by one that does not keep to it."""


class LaneRecord:
    """The seqs that were seen, as disjoint ranges, and the watermark.

    The watermark counts from the lowest seq the sender still held when it was first heard
    (``low`` - 1), or, if it did not say, from the first seq seen. It never goes back. A seq below
    it that was never seen is still new: the sender alone knows what it gave up.
    """

    __slots__ = ("_changed", "_firsts", "_lasts", "watermark")

    def __init__(
        self, watermark: int | None = None, ranges: Iterable[tuple[int, int]] = ()
    ) -> None:
        self.watermark = watermark
        self._changed: dict[int, int | None] = {}
        pairs = sorted(ranges)
        self._firsts = [first for first, _ in pairs]
        self._lasts = [last for _, last in pairs]

    def take_changes(self) -> dict[int, int | None]:
        """First → last (None: gone) of the ranges that changed since this was last asked."""
        changed, self._changed = self._changed, {}
        return changed

    def add(self, seq: int, low: int | None) -> bool:
        """Note that ``seq`` is on disk. False when it already was."""
        lasts = self._lasts
        if lasts and lasts[-1] == self.watermark == seq - 1 and (low is None or low <= seq):
            # nearly always: nothing is missing, and this is the next one
            lasts[-1] = self._changed[self._firsts[-1]] = self.watermark = seq
            return True
        new = self._insert(seq)
        base = (seq if low is None else low) - 1
        if self.watermark is None or (low is not None and base > self.watermark):
            self.watermark = base
        self._advance()
        if len(self._firsts) > KEPT_RANGES:
            self._forget_one()
        return new

    @property
    def has_hole(self) -> bool:
        """True when something above the watermark is there and what follows it directly is not."""
        return self.watermark is not None and bool(self._lasts) and self._lasts[-1] > self.watermark

    def pass_hole(self) -> None:
        """Let the watermark over one missing seq, which stays new should it come after all."""
        if self.watermark is not None:
            self.watermark += 1
            self._advance()

    def _insert(self, seq: int) -> bool:
        firsts, lasts = self._firsts, self._lasts
        i = bisect_right(firsts, seq) - 1
        if i >= 0 and seq <= lasts[i]:
            return False
        joins_left = i >= 0 and lasts[i] == seq - 1
        joins_right = i + 1 < len(firsts) and firsts[i + 1] == seq + 1
        first, last = seq, seq
        if joins_right:
            last = lasts.pop(i + 1)
            self._changed[firsts.pop(i + 1)] = None
        if joins_left:
            first = firsts[i]
            lasts[i] = last
        else:
            firsts.insert(i + 1, first)
            lasts.insert(i + 1, last)
        self._changed[first] = last
        return True

    def _forget_one(self) -> None:
        """The lowest range above the watermark counts as never seen: its sender still holds it and
        sends it again. If there is none, the oldest: should it come again, it is there twice."""
        i = bisect_right(self._firsts, self.watermark or 0) % len(self._firsts)
        self._changed[self._firsts.pop(i)] = None
        del self._lasts[i]

    def _advance(self) -> None:
        assert self.watermark is not None
        i = bisect_right(self._firsts, self.watermark + 1) - 1
        if i >= 0 and self._lasts[i] > self.watermark:
            self.watermark = self._lasts[i]
