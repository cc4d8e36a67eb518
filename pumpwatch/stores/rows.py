"""Rows of one site in columns: merged, picked and put into buckets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import WriteReceipt
from pumpwatch.domain.samples import Chunk, Grid

EMPTY = Chunk(np.empty(0, np.int64), {})


def kept_rows(
    batch: Iterable[tuple[SiteKey, Chunk]], floor_ms: int | None
) -> tuple[dict[SiteKey, list[Chunk]], Counter[SiteKey]]:
    """The chunks of each site without their rows older than ``floor_ms``, and how many those were."""
    kept: dict[SiteKey, list[Chunk]] = {}
    refused: Counter[SiteKey] = Counter()
    for key, chunk in batch:
        if floor_ms is not None and len(chunk) and int(chunk.t_ms.min()) < floor_ms:
            there = chunk.t_ms >= floor_ms
            refused[key] += int((~there).sum())
            chunk = take(chunk, there)
        kept.setdefault(key, []).append(chunk)
    return kept, refused


def total(receipts: Mapping[SiteKey, WriteReceipt]) -> WriteReceipt:
    """One receipt of those of all sites."""
    return WriteReceipt(
        sum(receipt.stored for receipt in receipts.values()),
        sum(receipt.duplicates for receipt in receipts.values()),
        sum(receipt.rejected for receipt in receipts.values()),
        by_site=receipts,
    )


def merge(chunks: Sequence[Chunk]) -> Chunk:
    """One chunk with each time once, in order. A later value wins, a missing one never erases."""
    if len(chunks) == 1 and bool((np.diff(chunks[0].t_ms) > 0).all()):
        return chunks[0]
    if not chunks:
        return EMPTY
    t_ms, where = np.unique(np.concatenate([c.t_ms for c in chunks]), return_inverse=True)
    signals: dict[str, NDArray[np.float64]] = {}
    start = 0
    for chunk in chunks:
        at = where[start : start + len(chunk)]
        start += len(chunk)
        for name, values in chunk.signals.items():
            there = ~np.isnan(values)
            column = signals.setdefault(name, np.full(len(t_ms), np.nan))
            column[at[there]] = values[there]
    return Chunk(t_ms, signals)


def joined(chunks: Sequence[Chunk]) -> Chunk:
    """The same as `merge` for chunks that are in order each: those that follow one another are only
    put end to end."""
    chunks = [chunk for chunk in chunks if len(chunk)]
    if any(a.t_ms[-1] >= b.t_ms[0] for a, b in pairwise(chunks)):
        return merge(chunks)
    if len(chunks) < 2:
        return chunks[0] if chunks else EMPTY
    names = dict.fromkeys(name for chunk in chunks for name in chunk.signals)
    absent = [np.full(len(chunk), np.nan) for chunk in chunks]
    return Chunk(
        np.concatenate([chunk.t_ms for chunk in chunks]),
        {
            name: np.concatenate([c.signals.get(name, a) for c, a in zip(chunks, absent, strict=True)])
            for name in names
        },
    )  # fmt: skip


def take(chunk: Chunk, mask: NDArray[np.bool_]) -> Chunk:
    return Chunk(chunk.t_ms[mask], {name: values[mask] for name, values in chunk.signals.items()})


def within(chunk: Chunk, start_ms: int, end_ms: int) -> Chunk:
    """The rows of an ordered chunk with start_ms <= t < end_ms."""
    first, last = np.searchsorted(chunk.t_ms, [start_ms, end_ms])
    if first == 0 and last == len(chunk):
        return chunk
    return Chunk(chunk.t_ms[first:last], {n: v[first:last] for n, v in chunk.signals.items()})


def buckets(
    t_ms: NDArray[np.int64], values: NDArray[np.float64], start_ms: int, width_ms: int
) -> Chunk:
    """``min``, ``mean``, ``max``, ``count`` and ``last`` of each bucket that has a value.

    ``t_ms`` is in order; the buckets begin at ``start_ms`` + k·``width_ms``.
    """
    there = ~np.isnan(values)
    t_ms, values = t_ms[there], values[there]
    if not len(t_ms):
        return EMPTY
    number = (t_ms - start_ms) // width_ms
    first = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
    count = np.diff(first, append=len(number))
    return Chunk(
        number[first] * width_ms + start_ms,
        {
            "min": np.minimum.reduceat(values, first),
            "mean": np.add.reduceat(values, first) / count,
            "max": np.maximum.reduceat(values, first),
            "count": count.astype(np.float64),
            "last": values[first + count - 1],
        },
    )


def band(rows: Chunk, signal: str, grid: Grid) -> Chunk:
    """``min``, ``mean`` and ``max`` of one signal as charts want them, see `buckets`."""
    if signal not in rows.signals:
        return EMPTY
    found = buckets(rows.t_ms, rows.signals[signal], grid.start_ms, grid.width_ms)
    return Chunk(found.t_ms, {n: found.signals[n] for n in ("min", "mean", "max") if len(found)})
