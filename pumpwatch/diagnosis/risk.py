"""How likely a breakdown within seven days is: what has been told, and how far what has not been told has come.

Before a chart speaks its sum has grown for some time. The share of the way it has gone, and what is open
already, are turned into a probability by a table of how often breakdowns followed (docs/diagnosis.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pumpwatch.diagnosis.charts import Chart
from pumpwatch.diagnosis.settings import DiagnosisSettings, effects
from pumpwatch.diagnosis.state import AssessorState
from pumpwatch.domain.alerts import Finding, Kind, Phase, Severity
from pumpwatch.domain.clock import DAY_MS

RISING = {
    "capacity": (-1,), "current": (1,), "backflow": (1,), "start_level": (-1, 1), "stop_level": (-1, 1),
    "start_spread": (1,), "stop_spread": (1,),
}  # fmt: skip
"""Half-day feature → the sides on which it goes wrong."""

OLD_DAYS = 10.0
"""What has waited so long without breaking is slow."""
FAR = (0.0, 0.15, 0.4, 1.0)
"""Shares of evidence at which `RiskTable.untold` is given."""

Day = tuple[int, list[tuple[Severity, float]], float]
"""A UTC midnight [epoch ms], severity and age [days] of what is open then, and how far evidence has come."""


@dataclass(frozen=True, slots=True)
class RiskTable:
    """How often a breakdown followed within seven days. The figures were counted on recorded stations."""

    told: Mapping[Severity, tuple[float, float]]
    """Of an open alert of this severity: while it was younger than `OLD_DAYS`, and later."""
    untold: tuple[float, ...]
    """While nothing was open, at `FAR`; between them along straight lines."""


RISK = RiskTable(
    told={
        Severity.INFO: (0.02, 0.02),
        Severity.WARNING: (0.75, 0.4),
        Severity.ALARM: (0.9, 0.75),
        Severity.CRITICAL: (0.95, 0.75),
    },
    untold=(0.004, 0.006, 0.03, 0.04),
)


def breakdown_chance(
    told: Iterable[tuple[Severity, float]], far: float, table: RiskTable = RISK
) -> float:
    """Chance of a breakdown within seven days.

    ``told``: severity and age [days] of the open alerts; ``far``: how far what is not told has come (`evidence`).
    """
    untold = float(np.interp(far, FAR, table.untold))
    return round(
        max((table.told[severity][age >= OLD_DAYS] for severity, age in told), default=untold), 4
    )


def by_day(
    findings: Sequence[Finding],
    evident: Sequence[tuple[int, float]],
    first_ms: int,
    last_ms: int,
) -> Iterator[Day]:
    """What was open and what was evident at the beginning of each UTC day within [first_ms, last_ms].

    ``findings`` and ``evident`` are an assessment's, in order of time.
    """
    standing: dict[str, tuple[Severity, int]] = {}
    waiting = [f for f in reversed(findings) if f.kind == Kind.PREDICTIVE]
    evidence_left, far = list(reversed(evident)), 0.0
    for t_ms in range((first_ms // DAY_MS + 1) * DAY_MS, last_ms + 1, DAY_MS):
        while waiting and waiting[-1].t_ms <= t_ms:
            finding = waiting.pop()
            _, opened_ms = standing.pop(finding.cause, (None, finding.t_ms))
            if finding.phase != Phase.RESOLVED:
                standing[finding.cause] = finding.severity, opened_ms
        while evidence_left and evidence_left[-1][0] <= t_ms:
            far = evidence_left.pop()[1]
        yield t_ms, [(sev, (t_ms - at_ms) / DAY_MS) for sev, at_ms in standing.values()], far


def evidence(state: AssessorState, s: DiagnosisSettings) -> float:
    """The largest share of the way to an alert that any chart has gone, 0 to 1."""
    return max((*_amounts(state, s), *_counts(state, s), *_cycles(state, s)), default=0.0)


def _amounts(state: AssessorState, s: DiagnosisSettings) -> Iterable[float]:
    """A sum counts as far as it has grown and as its amount would be worth a visit."""
    least = effects(s)
    for key, chart in state.charts.items():
        name = key.partition(":")[0]
        value = state.values.get(key)
        if value is None or name not in RISING:
            continue
        side = 1 if value.residual > 0 else -1
        if side in RISING[name]:
            effect = min(abs(value.residual) / least[name], 1.0) if least[name] else 1.0
            yield min(_total(chart, side) / s.limit, 1.0) * effect


def _counts(state: AssessorState, s: DiagnosisSettings) -> Iterable[float]:
    for key, count in state.counts.items():
        if not key.startswith("lag_answered"):
            yield min(count.total / s.count_limit, 1.0)
    yield min(state.nights / s.nights, 1.0)
    yield min(state.water.missing / s.scarce_cycles, 1.0)


def _cycles(state: AssessorState, s: DiagnosisSettings) -> Iterable[float]:
    for key, chart in state.fast.items():
        if key.startswith("capacity"):
            yield min(chart.down / s.cycle_limit, 1.0)


def _total(chart: Chart, side: int) -> float:
    return chart.up if side > 0 else chart.down
