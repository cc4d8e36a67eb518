"""Errors as people and programs read them: a page in the house's style, or RFC 9457 details."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from pumpwatch.domain.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PumpwatchError,
    StoreUnavailable,
)

MEDIA_TYPE = "application/problem+json"


class Refused(PumpwatchError):
    """A form came back without the token this server gave out with it."""

    def __init__(self) -> None:
        super().__init__("the form is out of date", "open the page again and send it once more")


class Problem(BaseModel):
    """RFC 9457 problem details; ``field`` names what to correct and ``remedy`` says how."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str
    field: str | None = None
    remedy: str | None = None


_STATUS: dict[type[PumpwatchError], int] = {
    NotFound: 404,
    InvalidInput: 422,
    Conflict: 409,
    StoreUnavailable: 503,
    Refused: 403,
}


def problem_of(error: Exception, path: str) -> Problem:
    """Any expected error as a problem. What is not expected says nothing of its inside."""
    if isinstance(error, PumpwatchError):
        status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 400)
        named = error.field if isinstance(error, InvalidInput) else None
        return _problem(status, error.problem, path, field=named, remedy=error.remedy or None)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"][1:]) or str(first["loc"][0])
        remedy = "see /api/v1/openapi.json for what is expected"
        return _problem(422, str(first["msg"]), path, field=place, remedy=remedy)
    if isinstance(error, HTTPException):
        return _problem(error.status_code, str(error.detail), path)
    return _problem(500, "something went wrong here; it was written to the log", path)


def problem_response(problem: Problem) -> Response:
    body: dict[str, Any] = problem.model_dump(exclude_none=True)
    return JSONResponse(body, problem.status, media_type=MEDIA_TYPE)


def wants_json(request: Request) -> bool:
    return request.url.path.startswith("/api/")


def _problem(status: int, detail: str, path: str, **more: Any) -> Problem:
    return Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, instance=path, **more
    )
