"""Charts as inline SVG, drawn here so that a phone shows them without a script.

Each chart is drawn twice, for a phone and for a desk, because text in a scaled drawing shrinks with
it; the style sheet shows one. Pumps differ by shape and dash as well as by colour. Colours live in
the style sheet: nothing here carries a style.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from babel.dates import format_skeleton
from markupsafe import Markup, escape

from pumpwatch.alerting.i18n import Translator
from pumpwatch.alerting.signs import SIGNS
from pumpwatch.domain.clock import DAY_MS, HOUR_MS
from pumpwatch.domain.sites import Site
from pumpwatch.services.queries import FeatureSeries, LevelBand, PumpRuns, Span

PHONE_WIDTH = 360
DESK_WIDTH = 840
MOST_POINTS = 700
"""Single cycles drawn per pump; more are thinned evenly."""

_LANE = 24
_AXIS = 26

_unique = count(1)


@dataclass(frozen=True, slots=True)
class Axis:
    """How a feature is drawn: unit people use, factor from SI, decimals."""

    unit: str = ""
    factor: float = 1.0
    decimals: int = 2


AXES = {
    "capacity_m3s": Axis("m³/min", 60),
    "inflow_m3s": Axis("L/s", 1000),
    "backflow_m3s": Axis("L/s", 1000),
    "run_s": Axis("min", 1 / 60, 1),
    "fill_s": Axis("min", 1 / 60, 1),
    "start_level_m": Axis("m"),
    "stop_level_m": Axis("m"),
    "current_a": Axis("A", 1, 1),
    "current_scatter_a": Axis("A"),
}
"""The features a cycle carries, which are the ones that can be drawn over time."""


def feature_name(feature: str, tr: Translator) -> str:
    return tr.gettext(SIGNS[feature].label) if feature in SIGNS else feature


def level_chart(
    level: LevelBand,
    runs: Sequence[PumpRuns],
    site: Site,
    tr: Translator,
    *,
    since_ms: int | None = None,
) -> Markup:
    """Level over time with its set points and gaps, and a lane per pump that shows its runs."""
    return _both(_LevelDrawing(level, runs, site, tr, since_ms).draw)


def feature_chart(
    series: Sequence[FeatureSeries],
    span: Span,
    site: Site,
    tr: Translator,
    *,
    since_ms: int | None = None,
) -> Markup:
    """One feature over days: faint dots for cycles, bold marks for daily medians, the normal."""
    return _both(_FeatureDrawing(series, span, site, tr, since_ms).draw)


def gauge(site: Site, level_m: float | None, label: str) -> Markup:
    """The well as a small upright gauge: water, stop and start level, high level."""
    top = gauge_top_m(site)
    svg = _Svg(30, 60, "gauge", label)
    svg.add("rect", x=5, y=2, width=20, height=56, rx=3, class_="well")
    y = 57 - 54 * _share(level_m or 0.0, top)
    svg.add("rect", x=6, y=_n(y), width=18, height=_n(57 - y), class_="water", data_water="")
    for value, name in (
        (site.stop_level_m, "stop"),
        (site.start_level_m, "start"),
        (site.high_level_m, "high"),
    ):
        if value is not None:
            at = _n(57 - 54 * _share(value, top))
            x2 = 30 if name == "high" else 25
            svg.add("line", x1=0 if name == "high" else 19, x2=x2, y1=at, y2=at, class_=name)
    if level_m is None:
        svg.add("text", "?", x=15, y=35, text_anchor="middle", class_="unknown")
    return svg.markup()


def gauge_top_m(site: Site) -> float:
    """The level at the gauge's top [m]: the cover, or what the set points suggest."""
    known = [v for v in (site.high_level_m, site.lag_start_level_m, site.start_level_m) if v]
    return site.well_depth_m or (1.3 * known[0] if known else 3.0)


def pump_mark(pump: str) -> Markup:
    """The mark of a pump in charts, for a legend."""
    svg = _Svg(34, 14, "mark")
    kind = _pump_class(pump)
    svg.add("line", x1=1, x2=33, y1=7, y2=7, class_=f"median {kind}")
    svg.add("path", d=_marker(pump, 17, 7), class_=f"marker {kind}")
    return svg.markup()


def run_mark(pump: str) -> Markup:
    """The bar of a pump in a run lane, for a legend."""
    svg = _Svg(34, 14, "mark")
    hatch = svg.hatch(_pump_class(pump))
    _run_bar(svg, hatch, pump, 1, 2, 32, 10)
    return svg.markup()


class _Svg:
    """Elements of one drawing, in order. Text and attributes are escaped."""

    def __init__(self, width: float, height: float, kind: str, label: str = "") -> None:
        self._parts: list[str] = []
        self._id = f"d{next(_unique)}"
        about = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
        self._open = (
            f'<svg class="{kind}" viewBox="0 0 {_n(width)} {_n(height)}" width="{_n(width)}" '
            f'height="{_n(height)}" {about}>'
        )

    def add(self, tag: str, text: str = "", **attributes: object) -> None:
        written = "".join(
            f' {name.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
            for name, value in attributes.items()
        )
        self._parts.append(f"<{tag}{written}>{escape(text)}</{tag}>")

    def clip(self, x: float, y: float, width: float, height: float) -> str:
        name = f"{self._id}c"
        self._parts.append(
            f'<clipPath id="{name}"><rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" '
            f'height="{_n(height)}"/></clipPath>'
        )
        return f"url(#{name})"

    def hatch(self, kind: str) -> str:
        """A striped fill of its own: a pattern in a hidden drawing paints nothing elsewhere."""
        name = f"{self._id}{kind}"
        self._parts.append(
            f'<pattern id="{name}" width="5" height="5" patternUnits="userSpaceOnUse" '
            f'patternTransform="rotate(45)"><rect width="2" height="5" class="stripe {kind}"/></pattern>'
        )
        return f"url(#{name})"

    def markup(self) -> Markup:
        return Markup(self._open + "".join(self._parts) + "</svg>")  # noqa: S704 - escaped above


class _Frame:
    """The plot area: where a moment and a value lie on paper."""

    def __init__(self, width: float, height: float, top: float, left: float, right: float) -> None:
        self.width, self.height, self.top, self.left = width, height, top, left
        self.right = width - right
        self.bottom = top + height
        self.start_ms, self.end_ms = 0, 1
        self.low, self.high = 0.0, 1.0

    def over(self, span: Span, low: float, high: float) -> _Frame:
        self.start_ms, self.end_ms, self.low, self.high = span.start_ms, span.end_ms, low, high
        return self

    def x(self, t_ms: float) -> float:
        part = (t_ms - self.start_ms) / max(1, self.end_ms - self.start_ms)
        return self.left + part * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - (value - self.low) / (self.high - self.low) * self.height


class _Drawing:
    """What both charts share: axes in site-local time, the mark of the moment it began."""

    def __init__(self, site: Site, tr: Translator, since_ms: int | None) -> None:
        self.site, self.tr, self.since_ms = site, tr, since_ms
        self.zone = ZoneInfo(site.timezone)

    def grid(self, svg: _Svg, frame: _Frame, unit: str) -> None:
        for value, text in _ticks(frame.low, frame.high):
            y = _n(frame.y(value))
            svg.add("line", x1=_n(frame.left), x2=_n(frame.right), y1=y, y2=y, class_="grid")
            svg.add("text", text, x=_n(frame.left - 6), y=_n(frame.y(value) + 4), text_anchor="end")
        svg.add("text", unit, x=2, y=_n(frame.top - 9), class_="unit")

    def time_axis(self, svg: _Svg, frame: _Frame, bottom: float) -> None:
        most = max(3, int((frame.right - frame.left) / 56))
        for t_ms, text in _time_ticks(frame.start_ms, frame.end_ms, self.zone, self.tr.lang, most):
            x = _n(frame.x(t_ms))
            svg.add("line", x1=x, x2=x, y1=_n(frame.top), y2=_n(bottom), class_="grid")
            anchor = "end" if frame.x(t_ms) > frame.right - 16 else "middle"
            svg.add("text", text, x=x, y=_n(bottom + 17), text_anchor=anchor)
        ends = {"x1": _n(frame.left), "x2": _n(frame.right)}
        svg.add("line", **ends, y1=_n(bottom), y2=_n(bottom), class_="axis")

    def since(self, svg: _Svg, frame: _Frame, bottom: float) -> None:
        if self.since_ms is None or not frame.start_ms <= self.since_ms <= frame.end_ms:
            return
        x = frame.x(self.since_ms)
        svg.add("line", x1=_n(x), x2=_n(x), y1=_n(frame.top - 4), y2=_n(bottom), class_="since")
        side = "end" if x > (frame.left + frame.right) / 2 else "start"
        text = self.tr._("began {when}").format(when=self._when(self.since_ms))
        shift = -5 if side == "end" else 5
        svg.add(
            "text",
            text,
            x=_n(x + shift),
            y=_n(frame.top - 9),
            text_anchor=side,
            class_="since-text",
        )

    def _when(self, t_ms: int) -> str:
        return self.tr.moment(t_ms, self.site.timezone)


class _LevelDrawing(_Drawing):
    def __init__(
        self,
        level: LevelBand,
        runs: Sequence[PumpRuns],
        site: Site,
        tr: Translator,
        since_ms: int | None,
    ) -> None:
        super().__init__(site, tr, since_ms)
        self.level, self.runs = level, runs

    def draw(self, width: int, kind: str) -> Markup:
        tr = self.tr
        frame = _Frame(width, 190 if width < 500 else 230, 30, 46, 8)
        frame.over(Span(self.level.start_ms, self.level.end_ms), *self._bounds())
        bottom = frame.bottom + 8 + _LANE * len(self.runs)
        svg = _Svg(width, bottom + _AXIS, kind, tr._("Water level and pump runs over time"))
        self.grid(svg, frame, tr._("Water level") + " [m]")
        self.time_axis(svg, frame, bottom)
        self._gaps(svg, frame, bottom)
        for stretch in self._stretches():
            self._band(svg, frame, stretch)
        self._set_points(svg, frame)
        for lane, runs in enumerate(self.runs):
            self._lane(svg, frame, frame.bottom + 8 + lane * _LANE, runs)
        self.since(svg, frame, bottom)
        return svg.markup()

    def _bounds(self) -> tuple[float, float]:
        site = self.site
        marks = [m for m in (site.stop_level_m, site.start_level_m, site.high_level_m) if m]
        values = [*self.level.low_m, *self.level.high_m, *marks]
        return _padded(min(values, default=0.0), max(values, default=2.0), 0.08)

    def _stretches(self) -> Iterator[range]:
        """Index ranges between gaps."""
        borders = {g.start_ms for g in self.level.gaps}
        begin = 0
        for i, t_ms in enumerate(self.level.t_ms):
            if t_ms in borders or i == len(self.level.t_ms) - 1:
                yield range(begin, i + 1)
                begin = i + 1

    def _band(self, svg: _Svg, frame: _Frame, stretch: range) -> None:
        half = self.level.width_ms / 2
        xs = [frame.x(self.level.t_ms[i] + half) for i in stretch]
        if not xs:
            return
        above = [(x, frame.y(self.level.high_m[i])) for x, i in zip(xs, stretch, strict=True)]
        below = [(x, frame.y(self.level.low_m[i])) for x, i in zip(xs, stretch, strict=True)]
        mean = [(x, frame.y(self.level.mean_m[i])) for x, i in zip(xs, stretch, strict=True)]
        svg.add("path", d=_line(above + below[::-1]) + "z", class_="band")
        svg.add("path", d=_line(mean), class_="mean")

    def _gaps(self, svg: _Svg, frame: _Frame, bottom: float) -> None:
        if not self.level.gaps:
            return
        fill = svg.hatch("gap")
        for gap in self.level.gaps:
            x, width = frame.x(gap.start_ms), frame.x(gap.end_ms) - frame.x(gap.start_ms)
            place = {"x": _n(x), "y": _n(frame.top), "width": _n(width)}
            svg.add("rect", **place, height=_n(bottom - frame.top), fill=fill, class_="gap")
            if width > 54:
                middle = {"x": _n(x + width / 2), "y": _n(frame.top + 22)}
                svg.add(
                    "text", self.tr._("no data"), **middle, text_anchor="middle", class_="gap-text"
                )

    def _set_points(self, svg: _Svg, frame: _Frame) -> None:
        tr, site = self.tr, self.site
        for value, kind, name in (
            (site.high_level_m, "high", tr._("High level")),
            (site.start_level_m, "start", tr._("Start")),
            (site.stop_level_m, "stop", tr._("Stop")),
        ):
            if value is None:
                continue
            y = frame.y(value)
            ends = {"x1": _n(frame.left), "x2": _n(frame.right), "y1": _n(y), "y2": _n(y)}
            svg.add("line", **ends, class_=f"set {kind}")
            text = f"{name} {tr.number(value, 2)}"
            place = {"x": _n(frame.right - 3), "y": _n(y - 4)}
            svg.add("text", text, **place, text_anchor="end", class_="set-text")

    def _lane(self, svg: _Svg, frame: _Frame, top: float, runs: PumpRuns) -> None:
        name = self.tr._("No. {n}").format(n=runs.pump.removeprefix("pump"))
        svg.add("text", name, x=_n(frame.left - 6), y=_n(top + 16), text_anchor="end")
        ends = {"x1": _n(frame.left), "x2": _n(frame.right)}
        svg.add("line", **ends, y1=_n(top + _LANE - 3), y2=_n(top + _LANE - 3), class_="grid")
        hatch = svg.hatch(_pump_class(runs.pump))
        for span in runs.spans:
            x = frame.x(max(span.start_ms, frame.start_ms))
            width = max(1.2, frame.x(min(span.end_ms, frame.end_ms)) - x)
            _run_bar(svg, hatch, runs.pump, x, top + 4, width, _LANE - 8)


class _FeatureDrawing(_Drawing):
    def __init__(
        self,
        series: Sequence[FeatureSeries],
        span: Span,
        site: Site,
        tr: Translator,
        since_ms: int | None,
    ) -> None:
        super().__init__(site, tr, since_ms)
        self.series, self.span = series, span
        self.feature = series[0].feature if series else ""
        self.axis = AXES.get(self.feature, Axis())

    def draw(self, width: int, kind: str) -> Markup:
        frame = _Frame(width, 190 if width < 500 else 240, 34, 52, 10)
        frame.over(self.span, *self._bounds())
        name, unit = feature_name(self.feature, self.tr), self.axis.unit
        svg = _Svg(
            width, frame.bottom + _AXIS, kind, self.tr._("{name} over time").format(name=name)
        )
        self.grid(svg, frame, f"[{unit}]" if unit else "")
        self.time_axis(svg, frame, frame.bottom)
        clip = svg.clip(frame.left, frame.top - 2, frame.right - frame.left, frame.height + 4)
        for series in self.series:
            self._cycles(svg, frame, series, clip)
        normals = self._normals(svg, frame)
        for series in self.series:
            self._medians(svg, frame, series, clip)
        for y, text in normals:
            place = {"x": _n(frame.right - 3), "y": _n(y)}
            svg.add("text", text, **place, text_anchor="end", class_="normal-text")
        self.since(svg, frame, frame.bottom)
        return svg.markup()

    def _scaled(self, values: Iterable[float]) -> list[float]:
        return [v * self.axis.factor for v in values]

    def _bounds(self) -> tuple[float, float]:
        """Room for the medians, the normal and all but the wildest cycles; never a magnifying glass."""
        shown: list[float] = []
        for series in self.series:
            cycles = sorted(self._scaled(series.values))
            shown += cycles[len(cycles) // 50 : len(cycles) - len(cycles) // 50]
            shown += self._scaled(series.day_median)
            shown += self._scaled([series.normal] if series.normal is not None else [])
        low, high = min(shown, default=0.0), max(shown, default=1.0)
        middle = (low + high) / 2
        least = 0.15 * abs(middle)
        return _padded(min(low, middle - least), max(high, middle + least), 0.08)

    def _cycles(self, svg: _Svg, frame: _Frame, series: FeatureSeries, clip: str) -> None:
        step = max(1, math.ceil(len(series.t_ms) / MOST_POINTS))
        dots = "".join(
            f"M{_n(frame.x(t))} {_n(frame.y(v))}h0"
            for t, v in zip(series.t_ms[::step], self._scaled(series.values[::step]), strict=True)
        )
        if dots:
            kind = f"cycle {_pump_class(series.pump)}"
            svg.add("path", d=dots, class_=kind, clip_path=clip)

    def _medians(self, svg: _Svg, frame: _Frame, series: FeatureSeries, clip: str) -> None:
        kind = _pump_class(series.pump)
        days = list(zip(series.day_ms, self._scaled(series.day_median), strict=True))
        for stretch in _runs_of_days(days):
            points = [(frame.x(t), frame.y(v)) for t, v in stretch]
            svg.add("path", d=_line(points), class_=f"median {kind}", clip_path=clip)
        marks = "".join(_marker(series.pump, frame.x(t), frame.y(v)) for t, v in days)
        if marks:
            svg.add("path", d=marks, class_=f"marker {kind}", clip_path=clip)

    def _normals(self, svg: _Svg, frame: _Frame) -> list[tuple[float, str]]:
        """Draws the lines; gives their heights and texts, which belong above the marks."""
        texts = []
        for normal in sorted({s.normal for s in self.series if s.normal is not None}):
            value = normal * self.axis.factor
            y = frame.y(value)
            ends = {"x1": _n(frame.left), "x2": _n(frame.right), "y1": _n(y), "y2": _n(y)}
            svg.add("line", **ends, class_="normal")
            number = self.tr.number(value, self.axis.decimals)
            texts.append((y - 6, self.tr._("normal {value}").format(value=number)))
        return texts


def _both(draw: Callable[[int, str], Markup]) -> Markup:
    phone, desk = draw(PHONE_WIDTH, "drawing phone"), draw(DESK_WIDTH, "drawing desk")
    return Markup('<div class="chart">{}{}</div>').format(phone, desk)


def _pump_class(pump: str) -> str:
    return pump if pump in {"pump1", "pump2", "pump3", "pump4"} else "other"


def _run_bar(
    svg: _Svg, hatch: str, pump: str, x: float, y: float, width: float, height: float
) -> None:
    fill = {} if pump == "pump1" else {"fill": hatch}
    place = {"x": _n(x), "y": _n(y), "width": _n(width), "height": _n(height)}
    svg.add("rect", **place, **fill, class_=f"run {_pump_class(pump)}")


def _marker(pump: str, x: float, y: float) -> str:
    """A closed outline around (x, y): circle, triangle, square, diamond for pumps 1 to 4."""
    shapes = {
        "pump1": "M{l} {y}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
        "pump2": "M{x} {t}l5.2 9h-10.4z",
        "pump3": "M{l} {u}h8v8h-8z",
        "pump4": "M{x} {t}l5 5l-5 5l-5 -5z",
    }
    shape = shapes.get(pump, shapes["pump1"])
    return shape.format(x=_n(x), y=_n(y), l=_n(x - 4), u=_n(y - 4), t=_n(y - 5.5))


def _runs_of_days(days: Sequence[tuple[int, float]]) -> Iterator[list[tuple[int, float]]]:
    """Neighbouring days; a day without a value breaks the line."""
    stretch: list[tuple[int, float]] = []
    for day in days:
        if stretch and day[0] - stretch[-1][0] > 1.5 * DAY_MS:
            yield stretch
            stretch = []
        stretch.append(day)
    if stretch:
        yield stretch


def _line(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points)


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _share(value: float, of: float) -> float:
    return min(1.0, max(0.0, value / of))


def _padded(low: float, high: float, part: float) -> tuple[float, float]:
    pad = (high - low) * part or 0.5
    return low - pad if low < 0 else max(0.0, low - pad), high + pad


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Four to six round values between ``low`` and ``high``, written with the decimals they need."""
    raw = (high - low) / 4
    unit = 10 ** math.floor(math.log10(raw))
    step = unit * next(m for m in (1, 2, 2.5, 5, 10) if m * unit >= raw * 0.999)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if not math.isclose(round(step, decimals), step):
        decimals += 1
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [(k * step, f"{k * step:.{decimals}f}") for k in range(first, last + 1)]


_HOURS = (1, 2, 3, 6, 12)
_DAYS = (1, 2, 3, 5, 7, 14, 28)


def _time_ticks(
    start_ms: int, end_ms: int, zone: ZoneInfo, lang: str, most: int
) -> list[tuple[int, str]]:
    """Round local hours or days, at most about ``most`` of them."""
    length = end_ms - start_ms
    hours = next((h for h in _HOURS if length / (h * HOUR_MS) <= most), None)
    begin = datetime.fromtimestamp(start_ms / 1000, zone).replace(minute=0, second=0, microsecond=0)
    if hours is not None:
        step, moment = timedelta(hours=hours), begin.replace(hour=begin.hour // hours * hours)
    else:
        days = next((d for d in _DAYS if length / (d * DAY_MS) <= most), 56)
        step, moment = timedelta(days=days), begin.replace(hour=0)
    ticks = []
    while (t_ms := round(moment.timestamp() * 1000)) <= end_ms:
        if t_ms >= start_ms:
            midnight = moment.hour == 0 and moment.minute == 0
            ticks.append((t_ms, _day(moment, lang) if midnight else f"{moment:%H:%M}"))
        moment += step
    return ticks


def _day(moment: datetime, lang: str) -> str:
    return format_skeleton("Md" if lang == "ja" else "MMMd", moment, locale=lang)
