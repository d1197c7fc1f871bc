"""The bytes of a still that are the same for all tiles of a stream."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from audio_avif.still.boxes import OBU_FRAME, OBU_HAS_SIZE, inspect_still

MAX_FRAME_HEADERS = 128
"""How many frame headers a tile's message can tell apart."""

_FRAME_UNIT = bytes([OBU_FRAME << 3 | OBU_HAS_SIZE])


@dataclass(frozen=True)
class StillTemplate:
    """All bytes of a still before its frame unit, with both lengths as they would be without that unit.

    ``frame_headers`` are beginnings of frame units' bodies, all of one length, of which a tile names one by its number:
    the AV1 frame header, which depends on little more than the quality.
    """

    prefix: bytes
    iloc_length_at: int
    mdat_size_at: int
    frame_headers: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, still: bytes) -> StillTemplate:
        """Take the template from a real still. Raises TileError where it is none."""
        layout = inspect_still(still)
        template = cls(still[: layout.frame_at], layout.iloc_length_at, layout.mdat_size_at)
        return cls(template._with_lengths(layout.frame_at - len(still)), layout.iloc_length_at, layout.mdat_size_at)

    def strip(self, still: bytes) -> bytes | None:
        """Return what ``rebuild`` needs to give this still back byte for byte, or None where it cannot."""
        frame_body = still[inspect_still(still).frame_body_at :]
        return frame_body if self.rebuild(frame_body) == still else None

    def shorten(self, frame_body: bytes) -> tuple[int | None, bytes]:
        """Return the number of the frame header that a body begins with, and the rest of the body.

        The number is None where no frame header fits, and where nothing would be left; then the body is whole.
        """
        size = len(self.frame_headers[0]) if self.frame_headers else 0
        if len(frame_body) <= size or frame_body[:size] not in self.frame_headers:
            return None, frame_body
        return self.frame_headers.index(frame_body[:size]), frame_body[size:]

    def rebuild(self, frame_body: bytes, header: int | None = None) -> bytes:
        """The whole AVIF still around a frame unit's body, or around what follows its frame header of that number."""
        if header is not None:
            frame_body = self.frame_headers[header] + frame_body
        frame = _FRAME_UNIT + _leb128(len(frame_body)) + frame_body
        return self._with_lengths(len(frame)) + frame

    def _with_lengths(self, change: int) -> bytes:
        prefix = bytearray(self.prefix)
        for at in (self.iloc_length_at, self.mdat_size_at):
            (length,) = struct.unpack_from(">I", prefix, at)
            struct.pack_into(">I", prefix, at, (length + change) & 0xFFFFFFFF)
        return bytes(prefix)


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
