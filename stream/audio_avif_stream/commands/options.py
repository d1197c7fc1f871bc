"""Options that several commands have in common, as argparse parents, and the checks that go with them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from audio_avif import __version__
from audio_avif.config import (
    MAX_BITRATE_KBPS,
    MAX_REDUNDANCY,
    MAX_TILE_FRAMES,
    MIN_BITRATE_KBPS,
    MIN_TILE_FRAMES,
    EncoderConfig,
    ProcessingConfig,
)
from audio_avif.edge import console
from audio_avif.edge.device_choice import DeviceChoice
from audio_avif.edge.device_latency import MAX_LATENCY_S, MIN_LATENCY_S
from audio_avif.link.messages import MAX_MESSAGE_BYTES
from audio_avif.optional import install_command
from audio_avif_stream.serving.security import Limits, is_token

if TYPE_CHECKING:
    from audio_avif_stream.client.connection import Host

# What each choice of --latency stands for: a vocoder, and the least sound held ready in ms.
LATENCIES = {"low": ("embedded-low", 0.0), "balanced": ("default", 0.0), "safe": ("default", 120.0)}

_COUNT = console.integer_in(1, 2**31 - 1)


def command(
    program: str, description: str, epilog: str, parents: list[argparse.ArgumentParser]
) -> argparse.ArgumentParser:
    """A parser for one command, with ``--version`` and what the parents hold."""
    parser = argparse.ArgumentParser(prog=program, description=description, epilog=epilog, parents=parents)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def figures(live_line: str) -> argparse.ArgumentParser:
    """Where the figures of a running command go; ``live_line`` says what ``--stats`` shows."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("figures")
    group.add_argument("--stats", action="store_true", help=f"show a live line: {live_line}")
    group.add_argument(
        "--stats-json",
        metavar="FILE|-",
        help="file for the figures, one line of JSON per second (- for standard output)",
    )
    group.add_argument(
        "--metrics", type=console.port, metavar="PORT", help="port on localhost that serves the figures to Prometheus"
    )
    return parent


def sound_device(*directions: str) -> argparse.ArgumentParser:
    """The choice of an ``input`` or ``output`` device as ``--device``, or of both with an option each."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("sound device")
    for direction in directions:
        option = "--device" if len(directions) == 1 else f"--{direction}-device"
        group.add_argument(option, metavar="NAME", help=f"{direction} device: its name, part of it, or its number")
    group.add_argument("--list-devices", action="store_true", help="print the sound devices and exit")
    group.add_argument(
        "--device-latency-ms",
        type=_latency_ms,
        metavar="MS",
        help="latency to ask of the device, 2 to 500 (default: 10, raised where sound is lost, and kept)",
    )
    group.add_argument(
        "--device-lost",
        choices=("wait", "exit"),
        default="wait",
        help="where the device is unplugged or its sound server ends, wait for it or exit (default: wait)",
    )
    group.add_argument(
        "--wait-device", action="store_true", help="start without the device where it is missing, and wait for it"
    )
    group.add_argument(
        "--exclusive", action="store_true", help="take the device for this program alone (Windows, WASAPI)"
    )
    return parent


def _latency_ms(text: str) -> float:
    if not 1e3 * MIN_LATENCY_S <= (value := float(text)) <= 1e3 * MAX_LATENCY_S:
        raise argparse.ArgumentTypeError(f"{text} is not within {1e3 * MIN_LATENCY_S:g} to {1e3 * MAX_LATENCY_S:g} ms")
    return value


def device_choice(options: argparse.Namespace, name: str | None) -> DeviceChoice:
    """The sound device of that name, the default one for None, as the options of ``sound_device`` say."""
    fixed_ms = options.device_latency_ms
    return DeviceChoice(
        name,
        None if fixed_ms is None else fixed_ms / 1e3,
        is_exclusive=options.exclusive,
        ends_when_lost=options.device_lost == "exit",
        waits=options.wait_device,
    )


def microphone_processing(default: str) -> argparse.ArgumentParser:
    """What is done to the microphone's sound; the option holds a ProcessingConfig."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "--process",
        type=_processing,
        default=default,
        metavar="echo,noise,gain|none",
        help=f"remove echo, remove noise, level the loudness (default: {default}; needs {install_command('talk')})",
    )
    return parent


def _processing(text: str) -> ProcessingConfig:
    try:
        return ProcessingConfig.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def speaking(tile_frames: int) -> argparse.ArgumentParser:
    """What is sent, and how; ``check_speaking`` completes it."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("sending")
    group.add_argument(
        "--input",
        default="mic",
        metavar="mic|FILE|-",
        help="mic, a sound file, or - for raw s16le mono 16 kHz on standard input (default: mic)",
    )
    group.add_argument(
        "--tile-frames",
        type=console.integer_in(MIN_TILE_FRAMES, MAX_TILE_FRAMES),
        default=tile_frames,
        metavar="N",
        help=f"frames of 16 ms per tile, 2 to 64; fewer reduce the delay and raise the rate (default: {tile_frames})",
    )
    group.add_argument(
        "--quality",
        type=console.integer_in(0, 100),
        metavar="Q",
        help=f"AVIF quality, 0 to 100 (default: {EncoderConfig.quality})",
    )
    group.add_argument(
        "--bitrate",
        type=_kbps,
        metavar="KBPS",
        help=f"codec rate, {MIN_BITRATE_KBPS:g} to {MAX_BITRATE_KBPS:g}, kept by choosing each tile's quality "
        "(default: constant quality, variable rate)",
    )
    group.add_argument(
        "--dtx",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="send a few bytes of comfort noise instead of tiles in pauses (default: yes)",
    )
    group.add_argument(
        "--redundancy",
        type=console.integer_in(0, MAX_REDUNDANCY),
        default=0,
        metavar="N",
        help=f"number of earlier tiles repeated with each tile at low quality, 0 to {MAX_REDUNDANCY}, "
        "for relays that drop messages; each adds a tile of delay (default: 0)",
    )
    group.add_argument(
        "--reconnect-s",
        type=_seconds,
        default=600.0,
        metavar="N",
        help="time to try again after the connection is lost, 0 for none (default: 600)",
    )
    return parent


def _kbps(text: str) -> float:
    value = float(text)
    if not MIN_BITRATE_KBPS <= value <= MAX_BITRATE_KBPS:
        raise argparse.ArgumentTypeError(
            f"{text} is not within {MIN_BITRATE_KBPS:g} to {MAX_BITRATE_KBPS:g} kbps of codec rate"
        )
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def check_speaking(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program for options of ``speaking`` that exclude each other; fill in the quality."""
    if options.quality is not None and options.bitrate is not None:
        parser.error("--quality and --bitrate exclude each other: a bitrate chooses the quality of each tile")
    options.quality = EncoderConfig.quality if options.quality is None else options.quality


def encoder_config(options: argparse.Namespace) -> EncoderConfig:
    """The encoder that the options of ``speaking`` say."""
    return EncoderConfig(options.quality, bitrate_kbps=options.bitrate, dtx=options.dtx, redundancy=options.redundancy)


def hearing(latency: str) -> argparse.ArgumentParser:
    """Where and how is played what comes; ``check_hearing`` completes it."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("playing")
    group.add_argument(
        "--output",
        action="append",
        metavar="speaker|FILE.wav|-",
        help="speaker, .wav file, or - for raw s16le mono 16 kHz on stdout; may be repeated (default: speaker)",
    )
    group.add_argument(
        "--vocoder",
        metavar="NAME|PATH",
        help="embedded, embedded-low, embedded-high, griffin-lim, the name of an exported model, or an .onnx file "
        "(default: embedded, or embedded-low with --latency low)",
    )
    group.add_argument(
        "--provider", choices=("auto", "cpu", "cuda"), default="auto", help="ONNX Runtime provider (default: auto)"
    )
    group.add_argument(
        "--latency",
        choices=LATENCIES,
        default=latency,
        help="delay of the vocoder: low: 16 ms, less clear; balanced: 48 ms; safe: 48 ms and a jitter buffer of "
        f"at least 120 ms (default: {latency})",
    )
    group.add_argument(
        "--buffer-ms",
        type=console.milliseconds,
        metavar="MS",
        help="jitter buffer in ms, at least (default: by --latency; the buffer grows as arrivals and machine require)",
    )
    return parent


def check_hearing(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program for options of ``hearing`` that exclude each other; fill in what ``--latency`` says."""
    options.output = options.output or ["speaker"]
    vocoder, buffer_ms = LATENCIES[options.latency]
    options.vocoder = vocoder if options.vocoder is None else options.vocoder
    options.buffer_ms = buffer_ms if options.buffer_ms is None else options.buffer_ms
    if "-" in options.output and options.stats_json == "-":
        parser.error("--output - and --stats-json - cannot share standard output")


def trusted_signers(server: str) -> argparse.ArgumentParser:
    """Which certificates a command that connects to a ``server`` trusts."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help=f"certificates (PEM) trusted to sign the {server}'s, for wss:// (default: this machine's)",
    )
    return parent


def security(
    usual: Limits, docs: str, add_tokens: Callable[[argparse._ArgumentGroup], None]
) -> argparse.ArgumentParser:
    """TLS, tokens and limits of a command that listens; ``docs`` are the pages that explain them."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("security", f"See {docs}.")
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM); peers then use wss://")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="private key of the certificate (PEM)")
    add_tokens(group)
    group.add_argument("--no-token", action="store_true", help="accept every sender")
    _add_limits(group, usual)
    return parent


def _add_limits(group: argparse._ArgumentGroup, usual: Limits) -> None:
    group.add_argument(
        "--resume-s",
        type=seconds_from(0),
        default=60.0,
        metavar="S",
        help="time to wait for a sender whose connection was lost (default: 60)",
    )
    group.add_argument(
        "--max-message-bytes",
        type=console.integer_in(1, MAX_MESSAGE_BYTES),
        default=usual.message_bytes,
        metavar="N",
        help=f"maximum size of a message (default: {usual.message_bytes})",
    )
    group.add_argument(
        "--max-messages-per-second",
        type=_COUNT,
        default=usual.messages_per_s,
        metavar="N",
        help=f"maximum rate of a live stream over four seconds (default: {usual.messages_per_s})",
    )
    group.add_argument(
        "--max-connections",
        type=_COUNT,
        default=usual.connections,
        metavar="N",
        help=f"maximum number of connections without a stream (default: {usual.connections})",
    )
    group.add_argument(
        "--handshake-s",
        type=seconds_from(0.1),
        default=usual.handshake_s,
        metavar="S",
        help=f"time to connect, and again to send hello (default: {usual.handshake_s:g})",
    )
    group.add_argument(
        "--max-handshake-bytes",
        type=_COUNT,
        default=usual.handshake_bytes,
        metavar="N",
        help=f"maximum size of an HTTP request (default: {usual.handshake_bytes})",
    )


def limits_of(options: argparse.Namespace) -> Limits:
    """The limits that the options say."""
    return Limits(
        options.max_message_bytes,
        options.max_messages_per_second,
        options.max_connections,
        options.handshake_s,
        options.max_handshake_bytes,
    )


def seconds_from(min_s: float) -> Callable[[str], float]:
    """A parser of durations of up to a day; argparse shows its name where it raises ValueError."""

    def parse(text: str) -> float:
        if not min_s <= (value := float(text)) <= 86_400:
            raise ValueError(f"{text} is out of range")
        return value

    parse.__name__ = f"number of seconds ({min_s:g} to 86400)"
    return parse


def check_tls(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program where only one half of a certificate and its key is given."""
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")


def token_of(
    parser: argparse.ArgumentParser, option: str, given: str | None, variable: str, reads_variable: bool = True
) -> str | None:
    """The token of an option, or else of an environment variable; wrong characters in it end the program."""
    token = given
    if token is None and reads_variable:
        token = os.environ.get(variable) or None
    if token is not None and not is_token(token):
        parser.error(f"{option} (or {variable}) needs visible ASCII characters without spaces")
    return token


def peer_host(parser: argparse.ArgumentParser, option: str, text: str, port: int | None) -> Host:
    """The peer that the option's value and ``--port`` say, with its port; wrong usage ends the program."""
    from audio_avif.link.messages import DEFAULT_PORT
    from audio_avif_stream.client.connection import Host

    try:
        host = Host.parse(text)
    except ValueError as error:
        parser.error(f"{option}: {error}")
    if host.port is not None and port not in (None, host.port):
        parser.error(f"--port {port} contradicts {option} {text}")
    ports = (host.port, port, DEFAULT_PORT)
    return replace(host, port=next(one for one in ports if one is not None))


def print_devices() -> None:
    """Print the sound devices, for ``--list-devices``."""
    from audio_avif.edge.device_choice import format_devices, list_devices

    print(format_devices(list_devices()))
