"""Options that several commands have in common, as argparse parents, and the checks that go with them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from audio_avif import __version__
from audio_avif.config import ProcessingConfig
from audio_avif.edge import console
from audio_avif.edge.device_choice import DeviceChoice
from audio_avif.edge.device_latency import MAX_LATENCY_S, MIN_LATENCY_S
from audio_avif.link.messages import MAX_MESSAGE_BYTES
from audio_avif.optional import install_command
from audio_avif_stream.serving.security import Limits, is_token

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


def sound_device(direction: str) -> argparse.ArgumentParser:
    """The choice of an ``input`` or ``output`` device."""
    parent = argparse.ArgumentParser(add_help=False)
    group = parent.add_argument_group("sound device")
    group.add_argument("--device", metavar="NAME", help=f"{direction} device: its name, part of it, or its number")
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


def device_choice(options: argparse.Namespace) -> DeviceChoice:
    """The sound device that the options of ``sound_device`` say."""
    fixed_ms = options.device_latency_ms
    return DeviceChoice(
        options.device,
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


def print_devices() -> None:
    """Print the sound devices, for ``--list-devices``."""
    from audio_avif.edge.device_choice import format_devices, list_devices

    print(format_devices(list_devices()))
