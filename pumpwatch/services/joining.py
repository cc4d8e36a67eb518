"""Many small messages of one site as few large ones, where that changes nothing of what is found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pumpwatch.domain.samples import Chunk

MOST_ROWS = 4_096
"""So many rows at most become one; what judges them holds arrays of that length."""


class Joiner:
    """Collects chunks as long as they may be judged as one: same signals, time only going on.

    A chunk that does not fit ends the ones before it: `add` then gives them out.
    """

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._rows = 0

    def add(self, chunk: Chunk) -> Iterator[Chunk]:
        """Take a chunk with rows; what has to be judged before it."""
        if self._chunks and not self._fits(chunk):
            yield from self.take()
        self._chunks.append(chunk)
        self._rows += len(chunk)

    def take(self) -> Iterator[Chunk]:
        """What was collected, as one; nothing if there is none."""
        if self._chunks:
            chunks, self._chunks, self._rows = self._chunks, [], 0
            yield joined(chunks)

    def _fits(self, chunk: Chunk) -> bool:
        last = self._chunks[-1]
        return (
            self._rows + len(chunk) <= MOST_ROWS
            and chunk.signals.keys() == last.signals.keys()
            and bool(chunk.t_ms[0] > last.t_ms[-1])
            and _rises(chunk)
            and (len(self._chunks) > 1 or _rises(last))
        )


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """Chunks of the same signals, one after the other."""
    if len(chunks) == 1:
        return chunks[0]
    return Chunk(
        np.concatenate([chunk.t_ms for chunk in chunks]),
        {
            name: np.concatenate([chunk.signals[name] for chunk in chunks])
            for name in chunks[0].signals
        },
    )


def _rises(chunk: Chunk) -> bool:
    return len(chunk) == 1 or bool((chunk.t_ms[1:] > chunk.t_ms[:-1]).all())
