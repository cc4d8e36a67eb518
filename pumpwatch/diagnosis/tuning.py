"""One station's own settings of diagnosis as a value: what is set, what is muted, what does not count."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pumpwatch.diagnosis.knobs import KNOBS
from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.alerts import Finding, Kind, Phase, Severity
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.errors import InvalidInput
from pumpwatch.domain.faults import CONDITION_FAULTS, FAULT_GROUP

MUTABLE = tuple(code for code in FAULT_GROUP if code not in CONDITION_FAULTS)
"""Causes that may be muted. A present fact may not: nobody may sleep through it."""
MOST_EXCLUDED = 50
LONGEST_EXCLUDED_MS = 92 * DAY_MS
"""What does not count for longer than a season had better be a site-log entry or a retired station."""


class Exclusion(NamedTuple):
    """A stretch of time that must not count: start_ms <= t < end_ms."""

    start_ms: int
    end_ms: int


class Difference(NamedTuple):
    """One thing in which two tunings differ. ``what`` is a knob's name, ``muted`` or ``excluded``; None on
    a side is what every station has."""

    what: str
    before: float | bool | str | Exclusion | None
    after: float | bool | str | Exclusion | None


@dataclass(frozen=True, slots=True)
class Tuning:
    """What differs at one station from every other: values of knobs, muted causes, excluded spans."""

    values: Mapping[str, float | bool] = field(default_factory=dict)
    muted: tuple[str, ...] = ()
    excluded: tuple[Exclusion, ...] = ()

    def applied_to(self, settings: DiagnosisSettings) -> DiagnosisSettings:
        """``settings`` with this station's values in their places."""
        spans = tuple((e.start_ms, e.end_ms) for e in self.excluded)
        return replace(settings, **self.values, excluded_ms=settings.excluded_ms + spans)  # type: ignore[arg-type]

    def quieted(self, finding: Finding) -> Finding:
        """What is told of ``finding``: of a muted cause no more than a notice, which calls nobody.

        The end of an episode stays as it is, so that what was told before the cause was muted ends too.
        """
        spoken = finding.kind is Kind.PREDICTIVE and finding.phase is not Phase.RESOLVED
        if not spoken or finding.fault[0] not in self.muted:
            return finding
        return replace(finding, kind=Kind.INFO, severity=Severity.INFO)

    def to_dict(self) -> dict[str, Any]:
        """As it is stored and travels; what is not said is left out."""
        told = {
            "set": dict(self.values),
            "muted": list(self.muted),
            "excluded": [e._asdict() for e in self.excluded],
        }
        return {name: value for name, value in told.items() if value}


def tuning_from_dict(raw: Mapping[str, Any]) -> Tuning:
    """A tuning from JSON, every part of it checked.

    Raises `InvalidInput` naming the field that is unknown, out of bounds or no span, and what would do.
    """
    for name in raw:
        if name not in ("set", "muted", "excluded"):
            raise InvalidInput(str(name), "is unknown", "use set, muted, excluded")
    return Tuning(
        {name: read_value(name, value) for name, value in _mapping(raw).items()},
        tuple(sorted({check_cause(code) for code in _list(raw, "muted")})),
        _spans(_span_of(one) for one in _list(raw, "excluded")),
    )


def tuning_as_stored(raw: Mapping[str, Any]) -> Tuning:
    """The same of what the ledger holds; a part that this version of pumpwatch no longer knows is left
    out, so that no station goes without diagnosis."""
    values = {
        name: value for name, value in _mapping(raw).items() if _sound(read_value, name, value)
    }
    muted = [code for code in _list(raw, "muted") if _sound(check_cause, code)]
    spans = [one for one in _list(raw, "excluded") if _sound(_span_of, one)]
    return tuning_from_dict({"set": values, "muted": muted, "excluded": spans})


def read_value(name: str, value: Any) -> float | bool:
    """A knob's value. Raises `InvalidInput` naming the knob, or the nearest one where there is none."""
    knob = KNOBS.get(name)
    if knob is None:
        raise InvalidInput(name, "is no setting of a station", _instead(name, KNOBS))
    return knob.read(value)


def check_cause(code: str) -> str:
    """A cause that may be muted. Raises `InvalidInput`."""
    if code in CONDITION_FAULTS:
        raise InvalidInput(
            "muted",
            f"{code} is a present fact, which is always told",
            "shelve the alert or correct the panel's signal",
        )
    if code not in FAULT_GROUP:
        raise InvalidInput("muted", f"{code!r} is no cause", _instead(code, MUTABLE))
    return code


def exclusion(start_ms: int, end_ms: int) -> Exclusion:
    """A span that may be excluded. Raises `InvalidInput`."""
    if end_ms <= start_ms:
        raise InvalidInput("excluded", "a span ends before it begins", "give its start first")
    if end_ms - start_ms > LONGEST_EXCLUDED_MS:
        raise InvalidInput(
            "excluded",
            f"a span is longer than {LONGEST_EXCLUDED_MS // DAY_MS} days",
            "exclude less, or write an accepted change into the site log",
        )
    return Exclusion(start_ms, end_ms)


def differences(before: Tuning, after: Tuning) -> list[Difference]:
    """What changes from one to the other: knobs in their order, then causes, then spans."""
    found = [
        Difference(name, before.values.get(name), after.values.get(name))
        for name in KNOBS
        if before.values.get(name) != after.values.get(name)
    ]
    for code in sorted({*before.muted} ^ {*after.muted}):
        gone = code in before.muted
        found.append(Difference("muted", code if gone else None, None if gone else code))
    for span in sorted({*before.excluded} ^ {*after.excluded}):
        gone = span in before.excluded
        found.append(Difference("excluded", span if gone else None, None if gone else span))
    return found


def _spans(spans: Iterable[Exclusion]) -> tuple[Exclusion, ...]:
    found = tuple(sorted(set(spans)))
    if len(found) > MOST_EXCLUDED:
        raise InvalidInput(
            "excluded", f"{len(found)} spans are too many", f"give at most {MOST_EXCLUDED}"
        )
    return found


def _span_of(raw: Any) -> Exclusion:
    try:
        start_ms, end_ms = (raw[name] for name in Exclusion._fields)
        if not (type(start_ms) is int and type(end_ms) is int):
            raise TypeError
    except (TypeError, KeyError):
        raise InvalidInput(
            "excluded", f"{raw!r} is no span", "give start_ms and end_ms, whole epoch milliseconds"
        ) from None
    return exclusion(start_ms, end_ms)


def _mapping(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    values = raw.get("set", {})
    if not isinstance(values, Mapping):
        raise InvalidInput("set", "is no JSON object", 'write {"limit": 12}')
    return values


def _list(raw: Mapping[str, Any], name: str) -> list[Any]:
    values = raw.get(name, [])
    if not isinstance(values, list | tuple):
        raise InvalidInput(name, "is no list", "write it between [ and ]")
    return list(values)


def _sound(check: Callable[..., object], *values: Any) -> bool:
    try:
        check(*values)
    except InvalidInput:
        return False
    return True


def _instead(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{hint}use one of: {', '.join(known)}"
