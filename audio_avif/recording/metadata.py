"""The settings of a picture in its Exif block."""

from __future__ import annotations

import json
import warnings

from PIL import Image

from audio_avif.config import MelConfig
from audio_avif.errors import FileError
from audio_avif.recording.grid import grid_size
from audio_avif.recording.layout import CELL_FRAMES, PictureInfo

FORMAT = 1
DESCRIPTION, _SOFTWARE = 0x010E, 0x0131  # Exif 2.32, table 3


def to_exif(info: PictureInfo) -> bytes:
    """The settings as a TIFF block: the image description is JSON."""
    exif = Image.Exif()
    exif[DESCRIPTION] = json.dumps({"audio_avif": FORMAT, **info.to_dict()})
    exif[_SOFTWARE] = "audio-avif"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def from_exif(block: bytes) -> PictureInfo | None:
    """The settings in a TIFF block, None where there are none. Raises FileError where they are damaged or newer."""
    exif = Image.Exif()
    try:
        with warnings.catch_warnings(action="ignore"):
            exif.load(b"Exif\0\0" + block)
            text = exif.get(DESCRIPTION)
    except Exception:  # Pillow's parsers raise a dozen unrelated classes
        return None
    return from_description(text)


def from_description(text: object) -> PictureInfo | None:
    """The settings in an image description, None where there are none. Raises FileError as ``from_exif`` does."""
    try:
        values = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):  # a description may be any text
        return None
    if not isinstance(values, dict) or "audio_avif" not in values:
        return None
    if (version := values.pop("audio_avif")) != FORMAT:
        raise FileError(f"the picture's metadata have format {version!r:.20}; this version reads {FORMAT}")
    try:
        return PictureInfo.from_dict(values)
    except ValueError as error:
        raise FileError(f"the picture's metadata are damaged: {error!s:.200}") from error


def require_size(info: PictureInfo, width: int, height: int) -> None:
    """Raises FileError where a picture has another size than its settings promise."""
    promised = grid_size(info.frames, CELL_FRAMES, info.height)
    if (width, height) == promised:
        return
    remedy = "use the original picture"
    if height == info.height and info.mel == MelConfig() and "1" not in info.side_cells:
        channels = f" --channels {info.channels}" if info.channels > 1 else ""
        layout = f" --layout {info.layout}" if info.layout != "stacked" else ""
        remedy = f"--range={info.log10_min:g},{info.log10_max:g}{channels}{layout} plays it as it is"
    raise FileError(
        f"the picture's metadata describe {info.frames} frames of {info.height} rows, {promised[0]}x{promised[1]} "
        f"pixels, but it has {width}x{height}: it was cropped or scaled; {remedy}"
    )
