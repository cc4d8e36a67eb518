"""The present facts that two-valued signals tell: each a rule with a delay in and a delay out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from pumpwatch.diagnosis.present_freeze import FreezeSettings
from pumpwatch.domain.alerts import Kind, Severity
from pumpwatch.domain.clock import HOUR_MS, MINUTE_MS, SECOND_MS
from pumpwatch.domain.sites import Site

Values: TypeAlias = Mapping[str, bool]
"""Signal → its last known state. What was never said is an absent key."""

SILENT = "_silent"
CLOCK_BACK = "_clock_back"
CLOCK_AHEAD = "_clock_ahead"
LEVEL_MISSING = "_level_missing"
AT_COVER = "_at_cover"
ABOVE_HIGH = "_above_high"
UNANSWERED = "_unanswered"
"""The level calls for every pump and none runs."""


@dataclass(frozen=True, slots=True)
class PresentSettings:
    """Thresholds of the present facts. Times in ms, levels in m."""

    power_on_ms: int = 30 * SECOND_MS
    power_off_ms: int = 2 * MINUTE_MS
    outage_rise_m: float = 0.1
    """An outage is critical once the level rose so far since it began, or passed the start level."""
    silence_ms: int = 30 * MINUTE_MS
    silence_samples: int = 20
    high_on_ms: int = 5 * SECOND_MS
    high_off_ms: int = 2 * MINUTE_MS
    cover_on_ms: int = MINUTE_MS
    cover_off_ms: int = 5 * MINUTE_MS
    level_margin_m: float = 0.05
    contact_on_ms: int = 5 * SECOND_MS
    contact_off_ms: int = MINUTE_MS
    manual_ms: int = 4 * HOUR_MS
    manual_off_ms: int = 5 * MINUTE_MS
    dry_run_m: float = 0.05
    dry_run_ms: int = 20 * MINUTE_MS
    """A pump that runs so far below the stop level for so long was told to stop long ago."""
    dry_over_ms: int = 10 * MINUTE_MS
    unanswered_ms: int = 5 * MINUTE_MS
    """The well stands at the alarm level, mains are there, and no pump runs: none can."""
    level_missing_ms: int = 55 * MINUTE_MS
    """Longer than it takes to put a new transmitter in, and told within the hour."""
    level_back_ms: int = 10 * MINUTE_MS
    lowest_level_m: float = -0.1
    clock_step_ms: int = 2 * MINUTE_MS
    clock_step_rows: int = 600
    """So many old rows in a row are no late message (500 rows at most) but a clock set back."""
    clock_ahead_ms: int = 5 * MINUTE_MS
    clock_good_ms: int = HOUR_MS
    freeze: FreezeSettings = field(default_factory=FreezeSettings)


@dataclass(frozen=True, slots=True)
class Rule:
    """A fact that is true while ``on`` holds, and over when ``off`` has held.

    It is said ``on_ms`` after ``on`` became true, and taken back ``off_ms`` after ``off`` did.
    """

    cause: str
    fault: str
    kind: Kind
    severity: Severity
    on: Callable[[Values], bool]
    off: Callable[[Values], bool]
    on_ms: int
    off_ms: int
    target: str | None = None
    signals: tuple[str, ...] = ()


def rules_of(site: Site, settings: PresentSettings, period_ms: int) -> list[Rule]:
    """All rules of a site; those whose signals it never sends never fire."""
    s = settings
    rules = [
        Rule(
            "power", "power_outage", Kind.CONDITION, Severity.ALARM,
            _is("power_ok", False), _is("power_ok", True), s.power_on_ms, s.power_off_ms,
        ),
        Rule(
            "comms", "comms_gap", Kind.CONDITION, Severity.ALARM,
            # an outage explains the silence of a panel whose battery has run down
            lambda v: v.get(SILENT, False) and v.get("power_ok", True),
            _is(SILENT, False), 0, 0,
        ),
        Rule(
            "high_level", "high_level", Kind.CONDITION, Severity.CRITICAL,
            lambda v: v.get("high_level", v.get(ABOVE_HIGH, False)),
            lambda v: not v.get("high_level", v.get(ABOVE_HIGH, False)),
            s.high_on_ms, s.high_off_ms,
        ),
        Rule(
            "overflow", "overflow", Kind.CONDITION, Severity.CRITICAL,
            _is(AT_COVER, True), _is(AT_COVER, False),
            max(s.cover_on_ms, 3 * period_ms // 2), s.cover_off_ms,
        ),
        Rule(
            "sensor_failed", "sensor_failed", Kind.PREDICTIVE, Severity.ALARM,
            lambda v: v.get(LEVEL_MISSING, False) and not v.get(SILENT, False),
            _is(LEVEL_MISSING, False), s.level_missing_ms, s.level_back_ms,
        ),
        Rule(
            "unanswered", _unanswered_by(site), Kind.PREDICTIVE, Severity.CRITICAL,
            lambda v: v.get(UNANSWERED, False) and v.get("power_ok", True) and v.get("mode_auto", True)
            and not v.get("door_open", False),  # who works on the pump knows that it stands
            _is(UNANSWERED, False), max(s.unanswered_ms, 3 * period_ms), s.contact_off_ms,
            "pump1" if site.pumps == 1 else None,
        ),
        Rule(
            "left_in_manual", "left_in_manual", Kind.PREDICTIVE, Severity.ALARM,
            lambda v: not v.get("mode_auto", True) and not v.get("door_open", False),
            _is("mode_auto", True), s.manual_ms, s.manual_off_ms,
        ),
        Rule(
            "clock_error", "clock_error", Kind.CONDITION, Severity.WARNING,
            lambda v: v.get(CLOCK_BACK, False) or v.get(CLOCK_AHEAD, False),
            lambda v: not (v.get(CLOCK_BACK, False) or v.get(CLOCK_AHEAD, False)),
            0, s.clock_good_ms,
        ),
    ]  # fmt: skip
    for n in range(1, site.pumps + 1):
        rules.append(
            Rule(
                f"dry_run:pump{n}", "stuck_on", Kind.PREDICTIVE, Severity.ALARM,
                _is(dry_run(n), True), _is(dry_run(n), False),
                s.dry_run_ms, s.dry_over_ms, f"pump{n}",
            )
        )  # fmt: skip
        rules.append(_contacts(n, ("fault", "overload", "thermal"), "pump_trip", Severity.ALARM, s))
        rules.append(_contacts(n, ("seal", "leakage"), "seal_leak", Severity.WARNING, s))
    return rules


def _unanswered_by(site: Site) -> str:
    """What keeps every pump from running: an only pump itself, before a float or a phase lost for all."""
    if site.pumps == 1:
        return "pump_out_of_service"
    return "float_hangup" if site.control == "float" else "phase_loss"


def watched_signals(rules: list[Rule]) -> list[str]:
    """The two-valued signals of the panel that rules read."""
    contacts = [signal for rule in rules for signal in rule.signals]
    return ["power_ok", "high_level", "mode_auto", "door_open", *contacts]


def dry_run(pump: int) -> str:
    """The derived signal of a pump that runs below the stop level."""
    return f"_dry_run{pump}"


def trip_cause(pump: int) -> str:
    return f"contact:pump{pump}_fault"


def _contacts(
    pump: int, names: tuple[str, ...], fault: str, severity: Severity, s: PresentSettings
) -> Rule:
    """Contacts that mean the same for the crew make one fact: ``contact:pump1_fault`` or ``_seal``."""
    signals = tuple(f"pump{pump}_{name}" for name in names)
    return Rule(
        f"contact:{signals[0]}", fault, Kind.PREDICTIVE, severity,
        lambda v: any(v.get(x, False) for x in signals),
        lambda v: not any(v.get(x, False) for x in signals),
        s.contact_on_ms, s.contact_off_ms, f"pump{pump}", signals,
    )  # fmt: skip


def _is(signal: str, value: bool) -> Callable[[Values], bool]:
    return lambda v: v.get(signal) is value
