"""Old telemetry on a full outbox: fewer rows under the same numbers, and no extreme lost.

Of every minute these rows stay, as they were read: the lowest level, the highest level, every row
in which a state signal differs from the row before, and the last. The hub needs to know nothing of
it, for what stays are ordinary samples at their own times; means would have to be told apart.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

from pumpwatch_edge.message import Record, encode_body
from pumpwatch_edge.source import describe

MINUTE_MS = 60_000
LEVEL = "level_m"
_NUMBERS = {int, float, type(None)}


class _Row(NamedTuple):
    record: int
    place: int
    t_ms: int
    level: float | None
    states: tuple[float | None, ...]


def thin(records: Sequence[Record]) -> list[Record]:
    """The same records, oldest first, with fewer rows each; one that is no telemetry stays as it is.

    Every record keeps its number and at least one row, so that no number is missing in the lane.
    That the hub may hold a record already as it was is harmless: what is sent again is a part of it.
    """
    if all(record.rows < 2 for record in records):
        return list(records)
    contents = [_content(record) for record in records]
    kept: list[set[int]] = [set() for _ in records]
    rows = [row for i, content in enumerate(contents) if content for row in _rows(i, content)]
    changed = {later[:2] for before, later in pairwise(rows) if before.states != later.states}
    for _, group in groupby(rows, key=lambda row: row.t_ms // MINUTE_MS):
        minute = list(group)
        for row in [*_extremes(minute), minute[-1]]:
            kept[row.record].add(row.place)
        for row in minute:
            if row[:2] in changed:
                kept[row.record].add(row.place)
    return [
        _with_rows(record, content, sorted(indices or {record.rows - 1})) if content else record
        for record, content, indices in zip(records, contents, kept, strict=True)
    ]


def _extremes(minute: list[_Row]) -> list[_Row]:
    known = [row for row in minute if row.level is not None]
    if not known:
        return []
    levels = [row.level for row in known]
    return [known[levels.index(min(levels))], known[levels.index(max(levels))]]  # type: ignore[type-var]


def _content(record: Record) -> dict[str, Any] | None:
    """What the record says; None when it cannot be thinned."""
    try:
        content = json.loads(record.text)
        columns = [content["t"], *content["signals"].values()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if any(len(column) != record.rows for column in columns):
        return None
    kinds = {type(value) for column in columns for value in column}
    return content if kinds <= _NUMBERS and set(map(type, columns[0])) == {int} else None


def _rows(record: int, content: dict[str, Any]) -> list[_Row]:
    signals = content["signals"]
    levels = signals.get(LEVEL, [None] * len(content["t"]))
    states = [column for name, column in sorted(signals.items()) if _is_state(name)]
    return [
        _Row(record, i, t_ms, levels[i], tuple(column[i] for column in states))
        for i, t_ms in enumerate(content["t"])
    ]


def _is_state(name: str) -> bool:
    return describe(name).get("kind") == "state"


def _with_rows(record: Record, content: dict[str, Any], indices: list[int]) -> Record:
    if len(indices) == record.rows:
        return record
    signals = {name: [column[i] for i in indices] for name, column in content["signals"].items()}
    text = encode_body(content | {"t": [content["t"][i] for i in indices], "signals": signals})
    return Record(record.seq, len(indices), text)
