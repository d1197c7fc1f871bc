"""Connections of the programs that listen, and the names of the addresses they listen on."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from audio_avif.errors import PeerRefused
from audio_avif.link.messages import CLOSE_TOO_MANY_MESSAGES, Message
from audio_avif_stream.serving.security import Limits

WRITE_LIMIT_BYTES = 4096
PENDING_CONNECTIONS = 128
_FAULTS = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG, CLOSE_TOO_MANY_MESSAGES)


class Line(Protocol):
    """What carries a stream: a connection, or one stream's share of a connection."""

    async def recv(self) -> bytes | str:
        """Return the next message. Raises ConnectionClosed after the last, PeerRefused for one that breaks a limit."""
        ...

    async def send(self, message: bytes) -> None:
        """Send a message. Raises as ``recv`` does when the connection is closed."""
        ...

    async def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the line."""
        ...

    @property
    def is_backed_up(self) -> bool:
        """Whether the peer has yet to take what was sent before."""
        ...


class Connection:
    """A WebSocket connection as a session's line."""

    def __init__(self, connection: ServerConnection, limits: Limits) -> None:
        self.connection = connection
        self._limits = limits

    @property
    def is_backed_up(self) -> bool:
        """Whether so much is buffered that one more message might have to wait."""
        return self.connection.transport.get_write_buffer_size() > WRITE_LIMIT_BYTES // 4

    async def recv(self) -> bytes | str:
        """Return the next message. Raises ConnectionClosed after the last, PeerRefused for what websockets refuses."""
        with self._telling_faults():
            return await self.connection.recv()

    async def send(self, message: bytes) -> None:
        """Send a message. Raises as ``recv`` does when the connection is closed."""
        with self._telling_faults():
            await self.connection.send(message)

    @contextmanager
    def _telling_faults(self) -> Iterator[None]:
        try:
            yield
        except ConnectionClosed as closed:
            if closed.sent is None or closed.rcvd_then_sent or closed.sent.code not in _FAULTS:
                raise
            reason = f"it broke the WebSocket protocol ({closed.sent.reason or closed.sent.code})"
            if closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                reason = f"it sent a message of more than {self._limits.message_bytes} bytes (--max-message-bytes)"
            elif closed.sent.code == CLOSE_TOO_MANY_MESSAGES:
                reason = closed.sent.reason
            raise PeerRefused(closed.sent.code, reason) from closed

    async def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Close the connection; a peer that does not answer is cut off."""
        await self.connection.close(code, reason)


async def say(line: Line, message: Message) -> None:
    """Send a message that may be dropped: a full or closed path must not hold up the stream that comes in."""
    if not line.is_backed_up:
        with suppress(ConnectionClosed, PeerRefused):  # recv raises it too
            await line.send(message.to_bytes())


class Closings:
    """Closes lines without waiting for peers that may be gone."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self, line: Line, code: int, reason: str) -> None:
        """Begin to close a line."""
        task = asyncio.create_task(line.close(code, reason))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self) -> None:
        """Wait until all these lines are closed."""
        if self._tasks:
            await asyncio.wait(self._tasks)


def close_reason(error: Exception) -> str:
    """Cut an error's text to the 123 bytes of a WebSocket close reason (RFC 6455, 5.5)."""
    return str(error).encode()[:123].decode(errors="ignore")


def is_local(listening: socket.socket) -> bool:
    """Whether only this machine can connect there."""
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def bind_failure(error: OSError, host: str, port: int, option: str = "--port") -> str:
    """Say in one sentence why a program cannot listen there."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; stop the program that holds it or choose another with {option}"
    return f"cannot listen on {host}:{port} ({error.strerror or error}); --host must be an address of this machine"


def outward_name(host: str) -> str:
    """Return the name by which other machines reach a program that is bound to ``host``."""
    outward = {"0.0.0.0": (socket.AF_INET, "192.0.2.1"), "::": (socket.AF_INET6, "2001:db8::1")}
    return _own_address(*outward[host]) if host in outward else host


def _own_address(family: socket.AddressFamily, elsewhere: str) -> str:
    """The address of the interface that leads outward; connecting a datagram socket sends nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
