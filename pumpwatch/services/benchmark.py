"""A detector's examination: diagnosis over recorded sites whose truth is known, and its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pumpwatch.services.backtest import BacktestSummary, Progress, backtest
from pumpwatch.services.scoring import Scores, read_lines, score_alerts
from pumpwatch.services.scoring_risk import score_risk
from pumpwatch.services.truth import read_truth


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
