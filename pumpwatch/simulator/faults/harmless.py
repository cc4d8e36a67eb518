"""What happens at a station every year and should alert nobody."""

from __future__ import annotations

from pumpwatch.simulator.condition import Condition
from pumpwatch.simulator.faults.base import Acting, FaultKind, Param

_SHARE = Param("of nameplate", 0.005, 0.6, 0.1, "additional flow")


def _adds(c: Condition, at: Acting) -> None:
    c.inflow_add_m3s += at.params["share"] * at.capacity_m3s


def _works(c: Condition, at: Acting) -> None:
    """Somebody is there, with a hose."""
    _adds(c, at)
    c.door = True


def _crowd(c: Condition, at: Acting) -> None:
    c.inflow_factor *= at.params["factor"]


def _set_point(c: Condition, at: Acting) -> None:
    c.start_shift_m += at.params["metres"]


def _sensor_swap(c: Condition, at: Acting) -> None:
    """The loop is open while the new transmitter is fitted; it then stands a few millimetres off."""
    if at.hours * 60 < 15:
        c.telemetry, c.door = False, True
    else:
        c.offset_m += at.params["metres"]


def _new_pump(c: Condition, at: Acting) -> None:
    """Off for two hours, then a stronger pump than before."""
    pump = at.of(c)
    if at.hours < 2:
        pump.forced, c.door = False, True
    else:
        pump.flow *= at.params["flow"]
        pump.current *= at.params["current"]


def _hand_test(c: Condition, at: Acting) -> None:
    """Each pump by hand for two minutes, one after the other."""
    c.auto, c.door = False, True
    minute = int(at.hours * 60 + 1e-6)
    turn = (minute - 2) // 4
    if minute >= 2 and minute % 4 in (2, 3) and turn < len(c.pumps):
        c.pumps[turn].forced = True


def _spikes(c: Condition, at: Acting) -> None:
    c.spike_p = max(c.spike_p, at.params["share"])


def _gap(c: Condition, at: Acting) -> None:
    c.telemetry = False


def _dropped(c: Condition, at: Acting) -> None:
    c.drop_p = max(c.drop_p, at.params["share"])


def _repeated(c: Condition, at: Acting) -> None:
    c.repeat_p = max(c.repeat_p, at.params["share"])


def _blank(c: Condition, at: Acting) -> None:
    c.blank_p = max(c.blank_p, at.params["share"])


def _sag(c: Condition, at: Acting) -> None:
    """Low voltage on a hot afternoon: every motor draws a little more."""
    if 12 <= at.local_h < 17:
        for pump in c.pumps:
            pump.current *= 1 + at.params["share"]


def _noisy(c: Condition, at: Acting) -> None:
    c.noise *= at.params["factor"]


def _part(share: float, most: float = 0.3) -> dict[str, Param]:
    return {"share": Param("of rows", 0.0, most, share, "how many of them")}


def _flow(share: float) -> dict[str, Param]:
    return {"share": Param(_SHARE.unit, _SHARE.low, _SHARE.high, share, _SHARE.en)}


KINDS = (
    FaultKind("holiday", "People are away", "連休・帰省", _crowd, lasts_h=96.0,
              params={"factor": Param("", 0.3, 1.0, 0.6, "inflow over the usual")}),
    FaultKind("crowd", "A festival", "催事", _crowd, lasts_h=10.0,
              params={"factor": Param("", 1.0, 3.0, 1.5, "inflow over the usual")}),
    FaultKind("dewatering", "A building site drains", "工事排水", _adds, lasts_h=60.0, params=_flow(0.12)),
    FaultKind("pool_drain", "A pool is drained", "プール排水", _adds, lasts_h=6.0, params=_flow(0.3)),
    FaultKind("washdown", "The well is washed", "槽内洗浄", _works, lasts_h=1.0, params=_flow(0.25)),
    FaultKind("new_set_point", "A new start level", "始動水位変更", _set_point,
              params={"metres": Param("m", -0.3, 0.25, -0.08, "how far the start levels move")}),
    FaultKind("sensor_swap", "Transmitter replaced", "水位計交換", _sensor_swap, every_min=1,
              params={"metres": Param("m", -0.03, 0.03, 0.012, "how the new zero stands to the old")}),
    FaultKind("new_pump", "Pump replaced", "ポンプ更新", _new_pump, on_pump=True,
              params={"flow": Param("", 0.95, 1.25, 1.12, "flow over the old pump's"),
                      "current": Param("", 0.8, 1.2, 1.04, "current over the old pump's")}),
    FaultKind("hand_test", "Pumps tried by hand", "手動試運転", _hand_test, lasts_h=0.4, every_min=1),
    FaultKind("level_spikes", "Spikes on the level", "水位スパイク", _spikes, lasts_h=24.0, params=_part(0.01)),
    FaultKind("short_gap", "A short silence", "短時間通信断", _gap, lasts_h=0.4, every_min=1),
    FaultKind("dropped_rows", "Rows lost on the way", "データ欠落", _dropped, lasts_h=48.0, params=_part(0.03)),
    FaultKind("repeated_rows", "Rows sent twice", "データ重複", _repeated, lasts_h=48.0, params=_part(0.03)),
    FaultKind("blank_levels", "Levels missing", "水位欠測", _blank, lasts_h=48.0, params=_part(0.03)),
    FaultKind("voltage_sag", "Low voltage in the afternoons", "電圧低下(猛暑)", _sag, lasts_h=120.0,
              params={"share": Param("", 0.0, 0.06, 0.025, "more current")}),
    FaultKind("rough_water", "A noisier well", "水面の乱れ", _noisy, lasts_h=72.0,
              params={"factor": Param("", 1.0, 2.5, 1.5, "noise over the usual")}),
)  # fmt: skip
