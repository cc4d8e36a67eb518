"""Whether the alerts a scenario led to are those it asks for, in time, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pumpwatch.domain.alerts import Severity, iso_utc, ms_from_iso
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.simulator.scenario import Scenario, Wanted

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Met:
    """An expected alert and the line that first brought it; ``line`` is None where none came."""

    wanted: Wanted
    line: Line | None

    @property
    def in_time(self) -> bool:
        return self.line is not None and ms_from_iso(self.line["ts"]) <= self.wanted.by_ms

    def words(self) -> str:
        """``mh-03: pump_hydraulic of pump2 by 2026-…: came 2026-…``."""
        w = self.wanted
        what = f"{w.fault or w.group}" + (f" of {w.target}" if w.target else "")
        came = "did not come" if self.line is None else f"came {self.line['ts']}"
        return f"{w.station}: {what} by {iso_utc(w.by_ms)} (line {w.line}): {came}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a scenario ended."""

    expected: Sequence[Met]
    unexpected: Sequence[Line]

    @property
    def missed(self) -> list[Met]:
        return [met for met in self.expected if not met.in_time]

    @property
    def passed(self) -> bool:
        return not self.missed and not self.unexpected


def judge(scenario: Scenario, lines: Iterable[Line]) -> Verdict:
    """Hold alert lines (as `Finding.to_line` writes them) against what the scenario expects.

    An alert that is only information counts for nothing. One that comes late is missed, but it and
    what it grows into are not unexpected.
    """
    told = sorted(
        (x for x in lines if Severity.INFO not in (x["kind"], x["severity"])), key=lambda x: x["ts"]
    )
    expected = [
        Met(wanted, next((x for x in told if _answers(x, wanted)), None))
        for wanted in scenario.expected
    ]
    welcome = [*scenario.expected, *scenario.allowed]
    unexpected = [x for x in told if not any(_answers(x, wanted) for wanted in welcome)]
    return Verdict(expected, unexpected)


def _answers(line: Line, wanted: Wanted) -> bool:
    first = line["fault"][0]
    return (
        line["site"] == wanted.station
        and FAULT_GROUP[first] == wanted.group
        and wanted.fault in (None, first)
        and wanted.target in (None, line["target"])
        and ms_from_iso(line["ts"]) >= wanted.after_ms
    )
