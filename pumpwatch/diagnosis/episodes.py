"""Episodes: one per cause, opened, worsened and resolved; what a finding says and shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pumpwatch.cycles.features import significant
from pumpwatch.diagnosis.causes import Cause
from pumpwatch.diagnosis.outlook import ENDS, Outlook
from pumpwatch.domain.alerts import Finding, Json, Kind, Phase, Severity, iso_utc
from pumpwatch.domain.keys import SiteKey

URGENT = frozenset(
    {"pump_out_of_service", "pump_blocked", "stuck_on", "upstream_blockage", "start_failure"}
)
"""Causes that want an answer within hours: the partner is all that is left, or a spill is coming."""


@dataclass
class Episode:
    """Something that goes wrong at one site, as long as it lasts."""

    cause: str
    keys: list[str]
    fault: list[str]
    pump: str | None
    """The pump the leading cause sits in."""
    target: str | None
    """The pump to name."""
    severity: str
    score: float
    since_ms: int
    opened_ms: int
    size: float = 0.0
    """How far from normal when it was last told, in effects worth a visit."""
    calm: int = 0
    turned: int = 0
    """Half-days in a row in which another cause ranked first."""


@dataclass(frozen=True, slots=True)
class Sign:
    """One feature's deviation, in words a page can show."""

    feature: str
    target: str | None
    now: float
    normal: float
    deviation: float

    def to_json(self) -> dict[str, Json]:
        return {
            "feature": self.feature,
            "target": self.target,
            "now": significant(self.now),
            "normal": significant(self.normal),
            "deviation": round(self.deviation, 1),
        }


@dataclass
class Opinion:
    """Everything known at one moment: signs by key, their strengths, the ranking."""

    now_ms: int
    signs: Mapping[str, Sign]
    strengths: Mapping[str, float]
    ranked: Sequence[Cause]
    numbers: Mapping[str, Json] = field(default_factory=dict)


def severity_of(fault: str, capacity_index: float | None, alarm_capacity: float) -> Severity:
    if fault in URGENT or (capacity_index is not None and capacity_index < alarm_capacity):
        return Severity.ALARM
    return Severity.WARNING


def finding(
    key: SiteKey,
    episode: Episode,
    phase: Phase,
    opinion: Opinion,
    fitting: Sequence[Cause],
    outlook: Outlook | None = None,
) -> Finding:
    """The statement about ``episode`` as of now; ``fitting`` are the causes that explain its signs."""
    shown = sorted(
        (
            k
            for k in opinion.signs
            if abs(opinion.strengths.get(k, 0.0)) >= 2.0 or k in episode.keys
        ),
        key=lambda k: (-abs(opinion.strengths.get(k, 0.0)), k),
    )
    causes: list[Json] = [
        {
            "fault": c.fault,
            "target": c.target,
            "p": significant(c.p, 2),
            "for": list(c.support),
            "against": list(c.against),
        }
        for c in fitting[:4]
        if c.p >= 0.01
    ]
    evidence: dict[str, Json] = {
        "since": iso_utc(episode.since_ms),
        "signs": [opinion.signs[k].to_json() for k in shown[:8]],
        "causes": causes,
        **opinion.numbers,
    }
    if episode.fault[0] in ENDS:
        evidence["breakdown"] = {**outlook._asdict()} if outlook else None
    return Finding(
        key=key,
        t_ms=opinion.now_ms,
        phase=phase,
        cause=episode.cause,
        kind=Kind.PREDICTIVE,
        severity=Severity(episode.severity),
        fault=tuple(episode.fault),
        target=episode.target,
        score=significant(episode.score, 3),
        evidence=evidence,
    )


def distinct(causes: Sequence[Cause], limit: int = 3) -> list[str]:
    """Fault codes in order, each once, those worth naming."""
    out: list[str] = []
    for c in causes:
        if c.fault not in out and (not out or c.p >= 0.02):
            out.append(c.fault)
        if len(out) == limit:
            break
    return out
