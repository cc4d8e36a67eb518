"""What keeps foreign pages out: answer headers, the origin of a change, the token of a form."""

from __future__ import annotations

import hmac
import secrets
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Form, Request
from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pumpwatch.web.problems import Refused

FORM_COOKIE = "pumpwatch_form"
_SAFE = {"GET", "HEAD", "OPTIONS"}

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Adds the headers to every answer, and refuses foreign hosts and changes from foreign pages."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        if refusal:
            answer = Response(refusal, 403, media_type="text/plain; charset=utf-8")
            await answer(scope, receive, send_guarded)
        else:
            await self.app(scope, receive, send_guarded)

    def _refusal(self, method: str, headers: Headers) -> str:
        host = headers.get("host", "")
        if self.hosts and _name_of(host) not in self.hosts:
            return "this server is not called by that name; use the address it printed at start"
        if method in _SAFE or same_origin(headers):
            return ""
        return "a change must come from pumpwatch's own pages; open the page here and try again"


def _name_of(host: str) -> str | None:
    """The name in a ``Host`` header, without port and brackets; None when it cannot be read."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def same_origin(headers: Headers) -> bool:
    """Whether a change comes from our own page, or from a program that is no browser.

    Every current browser sends Sec-Fetch-Site or Origin with a POST and lets no page forge them.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


def form_token(request: Request) -> str:
    """The token that belongs into this visitor's forms; `keep_token` sends it along."""
    token = request.cookies.get(FORM_COOKIE, "")
    if len(token) < 32:
        token = getattr(request.state, "form_token", "") or secrets.token_urlsafe(32)
    request.state.form_token = token
    return token


def keep_token(request: Request, response: Response) -> None:
    token = getattr(request.state, "form_token", "")
    if token and request.cookies.get(FORM_COOKIE) != token:
        response.set_cookie(FORM_COOKIE, token, httponly=True, samesite="strict")


def check_form(request: Request, token: Annotated[str, Form()] = "") -> None:
    """Refuse a form that our own page did not give out to this very visitor."""
    kept = request.cookies.get(FORM_COOKIE, "")
    if not kept or not hmac.compare_digest(kept.encode(), token.encode()):
        raise Refused
