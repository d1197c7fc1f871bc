"""The plot of ``audio-avif compare``: mel error and scores against bit rate, with a labelled line for each variant."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from audio_avif.metrics import SCORES
from audio_avif_tools.compare.jobs import SCORED, Point, Variant, rate, values_of
from audio_avif_tools.compare.tables import means

_LIMITS_KBPS = (1.0, 14.0)
_TICKS_KBPS = (1, 1.5, 2, 3, 4, 6, 8, 12, 24, 48, 96)
_ERROR_TICKS_DB = (0.25, 0.5, 1, 2, 4, 8)
_LIMITS = ((0.25, 10.0), (1.0, 4.0), (0.7, 1.0))  # of heard error and SCORED; worse values are not drawn
_TITLES = ("mel error, dB, heard (lower is better)", *(SCORES[key].title for key in SCORED))
_MARKERS = "os^vDPXd*"
_LABEL_GAP = 0.05
_LEADER = {"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 1, "relpos": (0, 0.5)}
_COLOURS = 64


def draw(points: Sequence[Point], variants: Sequence[Variant], size: str) -> bytes:
    """Draw a PNG of means over the recordings, with a panel for the mel error and for each available score."""
    from matplotlib.figure import Figure

    curves = {variant: _curve([point for point in points if point.variant == variant], size) for variant in variants}
    right = max(_LIMITS_KBPS[1], *(2 * rates[0] for rates, _ in curves.values()))  # some of every line
    columns = [1, *(2 + number for number, key in enumerate(SCORED) if key in points[0].scores)]
    figure = Figure(figsize=(4.7 * len(columns), 4.6), layout="constrained")
    panels = figure.subplots(1, len(columns), squeeze=False).flat
    for panel, column in zip(panels, columns, strict=True):
        for number, (variant, (rates, values)) in enumerate(curves.items()):
            panel.plot(
                rates,
                values[:, column],
                marker=_MARKERS[number % len(_MARKERS)],
                markersize=3.5,
                linewidth=1.3 if number else 2.2,
                color=f"C{number % 10}",
                label=variant.name,
            )
        panel.set_xscale("log")
        panel.set_xlim(_LIMITS_KBPS[0], right)
        shown = [tick for tick in _TICKS_KBPS if tick <= right]
        panel.set_xticks(shown, [f"{tick:g}" for tick in shown])
        panel.set_xticks([], minor=True)
        panel.set_xlabel("kbps, " + ("whole files" if size == "file" else "payload"))
        panel.set_title(_TITLES[column - 1], fontsize=10)
        _scale(panel, column)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
        _label(panel)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    small = io.BytesIO()
    Image.open(out).convert("RGB").quantize(_COLOURS).save(small, "PNG", optimize=True)
    return small.getvalue()


def _scale(panel: Any, column: int) -> None:
    """Limit the axis to ``_LIMITS``, and for scores to the values reached."""
    low, high = _LIMITS[column - 1]
    if column == 1:
        panel.set_yscale("log")
        panel.set_yticks(_ERROR_TICKS_DB, [f"{tick:g}" for tick in _ERROR_TICKS_DB])
        panel.set_yticks([], minor=True)
    else:
        seen = np.concatenate([line.get_ydata() for line in panel.get_lines()])
        shown = seen[(seen >= low) & (seen <= high)]
        if shown.size:
            low, high = shown.min() - 0.03 * (high - low), shown.max() + 0.03 * (high - low)
    panel.set_ylim(low, high)


def _curve(points: Sequence[Point], size: str) -> tuple[Any, Any]:
    """Mean rates ``[qualities]`` and values ``[qualities, values]`` over the recordings."""
    qualities = sorted({point.quality for point in points})
    groups = [[point for point in points if point.quality == quality] for quality in qualities]
    rates = np.array([np.mean([rate(point, size) for point in group]) for group in groups])
    values = np.array([means([values_of(point) for point in group]) for group in groups])
    order = np.argsort(rates, kind="stable")
    return rates[order], values[order]


def spread(wanted: Any, gap: float, low: float, high: float) -> Any:
    """Move values ``[n]`` apart to at least ``gap``, in order and within limits, as little as possible."""
    order = np.argsort(wanted, kind="stable")
    gap = min(gap, (high - low) / max(1, len(order) - 1))
    # Merge runs of values that touch, each centred on the mean of its members, until no two runs touch.
    runs: list[list[float]] = []
    for value in np.asarray(wanted, float)[order]:
        runs.append([value])
        while len(runs) > 1 and _start(runs[-1], gap, low, high) < _end(runs[-2], gap, low, high) + gap:
            last = runs.pop()
            runs[-1] += last
    moved = np.empty(len(order))
    moved[order] = [_start(run, gap, low, high) + gap * number for run in runs for number in range(len(run))]
    return moved


def _start(run: list[float], gap: float, low: float, high: float) -> float:
    length = gap * (len(run) - 1)
    return min(max(float(np.mean(run)) - length / 2, low), high - length)


def _end(run: list[float], gap: float, low: float, high: float) -> float:
    return _start(run, gap, low, high) + gap * (len(run) - 1)


def _label(panel: Any) -> None:
    """Label each line beside the panel, where it ends or leaves the panel."""
    lines = [line for line in panel.get_lines() if np.isfinite(line.get_ydata()).any()]
    if not lines:
        return
    ends = np.array([_end_of(panel, line.get_xdata(), line.get_ydata()) for line in lines])
    heights = spread(ends[:, 1], _LABEL_GAP, 0.0, 1.0)
    for line, (x, y), height in zip(lines, ends, heights, strict=True):
        colour = line.get_color()
        panel.annotate(
            line.get_label(),
            (x, y),
            (1.07, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            fontsize=9,
            color=colour,
            va="center",
            annotation_clip=False,
            arrowprops={**_LEADER, "color": colour},
        )


def _end_of(panel: Any, rates: Any, values: Any) -> Any:
    """The point ``[2]`` where a line ends or leaves the panel on the right, as shares of the panel."""
    is_known = np.isfinite(values)
    rates, values = rates[is_known], values[is_known]
    right = min(float(rates[-1]), panel.get_xlim()[1])
    low, high = panel.get_ylim()
    value = min(max(float(np.interp(np.log(right), np.log(rates), values)), low), high)
    return (panel.transData + panel.transAxes.inverted()).transform((right, value))
