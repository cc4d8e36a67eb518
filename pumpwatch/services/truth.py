"""What really happened at recorded sites: the ``truth.json`` beside a recording, which only scorers read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.errors import InvalidInput, NotFound


@dataclass(frozen=True, slots=True)
class TrueFault:
    """One fault event. Times are epoch ms; severity is hourly, 0 at onset and 1 at breakdown."""

    fault: str
    group: str
    progressive: bool
    target: str | None
    onset_ms: int
    detectable_ms: int
    breakdown_ms: int
    repair_ms: int
    deadline_ms: int
    severity_from_ms: int
    severity_step_ms: int
    severity: tuple[float, ...]

    def severity_at(self, t_ms: int) -> float:
        i = (t_ms - self.severity_from_ms) // self.severity_step_ms
        return self.severity[min(max(i, 0), len(self.severity) - 1)]

    @property
    def limit_ms(self) -> int:
        """An alert up to here was in time."""
        return self.breakdown_ms if self.progressive else self.deadline_ms


@dataclass(frozen=True, slots=True)
class Harmless:
    """Something that happened and needs no visit."""

    kind: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class SiteTruth:
    """What happened at one site, and between which moments it is scored."""

    site: str
    scored_from_ms: int
    scored_to_ms: int
    faults: tuple[TrueFault, ...]
    harmless: tuple[Harmless, ...]
    storm_days: frozenset[str]
    unscored: tuple[TrueFault, ...] = ()
    """Faults nobody is asked to tell in time: no signal shows them, or they had not broken down yet."""


def read_truth(folder: Path) -> dict[str, SiteTruth]:
    """Site → truth, of every ``truth.json`` in the site folders of ``folder``, by name.

    Raises `NotFound` when there is none, `InvalidInput` naming the file that cannot be read.
    """
    paths = sorted(folder.glob("*/truth.json"))
    if not paths:
        raise NotFound(f"no site folder with a truth.json in {folder}", "name a folder of such")
    return {path.parent.name: _read_site_truth(path) for path in paths}


def _read_site_truth(path: Path) -> SiteTruth:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return SiteTruth(
            site=path.parent.name,
            scored_from_ms=ms_from_iso(raw["scored_from"]),
            scored_to_ms=ms_from_iso(raw["scored_to"]),
            faults=tuple(_true_fault(f) for f in raw["faults"]),
            harmless=tuple(
                Harmless(b["kind"], ms_from_iso(b["start"]), ms_from_iso(b["end"]))
                for b in raw["benign"]
            ),
            storm_days=frozenset(raw["storm_days"]),
            unscored=tuple(_true_fault(f) for f in raw.get("unscored", ())),
        )
    except (ValueError, TypeError, KeyError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InvalidInput(str(path), f"is no truth file: {what}", "write it anew") from None


def _true_fault(raw: Mapping[str, Any]) -> TrueFault:
    severity = raw["severity"]
    return TrueFault(
        fault=raw["class"],
        group=raw["group"],
        progressive=raw["progression"] == "progressive",
        target=raw["target"],
        onset_ms=ms_from_iso(raw["onset"]),
        detectable_ms=ms_from_iso(raw["detectable"]),
        breakdown_ms=ms_from_iso(raw["breakdown"]),
        repair_ms=ms_from_iso(raw["repair"]),
        deadline_ms=ms_from_iso(raw["deadline"]),
        severity_from_ms=ms_from_iso(severity["t0"]),
        severity_step_ms=int(severity["step_s"] * 1000),
        severity=tuple(severity["values"]),
    )
