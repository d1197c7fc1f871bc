"""The wire protocol without its I/O: messages to bytes and back, and the order they may come in.

``docs/reference/wire.md`` is the byte table. Every message is one binary WebSocket message; integers are big-endian.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar

from audio_avif.config import MAX_REDUNDANCY, MAX_TILE_FRAMES, MelConfig, TileConfig
from audio_avif.errors import RemoteProtocolError, TileError
from audio_avif.still.boxes import inspect_still
from audio_avif.still.template import StillTemplate

SUBPROTOCOL = "audio-avif.v1"
VERSION = 1
DEFAULT_PORT = 8765
MAX_MESSAGE_BYTES = 65_536

# RFC 6455 leaves 4000-4999 to applications.
CLOSE_PROTOCOL_ERROR = 4000
CLOSE_UNSUPPORTED = 4001
CLOSE_BUSY = 4002
CLOSE_REPLACED = 4003
CLOSE_TOO_MANY_MESSAGES = 4004
CLOSE_UNAUTHORIZED = 4005
CLOSE_UNKNOWN_ROOM = 4006

NOISE_LEVELS = 8

MAX_DURATION_US = 2**32 - 1
_IP_TCP_BYTES = 20 + 32  # IPv4, and TCP with its timestamp option
_MAX_SAMPLES = 2**53
_MAX_LATENCY_SAMPLES = 2**24
_MAX_CLOCK_US = 2**62  # differences of two such clocks fit the fields that carry them


def wire_bytes(message_bytes: int) -> int:
    """What a message from a sender costs on the wire: with its masked WebSocket frame header, TCP and IPv4."""
    return message_bytes + (6 if message_bytes < 126 else 8) + _IP_TCP_BYTES


def _unpack(layout: str, data: bytes) -> tuple[Any, ...]:
    size = struct.calcsize(layout)
    if len(data) < size:
        raise RemoteProtocolError(
            f"a message of type {data[0]:#04x} is truncated: {len(data)} of at least {size} bytes"
        )
    return struct.unpack_from(layout, data)


def _unpack_exactly(layout: str, data: bytes) -> tuple[Any, ...]:
    if len(data) > struct.calcsize(layout):
        raise RemoteProtocolError(f"a message of type {data[0]:#04x} is {len(data)} bytes, longer than its kind")
    return _unpack(layout, data)


def _unpack_json(data: bytes, keys: dict[str, type]) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError("a message holds JSON that cannot be read") from error
    if not isinstance(values, dict):
        raise RemoteProtocolError("a message holds JSON that is not an object")
    for key, kind in keys.items():
        if type(values.get(key)) is not kind:
            raise RemoteProtocolError(f"a message's {key!r} is missing or not of type {kind.__name__}")
    return values


def _label(text: str) -> str:
    """A peer's text as it may be shown in a terminal: 64 characters of it, without control codes."""
    return "".join(character for character in text[:64] if character.isprintable())


@dataclass(frozen=True)
class Hello:
    """The sender's first message: what the stream is, and the bytes all its stills share.

    ``live`` asks for playout against the clock; otherwise every tile is decoded in its own time. ``report`` asks for a
    Report per tile.
    """

    TYPE: ClassVar[int] = 0x01

    mel: MelConfig
    tile: TileConfig
    template: StillTemplate
    session: str
    live: bool = True
    report: bool = False
    agent: str = ""

    def to_bytes(self) -> bytes:
        text = json.dumps(
            {
                "mel": self.mel.to_dict(),
                "tile": self.tile.to_dict(),
                "session": self.session,
                "live": self.live,
                "report": self.report,
                "agent": self.agent,
            },
            separators=(",", ":"),
        ).encode()
        offsets = struct.pack(">HH", self.template.iloc_length_at, self.template.mdat_size_at)
        return struct.pack(">BBH", self.TYPE, VERSION, len(text)) + text + offsets + self.template.prefix

    @classmethod
    def parse(cls, data: bytes) -> Hello:
        """Raises RemoteProtocolError for another version, damaged bytes, or a template of another size."""
        _, version, json_bytes = _unpack(">BBH", data)
        if version != VERSION:
            raise RemoteProtocolError(
                f"the peer speaks version {version} of the protocol; this program speaks {VERSION}"
            )
        text, rest = data[4 : 4 + json_bytes], data[4 + json_bytes :]
        kinds = {"mel": dict, "tile": dict, "session": str, "live": bool, "report": bool, "agent": str}
        values = _unpack_json(text, kinds)
        try:
            mel, tile = MelConfig.from_dict(values["mel"]), TileConfig.from_dict(values["tile"])
        except ValueError as error:
            raise RemoteProtocolError(f"the stream's settings make no sense: {error}") from error
        if len(rest) < 4:
            raise RemoteProtocolError("the hello message ends before its template")
        template = StillTemplate(rest[4:], *struct.unpack_from(">HH", rest))
        _check_template(template, tile.frames, mel.n_mels)
        session, agent = _label(values["session"]), _label(values["agent"])
        return cls(mel, tile, template, session, values["live"], values["report"], agent)


def _check_template(template: StillTemplate, width: int, height: int) -> None:
    if max(template.iloc_length_at, template.mdat_size_at) + 4 > len(template.prefix):
        raise RemoteProtocolError("the template's length fields lie outside it")
    try:
        layout = inspect_still(template.rebuild(b"\0"))
    except TileError as error:
        raise RemoteProtocolError(f"the template is no AVIF still: {error}") from error
    promised = (template.iloc_length_at, template.mdat_size_at, len(template.prefix))
    if (layout.iloc_length_at, layout.mdat_size_at, layout.frame_at) != promised:
        raise RemoteProtocolError("the template's fields are not where the hello message says")
    if (layout.width, layout.height, layout.bit_depth, layout.monochrome) != (width, height, 8, True):
        raise RemoteProtocolError(
            f"the template is of {layout.width}x{layout.height} pixels at {layout.bit_depth} bit, "
            f"not {width}x{height} monochrome at 8 bit as the hello message says"
        )


@dataclass(frozen=True)
class TilePacket:
    """One tile: the body of its AV1 frame unit, or the whole AVIF still where the template does not fit.

    Of the picture's columns the first ``frames`` are sound, all of them but in a stream's last tile.
    """

    TYPE: ClassVar[int] = 0x02
    STILL_TYPE: ClassVar[int] = 0x03
    HEADER_BYTES: ClassVar[int] = 10

    sequence: int
    first_frame: int
    frames: int
    payload: bytes
    is_whole_still: bool = False

    def to_bytes(self) -> bytes:
        kind = self.STILL_TYPE if self.is_whole_still else self.TYPE
        return struct.pack(">BIIB", kind, self.sequence, self.first_frame, self.frames) + self.payload

    @classmethod
    def parse(cls, data: bytes) -> TilePacket:
        """Raises RemoteProtocolError for a truncated message or one without frames."""
        kind, sequence, first_frame, frames = _unpack(">BIIB", data)
        if len(data) == cls.HEADER_BYTES or not 1 <= frames <= MAX_TILE_FRAMES:
            raise RemoteProtocolError(f"tile {sequence} is empty")
        return cls(sequence, first_frame, frames, data[cls.HEADER_BYTES :], kind == cls.STILL_TYPE)

    @property
    def payload_bytes(self) -> int:
        """The bytes that count as codec rate."""
        return len(self.payload)

    def still(self, template: StillTemplate) -> bytes:
        """The tile as a standard AVIF file."""
        return self.payload if self.is_whole_still else template.rebuild(self.payload)


@dataclass(frozen=True)
class PausePacket:
    """A pause: background noise of this spectral envelope, which goes on until the next message's first frame.

    ``levels`` are pixel values, the mean of each of NOISE_LEVELS equal groups of bands, low to high.
    """

    TYPE: ClassVar[int] = 0x06

    sequence: int
    first_frame: int
    frames: int
    levels: bytes

    @property
    def payload_bytes(self) -> int:
        """The bytes that count as codec rate."""
        return len(self.levels)

    def to_bytes(self) -> bytes:
        return struct.pack(">BIIB", self.TYPE, self.sequence, self.first_frame, self.frames) + self.levels

    @classmethod
    def parse(cls, data: bytes) -> PausePacket:
        """Raises RemoteProtocolError for a message of the wrong size or one without frames."""
        _, sequence, first_frame, frames, levels = _unpack_exactly(f">BIIB{NOISE_LEVELS}s", data)
        if not 1 <= frames <= MAX_TILE_FRAMES:
            raise RemoteProtocolError(f"pause {sequence} is empty")
        return cls(sequence, first_frame, frames, levels)


@dataclass(frozen=True)
class Bundle:
    """A tile or pause with low-quality copies of tiles before it, newest first, in case their messages were lost.

    After the forward redundancy of RFC 2198.
    """

    TYPE: ClassVar[int] = 0x07

    tile: TilePacket | PausePacket
    copies: tuple[TilePacket, ...]

    @property
    def sequence(self) -> int:
        """That of the newest part."""
        return self.tile.sequence

    @property
    def payload_bytes(self) -> int:
        """The bytes that count as codec rate."""
        return self.tile.payload_bytes + sum(copy.payload_bytes for copy in self.copies)

    def to_bytes(self) -> bytes:
        parts = [part.to_bytes() for part in (self.tile, *self.copies)]
        return bytes([self.TYPE, len(parts)]) + b"".join(struct.pack(">H", len(part)) + part for part in parts)

    @classmethod
    def parse(cls, data: bytes) -> Bundle:
        """Raises RemoteProtocolError for parts that are damaged, out of order or too many."""
        parts: list[bytes] = []
        _, count = _unpack(">BB", data)
        at = 2
        while at < len(data):
            size = int.from_bytes(data[at : at + 2], "big")
            parts.append(data[at + 2 : at + 2 + size])
            at += 2 + size
        if at != len(data) or len(parts) != count or not all(parts):
            raise RemoteProtocolError("a bundle's parts do not fill it")
        if not 2 <= count <= 1 + MAX_REDUNDANCY:
            raise RemoteProtocolError("a bundle has too few or too many parts")
        first, *others = parts
        if first[0] not in (TilePacket.TYPE, TilePacket.STILL_TYPE, PausePacket.TYPE):
            raise RemoteProtocolError("a bundle's first part is neither tile nor pause")
        if any(part[0] not in (TilePacket.TYPE, TilePacket.STILL_TYPE) for part in others):
            raise RemoteProtocolError("a bundle's copies are not all tiles")
        tile = PausePacket.parse(first) if first[0] == PausePacket.TYPE else TilePacket.parse(first)
        copies = tuple(TilePacket.parse(part) for part in others)
        order = [tile, *copies]
        if any(a.sequence <= b.sequence or a.first_frame <= b.first_frame for a, b in pairwise(order)):
            raise RemoteProtocolError(f"the copies beside tile {tile.sequence} are not older than it, newest first")
        return cls(tile, copies)


MediaPacket = TilePacket | PausePacket | Bundle


@dataclass(frozen=True)
class Bye:
    """The sender's last message: how many tiles and samples the stream had."""

    TYPE: ClassVar[int] = 0x04

    tiles: int
    samples: int

    def to_bytes(self) -> bytes:
        return struct.pack(">BIQ", self.TYPE, self.tiles, self.samples)

    @classmethod
    def parse(cls, data: bytes) -> Bye:
        """Raises RemoteProtocolError for a message of the wrong size or an impossible count."""
        _, tiles, samples = _unpack_exactly(">BIQ", data)
        if samples > _MAX_SAMPLES:
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
        return cls(*_unpack_exactly(">BQqq", data)[1:])


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
        return cls(*_unpack_exactly(">BI", data)[1:])


@dataclass(frozen=True)
class Welcome:
    """The receiver's answer to a hello it accepts: which vocoder will speak.

    ``received`` is the highest sequence number of this session that is here already, -1 for a session that begins.
    """

    TYPE: ClassVar[int] = 0x81

    vocoder: str
    vocoder_latency_samples: int
    agent: str = ""
    received: int = -1

    def to_bytes(self) -> bytes:
        return bytes([self.TYPE]) + json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def parse(cls, data: bytes) -> Welcome:
        """Raises RemoteProtocolError for damaged bytes or an impossible delay."""
        values = _unpack_json(data[1:], {"vocoder": str, "vocoder_latency_samples": int, "agent": str, "received": int})
        if not 0 <= values["vocoder_latency_samples"] <= _MAX_LATENCY_SAMPLES:
            raise RemoteProtocolError("the receiver's vocoder claims a delay that cannot be")
        if not -1 <= values["received"] < 2**32:
            raise RemoteProtocolError("the receiver claims to have a tile that cannot be")
        return cls(
            _label(values["vocoder"]), values["vocoder_latency_samples"], _label(values["agent"]), values["received"]
        )


@dataclass(frozen=True)
class Pong:
    """The receiver's answer to a Ping: the ping's time, and its own clock when it answered."""

    TYPE: ClassVar[int] = 0x85

    ping_sent_us: int
    receiver_us: int

    def to_bytes(self) -> bytes:
        return struct.pack(">BQQ", self.TYPE, self.ping_sent_us, self.receiver_us)

    @classmethod
    def parse(cls, data: bytes) -> Pong:
        """Raises RemoteProtocolError for a message of the wrong size or an impossible clock."""
        _, ping_sent_us, receiver_us = _unpack_exactly(">BQQ", data)
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

    TYPE: ClassVar[int] = 0x86

    sequence: int
    first_sample: int
    received_us: int
    wait_us: int
    decode_us: int
    vocoder_us: int
    buffer_us: int
    device_us: int

    def to_bytes(self) -> bytes:
        return struct.pack(">BIQQIIIII", self.TYPE, *asdict(self).values())

    @classmethod
    def parse(cls, data: bytes) -> Report:
        """Raises RemoteProtocolError for a message of the wrong size."""
        return cls(*_unpack_exactly(">BIQQIIIII", data)[1:])


@dataclass(frozen=True)
class Receipt:
    """The receiver has this tile or pause; sent at once, so that the sender can estimate the path."""

    TYPE: ClassVar[int] = 0x87

    sequence: int

    def to_bytes(self) -> bytes:
        return struct.pack(">BI", self.TYPE, self.sequence)

    @classmethod
    def parse(cls, data: bytes) -> Receipt:
        """Raises RemoteProtocolError for a message of the wrong size."""
        return cls(*_unpack_exactly(">BI", data)[1:])


SenderMessage = Hello | MediaPacket | Ping | Bye | Gap
"""What a receiver can get: a sender's messages, and a relay's own Gap among them."""

ReceiverMessage = Welcome | Pong | Report | Receipt
"""What a sender can get."""

Message = SenderMessage | ReceiverMessage
