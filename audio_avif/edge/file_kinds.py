"""What a file is, by its first bytes: for messages about files whose names say something else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

KIND_BYTES = 64
"""How much of a file ``kind_of`` looks at."""


@dataclass(frozen=True)
class FileKind:
    """``name`` is for a sentence: "x is a JPEG picture"."""

    name: str
    is_picture: bool = False
    is_readable_sound: bool = False

    def __str__(self) -> str:
        """The name with its article."""
        return f"{'an' if self.name.startswith(('A', 'M4', 'MP', 'O')) else 'a'} {self.name}"


AVIF_SUFFIX = ".avif"
AVIF = FileKind("AVIF picture", is_picture=True)

_KINDS = [
    (rb"....ftypavi[fs]", AVIF),
    (rb"....ftyp(hei|hev|mif1|msf1)", FileKind("HEIC picture", is_picture=True)),
    (rb"....ftypM4A", FileKind("M4A sound file")),
    (rb"....ftyp", FileKind("MP4 file")),
    (rb"\x89PNG\r\n\x1a\n", FileKind("PNG picture", is_picture=True)),
    (rb"\xff\xd8\xff", FileKind("JPEG picture", is_picture=True)),
    (rb"GIF8[79]a", FileKind("GIF picture", is_picture=True)),
    (rb"RIFF....WEBP", FileKind("WebP picture", is_picture=True)),
    (rb"BM....\0\0\0\0", FileKind("BMP picture", is_picture=True)),
    (rb"II\*\0|MM\0\*", FileKind("TIFF picture", is_picture=True)),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", FileKind("JPEG XL picture", is_picture=True)),
    (rb"(RIFF|RIFX|RF64)....WAVE", FileKind("WAV sound file", is_readable_sound=True)),
    (rb"fLaC", FileKind("FLAC sound file", is_readable_sound=True)),
    (rb"OggS", FileKind("Ogg sound file", is_readable_sound=True)),
    (rb"FORM....AIF[FC]", FileKind("AIFF sound file", is_readable_sound=True)),
    (rb"\.snd", FileKind("AU sound file", is_readable_sound=True)),
    (rb"caff", FileKind("CAF sound file", is_readable_sound=True)),
    (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", FileKind("MP3 sound file", is_readable_sound=True)),
    (rb"\xff[\xf0\xf1\xf8\xf9]", FileKind("AAC sound file")),
    (rb"#!AMR", FileKind("AMR sound file")),
    (rb"0&\xb2u\x8ef\xcf\x11", FileKind("WMA or other ASF file")),
    (rb"\x1aE\xdf\xa3", FileKind("Matroska or WebM file")),
    (rb"\x93NUMPY", FileKind("numpy array")),
    (rb"%PDF", FileKind("PDF document")),
    (rb"PK\x03\x04", FileKind("ZIP archive")),
    (rb"\x1f\x8b", FileKind("gzip archive")),
]
_PATTERNS = [(re.compile(pattern, re.DOTALL), kind) for pattern, kind in _KINDS]


def kind_of(head: bytes) -> FileKind | None:
    """The kind of file that begins with these bytes, None for what is not known here."""
    return next((kind for pattern, kind in _PATTERNS if pattern.match(head)), None)


def kind_of_file(path: str | Path) -> FileKind | None:
    """The kind of a file, None for what is not known here or cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return kind_of(file.read(KIND_BYTES))
    except (OSError, ValueError):  # ValueError: a name with a zero byte
        return None
