"""The page on which an engineer tunes one station: try, see, save with a reason, compare, take back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from pumpwatch.alerting.i18n import N_, Translator
from pumpwatch.alerting.signs import pump_name
from pumpwatch.alerting.wording import fault_title
from pumpwatch.diagnosis.knobs import KNOBS, SORTS, Knob
from pumpwatch.diagnosis.tuning import (
    LONGEST_EXCLUDED_MS,
    MUTABLE,
    Difference,
    Exclusion,
    Tuning,
    tuning_from_dict,
)
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.sites import Site, SiteMode
from pumpwatch.domain.tuning import TuningVersion
from pumpwatch.services.failure_log import Failure
from pumpwatch.services.tuning import (
    LONGEST_DAYS,
    MAX_REASON,
    SHORTEST_DAYS,
    TRIAL_DAYS,
    Event,
    Fate,
    Preview,
    Told,
    TuningService,
    TuningView,
    span,
)
from pumpwatch.web.deps import MAX_NAME, WebDeps, actor_named, deps_of, tell_site
from pumpwatch.web.language import translator_of
from pumpwatch.web.pages import back, page, remember_name, visitor_of
from pumpwatch.web.security import check_form
from pumpwatch.web.tuning_api import tuning_of

BLANK_SPANS = 2
"""So many empty lines for spans are offered beside those that are excluded."""

_SORTS = {
    "threshold": N_("Thresholds"),
    "delay": N_("Delays"),
    "switch": N_("Comparisons"),
}
_FATES = {
    Fate.VANISHES: N_("would vanish"),
    Fate.APPEARS: N_("would appear"),
    Fate.STAYS: N_("would stay"),
}

router = APIRouter(prefix="/sites/{tenant}/{site}/tuning")
Deps = Annotated[WebDeps, Depends(deps_of)]
Service = Annotated[TuningService, Depends(tuning_of)]
Text = Annotated[str, Form(max_length=MAX_REASON)]
Name = Annotated[str, Form(max_length=MAX_NAME)]
Version = Annotated[int | None, Query(ge=0)]


async def form_of(request: Request) -> FormData:
    return await request.form()


@router.get("")
def show(
    request: Request,
    service: Service,
    tenant: str,
    site: str,
    a: Version = None,
    b: Version = None,
) -> Response:
    key = SiteKey(tenant, site)
    view = service.view(key)
    compared = None if a is None or b is None else service.compare(key, a, b)
    return _page(request, view, view.tuning, compared=compared, sides=(a, b))


@router.post("/preview", dependencies=[Depends(check_form)])
def preview(
    request: Request,
    service: Service,
    tenant: str,
    site: str,
    form: Annotated[FormData, Depends(form_of)],
) -> Response:
    view = service.view(SiteKey(tenant, site))
    tuning = view.tuning
    try:
        tuning = _asked(form, view.site)
        found = service.preview(view.key, tuning, days=_days(form))
    except (InvalidInput, NotFound, Conflict) as error:
        return _page(request, view, tuning, sent=form, refused=error)
    return _page(request, view, tuning, sent=form, found=found)


@router.post("/save", dependencies=[Depends(check_form)])
def save(
    request: Request,
    deps: Deps,
    service: Service,
    tenant: str,
    site: str,
    settings: Annotated[str, Form()],
    based_on: Annotated[int, Form()],
    reason: Text = "",
    name: Name = "",
) -> Response:
    key = SiteKey(tenant, site)
    view = service.view(key)
    tuning = _carried(settings)
    try:
        service.save(key, tuning, reason, actor_named(name), based_on=based_on)
    except (InvalidInput, Conflict) as error:
        return _page(request, view, tuning, refused=error)
    tell_site(deps, key)
    return remember_name(back(_path(key), "tuned"), name)


@router.post("/undo", dependencies=[Depends(check_form)])
def undo(
    request: Request,
    deps: Deps,
    service: Service,
    tenant: str,
    site: str,
    to: Annotated[int, Form()],
    reason: Text = "",
    name: Name = "",
) -> Response:
    key = SiteKey(tenant, site)
    view = service.view(key)
    try:
        service.undo(key, reason, actor_named(name), to=to)
    except (InvalidInput, NotFound) as error:
        return _page(request, view, view.tuning, refused=error)
    tell_site(deps, key)
    return remember_name(back(_path(key), "tuning-undone"), name)


@router.get("/preview")
@router.get("/save")
@router.get("/undo")
def begin_anew(request: Request, tenant: str, site: str) -> Response:
    """An address that only takes forms, opened: by a change of language, or from a history."""
    return RedirectResponse(f"{_path(SiteKey(tenant, site))}?{request.url.query}", 303)


# -- what was sent ---------------------------------------------------------------------------------


def _asked(form: FormData, site: Site) -> Tuning:
    """The settings a form asks for. Raises `InvalidInput` naming the field."""
    values = {name: text for name in KNOBS if (text := _text(form, f"v-{name}"))}
    spans = [span(begin, end, site)._asdict() for begin, end in _spans(form)]
    muted = [str(code) for code in form.getlist("muted")]
    return tuning_from_dict({"set": values, "muted": muted, "excluded": spans})


def _days(form: FormData) -> int:
    text = _text(form, "days")
    if not text.isdecimal():
        raise InvalidInput("days", f"{text!r} is no number of days", "give a whole number")
    return int(text)


def _spans(form: FormData) -> list[tuple[str, str]]:
    """Beginning and end of each line that is not blank."""
    lines = sorted({name.partition("-")[2] for name in form if name.startswith(("from-", "to-"))})
    pairs = [(_text(form, f"from-{n}"), _text(form, f"to-{n}")) for n in lines]
    return [pair for pair in pairs if any(pair)]


def _text(form: FormData, name: str) -> str:
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


def _carried(settings: str) -> Tuning:
    """What the form of a result carried along. Raises `InvalidInput`."""
    try:
        raw = json.loads(settings)
        if not isinstance(raw, dict):
            raise ValueError
    except ValueError:
        raise InvalidInput("settings", "cannot be read", "try the change again") from None
    return tuning_from_dict(raw)


def _path(key: SiteKey) -> str:
    return f"/sites/{key.tenant}/{key.site}/tuning"


# -- what is shown ---------------------------------------------------------------------------------


def _page(
    request: Request,
    view: TuningView,
    tuning: Tuning,
    *,
    sent: FormData | None = None,
    found: Preview | None = None,
    refused: InvalidInput | Conflict | NotFound | None = None,
    compared: Sequence[Difference] | None = None,
    sides: tuple[int | None, int | None] = (None, None),
) -> Response:
    words = Words(translator_of(request), view)
    status = {InvalidInput: 422, Conflict: 409, NotFound: 404}[type(refused)] if refused else 200
    return page(
        request,
        "tuning.html",
        status,
        view=view,
        site=view.site,
        words=words,
        fields=Fields(view.site, tuning, sent),
        knobs=[(words.sort(sort), [k for k in KNOBS.values() if k.sort == sort]) for sort in SORTS],
        causes=MUTABLE,
        found=found,
        settings=json.dumps(found.tuning.to_dict()) if found else "",
        refusal=words.refusal(refused) if refused else "",
        compared=compared,
        sides=sides,
        visitor=visitor_of(request),
        recording=view.site.mode is SiteMode.RECORDING,
        fates=Fate,
        days=(SHORTEST_DAYS, LONGEST_DAYS),
        max_reason=MAX_REASON,
    )


@dataclass(frozen=True, slots=True)
class Fields:
    """What stands in the fields: what was sent, however wrong, else what is set."""

    site: Site
    tuning: Tuning
    sent: FormData | None

    def value(self, knob: Knob) -> str:
        if self.sent is not None:
            return _text(self.sent, f"v-{knob.name}")
        value = self.tuning.values.get(knob.name)
        if value is None:
            return ""
        return ("off", "on")[value] if isinstance(value, bool) else f"{value:g}"

    def muted(self, code: str) -> bool:
        sent = self.sent
        return code in (self.tuning.muted if sent is None else sent.getlist("muted"))

    def any_of(self, group: Sequence[Knob]) -> bool:
        return any(self.value(knob) for knob in group)

    @property
    def any_muted(self) -> bool:
        return any(self.muted(code) for code in MUTABLE)

    @property
    def spans(self) -> list[tuple[str, str]]:
        """Beginnings and ends on the station's clock, with some blank ones."""
        if self.sent is None:
            shown = [(self._clock(e.start_ms), self._clock(e.end_ms)) for e in self.tuning.excluded]
        else:
            shown = _spans(self.sent)
        return shown + [("", "")] * BLANK_SPANS

    @property
    def days(self) -> str:
        return str(TRIAL_DAYS) if self.sent is None else _text(self.sent, "days")

    def _clock(self, t_ms: int) -> str:
        at = datetime.fromtimestamp(t_ms / 1000, ZoneInfo(self.site.timezone))
        return at.strftime("%Y-%m-%dT%H:%M")


@dataclass(frozen=True, slots=True)
class Words:
    """What the template asks for a word, in one language and on the station's clock."""

    tr: Translator
    view: TuningView

    def say(self, words: Any) -> str:
        """One of the texts that a knob brings along in both languages."""
        text: str = getattr(words, self.tr.lang)
        return text

    def sort(self, sort: str) -> str:
        return self.tr.gettext(_SORTS[sort])

    def fate(self, fate: Fate) -> str:
        return self.tr.gettext(_FATES[fate])

    def value(self, knob: Knob, value: float | bool | None) -> str:
        """A value with its unit; None is what every station has."""
        if value is None:
            default = self.value(knob, getattr(self.view.base, knob.name))
            return self.tr._("as everywhere ({value})").format(value=default)
        if isinstance(value, bool):
            return self.tr._("on") if value else self.tr._("off")
        return f"{value:g} {self.say(knob.unit)}".rstrip()

    def fault(self, code: str) -> str:
        return fault_title(code, self.tr)

    def span(self, span: Exclusion) -> str:
        return f"{self.moment(span.start_ms)} – {self.moment(span.end_ms)}"

    def difference(self, difference: Difference) -> str:
        what, before, after = difference
        if isinstance(before, Exclusion) or isinstance(after, Exclusion):
            span = after if isinstance(after, Exclusion) else before
            assert isinstance(span, Exclusion)
            text = self.tr._("not counted: {span}") if after else self.tr._("counted again: {span}")
            return text.format(span=self.span(span))
        if isinstance(before, str) or isinstance(after, str):
            text = self.tr._("muted: {cause}") if after else self.tr._("told again: {cause}")
            return text.format(cause=self.fault(str(after or before)))
        knob = KNOBS[what]
        return self.tr._("{what}: {before} → {after}").format(
            what=self.say(knob.label),
            before=self.value(knob, before),
            after=self.value(knob, after),
        )

    def differences(self, differences: Sequence[Difference]) -> list[str]:
        return [self.difference(one) for one in differences]

    def changes(self, version: TuningVersion) -> list[str]:
        """What a version changed of the one before it."""
        return self.differences(self.view.changes_of(version))

    def moment(self, t_ms: int) -> str:
        far = abs(self.view.now_ms - t_ms) > 300 * DAY_MS
        return self.tr.moment(t_ms, self.view.site.timezone, year=far)

    def takes_effect(self, version: TuningVersion) -> str:
        """From when on; of a recording usually from its first row."""
        if version.effective_ms <= 0:
            return self.tr._("from its first sample")
        return self.moment(version.effective_ms)

    def what(self, told: Told) -> str:
        return self._named(told.fault[0], told.target)

    def event(self, failure: Failure) -> str:
        if failure.found is None:
            name = self.tr._("repair")
            return self._with_pump(name, failure.target)
        return self._named(failure.found, failure.target)

    def _named(self, fault: str, target: str | None) -> str:
        return self._with_pump(self.fault(fault), target)

    def _with_pump(self, what: str, target: str | None) -> str:
        if target is None:
            return what
        return self.tr._("{pump}: {what}").format(pump=pump_name(target, self.tr), what=what)

    def shifted(self, before: Told, after: Told) -> str:
        """How much later or earlier the same alert would be told; '' where that is the same."""
        shift_ms = after.opened_ms - before.opened_ms
        if abs(shift_ms) < HOUR_MS:
            return ""
        text = self.tr._("{span} later") if shift_ms > 0 else self.tr._("{span} earlier")
        return text.format(span=self.tr.duration(abs(shift_ms)))

    def lead(self, lead_ms: int | None) -> str:
        if lead_ms is None:
            return self.tr._("not foreseen")
        return self.tr._("{span} ahead").format(span=self.tr.duration(lead_ms))

    def better(self, event: Event) -> str:
        """Whether the change helps with an event: a word for its line."""
        before, after = event.lead_before_ms, event.lead_after_ms
        if (before is None) == (after is None):
            return ""
        return self.tr._("lost") if after is None else self.tr._("won")

    def rate(self, value: float) -> str:
        return self.tr.number(value, 3 if value < 0.1 else 2)

    def refusal(self, error: InvalidInput | Conflict | NotFound) -> str:
        """What is wrong and what would do, in the reader's language."""
        if isinstance(error, Conflict):
            return self.tr._("Somebody else was here at the same time. Look again, then try again.")
        if isinstance(error, NotFound):
            return self.tr._(
                "Not enough measurements are stored to try it on: more than a week is needed."
            )
        knob = KNOBS.get(error.field)
        if knob is not None:
            return self.tr._("{what}: give a value from {low} to {high} {unit}.").format(
                what=self.say(knob.label),
                low=f"{knob.low:g}",
                high=f"{knob.high:g}",
                unit=self.say(knob.unit),
            )
        texts = {
            "settings": N_("Nothing would change: change at least one value, cause or time."),
            "reason": N_("Say why: whoever reads it in a year wants to know."),
            "to": N_("There is no such version."),
            "days": N_("Try it on {short} to {long} days."),
            "excluded": N_(
                "A time that is not to count needs a beginning and an end after it and lasts "
                "{longest} days at most; to be saved it must lie ahead."
            ),
        }
        text = texts.get(error.field)
        if text is None:
            return str(error)
        return self.tr.gettext(text).format(
            short=SHORTEST_DAYS, long=LONGEST_DAYS, longest=LONGEST_EXCLUDED_MS // DAY_MS
        )
