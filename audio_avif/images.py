"""Tiles of pixels to AVIF stills and back."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from pillow_avif import AvifImagePlugin

from audio_avif.config import EncoderConfig
from audio_avif.container import inspect_still
from audio_avif.errors import TileError
from audio_avif.tiles import Pixels

# Several threads for 640 pixels cost more than one, and wait for the other cores of a busy machine.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1


def encode_still(pixels: Pixels, config: EncoderConfig) -> bytes:
    """Compress ``[height, width] uint8`` to a monochrome 8-bit AVIF file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(
        out,
        "AVIF",
        quality=config.quality,
        speed=config.speed,
        subsampling="4:0:0",
        range="full",
        codec="aom",
        max_threads=1,
    )
    return out.getvalue()


def decode_still(still: bytes, width: int, height: int) -> Pixels:
    """Open a monochrome 8-bit AVIF still of exactly this size as ``[height, width] uint8``.

    Raises TileError for anything else; size and depth are read from the bitstream's header before any decoder runs.
    """
    layout = inspect_still(still)
    if (layout.width, layout.height, layout.bit_depth, layout.monochrome) != (width, height, 8, True):
        colour = "monochrome" if layout.monochrome else "colour"
        raise TileError(
            f"the tile is {layout.width}x{layout.height} {colour} at {layout.bit_depth} bit, "
            f"not {width}x{height} monochrome at 8 bit as the stream promised"
        )
    try:
        with Image.open(io.BytesIO(still), formats=["AVIF"]) as image:
            pixels = np.asarray(image.convert("L"))
    except Exception as error:  # Pillow's decoders raise a dozen unrelated classes on damaged files
        raise TileError(f"the tile's AVIF data does not decode: {error}") from error
    if pixels.shape != (height, width):
        raise TileError(f"the tile decoded to {pixels.shape[1]}x{pixels.shape[0]} pixels, not {width}x{height}")
    return pixels
