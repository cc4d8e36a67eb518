"""Tuning one station, as JSON. The command line answers in the same shapes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pumpwatch.alerting.i18n import Lang
from pumpwatch.diagnosis.knobs import KNOBS, Knob, Sort
from pumpwatch.diagnosis.tuning import MUTABLE, Difference, Tuning, tuning_from_dict
from pumpwatch.domain.alerts import Severity
from pumpwatch.domain.errors import NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.tuning import TuningVersion
from pumpwatch.services.tuning import (
    LONGEST_DAYS,
    MAX_REASON,
    SHORTEST_DAYS,
    TRIAL_DAYS,
    Budget,
    Event,
    Fate,
    Line,
    Preview,
    Told,
    TuningService,
    TuningView,
)
from pumpwatch.web.api import router as api
from pumpwatch.web.deps import MAX_NAME, WebDeps, actor_named, deps_of, tell_site
from pumpwatch.web.language import language_of

# -- what is sent ----------------------------------------------------------------------------------


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SpanIn(_Sent):
    start_ms: int
    end_ms: int = Field(description="Not included.")


class SettingsIn(_Sent):
    """All that differs at the station: what is left out is as everywhere."""

    set: dict[str, JsonValue] = Field({}, description="Knob by name → its value.")
    muted: list[str] = Field([], description="Causes that call nobody; they stay on record.")
    excluded: list[SpanIn] = Field([], description="Spans that are neither judged nor learnt from.")

    def tuning(self) -> Tuning:
        """Raises `InvalidInput` naming what cannot be used."""
        return tuning_from_dict(self.model_dump())


class PreviewIn(_Sent):
    settings: SettingsIn
    days: int = Field(
        TRIAL_DAYS, ge=SHORTEST_DAYS, le=LONGEST_DAYS, description="How far back to try it."
    )


class SaveIn(_Sent):
    settings: SettingsIn
    reason: str = Field(max_length=MAX_REASON)
    name: str = Field("", max_length=MAX_NAME)
    from_ms: int | None = Field(None, description="When it takes effect; default: now.")
    based_on: int | None = Field(
        None, description="The version its author saw; 409 when it changed."
    )


class UndoIn(_Sent):
    reason: str = Field(max_length=MAX_REASON)
    name: str = Field("", max_length=MAX_NAME)
    to: int | None = Field(None, description="Version to bring back; 0: as everywhere.")


# -- what is answered ------------------------------------------------------------------------------


class KnobOut(BaseModel):
    name: str
    sort: Sort
    unit: str
    low: float
    high: float
    whole: bool
    default: float | bool = Field(description="What every station has.")
    value: float | bool | None = Field(description="What this station has; null: as everywhere.")
    label: str
    raising: str = Field(description="What a higher value does.")

    @classmethod
    def of(cls, knob: Knob, view: TuningView, lang: Lang) -> KnobOut:
        return cls(
            name=knob.name,
            sort=knob.sort,
            unit=getattr(knob.unit, lang),
            low=knob.low,
            high=knob.high,
            whole=knob.whole,
            default=getattr(view.base, knob.name),
            value=view.tuning.values.get(knob.name),
            label=getattr(knob.label, lang),
            raising=getattr(knob.raising, lang),
        )


class VersionOut(BaseModel):
    n: int
    effective_ms: int = Field(description="Samples from here on are judged by it.")
    made_ms: int
    actor: str
    reason: str
    settings: dict[str, JsonValue]
    restores: int | None = Field(description="The version it brings back; 0: as everywhere.")

    @classmethod
    def of(cls, version: TuningVersion) -> VersionOut:
        return cls(
            n=version.n,
            effective_ms=version.effective_ms,
            made_ms=version.made_ms,
            actor=version.actor.id,
            reason=version.reason,
            settings=dict(version.settings),
            restores=version.restores,
        )


class TuningOut(BaseModel):
    tenant: str
    site: str
    newest: int = Field(description="Number of the newest version; 0: none.")
    in_force: int = Field(
        description="Number of the version samples of now are judged by; 0: none."
    )
    settings: dict[str, JsonValue] = Field(description="Of the newest version.")
    knobs: list[KnobOut]
    causes: list[str] = Field(description="Causes that may be muted.")
    versions: list[VersionOut] = Field(description="Oldest first.")

    @classmethod
    def of(cls, view: TuningView, lang: Lang) -> TuningOut:
        return cls(
            **view.key._asdict(),
            newest=view.newest.n if view.newest else 0,
            in_force=view.in_force.n if view.in_force else 0,
            settings=view.tuning.to_dict(),
            knobs=[KnobOut.of(knob, view, lang) for knob in KNOBS.values()],
            causes=list(MUTABLE),
            versions=[VersionOut.of(version) for version in view.versions],
        )


class DifferenceOut(BaseModel):
    what: str = Field(description="A knob, or muted, or excluded.")
    before: JsonValue = Field(description="null: as everywhere.")
    after: JsonValue

    @classmethod
    def of(cls, difference: Difference) -> DifferenceOut:
        what, *sides = difference
        before, after = (side._asdict() if isinstance(side, tuple) else side for side in sides)
        return cls(what=what, before=before, after=after)


class DifferencesOut(BaseModel):
    differences: list[DifferenceOut]


class ToldOut(BaseModel):
    opened_ms: int
    over_ms: int | None
    severity: Severity
    fault: list[str]
    target: str | None

    @classmethod
    def of(cls, told: Told | None) -> ToldOut | None:
        return None if told is None else cls(**{**told._asdict(), "fault": list(told.fault)})


class LineOut(BaseModel):
    fate: Fate
    before: ToldOut | None
    after: ToldOut | None

    @classmethod
    def of(cls, line: Line) -> LineOut:
        return cls(fate=line.fate, before=ToldOut.of(line.before), after=ToldOut.of(line.after))


class EventOut(BaseModel):
    at_ms: int
    found: str | None
    target: str | None
    note: str
    lead_before_ms: int | None = Field(
        description="How long before it an alert said so; null: not."
    )
    lead_after_ms: int | None

    @classmethod
    def of(cls, event: Event) -> EventOut:
        failure = event.failure
        return cls(
            at_ms=failure.failed_ms,
            found=failure.found,
            target=failure.target,
            note=failure.note,
            lead_before_ms=event.lead_before_ms,
            lead_after_ms=event.lead_after_ms,
        )


class BudgetOut(BaseModel):
    """Alerts that speak of nothing known to have happened, per site-month of 30.44 days."""

    goal: float
    before: float
    after: float
    fleet_before: float
    fleet_after: float
    kept: bool = Field(description="Whether the fleet stays within the goal with the change.")

    @classmethod
    def of(cls, budget: Budget) -> BudgetOut:
        return cls(
            goal=budget.goal,
            before=budget.rate_before,
            after=budget.rate_after,
            fleet_before=budget.fleet_before,
            fleet_after=budget.fleet_after,
            kept=budget.kept,
        )


class PreviewOut(BaseModel):
    tenant: str
    site: str
    settings: dict[str, JsonValue]
    changes: list[DifferenceOut]
    start_ms: int
    known_ms: int = Field(description="Alerts and events are counted from here on.")
    end_ms: int
    rows: int
    vanishes: int
    appears: int
    stays: int
    alerts: list[LineOut]
    events: list[EventOut]
    foreseen_before: int
    foreseen_after: int
    budget: BudgetOut

    @classmethod
    def of(cls, preview: Preview) -> PreviewOut:
        return cls(
            **preview.key._asdict(),
            settings=preview.tuning.to_dict(),
            changes=[DifferenceOut.of(change) for change in preview.changes],
            start_ms=preview.start_ms,
            known_ms=preview.known_ms,
            end_ms=preview.end_ms,
            rows=preview.rows,
            **{str(fate): preview.count(fate) for fate in Fate},
            alerts=[LineOut.of(line) for line in preview.lines],
            events=[EventOut.of(event) for event in preview.events],
            foreseen_before=preview.foreseen_before,
            foreseen_after=preview.foreseen_after,
            budget=BudgetOut.of(preview.budget),
        )


# -- the operations --------------------------------------------------------------------------------


def tuning_of(request: Request) -> TuningService:
    """Raises `NotFound` where pages run without one."""
    service = deps_of(request).tuning
    if service is None:
        raise NotFound("stations cannot be tuned from here", "use the hub's own pages")
    return service


router = APIRouter(
    prefix="/api/v1/sites/{tenant}/{site}/tuning", tags=["tuning"], responses=api.responses
)
Deps = Annotated[WebDeps, Depends(deps_of)]
Service = Annotated[TuningService, Depends(tuning_of)]
Version = Annotated[int, Query(ge=0, description="Number of a version; 0: as everywhere.")]


@router.get("")
def get_tuning(request: Request, service: Service, tenant: str, site: str) -> TuningOut:
    """A station's own settings, what may be set, and every version there was."""
    return TuningOut.of(service.view(SiteKey(tenant, site)), language_of(request))


@router.post("/preview")
def preview_tuning(
    service: Service, tenant: str, site: str, wish: Annotated[PreviewIn, Body()]
) -> PreviewOut:
    """Which past alerts a change would have added and taken away, what of that was needed, and the
    alert budget. Changes nothing."""
    found = service.preview(SiteKey(tenant, site), wish.settings.tuning(), days=wish.days)
    return PreviewOut.of(found)


@router.post("")
def save_tuning(
    deps: Deps, service: Service, tenant: str, site: str, wish: Annotated[SaveIn, Body()]
) -> VersionOut:
    """Save the settings as a new version. 409 when somebody saved since ``based_on``."""
    key = SiteKey(tenant, site)
    made = service.save(
        key,
        wish.settings.tuning(),
        wish.reason,
        actor_named(wish.name),
        from_ms=wish.from_ms,
        based_on=wish.based_on,
    )
    tell_site(deps, key)
    return VersionOut.of(made)


@router.post("/undo")
def undo_tuning(
    deps: Deps, service: Service, tenant: str, site: str, wish: Annotated[UndoIn, Body()]
) -> VersionOut:
    """Bring an earlier version back, as a new one; by default what the newest replaced."""
    key = SiteKey(tenant, site)
    made = service.undo(key, wish.reason, actor_named(wish.name), to=wish.to)
    tell_site(deps, key)
    return VersionOut.of(made)


@router.get("/compare")
def compare_tunings(
    service: Service, tenant: str, site: str, a: Version, b: Version
) -> DifferencesOut:
    """What version ``b`` changes of version ``a``."""
    found: list[Any] = service.compare(SiteKey(tenant, site), a, b)
    return DifferencesOut(differences=[DifferenceOut.of(one) for one in found])
