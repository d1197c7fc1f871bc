"""The plot of ``audio-avif analyze``: one score after each stage, from the original to the whole codec."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audio_avif.edge.sound_files import replacing
from audio_avif_tools.analyze.stages import AUTOENCODER, ORIGINAL, Row, Split
from audio_avif_tools.shared.delays import require_matplotlib

_LOSS, _GAIN, _WHOLE, _CODEC = "#c8553d", "#4f9d69", "#8d99a6", "#2f5d8a"
_VOICES = ("#444444", "#d99a2b", _CODEC)
_FLOORS = {"pesq_wb": 1.0, "stoi": 0.0, "lsd_db": 0.0}
_COLOURS = 64


def draw(rows: Sequence[Row], split: Split, path: Path) -> None:
    """Draw the cost of each stage as a waterfall, and beside it every picture with every voice.

    Raises FileError where the file cannot be written, AudioAvifError without matplotlib.
    """
    require_matplotlib()
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    fall, beside = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
    _waterfall(fall, split)
    _every_chain(beside, rows, split)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110)
    with replacing(path) as part:
        Image.open(drawn).convert("RGB").quantize(_COLOURS).save(part, "PNG", optimize=True)


def _waterfall(panel: Any, split: Split) -> None:
    decimals, floor = split.score.decimals, _FLOORS[split.score.key]
    first, last = split.steps[0].before, split.steps[-1].after
    names = [ORIGINAL, *(step.name for step in split.steps), "the codec"]
    levels = [first, *(level for step in split.steps for level in (step.before, step.after)), last]
    span = max(levels) - floor
    for x, level, colour in ((0, first, _WHOLE), (len(names) - 1, last, _CODEC)):
        panel.bar(x, level - floor, bottom=floor, width=0.62, color=colour)
        panel.annotate(
            f"{level:.{decimals}f}", (x, level), (0, 3), textcoords="offset points", ha="center", weight="bold"
        )
    for x, step in enumerate(split.steps, 1):
        is_gain = (step.after > step.before) == split.score.higher_is_better
        low, high = sorted((step.before, step.after))
        panel.bar(x, max(high - low, 0.004 * span), bottom=low, width=0.62, color=_GAIN if is_gain else _LOSS)
        panel.plot([x - 1 + 0.31, x - 0.31], [step.before] * 2, color="0.6", linewidth=0.8)
        change = round(step.after - step.before, decimals)
        text = f"{change:+.{decimals}f}".replace("-", "\N{MINUS SIGN}") if change else "0"
        panel.annotate(text, (x, high), (0, 3), textcoords="offset points", ha="center")
    panel.plot([len(names) - 2 + 0.31, len(names) - 1 - 0.31], [last] * 2, color="0.6", linewidth=0.8)
    panel.set_xticks(range(len(names)), names, fontsize=9)
    panel.set_ylim(floor, floor + 1.12 * span)
    panel.set_ylabel(split.score.title + ("" if split.score.higher_is_better else " (lower is better)"))
    panel.set_title("What each stage costs", loc="left", fontsize=11, weight="bold")
    _bare(panel)


def _every_chain(panel: Any, rows: Sequence[Row], split: Split) -> None:
    pictures = list(dict.fromkeys(row.picture for row in rows if row.picture != ORIGINAL))
    voices = list(dict.fromkeys(row.voice for row in rows if row.voice))
    places = {name: x + (0.35 if name == AUTOENCODER else 0) for x, name in enumerate(pictures)}
    ends = []
    for voice, colour in zip(voices, _VOICES, strict=False):
        levels = {row.picture: row.scores.get(split.score.key, math.nan) for row in rows if row.voice == voice}
        steps = [name for name in pictures if name != AUTOENCODER]
        panel.plot([places[name] for name in steps], [levels[name] for name in steps], "-o", color=colour, markersize=5)
        if AUTOENCODER in levels:
            panel.plot(places[AUTOENCODER], levels[AUTOENCODER], "D", color=colour, markersize=6)
        ends.append((levels[steps[-1]], voice, colour))
    low, high = panel.get_ylim()
    right, at = max(places.values()), -math.inf
    for level, voice, colour in sorted(ends):  # beside the ends of the lines, without overlap
        at = max(level, at + 0.055 * (high - low))
        panel.text(right + 0.2, at, voice, color=colour, fontsize=9, weight="bold", va="center")
    panel.set_xticks(list(places.values()), [_two_lines(name) for name in pictures], fontsize=9)
    panel.set_xlim(-0.3, right + 1.5)
    panel.set_title("Every picture with every voice", loc="left", fontsize=11, weight="bold")
    panel.grid(axis="y", alpha=0.25)
    _bare(panel)


def _two_lines(name: str) -> str:
    return name if len(name) < 8 else name.replace(" ", "\n", 1).replace("encoder", "-\nencoder")


def _bare(panel: Any) -> None:
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.tick_params(axis="x", length=0)
