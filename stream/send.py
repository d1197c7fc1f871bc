"""``audio-avif-send``: cuts sound into tiles and sends them to a receiver."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from audio_avif import __version__, console
from audio_avif.config import MAX_TILE_FRAMES, MIN_TILE_FRAMES

PROGRAM = "audio-avif-send"


async def send(options: argparse.Namespace) -> None:
    """Open the source, connect and send. Raises AudioAvifError for whatever goes wrong."""
    from audio_avif.codec import Encoder
    from audio_avif.config import EncoderConfig, TileConfig
    from audio_avif.stream.capture import open_source
    from audio_avif.stream.interrupts import on_interrupt
    from audio_avif.stream.live_line import JsonLines, LiveLine
    from audio_avif.stream.sender import Sender, connect, unless

    is_live = options.input == "mic" or options.realtime
    source = open_source(options.input, options.device, is_live)
    try:
        encoder = Encoder(tile=TileConfig(options.tile_frames), encoder=EncoderConfig(options.quality))
        with JsonLines(options.trace) as trace:
            sender = Sender(encoder, source, is_live, trace, LiveLine(options.stats))
            on_interrupt(sender.stop.set)
            connection = await unless(sender.stop, connect(options.host, options.port))
            if connection is not None:
                async with connection:
                    await sender.run(connection)
    finally:
        source.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Cut sound into log-mel tiles, compress each as an AVIF picture, and send them to audio-avif-recv.",
        epilog="Start audio-avif-recv on the other machine first; it prints the line to type here.",
    )
    parser.add_argument("--host", help="the receiver's name or address")
    parser.add_argument("--port", type=console.port, default=8765, help="the receiver's port (default: 8765)")
    parser.add_argument(
        "--input",
        default="mic",
        metavar="mic|FILE|-",
        help="where the sound comes from; - reads raw s16le mono 16 kHz from standard input (default: mic)",
    )
    parser.add_argument("--device", metavar="NAME", help="input device: its name, part of it, or its number")
    parser.add_argument("--list-devices", action="store_true", help="print the sound devices and exit")
    parser.add_argument(
        "--tile-frames",
        type=console.integer_in(MIN_TILE_FRAMES, MAX_TILE_FRAMES),
        default=8,
        metavar="N",
        help="frames of 16 ms in a tile, 2 to 64: fewer mean less delay and more bits (default: 8)",
    )
    parser.add_argument(
        "--quality",
        type=console.integer_in(0, 100),
        default=60,
        metavar="Q",
        help="AVIF quality, 0 to 100 (default: 60)",
    )
    parser.add_argument(
        "--realtime",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="pace a file or pipe like a microphone (default), or send it at once",
    )
    parser.add_argument("--stats", action="store_true", help="show a live line: rates, drops, delay")
    parser.add_argument(
        "--trace", metavar="FILE|-", help="write a line of JSON for each tile: where its time went, stage by stage"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif-send``."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.host is None and not options.list_devices:
        parser.error("--host is needed: the machine on which audio-avif-recv runs")
    return console.run(PROGRAM, lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    console.log_to_stderr(PROGRAM)
    if options.list_devices:
        from audio_avif.devices import format_devices, list_devices

        print(format_devices(list_devices()))
        return
    asyncio.run(send(options))


if __name__ == "__main__":
    sys.exit(main())
