"""One site's diagnosis, live and in a backtest alike: rows in, findings and cycles out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from pumpwatch.cycles.features import cycle_rows, significant
from pumpwatch.cycles.phases import PhaseRules
from pumpwatch.diagnosis.calendar import HalfDays
from pumpwatch.diagnosis.charts import Chart
from pumpwatch.diagnosis.episodes import Sign
from pumpwatch.diagnosis.events import Turns, events_of
from pumpwatch.diagnosis.forest import SiteModel
from pumpwatch.diagnosis.gates import WetGate, visited
from pumpwatch.diagnosis.halfday import Value, summarise
from pumpwatch.diagnosis.joining import look, written_off
from pumpwatch.diagnosis.judge import FEATURE_OF
from pumpwatch.diagnosis.layers import Layers
from pumpwatch.diagnosis.learning import apply_log, keep, kept_cycles, set_references
from pumpwatch.diagnosis.partners import ALIKE, others_gain, others_stronger_too, others_weak
from pumpwatch.diagnosis.references import TAKES_TURNS, PumpReference
from pumpwatch.diagnosis.risk import evidence
from pumpwatch.diagnosis.seen import Seen, see
from pumpwatch.diagnosis.settings import DiagnosisSettings, effects
from pumpwatch.diagnosis.state import AssessorState
from pumpwatch.diagnosis.steps import accept_step
from pumpwatch.diagnosis.strangeness import Fit, Strangeness, vector
from pumpwatch.diagnosis.water import usual_inflow
from pumpwatch.domain.alerts import Finding, Json, Kind, Phase, Severity, iso_utc
from pumpwatch.domain.cycles import CycleRow
from pumpwatch.domain.keys import SiteKey
from pumpwatch.domain.samples import Chunk, Edge
from pumpwatch.domain.sites import LogEntry, LogKind, Site

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
EVIDENCE_MS = 3 * HOUR_MS
"""So often evidence is weighed: what a pump did since noon counts before the day is over."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What one call found: findings in order of time, the cycles that became final, and at the end of
    each half-day and every three hours (epoch ms) how far evidence had come towards an alert, 0 to 1."""

    findings: list[Finding]
    cycles: list[CycleRow]
    evidence: Sequence[tuple[int, float]] = ()


class SiteAssessor:
    """Assesses one site. ``state`` goes on where an earlier one stopped, with nothing lost or repeated."""

    def __init__(
        self,
        key: SiteKey,
        site: Site,
        *,
        fit: Fit,
        settings: DiagnosisSettings | None = None,
        log: Sequence[LogEntry] = (),
        state: bytes | None = None,
        layers: Layers | None = None,
    ) -> None:
        self.key, self._site = key, site
        self._set = settings or DiagnosisSettings()
        self._layers = layers or Layers()
        self._s = msgspec.msgpack.decode(state, type=AssessorState) if state else AssessorState()
        if state and b"joining" not in state:  # written before stations were looked at as they join
            self._s.joining.settled = self._s.site is not None
        rules = PhaseRules(
            gap_s=2.5 * (site.sample_s or 60.0),
            ceiling_m=site.inlet_level_m if site.inlet_level_m is not None else math.inf,
        )
        self._cutter = self._layers.cutter(rules, self._s.cutter or None)
        self._present = self._layers.present(key, site, None, self._s.present)
        self._strangeness = Strangeness(key, fit, self._s.strangeness, self._set)
        self._judge = self._layers.judge(key, site, self._s, self._set)
        self._calendar = HalfDays(site.timezone)
        self._gauge = site.has_rain is not False
        self._log = sorted(log, key=lambda e: e.t_ms)
        self._found: list[Finding] = []
        self._evidence: list[tuple[int, float]] = []

    # -- the outside -------------------------------------------------------------------------

    def feed(self, chunk: Chunk, edges: Sequence[Edge] = ()) -> Assessment:
        """Take rows and edges; return what they show."""
        facts = self._present.feed(chunk, edges)
        self._found, due, self._evidence = list(facts), list(facts), []
        self._follow_clock()
        if len(chunk) and self._s.first_ms is None:
            self._advance(int(chunk.t_ms.min()))
        cycles = self._cutter.feed(chunk, edges)
        flows = self._layers.physics(cycles, self._site.area_m2)
        for cycle in see(cycles, flows):
            while due and due[0].t_ms <= cycle.final_ms:
                self._mind(due.pop(0))
            self._advance(cycle.final_ms)
            self._take(cycle)
        for fact in due:
            self._mind(fact)
        if len(chunk):
            self._advance(self._cutter.last_ms)
        rows = cycle_rows(cycles, flows, self._site.area_m2)
        found = sorted(self._found, key=lambda f: f.t_ms)
        return Assessment(found, rows, tuple(self._evidence))

    def tick(self, now_ms: int) -> Assessment:
        """What absence alone tells by ``now_ms``."""
        facts = self._present.tick(now_ms)
        for fact in facts:
            self._mind(fact)
        return Assessment(list(facts), [])

    def add_log(self, entry: LogEntry) -> None:
        """People did something at the station: an overhaul sets references anew, and so on."""
        self._log = sorted([*self._log, entry], key=lambda e: e.t_ms)

    def install(self, model: SiteModel, effective_ms: int) -> None:
        """Use ``model`` from ``effective_ms`` on. A restored assessor is given its models again."""
        self._strangeness.install(model, effective_ms)

    @property
    def settings(self) -> DiagnosisSettings:
        return self._set

    def retune(self, settings: DiagnosisSettings) -> None:
        """Judge by ``settings`` from here on; what was learnt and added up so far stays."""
        self._set = settings
        self._strangeness.retune(settings)
        self._judge = self._layers.judge(self.key, self._site, self._s, settings)

    def snapshot(self) -> bytes:
        """Everything remembered, small enough to keep with every checkpoint."""
        self._s.cutter = self._cutter.snapshot()
        self._s.present = self._present.state
        return msgspec.msgpack.encode(self._s)

    def _follow_clock(self) -> None:
        """A clock that was set back begins a new record; what was learnt stays."""
        now_ms = self._present.state.row_ms
        if now_ms is None or now_ms >= self._cutter.last_ms or self._s.first_ms is None:
            return
        s = self._s
        self._cutter = self._layers.cutter(self._cutter.rules, None)
        s.half, s.half_from_ms, s.half_to_ms = self._calendar.of(now_ms)
        s.cycles.clear()
        s.turns, s.gate = Turns(), WetGate()

    # -- cycles ------------------------------------------------------------------------------

    def _mind(self, fact: Finding) -> None:
        """While the level cannot be believed, no cycle is judged by it."""
        if fact.fault[0] in ("frozen_level", "sensor_failed"):
            if fact.phase == Phase.RESOLVED:
                self._s.blind.discard(fact.cause)
            else:
                self._s.blind.add(fact.cause)

    def _take(self, c: Seen) -> None:
        s = self._s
        if s.blind or visited(c) or self._work_logged(c) or self._excluded(c):
            s.turns.add(c, self._site.pumps)
            return
        wet = s.gate.add(c, s.site, self._gauge, self._set)
        hour = self._hour(c.start_ms)
        s.cycles.append((c, hour, wet))
        if s.site is None or len(s.pumps) < self._site.pumps:
            keep(c, hour, wet, s, self._set)
        if s.site is not None:
            fired = (
                self._events(c, wet) | self._idle(c) | self._fast(c, wet) | self._gain(c, hour, wet)
            )
            if c.valid and s.water.add(c, hour, s.gate.rainy, s.site, self._set):
                fired.add("inflow_low")
            if fired:
                self._found += self._judge.hear(c.final_ms, fired)
        s.turns.add(c, self._site.pumps)
        if s.site is not None and s.usual.add(c, s.site, self._set):
            for key in [k for k in s.counts if k.startswith(("late_start", "turn_lost"))]:
                s.counts[key].reset()

    def _work_logged(self, c: Seen) -> bool:
        """Somebody wrote down that they were there: what the pumps did then was theirs."""
        span_ms = int(self._set.visit_h * HOUR_MS)
        return any(
            e.kind in (LogKind.VISIT, LogKind.MANUAL_RUN) and 0 <= c.final_ms - e.t_ms < span_ms
            for e in self._log
        )

    def _excluded(self, c: Seen) -> bool:
        """Somebody decided that this time does not count."""
        return any(a < c.final_ms and c.start_ms < b for a, b in self._set.excluded_ms)

    def _hour(self, t_ms: int) -> float:
        late = 12.0 if self._s.half % 2 else 0.0
        return ((t_ms - self._s.half_from_ms) / HOUR_MS + late) % 24.0

    def _events(self, c: Seen, wet: bool) -> set[str]:
        s, limits, fired = self._s, self._set, set[str]()
        assert s.site is not None
        expected = s.turns.expected(self._site.pumps, s.site)
        for name, pump, hit in events_of(
            c, s.site, s.pumps.get(c.pump), s.usual, expected, wet, limits
        ):
            key = f"{name}:pump{pump}" if pump else name
            base = min(max(s.site.rates.get(key, 0.0), limits.count_floor), 0.2)
            rate = max(limits.count_rate, 3 * base)
            count = s.counts.setdefault(key, self._layers.count())
            count.add(hit, c.final_ms, base=base, rate=rate, limit=limits.count_limit)
            if hit and count.fires(limits.count_limit, int(limits.count_span_h * HOUR_MS)):
                fired.add(key)
        return fired

    def _idle(self, c: Seen) -> set[str]:
        """Pumps that have not begun a run although it was their turn again and again."""
        s, limits, fired = self._s, self._set, set[str]()
        assert s.site is not None
        for k in range(1, self._site.pumps + 1):
            key = f"idle:pump{k}"
            count = s.counts.setdefault(key, self._layers.count())
            answered = s.counts.setdefault(f"lag_answered:pump{k}", self._layers.count())
            if c.pump == k:
                s.site.rested(k, (c.start_ms - s.turns.last_run_ms.get(k, c.start_ms)) / HOUR_MS)
                count.reset()
                answered.reset()
                continue
            last = s.turns.last_run_ms.get(k, c.final_ms)
            others, rested = s.turns.others.get(k, 0) + 1, c.final_ms - last
            missed = others >= limits.idle_starts and rested > self._rest_h(k) * HOUR_MS
            if missed or rested > limits.idle_days * DAY_MS:
                if not count.total:
                    count.since_ms = last
                count.total, count.share = 2 * limits.count_limit, 1.0
                count.hits, count.last_ms = others, c.final_ms
                if c.pumps & (1 << (k - 1)):
                    answered.total = 2 * limits.count_limit
                fired.add(key)
        return fired

    def _fast(self, c: Seen, wet: bool) -> set[str]:
        """Strong and consistent deviations of single cycles need no half-days."""
        s, limits, fired = self._s, self._set, set[str]()
        ref = s.pumps.get(c.pump)
        if ref is None or not c.valid or wet or c.samples < 2:
            return fired
        share = c.backflow / math.exp(ref.capacity.value)
        for name, line, value, side in (
            ("capacity", ref.capacity, c.log_capacity, -1),
            ("backflow", ref.backflow, share, 1),
        ):
            if math.isnan(value) or not line.known:
                continue
            key = f"{name}:pump{c.pump}"
            rest = value - line.expect(c.log_inflow) - s.offsets.get(key, 0.0)
            sigma = max(line.cycle_sigma, 2 * line.half_sigma)
            chart = s.fast.setdefault(key, self._layers.chart())
            chart.add(rest / sigma, c.final_ms, slack=limits.cycle_slack,
                      limit=limits.cycle_limit, clip=limits.cycle_clip)  # fmt: skip
            if chart.fires(side, limits.cycle_limit, limits.cycle_persistence):
                effect = side * chart.level * sigma
                if effect > self._fast_effect(name, c.pump):
                    s.values[key] = _value(name, rest, sigma, ref)
                    s.measured_ms[key] = c.final_ms
                    fired.add(key)
        return fired

    def _gain(self, c: Seen, hour: float, wet: bool) -> set[str]:
        """A pump that seems stronger than ever, in rain too: no pump gets better by itself.

        What runs back through its open valve counts as inflow while it rests, and so as its own flow when it
        runs; then as much more seems to come in as it seems to pump. All pumps at once: the main has burst.
        """
        s, limits = self._s, self._set
        ref = s.pumps.get(c.pump)
        if ref is None or not c.valid or c.samples < 2 or math.isnan(c.log_capacity):
            return set()
        assert s.site is not None
        key = f"capacity:pump{c.pump}"
        expected = ref.capacity.expect(c.log_inflow) + s.offsets.get(key, 0.0)
        rest = c.log_capacity - expected
        sigma = max(ref.capacity.cycle_sigma, 2 * ref.capacity.half_sigma)
        chart = s.fast.setdefault(f"gain:pump{c.pump}", self._layers.chart())
        chart.add(rest / sigma, c.final_ms, slack=limits.cycle_slack,
                  limit=limits.cycle_limit, clip=3 * limits.cycle_clip)  # fmt: skip
        if not chart.fires(1, limits.cycle_limit, limits.cycle_persistence):
            return set()
        gain, others = chart.level * sigma, others_gain(c.pump, s, limits)
        usual = c.log_inflow <= ref.capacity.high + 0.1
        together = min(others, default=0.0) > ALIKE * chart.level
        more = c.capacity - math.exp(expected)
        returns = c.inflow - usual_inflow(s.site, hour) > 0.5 * more
        alone = max(others, default=0.0) < 0.5 * chart.level
        burst = usual and together and gain > limits.gain_effect
        if not burst and not (returns and alone and gain > limits.fast_effect_common):
            return set()
        s.values[key] = _value("capacity", rest, sigma, ref)
        s.measured_ms[key] = c.final_ms
        return {key}

    def _fast_effect(self, name: str, pump: int) -> float:
        if name == "backflow":
            return 2 * self._set.backflow_effect
        alone = others_weak(pump, self._s, self._set) is False
        return self._set.fast_effect if alone else self._set.fast_effect_common

    def _rest_h(self, pump: int) -> float:
        """How long a pump may rest: half as long again as it usually does where the duty passes on."""
        site = self._s.site
        assert site is not None
        usual = site.rests_h.get(pump)
        if usual is None:
            return self._set.idle_h if site.turns > TAKES_TURNS else math.inf
        return max(self._set.idle_h, 1.5 * usual)

    # -- half-days ---------------------------------------------------------------------------

    def _advance(self, t_ms: int) -> None:
        s = self._s
        if s.first_ms is None:
            s.first_ms = t_ms
            s.half, s.half_from_ms, s.half_to_ms = self._calendar.of(t_ms)
        while t_ms >= s.half_to_ms:
            self._close(s.half_to_ms)
            s.half, s.half_from_ms, s.half_to_ms = self._calendar.of(s.half_to_ms)
            s.cycles.clear()
        if s.site is None:
            return
        weighed_ms = s.weighed_ms or t_ms
        while t_ms >= (mark_ms := weighed_ms - weighed_ms % EVIDENCE_MS + EVIDENCE_MS):
            weighed_ms = mark_ms  # each that passed: which are met at once depends on the chunks
            self._evidence.append((mark_ms, evidence(s, self._set)))
        s.weighed_ms = weighed_ms

    def _close(self, now_ms: int) -> None:
        s = self._s
        renewed = apply_log(self._log, now_ms, s)
        self._found += written_off(self.key, now_ms, s.joining, renewed)
        if s.site is None or len(s.pumps) < self._site.pumps:
            self._found += self._newcomer(now_ms)
            set_references(
                now_ms, s, self._site, self._strangeness, self._set, self._layers.reference
            )
        if s.site is None:
            return
        values = summarise(s.cycles, s.site, s.pumps, self._set)
        for key, value in values.items():
            if accept_step(key, value, now_ms, s, self._set):
                self._say_step(key, value, now_ms)
                continue
            value = value._replace(residual=value.residual - s.offsets.get(key, 0.0))
            s.values[key], s.measured_ms[key] = value, now_ms
            chart = s.charts.setdefault(key, self._layers.chart())
            chart.add(value.residual / value.sigma, now_ms, slack=self._set.slack,
                      limit=self._set.limit, clip=self._set.clip)  # fmt: skip
        self._strange(now_ms)
        new_water = s.half % 2 == 1 and s.water.end_day(self._set)
        fired = {key for key in values if key in s.charts and self._fires(key)}
        fired |= {"day_inflow"} if new_water else set()
        self._found += self._judge.half_day(now_ms, fired)
        s.weighed_ms = now_ms
        self._evidence.append((now_ms, evidence(s, self._set)))

    def _newcomer(self, now_ms: int) -> list[Finding]:
        s = self._s
        assert s.first_ms is not None
        kept = kept_cycles(s, self._site)
        return look(self.key, now_ms, s.first_ms, s.joining, kept, s.pumps, self._site, self._set)

    def _strange(self, now_ms: int) -> None:
        """Let the forest see the half-day, and learn from it while nothing is wrong."""
        s = self._s
        assert s.site is not None
        vectors = [
            vector(c, s.site, s.pumps[c.pump], s.offsets)
            for c, _, wet in s.cycles
            if c.valid and not wet and c.pump in s.pumps
        ]
        self._strangeness.score(vectors, now_ms)
        if not s.episodes:
            self._strangeness.learn(vectors, s.half // 2)
            if self._strangeness.unusual:
                self._inform("unusual", None, now_ms, [])
        if s.half % 2:
            self._strangeness.midnight(now_ms, self._calendar.of(self._calendar.of(now_ms)[2])[2])

    def _fires(self, key: str) -> bool:
        name = key.partition(":")[0]
        limits, s = self._set, self._s
        value, chart = s.values[key], s.charts[key]
        if name == "night_inflow":
            s.nights = s.nights + 1 if value.residual > 0.6 * limits.night_effect else 0
            return s.nights >= limits.nights and value.residual > limits.night_effect
        if name == "capacity" and value.residual > 0:
            if not self._up(chart):
                return False
            sudden = (
                s.history[key][0] < 0.5 * value.residual
            )  # a well that silts up seems to gain slowly
            alike = sudden and others_stronger_too(key, s, limits, ALIKE)
            if value.residual > limits.gain_effect and alike:
                return True
            return value.residual > limits.capacity_effect and self._leaks(key)
        side = 1 if value.residual > 0 else -1
        if side not in _SIDES.get(name, ()) or side * chart.level < limits.firm_sigma:
            return False
        if name == "current" and self._more_flow(key):
            return False
        wait = limits.persistence + (1 if name in ("start_level", "stop_level") else 0)
        enough = abs(value.residual) > effects(limits)[name]
        return enough and chart.fires(side, limits.limit, wait)

    def _more_flow(self, key: str) -> bool:
        """A pump that moves more water draws more current: its operating point moved, not its motor."""
        flow = self._s.history.get(f"capacity:{key.partition(':')[2]}")
        return flow is not None and flow[-1] > 0.5 * self._s.history[key][-1]

    def _up(self, chart: Chart) -> bool:
        return chart.fires(1, self._set.limit, self._set.persistence)

    def _leaks(self, key: str) -> bool:
        """More water comes in than before: a pump that seems stronger than ever has a leaking valve."""
        s, tail = self._s, key.partition(":")[2]
        watered = any(
            s.charts[k].level > 2.0 for k in ("night_inflow", f"backflow:{tail}") if k in s.charts
        )
        return watered and not others_stronger_too(key, s, self._set)

    def _say_step(self, key: str, value: Value, now_ms: int) -> None:
        name, _, target = key.partition(":")
        sign = Sign(FEATURE_OF[name], target or None, value.now, value.normal,
                    value.residual / value.sigma)  # fmt: skip
        self._inform(f"step:{key}", target or None, now_ms, [sign])

    def _inform(self, cause: str, target: str | None, now_ms: int, signs: list[Sign]) -> None:
        """Tell something that needs nobody: a benign step, a strangeness without a name."""
        evidence: dict[str, Json] = {
            "since": iso_utc(self._s.half_from_ms),
            "signs": [sign.to_json() for sign in signs],
        }
        if self._s.strangeness.p is not None:
            evidence["anomaly_p"] = significant(self._s.strangeness.p, 2)
        for phase in (Phase.OPENED, Phase.RESOLVED):
            self._found.append(
                Finding(self.key, now_ms, phase, cause, Kind.INFO, Severity.INFO, ("unusual",),
                        target, 0.1, evidence)
            )  # fmt: skip


_SIDES = {
    "capacity": (-1,),
    "current": (1,),
    "backflow": (-1, 1),
    "start_level": (-1, 1),
    "stop_level": (-1, 1),
    "start_spread": (1,),
    "stop_spread": (1,),
}
"""Feature → the directions that may open an episode."""


def _value(name: str, rest: float, sigma: float, pump: PumpReference) -> Value:
    """A cycle's deviation as a value [m3/s]; backflow is kept as a share of what the pump moves."""
    size = math.exp(pump.capacity.value)
    if name == "capacity":
        return Value(rest, sigma, size * math.exp(rest), size)
    usual = pump.backflow.value
    return Value(rest, sigma, (usual + rest) * size, usual * size)
