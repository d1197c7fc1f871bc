"""``audio-avif-relay``: passes streams on to any number of listeners."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from audio_avif.edge import console
from audio_avif.link.messages import DEFAULT_PORT
from audio_avif_stream.commands.options import check_tls, command, figures, limits_of, seconds_from, security, token_of
from audio_avif_stream.serving.security import Limits

PROGRAM = "audio-avif-relay"
_TOKEN_VARIABLES = {"publish_token": "AUDIO_AVIF_PUBLISH_TOKEN", "listen_token": "AUDIO_AVIF_LISTEN_TOKEN"}
_MAX_ARRIVALS = 512  # after a relay elsewhere has died, all its listeners come at once


def _parser() -> argparse.ArgumentParser:
    parser = command(
        PROGRAM,
        "Relay streams of audio-avif-send to any number of listeners, each stream in its own room.",
        "It prints the commands for both ends; listeners use audio-avif-recv --connect or a browser.",
        [
            figures("rooms, listeners, rates, drops"),
            security(
                Limits(connections=_MAX_ARRIVALS),
                "docs/guides/relay.md and docs/reference/limits.md",
                _add_tokens_and_limits,
            ),
        ],
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default: this machine only)"
    )
    parser.add_argument(
        "--port",
        type=console.port,
        default=DEFAULT_PORT,
        help=f"port to listen on, 0 for any free one (default: {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--rooms",
        type=Path,
        metavar="FILE.toml",
        help="file with a table [rooms.NAME] for each room and its tokens, publish = and listen = (default: any room)",
    )
    parser.add_argument(
        "--nats",
        metavar="URL",
        help="NATS server that joins the rooms of several relays, nats://HOST[:4222]",
    )
    parser.add_argument("--no-web", action="store_true", help="do not serve the web page")
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL|*",
        help="origin of other web pages that may connect, like https://example.org; may be repeated",
    )
    return parser


def _add_tokens_and_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--publish-token",
        metavar="TEXT",
        help="token that senders need in all rooms (default: $AUDIO_AVIF_PUBLISH_TOKEN, or a new one where --host lets "
        "other machines in)",
    )
    group.add_argument(
        "--listen-token",
        metavar="TEXT",
        help="token that listeners need in all rooms (default: $AUDIO_AVIF_LISTEN_TOKEN, or none)",
    )
    group.add_argument(
        "--stall-s",
        type=seconds_from(0.5),
        default=10.0,
        metavar="S",
        help="time after which a listener that stops reading is disconnected (default: 10)",
    )
    count = console.integer_in(1, 2**31 - 1)
    group.add_argument(
        "--max-listeners", type=count, default=5000, metavar="N", help="maximum number of listeners (default: 5000)"
    )
    group.add_argument(
        "--max-rooms", type=count, default=100, metavar="N", help="maximum number of rooms (default: 100)"
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options, checked; wrong usage ends the program with exit code 2."""
    parser = _parser()
    options = parser.parse_args(arguments)
    check_tls(parser, options)
    if options.no_token and options.rooms is not None:
        parser.error("--no-token applies to all rooms; with --rooms, a room without publish = in the file is open")
    for name, variable in _TOKEN_VARIABLES.items():
        option = f"--{name.replace('_', '-')}"
        given = getattr(options, name)
        if given is not None and options.rooms is not None:
            parser.error(f"{option} applies to all rooms; with --rooms, give each room's token in the file")
        if given is not None and options.no_token and name == "publish_token":
            parser.error(f"{option} and --no-token exclude each other")
        reads_variable = options.rooms is None and not (options.no_token and name == "publish_token")
        token = token_of(parser, option, given, variable, reads_variable)
        setattr(options, name, token)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif-relay``."""
    return console.run(PROGRAM, lambda: _run(parse(arguments)))


def _run(options: argparse.Namespace) -> None:
    console.log_to_stderr(PROGRAM)
    asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> None:
    import platformdirs

    from audio_avif_stream.relay.room_tokens import RoomTokens, Tokens, read_rooms
    from audio_avif_stream.relay.server import Relay, RelayConfig
    from audio_avif_stream.runtime.realtime import realtime_priority
    from audio_avif_stream.serving.security import server_context
    from audio_avif_stream.telemetry.figures import RELAY
    from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine
    from audio_avif_stream.telemetry.prometheus import serve_metrics

    rooms = None if options.rooms is None else read_rooms(options.rooms)
    config = RelayConfig(
        options.host,
        options.port,
        tls=None if options.tls_cert is None else server_context(options.tls_cert, options.tls_key),
        room_tokens=RoomTokens(Tokens(options.publish_token, options.listen_token), rooms),
        is_open=options.no_token,
        token_file=platformdirs.user_state_path("audio-avif", appauthor=False) / "publish-token",
        origins=tuple(origin.rstrip("/") for origin in options.allow_origin),
        has_web=not options.no_web,
        limits=limits_of(options),
        max_listeners=options.max_listeners,
        max_rooms=options.max_rooms,
        resume_s=options.resume_s,
        stall_s=options.stall_s,
        nats_url=options.nats,
    )
    _allow_many_files(options.max_listeners + options.max_connections + options.max_rooms)
    with JsonLines(options.stats_json) as stats_json, ExitStack() as stack:
        stack.enter_context(realtime_priority())
        relay = Relay(config, LiveLine(options.stats), stats_json)
        if options.metrics is not None:
            stack.callback(serve_metrics(options.metrics, relay.figures, RELAY))
        await relay.run()


def _allow_many_files(connections: int) -> None:
    """Raise this process' limit of open files to what so many connections need, as far as the system lets it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    import logging

    wanted = connections + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        logging.getLogger(__name__).warning(
            "the system allows %d open files, which is too few for --max-listeners; raise the limit with ulimit -n",
            allowed,
        )


if __name__ == "__main__":
    sys.exit(main())
