"""Pixels to AVIF stills and back."""

from __future__ import annotations

import io
import logging
from functools import cache

import numpy as np
from PIL import Image
from pillow_avif import AvifImagePlugin

from audio_avif.config import EncoderConfig
from audio_avif.errors import AudioAvifError, TileError
from audio_avif.still.boxes import inspect_still
from audio_avif.types import AnyPixels, Pixels

# Several threads for 640 pixels cost more than one, and wait for the other cores of a busy machine.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
_LOSSLESS = 100

AOM_OPTIONS = {"tune": "psnr", "tune-content": "screen", "enable-filter-intra": "0", "enable-intrabc": "0"}
"""libaom options for spectrograms. libavif's own default, ``tune=iq``, is meant for photographs and takes more bits at
the same mel error; docs/measurements/encoder.md says how to measure that. Intra block copy, which screen content
implies, finds nothing to copy in speech and takes as long as all the rest."""

log = logging.getLogger(__name__)


def encode_still(pixels: Pixels, config: EncoderConfig) -> bytes:
    """Compress ``[height, width] uint8`` to a monochrome 8-bit AVIF file, ``[height, width, 3]`` to one in colour."""
    return encode_with(pixels, config, _accepted_options())


def encode_with(pixels: Pixels, config: EncoderConfig, options: dict[str, str]) -> bytes:
    """As ``encode_still``, with these libaom options and no others. Raises ValueError where libavif refuses one."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(
        out,
        "AVIF",
        quality=config.quality,
        speed=config.speed,
        subsampling="4:0:0" if pixels.ndim == 2 else "4:4:4",
        range="full",
        codec="aom",
        max_threads=1,
        advanced=options,
    )
    return out.getvalue()


@cache
def _accepted_options() -> dict[str, str]:
    """``AOM_OPTIONS`` without those that the installed libavif refuses; each refusal is logged once."""
    accepted: dict[str, str] = {}
    for name, value in AOM_OPTIONS.items():
        try:
            encode_with(np.zeros((8, 8), np.uint8), EncoderConfig(speed=10), {name: value})
        except ValueError:
            log.warning("the installed libavif rejects %s=%s; tiles need more bits without it", name, value)
        else:
            accepted[name] = value
    return accepted


def encode_deep_still(pixels: AnyPixels, config: EncoderConfig, depth: int) -> bytes:
    """Compress ``[height, width] uint16`` of so many bits to a monochrome AVIF file, ``[..., 3]`` to one in colour.

    With libavif's defaults, since imagecodecs takes no libaom options. Raises AudioAvifError where it is missing.
    """
    codec = _imagecodecs(depth)
    is_gray = pixels.ndim == 2
    # One plane is compressed without loss whatever the level. Three equal ones become a monochrome picture, but for
    # level 100, where they stay a colour picture.
    planes = np.repeat(pixels[..., None], 3, axis=2) if is_gray and config.quality < _LOSSLESS else pixels
    return bytes(
        codec.avif_encode(
            np.ascontiguousarray(planes, np.uint16),
            level=config.quality,
            speed=config.speed,
            bitspersample=depth,
            pixelformat="yuv400" if is_gray else "yuv444",
            codec="aom",
            numthreads=1,
        )
    )


def decode_still(still: bytes, width: int, height: int) -> Pixels:
    """Open a monochrome 8-bit AVIF still of exactly this size as ``[height, width] uint8``.

    Raises TileError for anything else; size and depth are read from the bitstream's header before any decoder runs.
    """
    pixels = decode_picture(still, width, height, 8, is_gray=True)
    return pixels.astype(np.uint8, copy=False)


def decode_picture(still: bytes, width: int, height: int, depth: int, is_gray: bool) -> AnyPixels:
    """Open an AVIF still of exactly this size, depth and colour as ``[height, width]`` or ``[height, width, 3]``.

    uint8 at 8 bit, else uint16. Raises TileError for anything else, before any decoder runs, and AudioAvifError where
    the package for deep pictures is missing.
    """
    layout = inspect_still(still)
    if (layout.width, layout.height, layout.bit_depth, layout.monochrome) != (width, height, depth, is_gray):
        raise TileError(
            f"the tile is {layout.width}x{layout.height} {_colour(layout.monochrome)} at {layout.bit_depth} bit, "
            f"not {width}x{height} {_colour(is_gray)} at {depth} bit as the stream declares"
        )
    if depth != 8:
        return _decode_deep(still, depth)
    try:
        with Image.open(io.BytesIO(still), formats=["AVIF"]) as image:
            pixels = np.asarray(image.convert("L" if is_gray else "RGB"))
    except Exception as error:  # Pillow's decoders raise a dozen unrelated classes on damaged files
        raise TileError(f"the tile's AVIF data cannot be decoded: {error}") from error
    if pixels.shape[:2] != (height, width):
        raise TileError(f"the tile decoded to {pixels.shape[1]}x{pixels.shape[0]} pixels, not {width}x{height}")
    return pixels


def _colour(is_gray: bool) -> str:
    return "monochrome" if is_gray else "colour"


def _decode_deep(still: bytes, depth: int) -> AnyPixels:
    codec = _imagecodecs(depth)
    try:
        pixels = np.asarray(codec.avif_decode(still, numthreads=1))
    except Exception as error:
        raise TileError(f"the tile's AVIF data cannot be decoded: {error}") from error
    return pixels


def _imagecodecs(depth: int):  # type: ignore[no-untyped-def]  # imagecodecs has no types
    try:
        import imagecodecs
    except ImportError as error:
        raise AudioAvifError(
            f"pictures of {depth} bit need imagecodecs; install it with: pip install 'audio-avif[formats]'"
        ) from error
    return imagecodecs
