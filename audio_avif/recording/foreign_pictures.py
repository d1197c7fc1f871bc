"""Pictures of sound that other programs have written or saved again, decoded as a whole."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from audio_avif.errors import FileError
from audio_avif.recording.layout import PictureInfo
from audio_avif.recording.metadata import DESCRIPTION, from_description, require_size
from audio_avif.types import AnyPixels

_MAX_FOREIGN_PIXELS = 1 << 26
_FOREIGN_FORMATS = ("AVIF", "PNG", "WEBP", "JPEG", "TIFF", "GIF", "BMP", "PPM")
_MAX_TINT = 16
"""How far red, green and blue of a gray picture may lie apart on average; lossy compression in colour stays below."""

_GRAY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"}


def open_foreign(file: IO[bytes]) -> Image.Image:
    """Decode a picture that any program may have written. Raises FileError."""
    file.seek(0)
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(file, formats=_FOREIGN_FORMATS)
            if image.width * image.height > _MAX_FOREIGN_PIXELS:
                raise FileError(f"the picture is too large: {image.width}x{image.height} pixels")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # as viewers show it; a copy loses a TIFF's tags
    except FileError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen unrelated classes on damaged files
        raise FileError("not a readable picture; it may be damaged") from error
    return image


def read_log_mel(image: Image.Image, info: PictureInfo) -> AnyPixels:
    """The pixels of a log-mel picture in one row. Raises FileError where its height is another one."""
    if image.height != info.height:
        raise FileError(
            f"the picture is {image.height} pixels tall, not {info.height} ({info.mel.n_mels} per channel); "
            "for other pictures of sound use audio-avif invert"
        )
    return _pixels(image, info)


def read_saved_again(image: Image.Image) -> tuple[AnyPixels, PictureInfo]:
    """The pixels in one row and the settings of a picture of sound that another program has saved.

    Raises FileError where it lacks its settings or its pixels are not those that they promise.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            text = image.getexif().get(DESCRIPTION)
    except Exception:  # Pillow's parsers raise a dozen unrelated classes
        text = None
    info = from_description(text)
    if info is None:
        raise FileError(
            "the picture has no metadata of audio-avif; for a log-mel picture give its value range, "
            "--range=MIN,MAX; for other pictures of sound use audio-avif invert"
        )
    require_size(info, image.width, image.height)
    if info.layout == "planes" and info.channels > 1 and image.mode in _GRAY_MODES:
        raise FileError(
            f"the picture is gray, but its metadata describe {info.channels} channels as colours; "
            "use the original picture"
        )
    if info.layout == "stacked" and image.mode not in _GRAY_MODES:
        tint = np.ptp(np.asarray(image.convert("RGB")), axis=2).mean()
        if tint > _MAX_TINT:
            raise FileError("the picture is in colour, but its metadata describe a gray one; use the original picture")
    rows = np.split(_pixels(image, info), image.height // info.height)
    return np.concatenate(rows, axis=1)[:, : info.frames], replace(info, depth=8)


def _pixels(image: Image.Image, info: PictureInfo) -> AnyPixels:
    """``[height, width] uint8``, or ``[height, width, 3]`` where channels are colours."""
    if image.mode == "F":
        raise FileError("the picture has floating-point pixels; save it with 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip to white
        image = Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8))
    return np.asarray(image.convert("L" if info.layout == "stacked" else "RGB"))
