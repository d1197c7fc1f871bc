"""Real stills for the tests, and ways to spoil them."""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from audio_avif.config import EncoderConfig, TileConfig
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import encode_still
from audio_avif.still.tiles import TileCutter
from audio_avif.types import Pixels
from support.speech import speech_like

FAST = EncoderConfig(speed=10)


@lru_cache(maxsize=16)
def speech_tiles(frames: int, duration_s: float = 2.0) -> tuple[Pixels, ...]:
    """The tiles ``[80, frames] uint8`` of speech, silence and noise."""
    random = np.random.default_rng(frames)
    cutter = TileCutter(80, TileConfig(frames))
    spoken = [tile.pixels for tile in cutter.push(log_mel(speech_like(duration_s))) + cutter.flush()]
    noise = [random.integers(0, 256, (80, frames), np.uint8) for _ in range(2)]
    flat = [np.full((80, frames), value, np.uint8) for value in (0, 255)]
    return (*spoken, *noise, *flat)


@lru_cache(maxsize=16)
def real_still(frames: int = 8) -> bytes:
    """One still of speech."""
    return encode_still(speech_tiles(frames)[3], FAST)


def saved(image: Image.Image, format: str = "AVIF", **options: Any) -> bytes:
    """An image file as Pillow writes it."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def box(kind: bytes, body: bytes) -> bytes:
    """One ISO box."""
    return struct.pack(">I4s", 8 + len(body), kind) + body


def sequence_header(width: int, height: int, *, high_bit_depth: bool = False, monochrome: bool = True) -> bytes:
    """The body of an AV1 sequence header for a reduced still picture, sizes in 16 bits each; profile 0."""
    bits = "000" + "1" + "1" + "00000" + "1111" + "1111" + f"{width - 1:016b}" + f"{height - 1:016b}" + "0" * 6
    bits += f"{high_bit_depth:b}{monochrome:b}" + "0" + "1" + "0"  # colour description, range, film grain
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def obu(kind: int, body: bytes) -> bytes:
    """One AV1 unit with its size."""
    size, length = b"", len(body)
    while length > 0x7F:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([kind << 3 | 2]) + size + bytes([length]) + body


def still_of(
    units: bytes,
    width: int = 8,
    height: int = 80,
    *,
    items: int = 1,
    item_type: bytes = b"av01",
    properties: bytes = b"",
    size_box: bytes | None = None,
    brand: bytes = b"avif",
    iloc: tuple[int, ...] = (0, 0x4400, 1, 1, 0, 1),
    extra: bytes = b"",
) -> bytes:
    """A hand-made AVIF file around AV1 units."""
    ftyp = box(b"ftyp", brand + b"\0\0\0\0avifmif1miaf")
    infe = box(b"infe", struct.pack(">IHH4s", 2 << 24, 1, 0, item_type) + b"\0")
    iinf = box(b"iinf", struct.pack(">IH", 0, items) + infe * items)
    ispe = box(b"ispe", struct.pack(">III", 0, width, height)) if size_box is None else size_box
    iprp = box(b"iprp", box(b"ipco", ispe + properties))

    def meta(offset: int) -> bytes:
        location = struct.pack(">IHHHHH", *iloc) + struct.pack(">II", offset, len(units))
        return box(b"meta", b"\0\0\0\0" + box(b"iloc", location) + iinf + iprp + extra)

    head = len(ftyp) + len(meta(0)) + 8
    return ftyp + meta(head) + box(b"mdat", units)
