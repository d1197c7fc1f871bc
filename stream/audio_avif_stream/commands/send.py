"""``audio-avif-send``: cuts sound into tiles and sends them to a receiver."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from audio_avif.edge import console
from audio_avif_stream.commands.options import (
    check_speaking,
    command,
    device_choice,
    encoder_config,
    figures,
    microphone_processing,
    peer_host,
    print_devices,
    sound_device,
    speaking,
    token_of,
    trusted_signers,
)

PROGRAM = "audio-avif-send"
_TOKEN_VARIABLE = "AUDIO_AVIF_TOKEN"


async def send(options: argparse.Namespace) -> None:
    """Open the source, connect and send. Raises AudioAvifError for whatever goes wrong."""
    from audio_avif.codec.encoder import Encoder
    from audio_avif.config import TileConfig
    from audio_avif_stream.client.connection import Address, connect
    from audio_avif_stream.runtime.interrupts import on_interrupt
    from audio_avif_stream.runtime.realtime import realtime_priority
    from audio_avif_stream.sending.capture import Source, open_source
    from audio_avif_stream.sending.sender import Sender, StreamConfig
    from audio_avif_stream.sending.sender_stats import FigureOutputs
    from audio_avif_stream.serving.security import client_context
    from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine

    is_live = options.input == "mic" or options.realtime
    tls = client_context(options.ca) if options.is_secure else None
    path = "" if options.room is None else f"/publish/{options.room}"
    address = Address(options.host, options.port, tls, options.token, path)
    with ExitStack() as stack:
        if is_live:
            stack.enter_context(realtime_priority())
        source: Source = open_source(options.input, device_choice(options, options.device), is_live)
        stack.callback(source.close)
        if options.process:
            from audio_avif_stream.sending.processing import ProcessedSource

            source = ProcessedSource(source, options.process)
        encoder = Encoder(tile=TileConfig(options.tile_frames), encoder=encoder_config(options))
        trace = stack.enter_context(JsonLines(options.trace))
        stats_json = stack.enter_context(JsonLines(options.stats_json))
        telling = FigureOutputs(trace, stats_json, LiveLine(options.stats), options.metrics is not None)
        config = StreamConfig(is_live, options.reconnect_s)
        sender = Sender(encoder, source, partial(connect, address), config, telling)
        if options.metrics is not None:
            from audio_avif_stream.telemetry.figures import SENDER
            from audio_avif_stream.telemetry.prometheus import serve_metrics

            stack.callback(serve_metrics(options.metrics, lambda: sender.latest, SENDER))
        on_interrupt(sender.stop.set)
        await sender.run()


def _parser() -> argparse.ArgumentParser:
    parser = command(
        PROGRAM,
        "Cut sound into log-mel tiles, compress each as an AVIF picture, and send them to audio-avif-recv.",
        "Start audio-avif-recv on the other machine first, or an audio-avif-relay for any number of listeners; "
        "it prints the command to run here.",
        [
            sound_device("input"),
            speaking(8),
            microphone_processing("none"),
            figures("rates, quality, drops, device latency, delay"),
            trusted_signers("receiver"),
        ],
    )
    parser.add_argument(
        "--host",
        metavar="NAME|ws://..|wss://..",
        help="the receiver's name or address; wss://NAME[:PORT] for one with --tls-cert",
    )
    parser.add_argument("--port", type=console.port, help="port of the receiver (default: 8765)")
    parser.add_argument("--room", metavar="NAME", help="room of the audio-avif-relay at --host to publish in")
    parser.add_argument(
        "--token",
        metavar="TEXT",
        help=f"token of the receiver (default: ${_TOKEN_VARIABLE}, which other users do not see in ps)",
    )
    parser.add_argument(
        "--realtime",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="pace a file or pipe like a microphone (default), or send it as fast as possible",
    )
    parser.add_argument(
        "--trace",
        metavar="FILE|-",
        help="file for one line of JSON per tile with the time of each stage (- for standard output)",
    )
    return parser


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of a stream, checked; wrong usage ends the program with exit code 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list_devices:
        return options
    if options.host is None:
        parser.error("--host is missing: give the machine on which audio-avif-recv runs")
    _resolve_host(parser, options)
    if options.process.echo:
        parser.error("--process echo needs the far end's sound, which audio-avif-send does not play: leave echo out")
    check_speaking(parser, options)
    if options.trace == options.stats_json == "-":
        parser.error("--trace - and --stats-json - cannot share standard output")
    return options


def _resolve_host(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Let ``host``, ``port``, ``is_secure`` and ``token`` say what ``--host`` and the environment add to them."""
    from audio_avif_stream.relay.room_tokens import ROOM_NAME_RULE, is_room_name

    host = peer_host(parser, "--host", options.host, options.port)
    if options.room is not None and not is_room_name(options.room):
        parser.error(f"--room: {options.room!r} is not a room name; {ROOM_NAME_RULE}")
    if options.ca is not None and not host.is_secure:
        parser.error("--ca needs a receiver with TLS: --host wss://NAME")
    options.host, options.port, options.is_secure = host.name, host.port, host.is_secure
    options.token = token_of(parser, "--token", options.token, _TOKEN_VARIABLE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif-send``."""
    return console.run(PROGRAM, lambda: _run(parse(arguments)))


def _run(options: argparse.Namespace) -> None:
    console.log_to_stderr(PROGRAM)
    if options.list_devices:
        print_devices()
        return
    asyncio.run(send(options))


if __name__ == "__main__":
    sys.exit(main())
