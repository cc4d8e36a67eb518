"""Where in a TOML file a value stands, so that what is wrong with it can be named by line."""

from __future__ import annotations

import tomllib
from typing import Any, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and, in arrays, positions from 0, from the outside in."""


def line_of(text: str, path: KeyPath) -> int:
    """The line (1-based) at which the value at ``path`` is written, or the nearest table around it.

    A file's text up to some line is TOML itself exactly where a statement ends there. So the first
    such piece that holds the value ends with its statement, and the one before it ends just above.
    """
    for depth in range(len(path), 0, -1):
        line = _statement(text, path[:depth])
        if line is not None:
            return line
    return 1


def _statement(text: str, path: KeyPath) -> int | None:
    lines = text.splitlines()
    before = 0
    for end in range(1, len(lines) + 1):
        try:
            data = tomllib.loads("\n".join(lines[:end]) + "\n")
        except tomllib.TOMLDecodeError:
            continue
        if _holds(data, path):
            return before + 1
        before = end
    return None


def _holds(data: Any, path: KeyPath) -> bool:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True
