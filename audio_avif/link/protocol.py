"""The order in which messages may come, for both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from audio_avif.errors import LocalProtocolError, RemoteProtocolError
from audio_avif.link.messages import (
    MAX_MESSAGE_BYTES,
    Bundle,
    Bye,
    Gap,
    Hello,
    MediaPacket,
    PausePacket,
    Ping,
    Pong,
    Receipt,
    ReceiverMessage,
    Report,
    SenderMessage,
    TilePacket,
    Welcome,
)

_T = TypeVar("_T")

_FROM_SENDER: dict[int, Callable[[bytes], SenderMessage]] = {
    Hello.TYPE: Hello.parse,
    TilePacket.TYPE: TilePacket.parse,
    TilePacket.STILL_TYPE: TilePacket.parse,
    Bye.TYPE: Bye.parse,
    Ping.TYPE: Ping.parse,
    PausePacket.TYPE: PausePacket.parse,
    Bundle.TYPE: Bundle.parse,
    Gap.TYPE: Gap.parse,
}
_FROM_RECEIVER: dict[int, Callable[[bytes], ReceiverMessage]] = {
    Welcome.TYPE: Welcome.parse,
    Pong.TYPE: Pong.parse,
    Report.TYPE: Report.parse,
    Receipt.TYPE: Receipt.parse,
}


def _parse(data: bytes | str, parsers: dict[int, Callable[[bytes], _T]]) -> _T:
    if isinstance(data, str):
        raise RemoteProtocolError("the peer sent a text message; this protocol is binary")
    if not data or data[0] not in parsers:
        kind = f"of unknown type {data[0]:#04x}" if data else "without a byte in it"
        raise RemoteProtocolError(f"the peer sent a message {kind}")
    if len(data) > MAX_MESSAGE_BYTES:
        raise RemoteProtocolError(f"the peer sent a message of {len(data)} bytes; {MAX_MESSAGE_BYTES} is the limit")
    return parsers[data[0]](data)


def _tiles_of(message: SenderMessage) -> tuple[TilePacket | PausePacket, ...]:
    if isinstance(message, Bundle):
        return (message.tile, *message.copies)
    return (message,) if isinstance(message, TilePacket | PausePacket) else ()


@dataclass
class ReceiverProtocol:
    """The receiving end: one Hello, then tiles and pings in any order, at last one Bye."""

    hello: Hello | None = None
    is_over: bool = False

    def receive(self, data: bytes | str) -> SenderMessage:
        """Parse one message from the sender. Raises RemoteProtocolError; the stream cannot go on after it."""
        message = _parse(data, _FROM_SENDER)
        if isinstance(message, Hello):
            if self.hello is not None:
                raise RemoteProtocolError("the peer said hello twice")
            self.hello = message
        elif self.hello is None:
            raise RemoteProtocolError("the peer's first message is not a hello")
        elif self.is_over:
            raise RemoteProtocolError("the peer sent a message after its bye")
        for tile in _tiles_of(message):
            if self.hello is not None and tile.frames > self.hello.tile.frames:
                raise RemoteProtocolError(f"tile {tile.sequence} claims more frames than its picture has columns")
        self.is_over = isinstance(message, Bye)
        return message


@dataclass
class SenderProtocol:
    """The sending end: one Hello first, nothing after the Bye, and the first answer is a Welcome."""

    is_welcome: bool = False
    _has_begun: bool = False
    _is_over: bool = False

    def send(self, message: Hello | MediaPacket | Ping | Bye) -> bytes:
        """Serialise one message. Raises LocalProtocolError where it may not come now."""
        if isinstance(message, Hello) == self._has_begun:
            raise LocalProtocolError("a stream begins with one hello")
        if self._is_over:
            raise LocalProtocolError("nothing may follow the bye")
        self._has_begun = True
        self._is_over = isinstance(message, Bye)
        return message.to_bytes()

    def receive(self, data: bytes | str) -> ReceiverMessage:
        """Parse one message from the receiver. Raises RemoteProtocolError."""
        message = _parse(data, _FROM_RECEIVER)
        if isinstance(message, Welcome) == self.is_welcome:
            raise RemoteProtocolError("the receiver must answer the hello with one welcome, before anything else")
        self.is_welcome = True
        return message
