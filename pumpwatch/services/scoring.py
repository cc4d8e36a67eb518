"""How good a detector is: its alerts held against the truth of recorded sites.

A detector's claim is only worth something when four things are said together: how many faults it saw
before breakdown, how early, how often it spoke of nothing, and how many hits luck alone would have given
it. `score_alerts` counts them from ``truth.json`` files and lines of alerts, so that any detector that
writes such lines can be compared with this one.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.services.truth import SiteTruth, TrueFault

MERGE_MS = 24 * HOUR_MS
"""False alerts of one site closer together than this are one notification ..."""
REPEAT_MS = 72 * HOUR_MS
"""... but one that stays up counts again after this."""
GRACE_MS = 48 * HOUR_MS
"""So long after a repair an alert may still be about the old fault."""
LEAD_MS = 24 * HOUR_MS
"""Early enough to plan a visit."""
MONTH_DAYS = 30.4375
SHORTEST_FREE_MS = 12 * HOUR_MS
CHANCE_STEP_MS = 6 * HOUR_MS
FEWEST_WINDOWS = 40
"""Below so many fault-free windows the chance of a hit is taken from the rate instead."""
PRESENT_FACTS = frozenset({"power_outage", "comms_gap"})
"""Faults that are told as a condition, minutes after they begin, and cannot be foreseen."""

Line = Mapping[str, Any]
Scores = dict[str, Any]


# -- what the detector said -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """One alert that counts: when, which faults (likeliest first), which pump."""

    t_ms: int
    faults: tuple[str, ...]
    target: str | None

    @property
    def first(self) -> str | None:
        return self.faults[0] if self.faults else None


def read_lines(path: Path) -> list[Line]:
    """The JSON objects of a file, one a line. Raises `InvalidInput` naming the line."""
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
            ms_from_iso(line["ts"])
            str(line["site"])
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidInput(
                f"{path}:{number}", f"is no alert ({error})", 'write {"site": …, "ts": …} a line'
            ) from None
        lines.append(line)
    return lines


def _heard(lines: Iterable[Line], kinds: Sequence[str]) -> dict[str, list[Said]]:
    """Site → the alerts that count, in order of time."""
    heard = defaultdict(list)
    for line in lines:
        named = line.get("fault")
        faults = (named,) if isinstance(named, str) else tuple(named or ())
        kind = line.get("kind", "predictive")
        fact = kind == "condition" and faults[:1] and faults[0] in PRESENT_FACTS
        told = "info" not in (kind, line.get("severity", "warning"))
        if told and (fact or kind in kinds):
            heard[line["site"]].append(Said(ms_from_iso(line["ts"]), faults, line.get("target")))
    for said in heard.values():
        said.sort(key=lambda s: s.t_ms)
    return heard


# -- one fault, one false notification, one site --------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """One fault event and what the detector said in time; ``said`` is empty where it was missed."""

    true: TrueFault
    window_ms: int
    sign_ms: int
    """From here on, within the scored time, there was something to see."""
    said: tuple[Said, ...]
    any: bool

    @property
    def seen(self) -> bool:
        return bool(self.said)

    @property
    def lead_ms(self) -> int | None:
        return self.true.breakdown_ms - self.said[0].t_ms if self.said else None

    @property
    def early(self) -> bool:
        """Seen a day ahead, or half the event's length ahead if it took less than two days."""
        if self.lead_ms is None or not self.true.progressive:
            return self.seen
        return self.lead_ms >= min(LEAD_MS, (self.true.breakdown_ms - self.true.onset_ms) / 2)

    @property
    def group_lead_ms(self) -> int | None:
        """Lead of the first alert whose first cause is of the right group."""
        right = (s for s in self.said if _group(s.first) == self.true.group)
        first = next(right, None)
        return self.true.breakdown_ms - first.t_ms if first else None

    @property
    def to_detect_h(self) -> float | None:
        return max(0, self.said[0].t_ms - self.sign_ms) / HOUR_MS if self.said else None

    @property
    def verdict(self) -> str | None:
        """The first cause most of its alerts named; the earliest such where two tie."""
        votes = Counter(s.first for s in self.said)
        return max(votes, key=lambda f: (votes[f], f is not None), default=None)

    @property
    def exact(self) -> bool:
        return any(s.first == self.true.fault for s in self.said)

    @property
    def pump_right(self) -> bool | None:
        if not self.said or not self.true.target:
            return None
        return any(s.target == self.true.target for s in self.said)


@dataclass(frozen=True, slots=True)
class FalseNotice:
    """One false notification and what was going on: a harmless event, a storm, or nothing."""

    site: str
    t_ms: int
    storm: bool
    cause: str


@dataclass(frozen=True, slots=True)
class _Scored:
    """One site's share of the score."""

    events: list[Event]
    false: list[FalseNotice]
    free_h: int
    storm_h: int
    runs: list[tuple[int, int, NDArray[np.int64]]]
    """Fault-free spans (from, to) and the false alerts in each."""


def _group(fault: str | None) -> str | None:
    return FAULT_GROUP.get(fault) if fault else None


def _score_site(truth: SiteTruth, heard: Sequence[Said]) -> _Scored:
    begin, end = truth.scored_from_ms, truth.scored_to_ms
    said = [s for s in heard if begin <= s.t_ms < end]
    anything = (*truth.faults, *truth.unscored)
    windows = [(f.onset_ms, f.repair_ms + GRACE_MS) for f in anything]
    stray = [s.t_ms for s in said if not any(a <= s.t_ms <= b for a, b in windows)]
    hours = np.arange(begin, end, HOUR_MS)
    busy = np.zeros(len(hours), bool)
    for a, b in windows:
        busy |= (hours >= a) & (hours <= b)
    free = hours[~busy].tolist()
    storms = truth.storm_days | {
        (date.fromisoformat(d) + timedelta(days=1)).isoformat() for d in truth.storm_days
    }
    false = [
        FalseNotice(truth.site, t, _day(t) in storms, _cause(truth, t, storms))
        for t in notifications(stray)
    ]
    return _Scored(
        events=[_event(f, truth, said) for f in truth.faults if _counts(f, truth)],
        false=false,
        free_h=len(free),
        storm_h=sum(_day(t) in storms for t in free),
        runs=_free_runs(begin, end, windows, stray),
    )


def notifications(t_ms: Sequence[int]) -> list[int]:
    """The moments of a sorted list at which somebody would be told anew."""
    told: list[int] = []
    last = -math.inf
    for t in t_ms:
        if t - last > MERGE_MS or t - told[-1] >= REPEAT_MS:
            told.append(t)
        last = t
    return told


def _day(t_ms: int) -> str:
    return datetime.fromtimestamp(t_ms / 1000, UTC).date().isoformat()


def _cause(truth: SiteTruth, t_ms: int, storms: frozenset[str]) -> str:
    for event in truth.harmless:
        near = event.start_ms - 2 * HOUR_MS <= t_ms <= event.end_ms + GRACE_MS
        if near and event.kind != "short_gap":
            return event.kind
    return "storm" if _day(t_ms) in storms else "quiet"


def _free_runs(
    begin: int, end: int, windows: Sequence[tuple[int, int]], stray: Sequence[int]
) -> list[tuple[int, int, NDArray[np.int64]]]:
    runs, at = [], begin
    alerts = np.array(stray, np.int64)
    inside = sorted((max(a, begin), min(b, end)) for a, b in windows if b > begin and a < end)
    for a, b in [*inside, (end, end)]:
        if a - at > SHORTEST_FREE_MS:
            runs.append((at, a, alerts[(alerts >= at) & (alerts < a)]))
        at = max(at, b)
    return runs


def _counts(fault: TrueFault, truth: SiteTruth) -> bool:
    return fault.limit_ms >= truth.scored_from_ms and fault.onset_ms < truth.scored_to_ms


def _event(fault: TrueFault, truth: SiteTruth, said: Sequence[Said]) -> Event:
    since = max(fault.onset_ms, truth.scored_from_ms)
    last = fault.repair_ms
    if fault.fault in PRESENT_FACTS:
        last = max(last, fault.deadline_ms)
    hits = [s for s in said if since <= s.t_ms <= last]
    before = fault.breakdown_ms if fault.progressive else min(fault.breakdown_ms, fault.deadline_ms)
    return Event(
        true=fault,
        window_ms=before - since,
        sign_ms=max(fault.detectable_ms, truth.scored_from_ms),
        said=tuple(s for s in hits if s.t_ms <= fault.limit_ms),
        any=bool(hits),
    )


# -- the score ------------------------------------------------------------------------------------


def score_alerts(
    truth: Mapping[str, SiteTruth], lines: Iterable[Line], kinds: Sequence[str] = ("predictive",)
) -> Scores:
    """Score alert lines (``site``, ``ts``, ``kind``, ``severity``, ``fault``, ``target``) against the truth.

    Alerts of another kind than ``kinds`` count only where they name a power cut or a silence; those of
    severity or kind ``info`` never. Rates are per site-month (30.44 days) of fault-free scored time, leads
    in days, times to detection in hours, everything else a share. What there is nothing of is None.
    """
    heard = _heard(lines, kinds)
    scored = [_score_site(t, heard.get(site, ())) for site, t in truth.items()]
    events = [e for s in scored for e in s.events]
    slow = [e for e in events if e.true.progressive]
    luck = _Luck(scored)
    return (
        _foreseen(slow, luck)
        | _abrupt([e for e in events if not e.true.progressive])
        | _false(scored)
        | {"precision_notifications": _precision(events, scored)}
        | _named([e for e in slow if e.seen])
        | _by_class(events, luck)
    )


class _Luck:
    """How often a window without a fault holds one of the detector's own false alerts."""

    def __init__(self, scored: Sequence[_Scored]) -> None:
        self._runs = [run for s in scored for run in s.runs]
        false, free_h = sum(len(s.false) for s in scored), sum(s.free_h for s in scored)
        self._per_h = false / max(free_h, 1)

    def of(self, event: Event) -> float:
        """Share of fault-free windows, as long as the event's, that luck alone would score."""
        window = max(event.window_ms, 0)
        hits = windows = 0
        for begin, end, alerts in self._runs:
            starts = np.arange(begin, end - window, CHANCE_STEP_MS)
            held = np.searchsorted(alerts, starts + window) > np.searchsorted(alerts, starts)
            hits += int(held.sum())
            windows += len(starts)
        if windows >= FEWEST_WINDOWS:
            return hits / windows
        return 1 - math.exp(-self._per_h * window / HOUR_MS)

    def mean(self, events: Sequence[Event]) -> float:
        return sum(map(self.of, events)) / max(len(events), 1)


def _foreseen(slow: Sequence[Event], luck: _Luck) -> Scores:
    """Faults that come slowly enough to be seen before breakdown."""
    recall, chance = _share(e.seen for e in slow), luck.mean(slow)
    leads = [e.lead_ms / DAY_MS if e.lead_ms else 0.0 for e in slow]
    seen = [e for e in slow if e.said]
    return {
        "progressive_events": len(slow),
        "recall_before_breakdown": recall,
        "recall_ci": wilson(sum(e.seen for e in slow), len(slow)),
        "recall_24h_ahead": _share(e.early for e in slow),
        "recall_right_group": _share(e.group_lead_ms is not None for e in slow),
        "chance_recall": chance,
        "skill": (recall - chance) / (1 - chance) if chance < 0.95 else 0.0,
        "median_lead_days": _median(_days(e.lead_ms) for e in slow),
        "median_lead_days_missed_as_0": _median(leads),
        "median_lead_right_group_days": _median(_days(e.group_lead_ms) for e in slow),
        "median_severity_at_alert": _median(e.true.severity_at(e.said[0].t_ms) for e in seen),
    }


def _abrupt(events: Sequence[Event]) -> Scores:
    return {
        "abrupt_events": len(events),
        "abrupt_in_time": _share(e.seen for e in events),
        "abrupt_ttd_h": _median(e.to_detect_h for e in events),
    }


def _false(scored: Sequence[_Scored]) -> Scores:
    """False notifications, in all, in storms and in dry weather, and what they coincided with."""
    false = [n for s in scored for n in s.false]
    in_storm = sum(n.storm for n in false)
    months = _months(sum(s.free_h for s in scored))
    storm_months = _months(sum(s.storm_h for s in scored))
    causes = Counter(n.cause for n in false)
    return {
        "false_per_site_month": _rate(len(false), months),
        "false_per_site_month_upper95": _rate(poisson_upper(len(false)), months),
        "false_n": len(false),
        "site_months": months,
        "storm_false_per_site_month": _rate(in_storm, storm_months),
        "dry_false_per_site_month": _rate(len(false) - in_storm, months - storm_months),
        "sites_with_false": _share(bool(s.false) for s in scored),
        "false_by_cause": dict(causes.most_common()),
    }


def _precision(events: Sequence[Event], scored: Sequence[_Scored]) -> float:
    seen = sum(e.seen for e in events)
    return seen / max(seen + sum(len(s.false) for s in scored), 1)


def _named(seen: Sequence[Event]) -> Scores:
    """Whether the right cause and the right pump were named, of the slow faults that were seen."""
    pumps = [e.pump_right for e in seen if e.pump_right is not None]
    return {
        "diagnosis_top1": _share(e.verdict == e.true.fault for e in seen),
        "diagnosis_first": _share(e.said[0].first == e.true.fault for e in seen),
        "diagnosis_group": _share(_group(e.verdict) == e.true.group for e in seen),
        "diagnosis_top3": _share(any(e.true.fault in s.faults[:3] for s in e.said) for e in seen),
        "pump_named_right": _share(pumps),
    }


def _by_class(events: Sequence[Event], luck: _Luck) -> Scores:
    """The same for each fault apart, and the mean recall over the progressive ones."""
    classes: dict[str, dict[str, Any]] = {}
    for fault in sorted({e.true.fault for e in events}):
        mine = [e for e in events if e.true.fault == fault]
        classes[fault] = {
            "n": len(mine),
            "recall": _share(e.seen for e in mine),
            "recall_24h": _share(e.early for e in mine),
            "right_group": _share(e.group_lead_ms is not None for e in mine),
            "exact": _share(e.exact for e in mine),
            "any": _share(e.any for e in mine),
            "lead_days": _median(_days(e.lead_ms) for e in mine),
            "ttd_h": _median(e.to_detect_h for e in mine),
            "chance": luck.mean(mine),
        }
    slow = {e.true.fault for e in events if e.true.progressive}
    recalls = [c["recall"] for fault, c in classes.items() if fault in slow]
    return {"by_class": classes, "macro_recall": float(np.mean(recalls)) if recalls else None}


def _share(flags: Iterable[bool | None]) -> float:
    told = [bool(flag) for flag in flags]
    return sum(told) / max(len(told), 1)


def _median(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.median(known)) if known else None


def _days(span_ms: int | None) -> float | None:
    return None if span_ms is None else span_ms / DAY_MS


def _months(hours: float) -> float:
    return hours / 24 / MONTH_DAYS


def _rate(count: float, months: float) -> float:
    return count / max(months, 1e-9)


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float] | None:
    """95 % interval of a share (Wilson 1927, JASA 22:209), None for no trial."""
    if n == 0:
        return None
    share, spread = hits / n, z * z / n
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / n / 4) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def poisson_upper(count: int) -> float:
    """Upper end of the exact two-sided 95 % interval of a Poisson mean (Garwood 1936)."""
    return float(gammaincinv(count + 1, 0.975))
