"""The wire protocol without its I/O: messages to bytes and back, and the order they may come in.

``docs/reference/wire.md`` is the byte table. Every message is one binary WebSocket message; integers are big-endian.
The larger ones have modules of their own, `hello` and `packets`.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import ClassVar

from audio_avif.errors import RemoteProtocolError
from audio_avif.link.counters import MAX_COUNT, extended, short
from audio_avif.link.fields import label, unpack_exactly, unpack_json
from audio_avif.link.hello import Hello as Hello
from audio_avif.link.packets import MediaPacket

SUBPROTOCOL = "audio-avif.v2"
DEFAULT_PORT = 8765
MAX_MESSAGE_BYTES = 65_536

UNFINISHED = "unfinished"
"""The query parameter by which a listener that comes back names the session of which it has yet to hear the end."""

# RFC 6455 leaves 4000-4999 to applications.
CLOSE_PROTOCOL_ERROR = 4000
CLOSE_UNSUPPORTED = 4001
CLOSE_BUSY = 4002
CLOSE_REPLACED = 4003
CLOSE_TOO_MANY_MESSAGES = 4004
CLOSE_UNAUTHORIZED = 4005
CLOSE_UNKNOWN_ROOM = 4006

MAX_DURATION_US = 2**32 - 1
_IP_TCP_BYTES = 20 + 32  # IPv4, and TCP with its timestamp option
_MAX_SAMPLES = 2**53
_MAX_LATENCY_SAMPLES = 2**24
_MAX_CLOCK_US = 2**62  # differences of two such clocks fit the fields that carry them


def wire_bytes(message_bytes: int) -> int:
    """What a message from a sender costs on the wire: with its masked WebSocket frame header, TCP and IPv4."""
    return message_bytes + (6 if message_bytes < 126 else 8) + _IP_TCP_BYTES


@dataclass(frozen=True)
class Place:
    """Where the next packets lie, for a peer that cannot know it: one that comes late or back, or behind a long gap.

    Packets carry the lowest 16 bits of both numbers, which the peer extends to those nearest to the newest packet.
    """

    TYPE: ClassVar[int] = 0x09

    sequence: int
    first_frame: int

    def to_bytes(self) -> bytes:
        return struct.pack(">BQQ", self.TYPE, self.sequence, self.first_frame)

    @classmethod
    def parse(cls, data: bytes) -> Place:
        """Raises RemoteProtocolError for a message of the wrong size or an impossible place."""
        _, sequence, first_frame = unpack_exactly(">BQQ", data)
        if max(sequence, first_frame) > MAX_COUNT:
            raise RemoteProtocolError("the stream claims to be longer than can be")
        return cls(sequence, first_frame)


@dataclass(frozen=True)
class Bye:
    """The sender's last message: how many tiles and samples the stream had."""

    TYPE: ClassVar[int] = 0x04

    tiles: int
    samples: int

    def to_bytes(self) -> bytes:
        return struct.pack(">BQQ", self.TYPE, self.tiles, self.samples)

    @classmethod
    def parse(cls, data: bytes) -> Bye:
        """Raises RemoteProtocolError for a message of the wrong size or an impossible count."""
        _, tiles, samples = unpack_exactly(">BQQ", data)
        if samples > _MAX_SAMPLES or tiles > MAX_COUNT:
            raise RemoteProtocolError("the stream claims more samples than can be")
        return cls(tiles, samples)


@dataclass(frozen=True)
class Ping:
    """The sender's clock: when it sends this, and when it captured sample 0 of the stream.

    ``receiver_ahead_us`` is what the sender has found the receiver's clock to be ahead of its own, 0 until known;
    with it the receiver can tell the delay of what it plays.
    """

    TYPE: ClassVar[int] = 0x05

    sent_us: int
    sample_zero_us: int
    receiver_ahead_us: int

    def to_bytes(self) -> bytes:
        return struct.pack(">BQqq", self.TYPE, self.sent_us, self.sample_zero_us, self.receiver_ahead_us)

    @classmethod
    def parse(cls, data: bytes) -> Ping:
        """Raises RemoteProtocolError for a message of the wrong size."""
        return cls(*unpack_exactly(">BQqq", data)[1:])


@dataclass(frozen=True)
class Gap:
    """From a relay to one listener: how many messages were dropped here, since it did not read them in time."""

    TYPE: ClassVar[int] = 0x08

    messages: int

    def to_bytes(self) -> bytes:
        return struct.pack(">BI", self.TYPE, self.messages)

    @classmethod
    def parse(cls, data: bytes) -> Gap:
        """Raises RemoteProtocolError for a message of the wrong size."""
        return cls(*unpack_exactly(">BI", data)[1:])


@dataclass(frozen=True)
class Welcome:
    """The receiver's answer to a hello it accepts: which vocoder will speak.

    ``received`` is the highest sequence number of this session that is here already, -1 for a session that begins.
    """

    TYPE: ClassVar[int] = 0x41

    vocoder: str
    vocoder_latency_samples: int
    agent: str = ""
    received: int = -1

    def to_bytes(self) -> bytes:
        return bytes([self.TYPE]) + json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def parse(cls, data: bytes) -> Welcome:
        """Raises RemoteProtocolError for damaged bytes or an impossible delay."""
        values = unpack_json(data[1:], {"vocoder": str, "vocoder_latency_samples": int, "agent": str, "received": int})
        if not 0 <= values["vocoder_latency_samples"] <= _MAX_LATENCY_SAMPLES:
            raise RemoteProtocolError("the receiver's vocoder claims a delay that cannot be")
        if not -1 <= values["received"] <= MAX_COUNT:
            raise RemoteProtocolError("the receiver claims to have a tile that cannot be")
        return cls(
            label(values["vocoder"]), values["vocoder_latency_samples"], label(values["agent"]), values["received"]
        )


@dataclass(frozen=True)
class Pong:
    """The receiver's answer to a Ping: the ping's time, and its own clock when it answered."""

    TYPE: ClassVar[int] = 0x45

    ping_sent_us: int
    receiver_us: int

    def to_bytes(self) -> bytes:
        return struct.pack(">BQQ", self.TYPE, self.ping_sent_us, self.receiver_us)

    @classmethod
    def parse(cls, data: bytes) -> Pong:
        """Raises RemoteProtocolError for a message of the wrong size or an impossible clock."""
        _, ping_sent_us, receiver_us = unpack_exactly(">BQQ", data)
        if max(ping_sent_us, receiver_us) > _MAX_CLOCK_US:
            raise RemoteProtocolError("the receiver's clock shows a time that cannot be")
        return cls(ping_sent_us, receiver_us)


@dataclass(frozen=True)
class Report:
    """How one tile was played at the receiver.

    ``first_sample`` is the stream position of the first sample that this tile's arrival let the receiver speak;
    ``received_us`` is on the receiver's clock, and what follows are the durations after it, in order, until that sample
    is heard: waiting to be decoded, decoding, the vocoder, waiting to be played, and the device's own delay.
    """

    TYPE: ClassVar[int] = 0x46

    sequence: int
    first_sample: int
    received_us: int
    wait_us: int
    decode_us: int
    vocoder_us: int
    buffer_us: int
    device_us: int

    def to_bytes(self) -> bytes:
        _, *others = asdict(self).values()
        return struct.pack(">BHQQIIIII", self.TYPE, short(self.sequence), *others)

    @classmethod
    def parse(cls, data: bytes, near: int) -> Report:
        """Parse a report on a tile near that sequence number. Raises RemoteProtocolError for one of the wrong size."""
        _, low_sequence, *others = unpack_exactly(">BHQQIIIII", data)
        return cls(extended(low_sequence, near), *others)


@dataclass(frozen=True)
class Receipt:
    """The receiver has this tile or pause; sent at once, so that the sender can estimate the path."""

    TYPE: ClassVar[int] = 0x47

    sequence: int

    def to_bytes(self) -> bytes:
        return struct.pack(">BH", self.TYPE, short(self.sequence))

    @classmethod
    def parse(cls, data: bytes, near: int) -> Receipt:
        """Parse a receipt for a packet near that sequence number. Raises RemoteProtocolError for one of wrong size."""
        return cls(extended(unpack_exactly(">BH", data)[1], near))


SenderMessage = Hello | MediaPacket | Place | Ping | Bye | Gap
"""What a receiver can get: a sender's messages, and a relay's own Gap among them."""

ReceiverMessage = Welcome | Pong | Report | Receipt
"""What a sender can get."""

Message = SenderMessage | ReceiverMessage
