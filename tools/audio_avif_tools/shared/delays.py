"""Delays of each stage and from mouth to ear: percentiles, a table and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audio_avif.errors import AudioAvifError, FileError
from audio_avif.optional import require

STAGES = {
    "capture": "capture: device and block",
    "tile": "window and tile",
    "encode": "encode",
    "network": "network",
    "buffer": "playout buffer",
    "decode": "decode",
    "vocoder": "vocoder",
    "playout": "playout device",
}
_PERCENTILES = (50, 95, 99)
# G.114 (05/2003): one-way delay that users do not notice, and the limit for planning.
_G114_GOOD_MS, _G114_LIMIT_MS = 150, 400
_BIN_MS = 4


def percentiles(values_ms: Sequence[float]) -> dict[str, float]:
    """Return the p50, p95 and p99 of the delays. Raises AudioAvifError where there are none."""
    if not len(values_ms):
        raise AudioAvifError("no tile was received, so there is no delay to measure; stream for longer")
    return {f"p{p}_ms": round(float(np.percentile(values_ms, p)), 2) for p in _PERCENTILES}


def summarize(tiles: Sequence[dict[str, Any]], mouth_to_ear_ms: Sequence[float]) -> dict[str, Any]:
    """Return the percentiles of ``stages`` (of trace lines) and of ``mouth_to_ear`` (of tiles or events)."""
    return {
        "stages": {stage: percentiles([tile["stages_ms"][stage] for tile in tiles]) for stage in STAGES},
        "mouth_to_ear": percentiles(mouth_to_ear_ms),
    }


def drift_ms(mouth_to_ear_ms: Sequence[float]) -> float:
    """The median delay in the last tenth of a stream less that in the second tenth; the first is still settling."""
    tenth = max(1, len(mouth_to_ear_ms) // 10)
    return round(
        float(np.median(mouth_to_ear_ms[-tenth:]) - np.median(mouth_to_ear_ms[tenth:][:tenth] or mouth_to_ear_ms)), 2
    )


def print_table(result: dict[str, Any], title: str) -> None:
    """Print a table of the delays in ms."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    table.add_column("stage")
    for p in _PERCENTILES:
        table.add_column(f"p{p} ms", justify="right")
    for stage, name in STAGES.items():
        table.add_row(name, *(f"{result['stages'][stage][f'p{p}_ms']:.1f}" for p in _PERCENTILES))
    table.add_section()
    table.add_row("mouth to ear", *(f"{result['mouth_to_ear'][f'p{p}_ms']:.1f}" for p in _PERCENTILES), style="bold")
    Console(stderr=True).print(table)


def require_matplotlib() -> None:
    """Check that matplotlib is installed. Raises MissingPackage."""
    require("drawing", ["matplotlib"], "plot")


def plot(result: dict[str, Any], mouth_to_ear_ms: Sequence[float], path: Path) -> None:
    """Draw a stacked bar of the stages' medians above a histogram of the whole delay.

    Raises FileError, or AudioAvifError without matplotlib.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    bar, histogram = figure.subplots(2, 1, height_ratios=(1, 2), sharex=True)
    left = 0.0
    for number, (stage, name) in enumerate(STAGES.items()):
        width = max(0.0, result["stages"][stage]["p50_ms"])
        bar.barh(0, width, left=left, color=f"C{number}", label=f"{name} {width:.0f} ms")
        left += width
    bar.set_yticks([])
    bar.set_title(
        f"{result['tile_frames']}-frame tiles, {result['vocoder']}: median of each stage", loc="left", fontsize=10
    )
    bar.legend(ncols=4, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.05), frameon=False)
    widest_ms = max(_G114_LIMIT_MS * 1.1, max(mouth_to_ear_ms) * 1.05)
    histogram.hist(mouth_to_ear_ms, bins=list(np.arange(0.0, widest_ms + _BIN_MS, _BIN_MS)), color="0.4")
    for limit_ms, name in ((_G114_GOOD_MS, "G.114 good"), (_G114_LIMIT_MS, "G.114 limit")):
        histogram.axvline(limit_ms, color="tab:red", linestyle=":", linewidth=1)
        histogram.annotate(name, (limit_ms, 0.92), xycoords=("data", "axes fraction"), fontsize=8, color="tab:red")
    histogram.set_xlim(0, widest_ms)
    histogram.set_xlabel("delay from mouth to ear, ms")
    histogram.set_ylabel("tiles")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise FileError(f"the plot {path} cannot be written: {error}") from error
