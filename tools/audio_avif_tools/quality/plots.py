"""The plots of the quality bench: scores against bit rate, and spectrograms of one clip through each system."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from audio_avif.config import RATE_HZ
from audio_avif.errors import FileError
from audio_avif.metrics import SCORES
from audio_avif.types import FloatArray
from audio_avif_tools.quality.systems import CleanMel, System, Tiles
from audio_avif_tools.shared.delays import require_matplotlib

if TYPE_CHECKING:
    from audio_avif_tools.quality.means import Mean, Rate

_AXES: dict[Rate, tuple[str, tuple[float, ...]]] = {
    "payload_kbps": ("payload, kbps", (1.5, 2, 3, 4, 6, 8, 12, 16)),
    "wire_kbps": ("on the wire, kbps", (4, 6, 8, 12, 16, 24, 32, 40)),
}
_TILE_STYLES = ("-o", "--s", ":^", "-.v")
_PEER_COLOURS = ("black", "tab:red", "tab:purple", "tab:pink", "tab:gray", "tab:olive", "tab:cyan", "tab:brown")
_PEER_STYLES = ("-x", "--+", ":x", "-.+")
_SHOWN_S = 4.0
_COLOURS = 64
_SPECTROGRAM_DB = (-90.0, -20.0)


def _save(figure: Any, path: Path) -> None:
    """Write a PNG with a palette, which takes a quarter of the size: the pictures are kept with the page."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The other methods change the colour of a curve that covers few pixels.
        few_colours = Image.open(drawn).convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE)
        few_colours.save(path, optimize=True)
    except OSError as error:
        raise FileError(f"the picture {path} cannot be written: {error.strerror or error}") from error


def plot_scores(means: Sequence[Mean], path: Path, rate: Rate) -> None:
    """Draw each score over a rate, with a curve for each system and a level for each vocoder without AVIF.

    Raises FileError, or AudioAvifError without matplotlib.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    keys = [key for key in SCORES if any(key in mean.scores for mean in means)]
    curves: dict[str, list[Mean]] = {}
    for mean in means:
        curves.setdefault(mean.system.name, []).append(mean)
    columns = min(3, len(keys))
    lines = -(-len(keys) // columns)
    figure = Figure(figsize=(4.3 * columns, 3.4 * lines + 1.1), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False).flat
    styles = _styles([mean.system for mean in means])
    label, ticks = _AXES[rate]
    for panel, key in zip(panels, keys, strict=False):
        for name, points in curves.items():
            colour, style = styles[name]
            levels = [mean.scores.get(key, np.nan) for mean in points]
            if isinstance(points[0].system, CleanMel):
                panel.axhline(levels[0], color=colour, linestyle=(0, (1, 3)), linewidth=1.2, label=name)
            else:
                rates = [mean.kbps(rate) for mean in points]
                panel.plot(rates, levels, style, color=colour, markersize=4, linewidth=1.2, label=name)
        panel.set_xscale("log")
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        panel.set_xticks([], minor=True)
        panel.set_title(SCORES[key].title + ("" if SCORES[key].higher_is_better else " (less is better)"), fontsize=10)
        panel.set_xlabel(label, fontsize=9)
        panel.grid(alpha=0.25)
        panel.tick_params(labelsize=8)
    for panel in list(panels):
        panel.set_axis_off()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    _save(figure, path)


def _styles(systems: Sequence[System]) -> dict[str, tuple[str, str]]:
    """The style of each curve: a colour per vocoder or other codec, a line style per tile width or packet length."""
    ours = [system for system in systems if isinstance(system, CleanMel | Tiles)]
    voices = list(dict.fromkeys(system.voice.name for system in ours))
    widths = list(dict.fromkeys(system.tile_frames for system in ours if isinstance(system, Tiles)))
    styles = _peer_styles([system.name for system in systems if not isinstance(system, CleanMel | Tiles)])
    for system in ours:
        width = widths.index(system.tile_frames) if isinstance(system, Tiles) else 0
        styles[system.name] = (f"C{voices.index(system.voice.name) % 10}", _TILE_STYLES[width % len(_TILE_STYLES)])
    return styles


def _peer_styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Styles by names such as ``Opus LACE, 20 ms``: one colour for all that is alike before the comma."""
    members: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        members.setdefault(name.partition(",")[0], []).append(name)
    return {
        name: (_PEER_COLOURS[codec % len(_PEER_COLOURS)], _PEER_STYLES[variant % len(_PEER_STYLES)])
        for codec, alike in enumerate(members.values())
        for variant, name in enumerate(alike)
    }


def plot_spectrograms(sounds: Mapping[str, FloatArray], path: Path) -> None:
    """Draw the first seconds of a clip and of each system's output, one below the other.

    Raises FileError, or AudioAvifError without matplotlib.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 1.15 * len(sounds) + 0.3), layout="constrained")
    low_db, high_db = _SPECTROGRAM_DB
    panels = figure.subplots(len(sounds), 1, squeeze=False, sharex=True).flat
    for panel, (name, samples) in zip(panels, sounds.items(), strict=True):
        shown = samples[: int(_SHOWN_S * RATE_HZ)] + np.float32(1e-9)  # digital silence has no logarithm
        panel.specgram(shown, NFFT=400, Fs=RATE_HZ / 1e3, noverlap=240, vmin=low_db, vmax=high_db, cmap="magma")
        panel.set_ylabel("kHz", fontsize=7)
        panel.set_title(name, fontsize=8, loc="left", pad=2)
        panel.tick_params(labelsize=7)
        panel.set_xticks([], [])
    _save(figure, path)
