"""Read models for pages, the API and the command line. Times in ms, everything else SI."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from statistics import median
from zoneinfo import ZoneInfo

import numpy as np

from pumpwatch.domain.alerts import Alert, Json, Kind, Transition, ms_from_iso
from pumpwatch.domain.clock import DAY_MS, HOUR_MS, MINUTE_MS, Clock, ScaledClock
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.errors import NotFound, StoreUnavailable
from pumpwatch.domain.keys import HUB_KEY, SiteKey
from pumpwatch.domain.labels import Label, newest
from pumpwatch.domain.ports import (
    HeldSite,
    HubStatus,
    LookBook,
    SiteBook,
    StatusSource,
    TimeSeriesStore,
)
from pumpwatch.domain.proofs import PROOF_DAYS, Proof, unproven_pumps
from pumpwatch.domain.samples import Chunk, bucket_grid
from pumpwatch.domain.signals import run_signal
from pumpwatch.domain.sites import LogEntry, Site
from pumpwatch.services.label_scores import LabelScores, label_scores, scores_by_site

LEVEL_POINTS = 288
"""Buckets of a level chart: five minutes each over a day."""
CAPACITY_DAYS = 30
QUIET_MS = 15 * MINUTE_MS
"""A site younger than this since its last sample is never called silent."""
QUIET_REAL_MS = 20_000
"""In time that runs faster than life, the road itself may take this long of real time."""
QUIET_SAMPLES = 10
"""Missed samples before a slowly sampling site is called silent."""


DRAWN_AS = {
    "capacity_index": "capacity_m3s",
    "capacity_scatter": "capacity_m3s",
    "nameplate_capacity_m3s": "capacity_m3s",
    "partner_capacity_m3s": "capacity_m3s",
    "early_capacity_m3s": "capacity_m3s",
    "early_current_a": "current_a",
    "short_run_share": "run_s",
    "late_start_share": "start_level_m",
    "low_stop_share": "stop_level_m",
    "night_inflow_m3s": "inflow_m3s",
}
"""Signs over many cycles, or beside something else → the feature of single cycles in which they can be seen."""


class Attention(StrEnum):
    """Why a station is where it is in the ranking, most urgent first."""

    CRITICAL = "critical"
    ALARM = "alarm"
    WARNING = "warning"
    SILENT = "silent"
    INFO = "info"
    NORMAL = "normal"

    @property
    def rank(self) -> int:
        return list(Attention).index(self)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time: start_ms <= t < end_ms."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class StationRow:
    """One station in the ranked fleet, with its newest row and its open alerts, worst first."""

    key: SiteKey
    site: Site
    last_ms: int | None
    values: Mapping[str, float]
    silent: bool
    alerts: tuple[Alert, ...]
    unproven: tuple[str, ...] = ()
    """Pumps that have drawn nothing down for too long: nobody knows whether they would."""
    proofs: tuple[Proof, ...] = ()

    @property
    def name(self) -> str:
        return self.site.name or self.key.site

    @property
    def worst(self) -> Alert | None:
        return self.alerts[0] if self.alerts else None

    @property
    def attention(self) -> Attention:
        worst = Attention(self.worst.severity) if self.worst else Attention.NORMAL
        if self.silent:
            return min(worst, Attention.SILENT, key=_rank)
        return min(worst, Attention.WARNING, key=_rank) if self.unproven else worst

    @property
    def acknowledged(self) -> bool:
        return self.worst is not None and self.worst.acknowledged_ms is not None

    @property
    def running(self) -> tuple[str, ...]:
        """The pumps that run in the newest row."""
        return tuple(
            f"pump{n}"
            for n in range(1, self.site.pumps + 1)
            if self.values.get(run_signal(n), 0.0) >= 0.5
        )


@dataclass(frozen=True, slots=True)
class Fleet:
    """Every station, what needs attention first. ``series_down`` says why values are missing."""

    now_ms: int
    rows: tuple[StationRow, ...]
    counts: Mapping[Attention, int]
    held: int
    series_down: str = ""


@dataclass(frozen=True, slots=True)
class LevelBand:
    """Level [m] in buckets of ``width_ms``: lowest, mean and highest, and where nothing is known.

    ``t_ms`` are the buckets' starts; a bucket without a value is absent.
    """

    start_ms: int
    end_ms: int
    width_ms: int
    t_ms: tuple[int, ...]
    low_m: tuple[float, ...]
    mean_m: tuple[float, ...]
    high_m: tuple[float, ...]
    gaps: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class PumpRuns:
    """When a pump ran, as its run signal tells; a run that a gap cuts ends at the last sample."""

    pump: str
    spans: tuple[Span, ...]

    @property
    def run_s(self) -> float:
        return sum(s.end_ms - s.start_ms for s in self.spans) / 1000


@dataclass(frozen=True, slots=True)
class FeatureSeries:
    """One feature of one pump: single valid cycles, and the median of each site-local day.

    ``day_ms`` is the day's noon. ``normal`` is the reference an alert judged it by, if any did.
    """

    pump: str
    feature: str
    t_ms: tuple[int, ...]
    values: tuple[float, ...]
    day_ms: tuple[int, ...]
    day_median: tuple[float, ...]
    normal: float | None = None


@dataclass(frozen=True, slots=True)
class SiteView:
    """Everything the page of one station shows."""

    row: StationRow
    now_ms: int
    level: LevelBand
    runs: tuple[PumpRuns, ...]
    capacity: tuple[FeatureSeries, ...]
    capacity_span: Span
    recent: tuple[Alert, ...]
    log: tuple[LogEntry, ...]
    scores: LabelScores
    missed: tuple[Label, ...]
    """Failures nobody was told of, the latest first."""
    series_down: str = ""


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of an alert: ``now`` against ``normal``, in the feature's unit; deviation in sigmas."""

    feature: str
    target: str | None
    now: float | None
    normal: float | None
    deviation: float


@dataclass(frozen=True, slots=True)
class EvidenceChart:
    """What the chart of an alert shows: a feature per cycle, or level and runs around the time."""

    span: Span
    since_ms: int
    sign: Sign | None
    series: tuple[FeatureSeries, ...] = ()
    level: LevelBand | None = None
    runs: tuple[PumpRuns, ...] = ()


@dataclass(frozen=True, slots=True)
class AlertView:
    """Everything the page of one alert shows."""

    alert: Alert
    site: Site
    now_ms: int
    since_ms: int
    transitions: tuple[Transition, ...]
    chart: EvidenceChart
    labels: tuple[Label, ...]
    """What people found, every answer, the newest (which counts) first."""
    others: tuple[Alert, ...]
    """Other open alerts of the same station."""
    row: StationRow
    retired: bool
    """The station is out of service: it will never say that a present fact is over."""

    @property
    def closable(self) -> bool:
        """Whether a person may close it."""
        return self.alert.open and (self.retired or self.alert.kind is not Kind.CONDITION)


@dataclass(frozen=True, slots=True)
class AlertItem:
    """An alert in a list, with the station it belongs to."""

    alert: Alert
    site: Site
    since_ms: int


@dataclass(frozen=True, slots=True)
class LabelsView:
    """How right the alerts were, by what people found: of all stations and of each that has a label."""

    scores: LabelScores
    by_site: tuple[tuple[SiteKey, Site, LabelScores], ...]
    labels: tuple[Label, ...]
    """The answers that count, the latest found first."""


class Queries:
    """Answers for whoever looks. Nothing here changes anything.

    A time-series store that does not answer takes its charts with it and nothing else.
    """

    def __init__(
        self,
        sites: SiteBook,
        alerts: LookBook,
        series: TimeSeriesStore,
        clock: Clock,
        status: StatusSource | None = None,
        proof_days: float = PROOF_DAYS,
    ) -> None:
        self._sites = sites
        self._alerts = alerts
        self._series = series
        self._clock = clock
        self._status = status
        self._proof_days = proof_days

    # -- fleet ----------------------------------------------------------------------------------

    def fleet(self, tenant: str | None = None) -> Fleet:
        sites = self._sites.sites(tenant)
        rows, down = self._rows(sites)
        rows.sort(key=_urgency)
        counts = {a: sum(r.attention is a for r in rows) for a in Attention}
        return Fleet(self._clock.now_ms(), tuple(rows), counts, len(self._sites.held()), down)

    def station(self, key: SiteKey) -> StationRow:
        rows, _ = self._rows({key: self._site(key)})
        return rows[0]

    def _rows(self, sites: Mapping[SiteKey, Site]) -> tuple[list[StationRow], str]:
        now_ms, down = self._clock.now_ms(), ""
        clock = self._clock
        road_ms = QUIET_REAL_MS * clock.factor if isinstance(clock, ScaledClock) else 0
        latest: dict[SiteKey, tuple[int, dict[str, float]]] = {}
        try:
            latest = self._series.latest(sites)
        except StoreUnavailable as error:
            down = str(error)
        only = next(iter(sites)) if len(sites) == 1 else None
        by_site: dict[SiteKey, list[Alert]] = {}
        for alert in self._alerts.open_alerts(only):
            by_site.setdefault(alert.key, []).append(alert)
        proofs = self._alerts.proofs(only)
        rows = []
        for key, site in sites.items():
            last_ms, values = latest.get(key, (None, {}))
            known = {k: v for k, v in values.items() if math.isfinite(v)}
            limit_ms = max(quiet_limit_ms(site), road_ms)
            silent = not down and (last_ms is None or now_ms - last_ms > limit_ms)
            alerts = tuple(sorted(by_site.get(key, ()), key=_alert_urgency))
            own = tuple(proofs.get(key, ()))
            unproven = tuple(unproven_pumps(own, site.pumps, now_ms, self._proof_days))
            rows.append(StationRow(key, site, last_ms, known, silent, alerts, unproven, own))
        return rows, down

    # -- one station ----------------------------------------------------------------------------

    def site(self, key: SiteKey) -> SiteView:
        """Raises `NotFound` for a station nobody approved."""
        row = self.station(key)
        now_ms = self._clock.now_ms()
        down = ""
        try:
            level = self.level(key, now_ms - DAY_MS, now_ms)
            runs = self._runs(key, row.site, now_ms - DAY_MS, now_ms)
        except StoreUnavailable as error:
            level, runs, down = _no_level(now_ms - DAY_MS, now_ms), (), str(error)
        span = Span(now_ms - CAPACITY_DAYS * DAY_MS, now_ms)
        cycles = self._alerts.cycles(key, span.start_ms, span.end_ms)
        capacity = tuple(
            feature_series(cycles, row.site, pump, "capacity_m3s", _normal_of(row.alerts, pump))
            for pump in _pumps(row.site)
        )
        recent = self._alerts.alerts(key.tenant, key.site, limit=20)
        closed = tuple(a for a in recent if not a.open)
        log = tuple(sorted(self._sites.log(key), key=lambda e: -e.t_ms)[:20])
        labels = self._alerts.labels(key.tenant, key.site)
        missed = tuple(a for a in newest(labels) if a.said is None)
        scores = label_scores(labels)
        return SiteView(row, now_ms, level, runs, capacity, span, closed, log, scores, missed, down)

    def level(
        self, key: SiteKey, start_ms: int, end_ms: int, points: int = LEVEL_POINTS
    ) -> LevelBand:
        """Downsampled level with its gaps. Raises `NotFound`, `StoreUnavailable`."""
        site = self._site(key)
        chunk = self._series.read_downsampled(key, "level_m", start_ms, end_ms, points)
        width_ms = bucket_grid(start_ms, end_ms, points).width_ms
        starts = tuple(int(t) for t in chunk.t_ms)
        patience_ms = max(2 * width_ms, 3 * round(1000 * (site.sample_s or 0.0)))
        return LevelBand(
            start_ms,
            end_ms,
            width_ms,
            starts,
            _floats(chunk, "min"),
            _floats(chunk, "mean"),
            _floats(chunk, "max"),
            _gaps(starts, start_ms, end_ms, patience_ms),
        )

    def samples(self, key: SiteKey, signal: str, start_ms: int, end_ms: int, points: int) -> Chunk:
        """One signal, downsampled: signals ``min``, ``mean``, ``max``. Raises `NotFound`."""
        self._site(key)
        return self._series.read_downsampled(key, signal, start_ms, end_ms, points)

    def cycles(self, key: SiteKey, start_ms: int, end_ms: int) -> list[CycleRow]:
        self._site(key)
        return self._alerts.cycles(key, start_ms, end_ms)

    def _runs(self, key: SiteKey, site: Site, start_ms: int, end_ms: int) -> tuple[PumpRuns, ...]:
        names = {pump: f"{pump}_run" for pump in _pumps(site)}
        chunk = self._series.read_raw(key, start_ms, end_ms, list(names.values()))
        patience_ms = max(5 * MINUTE_MS, 3 * round(1000 * (site.sample_s or 0.0)))
        return tuple(
            PumpRuns(pump, _run_spans(chunk, signal, patience_ms)) for pump, signal in names.items()
        )

    def _site(self, key: SiteKey) -> Site:
        site = self._sites.site(key)
        if site is None:
            raise NotFound(f"no station {key}", "see the list of stations")
        return site

    # -- alerts ---------------------------------------------------------------------------------

    def alerts(
        self, tenant: str | None = None, *, include_resolved: bool = True, limit: int = 200
    ) -> list[AlertItem]:
        """Every open one, most urgent first; then the closed ones, newest first.

        ``limit`` bounds the closed ones: nothing that is open is ever left out.
        """
        sites = self._sites.sites(tenant)
        found = [a for a in self._alerts.open_alerts() if tenant in (None, a.key.tenant)]
        found.sort(key=_alert_urgency)
        if include_resolved:
            recent = self._alerts.alerts(tenant, limit=limit)
            found += [a for a in recent if not a.open]
        return [AlertItem(a, sites.get(a.key) or Site(a.key.site), since_of(a)) for a in found]

    def alert(self, alert_id: str) -> AlertView:
        """Raises `NotFound`."""
        alert = self._alerts.alert(alert_id)
        if alert is None:
            raise NotFound(f"no alert {alert_id}", "see the list of alerts")
        known = self._sites.site(alert.key)
        site = known or Site(alert.key.site)
        rows, _ = self._rows({alert.key: site})
        return AlertView(
            alert,
            site,
            self._clock.now_ms(),
            since_of(alert),
            tuple(self._alerts.transitions(alert_id)),
            self._chart(alert, site),
            tuple(reversed(self._alerts.labels(subject=alert_id))),
            tuple(a for a in rows[0].alerts if a.id != alert.id),
            rows[0],
            retired=known is None and alert.key != HUB_KEY,
        )

    def labels(self, tenant: str | None = None) -> LabelsView:
        """What people found, and how right the alerts were by it."""
        labels, sites = self._alerts.labels(tenant), self._sites.sites(tenant)
        by_site = scores_by_site(labels).items()
        return LabelsView(
            label_scores(labels),
            tuple((key, sites.get(key) or Site(key.site), scores) for key, scores in by_site),
            tuple(newest(labels)),
        )

    def _chart(self, alert: Alert, site: Site) -> EvidenceChart:
        since_ms = since_of(alert)
        end_ms = min(self._clock.now_ms(), alert.resolved_ms or self._clock.now_ms())
        end_ms = max(end_ms, since_ms + MINUTE_MS)
        signs = signs_of(alert)
        if alert.kind is not Kind.CONDITION:
            span = Span(min(since_ms - 7 * DAY_MS, end_ms - 14 * DAY_MS), end_ms)
            cycles = self._alerts.cycles(alert.key, span.start_ms, span.end_ms)
            for sign in signs:
                feature = DRAWN_AS.get(sign.feature, sign.feature)
                normal = sign.normal if feature == sign.feature else None
                pumps = [sign.target] if sign.target else _pumps(site)
                series = tuple(
                    feature_series(cycles, site, pump, feature, normal) for pump in pumps
                )
                if any(len(s.t_ms) >= 3 for s in series):
                    return EvidenceChart(span, since_ms, sign, series)
        first = signs[0] if signs else None
        span = Span(since_ms - 6 * HOUR_MS, min(end_ms, since_ms + 6 * HOUR_MS))
        try:
            level = self.level(alert.key, span.start_ms, span.end_ms)
            runs = self._runs(alert.key, site, span.start_ms, span.end_ms)
        except (StoreUnavailable, NotFound):
            return EvidenceChart(span, since_ms, first)
        return EvidenceChart(span, since_ms, first, level=level, runs=runs)

    # -- the hub --------------------------------------------------------------------------------

    def held(self) -> list[HeldSite]:
        return sorted(self._sites.held(), key=lambda h: h.key)

    def health(self) -> HubStatus | None:
        return self._status.status() if self._status else None


def quiet_limit_ms(site: Site) -> int:
    """How old the last sample of a site may be before the site counts as silent [ms]."""
    return max(QUIET_MS, round(QUIET_SAMPLES * 1000 * (site.sample_s or 0.0)))


def since_of(alert: Alert) -> int:
    """When the trouble began, as the evidence says; else when the alert opened [ms]."""
    since = alert.evidence.get("since")
    if isinstance(since, str):
        try:
            return ms_from_iso(since)
        except ValueError:
            return alert.opened_ms
    return alert.opened_ms


def signs_of(alert: Alert) -> list[Sign]:
    """The signs in an alert's evidence, the one that deviates most first."""
    raw = alert.evidence.get("signs")
    signs = [_sign(entry) for entry in raw] if isinstance(raw, list) else []
    return sorted((s for s in signs if s), key=lambda s: -abs(s.deviation))


def _sign(raw: Json) -> Sign | None:
    if not isinstance(raw, dict) or not isinstance(raw.get("feature"), str):
        return None
    target = raw.get("target")
    return Sign(
        str(raw["feature"]),
        target if isinstance(target, str) else None,
        _number(raw.get("now")),
        _number(raw.get("normal")),
        _number(raw.get("deviation")) or 0.0,
    )


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _normal_of(alerts: Iterable[Alert], pump: str) -> float | None:
    """The capacity reference that an open alert judged this pump by [m3/s]."""
    signs = (s for alert in alerts for s in signs_of(alert))
    found = (s.normal for s in signs if s.feature == "capacity_m3s" and s.target == pump)
    return next((n for n in found if n is not None), None)


def _rank(attention: Attention) -> int:
    return attention.rank


def _alert_urgency(alert: Alert) -> tuple[int, bool, int]:
    return (-alert.severity.rank, alert.acknowledged_ms is not None, -alert.changed_ms)


def _urgency(row: StationRow) -> tuple[int, bool, str, SiteKey]:
    return (row.attention.rank, row.acknowledged, row.name, row.key)


def _pumps(site: Site) -> list[str]:
    return [f"pump{n}" for n in range(1, site.pumps + 1)]


def _floats(chunk: Chunk, name: str) -> tuple[float, ...]:
    return tuple(float(v) for v in chunk.signals.get(name, ()))


def _no_level(start_ms: int, end_ms: int) -> LevelBand:
    return LevelBand(start_ms, end_ms, end_ms - start_ms, (), (), (), (), ())


def _gaps(starts: Sequence[int], start_ms: int, end_ms: int, patience_ms: int) -> tuple[Span, ...]:
    """Stretches longer than ``patience_ms`` in which no bucket holds a value."""
    edges = [start_ms, *starts, end_ms]
    return tuple(Span(a, b) for a, b in pairwise(edges) if b - a > patience_ms)


def _run_spans(chunk: Chunk, signal: str, patience_ms: int) -> tuple[Span, ...]:
    """Stretches in which ``signal`` is on, from the first sample that says so to the first that
    does not; a gap longer than ``patience_ms`` ends the stretch at the last sample before it."""
    if signal not in chunk.signals:
        return ()
    told = ~np.isnan(chunk.signals[signal])
    t_ms, on = chunk.t_ms[told], chunk.signals[signal][told] >= 0.5
    if not on.any():
        return ()
    cut = np.diff(t_ms) > patience_ms
    edge = np.flatnonzero((np.diff(on) != 0) | cut) + 1
    begins = np.concatenate(([0], edge))
    ends = np.concatenate((edge, [len(on) - 1]))
    spans = []
    for begin, end in zip(begins, ends, strict=True):
        if on[begin]:
            torn = 0 < end < len(on) and end > begin and cut[end - 1]
            spans.append(Span(int(t_ms[begin]), int(t_ms[end - 1 if torn else end])))
    return tuple(spans)


def feature_series(
    cycles: Sequence[CycleRow], site: Site, pump: str, feature: str, normal: float | None
) -> FeatureSeries:
    """One feature of one pump over ``cycles``; ``normal`` is the reference it is drawn against."""
    points = [
        (c.start_ms, c.features[feature])
        for c in cycles
        if c.pump == pump and c.valid and feature in c.features
    ]
    zone = ZoneInfo(site.timezone)
    days: dict[int, list[float]] = {}
    for t_ms, value in points:
        days.setdefault(_noon_ms(t_ms, zone), []).append(value)
    return FeatureSeries(
        pump,
        feature,
        tuple(t for t, _ in points),
        tuple(v for _, v in points),
        tuple(days),
        tuple(median(values) for values in days.values()),
        normal,
    )


def _noon_ms(t_ms: int, zone: ZoneInfo) -> int:
    day = datetime.fromtimestamp(t_ms / 1000, zone)
    return round(day.replace(hour=12, minute=0, second=0, microsecond=0).timestamp() * 1000)
