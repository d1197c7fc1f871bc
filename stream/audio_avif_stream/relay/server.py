"""The relay on the network: it accepts connections and gives each to the publishers or the listeners."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, serve
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from audio_avif.errors import ConnectionFailed
from audio_avif.link.messages import DEFAULT_PORT, SUBPROTOCOL
from audio_avif.link.rooms import Room, Rooms
from audio_avif_stream.relay.announcement import announce, asks_to_publish, warn_of_open_network
from audio_avif_stream.relay.listeners import Listeners
from audio_avif_stream.relay.nats_bridge import NatsBridge
from audio_avif_stream.relay.peers import RelayConnection, framed
from audio_avif_stream.relay.publishers import Publishers
from audio_avif_stream.relay.relay_stats import RelayStats
from audio_avif_stream.relay.requests import PAGE_S, RequestCheck
from audio_avif_stream.relay.room_tokens import RoomTokens, Tokens
from audio_avif_stream.runtime.awake import AwakeClock
from audio_avif_stream.runtime.interrupts import on_interrupt
from audio_avif_stream.runtime.readiness import notify_ready
from audio_avif_stream.runtime.tasks import cancel, unless
from audio_avif_stream.serving.admission import CLOSE_S, Admission, Complaints
from audio_avif_stream.serving.connections import (
    PENDING_CONNECTIONS,
    WRITE_LIMIT_BYTES,
    Connection,
    bind_failure,
    is_local,
)
from audio_avif_stream.serving.handshake import refusing
from audio_avif_stream.serving.security import Limits, kept_token, new_token
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine

_TICK_S = 0.5
_KEEPALIVE_S = 20.0


@dataclass(frozen=True)
class RelayConfig:
    """Where a relay listens, and what it allows.

    Where other machines can connect and ``room_tokens`` asks for no token to publish, one is made unless ``is_open``
    and kept in ``token_file``; where the relay ``is_private``, it is needed to listen, too. ``origins`` are pages of
    other servers that may connect, ``*`` for all of them; ``resume_s`` is how long a stream whose connection is lost
    waits for its publisher, ``stall_s`` how long a listener may take nothing. ``nats_url`` is where the relay meets
    others.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    port_option: str = "--port"
    tls: ssl.SSLContext | None = None
    room_tokens: RoomTokens = field(default_factory=RoomTokens)
    is_open: bool = False
    is_private: bool = False
    token_file: Path | None = None
    origins: tuple[str, ...] = ()
    has_web: bool = True
    limits: Limits = field(default_factory=Limits)
    max_listeners: int = 5000
    max_rooms: int = 100
    resume_s: float = 60.0
    stall_s: float = 10.0
    nats_url: str | None = field(default=None, repr=False)


class Relay:
    """Passes the messages of publishers on to all listeners of their rooms, without decoding a picture."""

    def __init__(self, config: RelayConfig, live_line: LiveLine, stats_json: JsonLines) -> None:
        self.rooms = Rooms(framed, config.resume_s, config.max_rooms)
        self.now_s = AwakeClock().now_s
        """The time by which rooms judge who is silent, slow or gone."""
        self._config = config
        self._bridge = (
            None if config.nats_url is None else NatsBridge(config.nats_url, self.rooms, config.resume_s, self.now_s)
        )
        self._admission = Admission(config.limits, None, Complaints())
        self._requests = RequestCheck(self._admission, config.room_tokens, config.origins, config.has_web)
        self._publishers = Publishers(self.rooms, self._bridge, self._admission, self.now_s)
        self._listeners = Listeners(
            self.rooms, self._admission, config.max_listeners, self.now_s, on_joined=self._on_joined
        )
        self._stats = RelayStats(
            self.rooms, self._publishers, self._listeners, self._admission.complaints, live_line, stats_json
        )
        self._server: Server | None = None
        self._ticking: asyncio.Task[None] | None = None

    @property
    def room_tokens(self) -> RoomTokens:
        """The tokens that peers need, with the one that ``open`` has made."""
        return self._requests.room_tokens

    def figures(self) -> dict[str, Any] | None:
        """What ``--stats-json`` shows, as of a moment ago; any thread may ask."""
        return self._stats.latest

    async def handle(self, connection: RelayConnection) -> None:
        """Serve one connection to its end."""
        line, visit = Connection(connection, self._config.limits), connection.visit
        assert visit is not None
        async with refusing(line, self._admission.complaints, "relay"):
            if visit.refusal is not None:
                raise visit.refusal
            group = self._publishers if visit.role == "publish" else self._listeners
            await group.serve(line, visit)

    def _on_joined(self, room: Room) -> None:
        if self._bridge is not None:
            self._bridge.want(room)

    async def run(self) -> None:
        """Serve until interrupted. Raises ConnectionFailed where the port, or NATS, cannot be had."""
        stop = asyncio.Event()
        on_interrupt(stop.set)
        self._announce(await self.open())
        notify_ready()
        try:
            await unless(stop, self._failure())
        finally:
            await self.close()

    async def _failure(self) -> None:
        """Raise what ended the tick task; the relay must not run without it."""
        assert self._ticking is not None
        await self._ticking

    async def open(self) -> socket.socket:
        """Begin to serve; return where. Raises ConnectionFailed where the port, or NATS, cannot be had."""
        config, limits = self._config, self._config.limits
        if self._bridge is not None:
            await self._bridge.open()
        tls_options: dict[str, Any] = {}
        if config.tls is not None:
            tls_options = {"ssl": config.tls, "ssl_handshake_timeout": limits.handshake_s + 1}
        try:
            listening = self._admission.listening_socket(config.host, config.port)
            self._requests.is_local = is_local(listening)
            self._require_token()
            self._server = await serve(
                self.handle,  # type: ignore[arg-type]  # the factory below makes no other connections
                sock=listening,
                create_connection=functools.partial(RelayConnection, self._admission),  # type: ignore[arg-type]
                process_request=self._requests.check,  # type: ignore[arg-type]
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                max_size=limits.message_bytes,
                write_limit=WRITE_LIMIT_BYTES,
                open_timeout=PAGE_S
                + limits.handshake_s,  # the admission closes slow connections before, with a warning
                ping_interval=_KEEPALIVE_S,
                ping_timeout=_KEEPALIVE_S,
                close_timeout=CLOSE_S,
                backlog=PENDING_CONNECTIONS,
                **tls_options,
            )
        except OSError as error:
            if self._bridge is not None:
                await self._bridge.close()
            raise ConnectionFailed(bind_failure(error, config.host, config.port, config.port_option)) from error
        self._ticking = asyncio.create_task(self._tick())
        return listening

    async def close(self) -> None:
        """Close all connections, with the reason."""
        assert self._server is not None and self._ticking is not None
        await cancel([self._ticking])
        for room in self.rooms:
            room.sinks.clear()
        self._admission.close()
        self._server.close(code=CloseCode.GOING_AWAY, reason="the relay was closed")
        await self._server.wait_closed()
        if self._bridge is not None:
            await self._bridge.close()
        self._admission.complaints.close()
        self._stats.conclude()

    async def _tick(self) -> None:
        """Cut off stalled listeners, forget streams and rooms that ended, and show the figures."""
        loop = asyncio.get_running_loop()
        self._stats.update(loop.time())
        while True:
            await asyncio.sleep(_TICK_S)
            awake_s = self.now_s()
            self._listeners.cut_off_stalled(awake_s, self._config.stall_s)
            if self._bridge is not None:
                self._bridge.tick(awake_s)
            self.rooms.tidy(awake_s)
            self._stats.update(loop.time())

    def _require_token(self) -> None:
        """Require a token to publish where other machines can connect and the options name none."""
        room_tokens, file = self._requests.room_tokens, self._config.token_file
        if asks_to_publish(room_tokens) or self._requests.is_local or self._config.is_open:
            return
        made = new_token() if file is None else kept_token(file)
        listen = made if self._config.is_private else room_tokens.usual.listen
        self._requests.room_tokens = RoomTokens(Tokens(made, listen))

    def _announce(self, listening: socket.socket) -> None:
        """Print what to type at both ends."""
        config, room_tokens = self._config, self._requests.room_tokens
        made_token = None if room_tokens is config.room_tokens else room_tokens.usual.publish
        port, is_tls = listening.getsockname()[1], config.tls is not None
        announce(config.host, port, is_tls, room_tokens, made_token, config.has_web)
        if not self._requests.is_local:
            warn_of_open_network(is_tls, room_tokens)
