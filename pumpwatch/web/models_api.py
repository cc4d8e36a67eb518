"""The models of a station in the JSON API: cards, challenger, decisions, and what its references became."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Request
from pydantic import BaseModel, Field, JsonValue

from pumpwatch.domain.errors import NotFound
from pumpwatch.domain.keys import SiteKey
from pumpwatch.services.models import ModelService, Placed, SiteModels
from pumpwatch.web import api
from pumpwatch.web.deps import WebDeps, actor_named, deps_of, tell_site


class ModelOut(BaseModel):
    effective_ms: int = Field(description="It judges from then on; of a challenger: it would have.")
    origin_ms: int = Field(description="Which fit it is: the same fit may be put in force again.")
    card: dict[str, JsonValue] = Field(
        description="Data span, features, versions, backtest, who and why."
    )

    @classmethod
    def of(cls, placed: Placed) -> ModelOut:
        return cls(
            effective_ms=placed.effective_ms, origin_ms=placed.origin_ms, card=dict(placed.card)
        )


class ReferenceOut(BaseModel):
    feature: str
    target: str | None
    first_ms: int
    first: float = Field(description="As it was first learnt, in the feature's SI unit.")
    since_ms: int
    now: float
    total: float = Field(description="All accepted changes together.")
    changes: int


class ModelsOut(BaseModel):
    in_force_ms: int | None
    models: list[ModelOut] = Field(description="What judged, judges or will, oldest first.")
    challenger: ModelOut | None
    can_roll_back: bool
    references: list[ReferenceOut]

    @classmethod
    def of(cls, view: SiteModels) -> ModelsOut:
        return cls(
            in_force_ms=None if view.in_force is None else view.in_force.effective_ms,
            models=[ModelOut.of(placed) for placed in view.placed],
            challenger=None if view.challenger is None else ModelOut.of(view.challenger),
            can_roll_back=view.can_roll_back,
            references=[
                ReferenceOut(
                    feature=d.feature,
                    target=d.target,
                    first_ms=d.first_ms,
                    first=d.first,
                    since_ms=d.since_ms,
                    now=d.now,
                    total=d.total,
                    changes=d.changes,
                )
                for d in view.drifts
            ],
        )


class DecisionIn(BaseModel):
    """Who decides, and why."""

    name: str = Field("", max_length=40)
    why: str = Field(max_length=1_000)


def models_of(request: Request) -> ModelService:
    """Raises `NotFound` where pages run without one."""
    service = deps_of(request).models
    if service is None:
        raise NotFound("models are not looked after here", "use the hub's own pages")
    return service


router = APIRouter(
    prefix="/api/v1/sites/{tenant}/{site}/models", tags=["models"], responses=api.router.responses
)
Deps = Annotated[WebDeps, Depends(deps_of)]
Service = Annotated[ModelService, Depends(models_of)]


@router.get("")
def get_models(service: Service, tenant: str, site: str) -> ModelsOut:
    """The station's models, the challenger that waits, and its references since the first."""
    return ModelsOut.of(service.view(SiteKey(tenant, site)))


@router.post("/promote")
def promote_model(
    service: Service, deps: Deps, tenant: str, site: str, decision: Annotated[DecisionIn, Body()]
) -> ModelsOut:
    """Let the challenger judge from the station's next midnight on. 409 when none waits."""
    key = SiteKey(tenant, site)
    service.promote(key, actor_named(decision.name), decision.why)
    tell_site(deps, key)
    return ModelsOut.of(service.view(key))


@router.post("/rollback")
def roll_back_model(
    service: Service, deps: Deps, tenant: str, site: str, decision: Annotated[DecisionIn, Body()]
) -> ModelsOut:
    """Let the model before this one judge again. 409 when there is none."""
    key = SiteKey(tenant, site)
    service.roll_back(key, actor_named(decision.name), decision.why)
    tell_site(deps, key)
    return ModelsOut.of(service.view(key))
