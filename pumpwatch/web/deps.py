"""What the pages need, handed in from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pumpwatch.alerting.i18n import Translator
from pumpwatch.alerting.wording import Wording, word
from pumpwatch.domain.actors import LOCAL, Actor
from pumpwatch.domain.alerts import Alert, Step
from pumpwatch.domain.clock import Clock
from pumpwatch.domain.errors import InvalidInput, NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.labels import Found, Label
from pumpwatch.domain.ports import DemoControls, SiteBook, StatusSource
from pumpwatch.domain.sites import Site
from pumpwatch.services.live import LiveFeed
from pumpwatch.services.models import ModelService
from pumpwatch.services.queries import Queries
from pumpwatch.services.tuning import TuningService

HERE = Path(__file__).parent
TEMPLATES = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=["jinja2.ext.i18n"],
)
MAX_NAME = 40


class AlertActions(Protocol):
    """What a person may do to an alert (`pumpwatch.services.alerts.AlertService` does it).

    Raises `NotFound`; `Conflict` when it was done already; `InvalidInput` when words are missing.
    """

    def acknowledge(self, alert_id: str, actor: Actor, note: str, /) -> Alert: ...

    def add_note(self, alert_id: str, actor: Actor, text: str, /) -> Alert: ...

    def resolve(self, alert_id: str, actor: Actor, note: str, found: Found | None, /) -> Alert: ...

    def answer(self, subject: str, actor: Actor, found: Found, /) -> Label: ...

    def missed(self, key: SiteKey, actor: Actor, found: Found, /) -> Label: ...


@dataclass(frozen=True, slots=True)
class WebDeps:
    """Everything `pumpwatch.web.app.create_app` serves.

    ``hosts`` are the names by which this server may be called (``Host`` header, without port); empty
    takes any. Give the loopback names where the server is bound to loopback: a foreign page whose
    name resolves to this machine is refused then.
    """

    queries: Queries
    alerts: AlertActions
    sites: SiteBook
    feed: LiveFeed
    clock: Clock
    status: StatusSource | None = None
    demo: DemoControls | None = None
    tuning: TuningService | None = None
    models: ModelService | None = None
    word: Callable[[Alert, Site, Translator], Wording] = word
    hosts: Sequence[str] = ()


def deps_of(request: Request) -> WebDeps:
    deps: WebDeps = request.app.state.deps
    return deps


def demo_of(request: Request) -> DemoControls:
    """The demo's controls. Raises `NotFound` wherever data are real."""
    demo = deps_of(request).demo
    if demo is None:
        raise NotFound("there is no simulated fleet here", "start one with: pumpwatch demo")
    return demo


def tell(deps: WebDeps, alert: Alert, step: Step) -> None:
    """Let everybody who watches see a person's change at once."""
    about = {"tenant": alert.key.tenant, "site": alert.key.site}
    deps.feed.publish("alert", {"id": alert.id, **about, "step": str(step)})


def found_in(site: Site, cause: str, target: str, at: str, note: str) -> Found:
    """What a form says was found; ``at`` is the time on the clock of that place, '' for now.

    Raises `InvalidInput` for a time that is none; the rest is checked where it is written down.
    """
    if not at:
        return Found(cause, target or None, note)
    try:
        moment = datetime.fromisoformat(at).replace(tzinfo=ZoneInfo(site.timezone))
        return Found(cause, target or None, note, round(moment.timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise InvalidInput("at", f"{at!r} is no moment", "choose day and time") from None


def tell_site(deps: WebDeps, key: SiteKey) -> None:
    """Let everybody who watches see that something is new about a station."""
    deps.feed.publish("site", key._asdict())


def actor_named(name: str) -> Actor:
    """Who signs: until accounts exist, whoever sits here, by the name they type."""
    name = " ".join(name.split())[:MAX_NAME]
    return Actor(f"local:{name}", "local") if name else LOCAL


def name_of(actor_id: str) -> str:
    """The name an actor typed; '' for one who gave none and for the hub itself."""
    return actor_id.removeprefix("local:") if actor_id.startswith("local:") else ""
