"""Who did it. Every change in the house carries an actor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """A person or a part of the system that changes something."""

    id: str
    role: str


LOCAL = Actor("local", "local")
"""Whoever sits at this machine; the only person until accounts exist."""

SYSTEM = Actor("pumpwatch", "system")
"""The hub itself: what diagnosis opens, worsens and resolves."""
