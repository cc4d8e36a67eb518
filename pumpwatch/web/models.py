"""The page on which people see what judges a station, and decide about its challenger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from pumpwatch.alerting.i18n import Translator
from pumpwatch.alerting.signs import SIGNS
from pumpwatch.domain.actors import Actor
from pumpwatch.domain.alerts import ms_from_iso
from pumpwatch.domain.errors import Conflict, InvalidInput
from pumpwatch.domain.features import FEATURE_UNITS
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.references import ReferenceDrift
from pumpwatch.services.models import MAX_REASON, RULE, Placed
from pumpwatch.web.deps import MAX_NAME, actor_named, tell_site
from pumpwatch.web.language import translator_of
from pumpwatch.web.models_api import Deps, Service
from pumpwatch.web.pages import back, page, remember_name, visitor_of
from pumpwatch.web.security import check_form

router = APIRouter(prefix="/sites/{tenant}/{site}/models")
Name = Annotated[str, Form(max_length=MAX_NAME)]
Reason = Annotated[str, Form(max_length=MAX_REASON)]

Decide = Callable[[SiteKey, Actor, str], Placed]

_FEATURES = {
    "capacity": "capacity_m3s",
    "current": "current_a",
    "backflow": "backflow_m3s",
    "run": "run_s",
}
"""Names of a model's columns → features."""


@router.get("")
def models(request: Request, service: Service, tenant: str, site: str) -> Response:
    view = service.view(SiteKey(tenant, site))
    words = ModelWords(translator_of(request))
    return page(
        request, "models.html", view=view, site=view.site, words=words, moment_ms=ms_from_iso,
        visitor=visitor_of(request), max_reason=MAX_REASON,
        rule=RULE,
    )  # fmt: skip


@router.post("/promote", dependencies=[Depends(check_form)])
def promote(
    service: Service, deps: Deps, tenant: str, site: str, why: Reason = "", name: Name = ""
) -> Response:
    return _decided(service.promote, deps, SiteKey(tenant, site), why, name, "promoted")


@router.post("/rollback", dependencies=[Depends(check_form)])
def roll_back(
    service: Service, deps: Deps, tenant: str, site: str, why: Reason = "", name: Name = ""
) -> Response:
    return _decided(service.roll_back, deps, SiteKey(tenant, site), why, name, "rolled-back")


class ModelWords:
    """Features and references in the reader's language and everyday units."""

    def __init__(self, tr: Translator) -> None:
        self._tr = tr

    def features(self, names: list[str]) -> str:
        return self._tr.listed(self.feature(name) for name in names)

    def feature(self, name: str) -> str:
        name = _FEATURES.get(name, name)
        return self._tr.gettext(SIGNS[name].label) if name in SIGNS else name

    def value(self, feature: str, value: float) -> str:
        """As alerts say it."""
        return SIGNS[feature].show(value, self._tr)

    def total(self, drift: ReferenceDrift) -> str:
        """All accepted changes together: of levels in metres, else in percent."""
        sign = "+" if drift.total > 0 else "−" if drift.total < 0 else "±"
        if FEATURE_UNITS[drift.feature] == "m" or drift.share is None:
            return sign + self.value(drift.feature, abs(drift.total))
        return sign + self._tr.percent(abs(drift.share), 1)


def _decided(
    decide: Decide, deps: Deps, key: SiteKey, why: str, name: str, notice: str
) -> Response:
    try:
        decide(key, actor_named(name), why)
        tell_site(deps, key)
    except InvalidInput:
        notice = "nothing-said"
    except Conflict:
        notice = "model-gone"
    return remember_name(back(f"/sites/{key.tenant}/{key.site}/models", notice), name)
