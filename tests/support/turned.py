"""Pictures that are stored turned or mirrored, with metadata that tells viewers to undo it."""

from __future__ import annotations

import io

import pillow_avif  # noqa: F401  (lets Pillow save AVIF)
from PIL import Image

_ORIENTATION = 0x0112  # Exif 2.32, table 3
_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
ORIENTATIONS = tuple(_STORED)


def turned(image: Image.Image, kind: str, orientation: int) -> bytes:
    """A picture that looks like ``image`` in a viewer; an AVIF says it with ``irot`` and ``imir``."""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    file = io.BytesIO()
    image.transpose(_STORED[orientation]).save(file, kind, exif=exif if kind == "TIFF" else exif.tobytes())
    return file.getvalue()
