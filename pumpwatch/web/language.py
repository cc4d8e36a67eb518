"""Which language a reader gets: asked for in the address, remembered, asked for by the browser."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import Response

from pumpwatch.alerting.i18n import LANGS, Lang, Translator, translator
from pumpwatch.web.deps import HERE

COOKIE = "pumpwatch_lang"
DEFAULT: Lang = "ja"
YEAR_S = 365 * 24 * 3600
LOCALE_DIR = HERE / "locale"


def language_of(request: Request) -> Lang:
    """``?lang=``, then the cookie, then Accept-Language, then Japanese."""
    wishes = [request.query_params.get("lang", ""), request.cookies.get(COOKIE, "")]
    wishes += _accepted(request.headers.get("accept-language", ""))
    for wish in wishes:
        for lang in LANGS:
            if wish == lang:
                return lang
    return DEFAULT


def words_in(lang: Lang) -> Translator:
    return translator(lang, LOCALE_DIR)


def translator_of(request: Request) -> Translator:
    return words_in(language_of(request))


def remember(request: Request, response: Response) -> None:
    """Keep a language that was asked for in the address."""
    if request.query_params.get("lang") in LANGS:
        response.set_cookie(
            COOKIE, language_of(request), max_age=YEAR_S, httponly=True, samesite="lax"
        )


def _accepted(header: str) -> list[str]:
    """Primary language tags, most wanted first: ``en-GB,ja;q=0.5`` gives en, ja."""
    wanted = []
    for place, part in enumerate(header.split(",")[:20]):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        if weight > 0:
            wanted.append((-weight, place, tag.split("-")[0].lower()))
    return [tag for _, _, tag in sorted(wanted)]
