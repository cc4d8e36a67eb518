"""Cross-validation over stations: limits chosen, and risk counted, on the others of a station's fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import risk_folds
from ablation import Judged

from pumpwatch.services.scoring import score_alerts
from pumpwatch.services.scoring_risk import score_risk
from pumpwatch.services.truth import SiteTruth

FALSE_GOAL = 0.03
"""False notifications per site-month that a choice may cost."""


@dataclass(frozen=True)
class HeldOut:
    """What each fold's stations scored under the limits that the other folds chose."""

    scores: dict[str, Any]
    chosen: list[str]
    """The limits chosen for each fold."""


def cross_validated(
    judged: Sequence[Judged], truth: Mapping[str, SiteTruth], systems: Sequence[str]
) -> HeldOut:
    lines: list[dict[str, Any]] = []
    risk: list[dict[str, Any]] = []
    chosen = []
    for fold in risk_folds.folds([site.site for site in judged]):
        own = [site for site in judged if site.site in fold]
        rest = [site for site in judged if site.site not in fold]
        name = choose(rest, truth, systems)
        chosen.append(name)
        counted = risk_folds.counted({site.site: site.days[name] for site in rest}, truth)
        risk += risk_folds.claims({site.site: site.days[name] for site in own}, counted)
        lines += [line for site in own for line in site.lines[name]]
    return HeldOut({**score_alerts(truth, lines), **score_risk(truth, risk)}, chosen)


def choose(judged: Sequence[Judged], truth: Mapping[str, SiteTruth], systems: Sequence[str]) -> str:
    """Of ``systems`` that keep to `FALSE_GOAL`, the one that tells earliest; if none does, the quietest."""
    known = {site.site: truth[site.site] for site in judged}

    def worth(name: str) -> tuple[bool, float]:
        scores = score_alerts(known, [line for site in judged for line in site.lines[name]])
        false = scores["false_per_site_month"]
        quiet = false <= FALSE_GOAL
        return quiet, scores["median_lead_days_missed_as_0"] if quiet else -false

    return max(systems, key=worth)
