"""The JSON API under ``/api/v1``. An operation's id is the name of its function."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from pumpwatch.domain.alerts import Step
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import InvalidInput, NotFound, PumpwatchError
from pumpwatch.domain.keys import HUB_KEY, SiteKey
from pumpwatch.domain.ports import Contact, DemoControls, HubStatus, StageAge
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.services.health import reasons
from pumpwatch.services.queries import AlertItem
from pumpwatch.web.approve import approve
from pumpwatch.web.deps import WebDeps, actor_named, demo_of, deps_of, tell, tell_site
from pumpwatch.web.language import translator_of
from pumpwatch.web.live import clock_of
from pumpwatch.web.problems import MEDIA_TYPE, Problem
from pumpwatch.web.schemas import (
    AlertDetail,
    AlertOut,
    AlertsOut,
    AnswerIn,
    CycleOut,
    CyclesOut,
    DemoOut,
    FaultIn,
    FaultOut,
    FleetOut,
    FoundIn,
    HeldList,
    HeldOut,
    LabelOut,
    LabelsOut,
    ResolveIn,
    SeriesOut,
    SiteOut,
    SpeedIn,
    StationOut,
    StatusOut,
    TransitionOut,
)

MAX_SPAN_MS = 400 * DAY_MS


def _said(meaning: str) -> dict[str, Any]:
    return {
        "description": meaning,
        "content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
    }


router = APIRouter(
    prefix="/api/v1",
    responses={
        404: _said("Nobody has that name"),
        409: _said("It was done already, or cannot be done now"),
        422: _said("Something sent cannot be used; `field` names it"),
        503: _said("A store does not answer; try again later"),
    },
)
health = APIRouter()
UNHEARD_TOLD = 100
Deps = Annotated[WebDeps, Depends(deps_of)]
Demo = Annotated[DemoControls, Depends(demo_of)]
Start = Annotated[int | None, Query(description="First moment [ms]; default: one day before end.")]
End = Annotated[int | None, Query(description="End, not included [ms]; default: now.")]


@router.get("/sites", tags=["sites"])
def list_sites(deps: Deps, tenant: str | None = None) -> FleetOut:
    """Every station, what needs attention first."""
    return FleetOut.of(deps.queries.fleet(tenant))


@router.get("/sites/{tenant}/{site}", tags=["sites"])
def get_site(deps: Deps, tenant: str, site: str) -> SiteOut:
    """One station: settings, newest row, open alerts, daily pumping capacity of 30 days."""
    return SiteOut.of_view(deps.queries.site(SiteKey(tenant, site)))


@router.get("/sites/{tenant}/{site}/series/{signal}", tags=["sites"])
def get_series(
    deps: Deps,
    tenant: str,
    site: str,
    signal: str,
    start_ms: Start = None,
    end_ms: End = None,
    points: Annotated[int, Query(ge=1, le=5_000)] = 500,
) -> SeriesOut:
    """One signal, downsampled to at most ``points`` buckets."""
    if signal not in SIGNALS:
        raise InvalidInput("signal", f"{signal!r} is unknown", "use a name of the nomenclature")
    span = _span(deps, start_ms, end_ms)
    chunk = deps.queries.samples(SiteKey(tenant, site), signal, *span, points)
    return SeriesOut(
        signal=signal,
        unit=SIGNALS[signal].unit,
        t_ms=chunk.t_ms.tolist(),
        **{name: list(chunk.signals.get(name, ())) for name in ("min", "mean", "max")},
    )


@router.get("/sites/{tenant}/{site}/cycles", tags=["sites"])
def get_cycles(
    deps: Deps, tenant: str, site: str, start_ms: Start = None, end_ms: End = None
) -> CyclesOut:
    """Cycles whose run began in the time asked for."""
    span = _span(deps, start_ms, end_ms)
    rows = deps.queries.cycles(SiteKey(tenant, site), *span)
    return CyclesOut(cycles=[CycleOut.of(row) for row in rows])


@router.get("/alerts", tags=["alerts"])
def list_alerts(
    deps: Deps,
    tenant: str | None = None,
    include_resolved: bool = False,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
) -> AlertsOut:
    """Open alerts, most urgent first; then, if asked for, those that are over."""
    items = deps.queries.alerts(tenant, include_resolved=include_resolved, limit=limit)
    return AlertsOut(alerts=[AlertOut.of(item.alert) for item in items])


@router.get("/alerts/{alert_id}", tags=["alerts"])
def get_alert(request: Request, deps: Deps, alert_id: str) -> AlertDetail:
    """One alert with its evidence and history, and its words in the language asked for."""
    return _detail(request, deps, alert_id)


@router.post("/alerts/{alert_id}/acknowledge", tags=["alerts"])
def acknowledge_alert(
    request: Request, deps: Deps, alert_id: str, answer: Annotated[AnswerIn, Body()]
) -> AlertDetail:
    """Take an alert. 409 when somebody already has it."""
    changed = deps.alerts.acknowledge(alert_id, actor_named(answer.name), answer.note.strip())
    tell(deps, changed, Step.ACKNOWLEDGED)
    return _detail(request, deps, alert_id)


@router.post("/alerts/{alert_id}/notes", tags=["alerts"])
def add_alert_note(
    request: Request, deps: Deps, alert_id: str, answer: Annotated[AnswerIn, Body()]
) -> AlertDetail:
    """Write a note into an alert's history."""
    changed = deps.alerts.add_note(alert_id, actor_named(answer.name), answer.note.strip())
    tell(deps, changed, Step.NOTE)
    return _detail(request, deps, alert_id)


@router.post("/alerts/{alert_id}/resolve", tags=["alerts"])
def resolve_alert(
    request: Request, deps: Deps, alert_id: str, answer: Annotated[ResolveIn, Body()]
) -> AlertDetail:
    """Close an alert; cause and note say what was found and done."""
    actor, note = actor_named(answer.name), answer.note.strip()
    changed = deps.alerts.resolve(alert_id, actor, note, answer.found())
    tell(deps, changed, Step.RESOLVED)
    return _detail(request, deps, alert_id)


@router.get("/labels", tags=["alerts"])
def list_labels(deps: Deps, tenant: str | None = None) -> LabelsOut:
    """What people found, and precision and recall of the alerts by it."""
    return LabelsOut.of(deps.queries.labels(tenant))


@router.post("/labels/{subject}", tags=["alerts"])
def add_label(deps: Deps, subject: str, answer: Annotated[FoundIn, Body()]) -> LabelOut:
    """Say, or say anew, what was found of an alert or of a failure without one.

    The earlier answers stay in the record."""
    label = deps.alerts.answer(subject, actor_named(answer.name), answer.found())
    tell_site(deps, label.key)
    return LabelOut.of(label)


@router.post("/sites/{tenant}/{site}/missed", tags=["sites"])
def add_missed_failure(
    deps: Deps, tenant: str, site: str, answer: Annotated[FoundIn, Body()]
) -> LabelOut:
    """Write down a failure that no alert told of; ``found_ms`` is when the station failed."""
    label = deps.alerts.missed(SiteKey(tenant, site), actor_named(answer.name), answer.found())
    tell_site(deps, label.key)
    return LabelOut.of(label)


@router.get("/held", tags=["sites"])
def list_held(deps: Deps) -> HeldList:
    """Stations that report and that nobody has approved."""
    return HeldList(held=[HeldOut.of(one) for one in deps.queries.held()])


@router.post("/held/{tenant}/{site}/approve", tags=["sites"])
def approve_held(
    deps: Deps, tenant: str, site: str, fields: Annotated[dict[str, Any], Body()]
) -> StationOut:
    """Take a held station in. The body holds fields of ``site.json``, or nothing: ``{}``."""
    key = SiteKey(tenant, site)
    approve(deps, key, fields, actor_named(""))
    return StationOut.of(deps.queries.station(key))


@router.get("/status", tags=["hub"])
def get_status(deps: Deps) -> StatusOut:
    """Health of the hub as ages, and its counters."""
    if deps.status is None:
        raise NotFound("these pages run apart from the hub", "ask the hub's own status")
    return StatusOut.of(deps.status.status())


@router.get("/demo", tags=["demo"])
def get_demo(demo: Demo) -> DemoOut:
    """The simulated fleet. 404 wherever data are real."""
    return DemoOut(
        speed=demo.speed(),
        fault_codes=demo.fault_codes(),
        active=[FaultOut.of(fault) for fault in demo.active_faults()],
    )


@router.post("/demo/faults", tags=["demo"])
def start_demo_fault(demo: Demo, fault: Annotated[FaultIn, Body()]) -> FaultOut:
    """Let something break on a simulated station."""
    return FaultOut.of(demo.start_fault(fault.site, fault.fault, fault.target))


@router.post("/demo/faults/clear", tags=["demo"])
def clear_demo_fault(demo: Demo, fault: Annotated[FaultIn, Body()]) -> DemoOut:
    """Repair it."""
    demo.clear_fault(fault.site, fault.fault, fault.target)
    return get_demo(demo)


@router.post("/demo/speed", tags=["demo"])
def set_demo_speed(deps: Deps, demo: Demo, wish: Annotated[SpeedIn, Body()]) -> DemoOut:
    """Let the time of the demo run faster or slower."""
    demo.set_speed(wish.speed)
    deps.feed.publish("clock", clock_of(deps))
    return get_demo(demo)


@health.get("/healthz", tags=["hub"])
def healthz() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@health.get("/readyz", tags=["hub"])
def readyz(deps: Deps) -> Response:
    """Whether the parts that are needed work; 503 names those that do not."""
    failed: list[str] = []
    told: list[AlertItem] = []
    try:
        if deps.queries.fleet().series_down:
            failed.append("series")
        told = deps.queries.alerts(HUB_KEY.tenant, include_resolved=False)
    except PumpwatchError:
        failed.append("ledger")
    hub = deps.status.status() if deps.status is not None else None
    stages = hub.stages if hub is not None else ()
    if hub is not None and not hub.broker_connected:
        failed.append("broker")
    failed += [age.stage for age in stages if age.is_late]
    failed += [item.alert.cause for item in told]
    answer: dict[str, Any] = {"ready": not failed, "failed": failed, "reasons": reasons(stages)}
    answer["alerts"] = [
        {"id": item.alert.id, "fault": item.alert.cause, "since_ms": item.since_ms} for item in told
    ]
    if hub is not None:
        answer["ages"] = {age.stage: _age(age, hub.now_ms) for age in stages}
        answer["stations"] = _stations(hub)
    return JSONResponse(answer, 503 if failed else 200)


def _stations(hub: HubStatus) -> dict[str, Any]:
    """How many stations are heard, and the ages of those that are not: theirs is no fault of the hub."""
    unheard = [site for site in hub.sites if site.contact is not Contact.HEARD]
    return {
        "heard": len(hub.sites) - len(unheard),
        **{str(c): sum(s.contact is c for s in unheard) for c in (Contact.MUTE, Contact.OFFLINE)},
        "unheard": [
            {
                "site": str(site.key),
                "contact": site.contact,
                "sample_s": _since(site.sample_ms, hub.now_ms),
                "received_s": _since(site.received_ms, hub.now_ms),
                "assessed_s": _since(site.assessed_ms, hub.now_ms),
            }
            for site in unheard[:UNHEARD_TOLD]
        ],
    }


def _since(t_ms: int | None, now_ms: int) -> float | None:
    return None if t_ms is None else max(0, now_ms - t_ms) / 1000


def _age(age: StageAge, now_ms: int) -> dict[str, float | None]:
    return {
        "done_s": _since(age.done_ms, now_ms),
        "waiting_s": age.waiting_ms / 1000,
        "bound_s": age.bound_ms / 1000,
    }


def _detail(request: Request, deps: WebDeps, alert_id: str) -> AlertDetail:
    view = deps.queries.alert(alert_id)
    words = deps.word(view.alert, view.site, translator_of(request))
    about = AlertOut.of(view.alert).model_dump()
    return AlertDetail(
        **about,
        evidence=dict(view.alert.evidence),
        transitions=[TransitionOut.of(t) for t in view.transitions],
        labels=[LabelOut.of(label) for label in view.labels],
        title=words.title,
        summary=words.summary,
        why=words.why,
        do=words.do,
        bring=words.bring,
        priority=words.priority,
        urgency=words.urgency,
        how_soon=words.how_soon,
        not_known=words.not_known,
    )


def _span(deps: WebDeps, start_ms: int | None, end_ms: int | None) -> tuple[int, int]:
    end = deps.clock.now_ms() if end_ms is None else end_ms
    start = end - 24 * HOUR_MS if start_ms is None else start_ms
    if not 0 < end - start <= MAX_SPAN_MS:
        raise InvalidInput("start_ms", "must lie before end_ms, by at most 400 days", "correct it")
    return start, end
