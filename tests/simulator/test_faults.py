"""Every fault and every harmless event by its signature, against the same station without it.

All happen in one fleet, each at a station of its own; a second run of the same fleet without them is the
control. What is compared was cut from published rows by `pumpwatch.cycles`, as in the street.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pumpwatch.cycles.cutter import CycleCutter
from pumpwatch.cycles.features import measure
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.faults import FAULT_GROUP
from pumpwatch.domain.signals import SIGNALS
from pumpwatch.simulator.catalogue import FAULTS, HARMLESS, kind_of
from pumpwatch.simulator.chance import generator
from pumpwatch.simulator.condition import Condition, healthy
from pumpwatch.simulator.faults.base import Acting, FaultKind
from pumpwatch.simulator.simulation import Simulation
from pumpwatch.simulator.weather import DRY, Sky, Storm

HOURS = 42
ONSET_H, GROWTH_H, SINCE_H = 3, 6.0, 12
"""The fault begins, needs so long to breakdown, and is looked at from then on."""
RAIN_H = 24
SENSOR = {
    "gain", "offset_m", "lag_s", "frozen", "loop_ma", "noise", "spike_p", "telemetry", "clock_ms",
    "blank_p", "drop_p", "repeat_p", "flooded",
}  # fmt: skip
"""What of a condition belongs to instruments and telemetry."""
OF_SENSORS = {
    "sensor_drift", "span_drift", "scale_error", "slow_transmitter", "frozen_level", "sensor_failed",
    "comms_gap", "clock_error", "panel_flooded", "power_outage",
    "sensor_swap", "level_spikes", "short_gap", "dropped_rows", "repeated_rows", "blank_levels",
    "rough_water",
}  # fmt: skip
"""Faults and harmless events of instruments and telemetry: they alone may change what is said."""
DRY_CONTACTS = {"seal_leak"}
"""Faults that close a contact of the plant and move no water."""

COMPARE = {"<": operator.lt, ">": operator.gt}
Check = tuple[str, str, float]
"""A feature (of the pump whose number it ends in), and how it stands to that of the control. With
``=`` it is the same but for that share; a name in capitals is looked at by itself, not as a ratio."""


@dataclass(frozen=True)
class Case:
    target: str | None
    checks: tuple[Check, ...]
    spec: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, float] = field(default_factory=dict)


def case(target: str | None, *checks: Check, params: Any = None, **spec: Any) -> Case:
    return Case(target, checks, spec, params or {})


CASES: dict[str, Case] = {
    # pumps
    "pump_wear": case("pump1", ("capacity1", "<", 0.8), ("amps1", "<", 0.95), ("capacity2", "=", 0.04)),
    "pump_ragging": case("pump2", ("capacity2", "<", 0.75), ("amps2", ">", 1.1), ("scatter2", ">", 1.8),
                         ("capacity1", "=", 0.04)),
    "pump_blocked": case("pump1", ("valid1", "<", 0.1), ("HIGHEST_AMPS1", ">", 8.0), ("valid2", ">", 1.4),
                         ("FAULT_SHARE1", ">", 0.9)),
    "air_lock": case("pump1", ("DRY_SHARE1", ">", 0.3), ("DRY_SHARE2", "=", 0.01), ("valid1", "<", 0.5),
                     ("parallel", ">", 5), ("capacity2", "=", 0.06)),
    "start_failure": case("pump2", ("short2", ">", 10), ("run2", "<", 0.5), ("FAULT_SHARE2", "=", 0.01),
                          panel="hand_over"),
    "motor_degradation": case("pump1", ("amps1", ">", 1.2), ("scatter1", ">", 1.3), ("amps2", "=", 0.02)),
    "pump_out_of_service": case("pump2", ("STARTS2", "<", 1), ("start_spread", ">", 2), ("capacity1", "=", 0.04)),
    "pump_trip": case("pump1", ("FAULT_SHARE1", ">", 0.2), ("run1", "<", 0.8), ("FAULT_SHARE2", "=", 0.01)),
    "insulation_drop": case("pump1", ("WET_FAULTS1", ">", 0.25), ("WET_FAULTS2", "=", 0.01)),
    "seal_leak": case("pump1", ("SEAL_SHARE1", ">", 0.9), ("capacity1", "=", 0.001), ("SEAL_SHARE2", "=", 0.01)),
    "contactor_fault": case("pump2", ("EDGES_UNDER_2S2", ">", 20), ("EDGES_UNDER_2S1", "=", 0.01)),
    "contactor_welded": case("pump1", ("LOWEST", "<", 0.3), ("LONGEST_H1", ">", 5)),
    # discharge
    "check_valve_leak": case("pump1", ("backflow", ">", 0.0008), ("run2", ">", 1.2), ("fill", "<", 0.9),
                             ("amps2", ">", 1.004), rising_main_len_m=100),
    "check_valve_open": case("pump2", ("backflow", ">", 0.0015), ("fill", "<", 0.75), ("run1", ">", 1.5),
                             rising_main_len_m=100),
    "gate_closed": case("pump2", ("DRY_SHARE2", ">", 0.9), ("valid2", "<", 0.1), ("parallel", ">", 5)),
    "coupling_leak": case("pump1", ("capacity1", "<", 0.85), ("amps1", ">", 1.005), ("capacity2", "=", 0.04)),
    "discharge_blockage": case(None, ("capacity1", "<", 0.75), ("capacity2", "<", 0.75), ("amps1", "<", 0.95)),
    "rising_main_burst": case(None, ("capacity1", ">", 1.08), ("capacity2", ">", 1.08), ("amps1", ">", 1.02)),
    # sensing: the panel follows what it is shown, so that the water stands elsewhere
    "sensor_drift": case(None, ("START", "=", 0.02), ("true_high", "<", 0.9), ("true_low", "<", 0.7)),
    "span_drift": case(None, ("run1", ">", 1.15), ("run2", ">", 1.15), ("fill", ">", 1.15)),
    "scale_error": case(None, ("run1", ">", 1.12), ("fill", ">", 1.12), ("capacity1", "<", 0.9)),
    "slow_transmitter": case(None, ("true_high", ">", 1.02), ("true_low", "<", 0.95), ("run1", ">", 1.15)),
    "frozen_level": case(None, ("LEVEL_SPREAD", "<", 0.001), ("starts", "<", 0.4)),
    "sensor_failed": case(None, ("LOWEST", "<", -1.0), ("true_high", ">", 1.3), ("parallel", ">", 5)),
    # control
    "float_hangup": case(None, ("start_spread", ">", 5), ("true_high", ">", 1.15), control="float"),
    "alternation_failure": case("pump1", ("STARTS2", "<", 1), ("starts1", ">", 1.7)),
    "stuck_on": case("pump1", ("stop1", "<", 0.6), ("run1", ">", 1.5), ("stop2", "=", 0.05)),
    "short_cycling": case(None, ("starts", ">", 2), ("run1", "<", 0.5), ("fill", "<", 0.5)),
    "left_in_manual": case("pump1", ("STARTS1", "<", 1), ("AUTO_SHARE", "<", 0.01)),
    "well_fouling": case(None, ("fill", "<", 0.75), ("run1", "<", 0.75), ("run2", "<", 0.75)),
    # inflow
    "infiltration_growth": case(None, ("inflow", ">", 1.3), ("starts", ">", 1.2), ("capacity1", "=", 0.05)),
    "upstream_blockage": case(None, ("inflow", "<", 0.2), ("starts", "<", 0.3)),
    "inflow_change": case(None, ("inflow_by_day", ">", 1.5), ("inflow_by_night", "=", 0.08)),
    # supply
    "power_outage": case(None, ("POWER_SHARE", "<", 0.97), ("parallel", ">", 0.5)),
    "phase_loss": case(None, ("FAULT_SHARE1", ">", 0.05), ("FAULT_SHARE2", ">", 0.05), ("POWER_SHARE", "=", 0.001)),
    "comms_gap": case(None, ("ROWS", "<", 0.9), ("LONGEST_SILENCE_H", ">", 11)),
    "clock_error": case(None, ("LATEST_H", "<", HOURS - 0.4), ("capacity1", "=", 0.05)),
    "panel_flooded": case(None, ("LONGEST_SILENCE_H", ">", 20), ("HIGHEST", ">", 4)),
    # harmless
    "holiday": case(None, ("inflow", "<", 0.8), ("capacity1", "=", 0.04)),
    "crowd": case(None, ("inflow", ">", 1.15), ("capacity1", "=", 0.05)),
    "dewatering": case(None, ("inflow", ">", 1.2), ("capacity1", "=", 0.05)),
    "pool_drain": case(None, ("inflow", ">", 1.03), ("capacity1", "=", 0.05)),
    "washdown": case(None, ("DOOR_SHARE", ">", 0.02), ("capacity1", "=", 0.04)),
    "new_set_point": case(None, ("START", "<", -0.06), ("run1", "<", 0.95), ("capacity1", "=", 0.04)),
    "sensor_swap": case(None, ("LONGEST_SILENCE_H", ">", 0.2), ("true_low", "<", 0.99)),
    "new_pump": case("pump2", ("capacity2", ">", 1.05), ("amps2", ">", 1.03), ("capacity1", "=", 0.04)),
    "hand_test": case(None, ("AUTO_SHARE", "<", 0.999), ("DOOR_SHARE", ">", 0.005), ("capacity1", "=", 0.04)),
    "level_spikes": case(None, ("LARGEST_JUMP", ">", 0.5), ("capacity1", "=", 0.1)),
    "short_gap": case(None, ("LONGEST_SILENCE_H", ">", 0.3), ("capacity1", "=", 0.04)),
    "dropped_rows": case(None, ("ROWS", "<", 0.99), ("capacity1", "=", 0.04)),
    "repeated_rows": case(None, ("ROWS", ">", 1.01), ("capacity1", "=", 0.04)),
    "blank_levels": case(None, ("BLANKS", ">", 0.01), ("capacity1", "=", 0.04)),
    "voltage_sag": case(None, ("amps_by_day", ">", 1.01), ("capacity1", "=", 0.001)),
    "rough_water": case(None, ("noise", ">", 1.2), ("capacity1", "=", 0.05)),
}  # fmt: skip
NOW = {"pump_blocked", "crowd", "dewatering", "pool_drain", "washdown", "hand_test", "level_spikes", "short_gap",
       "dropped_rows", "repeated_rows", "blank_levels", "sensor_swap", "power_outage", "phase_loss",
       "comms_gap", "panel_flooded", "voltage_sag"}  # fmt: skip
"""What comes and goes is looked at from its onset on; it begins when the others have broken down."""


class Town:
    """The fleet of all cases, run once with and once without what happens."""

    def __init__(self, make_spec: Any, start_ms: int) -> None:
        from pumpwatch.simulator.spec import PanelSpec  # the fixture hands a spec's maker only

        self.start_ms = start_ms
        self.specs = {}
        for code, c in CASES.items():
            changes = {"contacts": True} | dict(c.spec)
            if changes.get("panel") == "hand_over":
                changes["panel"] = PanelSpec(hand_over_s=20)
            self.specs[code] = make_spec(site=code.replace("_", "-"), **changes)
        storm = Storm(start_ms + RAIN_H * HOUR_MS, 4, 40.0)
        runs = []
        for happens in (False, True):
            simulation = Simulation(
                list(self.specs.values()), 5, start_ms, sky=Sky(5, DRY, [storm])
            )
            if happens:
                for code, c in CASES.items():
                    simulation.inject(
                        code.replace("_", "-"), code, c.target,
                        start_ms + (SINCE_H + 1 if code in NOW else ONSET_H) * HOUR_MS,
                        growth_h=GROWTH_H if kind_of(code).growth_h else None, **c.params,
                    )  # fmt: skip
            simulation.advance(start_ms + HOURS * HOUR_MS)
            names = {code: code.replace("_", "-") for code in CASES}
            said = {code: simulation.take(name) for code, name in names.items()}
            since = start_ms + SINCE_H * HOUR_MS
            levels = {c: simulation.truth(name, since).level_m for c, name in names.items()}
            runs.append((said, levels))
        (self._sound_said, self.sound_levels), (self._faulty_said, self.faulty_levels) = runs

    def features(self, code: str, faulty: bool) -> dict[str, float]:
        said = self._faulty_said if faulty else self._sound_said
        levels = (self.faulty_levels if faulty else self.sound_levels)[code]
        chunk, edges = said[code]
        since = self.start_ms + SINCE_H * HOUR_MS
        out = _of_rows(chunk, since, self.start_ms)
        out |= _of_cycles(chunk, edges, self.specs[code], since)
        out["true_low"], out["true_high"] = float(levels.min()), float(levels.max())
        return out

    def said(self, code: str) -> Any:
        return self._faulty_said[code][0]

    def amps(self, code: str, faulty: bool) -> Any:
        chunk, _ = (self._faulty_said if faulty else self._sound_said)[code]
        return [chunk.signals[f"pump{n}_current_a"].sum() for n in (1, 2)]


def _of_rows(chunk: Any, since_ms: int, start_ms: int) -> dict[str, float]:
    here = chunk.t_ms > since_ms
    t = chunk.t_ms[here]
    s = {name: values[here] for name, values in chunk.signals.items()}
    level = s["level_m"]
    known = level[np.isfinite(level)]
    late = chunk.t_ms > start_ms + (HOURS - 12) * HOUR_MS
    wet = (t > start_ms + RAIN_H * HOUR_MS) & (t < start_ms + (RAIN_H + 8) * HOUR_MS)
    still = (s["pump1_run"] + s["pump2_run"]) == 0
    out = {
        "ROWS": len(t) / ((HOURS - SINCE_H) * 360),
        "LONGEST_SILENCE_H": max(np.diff(t, append=start_ms + HOURS * HOUR_MS)) / HOUR_MS,
        "LATEST_H": (t[-1] - start_ms) / HOUR_MS,
        "LOWEST": known.min(),
        "HIGHEST": known.max(),
        "LARGEST_JUMP": np.abs(np.diff(known)).max(),
        "LEVEL_SPREAD": np.nanstd(chunk.signals["level_m"][late]) if late.any() else 0.0,
        "BLANKS": np.isnan(level).mean(),
        "POWER_SHARE": s["power_ok"].mean(),
        "AUTO_SHARE": s["mode_auto"].mean(),
        "DOOR_SHARE": s["door_open"].mean(),
        "noise": float(np.median(np.abs(np.diff(level[still], 2)))) + 1e-9,
    }
    for n in ("1", "2"):
        running, amps = s[f"pump{n}_run"] > 0, s[f"pump{n}_current_a"]
        out |= {
            # half of the current is there at no flow
            f"DRY_SHARE{n}": (amps[running] < 3.0).mean() if running.any() else 0.0,
            f"HIGHEST_AMPS{n}": s[f"pump{n}_current_a"].max(),
            f"FAULT_SHARE{n}": s[f"pump{n}_fault"].mean(),
            f"SEAL_SHARE{n}": chunk.signals[f"pump{n}_seal"][late].mean() if late.any() else 0.0,
            f"WET_FAULTS{n}": s[f"pump{n}_fault"][wet].mean() if wet.any() else 0.0,
        }
    return {name: float(value) for name, value in out.items()}


def _of_cycles(chunk: Any, edges: Any, spec: Any, since_ms: int) -> dict[str, float]:
    cycles = CycleCutter().feed(chunk, edges)
    cycles = cycles[cycles["start_ms"] > since_ms]
    flows = measure(cycles, spec.site.area_m2)
    good = cycles["reason"] == 0
    local_h = (cycles["start_ms"] / HOUR_MS + 9) % 24
    day = good & (local_h >= 9) & (local_h < 17)
    afternoon = good & (local_h >= 12) & (local_h < 17)
    night = good & ((local_h >= 22) | (local_h < 5))
    start = cycles["start_level_m"]
    out = {
        "starts": _starts(edges, since_ms, 1) + _starts(edges, since_ms, 2),
        "parallel": 0.1 + cycles["parallel"].sum(),
        "fill": _median(cycles["fill_s"][good]),
        "inflow": _median(flows["fill_inflow"][good]),
        "inflow_by_day": _median(flows["fill_inflow"][day]),
        "inflow_by_night": _median(flows["fill_inflow"][night]),
        "amps_by_day": _median(cycles["current_a"][afternoon]),
        "backflow": _median(flows["backflow"][good]),
        "START": _median(start) - spec.site.start_level_m,
        "start_spread": float(np.nanstd(start)) + 0.005 if np.isfinite(start).any() else 0.0,
    }
    for n in (1, 2):
        own = good & (cycles["pump"] == n)
        # a run without flow counts as a pump of no capacity, also where it is not a fair trial of it
        any_run = (cycles["pump"] == n) & (cycles["run_s"] > 40)
        times = [e.t_ms for e in edges if e.signal == f"pump{n}_run" and e.t_ms > since_ms]
        runs = [(e.t_ms, e.value) for e in edges if e.signal == f"pump{n}_run"]
        out |= {
            f"capacity{n}": _median(flows["capacity"][own if own.sum() > 4 else any_run]),
            f"run{n}": _median(cycles["run_s"][own if own.sum() > 4 else any_run]),
            f"amps{n}": _median(cycles["current_a"][own if own.sum() > 4 else any_run]),
            f"scatter{n}": _median(cycles["scatter_a"][own]),
            f"stop{n}": _median(cycles["stop_level_m"][own]),
            f"valid{n}": 0.1 + own.sum(),
            f"short{n}": 0.1 + _short(runs, since_ms),
            f"starts{n}": _starts(edges, since_ms, n),
            f"STARTS{n}": _starts(edges, since_ms, n),
            f"LONGEST_H{n}": _longest_h(runs, int(chunk.t_ms[-1])),
            f"EDGES_UNDER_2S{n}": float((np.diff(times) < 2000).sum()) if times else 0.0,
        }
    return {name: float(value) for name, value in out.items()}


def _starts(edges: Any, since_ms: int, n: int) -> float:
    name = f"pump{n}_run"
    return float(sum(e.signal == name and e.value > 0 and e.t_ms > since_ms for e in edges))


def _short(runs: Any, since_ms: int) -> int:
    """Runs of less than 20 s."""
    pairs = pairwise(runs)
    return sum(a > since_ms and on > 0 and b - a < 20_000 for (a, on), (b, _) in pairs)


def _longest_h(runs: Any, end_ms: int) -> float:
    pairs = zip(runs, [*runs[1:], (end_ms, 0)], strict=True)
    return max((b - a for (a, on), (b, _) in pairs if on > 0), default=0) / HOUR_MS


def _median(values: Any) -> float:
    return float(np.nanmedian(values)) if np.isfinite(values).any() else float("nan")


@pytest.fixture(name="town", scope="module")
def _town(make_spec: Any, start_ms: int) -> Town:
    return Town(make_spec, start_ms)


@pytest.mark.parametrize("code", sorted(CASES))
def test_it_shows_in_the_features_as_it_does_in_life(town: Town, code: str) -> None:
    sound, faulty = town.features(code, False), town.features(code, True)
    for name, how, bound in CASES[code].checks:
        stem = name.rstrip("12")
        value, usual = faulty[name], sound[name]
        by_itself = stem.isupper() or name == "backflow"
        seen = value if by_itself else value / usual
        told = f"{name}: {value:.4g}, without {usual:.4g}"
        if how == "=":
            assert abs(value - usual if by_itself else seen - 1) <= bound, told
        else:
            assert COMPARE[how](seen, bound), told
            if by_itself:
                assert not COMPARE[how](usual, bound) or name in ("HIGHEST_AMPS1", "ROWS"), told


@pytest.mark.parametrize("code", sorted(CASES))
def test_it_changes_the_plant_and_not_what_is_said_of_it(town: Town, code: str) -> None:
    """The act leaves instruments and telemetry alone, and the water or a contact goes otherwise."""
    acted = [_acted(kind_of(code), town.specs[code], hours) for hours in (0.1, 3.0, 30.0)]
    plain = healthy(2)
    assert any(c != plain for c in acted)
    for c in acted:
        said = {f.name for f in fields(c) if getattr(c, f.name) != getattr(plain, f.name)} & SENSOR
        assert not said or code in OF_SENSORS
    if code not in OF_SENSORS | DRY_CONTACTS:
        moved = not np.array_equal(town.sound_levels[code], town.faulty_levels[code])
        assert moved or town.amps(code, True) != town.amps(code, False)


def _acted(kind: FaultKind, spec: Any, hours: float) -> Condition:
    c = healthy(2)
    kind.act(c, _acting(kind, spec, hours))
    return c


def _acting(kind: FaultKind, spec: Any, hours: float) -> Acting:
    params = {name: param.default for name, param in kind.params.items()}
    return Acting(
        spec,
        1.0,
        hours,
        0 if kind.on_pump else None,
        params,
        13.0,
        lambda: 0.0,
        lambda: 20.0,
    )


def test_the_catalogue_is_whole_and_every_kind_has_a_case() -> None:
    assert set(CASES) == set(FAULTS) | set(HARMLESS)
    assert len(FAULTS) >= 25
    assert len(HARMLESS) >= 12
    assert not set(FAULTS) & set(HARMLESS)
    for kind in FAULTS.values():
        assert kind.alerts
        assert set(kind.alerts) <= set(FAULT_GROUP)
        assert kind.ramp_days > 0 or kind.deadline_h > 0
    assert all(kind.harmless for kind in HARMLESS.values())
    for code, kind in (FAULTS | HARMLESS).items():
        assert kind.code == code
        assert kind.en
        assert kind.ja
        for param in kind.params.values():
            assert param.low <= param.default <= param.high


@pytest.mark.parametrize("code", sorted(FAULTS))
@pytest.mark.parametrize("growth_h", [0.5, 5.0, 100.0])
def test_severity_runs_from_nothing_to_breakdown(code: str, growth_h: float) -> None:
    kind = FAULTS[code]
    grows = growth_h if kind.growth_h else 0.0
    course = kind.course(grows, generator(1, code))
    assert course[-1] == 1
    assert ((course >= 0) & (course <= 1)).all()
    assert len(course) == np.ceil(grows) + 1
    assert course[0] == 0 or not grows


def test_ragging_falls_in_a_saw_tooth() -> None:
    course = FAULTS["pump_ragging"].course(400.0, generator(3, "saw"))
    falls = np.diff(course) < -0.03
    assert 1 <= falls.sum() <= 20


def test_every_published_value_is_within_the_bounds_of_its_signal(town: Town) -> None:
    for code in CASES:
        for name, values in town.said(code).signals.items():
            known = values[np.isfinite(values)]
            assert SIGNALS[name].low <= known.min(), (code, name)
            assert known.max() <= SIGNALS[name].high, (code, name)


@pytest.mark.parametrize(
    "code", ["pump_ragging", "pump_blocked", "check_valve_open", "sensor_drift", "gate_closed"]
)
def test_a_repaired_plant_is_as_good_as_before(make_spec: Any, start_ms: int, code: str) -> None:
    spec = make_spec(contacts=True)
    sound, repaired = (Simulation([spec], 11, start_ms, sky=Sky(1, DRY)) for _ in range(2))
    target = "pump2" if FAULTS[code].on_pump else None
    repaired.inject("mh-01", code, target, start_ms + HOUR_MS, growth_h=4,
                    until_ms=start_ms + 8 * HOUR_MS)  # fmt: skip
    features = []
    for simulation in (sound, repaired):
        simulation.advance(start_ms + DAY_MS)
        chunk, edges = simulation.take("mh-01")
        features.append(_of_cycles(chunk, edges, spec, start_ms + 9 * HOUR_MS))
    for name in ("capacity1", "capacity2", "amps2", "inflow", "starts2"):
        assert features[1][name] == pytest.approx(features[0][name], rel=0.08), name


def test_in_a_power_cut_pumps_stand_the_level_rises_and_all_comes_back(
    make_spec: Any, start_ms: int
) -> None:
    simulation = Simulation([make_spec()], 4, start_ms)
    cut_ms, back_ms = start_ms + 12 * HOUR_MS, start_ms + 13 * HOUR_MS
    simulation.inject("mh-01", "power_outage", at_ms=cut_ms, until_ms=back_ms)
    simulation.advance(start_ms + DAY_MS)
    chunk, edges = simulation.take("mh-01")
    dark = (chunk.t_ms > cut_ms) & (chunk.t_ms <= back_ms)
    assert (chunk.signals["power_ok"][dark] == 0).all()
    assert (chunk.signals["power_ok"][~dark] == 1).all()
    assert (chunk.signals["pump1_run"] + chunk.signals["pump2_run"])[dark].max() == 0
    level = chunk.signals["level_m"][dark]
    assert level[-1] > level[0] + 1
    assert chunk.signals["level_m"][-360:].max() < 1.3
    power = [(e.t_ms, e.value) for e in edges if e.signal == "power_ok"]
    assert power == [(cut_ms, 0.0), (back_ms, 1.0)]


def test_when_the_battery_ends_the_panel_falls_silent(make_spec: Any, start_ms: int) -> None:
    simulation = Simulation([make_spec()], 4, start_ms)
    simulation.inject(
        "mh-01",
        "power_outage",
        at_ms=start_ms + HOUR_MS,
        until_ms=start_ms + 4 * HOUR_MS,
        battery_h=0.5,
    )
    simulation.advance(start_ms + 5 * HOUR_MS)
    chunk, edges = simulation.take("mh-01")
    gap = np.flatnonzero(np.diff(chunk.t_ms) > 60_000)
    assert len(gap) == 1
    silent_ms = int(np.diff(chunk.t_ms)[gap[0]])
    assert silent_ms == pytest.approx(2.5 * HOUR_MS, abs=60_000)
    last = int(chunk.t_ms[gap[0]])
    assert not [e for e in edges if last < e.t_ms < last + silent_ms - 60_000]
