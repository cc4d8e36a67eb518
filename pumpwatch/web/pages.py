"""The pages people look at. Everything works without a script; scripts only keep them fresh."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlencode

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from pumpwatch import __version__
from pumpwatch.alerting.i18n import LANGS, N_, Lang
from pumpwatch.domain.alerts import Step
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.keys import HUB_KEY, SiteKey
from pumpwatch.domain.labels import MAX_NOTE
from pumpwatch.domain.ports import DemoControls
from pumpwatch.domain.sites import Site
from pumpwatch.web import charts
from pumpwatch.web.approve import approve
from pumpwatch.web.deps import (
    MAX_NAME,
    TEMPLATES,
    WebDeps,
    actor_named,
    demo_of,
    deps_of,
    found_in,
    tell,
    tell_site,
)
from pumpwatch.web.language import YEAR_S, language_of, remember, words_in
from pumpwatch.web.live import clock_of
from pumpwatch.web.problems import Problem
from pumpwatch.web.security import check_form, form_token, keep_token
from pumpwatch.web.show import Show

NAME_COOKIE = "pumpwatch_name"
SPEEDS = (1, 60, 300, 600)

NOTICES = {
    "acknowledged": N_("Acknowledged. The others can see that you have it."),
    "already": N_("Somebody else acknowledged this alert before you. See below who."),
    "noted": N_("The note is saved."),
    "closed": N_("The alert is closed."),
    "not-closed": N_("This alert cannot be closed by hand. It is over, or ends by itself."),
    "nothing-said": N_("Write a few words first."),
    "found-saved": N_("What was found is saved."),
    "found-unclear": N_(
        "Choose what was found; for something else write a few words. It cannot lie in the future."
    ),
    "missed-saved": N_("The failure is written down."),
    "missed-known": N_(
        "It is written down already, or an alert told of it: answer that alert with what was found."
    ),
    "approved": N_("The station is approved. Its data appear within moments."),
    "fault-started": N_("The simulated fault has begun."),
    "fault-cleared": N_("The simulated fault is cleared."),
    "fault-unknown": N_("This fault cannot be started there. Choose another pump or fault."),
    "speed-set": N_("The speed is changed."),
    "promoted": N_("It is promoted and judges from the next midnight on."),
    "rolled-back": N_("The model before judges again from the next midnight on."),
    "model-gone": N_("Somebody else decided before you, or there is nothing to decide. See below."),
    "tuned": N_("The settings are saved as a new version."),
    "tuning-undone": N_("The earlier settings are back, as a new version."),
}
WORRIES = {
    "already", "not-closed", "nothing-said", "fault-unknown", "found-unclear", "missed-known",
    "model-gone",
}  # fmt: skip

router = APIRouter()
Deps = Annotated[WebDeps, Depends(deps_of)]
Name = Annotated[str, Form(max_length=MAX_NAME)]
Note = Annotated[str, Form(max_length=MAX_NOTE)]
Word = Annotated[str, Form(max_length=40)]


@router.get("/")
def fleet(request: Request, deps: Deps) -> Response:
    return page(request, "fleet.html", fleet=deps.queries.fleet())


@router.get("/sites/{tenant}/{site}")
def site(request: Request, deps: Deps, tenant: str, site: str) -> Response:
    view = deps.queries.site(SiteKey(tenant, site))
    return page(request, "site.html", view=view, site=view.row.site, visitor=visitor_of(request))


@router.get("/alerts")
def alerts(request: Request, deps: Deps) -> Response:
    items = deps.queries.alerts()
    now = [i for i in items if i.alert.open]
    over = [i for i in items if not i.alert.open]
    labels = deps.queries.labels()
    return page(request, "alerts.html", open_items=now, closed_items=over, labels=labels)


@router.get("/alerts/{alert_id}")
def alert(request: Request, deps: Deps, alert_id: str) -> Response:
    view = deps.queries.alert(alert_id)
    more: dict[str, Any] = {"site": view.site, "visitor": visitor_of(request)}
    more["own"] = view.alert.key == HUB_KEY
    return page(request, "alert.html", view=view, **more)


@router.post("/alerts/{alert_id}/acknowledge", dependencies=[Depends(check_form)])
def acknowledge(deps: Deps, alert_id: str, name: Name = "", note: Note = "") -> Response:
    try:
        changed = deps.alerts.acknowledge(alert_id, actor_named(name), note.strip())
        tell(deps, changed, Step.ACKNOWLEDGED)
        notice = "acknowledged"
    except Conflict:
        notice = "already"
    return remember_name(back(f"/alerts/{alert_id}", notice), name)


@router.post("/alerts/{alert_id}/note", dependencies=[Depends(check_form)])
def add_note(deps: Deps, alert_id: str, name: Name = "", note: Note = "") -> Response:
    try:
        changed = deps.alerts.add_note(alert_id, actor_named(name), note.strip())
        tell(deps, changed, Step.NOTE)
        notice = "noted"
    except InvalidInput:
        notice = "nothing-said"
    return remember_name(back(f"/alerts/{alert_id}", notice), name)


@router.post("/alerts/{alert_id}/resolve", dependencies=[Depends(check_form)])
def resolve(
    deps: Deps, alert_id: str, name: Name = "", note: Note = "",
    cause: Word = "", target: Word = "", at: Word = "",
) -> Response:  # fmt: skip
    try:
        site = deps.queries.alert(alert_id).site
        found = found_in(site, cause, target, at, note) if cause else None
        changed = deps.alerts.resolve(alert_id, actor_named(name), note.strip(), found)
        tell(deps, changed, Step.RESOLVED)
        notice = "closed"
    except Conflict:
        notice = "not-closed"
    except InvalidInput:
        notice = "found-unclear" if cause else "nothing-said"
    return remember_name(back(f"/alerts/{alert_id}", notice), name)


@router.post("/alerts/{alert_id}/found", dependencies=[Depends(check_form)])
def answer(
    deps: Deps, alert_id: str, name: Name = "", note: Note = "",
    cause: Word = "", target: Word = "", at: Word = "",
) -> Response:  # fmt: skip
    site = deps.queries.alert(alert_id).site
    notice = _answer(deps, alert_id, site, name, note, cause, target, at)
    return remember_name(back(f"/alerts/{alert_id}", notice), name)


@router.post("/sites/{tenant}/{site}/missed", dependencies=[Depends(check_form)])
def add_missed(
    deps: Deps, tenant: str, site: str, name: Name = "", note: Note = "",
    cause: Word = "", target: Word = "", at: Word = "",
) -> Response:  # fmt: skip
    key = SiteKey(tenant, site)
    known = deps.queries.station(key).site
    try:
        found = found_in(known, cause, target, at, note)
        deps.alerts.missed(key, actor_named(name), found)
        tell_site(deps, key)
        notice = "missed-saved"
    except Conflict:
        notice = "missed-known"
    except InvalidInput:
        notice = "found-unclear"
    return remember_name(back(f"/sites/{tenant}/{site}", notice, "#right"), name)


@router.post("/sites/{tenant}/{site}/missed/{subject}", dependencies=[Depends(check_form)])
def correct_missed(
    deps: Deps, tenant: str, site: str, subject: str, name: Name = "", note: Note = "",
    cause: Word = "", target: Word = "", at: Word = "",
) -> Response:  # fmt: skip
    known = deps.queries.station(SiteKey(tenant, site)).site
    notice = _answer(deps, subject, known, name, note, cause, target, at)
    return remember_name(back(f"/sites/{tenant}/{site}", notice, "#right"), name)


def _answer(
    deps: WebDeps, subject: str, site: Site, name: str, note: str, cause: str, target: str, at: str
) -> str:
    try:
        found = found_in(site, cause, target, at, note)
        label = deps.alerts.answer(subject, actor_named(name), found)
    except (Conflict, InvalidInput):
        return "found-unclear"
    tell_site(deps, label.key)
    return "found-saved"


@router.get("/status")
def status(request: Request, deps: Deps) -> Response:
    hub = deps.status.status() if deps.status else None
    told = deps.queries.alerts(HUB_KEY.tenant, include_resolved=False)
    return page(request, "status.html", hub=hub, told=told, held=deps.queries.held())


@router.post("/held/{tenant}/{site}/approve", dependencies=[Depends(check_form)])
def approve_site(
    deps: Deps,
    tenant: str,
    site: str,
    label: Annotated[str, Form(max_length=80)] = "",
    name: Name = "",
) -> Response:
    fields = {"name": label.strip()} if label.strip() else {}
    approve(deps, SiteKey(tenant, site), fields, actor_named(name))
    return back("/status", "approved")


@router.post("/demo/fault", dependencies=[Depends(check_form)])
def start_fault(
    demo: Annotated[DemoControls, Depends(demo_of)],
    station: Annotated[str, Form()],
    fault: Annotated[str, Form()],
    target: Annotated[str, Form()] = "",
) -> Response:
    # A fault of the whole station takes no pump; the form always has one chosen.
    for place in dict.fromkeys((target or None, None)):
        try:
            demo.start_fault(station, fault, place)
        except InvalidInput:
            continue
        return back("/", "fault-started", "#demo")
    return back("/", "fault-unknown", "#demo")


@router.post("/demo/fault/clear", dependencies=[Depends(check_form)])
def clear_fault(
    demo: Annotated[DemoControls, Depends(demo_of)],
    station: Annotated[str, Form()],
    fault: Annotated[str, Form()],
    target: Annotated[str, Form()] = "",
) -> Response:
    with suppress(NotFound, InvalidInput):  # somebody else was quicker
        demo.clear_fault(station, fault, target or None)
    return back("/", "fault-cleared", "#demo")


@router.post("/demo/speed", dependencies=[Depends(check_form)])
def set_speed(
    deps: Deps,
    demo: Annotated[DemoControls, Depends(demo_of)],
    speed: Annotated[float, Form(gt=0, le=3600)],
) -> Response:
    demo.set_speed(speed)
    deps.feed.publish("clock", clock_of(deps))
    return back("/", "speed-set", "#demo")


def error_page(request: Request, problem: Problem) -> Response:
    """A problem in the house's style; without data, so that it shows even when a store is away."""
    return page(request, "error.html", problem.status, problem=problem)


def page(request: Request, template: str, status: int = 200, **more: Any) -> Response:
    """A template as a page in the reader's language; ``more`` is what it shows."""
    deps = deps_of(request)
    tr = words_in(language_of(request))
    demo = deps.demo
    clock = clock_of(deps)
    notice = request.query_params.get("notice", "")
    body = TEMPLATES.get_template(template).render(
        _=tr.gettext,
        gettext=tr.gettext,
        ngettext=tr.ngettext,
        tr=tr,
        show=Show(tr, deps.word),
        charts=charts,
        lang=tr.lang,
        others=_other_languages(request, tr.lang),
        demo=demo,
        tunable=deps.tuning is not None,
        modelled=deps.models is not None,
        speeds=sorted({*SPEEDS, clock["speed"]}),
        clock=clock,
        event_id=deps.feed.last_id,
        token=form_token(request),
        path=request.url.path,
        notice=tr.gettext(NOTICES[notice]) if notice in NOTICES else "",
        worry=notice in WORRIES,
        version=__version__,
        **more,
    )
    response = HTMLResponse(body, status)
    response.headers["vary"] = "Accept-Language, Cookie"
    response.headers["content-language"] = tr.lang
    keep_token(request, response)
    remember(request, response)
    return response


def _other_languages(request: Request, lang: Lang) -> list[tuple[Lang, str]]:
    """The page's address in each other language."""
    kept = [(k, v) for k, v in request.query_params.multi_items() if k not in {"lang", "notice"}]
    return [(o, "?" + urlencode([*kept, ("lang", o)])) for o in LANGS if o != lang]


def back(path: str, notice: str, anchor: str = "") -> RedirectResponse:
    """Lead from a form to the page at ``path``, where ``notice`` (of `NOTICES`) is shown."""
    return RedirectResponse(f"{quote(path)}?{urlencode({'notice': notice})}{anchor}", 303)


def visitor_of(request: Request) -> str:
    """The name a visitor signed with last, '' before the first time."""
    return unquote(request.cookies.get(NAME_COOKIE, ""))[:MAX_NAME]


def remember_name(response: Response, name: str) -> Response:
    """Let the forms hold the name from now on."""
    if name.strip():
        response.set_cookie(
            NAME_COOKIE, quote(name.strip()), max_age=YEAR_S, httponly=True, samesite="lax"
        )
    return response
