"""Tuning one station: try a change on its own recorded samples, save it with a reason, compare, take back.

A trial is the ordinary diagnosis of the samples that are stored, once as the station is set and once as it
would be. What comes of it is two lists of alerts, held against each other, against what is known to have
happened, and against the number of alerts a fleet can afford.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from math import inf
from multiprocessing import get_context
from threading import Lock
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pumpwatch.diagnosis.assessor import SiteAssessor
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.diagnosis.tuning import (
    Difference,
    Exclusion,
    Tuning,
    differences,
    exclusion,
    tuning_as_stored,
    tuning_from_dict,
)
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import Finding, Kind, Severity, iso_utc
from pumpwatch.domain.clock import DAY_MS, MINUTE_MS, Clock
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Label, newest
from pumpwatch.domain.ports import AnsweredBook, SiteBook, TimeSeriesStore
from pumpwatch.domain.samples import Chunk
from pumpwatch.domain.sites import LogEntry, LogKind, Site, SiteMode
from pumpwatch.domain.tuning import TuningVersion, in_force
from pumpwatch.services.backtest import fit_now
from pumpwatch.services.failure_log import Failure
from pumpwatch.services.scoring import MONTH_DAYS
from pumpwatch.services.study import LOOKBACK_DAYS, Episode, episodes_of, foretells, speaks_of

GOAL_PER_SITE_MONTH = 0.03
"""Unneeded alerts a station may raise in a month when the fleet's crews are to believe them: seven visits
a month in a town of 232 stations."""
TRIAL_DAYS = 120
"""So much of what is stored is tried on, unless told otherwise."""
SHORTEST_DAYS, LONGEST_DAYS = 14, 400
MAX_REASON = 1_000
MOST_ALERTS = 20_000
_HEARD_MS = 15_000
"""A running hub has heard of a new version by then: so no sample is judged by the one before it that a
replay would judge by the new one. The next whole minute after it is when a version takes effect."""
_SAME_EVENT_MS = 3 * DAY_MS
"""A repair in the site log this close to what somebody said was found is the same thing."""
_LOOKBACK_MS = round(LOOKBACK_DAYS * DAY_MS)
_REPAIRS = (LogKind.CLEANING, LogKind.OVERHAUL, LogKind.REPLACED)

Progress = Callable[[str, float], None]
"""Called with (what is done now, share of it that is done)."""


# -- a trial -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Samples:
    """What a trial runs over: a station with its stored rows and its log."""

    key: SiteKey
    site: Site
    chunk: Chunk
    log: Sequence[LogEntry]
    base: DiagnosisSettings

    def judged(self, tuning: Tuning) -> list[Finding]:
        """What diagnosis tells of them under ``tuning``, causally, from nothing learnt."""
        settings = tuning.applied_to(self.base)
        assessor = SiteAssessor(self.key, self.site, fit=fit_now, settings=settings, log=self.log)
        return [tuning.quieted(f) for f in assessor.feed(self.chunk).findings]


Run = Callable[[Samples, Sequence[Tuning], Progress], list[list[Finding]]]


def run_here(
    samples: Samples, tunings: Sequence[Tuning], progress: Progress
) -> list[list[Finding]]:
    """Judge the samples under each tuning, in this process."""
    found = []
    for n, tuning in enumerate(tunings):
        progress("judging", n / len(tunings))
        found.append(samples.judged(tuning))
    progress("judging", 1.0)
    return found


class _Apart:
    """The same in a process of its own and of low priority: a hub's alerts do not wait for it.

    One at a time, since each holds all its samples; raises `Conflict` while another runs.
    """

    def __init__(self) -> None:
        self._turn = Lock()

    def __call__(
        self, samples: Samples, tunings: Sequence[Tuning], progress: Progress
    ) -> list[list[Finding]]:
        if not self._turn.acquire(blocking=False):
            raise Conflict("another trial is being worked out", "try again in a minute")
        try:
            return self._run(samples, tunings, progress)
        finally:
            self._turn.release()

    def _run(
        self, samples: Samples, tunings: Sequence[Tuning], progress: Progress
    ) -> list[list[Finding]]:
        progress("judging", 0.0)
        spawned = get_context("spawn")
        with ProcessPoolExecutor(
            1, mp_context=spawned, initializer=os.nice, initargs=(15,)
        ) as pool:
            found = list(pool.map(samples.judged, tunings))
        progress("judging", 1.0)
        return found


run_apart = _Apart()


class Fate(StrEnum):
    """What becomes of an alert when the change is made."""

    VANISHES = "vanishes"
    APPEARS = "appears"
    STAYS = "stays"


class Told(NamedTuple):
    """One alert as it was first told."""

    opened_ms: int
    over_ms: int | None
    severity: Severity
    fault: tuple[str, ...]
    target: str | None


class Line(NamedTuple):
    """One alert in both lists, or in one."""

    fate: Fate
    before: Told | None
    after: Told | None

    @property
    def at_ms(self) -> int:
        told = self.before or self.after
        assert told is not None
        return told.opened_ms


class Event(NamedTuple):
    """Something that is known to have happened, and how long before it an alert said so (None: not)."""

    failure: Failure
    lead_before_ms: int | None
    lead_after_ms: int | None


@dataclass(frozen=True, slots=True)
class Budget:
    """Alerts that speak of nothing that is known to have happened, of this station and of its fleet.

    ``before`` and ``after`` come from the trial, ``fleet`` from the ledger over the same time; ``months``
    and ``fleet_months`` are site-months.
    """

    before: int
    after: int
    months: float
    fleet: int
    fleet_months: float
    goal: float = GOAL_PER_SITE_MONTH

    @property
    def rate_before(self) -> float:
        return self.before / self.months

    @property
    def rate_after(self) -> float:
        return self.after / self.months

    @property
    def fleet_before(self) -> float:
        return self.fleet / self.fleet_months

    @property
    def fleet_after(self) -> float:
        """Of the fleet, if the station told as many more or fewer as in the trial."""
        return max(0, self.fleet + self.after - self.before) / self.fleet_months

    @property
    def kept(self) -> bool:
        """Whether the fleet stays within its goal."""
        return self.fleet_after <= self.goal


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would have done over the samples from ``start_ms`` to ``end_ms``.

    Alerts and events are counted from ``known_ms`` on, when diagnosis had learnt the station.
    """

    key: SiteKey
    site: Site
    tuning: Tuning
    changes: tuple[Difference, ...]
    start_ms: int
    known_ms: int
    end_ms: int
    rows: int
    lines: tuple[Line, ...]
    events: tuple[Event, ...]
    budget: Budget

    def count(self, fate: Fate) -> int:
        return sum(line.fate is fate for line in self.lines)

    @property
    def foreseen_before(self) -> int:
        return sum(event.lead_before_ms is not None for event in self.events)

    @property
    def foreseen_after(self) -> int:
        return sum(event.lead_after_ms is not None for event in self.events)


def compare_alerts(before: Sequence[Episode], after: Sequence[Episode]) -> list[Line]:
    """Two lists of episodes held against each other, in order of time.

    An episode stays when the other list has one about the same thing (its chart, or its first cause and
    pump) that stood at a common moment; it may begin earlier or later there.
    """
    left, lines = list(after), []
    for episode in before:
        twin = next((e for e in left if _same(episode, e)), None)
        if twin is None:
            lines.append(Line(Fate.VANISHES, _told(episode), None))
        else:
            left.remove(twin)
            lines.append(Line(Fate.STAYS, _told(episode), _told(twin)))
    lines += [Line(Fate.APPEARS, None, _told(episode)) for episode in left]
    return sorted(lines, key=lambda line: (line.at_ms, line.fate))


def known_events(log: Sequence[LogEntry], labels: Sequence[Label], site: str) -> list[Failure]:
    """What is known to have happened at a station: what people found, and repairs in its log."""
    found = [
        Failure(
            site,
            label.found_ms,
            label.cause if label.cause in FAULT_GROUP else None,
            label.target,
            label.found_ms,
            label.note,
        )
        for label in newest(labels)
        if label.confirms
    ]
    repairs = [
        Failure(site, e.t_ms, None, e.target, e.t_ms, e.note)
        for e in log
        if e.kind in _REPAIRS and not any(_same_event(e, f) for f in found)
    ]
    return sorted([*found, *repairs], key=lambda f: f.failed_ms)


def _same_event(entry: LogEntry, failure: Failure) -> bool:
    near = abs(entry.t_ms - failure.failed_ms) <= _SAME_EVENT_MS
    return near and (None in (entry.target, failure.target) or entry.target == failure.target)


def _same(a: Episode, b: Episode) -> bool:
    one, other = a.told[0], b.told[0]
    alike = (one.fault[0], one.target) == (other.fault[0], other.target)
    overlap = a.opened_ms <= _end(b) and b.opened_ms <= _end(a)
    return (one.cause == other.cause or alike) and overlap


def _end(episode: Episode) -> float:
    return inf if episode.over_ms is None else episode.over_ms


def _told(episode: Episode) -> Told:
    first = episode.told[0]
    return Told(first.t_ms, episode.over_ms, first.severity, first.fault, first.target)


def _lead_ms(failure: Failure, episodes: Sequence[Episode]) -> int | None:
    """The longest lead of an episode that foretold the failure."""
    before = [e.opened_ms for e in episodes if foretells(e, failure, _LOOKBACK_MS)]
    return failure.failed_ms - min(before) if before else None


def moment(text: str, site: Site, field: str) -> int:
    """Epoch ms of an ISO 8601 moment; one without an offset is on the clock of that station.

    Raises `InvalidInput` naming ``field``.
    """
    try:
        at = datetime.fromisoformat(text.strip())
        return round(
            (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(site.timezone))).timestamp() * 1000
        )
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(
            field,
            f"{text!r} is no moment",
            "write it like 2026-04-01T09:00 or 2026-04-01T09:00+09:00",
        ) from None


def span(start: str, end: str, site: Site) -> Exclusion:
    """A span to exclude from two moments as people write them. Raises `InvalidInput`."""
    return exclusion(moment(start, site, "excluded"), moment(end, site, "excluded"))


# -- the service ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TuningView:
    """A station's settings as they stand. ``tuning`` is the newest version's, ``base`` everybody's."""

    key: SiteKey
    site: Site
    now_ms: int
    base: DiagnosisSettings
    versions: tuple[TuningVersion, ...]
    """Oldest first."""
    tuning: Tuning

    @property
    def newest(self) -> TuningVersion | None:
        return self.versions[-1] if self.versions else None

    @property
    def in_force(self) -> TuningVersion | None:
        """By what samples of this moment are judged; of a recording, its rows."""
        recorded = self.site.mode is SiteMode.RECORDING
        return self.newest if recorded else in_force(self.versions, self.now_ms)

    def changes_of(self, version: TuningVersion) -> list[Difference]:
        """What a version changed of the one before it."""
        before = self.settings_of(version.n - 1, "n")
        return differences(before, self.settings_of(version.n, "n"))

    def settings_of(self, n: int, name: str) -> Tuning:
        """What version ``n`` has set; 0 is what every station has. Raises `InvalidInput` naming ``name``."""
        if not 0 <= n <= len(self.versions):
            known = f"give 0 to {len(self.versions)}" if self.versions else "there is none yet"
            raise InvalidInput(name, f"{self.key} has no version {n}", known)
        return tuning_as_stored(self.versions[n - 1].settings) if n else Tuning()


class TuningService:
    """Tries, saves and takes back the settings of single stations.

    ``base`` is what every station has by the hub's own settings; ``run`` is how a trial is worked out.
    """

    def __init__(
        self,
        sites: SiteBook,
        alerts: AnsweredBook,
        series: TimeSeriesStore,
        clock: Clock,
        base: DiagnosisSettings | None = None,
        run: Run = run_here,
    ) -> None:
        self._sites, self._alerts, self._series = sites, alerts, series
        self._clock, self._run = clock, run
        self._base = base or DiagnosisSettings()

    # -- looking -------------------------------------------------------------------------------

    def view(self, key: SiteKey) -> TuningView:
        """Raises `NotFound` for a station nobody approved."""
        site = self._sites.site(key)
        if site is None:
            raise NotFound(f"no site {key}", "see: pumpwatch sites list")
        versions = tuple(self._sites.tunings(key).get(key, ()))
        tuning = tuning_as_stored(versions[-1].settings) if versions else Tuning()
        return TuningView(key, site, self._clock.now_ms(), self._base, versions, tuning)

    def compare(self, key: SiteKey, a: int, b: int) -> list[Difference]:
        """What version ``b`` changes of version ``a``; 0 is what every station has."""
        view = self.view(key)
        return differences(view.settings_of(a, "a"), view.settings_of(b, "b"))

    def preview(
        self,
        key: SiteKey,
        tuning: Tuning,
        *,
        days: int = TRIAL_DAYS,
        events: Sequence[Failure] | None = None,
        progress: Progress = lambda what, share: None,
    ) -> Preview:
        """Judge the last ``days`` of the station's stored samples as it is set, and under ``tuning``.

        ``events`` are failures that are known from elsewhere; without them, what people found and the
        repairs in the site log. Raises `InvalidInput` when nothing would change, `NotFound` without
        stored samples, `Conflict` while another trial runs, `StoreUnavailable`.
        """
        view = self.view(key)
        changes = _changes(view, tuning)
        samples = self._samples(view, days, progress)
        start_ms, end_ms = int(samples.chunk.t_ms[0]), int(samples.chunk.t_ms[-1])
        known_ms = start_ms + round(self._base.reference_days * DAY_MS)
        if known_ms >= end_ms:
            raise NotFound(
                f"{key} has only {(end_ms - start_ms) / DAY_MS:.1f} days of stored samples",
                f"try again when there are more than {self._base.reference_days:g}",
            )
        told = self._run(samples, (view.tuning, tuning), progress)
        before, after = (
            [e for e in episodes_of(findings) if e.opened_ms >= known_ms] for findings in told
        )
        known = self._events(view, samples.log) if events is None else events
        within = [f for f in known if f.site == key.site and known_ms <= f.failed_ms <= end_ms]
        return Preview(
            key,
            view.site,
            tuning,
            changes,
            start_ms,
            known_ms,
            end_ms,
            len(samples.chunk),
            tuple(compare_alerts(before, after)),
            tuple(Event(f, _lead_ms(f, before), _lead_ms(f, after)) for f in within),
            self._budget(key, before, after, within, (known_ms, end_ms)),
        )

    # -- changing ------------------------------------------------------------------------------

    def save(
        self,
        key: SiteKey,
        tuning: Tuning,
        reason: str,
        actor: Actor,
        *,
        from_ms: int | None = None,
        based_on: int | None = None,
    ) -> TuningVersion:
        """Make it the station's newest version, from ``from_ms`` on: by default from now on, at a
        recording from its first row.

        ``based_on`` is the version its author had seen. Raises `InvalidInput` for a missing reason, for
        what changes nothing and for a moment or an excluded span that has passed; `Conflict` when somebody
        saved meanwhile; `NotFound`.
        """
        view = self.view(key)
        tuning = tuning_from_dict(tuning.to_dict())
        _changes(view, tuning)
        if based_on is not None and based_on != len(view.versions):
            raise Conflict(
                f"{key} has version {len(view.versions)} by now, yours began from {based_on}",
                "look at what was changed meanwhile, then decide again",
            )
        return self._add(view, tuning, reason, actor, from_ms, None)

    def undo(
        self, key: SiteKey, reason: str, actor: Actor, *, to: int | None = None
    ) -> TuningVersion:
        """Bring back what version ``to`` had set (0: what every station has), as a new version; by
        default what the newest version replaced. It takes effect now; at a recording from its first row.

        Raises `NotFound` where nothing was ever set, `InvalidInput` for a version there is none of, for a
        missing reason and for what changes nothing.
        """
        view = self.view(key)
        if not view.versions:
            raise NotFound(f"{key} has no settings of its own", "there is nothing to take back")
        to = len(view.versions) - 1 if to is None else to
        tuning = view.settings_of(to, "to")
        _changes(view, tuning)
        return self._add(view, tuning, reason, actor, None, to)

    # -- inside --------------------------------------------------------------------------------

    def _add(
        self,
        view: TuningView,
        tuning: Tuning,
        reason: str,
        actor: Actor,
        from_ms: int | None,
        restores: int | None,
    ) -> TuningVersion:
        reason = reason.strip()
        if not reason:
            raise InvalidInput("reason", "is empty", "say why, for whoever reads it in a year")
        if len(reason) > MAX_REASON:
            raise InvalidInput("reason", f"is longer than {MAX_REASON} letters", "shorten it")
        effective_ms = self._moment(view, from_ms)
        if restores is None:
            _check_spans(tuning, view.tuning, effective_ms)
        version = TuningVersion(
            len(view.versions) + 1,
            effective_ms,
            view.now_ms,
            actor,
            reason,
            tuning.to_dict(),
            restores,
        )
        self._sites.add_tuning(view.key, version)
        return version

    def _moment(self, view: TuningView, from_ms: int | None) -> int:
        """From when on samples are judged by it. What a live station was judged by stays as it was."""
        if view.site.mode is SiteMode.RECORDING:
            return from_ms or 0
        if from_ms is None:
            newest_row = self._series.latest([view.key]).get(view.key)
            now_ms = max(view.now_ms, newest_row[0] if newest_row else 0)
            return -(-(now_ms + _HEARD_MS) // MINUTE_MS) * MINUTE_MS
        if from_ms < view.now_ms:
            raise InvalidInput(
                "from",
                f"{iso_utc(from_ms)} has passed, and what was judged stays judged",
                "leave it out for now, or give a later moment",
            )
        return from_ms

    def _samples(self, view: TuningView, days: int, progress: Progress) -> Samples:
        if not SHORTEST_DAYS <= days <= LONGEST_DAYS:
            raise InvalidInput(
                "days", f"{days} is out of bounds", f"give {SHORTEST_DAYS} to {LONGEST_DAYS}"
            )
        progress("reading", 0.0)
        newest_row = self._series.latest([view.key]).get(view.key)
        if newest_row is None:
            raise NotFound(
                f"{view.key} has no stored samples",
                "let it report, or replay its recording, before a change is tried on it",
            )
        end_ms = newest_row[0] + 1
        chunk = self._series.read_raw(view.key, end_ms - days * DAY_MS, end_ms)
        progress("reading", 1.0)
        return Samples(view.key, view.site, chunk, tuple(self._sites.log(view.key)), self._base)

    def _events(self, view: TuningView, log: Sequence[LogEntry]) -> list[Failure]:
        return known_events(log, self._alerts.labels(*view.key), view.key.site)

    def _budget(
        self,
        key: SiteKey,
        before: Sequence[Episode],
        after: Sequence[Episode],
        events: Sequence[Failure],
        span: tuple[int, int],
    ) -> Budget:
        def charged(episodes: Sequence[Episode]) -> int:
            return sum(not any(speaks_of(e, f, _LOOKBACK_MS) for f in events) for e in episodes)

        months = (span[1] - span[0]) / DAY_MS / MONTH_DAYS
        right = {
            label.subject for label in newest(self._alerts.labels(key.tenant)) if label.confirms
        }
        told = [
            alert
            for alert in self._alerts.alerts(key.tenant, since_ms=span[0], limit=MOST_ALERTS)
            if alert.kind is Kind.PREDICTIVE
            and alert.severity is not Severity.INFO
            and span[0] <= alert.opened_ms <= span[1]
            and alert.id not in right
        ]
        stations = max(1, len(self._sites.sites(key.tenant)))
        return Budget(charged(before), charged(after), months, len(told), stations * months)


def _changes(view: TuningView, tuning: Tuning) -> tuple[Difference, ...]:
    found = tuple(differences(view.tuning, tuning))
    if not found:
        raise InvalidInput(
            "settings",
            f"nothing would change at {view.key}",
            "change at least one value, cause or span",
        )
    return found


def _check_spans(tuning: Tuning, present: Tuning, effective_ms: int) -> None:
    """A span that is new must still lie ahead: what was judged of it stays judged."""
    for span in {*tuning.excluded} - {*present.excluded}:
        if span.end_ms <= effective_ms:
            raise InvalidInput(
                "excluded",
                f"the span until {iso_utc(span.end_ms)} has passed before the setting takes effect",
                "exclude what lies ahead; for what has passed, write the site log",
            )
