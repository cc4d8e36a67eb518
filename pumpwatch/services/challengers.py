"""A challenger: the forest of a site fitted again on its recent clean days, and tried beside the champion.

A piece of work and its result are values, so that a process of low priority can do it. Champion and
challenger judge the same samples from the same frozen references: what differs is theirs.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.forest import FitRequest, SiteModel, fit_site_model
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.strangeness import Fit
from pumpwatch.diagnosis.tuned import TunedAssessor
from pumpwatch.domain.alerts import Finding, Phase, iso_utc
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import LogEntry, Site
from pumpwatch.domain.tuning import TuningVersion

WINDOW_DAYS = 90
"""A challenger is fitted on the clean days among so many past ones."""
MOST_NAMED = 50
"""So many alerts that differ are named on the card; all are counted."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a challenger is made of.

    ``state`` holds the references in force (`diagnosis.challenger.same_references`), ``chunk`` the recent
    samples, ``troubled`` the site-local days (ordinals) on which an alert was open: nothing is learnt of them.
    ``chunk`` has a row at least. ``tunings`` are the station's own settings.
    """

    key: SiteKey
    site: Site
    log: Sequence[LogEntry]
    state: bytes
    chunk: Chunk
    champion: SiteModel
    troubled: Set[int] = frozenset()
    settings: DiagnosisSettings = field(default_factory=DiagnosisSettings)
    tunings: Sequence[TuningVersion] = ()

    def assessor(self, fit: Fit) -> TunedAssessor:
        """One that begins with the references in force."""
        made = SiteAssessor(
            self.key, self.site, fit=fit, settings=self.settings, log=self.log, state=self.state
        )
        return TunedAssessor(made, self.tunings)


@dataclass(frozen=True, slots=True)
class Challenger:
    """A fitted challenger with its request and backtest (JSON: see `backtest_of`)."""

    model: SiteModel
    request: FitRequest
    backtest: dict[str, Any]


def challenge(trial: Trial) -> Challenger | None:
    """Fit a challenger and try it; None while there are too few clean days."""
    request = _request(trial)
    if request is None:
        return None
    model = fit_site_model(request.rows, request.day, request.names, request.seed)
    before, after = _judged(trial, trial.champion), _judged(trial, model)
    return Challenger(model, request, backtest_of(trial.chunk, before, after))


def _request(trial: Trial) -> FitRequest | None:
    """The newest fit that diagnosis would ask for, without the days on which an alert was open."""
    asked: list[FitRequest] = []

    def more_to_come(request: FitRequest) -> None:
        asked.append(request)
        raise InvalidInput("model", "is asked for again at the next midnight")

    trial.assessor(more_to_come).feed(trial.chunk)
    if not asked:
        return None
    last = asked[-1]
    clean = ~np.isin(last.day, list(trial.troubled))
    if len(np.unique(last.day[clean])) < trial.settings.fit_days:
        return None
    return replace(last, rows=last.rows[clean], day=last.day[clean])


def _judged(trial: Trial, model: SiteModel) -> list[Finding]:
    assessor = trial.assessor(_never)
    assessor.install(model, int(trial.chunk.t_ms[0]))
    return assessor.feed(trial.chunk).findings


def _never(request: FitRequest) -> None:
    raise InvalidInput("model", "is given here")


def backtest_of(
    chunk: Chunk, before: Sequence[Finding], after: Sequence[Finding]
) -> dict[str, Any]:
    """How the alerts of champion and challenger differ, as JSON: the span, how many each would open, and
    which would ``appear`` or ``vanish`` ({t, kind, cause, fault})."""
    old, new = _opened(before), _opened(after)
    appear, vanish = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    return {
        "from": iso_utc(int(chunk.t_ms[0])),
        "to": iso_utc(int(chunk.t_ms[-1])),
        "days": round(float(chunk.t_ms[-1] - chunk.t_ms[0]) / DAY_MS, 1),
        "champion_alerts": len(old),
        "challenger_alerts": len(new),
        "appear": len(appear),
        "vanish": len(vanish),
        "appearing": [_line(new[name]) for name in appear[:MOST_NAMED]],
        "vanishing": [_line(old[name]) for name in vanish[:MOST_NAMED]],
    }


def _opened(findings: Sequence[Finding]) -> dict[tuple[int, str], Finding]:
    return {(f.t_ms, f.cause): f for f in findings if f.phase is Phase.OPENED}


def _line(finding: Finding) -> dict[str, Any]:
    return {
        "t": iso_utc(finding.t_ms),
        "kind": str(finding.kind),
        "cause": finding.cause,
        "fault": finding.fault[0] if finding.fault else "unusual",
    }


def days_between(start_ms: int, end_ms: int, timezone: str) -> set[int]:
    """The site-local days (ordinals) that [start_ms, end_ms] touches."""
    zone = ZoneInfo(timezone)
    first, last = (
        datetime.fromtimestamp(t / 1000, zone).date().toordinal() for t in (start_ms, end_ms)
    )
    return set(range(first, last + 1))
