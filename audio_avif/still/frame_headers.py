"""The AV1 frame headers of an encoder's stills, found by encoding a few.

A still's frame unit begins with its frame header (AV1 specification 5.9). At one size and with one encoder it depends
on the quality, and in one bit on the picture (``tx_mode_select``): so it need not be sent with every tile.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from audio_avif.config import EncoderConfig
from audio_avif.still.avif import encode_still
from audio_avif.still.template import MAX_FRAME_HEADERS, StillTemplate

FRAME_HEADER_BYTES = 5
"""A gray still's frame header has 37 or 38 bits, and the picture's data begin at the next whole byte."""

_SPECK_QUALITIES = (20, 50, 80)


@cache
def make_template(height: int, width: int, speed: int, max_quality: int) -> StillTemplate:
    """Return the template of this encoder's gray stills of one size, with their frame headers up to that quality.

    Blank pictures are encoded at every quality, and at a few one with a white pixel: the encoder splits its blocks, and
    so it tells which bits depend on the picture.
    """

    def encode(pixels: np.ndarray, quality: int) -> bytes:
        return encode_still(pixels, EncoderConfig(quality=quality, speed=speed))

    blank = np.zeros((height, width), np.uint8)
    speck = blank.copy()
    speck[height // 2, 0] = 255
    template = StillTemplate.of(encode(blank, max_quality))

    def header(pixels: np.ndarray, quality: int) -> int:
        body = template.strip(encode(pixels, quality)) or b""
        return int.from_bytes(body[:FRAME_HEADER_BYTES], "big")

    by_picture = dict.fromkeys([0, *(header(speck, q) ^ header(blank, q) for q in _SPECK_QUALITIES)])
    by_quality = [header(blank, quality) for quality in range(max_quality, -1, -1)]
    numbers = dict.fromkeys(each ^ bits for each in by_quality for bits in by_picture)
    headers = [number.to_bytes(FRAME_HEADER_BYTES, "big") for number in numbers][:MAX_FRAME_HEADERS]
    return StillTemplate(template.prefix, template.iloc_length_at, template.mdat_size_at, tuple(headers))
