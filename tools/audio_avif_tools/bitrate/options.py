"""Options that the measurements of tiles share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from audio_avif import __version__
from audio_avif.config import MAX_TILE_FRAMES, MIN_TILE_FRAMES
from audio_avif.edge import console
from audio_avif_tools.shared.arguments import integers_in, processors


def tile_options(tile_frames: Sequence[int]) -> argparse.ArgumentParser:
    """Return a parent parser of the clips, the tile widths (given their default) and the number of processes."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--clips", type=Path, required=True, metavar="DIR", help="folder of speech clips")
    parser.add_argument(
        "--every", type=console.integer_in(1, 1000), default=1, metavar="N", help="only every Nth clip (default: 1)"
    )
    parser.add_argument(
        "--tile-frames",
        type=integers_in(MIN_TILE_FRAMES, MAX_TILE_FRAMES),
        default=list(tile_frames),
        metavar="N,N",
        help=f"tile widths in frames of 16 ms (default: {','.join(map(str, tile_frames))})",
    )
    parser.add_argument(
        "--workers",
        type=console.integer_in(1, 256),
        default=processors(),
        metavar="N",
        help="number of single-threaded processes (default: %(default)s, one for each processor)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser
