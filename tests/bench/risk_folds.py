"""The table of risk counted anew without the stations it is then held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pumpwatch.diagnosis.risk import FAR, OLD_DAYS, RISK, Day, RiskTable, breakdown_chance
from pumpwatch.domain.alerts import Severity, iso_utc
from pumpwatch.services.scoring_risk import breakdown_comes
from pumpwatch.services.truth import SiteTruth

FOLDS = 5
FEWEST_DAYS = 20
"""Days a cell needs before its share is believed; below it the product's figure stays."""


def folds(sites: Sequence[str]) -> list[list[str]]:
    """Every fifth site, in order of name: nothing that was looked at decides who is with whom."""
    return [sorted(sites)[k::FOLDS] for k in range(FOLDS)]


def counted(days: Mapping[str, Sequence[Day]], truth: Mapping[str, SiteTruth]) -> RiskTable:
    """How often a breakdown followed, by severity and age of what was open, and by evidence where nothing was."""
    told: dict[tuple[Severity, bool], list[bool]] = {}
    near: list[list[bool]] = [[] for _ in FAR]
    for site, own in days.items():
        for t_ms, open_now, far in own:
            came = breakdown_comes(truth[site], t_ms)
            if came is None:
                continue
            if open_now:
                cell = max(
                    ((s, age >= OLD_DAYS) for s, age in open_now),
                    key=lambda c: RISK.told[c[0]][c[1]],
                )
                told.setdefault(cell, []).append(came)
            else:
                near[int(np.argmin(np.abs(np.array(FAR) - far)))].append(came)
    untold = [_share(seen, RISK.untold[k]) for k, seen in enumerate(near)]
    return RiskTable(
        told={
            s: (_share(told.get((s, False), []), new), _share(told.get((s, True), []), old))
            for s, (new, old) in RISK.told.items()
        },
        untold=tuple(np.maximum.accumulate(untold).tolist()),
    )


def _share(seen: Sequence[bool], otherwise: float) -> float:
    return float(np.mean(seen)) if len(seen) >= FEWEST_DAYS else otherwise


def claims(days: Mapping[str, Sequence[Day]], table: RiskTable) -> list[dict[str, Any]]:
    """Lines of daily risk as a backtest writes them."""
    return [
        {"site": site, "ts": iso_utc(t_ms), "risk": breakdown_chance(told, far, table)}
        for site, own in days.items()
        for t_ms, told, far in own
    ]


def held_out(
    days: Mapping[str, Sequence[Day]], truth: Mapping[str, SiteTruth]
) -> list[dict[str, Any]]:
    """Each site's claims by the table counted on the other folds."""
    lines = []
    for fold in folds(list(days)):
        rest = {s: d for s, d in days.items() if s not in fold}
        lines += claims({s: days[s] for s in fold}, counted(rest, truth))
    return lines
