"""The relay as it stands on the network: who may come in, and a connection for each publisher and listener."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from audio_avif import __version__
from audio_avif.edge import console
from audio_avif.errors import ConnectionFailed, Refusal, RemoteProtocolError
from audio_avif.link.messages import (
    CLOSE_PROTOCOL_ERROR,
    CLOSE_TOO_MANY_MESSAGES,
    CLOSE_UNSUPPORTED,
    DEFAULT_PORT,
    SUBPROTOCOL,
    Bye,
    Gap,
    Hello,
    Ping,
    Pong,
    Receipt,
    Welcome,
)
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif.link.rooms import Listener, Publication, Room, Rooms
from audio_avif_stream.relay.nats_bridge import NatsBridge
from audio_avif_stream.relay.peers import RelayConnection, framed
from audio_avif_stream.relay.requests import PAGE_S, Door
from audio_avif_stream.relay.room_tokens import Doors
from audio_avif_stream.runtime.awake import AwakeClock
from audio_avif_stream.runtime.interrupts import on_interrupt
from audio_avif_stream.runtime.tasks import cancel, unless
from audio_avif_stream.serving.admission import CLOSE_S, Complaints, Entrance, address_of
from audio_avif_stream.serving.connections import (
    PENDING_CONNECTIONS,
    WRITE_LIMIT_BYTES,
    Connection,
    bind_failure,
    close_reason,
    is_local,
    outward_name,
    say,
)
from audio_avif_stream.serving.security import Limits, MessageAllowance, kept_token, new_token
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine

log = logging.getLogger(__name__)

_TICK_S = 0.5
_PINGS_PER_S = 5  # of a listener, over four seconds
_KEEPALIVE_S = 20.0
_AGENT = f"audio-avif-relay/{__version__}"


@dataclass(frozen=True)
class RelayConfig:
    """Where a relay listens, and what it allows.

    Where other machines can connect and ``doors`` asks for no token to publish, one is made unless ``is_open``, and
    kept in ``token_file``. ``origins`` are pages of other servers that may connect, ``*`` for all of them;
    ``resume_s`` is how long a stream whose connection broke off waits for its publisher, ``stall_s`` how long a
    listener may take nothing. ``nats_url`` is where the relay meets others.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    port_option: str = "--port"
    tls: ssl.SSLContext | None = None
    doors: Doors = field(default_factory=Doors)
    is_open: bool = False
    token_file: Path | None = None
    origins: tuple[str, ...] = ()
    has_web: bool = True
    limits: Limits = field(default_factory=Limits)
    most_listeners: int = 5000
    most_rooms: int = 100
    resume_s: float = 60.0
    stall_s: float = 10.0
    nats_url: str | None = field(default=None, repr=False)


class Relay:
    """Gives what publishers say to all who listen in their rooms, without opening a picture."""

    def __init__(self, config: RelayConfig, live_line: LiveLine, stats_json: JsonLines) -> None:
        self.rooms = Rooms(framed, config.resume_s, config.most_rooms)
        self.now_s = AwakeClock().now_s
        """The time by which rooms judge who is silent, slow or gone."""
        self._bridge = (
            None if config.nats_url is None else NatsBridge(config.nats_url, self.rooms, config.resume_s, self.now_s)
        )
        self._config = config
        self._live_line = live_line
        self._stats_json = stats_json
        self._complaints = Complaints()
        self._entrance = Entrance(config.limits, None, self._complaints)
        self._door = Door(self._entrance, config.doors, config.origins, config.has_web)
        self._listening: dict[RelayConnection, Listener] = {}
        self._publishers = 0
        self._stalled = 0
        self._closings: set[asyncio.Task[None]] = set()
        self._latest: dict[str, Any] | None = None
        self._made_token: str | None = None
        self._server: Server | None = None
        self._ticking: asyncio.Task[None] | None = None

    def figures(self) -> dict[str, Any] | None:
        """What ``--stats-json`` shows, as of a moment ago; any thread may ask."""
        return self._latest

    async def handle(self, connection: RelayConnection) -> None:
        """Serve one connection to its end."""
        line, visit = Connection(connection, self._config.limits), connection.visit
        assert visit is not None
        try:
            if visit.refusal is not None:
                raise visit.refusal
            await (self._publish(line, visit.room) if visit.role == "publish" else self._listen(line, visit.room))
        except ConnectionClosed:
            return
        except (RemoteProtocolError, Refusal) as error:
            code = error.code if isinstance(error, Refusal) else CLOSE_PROTOCOL_ERROR
            self._complaints.tell(f"close {code}", f"{address_of(connection)} was refused: {error}")
            await line.close(code, close_reason(error))
        except Exception as error:  # a fault of this connection is no reason to leave the others
            log.debug("a connection failed", exc_info=True)
            self._complaints.tell("failure", f"serving {address_of(connection)} failed: {error}")
            await line.close(CloseCode.INTERNAL_ERROR, "the relay failed")

    async def _publish(self, line: Connection, name: str) -> None:
        loop, limits = asyncio.get_running_loop(), self._config.limits
        protocol = ReceiverProtocol()
        try:
            async with asyncio.timeout(limits.handshake_s):
                hello = protocol.receive(await line.recv())
        except TimeoutError as error:
            reason = f"the peer did not say hello within {limits.handshake_s:g} s (--handshake-s)"
            raise RemoteProtocolError(reason) from error
        assert isinstance(hello, Hello)
        if not hello.live:
            raise Refusal(CLOSE_UNSUPPORTED, "a relay carries live streams only; send without --no-realtime")
        public = public_hello(hello)
        publication = await self._begin(name, public, functools.partial(self._close_beside, line))
        self._entrance.admit(line.connection)
        self._publishers += 1
        allowance = MessageAllowance(limits.messages_per_s)
        try:
            await line.send(Welcome("relay", 0, _AGENT, publication.received).to_bytes())
            while not protocol.is_over:
                data = await line.recv()
                now_s = loop.time()
                message = protocol.receive(data)
                if not allowance.take(now_s):
                    reason = f"it sent more than {limits.messages_per_s} messages a second (--max-messages-per-second)"
                    raise Refusal(CLOSE_TOO_MANY_MESSAGES, reason)
                assert isinstance(data, bytes) and not isinstance(message, Hello)
                if isinstance(message, Gap):
                    raise RemoteProtocolError("the peer sent a gap, which only a relay may")
                if isinstance(message, Ping):
                    await say(line, Pong(message.sent_us, round(now_s * 1e6)))
                elif not isinstance(message, Bye):
                    await say(line, Receipt(message.sequence))
                publication.take(message, data, self.now_s())
        finally:
            self._publishers -= 1
            publication.leave(self.now_s())
            if self._bridge is not None:
                self._bridge.unpublish(name, publication)
        await line.close()

    async def _begin(self, name: str, hello: Hello, on_replaced: Callable[[int, str], None]) -> Publication:
        """Let a publisher in, here and at the other relays. Raises Refusal, or RemoteProtocolError for its hello."""
        data, bridge = hello.to_bytes(), self._bridge
        if bridge is None:
            return self._enter(name).begin(hello, data, self.now_s(), on_replaced)
        received = await bridge.claim(name, hello.session)
        try:
            room = self._enter(name)  # the one before may have been forgotten meanwhile
            bridge.sink_for(room)
            publication = room.begin(hello, data, self.now_s(), on_replaced, received)
        except BaseException:
            bridge.unpublish(name, None)
            raise
        await bridge.publish(name, publication, data)
        return publication

    async def _listen(self, line: Connection, name: str) -> None:
        loop, connection = asyncio.get_running_loop(), line.connection
        assert isinstance(connection, RelayConnection)
        if len(self._listening) >= self._config.most_listeners:
            reason = f"there are {self._config.most_listeners} listeners here (--max-listeners); try again later"
            raise Refusal(CloseCode.TRY_AGAIN_LATER, reason)
        room = self._enter(name)
        self._entrance.admit(connection)
        listener = Listener(connection.write, framed, self.rooms.traffic)
        connection.listen(listener, self.now_s)
        self._listening[connection] = listener
        allowance = MessageAllowance(_PINGS_PER_S)
        try:
            room.join(listener, self.now_s())
            if self._bridge is not None:
                self._bridge.want(room)
            while True:
                data = await line.recv()
                if not isinstance(data, bytes) or data[:1] != bytes([Ping.TYPE]):
                    raise RemoteProtocolError("a listener may send pings and nothing else")
                ping, now_s = Ping.parse(data), loop.time()
                if not allowance.take(now_s):
                    raise Refusal(CLOSE_TOO_MANY_MESSAGES, f"it sent more than {_PINGS_PER_S} pings a second")
                listener.say(framed(Pong(ping.sent_us, round(now_s * 1e6)).to_bytes()))
        finally:
            connection.leave()
            del self._listening[connection]
            room.leave(listener)

    def _enter(self, name: str) -> Room:
        room = self.rooms.enter(name, self.now_s())
        if room is None:
            reason = f"there are {self._config.most_rooms} rooms here (--max-rooms); try again later"
            raise Refusal(CloseCode.TRY_AGAIN_LATER, reason)
        return room

    def _close_beside(self, line: Connection, code: int, reason: str) -> None:
        """Close without waiting for a peer that may be gone."""
        closing = asyncio.create_task(line.close(code, reason))
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)

    async def run(self) -> None:
        """Serve until interrupted. Raises ConnectionFailed where the port, or NATS, cannot be had."""
        stop = asyncio.Event()
        on_interrupt(stop.set)
        self._announce(await self.open())
        try:
            await unless(stop, self._failure())
        finally:
            await self.close()

    async def _failure(self) -> None:
        """Raise what ended the ticking, without which nobody would be cut off and nothing forgotten."""
        assert self._ticking is not None
        await self._ticking

    async def open(self) -> socket.socket:
        """Begin to serve; return where. Raises ConnectionFailed where the port, or NATS, cannot be had."""
        config, limits = self._config, self._config.limits
        if self._bridge is not None:
            await self._bridge.open()
        try:
            listening = self._entrance.listening_socket(config.host, config.port)
            self._door.is_local = is_local(listening)
            self._close_door()
            self._server = await serve(
                self.handle,  # type: ignore[arg-type]  # the factory below makes no other connections
                sock=listening,
                ssl=config.tls,
                create_connection=functools.partial(RelayConnection, self._entrance),  # type: ignore[arg-type]
                process_request=self._door.check,  # type: ignore[arg-type]
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                compression=None,
                max_size=limits.message_bytes,
                write_limit=WRITE_LIMIT_BYTES,
                open_timeout=PAGE_S + limits.handshake_s,  # the entrance comes first, and tells
                ping_interval=_KEEPALIVE_S,
                ping_timeout=_KEEPALIVE_S,
                close_timeout=CLOSE_S,
                backlog=PENDING_CONNECTIONS,
                **({} if config.tls is None else {"ssl_handshake_timeout": limits.handshake_s + 1}),
            )
        except OSError as error:
            if self._bridge is not None:
                await self._bridge.close()
            raise ConnectionFailed(bind_failure(error, config.host, config.port, config.port_option)) from error
        self._ticking = asyncio.create_task(self._tick())
        return listening

    async def close(self) -> None:
        """Send everybody away, with the reason."""
        assert self._server is not None and self._ticking is not None
        await cancel([self._ticking])
        for room in self.rooms:
            room.sinks.clear()
        self._entrance.close()
        self._server.close(code=CloseCode.GOING_AWAY, reason="the relay was closed")
        await self._server.wait_closed()
        if self._bridge is not None:
            await self._bridge.close()
        self._complaints.close()
        self._live_line.close()
        self._latest = self._figures()
        self._stats_json.write({**self._latest, "is_final": True})

    async def _tick(self) -> None:
        """Cut off listeners that take nothing, give up streams and rooms, and tell the figures."""
        loop = asyncio.get_running_loop()
        told_s = loop.time()
        before: dict[str, Any] | None = None
        while True:
            await asyncio.sleep(_TICK_S)
            now_s, awake_s = loop.time(), self.now_s()
            for connection, listener in list(self._listening.items()):
                if listener.blocked_s is not None and awake_s - listener.blocked_s > self._config.stall_s:
                    self._stalled += 1
                    self._complaints.tell(
                        "stalled",
                        f"{address_of(connection)} took nothing for {self._config.stall_s:g} s (--stall-s); cut off",
                    )
                    connection.transport.abort()
            if self._bridge is not None:
                self._bridge.tick(awake_s)
            self.rooms.tidy(awake_s)
            self._latest = self._figures()
            if now_s >= told_s + 1:
                self._stats_json.write(self._latest)
                self._live_line.update(_live_text(self._latest, before, now_s - told_s), now_s)
                told_s, before = now_s, self._latest

    def _figures(self) -> dict[str, Any]:
        traffic = self.rooms.traffic
        return {
            "rooms": len(self.rooms),
            "publishers": self._publishers,
            "listeners": len(self._listening),
            "slow_listeners": sum(listener.blocked_s is not None for listener in self._listening.values()),
            "received_messages": traffic.received_messages,
            "sent_messages": traffic.sent_messages,
            "sent_bytes": traffic.sent_bytes,
            "dropped_messages": traffic.dropped_messages,
            "stalled_listeners": self._stalled,
            "refused_connections": self._complaints.count - self._stalled,
        }

    def _close_door(self) -> None:
        """Where others can come and nothing was said about it, ask for a token to publish."""
        doors, file = self._door.doors, self._config.token_file
        is_guarded = doors.rooms is not None or doors.usual.publish is not None
        if is_guarded or self._door.is_local or self._config.is_open:
            return
        self._made_token = new_token() if file is None else kept_token(file)
        self._door.doors = Doors(replace(doors.usual, publish=self._made_token))

    def _announce(self, listening: socket.socket) -> None:
        """Print what to type at both ends."""
        doors, port = self._door.doors, listening.getsockname()[1]
        name = outward_name(self._config.host)
        bracketed = f"[{name}]" if ":" in name else name
        where = f"{bracketed}:{port}"
        is_tls = self._config.tls is not None
        is_usual = port == DEFAULT_PORT
        host = f"wss://{bracketed}" + ("" if is_usual else f":{port}") if is_tls else name
        port_option = "" if is_usual or is_tls else f" --port {port}"
        publish = self._made_token or ("TOKEN" if doors.rooms is not None or doors.usual.publish else None)
        listen = "TOKEN" if doors.rooms is not None or doors.usual.listen else None
        lines = [
            "listening; publish and listen with:",
            f"  audio-avif-send --host {host}{port_option} --room NAME" + (f" --token {publish}" if publish else ""),
            f"  audio-avif-recv --connect {'wss' if is_tls else 'ws'}://{where} --room NAME"
            + (f" --token {listen}" if listen else ""),
        ]
        if self._config.has_web:
            lines.append(f"  http{'s' if is_tls else ''}://{where}/ in a browser")
        console.tell("\n".join(lines))
        if not self._door.is_local:
            if not is_tls:
                log.warning(
                    "what is said travels in clear%s; use --tls-cert and --tls-key on networks you do not trust",
                    ", and so do tokens" if publish or listen else "",
                )
            if listen is None:
                log.warning("everybody who can connect may listen; --listen-token asks for a token")


def public_hello(hello: Hello) -> Hello:
    """A hello as listeners are told it: with another name than the one by which its publisher comes back."""
    return replace(hello, session=sha256(hello.session.encode()).hexdigest()[:16], report=False)


def _live_text(figures: dict[str, Any], before: dict[str, Any] | None, passed_s: float) -> str:
    """The line of ``--stats``, which fits into 80 columns."""
    earlier = before or dict.fromkeys(figures, 0)
    messages = (figures["sent_messages"] - earlier["sent_messages"]) / passed_s
    kbps = (figures["sent_bytes"] - earlier["sent_bytes"]) * 8e-3 / passed_s
    return (
        f"rooms {figures['rooms']} publishers {figures['publishers']} listeners {figures['listeners']} "
        f"out {messages:.0f}/s {kbps:.0f} kbps dropped {figures['dropped_messages']}"
    )
