"""The table that the benchmarks fill and that is printed when they have run."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    name: str
    value: float
    unit: str
    note: str


_rows: list[Row] = []
_text: list[str] = []


def row(name: str, value: float, unit: str, note: str = "") -> None:
    """Add a line: what was measured, how much of what, and under which circumstances."""
    _rows.append(Row(name, value, unit, note))


def text(*lines: str) -> None:
    """Add lines that stand as they are, after the rows."""
    _text.extend(lines)


def table() -> list[str]:
    """The lines so far, in columns; empty when nothing was measured."""
    if not _rows:
        return list(_text)
    cells = [(r.name, _number(r.value), r.unit, r.note) for r in _rows]
    widths = [max(len(c[i]) for c in cells) for i in range(3)]
    return [
        f"{name:<{widths[0]}}  {value:>{widths[1]}} {unit:<{widths[2]}}  {note}".rstrip()
        for name, value, unit, note in cells
    ] + _text


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
