"""A detector's examination: diagnosis over recorded sites whose truth is known, and its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pumpwatch.services.backtest import BacktestSummary, Progress, backtest
from pumpwatch.services.scoring import Scores, read_lines, score_alerts
from pumpwatch.services.scoring_risk import score_risk
from pumpwatch.services.truth import read_truth

LINES: tuple[tuple[str, str, float, float, bool], ...] = (
    ("recall before breakdown", "recall_before_breakdown", 0.85, 0.92, True),
    ("macro recall over classes", "macro_recall", 0.82, 0.90, True),
    ("recall 24 h ahead", "recall_24h_ahead", 0.78, 0.88, True),
    ("right-group recall", "recall_right_group", 0.78, 0.88, True),
    ("skill over chance", "skill", 0.84, 0.91, True),
    ("median lead, misses as 0, days", "median_lead_days_missed_as_0", 4.5, 6.0, True),
    ("median severity at first alert", "median_severity_at_alert", 0.40, 0.30, False),
    ("false notifications per site-month", "false_per_site_month", 0.10, 0.03, False),
    ("the same in storm time", "storm_false_per_site_month", 0.15, 0.05, False),
    ("abrupt faults in time", "abrupt_in_time", 0.98, 1.00, True),
    ("top-1 cause", "diagnosis_top1", 0.75, 0.85, True),
    ("group of the top cause", "diagnosis_group", 0.88, 0.93, True),
    ("right pump named", "pump_named_right", 0.92, 0.96, True),
    ("7-day risk: AUROC", "auroc", 0.93, 0.96, True),
    ("7-day risk: calibration error", "ece", 0.05, 0.03, False),
)
"""What a detector is held to: its name, its key in the scores, gate, goal, and whether more is better."""


@dataclass(frozen=True, slots=True)
class Examined:
    """Scores of the alerts, scores of the daily risk, and what the backtest did."""

    scores: Scores
    risk: Scores
    summary: BacktestSummary


def examine(
    folder: Path, out: Path, *, workers: int = 2, progress: Progress | None = None
) -> Examined:
    """Diagnose the recorded sites under ``folder`` causally and score the alerts against their truth.

    ``alerts.jsonl`` and ``risk.jsonl`` are left in ``out``.
    """
    alerts, risk = out / "alerts.jsonl", out / "risk.jsonl"
    summary = backtest(folder, alerts, workers=workers, risk=risk, progress=progress)
    scores, risks = score_files(folder, alerts, risk)
    return Examined(scores, risks, summary)


def score_files(
    folder: Path, alerts: Path, risk: Path | None, kinds: Sequence[str] = ("predictive",)
) -> tuple[Scores, Scores]:
    """Scores of any detector's files against the truth under ``folder``: its alerts, its daily risk.

    Figures are rounded to six digits, so that machines that round differently in the last bit agree.
    """
    truth = read_truth(folder)
    scores = score_alerts(truth, read_lines(alerts), kinds)
    risks = score_risk(truth, read_lines(risk)) if risk is not None else {}
    return _rounded(scores), _rounded(risks)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return round(value, 6) if isinstance(value, float) else value


def frozen_seeds(commit: str, fleets: int) -> list[int]:
    """Seeds of fleets nobody could have tuned to: drawn from the hash of the commit that froze the constants."""
    names = (f"{commit}/{n}" for n in range(fleets))
    return [int(sha256(name.encode()).hexdigest()[:8], 16) for name in names]


def gate_table(fleets: Mapping[str, Scores]) -> str:
    """The lines above as a Markdown table, a column a fleet; what misses its gate or its goal is marked.

    ``fleets``: name of the column → scores and risk scores in one. What a fleet has nothing of is a dash.
    """
    rows = [["line", *fleets, "gate", "goal"], ["---"] * (len(fleets) + 3)]
    for name, key, gate, goal, more in LINES:
        cells = [_against(_known(scores, key), gate, goal, more) for scores in fleets.values()]
        rows.append([name, *cells, f"{gate:g}", f"{goal:g}"])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _known(scores: Scores, key: str) -> float | None:
    """A score there was something to have; shares of no event at all are none."""
    events = scores["abrupt_events" if key.startswith("abrupt") else "progressive_events"]
    known = events or "false" in key or key in ("auroc", "ece")
    return scores.get(key) if known else None


def _against(value: float | None, gate: float, goal: float, more: bool) -> str:
    if value is None:
        return "-"
    reached = [value >= limit if more else value <= limit for limit in (gate, goal)]
    mark = "" if all(reached) else " (below goal)" if reached[0] else " **(misses gate)**"
    return f"{value:.3f}{mark}"
