"""The picture of ``--bitrate``: a clip's rate and quality over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from audio_avif.errors import FileError
from audio_avif.signal.features import log_mel
from audio_avif_tools.bitrate.coding import Coder
from audio_avif_tools.quality.jobs import Clip, sound_of
from audio_avif_tools.shared.delays import require_matplotlib

_PLOTTED_KBPS = (3.0, 6.0, 12.0)
_RATE_TICKS_KBPS = (2, 3, 4, 6, 8, 12, 16)
_LIMIT_KBPS = 5.0
_LIMITED_S = (4.0, 6.0)


def plot(clip: Clip, path: Path, tile_frames: int) -> None:
    """Draw a clip's rate over time at a few targets, and the qualities chosen for it.

    Raises FileError, or AudioAvifError without matplotlib.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    frames, coder = log_mel(sound_of(clip)), Coder(tile_frames)
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    limits: dict[int, float | None] = {
        round(_LIMITED_S[0] / coder.tile_s): _LIMIT_KBPS,
        round(_LIMITED_S[1] / coder.tile_s): None,
    }
    for number, kbps in enumerate(_PLOTTED_KBPS):
        colour = f"C{number}"
        run = coder.controlled(frames, kbps, decodes=False)
        ends_s = coder.tile_s * np.arange(1, run.sizes_bytes.size + 1)
        windows_kbps = run.window_kbps()
        above.axhspan(0.95 * kbps, 1.05 * kbps, color=colour, alpha=0.15, linewidth=0)
        tiles_kbps = run.sizes_bytes / (125 * coder.tile_s)
        above.step(ends_s, tiles_kbps, color=colour, alpha=0.35, linewidth=0.8)
        above.plot(ends_s[-windows_kbps.size :], windows_kbps, color=colour, linewidth=2, label=f"{kbps:g} kbps asked")
        below.step(ends_s, run.qualities, color=colour, linewidth=1.4)
    limited = coder.controlled(frames, _PLOTTED_KBPS[-1], decodes=False, limits=limits)
    ends_s = coder.tile_s * np.arange(1, limited.sizes_bytes.size + 1)
    name = f"{_PLOTTED_KBPS[-1]:g} kbps asked, the path carries {_LIMIT_KBPS:g} for {_LIMITED_S[1] - _LIMITED_S[0]:g} s"
    style = {"color": "0.25", "linewidth": 1.1, "linestyle": (0, (4, 1.5))}
    during = (ends_s > _LIMITED_S[0] - 0.3) & (ends_s < _LIMITED_S[1] + 1)
    limited_kbps = limited.sizes_bytes / (125 * coder.tile_s)
    above.step(ends_s[during], limited_kbps[during], **style, label=f"{name} (per tile)")
    below.step(ends_s[during], limited.qualities[during], **style)
    above.set_yscale("log")
    above.set_yticks(_RATE_TICKS_KBPS, [f"{tick:g}" for tick in _RATE_TICKS_KBPS])
    above.set_yticks([], minor=True)
    above.set_ylabel("payload, kbps")
    above.set_title("Rate: mean of the last 2 s (thick), each tile (thin), 5 % about the target (band)", fontsize=10)
    above.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=4, frameon=False)
    below.set_ylabel("quality")
    below.set_ylim(0, 100)
    below.set_xlim(0, float(ends_s[-1]))
    below.set_xlabel(f"s of {clip.name}")
    for panel in (above, below):
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise FileError(f"the picture {path} cannot be written: {error.strerror or error}") from error
