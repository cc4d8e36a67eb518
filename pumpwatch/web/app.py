"""Puts the rooms of the web together. Nothing here opens a socket: that is the server's part."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from pumpwatch import __version__
from pumpwatch.domain.errors import PumpwatchError
from pumpwatch.web import api, live, models, models_api, pages, tuning, tuning_api
from pumpwatch.web.deps import HERE, WebDeps
from pumpwatch.web.problems import problem_of, problem_response, wants_json
from pumpwatch.web.security import Guard

log = logging.getLogger(__name__)

MAX_BODY = 64 * 1024
"""A form or a change is small; anything larger is a mistake or an attack."""


def create_app(deps: WebDeps) -> FastAPI:
    """The pages, the JSON API under ``/api/v1`` and the live events, over what is handed in.

    Close ``deps.feed`` before stopping the server, so that open event streams end.
    """
    app = FastAPI(
        title="pumpwatch",
        version=__version__,
        summary="Stations, samples, cycles and alerts of manhole pumps.",
        description="Times are epoch milliseconds, UTC; everything else is SI, units in the names.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        max_body_size=MAX_BODY,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.deps = deps
    app.add_middleware(Guard, hosts=frozenset(host.strip("[]") for host in deps.hosts))
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.include_router(pages.router, include_in_schema=False)
    app.include_router(tuning.router, include_in_schema=False)
    app.include_router(models.router, include_in_schema=False)
    app.include_router(live.router, include_in_schema=False)
    app.include_router(api.router)
    app.include_router(tuning_api.router)
    app.include_router(models_api.router)
    app.include_router(api.health)
    for kind in (PumpwatchError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer_error)
    return app


def _answer_error(request: Request, error: Exception) -> Response:
    problem = problem_of(error, request.url.path)
    if problem.status == 500:
        log.error("request failed: %s", request.url.path, exc_info=error)
    if wants_json(request):
        return problem_response(problem)
    return pages.error_page(request, problem)
