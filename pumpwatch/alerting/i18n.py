"""Words, dates and numbers in the reader's language.

Text is written in English (the msgid) and looked up in gettext catalogues. A room keeps its
catalogue in ``<room>/locale/<lang>/LC_MESSAGES/<room>.po``; the ``.po`` files are read as they are,
nothing is compiled. English needs no catalogue.

    tr = translator("ja", Path("pumpwatch/web/locale"))     # the alerting catalogue is always in it
    tr._("Acknowledge")                                     # 確認
    tr.ngettext("{n} open alert", "{n} open alerts", n).format(n=n)
    tr.moment(t_ms, "Asia/Tokyo")                           # 11月18日(火) 03:00
    tr.age(now_ms - t_ms)                                   # 3分前

Jinja2: ``env.install_gettext_callables(tr.gettext, tr.ngettext, newstyle=True)`` per language.
`pumpwatch.alerting.catalogues` extracts, updates and checks catalogues.
"""

from __future__ import annotations

import datetime as dt
import gettext
import io
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime, format_timedelta
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal, format_percent

from pumpwatch.domain.clock import SECOND_MS
from pumpwatch.domain.errors import InvalidInput

Lang = Literal["ja", "en"]
LANGS: tuple[Lang, ...] = get_args(Lang)
LOCALE_DIR = Path(__file__).parent / "locale"

_DATE = {"ja": "M月d日(E)", "en": "EEE d MMM"}
_DATE_WITH_YEAR = {"ja": "y年M月d日(E)", "en": "EEE d MMM y"}


def N_(msgid: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a text for translation where it is written; it is translated where it is shown."""
    return msgid


def as_lang(value: str) -> Lang:
    """``value`` as a language of the house. Raises `InvalidInput` when it is none."""
    for lang in LANGS:
        if value == lang:
            return lang
    raise InvalidInput("lang", f"{value!r} is not a language", f"use {' or '.join(LANGS)}")


class Translator:
    """One language: texts, and the way it writes time and numbers. Immutable; shared freely."""

    def __init__(self, lang: Lang, texts: gettext.NullTranslations) -> None:
        self.lang: Lang = lang
        self._texts = texts

    def gettext(self, msgid: str) -> str:
        return self._texts.gettext(msgid)

    _ = gettext

    def ngettext(self, singular: str, plural: str, n: int) -> str:
        return self._texts.ngettext(singular, plural, n)

    def date(self, t_ms: int, timezone: str, *, year: bool = False) -> str:
        """``11月18日(火)`` / ``Tue 18 Nov`` at that place."""
        return self._written(local_time(t_ms, timezone).date(), year)

    def moment(self, t_ms: int, timezone: str, *, year: bool = False) -> str:
        """``11月18日(火) 03:00`` / ``Tue 18 Nov 03:00`` at that place."""
        return f"{self.date(t_ms, timezone, year=year)} {self.time(t_ms, timezone)}"

    def time(self, t_ms: int, timezone: str) -> str:
        """``03:00`` at that place."""
        return format_datetime(local_time(t_ms, timezone), "HH:mm", locale=self.lang)

    def number(self, value: float, decimals: int = 0) -> str:
        """``1,234.5``, always with that many decimals."""
        pattern = "#,##0" + ("." + "0" * decimals if decimals else "")
        return format_decimal(round(value, decimals) + 0.0, pattern, locale=self.lang)

    def percent(self, fraction: float, decimals: int = 0) -> str:
        """``27%`` of 0.27."""
        pattern = "#,##0" + ("." + "0" * decimals if decimals else "") + "%"
        return format_percent(fraction, pattern, locale=self.lang)

    def duration(self, ms: float) -> str:
        """``40 seconds``, ``90 minutes``, ``3 days``: one unit, at least two of it."""
        return self._closed_up(self._delta(ms, add_direction=False))

    def age(self, ms: float) -> str:
        """How long ago: ``3分前`` / ``3 minutes ago``. The future counts as now."""
        if ms < SECOND_MS:
            return self._("just now")
        return self._closed_up(self._delta(-ms, add_direction=True))

    def listed(self, items: Iterable[str]) -> str:
        """``A、B、C`` / ``A, B, C``."""
        return ("、" if self.lang == "ja" else ", ").join(items)

    def _written(self, day: dt.date, year: bool) -> str:
        pattern = (_DATE_WITH_YEAR if year else _DATE)[self.lang]
        return format_date(day, pattern, locale=self.lang)

    def _delta(self, ms: float, *, add_direction: bool) -> str:
        return format_timedelta(
            dt.timedelta(milliseconds=ms),
            threshold=2,
            add_direction=add_direction,
            locale=self.lang,
        )

    def _closed_up(self, text: str) -> str:
        return text.replace(" ", "") if self.lang == "ja" else text


def local_time(t_ms: int, timezone: str) -> dt.datetime:
    """The moment as the clock on the wall shows it at that place."""
    return dt.datetime.fromtimestamp(t_ms / 1000, ZoneInfo(timezone))


@lru_cache
def translator(lang: Lang, *po_dirs: Path) -> Translator:
    """A `Translator` over the catalogues of ``po_dirs`` (``locale`` directories) and alerting's own.

    The first directory that knows a text wins. A directory without that language adds nothing.
    """
    texts = gettext.NullTranslations()
    for po_dir in (*po_dirs, LOCALE_DIR):
        for po in sorted((po_dir / lang / "LC_MESSAGES").glob("*.po")):
            texts = _chained(texts, _load(po, lang))
    return Translator(lang, texts)


def _chained(
    head: gettext.NullTranslations, tail: gettext.NullTranslations
) -> gettext.NullTranslations:
    if not isinstance(head, gettext.GNUTranslations):
        return tail
    head.add_fallback(tail)
    return head


def _load(po: Path, lang: Lang) -> gettext.GNUTranslations:
    with po.open("rb") as file:
        catalogue = read_po(file, locale=lang)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
