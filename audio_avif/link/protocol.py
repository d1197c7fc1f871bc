"""The order in which messages may come, for both sides."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from audio_avif.errors import LocalProtocolError, RemoteProtocolError
from audio_avif.link.counters import Counters
from audio_avif.link.hello import Hello
from audio_avif.link.messages import (
    MAX_MESSAGE_BYTES,
    Bye,
    Gap,
    Ping,
    Place,
    Pong,
    Receipt,
    ReceiverMessage,
    Report,
    SenderMessage,
    Welcome,
)
from audio_avif.link.packets import Bundle, MediaPacket, PausePacket, TilePacket

_FROM_SENDER: dict[int, Callable[[bytes], SenderMessage]] = {
    Hello.TYPE: Hello.parse,
    Bye.TYPE: Bye.parse,
    Ping.TYPE: Ping.parse,
    Gap.TYPE: Gap.parse,
    Place.TYPE: Place.parse,
}
_PACKETS: dict[int, Callable[[bytes, Hello, Counters], MediaPacket]] = {
    TilePacket.TYPE: TilePacket.parse,
    TilePacket.STILL_TYPE: TilePacket.parse,
    PausePacket.TYPE: PausePacket.parse,
    Bundle.TYPE: Bundle.parse,
    **{kind: TilePacket.parse for kind in range(TilePacket.SHORT_TYPE, 0x100)},
}
_FROM_RECEIVER: dict[int, Callable[[bytes], ReceiverMessage]] = {Welcome.TYPE: Welcome.parse, Pong.TYPE: Pong.parse}
_ABOUT_PACKETS: dict[int, Callable[[bytes, int], ReceiverMessage]] = {
    Report.TYPE: Report.parse,
    Receipt.TYPE: Receipt.parse,
}
_SENDER_KINDS = frozenset(_FROM_SENDER) | frozenset(_PACKETS)
_RECEIVER_KINDS = frozenset(_FROM_RECEIVER) | frozenset(_ABOUT_PACKETS)


def _checked(data: bytes | str, kinds: Collection[int]) -> bytes:
    """The bytes of a message of one of these kinds. Raises RemoteProtocolError for anything else."""
    if isinstance(data, str):
        raise RemoteProtocolError("the peer sent a text message; this protocol is binary")
    if not data or data[0] not in kinds:
        kind = f"of unknown type {data[0]:#04x}" if data else "without a byte in it"
        raise RemoteProtocolError(f"the peer sent a message {kind}")
    if len(data) > MAX_MESSAGE_BYTES:
        raise RemoteProtocolError(f"the peer sent a message of {len(data)} bytes; {MAX_MESSAGE_BYTES} is the limit")
    return data


def _tiles_of(message: SenderMessage) -> tuple[TilePacket | PausePacket, ...]:
    if isinstance(message, Bundle):
        return (message.tile, *message.copies)
    return (message,) if isinstance(message, TilePacket | PausePacket) else ()


@dataclass
class ReceiverProtocol:
    """The receiving end: one Hello, then tiles and pings in any order, at last one Bye."""

    hello: Hello | None = None
    is_over: bool = False
    counters: Counters = field(default_factory=Counters)

    def receive(self, data: bytes | str) -> SenderMessage:
        """Parse one message from the sender. Raises RemoteProtocolError; the stream cannot go on after it."""
        message = self._parse(_checked(data, _SENDER_KINDS))
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
        if isinstance(message, Place):
            self.counters.move_to(message.sequence, message.first_frame)
        elif isinstance(message, MediaPacket):
            self.counters.advance(message.sequence, message.first_frame)
        return message

    def _parse(self, data: bytes) -> SenderMessage:
        if (parse := _FROM_SENDER.get(data[0])) is not None:
            return parse(data)
        if self.hello is None:
            raise RemoteProtocolError("the peer's first message is not a hello")
        return _PACKETS[data[0]](data, self.hello, self.counters)


@dataclass
class SenderProtocol:
    """The sending end: one Hello first, nothing after the Bye, and the first answer is a Welcome."""

    is_welcome: bool = False
    counters: Counters = field(default_factory=Counters)
    _has_begun: bool = False
    _is_over: bool = False

    def place_before(self, packet: MediaPacket) -> Place | None:
        """The message to send before a packet whose place the receiver would not find; None where it would."""
        if self.counters.reaches(packet.sequence, packet.first_frame):
            return None
        return Place(packet.sequence, packet.first_frame)

    def send(self, message: Hello | MediaPacket | Place | Ping | Bye) -> bytes:
        """Serialise one message. Raises LocalProtocolError where it may not come now."""
        if isinstance(message, Hello) == self._has_begun:
            raise LocalProtocolError("a stream begins with one hello")
        if self._is_over:
            raise LocalProtocolError("nothing may follow the bye")
        if isinstance(message, Place):
            self.counters.move_to(message.sequence, message.first_frame)
        elif isinstance(message, MediaPacket):
            if self.place_before(message) is not None:
                raise LocalProtocolError(f"packet {message.sequence} is so far ahead that its place must be sent first")
            self.counters.advance(message.sequence, message.first_frame)
        self._has_begun = True
        self._is_over = isinstance(message, Bye)
        return message.to_bytes()

    def receive(self, data: bytes | str) -> ReceiverMessage:
        """Parse one message from the receiver. Raises RemoteProtocolError."""
        message = self._parse(_checked(data, _RECEIVER_KINDS))
        if isinstance(message, Welcome) == self.is_welcome:
            raise RemoteProtocolError("the receiver must answer the hello with one welcome, before anything else")
        self.is_welcome = True
        return message

    def _parse(self, data: bytes) -> ReceiverMessage:
        if (parse := _FROM_RECEIVER.get(data[0])) is not None:
            return parse(data)
        return _ABOUT_PACKETS[data[0]](data, self.counters.sequence)
