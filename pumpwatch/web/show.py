"""Small words for pages: states, steps, pumps, who; each in the reader's language."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pumpwatch.alerting.catalogue import GROUP_TITLE
from pumpwatch.alerting.i18n import N_, Translator
from pumpwatch.alerting.signs import pump_name
from pumpwatch.alerting.weather import HELD
from pumpwatch.alerting.wording import Wording, entry_of, fault_title
from pumpwatch.domain.actors import LOCAL, SYSTEM
from pumpwatch.domain.alerts import Alert, Kind, Severity, Step, Transition, iso_utc
from pumpwatch.domain.clock import DAY_MS
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.domain.labels import NOTHING_FOUND, OTHER
from pumpwatch.domain.ports import DemoControls
from pumpwatch.domain.proofs import FLOAT, KNEE, VOLUME, Proof
from pumpwatch.domain.signals import SIGNALS, Signal, SignalKind, run_signal
from pumpwatch.domain.sites import LogKind, Site
from pumpwatch.services.label_scores import Share
from pumpwatch.services.queries import Attention, StationRow, since_of
from pumpwatch.web.deps import name_of

_STATES = {
    Attention.CRITICAL: N_("Critical"),
    Attention.ALARM: N_("Alarm"),
    Attention.WARNING: N_("Warning"),
    Attention.SILENT: N_("No data"),
    Attention.INFO: N_("Notice"),
    Attention.NORMAL: N_("Normal"),
}
_STEPS = {
    Step.OPENED: N_("Began"),
    Step.WORSENED: N_("Got worse"),
    Step.ACKNOWLEDGED: N_("Acknowledged"),
    Step.RESOLVED: N_("Over"),
    Step.NOTE: N_("Note"),
}
_HELD = N_(
    "More water comes in at several stations at once. Nobody is told before two days have passed, "
    "and only if it still stands then."
)
_LOG = {
    LogKind.OVERHAUL: N_("Overhaul"),
    LogKind.CLEANING: N_("Cleaning"),
    LogKind.REPLACED: N_("Replaced"),
    LogKind.ACCEPTED_CHANGE: N_("Change accepted"),
    LogKind.SET_POINT: N_("Set point changed"),
    LogKind.VISIT: N_("Visit"),
    LogKind.MANUAL_RUN: N_("Manual run"),
}

_WITNESSES = {
    FLOAT: N_("High-level float"),
    KNEE: N_("Knee of the fill at the inlet"),
    VOLUME: N_("Volumes against the name plate"),
}
_FOUND = {NOTHING_FOUND: N_("Nothing found"), OTHER: N_("Something else (in words)")}


@dataclass(frozen=True, slots=True)
class Show:
    """What templates ask for a word. Holds the language and the wording of alerts."""

    tr: Translator
    word: Callable[[Alert, Site, Translator], Wording]

    def words(self, alert: Alert, site: Site) -> Wording:
        return self.word(alert, site, self.tr)

    def state(self, attention: Attention | Severity) -> str:
        return self.tr.gettext(_STATES[Attention(attention)])

    def step(self, step: Step) -> str:
        return self.tr.gettext(_STEPS[step])

    def why(self, step: Transition) -> str:
        """The reason of a step: a person's words, or that notices wait for the weather."""
        own = step.actor == SYSTEM and step.why == HELD
        return self.tr.gettext(_HELD) if own else step.why

    def log(self, kind: LogKind) -> str:
        return self.tr.gettext(_LOG[kind])

    def pump(self, target: str | None) -> str:
        """``1号ポンプ`` / ``Pump 1``; '' for a whole station."""
        return pump_name(target, self.tr) if target else ""

    def running(self, row: StationRow) -> str:
        """Which pumps run, as one phrase; what nobody hears of is not said."""
        told = any(run_signal(n) in row.values for n in range(1, row.site.pumps + 1))
        if row.silent or not told:
            return self.tr._("Pumps: not known")
        if not row.running:
            return self.tr._("Pumps stopped")
        pumps = self.tr.listed(self.pump(p) for p in row.running)
        return self.tr._("{pumps} running").format(pumps=pumps)

    def who(self, actor_id: str | None) -> str:
        if actor_id == SYSTEM.id:
            return self.tr._("pumpwatch")
        if actor_id is None or actor_id == LOCAL.id:
            return self.tr._("somebody at this hub")
        return name_of(actor_id) or actor_id

    def level_of(self, row: StationRow) -> str:
        """The level of a station; of a silent one, what it was last."""
        level = row.values.get("level_m")
        if row.silent and level is not None:
            return self.tr._("last {level}").format(level=self.level(level))
        return self.level(level)

    def level(self, metres: float | None) -> str:
        return self.tr._("level unknown") if metres is None else f"{self.tr.number(metres, 2)} m"

    def moment(self, t_ms: int, site: Site, now_ms: int) -> str:
        """Date and time at the station; the year only when it is not obvious."""
        return self.tr.moment(t_ms, site.timezone, year=abs(now_ms - t_ms) > 300 * DAY_MS)

    def fault(self, code: str) -> str:
        return fault_title(code, self.tr)

    def found(self, code: str) -> str:
        """What somebody found, by its code."""
        return self.tr.gettext(_FOUND[code]) if code in _FOUND else self._large(self.fault(code))

    def findings(self, alert: Alert | None = None) -> list[tuple[str, list[tuple[str, str]]]]:
        """What may have been found, in groups of (code, name): what the alert named comes first."""
        named = list(alert.fault) if alert is not None else []
        groups = [(self.tr._("Named by the alert"), named)] if named else []
        groups.append((self.tr._("Otherwise"), [NOTHING_FOUND, OTHER]))
        for group, title in GROUP_TITLE.items():
            codes = [code for code, its in FAULT_GROUP.items() if its is group]
            groups.append((self.tr.gettext(title), [c for c in codes if c not in named]))
        return [(title, [(c, self.found(c)) for c in codes]) for title, codes in groups if codes]

    def unproven(self, row: StationRow) -> str:
        """Which pumps nobody has seen draw the well down for too long."""
        pumps = self.tr.listed(self.pump(pump) for pump in row.unproven)
        return self.tr._("No proof of standby: {pumps}").format(pumps=pumps)

    def standby(self, row: StationRow) -> list[tuple[str, int | None, bool]]:
        """Each pump: its name, when it last drew the well down, whether that is too long ago."""
        proven = {proof.subject: proof.proven_ms for proof in row.proofs}
        pumps = [f"pump{n}" for n in range(1, row.site.pumps + 1)]
        return [(self.pump(p), proven.get(p), p in row.unproven) for p in pumps]

    def witnesses(self, row: StationRow) -> list[tuple[str, Proof | None, str]]:
        """What can witness of the level sensor here: its name, what it said, in figures."""
        site, said = row.site, {proof.subject: proof for proof in row.proofs}
        there = {
            FLOAT: site.high_level_m is not None and ("high_level" in row.values or FLOAT in said),
            KNEE: site.inlet_level_m is not None,
            VOLUME: site.capacity_m3s is not None and site.area_m2 is not None,
        }
        return [
            (self.tr.gettext(_WITNESSES[subject]), said.get(subject),
             self._figures(said.get(subject)))
            for subject, exists in there.items()
            if exists
        ]  # fmt: skip

    def _figures(self, proof: Proof | None) -> str:
        if proof is None or proof.measured is None or proof.expected is None:
            return ""
        flow = proof.subject == VOLUME
        unit, scale = (self.tr._("m³/min"), 60.0) if flow else ("m", 1.0)
        return self.tr._("measured {measured}, expected {expected} {unit}").format(
            measured=self.tr.number(proof.measured * scale, 2),
            expected=self.tr.number(proof.expected * scale, 2),
            unit=unit,
        )

    def share(self, share: Share) -> str:
        """``86% (6 of 7; 95 %: 49–97%)``; of nothing, that it is not known yet."""
        if share.value is None or share.interval is None:
            return self.tr._("not known yet")
        low, high = share.interval
        return self.tr._("{share} ({hits} of {n}; 95 % interval {low} to {high})").format(
            share=self.tr.percent(share.value), hits=share.hits, n=share.n,
            low=self.tr.percent(low), high=self.tr.percent(high),
        )  # fmt: skip

    @staticmethod
    def _large(text: str) -> str:
        return text[:1].upper() + text[1:]

    def what(self, alert: Alert) -> str:
        """Pump and fault, without the station and the urgency: those stand beside it."""
        entry = entry_of(alert)
        what = self.tr._(entry.title)
        if alert.kind is Kind.PREDICTIVE and not entry.observed:
            what = self.tr._("{fault} suspected").format(fault=what)
        if alert.target is None:
            return self._large(what)
        return self.tr._("{pump}: {what}").format(pump=self.pump(alert.target), what=what)

    def iso(self, t_ms: int) -> str:
        return iso_utc(t_ms)

    def since(self, alert: Alert) -> int:
        return since_of(alert)

    def targets(self, demo: DemoControls, rows: Sequence[StationRow]) -> list[str]:
        """Every pump that any station of the demo has."""
        return sorted({t for row in rows for t in demo.targets(row.key.site)})

    def station(self, rows: Sequence[StationRow], site: str) -> str:
        return next((row.name for row in rows if row.key.site == site), site)

    def readings(self, row: StationRow) -> list[tuple[str, str]]:
        """The newest row of a station, each value with its name and unit."""
        return [
            (getattr(signal, self.tr.lang), self._reading(signal, row.values[name]))
            for name, signal in SIGNALS.items()
            if name in row.values
        ]

    def _reading(self, signal: Signal, value: float) -> str:
        if signal.kind is SignalKind.STATE:
            return self.tr._("on") if value >= 0.5 else self.tr._("off")
        decimals = 2 if signal.unit == "m" else 1 if signal.unit else 0
        return f"{self.tr.number(value, decimals)} {signal.unit}".strip()
