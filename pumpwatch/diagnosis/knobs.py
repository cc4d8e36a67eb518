"""What an engineer may turn at one station: fields of `DiagnosisSettings`, their bounds, and what raising does."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pumpwatch.diagnosis.settings import DiagnosisSettings
from pumpwatch.domain.errors import InvalidInput

Sort = Literal["threshold", "delay", "switch"]
SORTS: tuple[Sort, ...] = get_args(Sort)

_ON, _OFF = {"on", "yes", "true", "1"}, {"off", "no", "false", "0"}


@dataclass(frozen=True, slots=True)
class Words:
    en: str
    ja: str


@dataclass(frozen=True, slots=True)
class Knob:
    """One field that may be set for one station. ``raising`` says what a higher value does."""

    name: str
    sort: Sort
    unit: Words
    low: float
    high: float
    label: Words
    raising: Words

    @property
    def default(self) -> float | bool:
        """What every station has, where no setting of the hub says otherwise."""
        value: float | bool = getattr(DiagnosisSettings(), self.name)
        return value

    @property
    def whole(self) -> bool:
        """Whether only whole numbers make sense."""
        return isinstance(self.default, int)

    def read(self, value: Any) -> float | bool:
        """The value as the settings hold it, from a number, a flag or text.

        Raises `InvalidInput` naming the field and what would do.
        """
        if self.sort == "switch":
            return self._read_switch(value)
        try:
            if isinstance(value, bool):
                raise ValueError
            number = float(value)
        except (TypeError, ValueError):
            raise InvalidInput(self.name, f"{value!r} is no number", self._range()) from None
        if not (math.isfinite(number) and self.low <= number <= self.high):
            raise InvalidInput(self.name, f"{value} is out of bounds", self._range())
        if not self.whole:
            return number
        if number != int(number):
            raise InvalidInput(self.name, f"{value} is no whole number", self._range())
        return int(number)

    def _read_switch(self, value: Any) -> bool:
        word = str(value).strip().lower()
        if word not in _ON | _OFF:
            raise InvalidInput(self.name, f"{value!r} is neither on nor off", "write on or off")
        return word in _ON

    def _range(self) -> str:
        return f"give {self.low:g} to {self.high:g} {self.unit.en}".rstrip()


_NONE = Words("", "")
_SIGMA = Words("σ", "σ")
_SHARE = Words("of normal", "対正常値")
_HALVES = Words("half-days", "半日")
_HOURS = Words("h", "時間")


_ALL = (
    Knob(
        "limit", "threshold", _SIGMA, 4, 40,
        Words("Evidence before a slow change is told", "緩やかな変化を知らせるまでの証拠の量"),
        Words(
            "Higher: slow changes are told later, and chance is told less often.",
            "大きくすると、緩やかな変化の通知は遅くなり、偶然による通知は減ります。",
        ),
    ),
    Knob(
        "firm_sigma", "threshold", _SIGMA, 1, 6,
        Words("Present deviation an alert needs", "通知に必要な現在のずれ"),
        Words(
            "Higher: long sums of small deviations no longer open an alert.",
            "大きくすると、小さなずれの積み重ねだけでは通知しなくなります。",
        ),
    ),
    Knob(
        "capacity_effect", "threshold", _SHARE, 0.02, 0.5,
        Words("Smallest loss of pumping capacity told", "知らせる揚水能力低下の最小値"),
        Words(
            "Higher: only larger losses of capacity are told; wear and rags are told later.",
            "大きくすると、より大きな能力低下だけを知らせます。摩耗や詰まりの通知は遅くなります。",
        ),
    ),
    Knob(
        "current_effect", "threshold", _SHARE, 0.01, 0.5,
        Words("Smallest rise of motor current told", "知らせる電流上昇の最小値"),
        Words(
            "Higher: only larger rises of the current are told.",
            "大きくすると、より大きな電流上昇だけを知らせます。",
        ),
    ),
    Knob(
        "backflow_effect", "threshold", _SHARE, 0.01, 0.5,
        Words("Smallest backflow told", "知らせる逆流の最小値"),
        Words(
            "Higher: a leaking check valve is told later.",
            "大きくすると、逆止弁の漏れの通知は遅くなります。",
        ),
    ),
    Knob(
        "level_effect_m", "threshold", Words("m", "m"), 0.005, 0.5,
        Words("Smallest shift of switching levels told", "知らせる起動・停止水位のずれの最小値"),
        Words(
            "Higher: only larger shifts are told; a drifting level sensor is told later.",
            "大きくすると、より大きなずれだけを知らせます。水位計のずれの通知は遅くなります。",
        ),
    ),
    Knob(
        "night_effect", "threshold", Words("log", "対数"), 0.1, 2,
        Words("Smallest rise of night inflow told", "知らせる夜間流入増加の最小値"),
        Words(
            "Higher: groundwater is told only when much more of it comes in.",
            "大きくすると、地下水などの浸入は、かなり増えてから知らせます。",
        ),
    ),
    Knob(
        "low_inflow_ratio", "threshold", _SHARE, 0.1, 0.9,
        Words("Inflow below which water is missing", "流入不足とみなす比率"),
        Words(
            "Higher: a blockage upstream is told sooner, and quiet hours more often.",
            "大きくすると、上流の閉塞は早く分かりますが、流入の少ない時間帯の通知も増えます。",
        ),
    ),
    Knob(
        "count_limit", "threshold", Words("log", "対数"), 3, 30,
        Words("Odd cycles before they are told", "異常な運転を知らせるまでの証拠の量"),
        Words(
            "Higher: more failed starts or late stops must come together before they are told.",
            "大きくすると、始動失敗や停止遅れがより多く重なってから知らせます。",
        ),
    ),
    Knob(
        "cycle_limit", "threshold", _SIGMA, 6, 80,
        Words("Evidence before single cycles are told", "1回ごとの運転から知らせるまでの証拠の量"),
        Words(
            "Higher: sudden losses wait for more cycles before they are told.",
            "大きくすると、急な能力低下の通知はより多くの運転を待ちます。",
        ),
    ),
    Knob(
        "fast_effect", "threshold", _SHARE, 0.05, 0.6,
        Words("Loss of capacity told from single cycles alone", "数回の運転だけで知らせる揚水能力低下"),
        Words(
            "Higher: a sudden loss must be larger before it is told within hours.",
            "大きくすると、数時間で知らせるのは、より大きな急低下だけになります。",
        ),
    ),
    Knob(
        "alarm_capacity", "threshold", _SHARE, 0.3, 0.95,
        Words("Capacity below which work is urgent", "至急の対応とする揚水能力"),
        Words(
            "Higher: a weak pump becomes an alarm sooner.",
            "大きくすると、弱ったポンプは早く「警報」になります。",
        ),
    ),
    Knob(
        "unknown_probability", "threshold", _NONE, 0, 0.9,
        Words("Probability a cause needs to be named", "原因名を示すのに必要な確率"),
        Words(
            "Higher: the cause is called unknown more often.",
            "大きくすると、「原因不明」と示すことが増えます。",
        ),
    ),
    Knob(
        "wet_mm", "threshold", Words("mm", "mm"), 0.5, 30,
        Words("Rain after which a cycle counts as wet", "雨天とみなす雨量"),
        Words(
            "Higher: more cycles after rain are judged like dry ones.",
            "大きくすると、雨のあとの運転も晴天時と同じように判定します。",
        ),
    ),
    Knob(
        "persistence", "delay", _HALVES, 1, 14,
        Words("Wait before a slow change is told", "緩やかな変化を知らせるまでの待ち時間"),
        Words(
            "Higher: a change must last longer before it is told.",
            "大きくすると、変化がより長く続いてから知らせます。",
        ),
    ),
    Knob(
        "cycle_persistence", "delay", Words("cycles", "回"), 2, 60,
        Words("Cycles in a row before they are told", "知らせるまでに続く運転回数"),
        Words(
            "Higher: sudden losses must last for more cycles.",
            "大きくすると、急な能力低下はより多くの回数続いてから知らせます。",
        ),
    ),
    Knob(
        "nights", "delay", Words("nights", "晩"), 2, 30,
        Words("Nights of raised inflow before they are told", "夜間流入の増加を知らせるまでの晩数"),
        Words(
            "Higher: feasts and thaws are told less often, groundwater later.",
            "大きくすると、催しや雪解けの通知は減り、地下水浸入の通知は遅くなります。",
        ),
    ),
    Knob(
        "low_inflow_cycles", "delay", Words("cycles", "回"), 2, 30,
        Words("Cycles without water before they are told", "流入不足を知らせるまでの運転回数"),
        Words(
            "Higher: a blockage upstream is told later.",
            "大きくすると、上流の閉塞の通知は遅くなります。",
        ),
    ),
    Knob(
        "idle_starts", "delay", Words("starts", "回"), 3, 60,
        Words("Missed turns before a pump is called out of service", "休止とみなすまでの交互運転の欠番回数"),
        Words(
            "Higher: a pump that no longer takes its turn is told later.",
            "大きくすると、順番に運転しなくなったポンプの通知は遅くなります。",
        ),
    ),
    Knob(
        "idle_h", "delay", _HOURS, 1, 72,
        Words("Rest before a missed turn counts", "休止とみなすまでの時間"),
        Words(
            "Higher: work on a pump may take longer without being told.",
            "大きくすると、ポンプの作業が長引いても知らせません。",
        ),
    ),
    Knob(
        "idle_days", "delay", Words("days", "日"), 2, 60,
        Words("Longest rest of a pump that changes duty rarely", "切替えの少ないポンプが休める日数"),
        Words(
            "Higher: a pump may rest longer before it is told.",
            "大きくすると、ポンプがより長く休んでも知らせません。",
        ),
    ),
    Knob(
        "clear_halves", "delay", _HALVES, 1, 20,
        Words("Back to normal before an alert ends", "解消とするまでの正常な期間"),
        Words(
            "Higher: alerts stay open longer, and open anew less often.",
            "大きくすると、警報は長く続き、繰り返しの発報は減ります。",
        ),
    ),
    Knob(
        "visit_h", "delay", _HOURS, 0, 48,
        Words("Not judged after a logged visit", "点検記録のあと判定しない時間"),
        Words(
            "Higher: more of what happens after a visit is left out.",
            "大きくすると、点検後のより長い時間を判定から外します。",
        ),
    ),
    Knob(
        "wet_hold_h", "delay", _HOURS, 2, 72,
        Words("Wetness seen from inflow alone lasts", "流入だけで雨天と判断する時間"),
        Words(
            "Higher: longer after a storm, capacity and inflow are not judged.",
            "大きくすると、大雨のあとより長く、能力と流入を判定しません。",
        ),
    ),
    Knob(
        "partner_comparison", "switch", _NONE, 0, 1,
        Words("Compare the pumps with each other", "ポンプどうしを比べる"),
        Words(
            "On: each pump is also held against its partner. Off: only against its own past.",
            "入：各ポンプを相手のポンプとも比べます。切：自分の過去とだけ比べます。",
        ),
    ),
)  # fmt: skip

KNOBS: dict[str, Knob] = {knob.name: knob for knob in _ALL}
