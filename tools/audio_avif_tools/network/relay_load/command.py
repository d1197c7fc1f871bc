"""``python -m audio_avif_tools.network.relay_load``: measure the delay that a relay adds."""

from __future__ import annotations

import argparse
import json
import select
from collections.abc import Sequence
from pathlib import Path

from audio_avif import __version__
from audio_avif.config import MAX_TILE_FRAMES, MIN_TILE_FRAMES
from audio_avif.edge import console
from audio_avif.errors import AudioAvifError
from audio_avif_tools.network.relay_load.listeners import allow_many_files
from audio_avif_tools.network.relay_load.measurement import measure
from audio_avif_tools.network.relay_load.publisher import PROGRAM

_MAX_LISTENERS, _MAX_SECONDS = 10_000, 120


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Start an audio-avif-relay, a publisher and many listeners on this machine, and measure the delay "
        "that the relay adds.",
    )
    count, seconds = console.integer_in(1, _MAX_LISTENERS), console.integer_in(2, _MAX_SECONDS)
    parser.add_argument(
        "--listeners", type=count, default=2000, metavar="N", help="number of listeners (default: 2000)"
    )
    parser.add_argument("--seconds", type=seconds, default=20, metavar="N", help="length in seconds (default: 20)")
    parser.add_argument(
        "--tile-frames",
        type=console.integer_in(MIN_TILE_FRAMES, MAX_TILE_FRAMES),
        default=8,
        metavar="N",
        help="frames of 16 ms per tile (default: 8)",
    )
    parser.add_argument(
        "--processes",
        type=console.integer_in(1, 8),
        default=1,
        metavar="N",
        help="number of listening processes (default: 1)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="JSON file for the result")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _run(options: argparse.Namespace) -> None:
    if not hasattr(select, "epoll"):
        raise AudioAvifError("the load generator needs Linux")
    allow_many_files(options.listeners)
    result = measure(options.listeners, options.seconds, options.tile_frames, options.processes)
    print(result)
    if options.json is not None:
        options.json.write_text(json.dumps(result.figures()) + "\n")
    if result.wrong_listeners:
        raise AudioAvifError(f"{result.wrong_listeners} listeners did not get every message in order")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.network.relay_load``."""
    options = _parser().parse_args(arguments)
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))
