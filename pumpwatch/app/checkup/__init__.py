"""What `pumpwatch doctor` looks at: each part says what it found and, where something is to be done, what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor. ``remedy`` is '' where nothing is to be done."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


__all__ = ["Check", "Verdict"]
