"""Verification study: what pumpwatch would have told a town, on the town's own months and failures.

Diagnosis runs over the recordings as it would have run live: at no moment does it know what came later.
Its episodes, and the alarms the panels give today, are held against the failure log. A log names
breakdowns and no beginnings; so an episode speaks of a failure when it began within `LOOKBACK_DAYS`
before it and still stood when the failure came. An episode that speaks of none is one nobody needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from pumpwatch.cycles.recording import Recording, find_recordings, read_recording, read_site
from pumpwatch.diagnosis.assessor import Assessment, SiteAssessor
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.tuned import TunedAssessor
from pumpwatch.domain.alerts import Finding, Kind, Phase, Severity
from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS
from pumpwatch.domain.errors import PumpwatchError
from pumpwatch.domain.faults import FAULT_GROUP, Group
from pumpwatch.domain.keys import DEFAULT_TENANT, SiteKey
from pumpwatch.domain.sites import Site
from pumpwatch.services.backtest import fit_now
from pumpwatch.services.failure_log import Failure
from pumpwatch.services.queries import DRAWN_AS, FeatureSeries, Span, feature_series
from pumpwatch.services.recorded_data import DataQuality, describe_data
from pumpwatch.services.scoring import MONTH_DAYS, notifications, poisson_upper, wilson
from pumpwatch.services.tuning_file import read_tunings

LOOKBACK_DAYS = 45.0
"""An episode that began up to so long before a failure may speak of it."""
STANDING_MS = 48 * HOUR_MS
"""An episode still stands this long after its signs went: repairs wait, signs come and go."""
TODAY_MS = 7 * DAY_MS
"""An alarm of a panel says no more than that moment; up to so long before a failure it counts for it."""
NOTICED_MS = 72 * HOUR_MS
"""A failure nobody foresaw may still be noticed within this time."""
DRAWN_BEFORE_MS = 7 * DAY_MS
"""Days before an episode, or before a failure nobody foresaw, that its chart shows."""


@dataclass(frozen=True, slots=True)
class Today:
    """The alarms a town has today, beside the panel's own contacts and the high level.

    ``run_min``: a pump that runs longer than so many minutes is an alarm. None: there is no such limit.
    """

    run_min: float | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One thing that was told, from its opening to its end. ``told`` holds its tellings, oldest first."""

    told: tuple[Finding, ...]
    over_ms: int | None = None

    @property
    def opened_ms(self) -> int:
        return self.told[0].t_ms

    def stands_at(self, t_ms: int) -> bool:
        over_ms = math.inf if self.over_ms is None else self.over_ms
        return self.opened_ms <= t_ms <= over_ms + STANDING_MS

    def last_before(self, t_ms: int) -> Finding:
        return [f for f in self.told if f.t_ms <= t_ms][-1]


@dataclass(frozen=True, slots=True)
class Case:
    """One failure of the log, and what was known of it.

    ``first`` is the first telling that spoke of it beforehand, ``last`` the last one before it, both
    None where there was none; ``targets`` the pumps that were named. ``noticed_ms`` is the first telling
    afterwards. ``today_ms`` is the first alarm of today's kind in the last days before. ``series`` over
    ``span`` is the feature that gave it away, for a chart.
    """

    failure: Failure
    first: Finding | None = None
    last: Finding | None = None
    targets: frozenset[str | None] = frozenset()
    noticed_ms: int | None = None
    today_ms: int | None = None
    learning: bool = False
    series: tuple[FeatureSeries, ...] = ()
    span: Span | None = None

    @property
    def foreseen(self) -> bool:
        return self.first is not None

    @property
    def sudden(self) -> bool:
        """Whether nobody could foresee it: power and lines fail outside the station."""
        return self.failure.found is not None and FAULT_GROUP[self.failure.found] == Group.SUPPLY

    @property
    def lead_ms(self) -> int | None:
        return self.failure.failed_ms - self.first.t_ms if self.first else None

    @property
    def today_lead_ms(self) -> int | None:
        return None if self.today_ms is None else self.failure.failed_ms - self.today_ms

    @property
    def verdict(self) -> str | None:
        """The likeliest fault by the last telling before the failure."""
        return self.last.fault[0] if self.last else None

    @property
    def right_group(self) -> bool | None:
        """Whether the verdict is of the group of what was found; None where one of them is missing."""
        if self.failure.found is None or self.verdict is None:
            return None
        return FAULT_GROUP.get(self.verdict) == FAULT_GROUP[self.failure.found]

    @property
    def right_pump(self) -> bool | None:
        if self.failure.target is None or not self.foreseen:
            return None
        return self.failure.target in self.targets


@dataclass(frozen=True, slots=True)
class SiteStudy:
    """One station: its data, its failures, and what was told of nothing. ``problem`` says why not."""

    name: str
    site: Site
    problem: str = ""
    data: DataQuality | None = None
    cases: tuple[Case, ...] = ()
    stray: tuple[Finding, ...] = ()
    """Episodes that speak of no failure, one for each time somebody would have been told."""
    stray_share: float = 0.0
    """Share of the days on which such an episode stood."""
    stray_today: int = 0
    """Alarms of today's kind that belong to no failure."""
    facts: int = 0
    """Present facts told (high level, power, silence): never right or wrong beforehand."""
    days: float = 0.0
    """Days on which diagnosis knew the station: what rates are taken over."""


@dataclass(frozen=True, slots=True)
class Study:
    """A whole study. Rates are per site-month of 30.44 days."""

    sites: tuple[SiteStudy, ...]
    outside: tuple[Failure, ...]
    """Failures of stations, or of times, that nobody recorded."""
    lookback_days: float
    today: Today
    settings: DiagnosisSettings = field(default_factory=DiagnosisSettings)

    @property
    def cases(self) -> list[Case]:
        found = [case for site in self.sites for case in site.cases]
        return sorted(found, key=lambda c: (c.failure.failed_ms, c.failure.site))

    @property
    def judged(self) -> list[Case]:
        """The failures that could be foreseen: diagnosis had had its time to learn."""
        return [case for case in self.cases if not case.learning and not case.sudden]

    @property
    def foreseen(self) -> int:
        return sum(case.foreseen for case in self.judged)

    @property
    def foreseen_today(self) -> int:
        return sum(case.today_ms is not None for case in self.judged)

    @property
    def foreseen_interval(self) -> tuple[float, float] | None:
        return wilson(self.foreseen, len(self.judged))

    @property
    def median_lead_days(self) -> float | None:
        """Over all failures; one that nobody foresaw counts as none."""
        leads = [(case.lead_ms or 0) / DAY_MS for case in self.judged]
        return median(leads) if leads else None

    @property
    def day_ahead(self) -> int:
        return sum((case.lead_ms or 0) >= DAY_MS for case in self.judged)

    @property
    def site_months(self) -> float:
        return sum(site.days for site in self.sites) / MONTH_DAYS

    @property
    def stray(self) -> list[tuple[SiteStudy, Finding]]:
        return [(site, told) for site in self.sites for told in site.stray]

    @property
    def stray_rate(self) -> float | None:
        return len(self.stray) / self.site_months if self.site_months else None

    @property
    def stray_rate_upper(self) -> float | None:
        """Upper end of the 95 % interval of the rate."""
        months = self.site_months
        return poisson_upper(len(self.stray)) / months if months else None

    @property
    def stray_rate_today(self) -> float | None:
        months = self.site_months
        return sum(site.stray_today for site in self.sites) / months if months else None

    @property
    def luck(self) -> float | None:
        """Share of failures at which an episode that spoke of nothing would stand by chance."""
        days = sum(site.days for site in self.sites)
        return sum(s.stray_share * s.days for s in self.sites) / days if days else None


Progress = Callable[[int, int, SiteStudy], None]
"""Called with (done, of, the site just finished)."""


def study(
    folder: Path,
    failures: Sequence[Failure],
    *,
    today: Today | None = None,
    lookback_days: float = LOOKBACK_DAYS,
    workers: int = 2,
    progress: Progress | None = None,
    settings: DiagnosisSettings | None = None,
) -> Study:
    """Study every recorded site under ``folder``. A site that cannot be read is reported, not raised.

    Raises `InvalidInput` when there is no recorded site.
    """
    folders = find_recordings(folder)
    job = _Job(round(lookback_days * DAY_MS), today or Today(), settings or DiagnosisSettings())
    by_site: dict[str, list[Failure]] = {}
    for failure in failures:
        by_site.setdefault(failure.site, []).append(failure)
    done: list[SiteStudy] = []
    for result in _run(folders, by_site, job, workers):
        done.append(result)
        if progress is not None:
            progress(len(done), len(folders), result)
    done.sort(key=lambda s: s.name)
    looked_at = {case.failure for site in done for case in site.cases}
    outside = tuple(f for f in failures if f not in looked_at)
    return Study(tuple(done), outside, lookback_days, job.today, job.settings)


def site_names(folder: Path) -> dict[str, Site]:
    """The sites of a folder of recordings, by name, without reading their data."""
    return {path.name: read_site(path) for path in find_recordings(folder)}


@dataclass(frozen=True, slots=True)
class _Job:
    """What is asked of every site."""

    lookback_ms: int
    today: Today
    settings: DiagnosisSettings

    @property
    def learning_ms(self) -> int:
        """A failure this soon after the record began came before diagnosis knew the station."""
        return self.settings.fit_days * DAY_MS


def _run(
    folders: Sequence[Path], failures: Mapping[str, Sequence[Failure]], job: _Job, workers: int
) -> Iterator[SiteStudy]:
    if workers <= 1 or len(folders) == 1:
        for path in folders:
            yield study_site(path, failures.get(path.name, ()), job)
        return
    with ProcessPoolExecutor(min(workers, len(folders)), mp_context=get_context("spawn")) as pool:
        jobs: list[Future[SiteStudy]] = [
            pool.submit(study_site, path, failures.get(path.name, ()), job) for path in folders
        ]
        for done in as_completed(jobs):
            yield done.result()


def study_site(folder: Path, failures: Sequence[Failure], job: _Job) -> SiteStudy:
    """Study one site folder; what is wrong with it is a result, not an exception."""
    try:
        recording = read_recording(folder)
        site = recording.site
        key = SiteKey(DEFAULT_TENANT, site.site)
        assessor = TunedAssessor(
            SiteAssessor(key, site, fit=fit_now, settings=job.settings, log=recording.log),
            read_tunings(folder),
        )
        return _judge(folder.name, recording, assessor.feed(recording.chunk), failures, job)
    except PumpwatchError as error:
        return SiteStudy(folder.name, Site(folder.name), problem=str(error))
    except Exception as error:  # one site's surprise must not cost the others their study
        what = f"diagnosis failed ({type(error).__name__}: {error}): report it with this folder"
        return SiteStudy(folder.name, Site(folder.name), problem=what)


def _judge(
    name: str,
    recording: Recording,
    assessment: Assessment,
    failures: Sequence[Failure],
    job: _Job,
) -> SiteStudy:
    first, last = int(recording.chunk.t_ms[0]), int(recording.chunk.t_ms[-1])
    within = [f for f in failures if first <= f.failed_ms <= last + HOUR_MS]
    known_ms = min(first + job.learning_ms, last)
    episodes, alarms = episodes_of(assessment.findings), alarms_of_today(recording, assessment, job)
    stray = [
        e
        for e in episodes
        if e.opened_ms >= known_ms and not any(speaks_of(e, f, job.lookback_ms) for f in within)
    ]
    told = sorted((f for e in stray for f in e.told), key=lambda f: f.t_ms)
    told_at = set(notifications([f.t_ms for f in told]))
    return SiteStudy(
        name,
        recording.site,
        data=describe_data(recording, assessment.cycles),
        cases=tuple(_case(f, episodes, alarms, recording, assessment, job) for f in within),
        stray=tuple({f.t_ms: f for f in told if f.t_ms in told_at}.values()),
        stray_share=_share_of(stray, known_ms, last),
        stray_today=len(notifications([t for t in alarms if _alone(t, known_ms, within)])),
        facts=sum(f.kind is Kind.CONDITION and _opened(f) for f in assessment.findings),
        days=(last - known_ms) / DAY_MS,
    )


def _opened(finding: Finding) -> bool:
    return finding.phase is Phase.OPENED and finding.severity is not Severity.INFO


def episodes_of(findings: Sequence[Finding]) -> list[Episode]:
    """The predictive episodes that people would have been told of, in order of their opening."""
    standing: dict[str, list[Finding]] = {}
    episodes: list[Episode] = []
    for finding in findings:
        if finding.kind is not Kind.PREDICTIVE:
            continue
        told = standing.setdefault(finding.cause, [])
        if finding.phase is Phase.RESOLVED:
            if told:
                episodes.append(Episode(tuple(told), finding.t_ms))
            del standing[finding.cause]
        elif finding.severity is not Severity.INFO:
            told.append(finding)
    episodes += [Episode(tuple(told)) for told in standing.values() if told]
    return sorted(episodes, key=lambda e: e.opened_ms)


def foretells(episode: Episode, failure: Failure, lookback_ms: int) -> bool:
    """It began before the failure, not too long ago, and still stood when the failure came."""
    at = failure.failed_ms
    return at - lookback_ms <= episode.opened_ms < at and episode.stands_at(at)


def speaks_of(episode: Episode, failure: Failure, lookback_ms: int) -> bool:
    """It foretold the failure, or was opened by it before it was repaired."""
    at = failure.failed_ms
    until = at if failure.repaired_ms is None else failure.repaired_ms
    opened_by_it = at <= episode.opened_ms <= until + STANDING_MS
    return foretells(episode, failure, lookback_ms) or opened_by_it


def _share_of(episodes: Sequence[Episode], begin_ms: int, end_ms: int) -> float:
    """Share of a span on which any of the episodes stood."""
    stood, at = 0.0, float(begin_ms)
    for episode in episodes:
        over_ms = math.inf if episode.over_ms is None else episode.over_ms
        until = min(over_ms + STANDING_MS, end_ms)
        stood += max(0.0, until - max(at, episode.opened_ms))
        at = max(at, until)
    return stood / (end_ms - begin_ms) if end_ms > begin_ms else 0.0


def alarms_of_today(recording: Recording, assessment: Assessment, job: _Job) -> list[int]:
    """When the alarms a panel has today began [ms], in order of time.

    High level (its float, or the level set for it), the fault contacts of the pumps, power, and runs
    longer than the limit the town has set.
    """
    chunk, site = recording.chunk, recording.site
    states = [
        column > 0.5
        for name, column in chunk.signals.items()
        if name == "high_level" or name.endswith(("_fault", "_overload", "_leakage", "_thermal"))
    ]
    if "power_ok" in chunk.signals:
        states.append(chunk.signals["power_ok"] < 0.5)
    if site.high_level_m is not None:
        states.append(chunk.signals["level_m"] >= site.high_level_m)
    began = [int(t) for on in states for t in chunk.t_ms[_rises(on)]]
    if job.today.run_min is not None:
        limit_ms = round(job.today.run_min * MINUTE_MS)
        began += [
            c.start_ms + limit_ms for c in assessment.cycles if c.end_ms - c.start_ms > limit_ms
        ]
    return sorted(began)


def _rises(on: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.flatnonzero(on & ~np.concatenate([[False], on[:-1]]))


def _alone(t_ms: int, known_ms: int, failures: Sequence[Failure]) -> bool:
    """Whether an alarm came while no failure was near."""
    near = any(
        f.failed_ms - TODAY_MS <= t_ms <= (f.repaired_ms or f.failed_ms) + STANDING_MS
        for f in failures
    )
    return t_ms >= known_ms and not near


def _case(
    failure: Failure,
    episodes: Sequence[Episode],
    alarms: Sequence[int],
    recording: Recording,
    assessment: Assessment,
    job: _Job,
) -> Case:
    at = failure.failed_ms
    before = [e for e in episodes if foretells(e, failure, job.lookback_ms)]
    last = max((e.last_before(at) for e in before), key=lambda f: f.t_ms, default=None)
    after = [f.t_ms for f in assessment.findings if _opened(f) and at <= f.t_ms <= at + NOTICED_MS]
    span, series = _evidence(failure, before, last, recording, assessment)
    return Case(
        failure,
        first=before[0].told[0] if before else None,
        last=last,
        targets=frozenset(f.target for e in before for f in e.told if f.t_ms <= at),
        noticed_ms=min(after, default=None),
        today_ms=next((t for t in alarms if at - TODAY_MS <= t < at), None),
        learning=at - int(recording.chunk.t_ms[0]) < job.learning_ms,
        series=series,
        span=span,
    )


def _evidence(
    failure: Failure,
    before: Sequence[Episode],
    last: Finding | None,
    recording: Recording,
    assessment: Assessment,
) -> tuple[Span, tuple[FeatureSeries, ...]]:
    """The strongest sign told that can be drawn; where nothing was told, the pumps' capacity."""
    site = recording.site
    began = before[0].opened_ms if before else failure.failed_ms - DRAWN_BEFORE_MS
    span = Span(began - DRAWN_BEFORE_MS, failure.failed_ms + 2 * DAY_MS)
    cycles = [c for c in assessment.cycles if span.start_ms <= c.start_ms < span.end_ms]
    pumps = [f"pump{n}" for n in range(1, site.pumps + 1)]
    for feature, target, normal in [*_signs(last), ("capacity_m3s", None, None)]:
        shown = [target] if target in pumps else pumps
        drawn_as = DRAWN_AS.get(feature, feature)
        level = normal if drawn_as == feature else None
        series = tuple(feature_series(cycles, site, pump, drawn_as, level) for pump in shown)
        if any(len(s.t_ms) >= 3 for s in series):
            return span, series
    return span, ()


def _signs(finding: Finding | None) -> Iterator[tuple[str, str | None, float | None]]:
    """Feature, pump and normal of a telling's signs, the strongest first."""
    raw = finding.evidence.get("signs") if finding else None
    signs = [s for s in raw if isinstance(s, dict)] if isinstance(raw, list) else []
    for sign in sorted(signs, key=lambda s: -abs(_number(s.get("deviation")) or 0.0)):
        target = sign.get("target")
        yield (
            str(sign.get("feature")),
            target if isinstance(target, str) else None,
            _number(sign.get("normal")),
        )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
