"""What the JSON API says. Times are epoch milliseconds, UTC; the rest is SI, units in the names."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field, JsonValue

from pumpwatch.domain.alerts import Alert, Kind, Severity, Step, Transition
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.labels import Found, Label
from pumpwatch.domain.ports import ActiveFault, HeldSite, HubStatus
from pumpwatch.domain.proofs import Proof
from pumpwatch.services.label_scores import LabelScores, Share
from pumpwatch.services.queries import (
    Attention,
    Fleet,
    LabelsView,
    SiteView,
    StationRow,
    since_of,
)


class AlertOut(BaseModel):
    id: str
    tenant: str
    site: str
    kind: Kind
    severity: Severity
    fault: list[str] = Field(description="Fault codes, most likely first.")
    target: str | None
    score: float
    cause: str
    since_ms: int
    opened_ms: int
    changed_ms: int
    acknowledged_ms: int | None
    acknowledged_by: str | None
    resolved_ms: int | None

    @classmethod
    def of(cls, alert: Alert, **more: Any) -> AlertOut:
        return cls(
            id=alert.id,
            tenant=alert.key.tenant,
            site=alert.key.site,
            kind=alert.kind,
            severity=alert.severity,
            fault=list(alert.fault),
            target=alert.target,
            score=alert.score,
            cause=alert.cause,
            since_ms=since_of(alert),
            opened_ms=alert.opened_ms,
            changed_ms=alert.changed_ms,
            acknowledged_ms=alert.acknowledged_ms,
            acknowledged_by=alert.acknowledged_by,
            resolved_ms=alert.resolved_ms,
            **more,
        )


class TransitionOut(BaseModel):
    n: int
    step: Step
    t_ms: int
    recorded_ms: int
    actor: str
    severity: Severity
    fault: list[str]
    why: str = Field(description="What a person said; 'held: weather' of the system's own.")

    @classmethod
    def of(cls, t: Transition) -> TransitionOut:
        return cls(
            n=t.n,
            step=t.step,
            t_ms=t.t_ms,
            recorded_ms=t.recorded_ms,
            actor=t.actor.id,
            severity=t.severity,
            fault=list(t.fault),
            why=t.why,
        )


class LabelOut(BaseModel):
    """One answer to "what was found?"."""

    subject: str = Field(description="The alert, or a failure nobody was told of.")
    n: int = Field(description="Number of the answer; the highest of a subject counts.")
    tenant: str
    site: str
    cause: str
    target: str | None
    note: str
    found_ms: int = Field(description="When it was found, or when the station failed.")
    recorded_ms: int
    actor: str
    alerted: bool = Field(description="Whether an alert told of it.")
    said: str | None = Field(description="The fault that the alert named first.")

    @classmethod
    def of(cls, label: Label) -> LabelOut:
        return cls(
            subject=label.subject,
            n=label.n,
            **label.key._asdict(),
            cause=label.cause,
            target=label.target,
            note=label.note,
            found_ms=label.found_ms,
            recorded_ms=label.recorded_ms,
            actor=label.actor.id,
            alerted=label.said is not None,
            said=None if label.said is None else label.said.fault,
        )


class ShareOut(BaseModel):
    hits: int
    n: int
    share: float | None = Field(description="null where nothing is known yet.")
    low: float | None = Field(description="Lower end of Wilson's 95 % interval.")
    high: float | None

    @classmethod
    def of(cls, share: Share) -> ShareOut:
        low, high = share.interval or (None, None)
        return cls(hits=share.hits, n=share.n, share=share.value, low=low, high=high)


class LabelScoresOut(BaseModel):
    precision: ShareOut = Field(description="Confirmed of the answered alerts, notices apart.")
    named: ShareOut = Field(description="Confirmed alerts that had named what was found.")
    recall: ShareOut = Field(description="Failures told of, of these and the missed ones.")

    @classmethod
    def of(cls, scores: LabelScores, **more: Any) -> LabelScoresOut:
        return cls(
            precision=ShareOut.of(scores.precision),
            named=ShareOut.of(scores.named),
            recall=ShareOut.of(scores.recall),
            **more,
        )


class SiteScoresOut(LabelScoresOut):
    tenant: str
    site: str


class LabelsOut(BaseModel):
    """How right the alerts were, by what people found."""

    fleet: LabelScoresOut
    sites: list[SiteScoresOut]
    labels: list[LabelOut] = Field(description="The answers that count, the latest found first.")

    @classmethod
    def of(cls, view: LabelsView) -> LabelsOut:
        return cls(
            fleet=LabelScoresOut.of(view.scores),
            sites=[
                SiteScoresOut(**LabelScoresOut.of(scores).model_dump(), **key._asdict())
                for key, _, scores in view.by_site
            ],
            labels=[LabelOut.of(label) for label in view.labels],
        )


class AlertDetail(AlertOut):
    labels: list[LabelOut] = Field(description="What people found, the newest answer first.")
    evidence: dict[str, JsonValue]
    transitions: list[TransitionOut]
    title: str
    summary: str
    why: list[str]
    do: list[str]
    bring: list[str]
    priority: str = Field(description="P1 go now, P2 within hours, P3 by day, P4 for information.")
    urgency: str
    how_soon: str = Field(
        description="The predicted time to breakdown in words; '' if no question."
    )
    not_known: list[str] = Field(description="What would tell more, and is not measured.")


class StationOut(BaseModel):
    tenant: str
    site: str
    name: str
    attention: Attention
    silent: bool
    last_ms: int | None = Field(description="Time of the newest sample.")
    values: dict[str, float]
    running: list[str]
    unproven: list[str] = Field(
        description="Pumps without a valid draw-down for diagnosis.proof_days."
    )
    alerts: list[AlertOut]

    @classmethod
    def of(cls, row: StationRow, **more: Any) -> StationOut:
        return cls(
            tenant=row.key.tenant,
            site=row.key.site,
            name=row.name,
            attention=row.attention,
            silent=row.silent,
            last_ms=row.last_ms,
            values=dict(row.values),
            running=list(row.running),
            unproven=list(row.unproven),
            alerts=[AlertOut.of(a) for a in row.alerts],
            **more,
        )


class FleetOut(BaseModel):
    now_ms: int
    counts: dict[str, int]
    held: int
    series_down: str = Field(description="Why newest values are missing; '' when they are not.")
    stations: list[StationOut] = Field(description="What needs attention first.")

    @classmethod
    def of(cls, fleet: Fleet) -> FleetOut:
        return cls(
            now_ms=fleet.now_ms,
            counts={str(state): n for state, n in fleet.counts.items()},
            held=fleet.held,
            series_down=fleet.series_down,
            stations=[StationOut.of(row) for row in fleet.rows],
        )


class ProofOut(BaseModel):
    subject: str = Field(description="A pump, or level:float, level:knee, level:volume.")
    proven_ms: int | None = Field(description="The last proof; null: none yet.")
    checked_ms: int = Field(description="The last look, a proof or not.")
    measured: float | None = Field(description="Level of float or knee [m], flow [m3/s].")
    expected: float | None

    @classmethod
    def of(cls, proof: Proof) -> ProofOut:
        return cls(
            subject=proof.subject,
            proven_ms=proof.proven_ms,
            checked_ms=proof.checked_ms,
            measured=proof.measured,
            expected=proof.expected,
        )


class CapacityOut(BaseModel):
    pump: str
    normal_m3s: float | None
    day_ms: list[int] = Field(description="Noon of each site-local day.")
    median_m3s: list[float]


class SiteOut(StationOut):
    settings: dict[str, JsonValue] = Field(description="The fields of site.json.")
    capacity: list[CapacityOut]
    proofs: list[ProofOut]

    @classmethod
    def of_view(cls, view: SiteView) -> SiteOut:
        capacity = [
            CapacityOut(
                pump=s.pump,
                normal_m3s=s.normal,
                day_ms=list(s.day_ms),
                median_m3s=list(s.day_median),
            )
            for s in view.capacity
        ]
        station = StationOut.of(view.row).model_dump()
        proofs = [ProofOut.of(proof) for proof in view.row.proofs]
        return cls(**station, settings=view.row.site.to_dict(), capacity=capacity, proofs=proofs)


class SeriesOut(BaseModel):
    signal: str
    unit: str
    t_ms: list[int] = Field(description="Starts of the buckets; one without a value is absent.")
    min: list[float]
    mean: list[float]
    max: list[float]


class CycleOut(BaseModel):
    start_ms: int
    end_ms: int
    pump: str
    reason: str = Field(description="Why the cycle does not judge its pump; '' when it does.")
    features: dict[str, float]

    @classmethod
    def of(cls, row: CycleRow) -> CycleOut:
        return cls(
            start_ms=row.start_ms,
            end_ms=row.end_ms,
            pump=row.pump,
            reason=row.reason,
            features=dict(row.features),
        )


class AlertsOut(BaseModel):
    alerts: list[AlertOut]


class CyclesOut(BaseModel):
    cycles: list[CycleOut]


class HeldOut(BaseModel):
    tenant: str
    site: str
    first_ms: int
    last_ms: int
    messages: int
    signals: list[str]

    @classmethod
    def of(cls, held: HeldSite) -> HeldOut:
        return cls(
            tenant=held.key.tenant,
            site=held.key.site,
            first_ms=held.first_ms,
            last_ms=held.last_ms,
            messages=held.messages,
            signals=list(held.birth.signals) if held.birth else [],
        )


class HeldList(BaseModel):
    held: list[HeldOut]


class StatusOut(BaseModel):
    now_ms: int
    started_ms: int
    broker_connected: bool
    last_message_ms: int | None
    last_commit_ms: int | None
    last_assess_ms: int | None
    last_series_write_ms: int | None
    last_notification_ms: int | None
    inbox_lag: dict[str, int]
    counters: dict[str, int]
    problems: list[str]

    @classmethod
    def of(cls, hub: HubStatus) -> StatusOut:
        return cls(
            now_ms=hub.now_ms,
            started_ms=hub.started_ms,
            broker_connected=hub.broker_connected,
            last_message_ms=hub.last_message_ms,
            last_commit_ms=hub.last_commit_ms,
            last_assess_ms=hub.last_assess_ms,
            last_series_write_ms=hub.last_series_write_ms,
            last_notification_ms=hub.last_notification_ms,
            inbox_lag=dict(hub.inbox_lag),
            counters=dict(hub.counters),
            problems=list(hub.problems),
        )


class FaultOut(BaseModel):
    site: str
    fault: str
    target: str | None
    since_ms: int

    @classmethod
    def of(cls, fault: ActiveFault) -> FaultOut:
        return cls(site=fault.site, fault=fault.fault, target=fault.target, since_ms=fault.since_ms)


class DemoOut(BaseModel):
    speed: float = Field(description="How many times faster than life the time runs.")
    fault_codes: list[str]
    active: list[FaultOut]


class AnswerIn(BaseModel):
    """Who does it, and a word about it."""

    name: str = Field("", max_length=40)
    note: str = Field("", max_length=1_000)


class FoundIn(AnswerIn):
    """What was found: a fault code, ``nothing_found``, or ``other`` with words."""

    cause: str
    target: str | None = Field(None, description="pump1 …; null: the station.")
    found_ms: int | None = Field(None, description="When; default: now.")

    def found(self) -> Found:
        return Found(self.cause, self.target, self.note, self.found_ms)


class ResolveIn(AnswerIn):
    """Who closes it, in which words, and what was found."""

    cause: str | None = Field(
        None, description="A fault code, nothing_found or other; without it the note is needed."
    )
    target: str | None = Field(None, description="pump1 …; null: the station.")
    found_ms: int | None = Field(None, description="When it was found; default: now.")

    def found(self) -> Found | None:
        if self.cause is None:
            return None
        return Found(self.cause, self.target, self.note, self.found_ms)


class FaultIn(BaseModel):
    site: str
    fault: str
    target: str | None = None


class SpeedIn(BaseModel):
    speed: float = Field(gt=0, le=3600)
