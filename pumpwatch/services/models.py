"""The models of the sites: which one judges, which one challenges it, and who decides between them.

The shelf is the record. A model takes effect at the first site-local midnight after it was put there, and
judges until the next one does; so live operation, a restart and a replay of the inbox use the same model for
the same cycle. The first model of a site goes there by itself. After that challengers wait on a shelf of their
own until a person promotes one, or a stated rule does. Promoting and taking back put a model on the shelf
again, for the next midnight: what was is never rewritten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pumpwatch.diagnosis.calendar import HalfDays
from pumpwatch.diagnosis.challenger import references_in, references_since_ms, same_references
from pumpwatch.diagnosis.forest import from_stored, to_stored
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.actors import SYSTEM, Actor
from pumpwatch.domain.alerts import Kind, iso_utc
from pumpwatch.domain.clock import DAY_MS, MINUTE_MS, Clock
from pumpwatch.domain.errors import Conflict, InvalidInput, NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.ports import (
    AlertBook,
    AuditBook,
    AuditEntry,
    ModelShelf,
    SiteBook,
    StoredModel,
    TimeSeriesStore,
)
from pumpwatch.domain.references import ReferenceDrift, ReferenceValue, drifts
from pumpwatch.domain.sites import Site
from pumpwatch.services.challengers import WINDOW_DAYS, Challenger, Trial, challenge, days_between
from pumpwatch.services.train import card_of

SCHEDULED = "scheduled"
RULE = "rule: no alert would appear or vanish"
MAX_REASON = 1_000
_NOTICE_MS = 10 * MINUTE_MS
"""A decision takes effect no sooner than this: every consumer has heard of it by then."""
_SEARCHED = 1_000
_EVER = 2**62

StateOf = Callable[[SiteKey], bytes | None]
"""A site → what its diagnosis remembers, None before the first checkpoint."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A model and the moment from which it judges, or would (a challenger)."""

    effective_ms: int
    card: Mapping[str, Any]

    @property
    def origin_ms(self) -> int:
        """Which fit it is: two places of the same fit have the same."""
        return int(self.card.get("origin_ms", self.effective_ms))

    @property
    def previous_ms(self) -> int | None:
        """Where the model stands on the shelf that was in force before it."""
        previous = self.card.get("previous_ms")
        return None if previous is None else int(previous)


@dataclass(frozen=True, slots=True)
class SiteModels:
    """All that is known of one site's models. ``placed`` are those that judged, judge or will, oldest first."""

    key: SiteKey
    site: Site
    now_ms: int
    placed: tuple[Placed, ...]
    challengers: tuple[Placed, ...]
    drifts: tuple[ReferenceDrift, ...]

    @property
    def newest(self) -> Placed | None:
        """The champion: in force, or from the next midnight on."""
        return self.placed[-1] if self.placed else None

    @property
    def in_force(self) -> Placed | None:
        return next((p for p in reversed(self.placed) if p.effective_ms <= self.now_ms), None)

    @property
    def challenger(self) -> Placed | None:
        """The newest one that was fitted after the champion, if it was not promoted already."""
        if not self.challengers or self.newest is None:
            return None
        last = self.challengers[-1]
        known = {p.origin_ms for p in self.placed}
        return last if last.origin_ms not in known else None

    @property
    def can_roll_back(self) -> bool:
        return self.newest is not None and self.newest.previous_ms is not None


class ModelService:
    """Looks after models. ``shelf`` holds what judges, ``waiting`` the challengers."""

    def __init__(
        self,
        *,
        shelf: ModelShelf,
        waiting: ModelShelf,
        sites: SiteBook,
        alerts: AlertBook,
        audit: AuditBook,
        series: TimeSeriesStore,
        clock: Clock,
        state_of: StateOf,
        settings: DiagnosisSettings | None = None,
    ) -> None:
        self._shelf, self._waiting = shelf, waiting
        self._sites, self._alerts, self._audit = sites, alerts, audit
        self._series, self._clock, self._state_of = series, clock, state_of
        self._settings = settings or DiagnosisSettings()

    # -- looking ---------------------------------------------------------------------------------

    def view(self, key: SiteKey) -> SiteModels:
        """Raises `NotFound` for a site nobody approved."""
        return SiteModels(
            key,
            self._site(key),
            self._clock.now_ms(),
            tuple(Placed(at_ms, card) for _, at_ms, card in self._shelf.cards(key)),
            tuple(Placed(at_ms, card) for _, at_ms, card in self._waiting.cards(key)),
            tuple(drifts(self._references(key))),
        )

    def views(self, tenant: str | None = None) -> list[SiteModels]:
        """Every site of the tenant, in order."""
        return [self.view(key) for key in self._sites.sites(tenant)]

    # -- challengers -----------------------------------------------------------------------------

    def trial(self, key: SiteKey) -> Trial | None:
        """What a challenger of this site is to be made of; None where there is no champion to challenge,
        or no reference. Raises `NotFound`, `StoreUnavailable`."""
        site, state = self._site(key), self._state_of(key)
        stored = self._shelf.effective(key, _EVER)
        fresh = None if state is None else same_references(state)
        if stored is None or state is None or fresh is None:
            return None
        newest = self._series.latest([key]).get(key)
        if newest is None:
            return None
        end_ms = newest[0] + 1
        start_ms = max(end_ms - WINDOW_DAYS * DAY_MS, references_since_ms(state))
        chunk = self._series.read_raw(key, start_ms, end_ms)
        if not len(chunk):
            return None
        log, troubled = self._sites.log(key), self._troubled(key, site, end_ms)
        return Trial(
            key, site, log, fresh, chunk, from_stored(stored), frozenset(troubled), self._settings,
            self._sites.tunings(key).get(key, ()),
        )  # fmt: skip

    def propose(self, key: SiteKey, actor: Actor, why: str) -> Placed:
        """Fit a challenger now and keep it with its backtest. Raises `NotFound`; `Conflict` when there is
        nothing to challenge or too little to learn from."""
        trial = self.trial(key)
        if trial is None:
            raise Conflict(
                f"{key} has no model to challenge",
                "its first model is fitted by itself when its references are learnt",
            )
        challenger = challenge(trial)
        if challenger is None:
            raise Conflict(f"{key} has too few clean days for a challenger", "try again later")
        return self.keep(key, challenger, actor, why)

    def keep(self, key: SiteKey, challenger: Challenger, actor: Actor, why: str) -> Placed:
        """Let a fitted challenger wait for a decision."""
        request, model = challenger.request, challenger.model
        card = card_of(request, model, actor, why) | {
            "challenger": True,
            "origin_ms": request.effective_ms,
            "proposed": iso_utc(self._clock.now_ms()),
            "backtest": challenger.backtest,
        }
        self._waiting.put(to_stored(model, key, request.effective_ms, card))
        return Placed(request.effective_ms, card)

    def due(self, key: SiteKey, every_days: float) -> bool:
        """Whether it is time for a challenger: the last fit, of either kind, is so old."""
        cards = [*self._shelf.cards(key), *self._waiting.cards(key)]
        last_ms = max((at_ms for _, at_ms, _ in cards), default=None)
        return last_ms is not None and self._clock.now_ms() - last_ms >= every_days * DAY_MS

    # -- decisions -------------------------------------------------------------------------------

    def promote(self, key: SiteKey, actor: Actor, why: str) -> Placed:
        """Let the waiting challenger judge from the next site-local midnight on.

        Raises `NotFound`; `InvalidInput` without a reason; `Conflict` when none waits.
        """
        reason, view = _reason(why), self.view(key)
        champion, challenger = view.newest, view.challenger
        if champion is None or challenger is None:
            raise Conflict(f"no challenger of {key} waits", "propose one: pumpwatch models propose")
        stored = _exactly(self._waiting, key, challenger.effective_ms)
        return self._place(view, stored, "promoted", champion, actor, reason)

    def roll_back(self, key: SiteKey, actor: Actor, why: str) -> Placed:
        """Let the model before this one judge again, from the next site-local midnight on.

        Raises `NotFound`; `InvalidInput` without a reason; `Conflict` when there is none before.
        """
        reason, view = _reason(why), self.view(key)
        champion = view.newest
        if champion is None or champion.previous_ms is None:
            raise Conflict(f"{key} has no model before this one", "see: pumpwatch models show")
        stored = _exactly(self._shelf, key, champion.previous_ms)
        return self._place(view, stored, "rolled_back", champion, actor, reason)

    def promote_by_rule(self, key: SiteKey) -> Placed | None:
        """The stated rule: a challenger under which no alert would appear or vanish is promoted."""
        challenger = self.view(key).challenger
        if challenger is None:
            return None
        backtest = challenger.card["backtest"]
        if backtest["appear"] or backtest["vanish"]:
            return None
        return self.promote(key, SYSTEM, RULE)

    def _place(
        self, view: SiteModels, stored: StoredModel, how: str, champion: Placed, actor: Actor,
        reason: str,
    ) -> Placed:  # fmt: skip
        now_ms, was = self._clock.now_ms(), Placed(stored.effective_ms, stored.card)
        effective_ms = next_midnight_ms(now_ms + _NOTICE_MS, view.site.timezone)
        newest = self._series.latest([view.key]).get(view.key)
        if (
            newest is not None and newest[0] >= effective_ms
        ):  # a clock that runs apart from the samples
            effective_ms = next_midnight_ms(newest[0], view.site.timezone)
        previous_ms = was.previous_ms
        if how == "promoted":  # one that was to judge from the same midnight on never did
            judged = [p.effective_ms for p in view.placed if p.effective_ms < effective_ms]
            previous_ms = judged[-1] if judged else None
        card = {
            **stored.card,
            "origin_ms": was.origin_ms,
            "previous_ms": previous_ms,
            "effective": iso_utc(effective_ms),
            "placed": how,
            "placed_at": iso_utc(now_ms),
            "placed_by": actor.id,
            "placed_why": reason,
        }
        self._shelf.put(StoredModel(view.key, effective_ms, card, stored.arrays))
        self._audit.add_audit(
            AuditEntry(
                now_ms, actor, f"model_{how}", view.key,
                {"effective": iso_utc(champion.effective_ms), "origin": iso_utc(champion.origin_ms)},
                {"effective": iso_utc(effective_ms), "origin": iso_utc(was.origin_ms),
                 "why": reason},
            )
        )  # fmt: skip
        return Placed(effective_ms, card)

    # -- references ------------------------------------------------------------------------------

    def note_references(self, key: SiteKey) -> int:
        """Write down which normals of a site were set or moved since the last time; returns how many.

        The first ones stay in the record, so that all accepted changes together can be seen.
        """
        state = self._state_of(key)
        if state is None:
            return 0
        known = {(v.feature, v.target, v.since_ms) for v in self._references(key)}
        new = [
            value
            for value in references_in(state)
            if (value.feature, value.target, value.since_ms) not in known
        ]
        if new:
            after = {"values": [[v.feature, v.target, v.since_ms, v.value] for v in new]}
            now_ms = self._clock.now_ms()
            self._audit.add_audit(AuditEntry(now_ms, SYSTEM, _SET, key, None, after))
        return len(new)

    def _references(self, key: SiteKey) -> list[ReferenceValue]:
        entries = self._audit.audit(_EVER, key=key, action=_SET)
        return [
            ReferenceValue(feature, target, since_ms, value)
            for entry in entries
            for feature, target, since_ms, value in (entry.after or {})["values"]
        ]

    # -- inside ----------------------------------------------------------------------------------

    def _troubled(self, key: SiteKey, site: Site, now_ms: int) -> set[int]:
        """Site-local days on which an alert about a fault was open."""
        days: set[int] = set()
        for alert in self._alerts.alerts(*key, limit=_SEARCHED):
            if alert.kind is not Kind.INFO:
                end_ms = now_ms if alert.resolved_ms is None else alert.resolved_ms
                days |= days_between(alert.opened_ms, max(alert.opened_ms, end_ms), site.timezone)
        return days

    def _site(self, key: SiteKey) -> Site:
        site = self._sites.site(key)
        if site is None:
            raise NotFound(f"no site {key}", "see: pumpwatch sites list")
        return site


_SET = "reference_set"


def next_midnight_ms(t_ms: int, timezone: str) -> int:
    """The first midnight after ``t_ms`` on the clock of that place."""
    half_days = HalfDays(timezone)
    number, _, end_ms = half_days.of(t_ms)
    return end_ms if number % 2 else half_days.of(end_ms)[2]


def _exactly(shelf: ModelShelf, key: SiteKey, effective_ms: int) -> StoredModel:
    stored = shelf.effective(key, effective_ms)
    if stored is None or stored.effective_ms != effective_ms:
        raise NotFound(
            f"the model of {key} from {iso_utc(effective_ms)} cannot be read", "restore a backup"
        )
    from_stored(stored)  # what cannot be trusted is not put in force
    return stored


def _reason(why: str) -> str:
    if not why.strip():
        raise InvalidInput("why", "is empty", "say why")
    if len(why) > MAX_REASON:
        raise InvalidInput("why", f"is longer than {MAX_REASON} letters", "shorten it")
    return why.strip()
