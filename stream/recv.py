"""``audio-avif-recv``: listens for a stream of tiles and plays it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from audio_avif import __version__, console
from audio_avif.errors import FileError

PROGRAM = "audio-avif-recv"

# What each choice of --latency stands for: a vocoder, and sound held ready in ms.
LATENCIES = {"low": ("embedded-low", 30.0), "balanced": ("default", 40.0), "safe": ("default", 120.0)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Listen for a stream of audio-avif tiles and play it.",
        epilog="Start this first; it prints what to type on the machine with the microphone.",
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: this machine only)"
    )
    parser.add_argument(
        "--port", type=console.port, default=8765, help="port to listen on, 0 for any free one (default: 8765)"
    )
    parser.add_argument(
        "--output",
        action="append",
        metavar="speaker|FILE.wav|-",
        help="where the sound goes, - for raw s16le mono 16 kHz on standard output; may be repeated (default: speaker)",
    )
    parser.add_argument("--device", metavar="NAME", help="output device: its name, part of it, or its number")
    parser.add_argument("--list-devices", action="store_true", help="print the sound devices and exit")
    parser.add_argument(
        "--vocoder",
        metavar="NAME|PATH",
        help="embedded, embedded-low, griffin-lim, the name of an exported model, or an .onnx file "
        "(default: embedded, or embedded-low with --latency low)",
    )
    parser.add_argument(
        "--provider", choices=("auto", "cpu", "cuda"), default="auto", help="what runs the model (default: auto)"
    )
    parser.add_argument("--once", action="store_true", help="exit after the first stream")
    parser.add_argument(
        "--save-tiles",
        type=Path,
        metavar="DIR",
        help="keep each received tile as an .avif picture, NNN-TTTTTT for stream N and tile T",
    )
    parser.add_argument(
        "--latency",
        choices=LATENCIES,
        default="balanced",
        help="low: a vocoder of 16 ms that is less clear, and 30 ms of buffer; balanced: one of 48 ms, and 40 ms; "
        "safe: the same with 120 ms (default: balanced)",
    )
    parser.add_argument(
        "--buffer-ms",
        type=console.milliseconds,
        metavar="MS",
        help="sound held ready against network jitter (default: by --latency)",
    )
    parser.add_argument(
        "--stats",
        action="store_true",
        help="show a live line: rates, buffer and delay in ms, tiles lost and concealed, underruns",
    )
    parser.add_argument("--stats-json", metavar="FILE|-", help="write the same figures as a line of JSON a second")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif-recv``."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.output = options.output or ["speaker"]
    vocoder, buffer_ms = LATENCIES[options.latency]
    options.vocoder = vocoder if options.vocoder is None else options.vocoder
    options.buffer_ms = buffer_ms if options.buffer_ms is None else options.buffer_ms
    if "-" in options.output and options.stats_json == "-":
        parser.error("--output - and --stats-json - cannot share standard output")
    return console.run(PROGRAM, lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    console.log_to_stderr(PROGRAM)
    if options.list_devices:
        from audio_avif.devices import format_devices, list_devices

        print(format_devices(list_devices()))
        return

    from audio_avif.codec import PlayoutConfig
    from audio_avif.stream.live_line import JsonLines, LiveLine
    from audio_avif.stream.outputs import open_output
    from audio_avif.stream.receiver import Receiver, listen
    from audio_avif.vocoders.registry import load_vocoder

    vocoder = load_vocoder(options.vocoder, options.provider)
    earlier_streams = _make_folder(options.save_tiles)
    with JsonLines(options.stats_json) as stats_json:
        output = open_output(options.output, options.device, options.buffer_ms / 1e3)
        try:
            playout = PlayoutConfig(target_s=options.buffer_ms / 1e3)
            live_line = LiveLine(options.stats)
            receiver = Receiver(vocoder, output, playout, live_line, stats_json, options.once, options.save_tiles)
            receiver.streams = earlier_streams
            asyncio.run(listen(receiver, options.host, options.port))
        finally:
            output.close()


def _make_folder(path: Path | None) -> int:
    """Make the folder for tiles; return how many streams have left theirs there already."""
    if path is None:
        return 0
    try:
        path.mkdir(parents=True, exist_ok=True)
        numbers = [name.partition("-")[0] for name in os.listdir(path) if name.endswith(".avif")]
    except OSError as error:
        raise FileError(f"the folder {path} cannot be made: {error.strerror}") from error
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


if __name__ == "__main__":
    sys.exit(main())
