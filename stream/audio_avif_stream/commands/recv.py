"""``audio-avif-recv``: listens for a stream of tiles and plays it."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from audio_avif.edge import console
from audio_avif.errors import FileError
from audio_avif.link.messages import DEFAULT_PORT
from audio_avif_stream.commands.options import (
    check_hearing,
    check_tls,
    command,
    device_choice,
    figures,
    hearing,
    limits_of,
    print_devices,
    security,
    sound_device,
    token_of,
    trusted_signers,
)
from audio_avif_stream.serving.security import Limits

if TYPE_CHECKING:
    import ssl

    from audio_avif_stream.receiving.receiver import Receiver
    from audio_avif_stream.receiving.stage import Stage
    from audio_avif_stream.receiving.web_view import WebView

PROGRAM = "audio-avif-recv"


def _parser() -> argparse.ArgumentParser:
    parser = command(
        PROGRAM,
        "Listen for a stream of audio-avif tiles and play it.",
        "Start this first; it prints the command for the machine with the microphone. Or connect it to an "
        "audio-avif-relay, which serves any number of receivers.",
        [
            sound_device("output"),
            hearing("balanced"),
            figures("rates, buffer + device and delay in ms, tiles lost and concealed, underruns"),
            trusted_signers("relay"),
            security(Limits(), "docs/guides/security.md and docs/reference/limits.md", _add_token),
        ],
    )
    parser.add_argument("--host", help="address to listen on; 0.0.0.0 for all (default: this machine only)")
    parser.add_argument("--port", type=console.port, help="port to listen on, 0 for any free one (default: 8765)")
    parser.add_argument(
        "--connect",
        metavar="URL[,URL..]",
        help="audio-avif-relay to connect to instead of listening, ws://HOST[:PORT] or wss://HOST[:PORT]; "
        "further ones are tried in turn when the connection is lost",
    )
    parser.add_argument("--room", metavar="NAME", help="room of the relay to play")
    parser.add_argument("--once", action="store_true", help="exit after the first stream")
    parser.add_argument(
        "--save-tiles",
        type=Path,
        metavar="DIR",
        help="folder for each received tile as an .avif picture, named NNN-TTTTTT by the numbers of stream and tile",
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE.avif",
        help="file for the sound of each stream as a picture, which audio-avif plays and browsers show: "
        "FILE.avif, FILE-2.avif and so on; existing files are not overwritten",
    )
    parser.add_argument(
        "--web",
        nargs="?",
        type=console.port,
        const=DEFAULT_PORT + 1,
        metavar="PORT",
        help=f"port of a web page that shows live streams (default: {DEFAULT_PORT + 1})",
    )
    parser.add_argument(
        "--watch", action="store_true", help="show the stream's spectrogram in the terminal, above the line of --stats"
    )
    parser.add_argument("--record", type=Path, metavar="FILE", help="file for all received messages with their times")
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="play a file of --record instead of listening, and exit"
    )
    parser.add_argument(
        "--replay-speed", choices=("real", "full"), default="real", help="original timing or no waiting (default: real)"
    )
    return parser


def _add_token(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--token",
        metavar="TEXT",
        help="token that senders need, or that the relay requires (default: $AUDIO_AVIF_TOKEN, which other users do "
        "not see in ps, or a new one where --host lets other machines in)",
    )


def _check_connect(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Wrong usage of ``--connect`` ends the program; ``options.connect`` becomes a list of hosts."""
    from audio_avif_stream.client.connection import Host
    from audio_avif_stream.relay.room_tokens import ROOM_NAME_RULE, is_room_name

    beside = {
        "host": None,
        "port": None,
        "tls_cert": None,
        "tls_key": None,
        "replay": None,
        "web": None,
        "no_token": False,
    }
    for name in (name for name, unset in beside.items() if getattr(options, name) != unset):
        parser.error(f"--{name.replace('_', '-')} cannot be combined with --connect")
    if options.room is None or not is_room_name(options.room):
        parser.error(f"--connect needs --room NAME; {ROOM_NAME_RULE}")
    try:
        options.connect = [Host.parse(text) for text in options.connect.split(",")]
    except ValueError as error:
        parser.error(f"--connect: {error}")
    if not all(host.name for host in options.connect):
        parser.error("--connect: an address between two commas is empty")
    if options.ca is not None and not any(host.is_secure for host in options.connect):
        parser.error("--ca needs a relay with TLS: --connect wss://NAME")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif-recv``."""
    parser = _parser()
    options = parser.parse_args(arguments)
    check_hearing(parser, options)
    check_tls(parser, options)
    if options.no_token and options.token is not None:
        parser.error("--token and --no-token exclude each other")
    if options.connect is not None:
        _check_connect(parser, options)
    elif options.room is not None or options.ca is not None:
        parser.error("--room and --ca need --connect")
    options.host = options.host or "127.0.0.1"
    options.port = DEFAULT_PORT if options.port is None else options.port
    if options.replay is not None:
        beside = ("record", "web", "metrics", "tls_cert", "token")
        for name in (name for name in beside if getattr(options, name) is not None):
            parser.error(f"--{name.replace('_', '-')} cannot be combined with --replay")
        if options.watch:
            parser.error("--watch cannot be combined with --replay")
    options.token = token_of(parser, "--token", options.token, "AUDIO_AVIF_TOKEN", reads_variable=not options.no_token)
    return console.run(PROGRAM, lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    console.log_to_stderr(PROGRAM)
    if options.list_devices:
        print_devices()
        return
    with ExitStack() as stack:
        if options.replay is None:
            _receive(options, stack)
        else:
            _replay(options, stack)


def _replay(options: argparse.Namespace, stack: ExitStack) -> None:
    from audio_avif_stream.receiving.replay import replay, replay_clock

    clock = replay_clock(options.replay_speed, options.output)
    stack.enter_context(console.sigterm_interrupts())
    stage, earlier_streams = _open_stage(options, stack, clock)
    replay(options.replay, stage, clock, earlier_streams + 1)


def _receive(options: argparse.Namespace, stack: ExitStack) -> None:
    from audio_avif_stream.receiving.receiver import Receiver
    from audio_avif_stream.receiving.stream_recording import Recorder
    from audio_avif_stream.receiving.web_view import WebView
    from audio_avif_stream.serving.security import server_context
    from audio_avif_stream.telemetry.figures import RECEIVER
    from audio_avif_stream.telemetry.prometheus import serve_metrics

    tls = None if options.tls_cert is None else server_context(options.tls_cert, options.tls_key)
    stage, earlier_streams = _open_stage(options, stack, time.monotonic)
    recorder = stack.enter_context(Recorder(options.record))
    web_view = None if options.web is None else WebView(recorder, options.web, options.resume_s)
    stage = replace(stage, recorder=recorder if web_view is None else web_view)
    receiver = Receiver(stage, options.once, earlier_streams)
    if options.metrics is not None:
        stack.callback(serve_metrics(options.metrics, receiver.figures, RECEIVER))
    if options.connect is not None:
        listening = _listen_to_relays(receiver, options)
    else:
        listening = _listen_for_senders(receiver, options, tls, web_view)
    asyncio.run(listening if stage.watch is None else stage.watch.beside(listening))


def _open_stage(options: argparse.Namespace, stack: ExitStack, clock: Callable[[], float]) -> tuple[Stage, int]:
    """Open what streams are played and kept on; also return how many streams have tiles in --save-tiles already."""
    from audio_avif.codec.playout import PlayoutConfig
    from audio_avif.vocoders.registry import load_vocoder
    from audio_avif_stream.receiving.outputs import open_output
    from audio_avif_stream.receiving.saving import Saver
    from audio_avif_stream.receiving.stage import Stage
    from audio_avif_stream.runtime.realtime import realtime_priority
    from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine
    from audio_avif_stream.telemetry.watch import open_watch

    vocoder = load_vocoder(device=options.provider, name=options.vocoder)
    buffer_s = options.buffer_ms / 1e3
    earlier_streams = stack.enter_context(_folder(options.save_tiles))
    stats_json = stack.enter_context(JsonLines(options.stats_json))
    watch = open_watch() if options.watch else None
    saver = stack.enter_context(Saver(options.save, is_patient=options.replay is not None))
    if options.replay is None:  # before the output starts its threads
        stack.enter_context(realtime_priority())
    output = open_output(options.output, device_choice(options, options.device), buffer_s, clock)
    stack.push(lambda kind, *_: output.close(has_failed=kind is not None))
    stage = Stage(
        vocoder,
        output,
        PlayoutConfig(buffer_s),
        watch or LiveLine(options.stats or options.watch),
        stats_json,
        options.save_tiles,
        limits=limits_of(options),
        resume_s=options.resume_s,
        saver=saver,
        watch=watch,
    )
    return stage, earlier_streams


async def _listen_for_senders(
    receiver: Receiver, options: argparse.Namespace, tls: ssl.SSLContext | None, web_view: WebView | None
) -> None:
    import platformdirs

    from audio_avif_stream.receiving.receiver import BindAddress, listen

    token_file = platformdirs.user_state_path("audio-avif", appauthor=False) / "token"
    address = BindAddress(options.host, options.port, options.token, options.no_token, tls, token_file)
    await listen(receiver, address, web_view)


async def _listen_to_relays(receiver: Receiver, options: argparse.Namespace) -> None:
    from audio_avif_stream.client.connection import Address
    from audio_avif_stream.receiving.listening import listen_to
    from audio_avif_stream.runtime.interrupts import on_interrupt
    from audio_avif_stream.serving.security import client_context

    tls = client_context(options.ca) if any(host.is_secure for host in options.connect) else None
    path = f"/listen/{options.room}"
    relays = [
        Address(host.name, host.port or DEFAULT_PORT, tls if host.is_secure else None, options.token, path)
        for host in options.connect
    ]
    on_interrupt(receiver.finished.set)
    await listen_to(receiver, relays, options.room)


@contextmanager
def _folder(path: Path | None) -> Iterator[int]:
    """Make the folder for tiles; yield how many streams have tiles there already.

    After a failure folders that were made, and in which nothing was put, are removed. Raises FileError.
    """
    if path is None:
        yield 0
        return
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        try:
            path.mkdir(parents=True, exist_ok=True)
            numbers = [name.partition("-")[0] for name in os.listdir(path) if name.endswith(".avif")]
        except OSError as error:
            raise FileError(f"the folder {path} cannot be created: {error.strerror}") from error
        yield max((int(number) for number in numbers if number.isdecimal()), default=0)
    except BaseException:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()
        raise


if __name__ == "__main__":
    sys.exit(main())
