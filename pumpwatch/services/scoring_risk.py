"""Whether a claimed daily risk of breakdown can be trusted, and whether it sends crews to the right sites."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.services.scoring import GRACE_MS, PRESENT_FACTS, Line, Scores
from pumpwatch.services.truth import SiteTruth

RISK_HORIZON_MS = 7 * DAY_MS
CREW_SHARE = 0.05
"""Share of the sites a crew can visit on a day."""


def score_risk(truth: Mapping[str, SiteTruth], lines: Iterable[Line]) -> Scores:
    """Score claims of a breakdown within seven days, ``{"site", "ts", "risk"}`` a site and day.

    Days at which a fault works whose breakdown is further off, or that lie in its repair, are neither
    right nor wrong and left out. ``ece`` is the expected calibration error over ten equal-count bins.
    """
    judged = [
        (comes, min(max(float(line["risk"]), 0.0), 1.0), ms_from_iso(line["ts"]) // DAY_MS)
        for line in lines
        if line["site"] in truth
        and (comes := breakdown_comes(truth[line["site"]], ms_from_iso(line["ts"]))) is not None
    ]
    came = np.array([c for c, _, _ in judged], bool)
    risk = np.array([r for _, r, _ in judged])
    day = np.array([d for _, _, d in judged], np.int64)
    positives = int(came.sum())
    if not positives:
        return {"n": len(judged)}
    base = float(came.mean())
    brier = float(((risk - came) ** 2).mean())
    order = np.argsort(-risk, kind="stable")
    precision = np.cumsum(came[order]) / np.arange(1, len(came) + 1)
    return {
        "n": len(judged),
        "positives": positives,
        "auroc": _auroc(risk[came], risk[~came]),
        "average_precision": float((precision * came[order]).sum() / positives),
        "base_rate": base,
        "brier": brier,
        "brier_skill": 1 - brier / (base * (1 - base)) if base < 1 else None,
        "ece": _calibration_error(came, risk),
        "top5pct_daily_hit": _visited(came, risk, day),
    }


def breakdown_comes(truth: SiteTruth, t_ms: int) -> bool | None:
    """Whether a foreseeable breakdown comes within the horizon; None where nobody can say."""
    if not truth.scored_from_ms <= t_ms < truth.scored_to_ms:
        return None
    if any(f.onset_ms <= t_ms <= f.repair_ms + GRACE_MS for f in truth.unscored):
        return None
    comes = False
    for fault in truth.faults:
        if fault.fault in PRESENT_FACTS:
            continue
        if fault.breakdown_ms <= t_ms <= fault.repair_ms + GRACE_MS:
            return None
        if fault.onset_ms <= t_ms < fault.breakdown_ms:
            if fault.breakdown_ms - t_ms > RISK_HORIZON_MS:
                return None
            comes = True
    return comes


def _auroc(hit: NDArray[np.float64], miss: NDArray[np.float64]) -> float | None:
    """Chance that a day before a breakdown ranks above another; ties count half."""
    if not len(hit) or not len(miss):
        return None
    below = np.searchsorted(np.sort(miss), hit, "left").sum()
    level = np.searchsorted(np.sort(miss), hit, "right").sum() - below
    return float((below + level / 2) / len(hit) / len(miss))


def _calibration_error(came: NDArray[np.bool_], risk: NDArray[np.float64]) -> float:
    edges = np.quantile(risk, np.linspace(0, 1, 11))
    bins = np.clip(np.searchsorted(edges, risk, "right") - 1, 0, 9)
    error = 0.0
    for one in np.unique(bins):
        members = bins == one
        error += float(members.mean() * abs(risk[members].mean() - came[members].mean()))
    return error


def _visited(came: NDArray[np.bool_], risk: NDArray[np.float64], day: NDArray[np.int64]) -> float:
    """Share of the sites about to break down that lie in each day's highest 5 %, which a crew can visit."""
    found = due = 0
    for one in np.unique(day):
        today = day == one
        visits = max(1, math.ceil(CREW_SHARE * int(today.sum())))
        first = np.argsort(-risk[today], kind="stable")[:visits]
        found += int(came[today][first].sum())
        due += min(visits, int(came[today].sum()))
    return found / max(due, 1)
