"""The sender's half of the handshake: a hello out, a welcome back, or one sentence that says why there is none."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from audio_avif.errors import ConnectionFailed, RefusedForGood, RemoteProtocolError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import (
    CLOSE_BUSY,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_REPLACED,
    CLOSE_TOO_MANY_MESSAGES,
    CLOSE_UNAUTHORIZED,
    CLOSE_UNKNOWN_ROOM,
    CLOSE_UNSUPPORTED,
    Welcome,
)
from audio_avif.link.protocol import SenderProtocol

# After a connection was closed with one of these, another connection would end the same way.
_FINAL = {
    CLOSE_PROTOCOL_ERROR,
    CLOSE_UNSUPPORTED,
    CLOSE_REPLACED,
    CLOSE_TOO_MANY_MESSAGES,
    CLOSE_UNAUTHORIZED,
    CLOSE_UNKNOWN_ROOM,
    CloseCode.MESSAGE_TOO_BIG,
    CloseCode.INTERNAL_ERROR,
}
_KEEPALIVE_FAILED = "keepalive ping timeout"  # websockets closes with INTERNAL_ERROR then, though the path was at fault


class ReceiverBusy(ConnectionFailed):
    """Another stream plays at the receiver."""


async def greet(connection: ClientConnection, hello: Hello, welcome_s: float) -> tuple[SenderProtocol, Welcome]:
    """Exchange hello and welcome; a connection that fails is aborted.

    Raises ConnectionFailed, RefusedForGood where another attempt would fail alike, ReceiverBusy while another stream
    plays.
    """
    protocol = SenderProtocol()
    try:
        await connection.send(protocol.send(hello))
        async with asyncio.timeout(welcome_s):
            welcome = protocol.receive(await connection.recv())
    except BaseException as error:
        connection.transport.abort()
        if isinstance(error, ConnectionClosed):
            raise _refusal(error) from error
        if isinstance(error, TimeoutError):
            reason = "the receiver did not answer the hello; is its vocoder still loading?"
            raise ConnectionFailed(reason) from error
        if isinstance(error, RemoteProtocolError):
            raise RefusedForGood(f"the receiver does not speak this protocol: {error}") from error
        raise
    assert isinstance(welcome, Welcome)
    return protocol, welcome


def _refusal(closed: ConnectionClosed) -> ConnectionFailed:
    code = close_code(closed)
    kind = ReceiverBusy if code == CLOSE_BUSY else RefusedForGood if code in _FINAL else ConnectionFailed
    if reason := close_text(closed):
        return kind(f"the receiver refused the stream: {reason}")
    return kind("the receiver closed the connection before the stream began; try again")


def close_code(closed: ConnectionClosed) -> int | None:
    """The peer's close code, None where it closed without one."""
    return None if closed.rcvd is None else closed.rcvd.code


def close_text(closed: ConnectionClosed) -> str:
    """The peer's reason as a terminal may show it; empty where there is none."""
    if closed.rcvd is None:
        return ""
    reason = "".join(filter(str.isprintable, closed.rcvd.reason))
    return reason or ("it failed" if closed.rcvd.code == CloseCode.INTERNAL_ERROR else "")


def is_final(closed: ConnectionClosed) -> bool:
    """Whether another connection would end the same way as this one, which carried the stream."""
    return closed.rcvd is not None and closed.rcvd.code in _FINAL and closed.rcvd.reason != _KEEPALIVE_FAILED
