"""Small charts of a score over the rate, as SVG that follows the page's colours."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 340, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 16, 18, 36
MAX_FAINT = 60

Point = tuple[float, float, str]  # kbps, score, label


@dataclass(frozen=True)
class Chart:
    """A curve of labelled points, and others that lie faintly behind it."""

    title: str
    curve: Sequence[Point]
    faint: Sequence[Sequence[Point]] = ()

    def svg(self) -> str:
        """The chart, or nothing where it has no point."""
        curve = _drawable(self.curve)
        faint = [points for each in self.faint[:MAX_FAINT] if (points := _drawable(each))]
        everything = [*curve, *(point for each in faint for point in each)]
        if not curve:
            return ""
        xs = _Axis([x for x, _, _ in everything], _LEFT, _WIDTH - _RIGHT)
        ys = _Axis([y for _, y, _ in everything], _HEIGHT - _BOTTOM, _TOP)
        told = "; ".join(f"quality {label}: {y:.3g} at {x:.3g} kbps" for x, y, label in curve)
        lines = [
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
            f'aria-label="{html.escape(f"{self.title} over kbps. {told}")}">',
            *self._grid(xs, ys),
            *(f'<polyline class="faint" points="{_path(points, xs, ys)}"/>' for points in faint),
            f'<polyline class="curve" points="{_path(curve, xs, ys)}"/>',
        ]
        for i, (x, y, label) in enumerate(curve):
            beside = -8 if i % 2 == 0 else 17  # neighbours may be close
            lines.append(f'<circle cx="{xs.at(x):.1f}" cy="{ys.at(y):.1f}" r="3.5"/>')
            lines.append(
                f'<text class="label" x="{xs.at(x):.1f}" y="{ys.at(y) + beside:.1f}" text-anchor="middle">'
                f"{html.escape(label)}</text>"
            )
        return "".join([*lines, "</svg>"])

    @staticmethod
    def _grid(xs: _Axis, ys: _Axis) -> Iterator[str]:
        for y in ys.ticks:
            at = ys.at(y)
            yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
            yield f'<text x="{_LEFT - 6}" y="{at + 3.5:.1f}" text-anchor="end">{y:.4g}</text>'
        for x in xs.ticks:
            yield f'<text x="{xs.at(x):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{x:.4g}</text>'
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        yield f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">kbps</text>'


class _Axis:
    """Values to places between ``start`` and ``end``, with about four round ticks that enclose them."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        span = max(high - low, 1e-3 * max(abs(high), 1e-3))
        step = _round_step(span / 4)
        self._low, self._high = math.floor(low / step) * step, math.ceil(high / step + 1e-9) * step
        self.ticks = [self._low + i * step for i in range(round((self._high - self._low) / step) + 1)]
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        return self._start + (value - self._low) / (self._high - self._low) * (self._end - self._start)


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * 0.999)


def _drawable(points: Sequence[Point]) -> list[Point]:
    return sorted(point for point in points if math.isfinite(point[0]) and math.isfinite(point[1]))


def _path(points: Sequence[Point], xs: _Axis, ys: _Axis) -> str:
    return " ".join(f"{xs.at(x):.1f},{ys.at(y):.1f}" for x, y, _ in points)
