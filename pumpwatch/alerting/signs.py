"""Evidence in sentences: what a sign says, in the units people use.

A sign is one entry of an alert's evidence: {feature, target, now, normal, deviation}, SI inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pumpwatch.alerting.i18n import N_, Translator

_LARGEST = 1e9
_NORMAL_SAYS_NOTHING = {
    "capacity_scatter", "pair_log_ratio", "silence_s", "outage_s", "level_m", "nameplate_capacity_m3s",
    "partner_capacity_m3s", "early_capacity_m3s", "early_current_a",
}  # fmt: skip
"""Ratios to what is normal, present facts that are measured against a limit, and what is held against
something else than a normal."""

Show = Callable[[float, Translator], str]


def number_of(value: Any) -> float | None:
    """``value`` if it is a number one can say, else None: evidence may come from a file."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < _LARGEST else None


def pump_name(target: object, tr: Translator) -> str:
    """``Pump 2`` for ``pump2``; the station where no pump is meant."""
    if target == "both":
        return tr._("Both pumps")
    text = str(target or "")
    if text.startswith("pump") and text[4:].isdigit():
        return tr._("Pump {n}").format(n=int(text[4:]))
    return tr._("The station")


def _in(pattern: str, scale: float = 1.0, decimals: int = 0) -> Show:
    def show(value: float, tr: Translator) -> str:
        return tr._(pattern).format(value=tr.number(value * scale, decimals))

    return show


def _percent(value: float, tr: Translator) -> str:
    return tr.percent(value, 1 if 0 < abs(value) < 0.02 else 0)


def _ratio(log_ratio: float, tr: Translator) -> str:
    return tr.percent(math.exp(max(-10.0, min(10.0, log_ratio))))


def _times(value: float, tr: Translator) -> str:
    return tr._("{value} times as much").format(value=tr.number(value, 1))


def _lasting(unit_ms: float) -> Show:
    return lambda value, tr: tr.duration(value * unit_ms)


_M3_MIN = _in(N_("{value} m³/min"), 60, 2)
_L_S = _in(N_("{value} L/s"), 1000, 2)
_M = _in(N_("{value} m"), 1, 2)
_MM = _in(N_("{value} mm"), 1000)
_MIN = _in(N_("{value} min"), 1 / 60, 1)
_AMP = _in(N_("{value} A"), 1, 1)
_AMP_FINE = _in(N_("{value} A"), 1, 2)
_PER_H = _in(N_("{value} per hour"), 1, 1)


@dataclass(frozen=True, slots=True)
class Sign:
    """``lower`` and ``higher`` are the sentences for a value below and above normal.

    Fields: ``pump``, ``now``, ``normal``, ``change`` (relative, as a percentage).
    """

    label: str
    show: Show
    lower: str
    higher: str


SIGNS: dict[str, Sign] = {
    "capacity_m3s": Sign(
        N_("pump capacity"),
        _M3_MIN,
        N_("{pump} moves {change} less water per minute than its own reference: {now}"),
        N_("{pump} moves {change} more water per minute than its own reference: {now}"),
    ),
    "capacity_index": Sign(
        N_("capacity index"),
        _percent,
        N_("{pump} moves {change} less water per minute than its own reference"),
        N_("{pump} moves {change} more water per minute than its own reference"),
    ),
    "capacity_scatter": Sign(
        N_("scatter of the pump capacity"),
        _times,
        N_("The capacity of {pump} varies less than usual from run to run: {now}"),
        N_("The capacity of {pump} varies more than usual from run to run: {now}"),
    ),
    "pair_log_ratio": Sign(
        N_("capacity beside the other pump"),
        _ratio,
        N_("Beside the other pump, {pump} moves only {now} of what it used to"),
        N_("Beside the other pump, {pump} moves {now} of what it used to"),
    ),
    "nameplate_capacity_m3s": Sign(
        N_("pump capacity beside the nameplate"),
        _M3_MIN,
        N_("{pump} moves {change} less water per minute than its nameplate says: {now}"),
        N_("{pump} moves {change} more water per minute than its nameplate says: {now}"),
    ),
    "partner_capacity_m3s": Sign(
        N_("pump capacity beside the best other pump"),
        _M3_MIN,
        N_("{pump} moves {change} less water per minute than the other pump: {now}"),
        N_("{pump} moves {change} more water per minute than the other pump: {now}"),
    ),
    "early_capacity_m3s": Sign(
        N_("pump capacity beside its first days"),
        _M3_MIN,
        N_("{pump} moves {change} less water per minute than in its first days here: {now}"),
        N_("{pump} moves {change} more water per minute than in its first days here: {now}"),
    ),
    "early_current_a": Sign(
        N_("current beside the first days"),
        _AMP_FINE,
        N_("{pump} draws {change} less current than in its first days here: {now}"),
        N_("{pump} draws {change} more current than in its first days here: {now}"),
    ),
    "inflow_m3s": Sign(
        N_("inflow"),
        _L_S,
        N_("Less sewage arrives than usual at this hour: {now}"),
        N_("More sewage arrives than usual at this hour: {now}"),
    ),
    "night_inflow_m3s": Sign(
        N_("night inflow"),
        _L_S,
        N_("The lowest flow at night has fallen to {now}"),
        N_("The lowest flow at night has grown to {now}"),
    ),
    "backflow_m3s": Sign(
        N_("back-flow after a stop"),
        _L_S,
        N_("After a stop of {pump} less flows back than usual: {now}"),
        N_("After a stop of {pump} {now} flows back into the well"),
    ),
    "run_s": Sign(
        N_("run time"),
        _MIN,
        N_("{pump} runs shorter than usual: {now}"),
        N_("{pump} runs longer than usual: {now}"),
    ),
    "fill_s": Sign(
        N_("fill time"),
        _MIN,
        N_("The well fills faster than usual: {now}"),
        N_("The well fills more slowly than usual: {now}"),
    ),
    "start_level_m": Sign(
        N_("start level"),
        _M,
        N_("The start level is lower than usual: {now}"),
        N_("The start level is higher than usual: {now}"),
    ),
    "stop_level_m": Sign(
        N_("stop level"),
        _M,
        N_("The stop level is lower than usual: {now}"),
        N_("The stop level is higher than usual: {now}"),
    ),
    "level_spread_m": Sign(
        N_("scatter of the start and stop levels"),
        _MM,
        N_("The levels of start and stop scatter less than usual: {now}"),
        N_("The pumps start or stop at varying levels: they scatter by {now}"),
    ),
    "level_shift_m": Sign(
        N_("shift of the level reading"),
        _MM,
        N_("The level reading has shifted: {now}"),
        N_("The level reading has shifted: {now}"),
    ),
    "current_a": Sign(
        N_("motor current"),
        _AMP,
        N_("{pump} draws less current than usual: {now}"),
        N_("{pump} draws more current than usual: {now}"),
    ),
    "current_scatter_a": Sign(
        N_("scatter of the motor current"),
        _AMP_FINE,
        N_("The current of {pump} is steadier than usual: it scatters by {now}"),
        N_("The current of {pump} is unsteady: it scatters by {now}"),
    ),
    "start_share": Sign(
        N_("share of the starts"),
        _percent,
        N_("{pump} makes only {now} of the starts"),
        N_("{pump} makes {now} of the starts"),
    ),
    "starts_per_h": Sign(
        N_("starts per hour"),
        _PER_H,
        N_("{pump} starts more rarely than usual: {now}"),
        N_("{pump} starts more often than usual: {now}"),
    ),
    "short_run_share": Sign(
        N_("share of very short runs"),
        _percent,
        N_("Fewer runs of {pump} are very short: {now}"),
        N_("{now} of the runs of {pump} are very short"),
    ),
    "no_drawdown_share": Sign(
        N_("share of runs without effect"),
        _percent,
        N_("Fewer runs of {pump} move hardly any water: {now}"),
        N_("In {now} of the runs of {pump} hardly any water was moved"),
    ),
    "hand_over_share": Sign(
        N_("share of runs the other pump had to finish"),
        _percent,
        N_("The other pump finishes fewer runs of {pump}: {now}"),
        N_("In {now} of the runs of {pump} the other pump had to take over"),
    ),
    "late_start_share": Sign(
        N_("share of late starts"),
        _percent,
        N_("Starts come late more rarely than usual: {now} of them"),
        N_("Starts come late, above the start level: {now} of them"),
    ),
    "missed_turn_share": Sign(
        N_("share of turns the pump missed"),
        _percent,
        N_("{pump} misses its turn more rarely than usual: {now}"),
        N_("{pump} did not start when it was its turn: {now} of its turns"),
    ),
    "idle_share": Sign(
        N_("share of turns the pump stood idle"),
        _percent,
        N_("{pump} stands idle more rarely than usual: {now}"),
        N_("{pump} stood idle while the other pump ran: {now} of the time"),
    ),
    "low_stop_share": Sign(
        N_("share of stops below the stop level"),
        _percent,
        N_("{pump} runs below the stop level more rarely than usual: {now}"),
        N_("{pump} runs on below the stop level: {now} of its runs"),
    ),
    "idle_h": Sign(
        N_("time without a run"),
        _lasting(3_600_000),
        N_("{pump} last ran {now} ago"),
        N_("{pump} has not run for {now}"),
    ),
    "silence_s": Sign(
        N_("time without data"),
        _lasting(1000),
        N_("No data have arrived for {now}"),
        N_("No data have arrived for {now}"),
    ),
    "frozen_s": Sign(
        N_("time without movement of the level"),
        _lasting(1000),
        N_("The level reading has not moved for {now}"),
        N_("The level reading has not moved for {now}"),
    ),
    "outage_s": Sign(
        N_("time without mains power"),
        _lasting(1000),
        N_("There has been no mains power for {now}"),
        N_("There has been no mains power for {now}"),
    ),
    "level_m": Sign(
        N_("water level"),
        _M,
        N_("The water level stands at {now}"),
        N_("The water level is high: {now}"),
    ),
    "anomaly_p": Sign(
        N_("rarity of such behaviour"),
        _percent,
        N_("Only {now} of this station's earlier behaviour was as unusual as this"),
        N_("{now} of this station's earlier behaviour was as unusual as this"),
    ),
}


def sentence(sign: Mapping[str, Any], tr: Translator) -> str | None:
    """The sign as a sentence, with what is normal where that is known. None: cannot be said.

    >>> from pumpwatch.alerting.i18n import translator
    >>> sentence({"feature": "capacity_index", "target": "pump2", "now": 0.73, "normal": 1.0},
    ...          translator("en"))
    'Pump 2 moves 27% less water per minute than its own reference'
    """
    feature, now = str(sign.get("feature")), number_of(sign.get("now"))
    known = SIGNS.get(feature)
    if known is None or now is None:
        return None
    normal = number_of(sign.get("normal"))
    reference = 1.0 if feature == "capacity_index" and normal is None else normal
    template = known.lower if _is_lower(sign, now, reference) else known.higher
    change = number_of(abs(now - reference) / abs(reference)) if reference else None
    if "{change}" in template and change is None:
        template = N_("{label} of {pump}: {now}")
    said = tr._(template).format(
        pump=pump_name(sign.get("target"), tr),
        now=known.show(now, tr),
        label=tr._(known.label),
        change="" if change is None else tr.percent(change),
    )
    if normal is None or "{now}" not in template or feature in _NORMAL_SAYS_NOTHING:
        return said
    return tr._("{sentence} (normally {normal})").format(
        sentence=said, normal=known.show(normal, tr)
    )


def _is_lower(sign: Mapping[str, Any], now: float, reference: float | None) -> bool:
    if reference is not None and now != reference:
        return now < reference
    deviation = number_of(sign.get("deviation"))
    return deviation is not None and deviation < 0


@dataclass(frozen=True, slots=True)
class Point:
    """What diagnosis weighs for or against a cause, and the feature that shows it, if one does."""

    label: str
    feature: str | None = None


POINTS: dict[str, Point] = {
    "capacity": Point(N_("pump capacity"), "capacity_m3s"),
    "low_capacity": Point(N_("runs that move hardly any water"), "no_drawdown_share"),
    "pair": Point(N_("capacity beside the other pump"), "pair_log_ratio"),
    "trip": Point(N_("runs that broke off at once"), "hand_over_share"),
    "lag_answered": Point(N_("high levels the idle pump answered")),
    "scatter": Point(N_("scatter of the pump capacity"), "capacity_scatter"),
    "pace": Point(N_("speed at which the capacity was lost")),
    "current": Point(N_("motor current"), "current_a"),
    "backflow": Point(N_("back-flow after a stop"), "backflow_m3s"),
    "hand_over": Point(N_("runs the other pump had to finish"), "hand_over_share"),
    "short_run": Point(N_("very short runs"), "short_run_share"),
    "low_stop": Point(N_("stops below the stop level"), "low_stop_share"),
    "late_start": Point(N_("late starts"), "late_start_share"),
    "turn_lost": Point(N_("turns the pump missed"), "missed_turn_share"),
    "idle": Point(N_("turns the pump stood idle"), "idle_share"),
    "start_level": Point(N_("start level"), "start_level_m"),
    "stop_level": Point(N_("stop level"), "stop_level_m"),
    "start_spread": Point(N_("scatter of the start level"), "level_spread_m"),
    "stop_spread": Point(N_("scatter of the stop level"), "level_spread_m"),
    "levels_together": Point(N_("start and stop level have moved together")),
    "night_inflow": Point(N_("night inflow"), "night_inflow_m3s"),
    "inflow_low": Point(N_("inflow below its usual band"), "inflow_m3s"),
    "day_inflow": Point(N_("inflow above its usual at the same hours"), "inflow_m3s"),
}


def shown_by(key: object) -> tuple[str, str]:
    """Feature and target of the sign that shows the point ``key``; feature '' when none does."""
    name, _, target = str(key).partition(":")
    known = POINTS.get(name)
    return (known.feature or "" if known else "", target)


def point(
    key: str, signs: Iterable[Mapping[str, Any]], tr: Translator, *, against: bool
) -> str | None:
    """``capacity:pump1`` in words: the sign that shows it, else its name; None: nobody knows it.

    What speaks against a cause without showing itself is what the cause would change and did not.
    """
    name, _, target = key.partition(":")
    known = POINTS.get(name)
    if known is None:
        return None
    for sign in signs:
        if (sign.get("feature"), sign.get("target") or "") == shown_by(key):
            return sentence(sign, tr)
    said = tr._(known.label)
    if against:
        usual, unfit = tr._("{what} is as usual"), tr._("{what} does not fit")
        said = (usual if known.feature else unfit).format(what=said)
    if target:
        said = tr._("{pump}: {what}").format(what=said, pump=pump_name(target, tr))
    return said
