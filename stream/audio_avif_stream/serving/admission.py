"""Limits for connections that carry no stream yet: their number, time, bytes, and token."""

from __future__ import annotations

import asyncio
import http
import logging
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from audio_avif.link.messages import CLOSE_TOO_MANY_MESSAGES, SUBPROTOCOL
from audio_avif_stream.serving.security import Limits, MessageAllowance, shows_token

log = logging.getLogger(__name__)

CLOSE_S = 2.0
"""How long a peer may take to answer a close."""

_TELL_S = 5.0
_MAX_UNREAD_BYTES = 65_536


class Complaints:
    """Warnings about peers: the first of a kind is logged at once, later ones as a count every few seconds."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: dict[str, tuple[int, str]] = {}

    def tell(self, kind: str, text: str) -> None:
        """Log a warning; to be called within the event loop."""
        self.count += 1
        if kind in self._waiting:
            self._waiting[kind] = self._waiting[kind][0] + 1, text
            return
        log.warning("%s", text)
        self._waiting[kind] = 0, ""
        asyncio.get_running_loop().call_later(_TELL_S, self._tell_more, kind)

    def _tell_more(self, kind: str) -> None:
        more, text = self._waiting.pop(kind, (0, ""))
        if more:
            self._waiting[kind] = 0, ""
            asyncio.get_running_loop().call_later(_TELL_S, self._tell_more, kind)
            log.warning("%s%s", text, f" ... and {more - 1} more like it" if more > 1 else "")

    def close(self) -> None:
        """Log the warnings that were held back."""
        for kind in list(self._waiting):
            self._tell_more(kind)
        self._waiting.clear()


@dataclass
class _Arrival:
    """A connection that carries no stream yet."""

    socket: socket.socket
    address: str
    number: int
    has_asked: bool = False
    has_token: bool = False


class Admission:
    """Counts the connections that carry no stream, from the moment they are accepted.

    Where there is one too many, the oldest connection of the address that holds most of them is closed, those without
    the token first: a flood evicts connections from its own address first, and a sender that comes back gets in.
    """

    def __init__(self, limits: Limits, token: str | None, complaints: Complaints) -> None:
        self.limits = limits
        self.complaints = complaints
        self.token = token
        self._arrivals: dict[int, _Arrival] = {}
        self._accepted = 0

    def listening_socket(self, host: str, port: int) -> socket.socket:
        """Return a bound socket whose connections are counted here. Raises OSError."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # asyncio sets TCP_NODELAY only where a socket names its protocol. Without it, a tile that follows another
        # message waits up to 40 ms for the acknowledgement of that one (RFC 896).
        listening = _ListeningSocket(family, kind, protocol)
        listening.on_accept = self._accept
        try:
            if os.name == "posix":  # elsewhere it lets others take the port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
        except OSError:
            listening.close()
            raise
        return listening

    def _accept(self, connection: socket.socket, address: str) -> None:
        open_ones = {number: arrival for number, arrival in self._arrivals.items() if arrival.socket.fileno() >= 0}
        self._accepted += 1
        arrival = _Arrival(connection, address, self._accepted)
        self._arrivals = {**open_ones, connection.fileno(): arrival}
        if len(self._arrivals) > self.limits.connections:
            self._make_room()
        asyncio.get_running_loop().call_later(self.limits.handshake_s, self._expire, arrival)

    def _make_room(self) -> None:
        held = Counter(arrival.address for arrival in self._arrivals.values())
        victim = min(self._arrivals.values(), key=lambda one: (one.has_token, -held[one.address], one.number))
        self.complaints.tell(
            "connections",
            f"{victim.address} holds one of more than {self.limits.connections} connections without a stream "
            "(--max-connections); closed",
        )
        self._drop(victim)

    def _expire(self, arrival: _Arrival) -> None:
        if not arrival.has_asked and self._arrivals.get(arrival.socket.fileno()) is arrival:
            self.complaints.tell(
                "handshake",
                f"{arrival.address} sent no HTTP request within {self.limits.handshake_s:g} s (--handshake-s); closed",
            )
            self._drop(arrival)

    def _drop(self, arrival: _Arrival) -> None:
        del self._arrivals[arrival.socket.fileno()]
        try:
            arrival.socket.shutdown(socket.SHUT_RDWR)  # the event loop sees its end and closes it
        except OSError:
            return

    def _arrival(self, connection: ServerConnection) -> _Arrival | None:
        return self._arrivals.get(connection.transport.get_extra_info("socket").fileno())

    def check(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer 400 to a request in another version of the protocol, 401 to one without the token, 404 to one for a
        room; else None.
        """
        self.hear(connection)
        if (refusal := self.check_version(connection, request)) is not None:
            return refusal
        if request.path.startswith(("/publish/", "/listen/")):
            self.complaints.tell("room", f"{address_of(connection)} asked for a room, which a relay has; refused")
            return connection.respond(http.HTTPStatus.NOT_FOUND, "This receiver has no rooms.\n")
        if self.token is None:
            return None
        if not shows_token(request.headers.get_all("Authorization"), self.token):
            self.complaints.tell("token", f"{address_of(connection)} gave no valid token (--token); refused")
            response = connection.respond(http.HTTPStatus.UNAUTHORIZED, "This receiver requires a token.\n")
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        self.trust(connection)
        return None

    def check_version(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer 400 to a request that asks for another version of the protocol, and say so; None lets it pass."""
        lines = request.headers.get_all("Sec-WebSocket-Protocol")
        offered = [each.strip() for line in lines for each in line.split(",")]
        others = [each for each in offered if re.fullmatch(r"audio-avif\.v\d{1,4}", each)]
        if SUBPROTOCOL in offered or not others:
            return None
        self.complaints.tell(
            "version", f"{address_of(connection)} speaks {others[0]}; this program speaks {SUBPROTOCOL}; refused"
        )
        return connection.respond(http.HTTPStatus.BAD_REQUEST, f"This server speaks {SUBPROTOCOL}.\n")

    def hear(self, connection: ServerConnection) -> None:
        """Record that a connection's request is complete."""
        if (arrival := self._arrival(connection)) is not None:
            arrival.has_asked = True

    def trust(self, connection: ServerConnection) -> None:
        """Record that a connection has shown its token: others are evicted before it."""
        if (arrival := self._arrival(connection)) is not None:
            arrival.has_token = True

    def admit(self, connection: ServerConnection) -> None:
        """Stop counting a connection: it carries a stream from now on."""
        self._arrivals.pop(connection.transport.get_extra_info("socket").fileno(), None)

    def close(self) -> None:
        """Close all connections that carry no stream."""
        for arrival in list(self._arrivals.values()):
            if arrival.socket.fileno() >= 0:
                self._drop(arrival)

    def connection(self, *arguments: Any, **options: Any) -> ServerConnection:
        """Make a connection with limits; for websockets' ``create_connection``."""
        return MeteredConnection(self, *arguments, **options)


class _ListeningSocket(socket.socket):
    """Calls ``on_accept`` for each connection that the event loop accepts (not on Windows)."""

    on_accept: Callable[[socket.socket, str], None]

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        self.on_accept(connection, str(address[0]))
        return connection, address


class MeteredConnection(ServerConnection):
    """Limits what websockets does not: bytes of the request, control frames, and the time a close takes."""

    def __init__(self, admission: Admission, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._admission = admission
        self._request_bytes = 0
        self._control_frames = MessageAllowance(admission.limits.messages_per_s)
        self._is_leaving = False

    def data_received(self, data: bytes) -> None:
        """Take bytes from the network."""
        limit = self._admission.limits.handshake_bytes
        if self.request is None:
            self._request_bytes += len(data)
            if self._request_bytes > limit:
                if not self.transport.is_closing():
                    self._refuse(limit)
                return
        super().data_received(data)
        if self.transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            self._admission.complaints.tell("unread", f"{address_of(self)} pings and reads no answers; disconnected")
            self.transport.abort()
        if self.protocol.close_expected() and not self._is_leaving:
            self._is_leaving = True
            self.loop.call_later(CLOSE_S, self.transport.abort)

    def process_event(self, event: Any) -> None:
        """Take a request or a frame."""
        super().process_event(event)
        is_control = isinstance(event, Frame) and event.opcode in (Opcode.PING, Opcode.PONG)
        if is_control and self.state is State.OPEN and not self._control_frames.take(time.monotonic()):
            self.protocol.fail(CLOSE_TOO_MANY_MESSAGES, too_many_messages(self._admission.limits))
            self.send_data()

    def _refuse(self, limit: int) -> None:
        self._admission.complaints.tell(
            "handshake bytes",
            f"{address_of(self)} sent an HTTP request of more than {limit} bytes (--max-handshake-bytes); refused",
        )
        status = http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        self.transport.write(f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n\r\n".encode())
        self.transport.close()


def too_many_messages(limits: Limits) -> str:
    """The close reason for a peer that sends more than it may."""
    return f"it sent more than {limits.messages_per_s} messages per second (--max-messages-per-second)"


def address_of(connection: ServerConnection) -> str:
    """The peer's IP address."""
    peer = connection.remote_address
    return str(peer[0]) if peer else "a disconnected peer"
