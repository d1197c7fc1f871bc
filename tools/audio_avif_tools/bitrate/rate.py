"""Measure on speech how well ``--bitrate`` keeps its rate, what it costs, and the best value range; write a page."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_avif import __version__
from audio_avif.codec.rate_control import WINDOW_S
from audio_avif.config import RATE_HZ, MelConfig
from audio_avif.edge import console
from audio_avif.errors import AudioAvifError, FileError
from audio_avif.metrics import SCORES
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.registry import DEFAULT, load_vocoder
from audio_avif_tools.bitrate.coding import SCORED, Coded, Coder, FixedRange, RangePerTile, mel_errors_db, scores_of
from audio_avif_tools.quality.jobs import Clip, choose_clips, sound_of
from audio_avif_tools.shared.delays import require_matplotlib
from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, replace_block, table, write_csv

PROGRAM = "python -m audio_avif_tools.bitrate.rate"
PAGE = Path("docs/measurements/rate.md")
TARGETS_KBPS = (2.0, 3.0, 4.4, 6.0, 8.0, 12.0, 16.0, 20.0, 24.0)
TILE_FRAMES = (2, 4, 8, 16)
_TILE_FRAMES = 8
FIXED_QUALITIES = (*range(0, 98, 2), 98, 99, 100)
RANGE_TARGETS_KBPS = (3.0, 4.4, 6.0)
RANGES = ((-11.0, 4.0), (-8.0, 2.0), (-5.5, 1.0), (-4.5, 1.0))
SCORED_S = 5
_PLOTTED_KBPS = (3.0, 6.0, 12.0)
_RATE_TICKS_KBPS = (2, 3, 4, 6, 8, 12, 16)
_LIMIT_KBPS = 5.0
_LIMITED_S = (4.0, 6.0)
_ACCURACY_HEADER = (
    "frames",
    "asked, kbps",
    "mean, kbps",
    "worst, %",
    "p95, %",
    "within 5 %, %",
    "mean quality",
    "p95 of steps",
    "greatest steps",
    "trials per tile",
)
_COST_HEADER = (
    "asked, kbps",
    "error, dB, all",
    "error, dB, heard",
    "cost, dB, all",
    "cost, dB, heard",
    "p95, all",
    "p95, heard",
    "worst, all",
    "worst, heard",
)
_RANGE_HEADER = ("range, log10", "asked, kbps", "mean, kbps", "error, dB, all", "error, dB, heard")
_MEL = MelConfig()


def accuracy_rows(mels: Sequence[FloatArray], tile_frames: int) -> list[list[str]]:
    """Return the deviations from each target rate with tiles of one width."""
    rows = []
    coder = Coder(tile_frames)
    for kbps in TARGETS_KBPS:
        runs = [coder.controlled(frames, kbps, decodes=False) for frames in mels]
        off = np.abs(np.concatenate([run.window_kbps() for run in runs]) / kbps - 1) * 100
        changes = np.concatenate([np.diff(run.qualities) for run in runs])
        rows.append(
            [
                str(tile_frames),
                f"{kbps:g}",
                f"{np.mean([run.kbps for run in runs]):.2f}",
                f"{off.max():.1f}",
                f"{np.percentile(off, 95):.1f}",
                f"{np.mean(off <= 5) * 100:.1f}",
                f"{np.mean(np.concatenate([run.qualities for run in runs])):.0f}",
                f"{np.percentile(np.abs(changes), 95):.0f}",
                f"{changes.max():+.0f} / {changes.min():+.0f}",
                f"{np.mean([run.trials for run in runs]):.2f}",
            ]
        )
    return rows


def cost_rows(mels: Sequence[FloatArray], tile_frames: int) -> list[list[str]]:
    """Return the cost of a steady rate in mel error against the best fixed quality of the same bytes per clip."""
    coder = Coder(tile_frames)
    curves = []
    for frames in mels:
        runs = [coder.fixed(frames, quality) for quality in FIXED_QUALITIES]
        errors = np.array([mel_errors_db(frames, run.log_mel) for run in runs])
        # Skip a higher quality with more error, and a lower one with more bytes.
        curves.append((np.maximum.accumulate([run.kbps for run in runs]), np.minimum.accumulate(errors, axis=0)))
    rows = []
    for kbps in TARGETS_KBPS:
        errors_db, best_db = [], []
        for frames, (rates, errors) in zip(mels, curves, strict=True):
            run = coder.controlled(frames, kbps)
            errors_db.append(mel_errors_db(frames, run.log_mel))
            best_db.append([np.interp(run.kbps, rates, errors[:, kind]) for kind in (0, 1)])
        cost_db = np.array(errors_db) - np.array(best_db)
        rows.append(
            [
                f"{kbps:g}",
                *(f"{value:.2f}" for value in np.mean(errors_db, axis=0)),
                *(f"{value:+.3f}" for value in cost_db.mean(axis=0)),
                *(f"{value:+.2f}" for value in np.percentile(cost_db, 95, axis=0)),
                *(f"{value:+.2f}" for value in cost_db.max(axis=0)),
            ]
        )
    return rows


def range_rows(
    mels: Sequence[FloatArray], scored: Sequence[FloatArray], kbps: float, tile_frames: int
) -> tuple[list[list[str]], npt.NDArray[np.float64]]:
    """Compare value ranges at one rate: mel error of all clips, scores of some.

    Also return the standard error of each score's difference from the first range's ``[ranges - 1, scores]``.
    """
    vocoder = load_vocoder(device="cpu", name=DEFAULT)
    rows, scores_by_range = [], []
    for limits in (*RANGES, None):

        def coded(frames: FloatArray, limits: tuple[float, float] | None = limits) -> Coded:
            values = RangePerTile() if limits is None else FixedRange(*limits)
            return Coder(tile_frames, values).controlled(frames, kbps)

        runs = [coded(frames) for frames in mels]
        errors = [mel_errors_db(frames, run.log_mel) for frames, run in zip(mels, runs, strict=True)]
        scores = [scores_of(sound, coded(log_mel(sound)).log_mel, vocoder) for sound in scored]
        scores_by_range.append(np.array(scores, np.float64))
        rows.append(
            [
                RangePerTile.name if limits is None else FixedRange(*limits).name,
                f"{kbps:g}",
                f"{np.mean([run.kbps for run in runs]):.2f}",
                *(f"{value:.2f}" for value in np.mean(errors, axis=0)),
                *(
                    f"{value:.{SCORES[key].decimals}f}"
                    for key, value in zip(SCORED, np.nanmean(scores, axis=0), strict=True)
                ),
            ]
        )
    differences = np.array(scores_by_range[1:]) - scores_by_range[0]
    return rows, np.nanstd(differences, axis=1, ddof=1) / np.sqrt(len(scored))


def plot(clip: Clip, path: Path, tile_frames: int = _TILE_FRAMES) -> None:
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


_BLOCK = """\
Measured on {date} by

    {command}

{where}

## Limits

{minimum}
- **Quality 100** is lossless: in 8-frame tiles speech takes {speech_kbps:.0f} kbps, digital silence
  {silence_kbps:.1f} kbps.

## Accuracy

Deviation from the target of the mean over {window_s:g} s, at every tile. *p95* is the 95th percentile,
*within 5 %* the share of all windows. A *step* is the change of quality from one tile to the next.
8-frame tiles; [{data}]({data}) has tiles of 2, 4, 8 and 16 frames.

{accuracy}

![Rate and quality over one clip at three targets]({picture})

## Cost of a steady rate

Root mean square error of the log-mel in dB, over all bands and frames, mean over the clips. *All*
compares the values as they are. *Heard* first raises both sides to 60 dB below the clip's peak,
because nobody hears errors below that. *Cost* is the difference from the best fixed quality that
takes as many bytes for the clip; *p95* and *worst* are over clips. 8-frame tiles.

{cost}

## Value range

A tile's 256 grey levels span a range of log10 magnitudes. A narrower range has finer levels and
clips values outside. *Per tile* sends the minimum and maximum of each tile in two bytes, which
count, and keeps the last range while it holds the tile and is at most a quarter too wide. At equal
rate by `--bitrate`, 8-frame tiles: mel error over all clips, scores of `{vocoder}` over {scored} clean
clips of {scored_s} s. One standard error of a score's difference from the first line of its rate:
{noise}.

[{ranges}]({ranges}) has mel errors and scores at each rate.
"""


def _minimum_kbps(mels: Sequence[FloatArray]) -> str:
    """What tiles of each width take at quality 0, on average."""
    rates = {
        tile_frames: np.mean([Coder(tile_frames).fixed(frames, 0).kbps for frames in mels])
        for tile_frames in TILE_FRAMES
    }
    return ", ".join(f"{kbps:.1f} kbps in {tile_frames}-frame tiles" for tile_frames, kbps in rates.items())


def _run(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import Progress

    for key in SCORED:
        if (reason := SCORES[key].missing()) is not None:
            raise AudioAvifError(reason)
    require_matplotlib()
    clips = choose_clips(options.clips, every=options.every).clips
    mels = [log_mel(sound_of(clip)) for clip in clips]
    clean = [clip for clip in clips if "_clean_" in clip.name] or list(clips)
    if len(clean) < 2:
        raise FileError(f"comparing value ranges needs two clips or more; {options.clips} has fewer")
    spread = clean[:: -(-len(clean) // options.scored)]
    scored = [sound_of(clip)[: SCORED_S * RATE_HZ] for clip in spread]
    picture = options.out.parent / "images" / f"{options.out.stem}.png"
    with (
        ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool,
        Progress(console=Console(stderr=True)) as progress,
    ):
        accuracy = [pool.submit(accuracy_rows, mels, tile_frames) for tile_frames in TILE_FRAMES]
        ranges = [pool.submit(range_rows, mels, scored, kbps, _TILE_FRAMES) for kbps in RANGE_TARGETS_KBPS]
        cost = pool.submit(cost_rows, mels, _TILE_FRAMES)
        waiting: list[Future[Any]] = [*accuracy, *ranges, cost]
        for _ in progress.track(as_completed(waiting), total=len(waiting)):
            pass
    plot(max(clean, key=lambda clip: clip.seconds), picture)
    minimum = _minimum_kbps(mels)
    silence = Coder(_TILE_FRAMES).fixed(np.full((_MEL.n_mels, 80), np.log10(_MEL.floor), np.float32), 100)
    errors = np.mean([future.result()[1] for future in ranges], axis=(0, 1))
    rows = [row for future in accuracy for row in future.result()]
    data, ranges_data = (options.out.with_name(f"{options.out.stem}{what}.csv") for what in ("", "-ranges"))
    block = _BLOCK.format(
        window_s=WINDOW_S,
        minimum=paragraph(f"- **Quality 0** takes {minimum}."),
        silence_kbps=silence.kbps,
        speech_kbps=np.mean([Coder(_TILE_FRAMES).fixed(frames, 100).kbps for frames in mels]),
        accuracy=table(_ACCURACY_HEADER[1:], [row[1:] for row in rows if row[0] == f"{_TILE_FRAMES}"]),
        data=data.name,
        picture=picture.relative_to(options.out.parent).as_posix(),
        cost=table(_COST_HEADER, cost.result()),
        vocoder=DEFAULT,
        scored=len(scored),
        scored_s=SCORED_S,
        noise=", ".join(f"{SCORES[key].title} {error:.3f}" for key, error in zip(SCORED, errors, strict=True)),
        ranges=ranges_data.name,
        command=f"{PROGRAM} --clips CLIPS" + (f" --every {options.every}" if options.every > 1 else ""),
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        where=paragraph(f"on {machine()}. Sound: {len(clips)} clips, {sum(clip.seconds for clip in clips):.0f} s."),
    )
    replace_block(options.out, PROGRAM, block, "Rate control")
    write_csv(data, _ACCURACY_HEADER, rows)
    range_header = [*_RANGE_HEADER, *(SCORES[key].title for key in SCORED)]
    write_csv(ranges_data, range_header, (row for future in ranges for row in future.result()[0]))
    print(f"written to {options.out}, {data}, {ranges_data} and {picture}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.bitrate.rate``."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=f"Measure how well --bitrate keeps its rate and what that costs, and write {PAGE}.",
    )
    parser.add_argument("--clips", type=Path, required=True, metavar="DIR", help="folder of speech clips")
    parser.add_argument(
        "--every", type=console.integer_in(1, 1000), default=1, metavar="N", help="only every Nth clip (default: 1)"
    )
    parser.add_argument(
        "--scored",
        type=console.integer_in(2, 1000),
        default=10,
        metavar="N",
        help="approximate number of clips to score the value ranges on (default: 10)",
    )
    parser.add_argument(
        "--workers", type=console.integer_in(1, 64), default=1, metavar="N", help="number of processes (default: 1)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=PAGE,
        metavar="FILE",
        help="the page to write; its tables go beside it and its picture into images/ (default: %(default)s)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(arguments)
    return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
