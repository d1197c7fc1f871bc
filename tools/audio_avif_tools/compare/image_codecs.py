"""Image codecs with one interface: gray pixels to files and back, and the payload of a file.

A receiver needs the bytes that all pictures of one size and quality share only once: containers, length fields, fixed
tables. ``payload_bytes`` counts the others.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from audio_avif.config import EncoderConfig
from audio_avif.errors import AudioAvifError, MissingPackage, TileError
from audio_avif.optional import absent_packages, missing_sentence
from audio_avif.recording.layout import DEPTHS
from audio_avif.still.avif import decode_picture, encode_deep_still, encode_still
from audio_avif.still.boxes import inspect_still, iter_boxes
from audio_avif.still.template import StillTemplate
from audio_avif.types import AnyPixels

_WEBP_EFFORT = 6
_JXL_EFFORT = 7
_PNG_HEADER_BYTES, _RIFF_HEADER_BYTES = 8, 12


@dataclass(frozen=True)
class StillCodec:
    """An image codec for gray pixels at one bit depth.

    ``qualities`` is a ladder within ``minimum`` to ``maximum``, from barely intelligible speech to better than needed;
    ``meaning`` describes the scale. ``packages`` are needed besides audio-avif's own, ``deep_packages`` above 8 bit.
    """

    name: str
    title: str
    meaning: str
    qualities: tuple[int, ...]
    encoder: Callable[[AnyPixels, int, int], bytes]
    decoder: Callable[[bytes, int], AnyPixels]
    news: Callable[[bytes, bytes], int]
    minimum: int = 0
    maximum: int = 100
    depths: tuple[int, ...] = (8,)
    packages: tuple[str, ...] = ()
    deep_packages: tuple[str, ...] = ()
    depth: int = 8

    def __post_init__(self) -> None:
        if self.depth not in self.depths:
            raise ValueError(f"{self.title} has {' or '.join(map(str, self.depths))} bit, not {self.depth}")

    def missing(self) -> str | None:
        """Return in one sentence which packages to install; None where the codec can be used."""
        needed = self.packages + (self.deep_packages if self.depth > 8 else ())
        what = self.title if self.depth == 8 else f"{self.title} at {self.depth} bit"
        absent = absent_packages(needed)
        return missing_sentence(what, absent, "formats") if absent else None

    def encode(self, pixels: AnyPixels, quality: int) -> bytes:
        """Compress ``[height, width]``, uint8 at 8 bit, else uint16.

        Raises ValueError for other pixels or a quality out of range, MissingPackage where a package is missing.
        """
        if pixels.ndim != 2 or pixels.dtype != (np.uint8 if self.depth == 8 else np.uint16):
            raise ValueError(f"{self.name} takes gray pixels of {self.depth} bit, not {pixels.dtype} {pixels.shape}")
        if not self.minimum <= quality <= self.maximum:
            raise ValueError(f"{self.title} has qualities {self.minimum} to {self.maximum}, not {quality}")
        if (reason := self.missing()) is not None:
            raise MissingPackage(reason)
        return self.encoder(pixels, quality, self.depth)

    def decode(self, data: bytes) -> AnyPixels:
        """Decode the output of ``encode`` to ``[height, width]``.

        Raises TileError for anything else, MissingPackage where a package is missing.
        """
        if (reason := self.missing()) is not None:
            raise MissingPackage(reason)
        try:
            pixels = self.decoder(data, self.depth)
        except AudioAvifError:
            raise
        except Exception as error:  # each decoder has its own errors for damaged files
            raise TileError(f"the {self.title} data cannot be decoded: {error}") from error
        if pixels.ndim != 2:
            raise TileError(f"the {self.title} picture is not gray")
        return pixels

    def payload_bytes(self, data: bytes, other: bytes) -> int:
        """Return the number of bytes of ``data`` that ``other``, of the same size and quality, does not share.

        Raises TileError for damaged files.
        """
        try:
            return self.news(data, other)
        except (IndexError, StopIteration, struct.error) as error:
            raise TileError(f"the {self.title} file is truncated") from error


def _saved(pixels: AnyPixels, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def _opened(data: bytes, kind: str) -> AnyPixels:
    with Image.open(io.BytesIO(data), formats=[kind]) as image:
        return np.asarray(image.convert("L"))


def _beyond_common_start(data: bytes, other: bytes) -> int:
    alike = zip(data, other, strict=False)
    return len(data) - next((at for at, (a, b) in enumerate(alike) if a != b), min(len(data), len(other)))


def _encode_avif(pixels: AnyPixels, quality: int, depth: int) -> bytes:
    if depth == 8:
        return encode_still(pixels.astype(np.uint8, copy=False), EncoderConfig(quality))
    return encode_deep_still(pixels, EncoderConfig(quality), depth)


def _decode_avif(data: bytes, depth: int) -> AnyPixels:
    layout = inspect_still(data)
    return decode_picture(data, layout.width, layout.height, depth, is_gray=True)


def _avif_news(data: bytes, other: bytes) -> int:
    body = StillTemplate.of(other).strip(data)
    return len(data if body is None else body)


def _encode_webp(pixels: AnyPixels, quality: int, depth: int) -> bytes:
    return _saved(pixels, "WEBP", quality=quality, method=_WEBP_EFFORT)


def _webp_news(data: bytes, other: bytes) -> int:
    """The VP8 frame without its start code and size (RFC 6386, 9.1)."""
    frame_at = _RIFF_HEADER_BYTES
    while data[frame_at : frame_at + 4] != b"VP8 ":
        frame_at += 8 + struct.unpack_from("<I", data, frame_at + 4)[0]
    (size,) = struct.unpack_from("<I", data, frame_at + 4)
    return int(size) - 7


def _encode_jpeg(pixels: AnyPixels, quality: int, depth: int) -> bytes:
    """Return the smaller payload of two: with the standard's Huffman tables, which are known, or with the picture's."""
    plain, optimized = (_saved(pixels, "JPEG", quality=quality, optimize=is_own) for is_own in (False, True))
    return plain if _jpeg_news(plain, plain) <= _jpeg_news(optimized, plain) else optimized


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split into the marker segments before the first scan, and the rest (ITU-T T.81, annex B)."""
    at = 2
    while (marker := data[at + 1]) != 0xDA:
        (length,) = struct.unpack_from(">H", data, at + 2)
        yield marker, data[at : at + 2 + length]
        at += 2 + length
    (length,) = struct.unpack_from(">H", data, at + 2)
    yield marker, data[at + 2 + length : -2]


def _jpeg_news(data: bytes, other: bytes) -> int:
    """The scan and the Huffman tables that the standard does not list; the rest is the same in all pictures."""
    return sum(
        len(segment)
        for marker, segment in _jpeg_segments(data)
        if marker == 0xDA or (marker == 0xC4 and segment not in _standard_tables())
    )


@lru_cache(maxsize=1)
def _standard_tables() -> frozenset[bytes]:
    flat = _saved(np.zeros((8, 8), np.uint8), "JPEG", optimize=False)
    return frozenset(segment for marker, segment in _jpeg_segments(flat) if marker == 0xC4)


def _encode_png(pixels: AnyPixels, levels: int, depth: int) -> bytes:
    steps = np.rint(pixels * ((levels - 1) / 255))
    return _saved(np.rint(steps * (255 / (levels - 1))).astype(np.uint8), "PNG", optimize=True)


def _png_news(data: bytes, other: bytes) -> int:
    total, at = 0, _PNG_HEADER_BYTES
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        total += length if kind == b"IDAT" else 0
        at += 12 + length
    return total


def jxl_distance(quality: int) -> float:
    """The Butteraugli distance, 25 to 0.1, that libjxl uses for a quality of 0 to 99.

    Source: ``JxlEncoderDistanceFromQuality`` of libjxl 0.11.
    """
    if quality >= 30:
        return 0.1 + (100 - quality) * 0.09
    return 53 / 3000 * quality**2 - 23 / 20 * quality + 25


def _encode_jxl(pixels: AnyPixels, quality: int, depth: int) -> bytes:
    import imagecodecs

    data = imagecodecs.jpegxl_encode(
        np.ascontiguousarray(pixels),
        distance=jxl_distance(quality),
        effort=_JXL_EFFORT,
        bitspersample=depth,
        numthreads=1,
    )
    return bytes(data)


def _decode_jxl(data: bytes, depth: int) -> AnyPixels:
    import imagecodecs

    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))


def _encode_heic(pixels: AnyPixels, quality: int, depth: int) -> bytes:
    import pillow_heif

    out = io.BytesIO()
    mode = "L" if depth == 8 else f"I;{depth}"
    picture = pillow_heif.from_bytes(mode, pixels.shape[::-1], pixels.tobytes())
    picture.save(out, quality=quality, bit_depth=depth)
    return out.getvalue()


def _decode_heic(data: bytes, depth: int) -> AnyPixels:
    import pillow_heif

    picture = pillow_heif.open_heif(data, convert_hdr_to_8bit=False, hdr_to_16bit=False)
    if picture.info["bit_depth"] != depth:
        raise TileError(f"the HEIC picture has {picture.info['bit_depth']} bit, not {depth}")
    return np.asarray(picture)


def _heic_news(data: bytes, other: bytes) -> int:
    """The coded slice without its length field and the start that it shares with the other."""
    first, second = (
        next(file[at + 4 : end] for kind, at, end in iter_boxes(file, 0, len(file)) if kind == b"mdat")
        for file in (data, other)
    )
    return _beyond_common_start(first, second)


CODECS = {
    codec.name: codec
    for codec in (
        StillCodec(
            "avif",
            "AVIF",
            "quality 0 to 100, speed 6",
            (5, 15, 25, 35, 45, 55, 65, 75, 85, 92, 97),
            _encode_avif,
            _decode_avif,
            _avif_news,
            depths=DEPTHS,
            deep_packages=("imagecodecs",),
        ),
        StillCodec(
            "webp",
            "WebP",
            f"quality 0 to 100, method {_WEBP_EFFORT}",
            (0, 5, 15, 30, 45, 60, 75, 85, 92, 97),
            _encode_webp,
            lambda data, depth: _opened(data, "WEBP"),
            _webp_news,
        ),
        StillCodec(
            "jxl",
            "JPEG XL",
            f"quality 0 to 99, libjxl's scale for distances of 25 to 0.1, effort {_JXL_EFFORT}",
            (0, 5, 15, 30, 45, 60, 75, 85, 92, 97),
            _encode_jxl,
            _decode_jxl,
            _beyond_common_start,
            maximum=99,
            depths=DEPTHS,
            packages=("imagecodecs",),
        ),
        StillCodec(
            "heic",
            "HEIC",
            "quality 0 to 100 of x265",
            (0, 10, 20, 30, 40, 50, 60, 70, 80, 90),
            _encode_heic,
            _decode_heic,
            _heic_news,
            depths=DEPTHS,
            packages=("pillow_heif",),
        ),
        StillCodec(
            "jpeg",
            "JPEG",
            "quality 1 to 100",
            (1, 3, 6, 10, 20, 35, 50, 70, 85, 93),
            _encode_jpeg,
            lambda data, depth: _opened(data, "JPEG"),
            _jpeg_news,
            minimum=1,
        ),
        StillCodec(
            "png",
            "PNG",
            "2 to 256 gray levels, 256 is lossless",
            (3, 4, 5, 6, 8, 12, 16, 32, 64, 256),
            _encode_png,
            lambda data, depth: _opened(data, "PNG"),
            _png_news,
            minimum=2,
            maximum=256,
        ),
    )
}
"""All codecs by name, at 8 bit."""


def names() -> list[str]:
    """The names that ``find_codec`` accepts: each codec, and its other depths as in ``avif-10``."""
    return [
        codec.name if depth == 8 else f"{codec.name}-{depth}" for codec in CODECS.values() for depth in codec.depths
    ]


def find_codec(name: str) -> StillCodec:
    """The codec of that name, ``avif`` at 8 bit or ``avif-10`` at 10. Raises ValueError where there is none."""
    if name not in names():
        raise ValueError(f"unknown format {name!r:.40}; choose from {', '.join(names())}")
    base, _, depth = name.partition("-")
    return replace(CODECS[base], depth=int(depth or 8))
