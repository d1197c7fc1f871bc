"""Where the marks, curves and ticks of the report's charts lie: a score against the bit rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from audio_avif_tools.report.columns import COLUMNS
from audio_avif_tools.report.figures import Report, SourceFigures

CHART_KEYS = ("pesq_wb", "stoi", "mel_psnr_db")
MAX_FAINT = 60
"""The most faint curves in a chart."""

_WIDTH, _HEIGHT = 340, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 16, 18, 36

Point = tuple[float, float, str]  # kbps, score, label


@dataclass(frozen=True)
class Tick:
    """A label at a place along an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A labelled point of the curve."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A chart in the units of its SVG view box; curves are the ``points`` of a polyline."""

    title: str
    description: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    curve: str
    faint: tuple[str, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    bottom: int = _HEIGHT - _BOTTOM


def draw(title: str, curve: Sequence[Point], faint: Sequence[Sequence[Point]] = ()) -> Chart | None:
    """Lay out a curve with marks before faint curves; None where the curve has no finite point."""
    marked = _finite(curve)
    if not marked:
        return None
    behind = [points for each in faint[:MAX_FAINT] if (points := _finite(each))]
    everything = [point for points in (marked, *behind) for point in points]
    xs = _Axis([x for x, _, _ in everything], _LEFT, _WIDTH - _RIGHT)
    ys = _Axis([y for _, y, _ in everything], _HEIGHT - _BOTTOM, _TOP)
    values = "; ".join(f"quality {label}: {y:.3g} at {x:.3g} kbps" for x, y, label in marked)
    return Chart(
        title,
        f"{title} against kbps. {values}",
        xs.ticks,
        ys.ticks,
        tuple(Mark(xs.at(x), ys.at(y), label) for x, y, label in marked),
        _polyline(marked, xs, ys),
        tuple(_polyline(points, xs, ys) for points in behind),
    )


def charts_of(source: SourceFigures) -> list[Chart]:
    """The charts of a recording."""
    return _charts(lambda key: draw(COLUMNS[key].title, _curve(source, key)))


def charts_of_means(report: Report) -> list[Chart]:
    """The charts of the means over all recordings, with a faint curve for each recording."""

    def chart(key: str) -> Chart | None:
        means = [(report.mean_kbps(q, key), report.mean(q, key), str(q)) for q in report.qualities]
        return draw(COLUMNS[key].title, means, [_curve(source, key) for source in report.sources])

    return _charts(chart)


def _charts(chart: Callable[[str], Chart | None]) -> list[Chart]:
    return [drawn for key in CHART_KEYS if (drawn := chart(key))]


def _curve(source: SourceFigures, key: str) -> list[Point]:
    return [(each.kbps, each.value(key), str(each.rendition.quality)) for each in source.renditions]


class _Axis:
    """Maps values to places from ``start`` to ``end``, with about four round ticks that enclose the values."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        span = max(high - low, 1e-3 * max(abs(high), 1e-3))
        step = _round_step(span / 4)
        self._low, self._high = math.floor(low / step) * step, math.ceil(high / step + 1e-9) * step
        self._start, self._end = start, end
        count = round((self._high - self._low) / step) + 1
        ticks = [self._low + i * step for i in range(count)]
        self.ticks = tuple(Tick(self.at(value), f"{value:.4g}") for value in ticks)

    def at(self, value: float) -> float:
        """The place of a value, to a tenth of a unit."""
        share = (value - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)


def _round_step(min_step: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 and so on."""
    power = 10.0 ** math.floor(math.log10(min_step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= min_step * 0.999)


def _finite(points: Sequence[Point]) -> list[Point]:
    """The points with finite coordinates, from left to right."""
    return sorted(point for point in points if math.isfinite(point[0]) and math.isfinite(point[1]))


def _polyline(points: Sequence[Point], xs: _Axis, ys: _Axis) -> str:
    return " ".join(f"{xs.at(x)},{ys.at(y)}" for x, y, _ in points)
