"""The media messages: a tile, a pause, and a bundle of one of them with copies of earlier tiles.

A packet leaves out what both ends know: the upper bits of its counters, and the frame header that the hello has told.
So it is parsed with the hello and the stream's `Counters`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import ClassVar

from audio_avif.config import MAX_REDUNDANCY, MAX_TILE_FRAMES
from audio_avif.errors import RemoteProtocolError
from audio_avif.link.counters import Counters, short
from audio_avif.link.fields import unpack, unpack_exactly
from audio_avif.link.hello import Hello
from audio_avif.still.template import StillTemplate

NOISE_LEVELS = 8
_PACKET_HEAD = ">BHH"  # type, and the lowest bits of sequence number and first frame


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
        kind, *place = unpack(_PACKET_HEAD, data)
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
        _, low_sequence, low_frame, frames, levels = unpack_exactly(f"{_PACKET_HEAD}B{NOISE_LEVELS}s", data)
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
        _, count = unpack(">BB", data)
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
