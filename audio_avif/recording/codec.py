"""The file codec: recordings to AVIF pictures and back, whole or in pieces.

``encode`` and ``decode`` do it for samples in memory. ``PictureEncoder`` and ``PictureReader`` are for recordings of
hours: cells of ten seconds come out and go in one by one, and may be compressed and spoken by whoever has processors to
spare (``encode_cell``, ``audio_avif.recording.segments``).
"""

from __future__ import annotations

import base64
import html
import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from audio_avif.config import RATE_HZ, EncoderConfig, MelConfig, TileConfig, whole_rate_hz
from audio_avif.errors import FileError, ModelError, TileError
from audio_avif.recording.grid import GridReader, GridWriter, grid_size, max_cells
from audio_avif.recording.layout import PictureInfo, from_pixels, side_pays, to_pixels
from audio_avif.recording.segments import PartJoiner, cut_parts, speak_part
from audio_avif.signal.features import LogMelStream
from audio_avif.signal.samples import as_samples, float_scale, warn_of_scale
from audio_avif.still.avif import decode_picture, encode_deep_still, encode_still
from audio_avif.still.boxes import inspect_still
from audio_avif.types import AnyPixels, FloatArray
from audio_avif.vocoders.protocol import Vocoder

CELL_FRAMES = 625
"""Frames of a cell: ten seconds."""

FADE_FRAMES = 16
"""Frames in which a grid fades out after its sound's end."""

FORMAT = 1
_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131  # Exif 2.32, table 3
_MAX_FOREIGN_PIXELS = 1 << 26
_FOREIGN_FORMATS = ("AVIF", "PNG", "WEBP", "JPEG", "TIFF", "GIF", "BMP", "PPM")
_MAX_TINT = 16
"""How far red, green and blue of a gray picture may lie apart on average; lossy compression in colour stays below."""

_GRAY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"}


@dataclass(frozen=True)
class FileConfig:
    """How a recording becomes a picture: libavif's quality 0..100 and libaom's speed 0..10, pixel range and format.

    Without ``log10_min`` and ``log10_max`` the usual range of a stream; ``fit_range`` finds a recording's own.
    """

    quality: int = 85
    speed: int = 6
    depth: int = 8
    layout: str = "stacked"
    log10_min: float = TileConfig().log10_min
    log10_max: float = TileConfig().log10_max

    def __post_init__(self) -> None:
        _ = self.encoder, self.info(1, RATE_HZ)

    @property
    def encoder(self) -> EncoderConfig:
        """What the image encoder is told."""
        return EncoderConfig(self.quality, self.speed)

    def info(self, channels: int, source_rate_hz: int) -> PictureInfo:
        """What the picture of such a recording says of itself before its samples are counted."""
        return PictureInfo(
            channels=channels,
            log10_min=self.log10_min,
            log10_max=self.log10_max,
            depth=self.depth,
            layout=self.layout,
            source_rate_hz=source_rate_hz,
        )


class RangeFinder:
    """Finds the value range that a recording fills, from any number of its log-mels; digital silence does not count."""

    _EDGES = np.linspace(-9.9, 4.0, 1391)

    def __init__(self) -> None:
        self._counts = np.zeros(self._EDGES.size - 1, np.int64)

    def push(self, log_mel: FloatArray) -> None:
        """Take ``[..., frames] float32, log10``."""
        self._counts += np.histogram(np.minimum(log_mel, self._EDGES[-1]), self._EDGES)[0]

    def range(self) -> tuple[float, float]:
        """The least and the greatest value, leaving out the quietest thousandth; at least one apart.

        That of a stream where there was no sound.
        """
        if not self._counts.any():
            return TileConfig().log10_min, TileConfig().log10_max
        shares = np.cumsum(self._counts) / int(self._counts.sum())
        low = float(self._EDGES[int(np.searchsorted(shares, 1e-3))])
        high = float(self._EDGES[min(self._counts.size, int(np.searchsorted(shares, 1 - 1e-9)) + 1)])
        return round(min(low, high - 1), 2), round(high, 2)


def faded(log_mel: FloatArray, frames: int, silence_log10: float) -> FloatArray:
    """Fill ``[channels, n_mels, any]`` up to so many frames with the last one, which fades out to silence."""
    last, silence = log_mel[:, :, -1:], np.float32(silence_log10)
    level = np.maximum(0, 1 - np.arange(frames - log_mel.shape[2], dtype=np.float32) / FADE_FRAMES)
    return np.concatenate([log_mel, silence + level * (last - silence)], axis=2)


class PictureEncoder:
    """Samples to the pixels of cells; any chunking gives the same cells.

    The settings that a decoder needs, ``info``, are complete after ``flush``.
    """

    def __init__(
        self, config: FileConfig, channels: int, source_rate_hz: float = RATE_HZ, mel: MelConfig | None = None
    ) -> None:
        self.info = replace(config.info(channels, whole_rate_hz(source_rate_hz)), mel=mel or MelConfig())
        self._streams = [LogMelStream(self.info.mel) for _ in range(channels)]
        self._pending = np.zeros((channels, self.info.mel.n_mels, 0), np.float32)
        self._cells = 0

    def push(self, samples: FloatArray) -> list[AnyPixels]:
        """Take ``[samples, channels] float32`` at 16 kHz; return the cells now full."""
        if samples.ndim != 2 or samples.shape[1] != self.info.channels:
            raise ValueError(f"samples must be [samples, {self.info.channels}], not of shape {samples.shape}")
        columns = np.stack([stream.push(samples[:, i]) for i, stream in enumerate(self._streams)])
        self.info = replace(self.info, samples=self.info.samples + samples.shape[0])
        return self.push_frames(columns)

    def push_frames(self, log_mel: FloatArray) -> list[AnyPixels]:
        """Take ``[channels, n_mels, frames]`` in place of samples, which the caller counts then."""
        self._pending = np.concatenate([self._pending, log_mel], axis=2)
        cells = []
        while self._pending.shape[2] >= CELL_FRAMES:
            cells.append(self._cell(self._pending[:, :, :CELL_FRAMES]))
            self._pending = self._pending[:, :, CELL_FRAMES:]
        return cells

    def flush(self) -> list[AnyPixels]:
        """Return the last cells.

        One that is not full fades out after its last frame, if it is not the only one: no edge rings into the sound.
        Raises FileError for a recording without any samples.
        """
        cells = self.push_frames(np.stack([stream.flush() for stream in self._streams]))
        frames = self._pending.shape[2]
        if frames and self._cells:
            cells.append(self._cell(faded(self._pending, CELL_FRAMES, self.info.log10_min)))
        elif frames:
            cells.append(self._cell(self._pending))
        if not self._cells:
            raise FileError("the recording is empty")
        self._pending = self._pending[:, :, :0]
        return cells

    def blank(self) -> AnyPixels:
        """A cell without sound, with which the last row of a grid is filled."""
        size = (self.info.channels, self.info.mel.n_mels, CELL_FRAMES)
        return to_pixels(np.full(size, self.info.log10_min, np.float32), self.info)

    def _cell(self, log_mel: FloatArray) -> AnyPixels:
        is_side = self.info.can_have_side and side_pays(log_mel, self.info)
        if self.info.can_have_side:
            self.info = replace(self.info, side_cells=self.info.side_cells + str(int(is_side)))
        self._cells += 1
        return to_pixels(log_mel, self.info, is_side)


def max_seconds(channels: int, layout: str = "stacked") -> float:
    """How long a recording of so many channels may be."""
    info = PictureInfo(channels=channels, layout=layout)
    return max_cells(CELL_FRAMES, info.height) * CELL_FRAMES * info.mel.frame_s


def encode_cell(pixels: AnyPixels, config: FileConfig) -> bytes:
    """Compress a cell. Raises AudioAvifError where the package for deep pictures is missing."""
    if config.depth == 8:
        return encode_still(pixels.astype(np.uint8, copy=False), config.encoder)
    return encode_deep_still(pixels, config.encoder, config.depth)


def write_picture(grid: GridWriter, encoder: PictureEncoder, config: FileConfig, file: IO[bytes]) -> None:
    """Fill the grid's last row and write it with its settings, once the encoder has been flushed."""
    if grid.missing_cells():
        grid.fill(encode_cell(encoder.blank(), config))
    grid.write(file, encoder.info.frames, to_exif(encoder.info))


def to_exif(info: PictureInfo) -> bytes:
    """The settings as a TIFF block: the image description is JSON."""
    exif = Image.Exif()
    exif[_DESCRIPTION] = json.dumps({"audio_avif": FORMAT, **info.to_dict()})
    exif[_SOFTWARE] = "audio-avif"
    return exif.tobytes().removeprefix(b"Exif\0\0")


def from_exif(block: bytes) -> PictureInfo | None:
    """The settings in a TIFF block, None where there are none. Raises FileError where they are damaged or newer."""
    exif = Image.Exif()
    try:
        with warnings.catch_warnings(action="ignore"):
            exif.load(b"Exif\0\0" + block)
            text = exif.get(_DESCRIPTION)
    except Exception:  # Pillow's parsers raise a dozen unrelated classes
        return None
    return _from_description(text)


def _from_description(text: object) -> PictureInfo | None:
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


class PictureReader:
    """Reads a picture of sound cell by cell.

    Without ``info`` the picture must carry its settings and have the size that they promise; another program may have
    saved it again in another format. With ``info`` the settings are taken as given, and the picture may come from
    anywhere; its width says how long it is.

    Raises FileError where the file is no such picture.
    """

    def __init__(self, file: IO[bytes], info: PictureInfo | None = None) -> None:
        self._grid: GridReader | None = None
        self._whole: AnyPixels | None = None
        if info is not None:
            self._whole = _read_log_mel(_open_foreign(file), info)
            self.frames = self._whole.shape[1]
            samples = max(1, (self.frames - 1) * info.mel.hop_samples)
            self.info = replace(info, samples=samples, side_cells="", depth=8)
            return
        if (as_written := _open_grid(file)) is not None:
            self._grid, self.info = as_written
        else:
            self._whole, self.info = _read_saved_again(_open_foreign(file))
        self.frames = self.info.frames

    def log_mels(self) -> Iterator[FloatArray]:
        """Yield the recording's frames in pieces ``[channels, n_mels, frames]``. Raises FileError where damaged."""
        if self._whole is not None:
            for at in range(0, self.frames, CELL_FRAMES):
                is_side = self.info.is_side(at // CELL_FRAMES)
                yield from_pixels(self._whole[:, at : at + CELL_FRAMES], self.info, is_side)
            return
        assert self._grid is not None
        width, is_gray = self._grid.cell_width, self.info.layout == "stacked"
        for index in range(-(-self.frames // width)):
            try:
                still = self._grid.cell(index)
                pixels = decode_picture(still, width, self._grid.cell_height, self.info.depth, is_gray)
            except TileError as error:
                raise FileError(
                    f"the picture is damaged after {index * width * self.info.mel.frame_s:.0f} s"
                ) from error
            yield from_pixels(pixels, self.info, self.info.is_side(index))[:, :, : self.frames - index * width]


def _open_grid(file: IO[bytes]) -> tuple[GridReader, PictureInfo] | None:
    """A picture whose file is as ``write_picture`` made it, or None.

    Raises FileError for one that is truncated or whose size is not the one that its settings promise.
    """
    file.seek(0)
    if file.read(12)[4:] != b"ftypavif":
        return None
    try:
        grid = GridReader(file)
        info = from_exif(grid.exif)
        if info is None:
            return None
        _require_size(info, grid.width, grid.height)
        first = inspect_still(grid.cell(0))
    except TileError:
        return None
    written = (info.depth, info.layout == "stacked", min(info.frames, CELL_FRAMES))
    return (grid, info) if (first.bit_depth, first.monochrome, grid.cell_width) == written else None


def _require_size(info: PictureInfo, width: int, height: int) -> None:
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


def _open_foreign(file: IO[bytes]) -> Image.Image:
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


def _read_log_mel(image: Image.Image, info: PictureInfo) -> AnyPixels:
    """The pixels of a log-mel picture in one row. Raises FileError where its height is another one."""
    if image.height != info.height:
        raise FileError(
            f"the picture is {image.height} pixels tall, not {info.height} ({info.mel.n_mels} per channel); "
            "for other pictures of sound use audio-avif invert"
        )
    return _pixels(image, info)


def _read_saved_again(image: Image.Image) -> tuple[AnyPixels, PictureInfo]:
    """The pixels in one row and the settings of a picture of sound that another program has saved.

    Raises FileError where it lacks its settings or its pixels are not those that they promise.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            text = image.getexif().get(_DESCRIPTION)
    except Exception:  # Pillow's parsers raise a dozen unrelated classes
        text = None
    info = _from_description(text)
    if info is None:
        raise FileError(
            "the picture has no metadata of audio-avif; for a log-mel picture give its value range, "
            "--range=MIN,MAX; for other pictures of sound use audio-avif invert"
        )
    _require_size(info, image.width, image.height)
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


class SoundPicture(bytes):
    """The bytes of an AVIF file that ``encode`` made; a notebook shows it as a picture with a player."""

    @property
    def info(self) -> PictureInfo:
        """What the picture says of itself."""
        return PictureReader(io.BytesIO(self)).info

    def _repr_html_(self) -> str:
        import soundfile

        audio, rate_hz = decode(self)
        wav = io.BytesIO()
        soundfile.write(wav, audio, rate_hz, format="WAV", subtype="PCM_16")
        info = self.info
        seconds = info.samples / info.mel.rate_hz
        text = f"{seconds:.1f} s, {len(self)} bytes, {8 * len(self) / 1000 / max(seconds, 1e-9):.1f} kbps"
        return (
            f'<figure style="margin:0"><img style="max-width:100%" alt="spectrogram" '
            f'src="data:image/avif;base64,{base64.b64encode(self).decode()}"><br>'
            f'<audio controls src="data:audio/wav;base64,{base64.b64encode(wav.getvalue()).decode()}"></audio>'
            f"<figcaption>{html.escape(text)}</figcaption></figure>"
        )


def encode(audio: npt.ArrayLike, rate_hz: float, config: FileConfig | None = None) -> SoundPicture:
    """Make an AVIF picture of a recording.

    Shape: ``[samples]`` or ``[samples, channels]``, one to four channels, floats in -1..1 or integers of 8, 16 or 32
    bits, at any rate that is a whole number.

    Raises ValueError for samples of another shape, TypeError for samples of another type, FileError for a recording
    that is empty or too long for a grid.
    """
    config = config or FileConfig()
    rate_hz = whole_rate_hz(rate_hz)
    samples = resampled(_as_columns(audio), rate_hz)
    max_s = max_seconds(samples.shape[1], config.layout)
    if samples.shape[0] >= max_s * RATE_HZ:
        raise FileError(
            f"a picture of {samples.shape[1]} channels holds at most {max_s / 3600:.1f} h; split the recording"
        )
    encoder = PictureEncoder(config, samples.shape[1], rate_hz)
    out = io.BytesIO()
    with GridWriter() as grid:
        for cell in [*encoder.push(samples), *encoder.flush()]:
            grid.add(encode_cell(cell, config))
        write_picture(grid, encoder, config, out)
    return SoundPicture(out.getvalue())


def _as_columns(audio: npt.ArrayLike) -> FloatArray:
    columns = as_samples(audio)
    if (scale := float_scale(columns)) != 1:
        warn_of_scale("the recording", scale)
        columns = columns / np.float32(scale)
    if columns.ndim == 1:
        columns = columns[:, None]
    if columns.ndim != 2:
        raise ValueError(f"audio must be [samples] or [samples, channels], not of shape {columns.shape}")
    return columns


def resampled(samples: FloatArray, rate_hz: float) -> FloatArray:
    """``[samples, channels]`` at 16 kHz. Raises ValueError for a rate that is none."""
    rate_hz = whole_rate_hz(rate_hz)
    if rate_hz == RATE_HZ or not samples.size:
        return samples
    import soxr

    return np.asarray(soxr.resample(samples, rate_hz, RATE_HZ), np.float32)


def decode(picture: bytes, vocoder: Vocoder | None = None) -> tuple[FloatArray, int]:
    """Make sound of a picture: ``[samples]``, or ``[samples, channels]`` of several, float32 in -1..1, and its rate.

    Without a vocoder the embedded one. Raises FileError where the bytes are no such picture, ModelError where the
    vocoder is for another mel.
    """
    reader = PictureReader(io.BytesIO(picture))
    if vocoder is None:
        from audio_avif.vocoders.registry import load_vocoder

        vocoder = load_vocoder(device="cpu", name="default")
    require_fit(vocoder, reader.info.mel)
    joiner = PartJoiner(reader.info.mel.hop_samples)
    parts = [joiner.push(speak_part(part, vocoder), part.is_last) for part in cut_parts(reader.log_mels())]
    audio = np.concatenate(parts, axis=1)[:, : reader.info.samples].T
    return np.ascontiguousarray(audio[:, 0] if reader.info.channels == 1 else audio), reader.info.mel.rate_hz


def require_fit(vocoder: Vocoder, mel: MelConfig) -> None:
    """Raises ModelError where the vocoder was made for another mel."""
    if vocoder.mel != mel:
        raise ModelError(f"vocoder {vocoder.name} is for {vocoder.mel}, but the picture has {mel}")
