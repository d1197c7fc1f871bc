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

from audio_avif import __version__
from audio_avif.codec.rate_control import WINDOW_S
from audio_avif.config import RATE_HZ, MelConfig
from audio_avif.edge import console
from audio_avif.errors import AudioAvifError, FileError
from audio_avif.metrics import SCORES
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.registry import DEFAULT
from audio_avif_tools.bitrate.coding import SCORED, Coder
from audio_avif_tools.bitrate.rate_plot import plot
from audio_avif_tools.bitrate.rate_tables import (
    ACCURACY_HEADER,
    COST_HEADER,
    RANGE_HEADER,
    accuracy_rows,
    cost_rows,
    range_rows,
)
from audio_avif_tools.quality.jobs import choose_clips, sound_of
from audio_avif_tools.shared.delays import require_matplotlib
from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, replace_block, table, write_csv

PROGRAM = "python -m audio_avif_tools.bitrate.rate"
PAGE = Path("docs/measurements/rate.md")
TILE_FRAMES = (2, 4, 8, 16)
_TILE_FRAMES = 8
RANGE_TARGETS_KBPS = (3.0, 4.4, 6.0)
SCORED_S = 5
_MEL = MelConfig()

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
    plot(max(clean, key=lambda clip: clip.seconds), picture, _TILE_FRAMES)
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
        accuracy=table(ACCURACY_HEADER[1:], [row[1:] for row in rows if row[0] == f"{_TILE_FRAMES}"]),
        data=data.name,
        picture=picture.relative_to(options.out.parent).as_posix(),
        cost=table(COST_HEADER, cost.result()),
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
    write_csv(data, ACCURACY_HEADER, rows)
    range_header = [*RANGE_HEADER, *(SCORES[key].title for key in SCORED)]
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
