"""The options that programs which are connected to have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from audio_avif.edge import console
from audio_avif.link.messages import MAX_MESSAGE_BYTES
from audio_avif_stream.serving.security import Limits


def seconds_from(least_s: float) -> Callable[[str], float]:
    """A parser of durations of up to a day; argparse shows its name where it raises ValueError."""

    def parse(text: str) -> float:
        if not least_s <= (value := float(text)) <= 86_400:
            raise ValueError(f"{text} is out of range")
        return value

    parse.__name__ = f"number of seconds ({least_s:g} to 86400)"
    return parse


def add_limits(group: argparse._ArgumentGroup, usual: Limits) -> None:
    """Add an option for each of the limits, and for how long a stream waits for its sender."""
    group.add_argument(
        "--resume-s",
        type=seconds_from(0),
        default=60.0,
        metavar="S",
        help="how long a stream whose connection broke off waits for its sender (default: 60)",
    )
    count = console.integer_in(1, 2**31 - 1)
    group.add_argument(
        "--max-message-bytes",
        type=console.integer_in(1, MAX_MESSAGE_BYTES),
        default=usual.message_bytes,
        metavar="N",
        help=f"longest message (default: {usual.message_bytes})",
    )
    group.add_argument(
        "--max-messages-per-second",
        type=count,
        default=usual.messages_per_s,
        metavar="N",
        help=f"messages of a live stream, over four seconds (default: {usual.messages_per_s})",
    )
    group.add_argument(
        "--max-connections",
        type=count,
        default=usual.connections,
        metavar="N",
        help=f"connections that carry no stream (default: {usual.connections})",
    )
    group.add_argument(
        "--handshake-s",
        type=seconds_from(0.1),
        default=usual.handshake_s,
        metavar="S",
        help=f"time to connect, and again to say hello (default: {usual.handshake_s:g})",
    )
    group.add_argument(
        "--max-handshake-bytes",
        type=count,
        default=usual.handshake_bytes,
        metavar="N",
        help=f"longest request for a connection (default: {usual.handshake_bytes})",
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
