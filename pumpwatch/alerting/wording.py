"""An alert in words: what, which pump, how urgent, since when, why we think so, what to do.

The same words go to the alert page and into notices. Whatever is odd in the evidence is left out,
never an error: a page at 3 a.m. must get through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pumpwatch.alerting.catalogue import (
    ENTRIES,
    HUB_URGENCY_TEXT,
    JOINED,
    PRIORITY,
    URGENCY,
    URGENCY_TEXT,
    Entry,
)
from pumpwatch.alerting.i18n import Translator
from pumpwatch.alerting.outlook import how_soon, not_known
from pumpwatch.alerting.signs import number_of, point, pump_name, sentence, shown_by
from pumpwatch.domain.alerts import Alert, Kind, Severity, Step, ms_from_iso
from pumpwatch.domain.keys import HUB_KEY
from pumpwatch.domain.sites import Site

MAX_SIGNS = 6
_LEAST_MOVE = 0.02
"""Share of the normal value; less reads as "0 % more than usual"."""
_REST_WORTH_SAYING = 0.05
_UNKNOWN = ENTRIES["unusual"]


@dataclass(frozen=True, slots=True)
class CauseText:
    """One candidate. ``fault`` is '' for the unknown rest; ``p`` None where no share was given."""

    fault: str
    name: str
    meaning: str
    p: float | None
    share: str
    speaks_for: list[str]
    speaks_against: list[str]


@dataclass(frozen=True, slots=True)
class Wording:
    """An alert for people, in one language and the time of its site."""

    title: str
    summary: str
    since: str
    why: list[str]
    causes: list[CauseText]
    do: list[str]
    bring: list[str]
    verify: str
    priority: str
    urgency: str
    how_soon: str
    not_known: list[str]


def word(alert: Alert, site: Site, tr: Translator) -> Wording:
    """``alert`` in the language of ``tr``."""
    entry = entry_of(alert)
    signs = _signs(alert)
    why = [text for text in (sentence(sign, tr) for sign in signs[:MAX_SIGNS]) if text]
    since = tr.moment(_since_ms(alert), site.timezone)
    return Wording(
        title=_title(alert, site, tr),
        summary=_summary(alert, entry, why, since, tr),
        since=since,
        why=why,
        causes=_causes(alert, signs, tr),
        do=[tr._(step) for step in entry.do],
        bring=[tr._(thing) for thing in _bring(alert, entry)],
        verify=tr._(entry.verify),
        priority=PRIORITY[alert.severity],
        urgency=tr._(_urgency_text(alert)),
        how_soon=how_soon(alert, site, tr),
        not_known=not_known(alert, site, tr),
    )


def notice_text(alert: Alert, step: Step, site: Site, tr: Translator) -> tuple[str, str]:
    """Title and body of the message that tells people of ``step``."""
    words = word(alert, site, tr)
    if step is Step.RESOLVED and alert.resolved_ms is not None:
        over = tr.moment(alert.resolved_ms, site.timezone)
        title = tr._("Over: {title}").format(title=plain_title(alert, site, tr))
        return title, tr._("It began {since} and was over {over}.").format(
            since=words.since, over=over
        )
    title = words.title
    if step is Step.WORSENED:
        title = tr._("Worse: {title}").format(title=title)
    lines = [words.summary, f"{words.priority} {words.urgency}"]
    lines += [words.how_soon] if words.how_soon else []
    if alert.resolved_ms is not None:
        over = tr.moment(alert.resolved_ms, site.timezone)
        lines.append(tr._("By itself it was over {over}.").format(over=over))
    lines += _section(tr._("Why"), [*words.why, *words.not_known])
    lines += _section(tr._("Probable causes"), [_cause_line(c, tr) for c in words.causes])
    lines += _section(tr._("What to do"), words.do)
    if words.bring:
        lines += ["", tr._("Bring: {things}").format(things=tr.listed(words.bring))]
    return title, "\n".join([*lines, tr._("Afterwards: {verify}").format(verify=words.verify)])


def fault_title(code: str, tr: Translator) -> str:
    """The name of a fault; a code nobody knows stays as it is."""
    return tr._(ENTRIES[code].title) if code in ENTRIES else code


def severity_title(severity: Severity, tr: Translator) -> str:
    return tr._(URGENCY[severity])


def plain_title(alert: Alert, site: Site, tr: Translator) -> str:
    """Station, pump and fault, without the urgency."""
    what = _what(alert, entry_of(alert), tr)
    place = site.name or site.site
    if alert.target is None:
        return tr._("{place}: {what}").format(place=place, what=what)
    pump = pump_name(alert.target, tr)
    return tr._("{place}, {pump}: {what}").format(place=place, pump=pump, what=what)


def _title(alert: Alert, site: Site, tr: Translator) -> str:
    return tr._("[{urgency}] {title}").format(
        urgency=severity_title(alert.severity, tr), title=plain_title(alert, site, tr)
    )


def _urgency_text(alert: Alert) -> str:
    """To go to the hub helps no well: its own alerts of some urgency have a line of their own."""
    own = alert.key == HUB_KEY and alert.severity.rank > Severity.WARNING.rank
    return HUB_URGENCY_TEXT if own else URGENCY_TEXT[alert.severity]


def entry_of(alert: Alert) -> Entry:
    """What the catalogue says of an alert; one that names nothing it knows is unusual."""
    if alert.cause in JOINED:
        return JOINED[alert.cause]
    return ENTRIES.get(alert.fault[0], _UNKNOWN) if alert.fault else _UNKNOWN


def _what(alert: Alert, entry: Entry, tr: Translator) -> str:
    title = tr._(entry.title)
    if alert.kind is Kind.PREDICTIVE and not entry.observed:
        return tr._("{fault} suspected").format(fault=title)
    return title


def _summary(alert: Alert, entry: Entry, why: list[str], since: str, tr: Translator) -> str:
    """The strongest sign of what is going wrong; of a present fact, what it means."""
    if why and alert.kind is not Kind.CONDITION:
        return tr._("{what}, since {since}.").format(what=why[0], since=since)
    what = _what(alert, entry, tr)
    fact = tr._("{what}, since {since}.").format(what=what[:1].upper() + what[1:], since=since)
    return tr._("{fact} {meaning}").format(fact=fact, meaning=tr._(entry.meaning))


def _since_ms(alert: Alert) -> int:
    try:
        return ms_from_iso(str(alert.evidence.get("since")))
    except (ValueError, OverflowError):
        return alert.opened_ms


def _signs(alert: Alert) -> list[Mapping[str, Any]]:
    """The signs in the evidence: first what speaks for the cause the alert names, of that what raised the
    alert, then what is seen at its own pump, then the strongest. What stands where it always stood
    (its chart may remember more) comes last."""
    causes = _records(alert.evidence.get("causes"))
    named = next((c for c in causes if c.get("fault") in alert.fault[:1]), {})
    points = named.get("for")
    telling = {shown_by(key) for key in points} if isinstance(points, list) else set()

    def weight(sign: Mapping[str, Any]) -> tuple[bool, bool, bool, bool, float]:
        shown = str(sign.get("feature")), str(sign.get("target") or "")
        deviation = number_of(sign.get("deviation")) or 0.0
        return (
            _moved(sign), shown in telling, shown == shown_by(alert.cause),
            sign.get("target") == alert.target, abs(deviation),
        )  # fmt: skip

    return sorted(_records(alert.evidence.get("signs")), key=weight, reverse=True)


def _moved(sign: Mapping[str, Any]) -> bool:
    now, normal = number_of(sign.get("now")), number_of(sign.get("normal"))
    return now is None or normal is None or abs(now - normal) > _LEAST_MOVE * abs(normal)


def _records(value: Any) -> list[Mapping[str, Any]]:
    return [r for r in value if isinstance(r, Mapping)] if isinstance(value, list) else []


def _causes(alert: Alert, signs: list[Mapping[str, Any]], tr: Translator) -> list[CauseText]:
    """The candidates the alert names, in its order, then others that something speaks for; at the
    end what remains for a cause nobody thought of."""
    raw = [c for c in _records(alert.evidence.get("causes")) if c.get("fault") in ENTRIES]
    named = [code for code in dict.fromkeys(alert.fault) if code in ENTRIES]
    missing: list[Mapping[str, Any]] = [
        {"fault": code} for code in named if all(c["fault"] != code for c in raw)
    ]
    shown = [c for c in [*raw, *missing] if c["fault"] in named or c.get("for")]
    shown.sort(key=lambda c: named.index(c["fault"]) if c["fault"] in named else len(named))
    causes = [_cause(c, alert, signs, tr) for c in shown]
    shares = [c.p for c in causes if c.p is not None]
    rest = 1.0 - sum(shares)
    if shares and rest >= _REST_WORTH_SAYING:
        name, meaning = tr._("unknown"), tr._(_UNKNOWN.meaning)
        causes.append(CauseText("", name, meaning, rest, tr.percent(rest), [], []))
    return causes


def _cause(
    raw: Mapping[str, Any], alert: Alert, signs: list[Mapping[str, Any]], tr: Translator
) -> CauseText:
    code, target = str(raw["fault"]), raw.get("target")
    entry = entry_of(alert) if code in alert.fault[:1] else ENTRIES[code]
    name = tr._(entry.title)
    if target not in (None, alert.target):
        name = tr._("{pump}: {what}").format(pump=pump_name(target, tr), what=name)
    p = number_of(raw.get("p"))
    return CauseText(
        fault=code,
        name=name,
        meaning=tr._(entry.meaning),
        p=p,
        share="" if p is None else tr.percent(p),
        speaks_for=_said(raw.get("for"), signs, tr, against=False),
        speaks_against=_said(raw.get("against"), signs, tr, against=True),
    )


def _said(
    points: Any, signs: list[Mapping[str, Any]], tr: Translator, *, against: bool
) -> list[str]:
    keys = [p for p in points if isinstance(p, str)] if isinstance(points, list) else []
    said = [point(key, signs, tr, against=against) for key in keys]
    return list(dict.fromkeys(text for text in said if text))


def _bring(alert: Alert, entry: Entry) -> Iterable[str]:
    """For the most likely cause and for the next one, each thing once."""
    second = ENTRIES.get(alert.fault[1]) if len(alert.fault) > 1 else None
    return dict.fromkeys((*entry.bring, *(second.bring if second else ())))


def _section(heading: str, lines: list[str]) -> list[str]:
    return ["", heading, *(f"- {line}" for line in lines)] if lines else []


def _cause_line(cause: CauseText, tr: Translator) -> str:
    if not cause.share:
        return cause.name
    return tr._("{cause} ({share})").format(cause=cause.name, share=cause.share)
