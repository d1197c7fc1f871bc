"""The wire protocol without its I/O: messages to bytes and back, and the order they may come in.

``docs/reference/wire.md`` is the byte table. Every message is one binary WebSocket message; integers are big-endian.
A packet leaves out what both ends know: the upper bits of its counters, and the frame header that the hello has told.
So it is parsed with the hello and the stream's `Counters`.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from audio_avif.config import MAX_REDUNDANCY, MAX_TILE_FRAMES, MelConfig, TileConfig
from audio_avif.errors import RemoteProtocolError, TileError
from audio_avif.link.counters import MAX_COUNT, Counters, extended, short
from audio_avif.still.boxes import inspect_still
from audio_avif.still.template import MAX_FRAME_HEADERS, StillTemplate

SUBPROTOCOL = "audio-avif.v2"
VERSION = 2
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
_TEMPLATE_HEAD = ">HHBB"  # places of two lengths, number and length of the frame headers
_PACKET_HEAD = ">BHH"  # type, and the lowest bits of sequence number and first frame
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
        return struct.pack(">BBH", self.TYPE, VERSION, len(text)) + text + _template_bytes(self.template)

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
        template = _parse_template(rest)
        _check_template(template, tile.frames, mel.n_mels)
        session, agent = _label(values["session"]), _label(values["agent"])
        return cls(mel, tile, template, session, values["live"], values["report"], agent)


def _template_bytes(template: StillTemplate) -> bytes:
    headers = template.frame_headers
    head = struct.pack(
        _TEMPLATE_HEAD, template.iloc_length_at, template.mdat_size_at, len(headers), len(headers[0]) if headers else 0
    )
    return head + b"".join(headers) + template.prefix


def _parse_template(data: bytes) -> StillTemplate:
    head_bytes = struct.calcsize(_TEMPLATE_HEAD)
    if len(data) < head_bytes:
        raise RemoteProtocolError("the hello message ends before its template")
    iloc_length_at, mdat_size_at, count, size = struct.unpack_from(_TEMPLATE_HEAD, data)
    if count > MAX_FRAME_HEADERS or bool(count) != bool(size):
        raise RemoteProtocolError(f"the hello message has {count} frame headers of {size} bytes, which cannot be")
    prefix_at = head_bytes + count * size
    if len(data) < prefix_at:
        raise RemoteProtocolError("the hello message ends within its frame headers")
    headers = tuple(data[at : at + size] for at in range(head_bytes, prefix_at, size or 1))
    return StillTemplate(data[prefix_at:], iloc_length_at, mdat_size_at, headers)


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
        _, sequence, first_frame = _unpack_exactly(">BQQ", data)
        if max(sequence, first_frame) > MAX_COUNT:
            raise RemoteProtocolError("the stream claims to be longer than can be")
        return cls(sequence, first_frame)


def short_counters(data: bytes) -> tuple[int, int] | None:
    """Sequence number and first frame as a media message carries them, a bundle's first part's; None for any other."""
    at = 0
    if data[:1] == bytes([Bundle.TYPE]):
        at = Bundle.HEAD_BYTES + Bundle.COPY_HEAD_BYTES * (data[1] if len(data) > 1 else 0)
    is_media = data[at : at + 1] and (data[at] >= TilePacket.SHORT_TYPE or data[at] in _LONG_TYPES)
    if not is_media or len(data) < at + struct.calcsize(_PACKET_HEAD):
        return None
    _, sequence, first_frame = struct.unpack_from(_PACKET_HEAD, data, at)
    return sequence, first_frame


@dataclass(frozen=True)
class TilePacket:
    """One tile: what is its own of its AV1 frame unit's body, the whole body, or the whole AVIF still.

    ``header`` is the number of the frame header that the body begins with, and ``payload`` the rest of the body. It is
    None where the body begins with none of the hello's frame headers; then ``payload`` is the body, or the still where
    the template does not fit. Of the picture's columns the first ``frames`` are sound; a tile with a ``header`` is of
    full width.
    """

    TYPE: ClassVar[int] = 0x02
    STILL_TYPE: ClassVar[int] = 0x03
    SHORT_TYPE: ClassVar[int] = 0x80  # and the frame header's number

    sequence: int
    first_frame: int
    frames: int
    payload: bytes
    is_whole_still: bool = False
    header: int | None = None

    @property
    def kind(self) -> int:
        """The first byte of its message."""
        if self.is_whole_still:
            return self.STILL_TYPE
        return self.TYPE if self.header is None else self.SHORT_TYPE + self.header

    @property
    def content(self) -> bytes:
        """What its message holds behind the counters."""
        return self.payload if self.kind >= self.SHORT_TYPE else bytes([self.frames]) + self.payload

    def to_bytes(self) -> bytes:
        return struct.pack(_PACKET_HEAD, self.kind, short(self.sequence), short(self.first_frame)) + self.content

    @classmethod
    def parse(cls, data: bytes, hello: Hello, counters: Counters) -> TilePacket:
        """Parse a tile of this hello's stream near that place.

        Raises RemoteProtocolError for a truncated message, one without frames or with an unknown frame header.
        """
        kind, *place = _unpack(_PACKET_HEAD, data)
        return cls.of(kind, *counters.extend(*place), data[struct.calcsize(_PACKET_HEAD) :], hello)

    @classmethod
    def of(cls, kind: int, sequence: int, first_frame: int, content: bytes, hello: Hello) -> TilePacket:
        """The tile of that place with this content. Raises RemoteProtocolError as ``parse`` does."""
        header, frames, payload = None, hello.tile.frames, content
        if kind >= cls.SHORT_TYPE:
            header = kind - cls.SHORT_TYPE
            if header >= len(hello.template.frame_headers):
                raise RemoteProtocolError(f"tile {sequence} begins with frame header {header}, which the hello lacks")
        else:
            frames, payload = content[0] if content else 0, content[1:]
        if not payload or not 1 <= frames <= MAX_TILE_FRAMES:
            raise RemoteProtocolError(f"tile {sequence} is empty")
        return cls(sequence, first_frame, frames, payload, kind == cls.STILL_TYPE, header)

    @property
    def payload_bytes(self) -> int:
        """The bytes that count as codec rate."""
        return len(self.payload)

    def still(self, template: StillTemplate) -> bytes:
        """The tile as a standard AVIF file."""
        return self.payload if self.is_whole_still else template.rebuild(self.payload, self.header)


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
        head = struct.pack(_PACKET_HEAD, self.TYPE, short(self.sequence), short(self.first_frame))
        return head + bytes([self.frames]) + self.levels

    @classmethod
    def parse(cls, data: bytes, hello: Hello, counters: Counters) -> PausePacket:
        """Parse a pause near that place. Raises RemoteProtocolError for one of the wrong size or without frames."""
        _, low_sequence, low_frame, frames, levels = _unpack_exactly(f"{_PACKET_HEAD}B{NOISE_LEVELS}s", data)
        sequence, first_frame = counters.extend(low_sequence, low_frame)
        if not 1 <= frames <= MAX_TILE_FRAMES:
            raise RemoteProtocolError(f"pause {sequence} is empty")
        return cls(sequence, first_frame, frames, levels)


@dataclass(frozen=True)
class Bundle:
    """A tile or pause with low-quality copies of tiles before it, newest first, in case their messages were lost.

    After the forward redundancy of RFC 2198: the heads of the copies, the message of the tile or pause, and the copies.
    A head says how far a copy lies before the part that is one newer.
    """

    TYPE: ClassVar[int] = 0x07
    HEAD_BYTES: ClassVar[int] = 2
    COPY_HEAD: ClassVar[str] = ">BBHH"  # type, sequence numbers and frames before the newer part, bytes
    COPY_HEAD_BYTES: ClassVar[int] = 6

    tile: TilePacket | PausePacket
    copies: tuple[TilePacket, ...]

    @property
    def sequence(self) -> int:
        """That of the newest part."""
        return self.tile.sequence

    @property
    def first_frame(self) -> int:
        """That of the newest part."""
        return self.tile.first_frame

    @property
    def payload_bytes(self) -> int:
        """The bytes that count as codec rate."""
        return self.tile.payload_bytes + sum(copy.payload_bytes for copy in self.copies)

    def to_bytes(self) -> bytes:
        """Raises ValueError for a copy that is no older than the part before it, or too old to be told."""
        heads, contents = list[bytes](), list[bytes]()
        newer: TilePacket | PausePacket = self.tile
        for copy in self.copies:
            before, frames_before = newer.sequence - copy.sequence, newer.first_frame - copy.first_frame
            if not (1 <= before <= 0xFF and 1 <= frames_before <= 0xFFFF):
                raise ValueError(f"a copy of tile {copy.sequence} cannot travel with tile {self.sequence}")
            contents.append(copy.content)
            heads.append(struct.pack(self.COPY_HEAD, copy.kind, before, frames_before, len(contents[-1])))
            newer = copy
        return bytes([self.TYPE, len(heads)]) + b"".join([*heads, self.tile.to_bytes(), *contents])

    @classmethod
    def parse(cls, data: bytes, hello: Hello, counters: Counters) -> Bundle:
        """Parse a bundle near that place. Raises RemoteProtocolError for parts that are damaged or too many."""
        _, count = _unpack(">BB", data)
        if not 1 <= count <= MAX_REDUNDANCY:
            raise RemoteProtocolError("a bundle has too few or too many copies")
        tile_at = cls.HEAD_BYTES + count * cls.COPY_HEAD_BYTES
        heads = list(struct.iter_unpack(cls.COPY_HEAD, data[cls.HEAD_BYTES : tile_at])) if len(data) > tile_at else []
        at = len(data) - sum(size for *_, size in heads)
        if not heads or at <= tile_at:
            raise RemoteProtocolError("a bundle's parts do not fill it")
        first = data[tile_at:at]
        if first[0] != PausePacket.TYPE and not _is_tile(first[0]):
            raise RemoteProtocolError("a bundle's first part is neither tile nor pause")
        if not all(_is_tile(kind) for kind, *_ in heads):
            raise RemoteProtocolError("a bundle's copies are not all tiles")
        tile: TilePacket | PausePacket
        if first[0] == PausePacket.TYPE:
            tile = PausePacket.parse(first, hello, counters)
        else:
            tile = TilePacket.parse(first, hello, counters)
        sequence, first_frame, copies = tile.sequence, tile.first_frame, list[TilePacket]()
        for kind, before, frames_before, size in heads:
            sequence, first_frame = sequence - before, first_frame - frames_before
            if not (before and frames_before and min(sequence, first_frame) >= 0):
                raise RemoteProtocolError(f"the copies beside tile {tile.sequence} are not older than it, newest first")
            copies.append(TilePacket.of(kind, sequence, first_frame, data[at : at + size], hello))
            at += size
        return cls(tile, tuple(copies))


_LONG_TYPES = (TilePacket.TYPE, TilePacket.STILL_TYPE, PausePacket.TYPE)


def _is_tile(kind: int) -> bool:
    return kind >= TilePacket.SHORT_TYPE or kind in (TilePacket.TYPE, TilePacket.STILL_TYPE)


MediaPacket = TilePacket | PausePacket | Bundle


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
        _, tiles, samples = _unpack_exactly(">BQQ", data)
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
        values = _unpack_json(data[1:], {"vocoder": str, "vocoder_latency_samples": int, "agent": str, "received": int})
        if not 0 <= values["vocoder_latency_samples"] <= _MAX_LATENCY_SAMPLES:
            raise RemoteProtocolError("the receiver's vocoder claims a delay that cannot be")
        if not -1 <= values["received"] <= MAX_COUNT:
            raise RemoteProtocolError("the receiver claims to have a tile that cannot be")
        return cls(
            _label(values["vocoder"]), values["vocoder_latency_samples"], _label(values["agent"]), values["received"]
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
        _, low_sequence, *others = _unpack_exactly(">BHQQIIIII", data)
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
        return cls(extended(_unpack_exactly(">BH", data)[1], near))


SenderMessage = Hello | MediaPacket | Place | Ping | Bye | Gap
"""What a receiver can get: a sender's messages, and a relay's own Gap among them."""

ReceiverMessage = Welcome | Pong | Report | Receipt
"""What a sender can get."""

Message = SenderMessage | ReceiverMessage
