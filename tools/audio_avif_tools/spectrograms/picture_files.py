"""Files of spectrograms: pictures with their settings in the metadata, pictures from elsewhere, and arrays."""

from __future__ import annotations

import io
import json
import sys
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pillow_avif  # noqa: F401  (lets Pillow save and open AVIF)
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from audio_avif.edge.sound_files import replacing
from audio_avif.errors import FileError
from audio_avif.types import FloatArray, Pixels
from audio_avif_tools.spectrograms.colour_maps import GRAYS, to_colours
from audio_avif_tools.spectrograms.definitions import SpectrogramConfig, to_shares
from audio_avif_tools.spectrograms.figures import Box
from audio_avif_tools.spectrograms.riffusion import RiffusionSettings, riffusion_settings, to_magnitudes

FORMATS = {".png": "PNG", ".avif": "AVIF", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""The formats of written pictures by suffix."""

ARRAY = ".npy"
MAX_PIXELS = 1 << 25
"""Maximum number of pixels or values: 17 minutes of 513 rows at 62.5 columns per second."""

MAX_ROWS = 16_384
STANDARD_INPUT = Path("-")

_MAX_PIPE_BYTES = 1 << 29
_READABLE = ("PNG", "AVIF", "WEBP", "JPEG", "GIF", "BMP", "TIFF", "PPM")
_MAX_COLUMNS = {"WEBP": 16_383, "JPEG": 65_500, "AVIF": 65_535}
_FORMAT = 1
_KEY = "audio_avif_spectrogram"
_OURS_KEY = "audio_avif"  # of pictures that the file codec made
_DESCRIPTION = 0x010E  # Exif 2.32, table 3
_NUMPY_MAGIC = b"\x93NUMPY"


@dataclass(frozen=True)
class Source:
    """The content of a file, in its own order of rows, and its metadata.

    It has either ``shares [rows, columns]`` 0 to 1, ``colours [rows, columns, 3]`` or ``values [rows, columns]``.
    ``transparent`` marks silent pixels. ``samples`` is 0 where the length is unknown. Without ``knows_level`` the
    loudness is unknown. ``is_cropped``: the user named the rectangle of the spectrogram.
    """

    shares: FloatArray | None = None
    colours: Pixels | None = None
    values: FloatArray | None = None
    transparent: npt.NDArray[np.bool_] | None = None
    settings: SpectrogramConfig | None = None
    samples: int = 0
    remark: str = ""
    knows_level: bool = True
    is_cropped: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        held = next(array for array in (self.shares, self.colours, self.values) if array is not None)
        return held.shape[0], held.shape[1]


def write_spectrogram(
    path: Path, values: FloatArray, config: SpectrogramConfig, samples: int, *, depth: int = 8, quality: int = 75
) -> None:
    """Write values ``[rows, frames]``, lowest row first, as a picture or an array; never write half a file.

    The settings of an array go to a file beside it, with ``.json`` appended to its name. Raises FileError.
    """
    settings = json.dumps({_KEY: _FORMAT, "samples": samples, **config.to_dict()})
    if path.suffix.lower() == ARRAY:
        with replacing(path) as part, part.open("wb") as file:
            np.save(file, values)
        with replacing(_settings_path(path)) as part:
            part.write_text(settings + "\n", encoding="utf-8")
        return
    shares = to_shares(values, config)
    if config.colour in GRAYS:
        shares = shares if config.colour == "gray" else 1 - shares
        white, kind = (255, np.uint8) if depth == 8 else (65_535, np.uint16)
        image = Image.fromarray(np.rint(shares * white).astype(kind))
    else:
        image = Image.fromarray(to_colours(shares, config.colour))
    name = FORMATS[path.suffix.lower()]
    with replacing(path) as part:
        try:
            image.save(part, name, **_save_options(name, image.mode, settings, quality))
        except OSError:
            raise
        except Exception as error:  # Pillow's encoders raise several unrelated errors
            raise FileError(f"{path} cannot be written: {error}") from error


def require_room(path: Path, rows: int, columns: int) -> None:
    """Check that such a file can hold a spectrogram of that size. Raises FileError."""
    name = FORMATS.get(path.suffix.lower(), "")
    if rows * columns > MAX_PIXELS:
        raise FileError(
            f"the spectrogram would have {rows} rows and {columns} columns, more than {MAX_PIXELS} values; "
            "cut the recording, or raise --hop"
        )
    if columns > _MAX_COLUMNS.get(name, columns):
        raise FileError(
            f"a {name} picture holds {_MAX_COLUMNS[name]} columns, not {columns}; write a PNG, or raise --hop"
        )


def _save_options(name: str, mode: str, settings: str, quality: int) -> dict[str, Any]:
    if name == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Description", settings)
        return {"pnginfo": text}
    exif = Image.Exif()
    exif[_DESCRIPTION] = settings
    options: dict[str, Any] = {"exif": exif.tobytes(), "quality": quality}
    if name == "AVIF":
        options |= {"subsampling": "4:0:0" if mode == "L" else "4:4:4", "range": "full"}
    return options


def _settings_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def read_spectrogram(path: Path, crop: Box | None = None) -> list[Source]:
    """Read a picture, or its rectangle ``crop``, or an array; return a source for each channel. Raises FileError."""
    with _open(path) as file:
        magic = file.read(len(_NUMPY_MAGIC))
        if not magic:
            raise FileError(f"{path} is empty")
        file.seek(0)
        if magic != _NUMPY_MAGIC and path.suffix.lower() != ARRAY:
            return _from_picture(path, file, crop)
        if crop is not None:
            raise FileError(f"{path} is an array, and --crop is for pictures; cut it with numpy")
        return [_from_array(path, file)]


def is_pipe(path: Path) -> bool:
    """Return whether the path can be read only once: standard input, a FIFO, or a descriptor of either."""
    return path == STANDARD_INPUT or (path.exists() and not path.is_file() and not path.is_dir())


def _open(path: Path) -> IO[bytes]:
    """Open the file; a pipe is read whole, because pictures and arrays are read in any order."""
    try:
        if not is_pipe(path):
            if not path.is_file():
                raise FileError(f"{path} is a folder" if path.is_dir() else f"there is no file {path}")
            return path.open("rb")
        if path == STANDARD_INPUT and sys.stdin is None:
            raise FileError("standard input is not open")
        with nullcontext(sys.stdin.buffer) if path == STANDARD_INPUT else path.open("rb") as pipe:
            content = pipe.read(_MAX_PIPE_BYTES + 1)
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > _MAX_PIPE_BYTES:
        raise FileError(f"{path} is too large: at most {_MAX_PIPE_BYTES >> 20} MiB are read from a pipe")
    return io.BytesIO(content)


def _from_picture(path: Path, file: IO[bytes], crop: Box | None) -> list[Source]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=_READABLE) as image:
                _check_size(path, image.height, image.width)
                clear_gray = _clear_gray(image)
                exif = image.getexif()
                riffusion = riffusion_settings(exif)
                settings, samples, remark = _parse(image.info.get("Description") or exif.get(_DESCRIPTION))
                shown = _cropped(ImageOps.exif_transpose(image), crop)  # as viewers show it
                _check_size(path, shown.height, shown.width)
                if riffusion is not None and settings is None:
                    return _from_riffusion(path, shown, riffusion)
                said = {"settings": settings, "samples": samples, "remark": remark, "is_cropped": crop is not None}
                return [_pixels(path, shown, clear_gray, said)]
    except Image.DecompressionBombError as error:
        raise FileError(f"{path} is too large: at most {MAX_PIXELS} pixels are read") from error
    except FileError:
        raise
    except Exception as error:  # Pillow's decoders raise many unrelated errors on damaged files
        raise FileError(
            f"{path} is no picture or array that can be opened; PNG, AVIF, WebP, JPEG and .npy can"
        ) from error


def _cropped(image: Image.Image, crop: Box | None) -> Image.Image:
    if crop is None:
        return image
    right, lower = crop.x + crop.width, crop.y + crop.height
    if right > image.width or lower > image.height:
        raise FileError(f"--crop {crop} does not lie within the picture of {image.width}x{image.height} pixels")
    return image.crop((crop.x, crop.y, right, lower))


def _from_riffusion(path: Path, image: Image.Image, riffusion: RiffusionSettings) -> list[Source]:
    if image.width * riffusion.config.rows > MAX_PIXELS:
        raise FileError(f"{path} is too large: {image.width} columns of {riffusion.config.rows} bins")
    channels = to_magnitudes(np.asarray(image.convert("RGB")), riffusion)
    knows_level = riffusion.peak is not None
    return [
        Source(values=values, settings=riffusion.config, remark=str(riffusion), knows_level=knows_level)
        for values in channels
    ]


def _clear_gray(image: ImageFile.ImageFile) -> int | None:
    """Return the value of a gray picture's transparent pixels; None without such a value and for other pictures."""
    value = image.info.get("transparency")
    if type(value) is not int or not (image.mode in ("1", "L") or image.mode.startswith("I")):
        return None
    raw_mode = image.tile[0].args if image.tile else ""
    return value * {"L;2": 85, "L;4": 17}.get(str(raw_mode), 1)  # Pillow stretches the pixels, but not this value


def _check_size(path: Path, rows: int, columns: int) -> None:
    if not rows or not columns:
        raise FileError(f"{path} is empty: {rows} rows and {columns} columns")
    if rows * columns > MAX_PIXELS or rows > MAX_ROWS:
        raise FileError(
            f"{path} is too large: {rows} rows and {columns} columns; at most {MAX_ROWS} rows and {MAX_PIXELS} pixels "
            "are read"
        )


def _pixels(path: Path, image: Image.Image, clear_gray: int | None, said: dict[str, Any]) -> Source:
    if image.mode == "F":
        raise FileError(f"{path} holds floating-point values; save them as a .npy array")
    if image.mode in ("1", "L") or image.mode.startswith("I"):
        white = 65_535 if image.mode.startswith("I") else 255
        values = np.asarray(image.convert("L") if image.mode == "1" else image, np.float32)
        transparent = None if clear_gray is None else values == clear_gray
        return Source(shares=np.clip(values / white, 0, 1), transparent=transparent, **said)
    transparent = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        transparent = np.asarray(image.getchannel("A")) < 128
    return Source(colours=np.asarray(image.convert("RGB")), transparent=transparent, **said)


def _parse(text: object) -> tuple[SpectrogramConfig | None, int, str]:
    """Return the settings in a description, the recording's samples, and a remark where they cannot be used."""
    try:
        values = json.loads(text) if isinstance(text, str) else None
    except ValueError:  # a description may be any text
        return None, 0, ""
    if isinstance(values, dict) and _OURS_KEY in values:
        raise FileError("this picture was made by audio-avif to be heard: audio-avif PICTURE plays it back")
    if not isinstance(values, dict) or _KEY not in values:
        return None, 0, ""
    if values.pop(_KEY) != _FORMAT:
        return None, 0, "its settings are of another version and were not used"
    samples = values.pop("samples", 0)
    try:
        return SpectrogramConfig.from_dict(values), samples if type(samples) is int else 0, ""
    except ValueError as error:
        return None, 0, f"its settings are damaged and were not used: {error}"


def load_array(path: Path, file: IO[bytes] | None = None) -> npt.NDArray[Any]:
    """Read a ``.npy`` array of numbers, finite or minus infinity. Raises FileError for anything else.

    ``file`` is the content where the path is a pipe that has been read already.
    """
    try:
        content = file if isinstance(file, io.BytesIO) else None
        if content is None:  # mapped: a file that is too large is not read
            array = np.load(path, allow_pickle=False, mmap_mode="r")
        else:
            array = np.load(content, allow_pickle=False)
    except Exception as error:  # numpy raises several unrelated errors on damaged files
        raise FileError(f"{path} is no .npy array of numbers that can be opened") from error
    if not isinstance(array, np.ndarray):
        raise FileError(f"{path} holds several arrays; save the spectrogram alone with numpy.save")
    if array.size > MAX_PIXELS * (4 if array.dtype == np.uint8 else 1):  # four colours
        raise FileError(f"{path} is too large: {array.size} values")
    if np.iscomplexobj(array):
        raise FileError(f"{path} holds complex numbers; save their numpy.abs, and their numpy.angle for --phase")
    if array.dtype.kind not in "fiu":
        raise FileError(f"{path} holds {array.dtype}, not numbers")
    array = np.array(array)
    if np.isnan(array).any() or np.isposinf(array).any():
        raise FileError(f"{path} holds values that are no numbers (NaN or infinity)")
    return array


def _from_array(path: Path, file: IO[bytes]) -> Source:
    array = load_array(path, file)
    is_colour = array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8
    while array.ndim > 2 and not is_colour and 1 in array.shape:
        array = array.squeeze(array.shape.index(1))
    if array.ndim != 2 and not is_colour:
        raise FileError(f"{path} must be an array [rows, columns], not of shape {list(array.shape)}")
    _check_size(path, min(array.shape[:2]), max(array.shape[:2]))  # which side is rows is decided later
    settings, samples, remark = None, 0, ""
    if not is_pipe(path) and _settings_path(path).is_file():
        try:
            settings, samples, remark = _parse(_settings_path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError):
            remark = f"{_settings_path(path)} cannot be read and was not used"
    said: dict[str, Any] = {"settings": settings, "samples": samples, "remark": remark}
    if is_colour:
        transparent = array[:, :, 3] < 128 if array.shape[2] == 4 else None
        return Source(colours=np.ascontiguousarray(array[:, :, :3]), transparent=transparent, **said)
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:  # pixels, of either byte order
        return Source(shares=array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max), **said)
    return Source(values=array.astype(np.float32), **said)
