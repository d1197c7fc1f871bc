"""The AVIF container of a tile: what in it never changes is sent once, the rest with every tile.

A still is ``ftyp``, ``meta`` and ``mdat`` boxes (ISO/IEC 23000-22, AVIF 1.1); ``mdat`` holds the open bitstream units
(OBU, AV1 specification section 5.3) of one picture: a temporal delimiter, a sequence header and a frame. All but the
frame's body and four length fields is the same for every tile of one size and encoder. Nothing here decodes pixels, so
it is what untrusted bytes meet first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from audio_avif.errors import TileError

OBU_SEQUENCE_HEADER, OBU_TEMPORAL_DELIMITER, OBU_FRAME = 1, 2, 6
OBU_HAS_SIZE = 0x02
_ALLOWED_PROPERTIES = {b"ispe", b"pixi", b"av1C", b"colr"}


@dataclass(frozen=True)
class StillLayout:
    """What a still promises about its pixels, and where its parts lie (byte offsets into the file)."""

    width: int
    height: int
    bit_depth: int
    monochrome: bool
    iloc_length_at: int
    mdat_size_at: int
    frame_at: int
    frame_body_at: int


def inspect_still(still: bytes) -> StillLayout:
    """Read the layout of an AVIF file that holds one monochrome or colour picture and nothing else.

    Raises TileError for anything else: several items, grids, rotation, sequences, sizes that disagree, bytes left over.
    """
    try:
        boxes = list(iter_boxes(still, 0, len(still)))
        if [kind for kind, _, _ in boxes] != [b"ftyp", b"meta", b"mdat"]:
            raise TileError("not an AVIF still of ftyp, meta and mdat boxes")
        (_, ftyp_at, _), (_, meta_at, meta_end), (_, mdat_at, mdat_end) = boxes
        if still[ftyp_at : ftyp_at + 4] != b"avif":
            raise TileError("the file's brand is not avif")
        iloc_length_at, promised_size = _read_meta(still, meta_at + 4, meta_end, mdat_at, mdat_end)
        sequence_header, frame_at, frame_body_at = _read_obus(still, mdat_at, mdat_end)
        width, height, bit_depth, monochrome = _read_sequence_header(sequence_header)
    except (IndexError, struct.error) as error:
        raise TileError("the AVIF still is truncated") from error
    if (width, height) != promised_size:
        raise TileError(f"the still declares {promised_size} pixels but its bitstream holds {(width, height)}")
    return StillLayout(width, height, bit_depth, monochrome, iloc_length_at, mdat_at - 8, frame_at, frame_body_at)


def iter_boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, body start, end) of each box; every box must say its size and fit. Raises TileError."""
    while start < end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8 or start + size > end:
            raise TileError("a box of the AVIF still does not fit in its file")
        yield kind, start + 8, start + size
        start += size


def _read_meta(still: bytes, start: int, end: int, mdat_at: int, mdat_end: int) -> tuple[int, tuple[int, int]]:
    """Return where the item's length stands and the promised (width, height)."""
    children = {kind: (at, stop) for kind, at, stop in iter_boxes(still, start, end)}
    if not {b"iloc", b"iinf", b"iprp"} <= set(children):
        raise TileError("the AVIF still lacks a pitm, iloc or iprp box")
    iinf_at = children[b"iinf"][0]
    items = list(iter_boxes(still, iinf_at + 6, children[b"iinf"][1]))
    if (
        struct.unpack_from(">IH", still, iinf_at) != (0, 1)
        or len(items) != 1
        or still[items[0][1] + 8 :][:4] != b"av01"
    ):
        raise TileError("the AVIF file does not hold exactly one AV1 picture")

    # version and flags, offset and length sizes 4, no base offset, one item (id, data reference), one extent
    iloc_at = children[b"iloc"][0]
    version, sizes, count, _, reference, extents, offset, length = struct.unpack_from(">IHHHHHII", still, iloc_at)
    if (version, sizes, count, reference, extents) != (0, 0x4400, 1, 0, 1):
        raise TileError("the AVIF still has an unsupported layout")
    if offset != mdat_at or offset + length != mdat_end:
        raise TileError("the AVIF still's picture does not fill its mdat box")

    properties = [
        box for kind, *at in iter_boxes(still, *children[b"iprp"]) if kind == b"ipco" for box in iter_boxes(still, *at)
    ]
    if not {kind for kind, _, _ in properties} <= _ALLOWED_PROPERTIES:
        raise TileError("the AVIF still has a transformation")
    sizes_promised = [struct.unpack_from(">II", still, at + 4) for kind, at, _ in properties if kind == b"ispe"]
    if len(sizes_promised) != 1:
        raise TileError("the AVIF still does not declare exactly one size")
    return iloc_at + 18, sizes_promised[0]


def _read_obus(still: bytes, at: int, end: int) -> tuple[bytes, int, int]:
    """Return the sequence header's body, and where the frame unit and its body start; nothing may follow the frame."""
    sequence_header = None
    while at < end:
        unit_at, kind = at, still[at] >> 3 & 15
        if still[at] & ~0x78 != OBU_HAS_SIZE:
            raise TileError("an AV1 unit of the still has no size or carries an extension")
        size, at = _read_leb128(still, at + 1, end)
        if at + size > end:
            raise TileError("an AV1 unit of the still does not fit in its file")
        if kind == OBU_SEQUENCE_HEADER and sequence_header is None:
            sequence_header = still[at : at + size]
        elif kind == OBU_FRAME and sequence_header is not None and at + size == end:
            return sequence_header, unit_at, at
        elif kind != OBU_TEMPORAL_DELIMITER or size:
            raise TileError("the still's bitstream does not hold exactly one sequence header and one frame")
        at += size
    raise TileError("the still's bitstream holds no frame")


def _read_leb128(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for i in range(4):
        if at + i >= end:
            raise TileError("the AVIF still is truncated")
        value |= (data[at + i] & 0x7F) << (7 * i)
        if not data[at + i] & 0x80:
            return value, at + i + 1
    raise TileError("an AV1 unit of the still is too long")


def _read_sequence_header(body: bytes) -> tuple[int, int, int, bool]:
    """Return (width, height, bit depth, monochrome) of a reduced still picture header (AV1 specification 5.5)."""
    bits = int.from_bytes(body, "big")
    left = 8 * len(body)

    def take(count: int) -> int:
        nonlocal left
        left -= count
        if left < 0:
            raise TileError("the AV1 sequence header is truncated")
        return bits >> left & (1 << count) - 1

    profile, _still_picture, reduced = take(3), take(1), take(1)
    if not reduced:
        raise TileError("the picture is not coded as a still")
    take(5)  # level
    width_bits, height_bits = take(4) + 1, take(4) + 1
    width, height = take(width_bits) + 1, take(height_bits) + 1
    take(6)  # superblock size, filter intra, intra edge filter, superres, cdef, restoration
    high_bit_depth = take(1)
    bit_depth = 8 + 2 * high_bit_depth + (2 * take(1) if profile == 2 and high_bit_depth else 0)
    return width, height, bit_depth, bool(profile != 1 and take(1))
