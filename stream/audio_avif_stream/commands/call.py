"""``audio-avif-call``: two people talk, each end sending and playing at once."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from audio_avif.edge import console
from audio_avif.errors import DeviceError
from audio_avif.link.messages import DEFAULT_PORT
from audio_avif_stream.commands.options import (
    check_hearing,
    check_speaking,
    check_tls,
    command,
    device_choice,
    encoder_config,
    figures,
    hearing,
    limits_of,
    microphone_processing,
    peer_host,
    print_devices,
    security,
    sound_device,
    speaking,
    token_of,
    trusted_signers,
)
from audio_avif_stream.serving.security import Limits

if TYPE_CHECKING:
    from audio_avif.edge.processing import EchoReference
    from audio_avif_stream.calling.call import Call
    from audio_avif_stream.calling.display import CallDisplay
    from audio_avif_stream.calling.sound import ControlledOutput, ControlledSource, Controls
    from audio_avif_stream.client.connection import Address
    from audio_avif_stream.receiving.stage import Stage
    from audio_avif_stream.sending.sender import Sender
    from audio_avif_stream.telemetry.live_line import JsonLines
    from audio_avif_stream.telemetry.watch import Watch

PROGRAM = "audio-avif-call"
_EVERYWHERE = "0.0.0.0"
_SERVERS = "audio-avif-call --listen or audio-avif-relay"
_MAX_LISTENERS = 8  # a connection that died counts until it is noticed
_KEYS = "keys: m mute, + and - volume, q hang up"


def _parser() -> argparse.ArgumentParser:
    parser = command(
        PROGRAM,
        "Call: send the microphone and play what the other end says.",
        "Start one end with --listen; it prints the command for the other. Or give both the same audio-avif-relay and "
        f"--room. In a terminal: {_KEYS}, space with --push-to-talk.",
        [
            sound_device("input", "output"),
            speaking(4),
            microphone_processing("echo,noise,gain"),
            hearing("low"),
            figures("rates, levels, loss and delay of both directions, which a terminal shows without it"),
            trusted_signers("relay"),
            security(Limits(connections=64), "docs/guides/call.md and docs/reference/limits.md", _add_token),
        ],
    )
    parser.add_argument(
        "peer",
        nargs="?",
        metavar="HOST",
        help="where the other end listens, or an audio-avif-relay: NAME, or wss://NAME[:PORT] for one with --tls-cert",
    )
    parser.add_argument("--listen", action="store_true", help="wait here for the other end")
    parser.add_argument("--host", help=f"address to listen on (default: {_EVERYWHERE}, all)")
    parser.add_argument("--port", type=console.port, help=f"port to listen on or to call (default: {DEFAULT_PORT})")
    parser.add_argument("--room", default="call", metavar="NAME", help="name of the call (default: call)")
    parser.add_argument("--once", action="store_true", help="hang up when the other end does (default: wait for it)")
    parser.add_argument("--push-to-talk", action="store_true", help="send the microphone only while space is held")
    parser.add_argument("--watch", action="store_true", help="show the spectrogram of what is heard in the terminal")
    return parser


def _add_token(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--token",
        metavar="TEXT",
        help="token of the call or relay (default: $AUDIO_AVIF_TOKEN, which other users do not see in ps, or a new one "
        "with --listen)",
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, checked; wrong usage ends the program with exit code 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list_devices:
        return options
    from audio_avif_stream.calling.rooms import rooms_of
    from audio_avif_stream.relay.room_tokens import is_room_name

    if options.listen == (options.peer is not None):
        parser.error("give either HOST, the machine or relay to call, or --listen")
    if not all(map(is_room_name, rooms_of(options.room))):
        parser.error(f"--room: {options.room!r} is not a name; use 1 to 62 ASCII letters, digits, dots, hyphens or _")
    check_speaking(parser, options)
    check_hearing(parser, options)
    check_tls(parser, options)
    if options.no_token and options.token is not None:
        parser.error("--token and --no-token exclude each other")
    if not options.listen:
        for name in ("host", "tls_cert", "no_token"):
            if getattr(options, name):
                parser.error(f"--{name.replace('_', '-')} needs --listen")
        options.peer = peer_host(parser, "HOST", options.peer, options.port)
    if options.ca is not None and (options.listen or not options.peer.is_secure):
        parser.error("--ca needs a relay with TLS: wss://NAME")
    options.token = token_of(parser, "--token", options.token, "AUDIO_AVIF_TOKEN", reads_variable=not options.no_token)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif-call``."""
    return console.run(PROGRAM, lambda: _run(parse(arguments)))


def _run(options: argparse.Namespace) -> None:
    console.log_to_stderr(PROGRAM)
    if options.list_devices:
        print_devices()
        return
    from audio_avif_stream.telemetry.live_line import JsonLines
    from audio_avif_stream.telemetry.watch import open_watch

    with JsonLines(options.stats_json) as stats_json:
        watch = open_watch() if options.watch else None
        calling = _call(options, stats_json, watch)
        asyncio.run(calling if watch is None else watch.beside(calling))


async def _call(options: argparse.Namespace, stats_json: JsonLines, watch: Watch | None) -> None:
    from audio_avif.edge.processing import EchoReference
    from audio_avif_stream.calling.call import Call
    from audio_avif_stream.calling.display import CallDisplay
    from audio_avif_stream.calling.keys import has_keys, keys
    from audio_avif_stream.calling.sound import Controls
    from audio_avif_stream.receiving.receiver import Receiver
    from audio_avif_stream.runtime.interrupts import on_interrupt
    from audio_avif_stream.runtime.realtime import realtime_priority
    from audio_avif_stream.runtime.tasks import cancel
    from audio_avif_stream.telemetry.live_line import LiveLine

    can_press, loop = has_keys(), asyncio.get_running_loop()
    if options.push_to_talk and not can_press:
        raise DeviceError("--push-to-talk needs a terminal on standard input; leave it out, or give --input a file")
    controls = Controls(options.push_to_talk)
    async with AsyncExitStack() as stack:
        stack.enter_context(realtime_priority())
        echo = EchoReference()
        output, source = _open_output(options, controls, echo, stack), _open_source(options, controls, echo, stack)
        receiver = Receiver(_stage(options, output, watch), options.once)
        relay = await _relay(options, stack)
        call = Call(options.room, relay, receiver, _sender_maker(options, source), is_host=options.listen)
        line = watch or LiveLine(options.stats or options.watch or sys.stderr.isatty())
        display = CallDisplay(call, source, output, controls, line, stats_json)
        _serve_metrics(options, call, display, stack)

        def on_key(key: str) -> None:
            if key == "q":
                call.hang_up()
            controls.press(key, loop.time())

        stack.enter_context(keys(on_key))
        on_interrupt(call.hang_up)
        if can_press:
            console.tell(f"({_KEYS}{', space talk' if options.push_to_talk else ''})")
        showing = asyncio.create_task(display.run())
        try:
            await call.run()
        finally:
            await cancel([showing])


def _open_output(
    options: argparse.Namespace, controls: Controls, echo: EchoReference, stack: AsyncExitStack
) -> ControlledOutput:
    from audio_avif_stream.calling.sound import ControlledOutput
    from audio_avif_stream.receiving.outputs import TappedOutput, open_output

    opened = open_output(options.output, device_choice(options, options.output_device), options.buffer_ms / 1e3)
    stack.push(lambda kind, *_: opened.close(has_failed=kind is not None))
    heard = TappedOutput(opened, echo.write) if _removes_echo(options) else opened
    return ControlledOutput(heard, controls)


def _removes_echo(options: argparse.Namespace) -> bool:
    return options.input == "mic" and bool(options.process.echo)


def _open_source(
    options: argparse.Namespace, controls: Controls, echo: EchoReference, stack: AsyncExitStack
) -> ControlledSource:
    from audio_avif_stream.calling.sound import ControlledSource
    from audio_avif_stream.sending.capture import Source, open_source
    from audio_avif_stream.sending.processing import ProcessedSource

    choice = device_choice(options, options.input_device)
    # Without a microphone one can still listen; a name that is not found may be mistyped.
    choice = replace(choice, waits=choice.waits or choice.name is None)
    source: Source = open_source(options.input, choice, True)
    stack.callback(source.close)
    if options.input == "mic" and options.process:
        source = ProcessedSource(source, options.process, echo if options.process.echo else None)
    return ControlledSource(source, controls)


def _stage(options: argparse.Namespace, output: ControlledOutput, watch: Watch | None) -> Stage:
    from audio_avif.codec.playout import PlayoutConfig
    from audio_avif.vocoders.registry import load_vocoder
    from audio_avif_stream.receiving.stage import Stage
    from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine

    return Stage(
        load_vocoder(device=options.provider, name=options.vocoder),
        output,
        PlayoutConfig(options.buffer_ms / 1e3),
        LiveLine(False),
        JsonLines(None),
        limits=limits_of(options),
        resume_s=options.resume_s,
        watch=watch,
    )


def _sender_maker(options: argparse.Namespace, source: ControlledSource) -> Callable[[Address], Sender]:
    from audio_avif.codec.encoder import Encoder
    from audio_avif.config import TileConfig
    from audio_avif_stream.client.connection import connect
    from audio_avif_stream.sending.sender import Sender, StreamConfig
    from audio_avif_stream.sending.sender_stats import FigureOutputs

    encoder = Encoder(tile=TileConfig(options.tile_frames), encoder=encoder_config(options))
    config = StreamConfig(reconnect_s=options.reconnect_s)
    return lambda address: Sender(encoder, source, partial(connect, address), config, FigureOutputs())


async def _relay(options: argparse.Namespace, stack: AsyncExitStack) -> Address:
    """The relay of the call, which runs in here with ``--listen``."""
    import platformdirs

    from audio_avif_stream.calling.hosting import CallHost
    from audio_avif_stream.client.connection import Address
    from audio_avif_stream.relay.room_tokens import RoomTokens, Tokens
    from audio_avif_stream.relay.server import RelayConfig
    from audio_avif_stream.serving.security import client_context, server_context

    if not options.listen:
        tls = client_context(options.ca) if options.peer.is_secure else None
        return Address(options.peer.name, options.peer.port, tls, options.token, server=_SERVERS)
    config = RelayConfig(
        options.host or _EVERYWHERE,
        DEFAULT_PORT if options.port is None else options.port,
        tls=None if options.tls_cert is None else server_context(options.tls_cert, options.tls_key),
        room_tokens=RoomTokens(Tokens(options.token, options.token)),
        is_open=options.no_token,
        is_private=True,
        token_file=platformdirs.user_state_path("audio-avif", appauthor=False) / "call-token",
        limits=limits_of(options),
        max_listeners=_MAX_LISTENERS,
        resume_s=options.resume_s,
    )
    host = CallHost(config, options.room, options.tls_cert)
    address = await host.open()
    stack.push_async_callback(host.close)
    return address


def _serve_metrics(options: argparse.Namespace, call: Call, display: CallDisplay, stack: AsyncExitStack) -> None:
    if options.metrics is None:
        return
    from audio_avif_stream.telemetry.figures import CALL, RECEIVER, SENDER
    from audio_avif_stream.telemetry.prometheus import serve_metrics

    sent = (lambda: None if call.sender is None else call.sender.latest), SENDER
    close = serve_metrics(options.metrics, lambda: display.latest, CALL, sent, (call.receiver.figures, RECEIVER))
    stack.callback(close)


if __name__ == "__main__":
    sys.exit(main())
