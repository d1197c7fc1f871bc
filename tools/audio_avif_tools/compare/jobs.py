"""Encode and measure recordings for ``audio-avif compare``, at a ladder of qualities of each image codec."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from audio_avif.config import RATE_HZ, MelConfig, TileConfig
from audio_avif.edge.sound_files import read_blocks
from audio_avif.errors import FileError
from audio_avif.metrics import MAX_CLIP_S, SCORES
from audio_avif.recording.codec import require_fit
from audio_avif.recording.layout import PictureInfo, from_pixels, to_pixels
from audio_avif.recording.segments import speak
from audio_avif.recording.value_range import RangeFinder
from audio_avif.signal.features import log_mel
from audio_avif.types import AnyPixels, FloatArray
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import load_vocoder
from audio_avif_tools.bitrate.coding import mel_errors_db
from audio_avif_tools.compare.image_codecs import CODECS, StillCodec, find_codec
from audio_avif_tools.quality.jobs import SUFFIXES

SCORED = ("pesq_wb", "stoi")
FIXED_RANGE = (TileConfig().log10_min, TileConfig().log10_max)
_MEL = MelConfig()
_MIN_S = 0.5


def find_recordings(inputs: Sequence[Path], max_count: int | None = None) -> tuple[list[Path], list[str]]:
    """Find at most ``max_count`` sound files, evenly spread, in files and folders; return also why others are skipped.

    Raises FileError for a named file that cannot be read, and where there is no sound file.
    """
    found: dict[Path, bool] = {}
    for path in inputs:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
            found |= {file: False for file in files}
        else:
            found[path] = True
    chosen = list(found.items())
    if max_count is not None and max_count < len(chosen):
        chosen = [chosen[round(at)] for at in np.linspace(0, len(chosen) - 1, max_count)]
    recordings, skipped = [], []
    for path, is_named in chosen:
        try:
            if sound_of(path).size < _MIN_S * RATE_HZ:
                raise FileError(f"{path} is shorter than {_MIN_S:g} s")
            if not sound_of(path).any():
                raise FileError(f"{path} is silent")
        except FileError as error:
            if is_named:
                raise
            skipped.append(str(error))
            continue
        recordings.append(path)
    if not recordings:
        raise FileError(skipped[0] if skipped else f"there is no sound file in {inputs[0]}")
    return recordings, skipped


@lru_cache(maxsize=4)
def sound_of(path: Path) -> FloatArray:
    """Read the first MAX_CLIP_S of a recording as ``[samples]`` at 16 kHz. Raises FileError."""
    first = next(read_blocks(path, MAX_CLIP_S * RATE_HZ), np.zeros(0, np.float32))
    return np.clip(first, np.float32(-1.0), np.float32(1.0))


@dataclass(frozen=True)
class Variant:
    """A line of the plot: a format by its name in ``still_codecs``, and the value range that its pixels span.

    Without ``limits`` each recording has its own range. ``name`` labels the line.
    """

    format: str
    limits: tuple[float, float] | None
    tile_frames: int
    name: str

    @property
    def codec(self) -> StillCodec:
        """The format."""
        return find_codec(self.format)

    @property
    def range_name(self) -> str:
        """The value range as text."""
        return "auto" if self.limits is None else f"{self.limits[0]:g}..{self.limits[1]:g}"

    def info(self, frames: FloatArray) -> PictureInfo:
        """The encoding of ``[n_mels, frames]`` as pixels."""
        low, high = self.limits or _own_range(frames)
        return PictureInfo(log10_min=low, log10_max=high, depth=self.codec.depth)


def _own_range(frames: FloatArray) -> tuple[float, float]:
    finder = RangeFinder()
    finder.push(frames)
    return finder.range()


@dataclass(frozen=True)
class Point:
    """A recording in a variant at one quality: the rates of its files and their payload, its errors and scores.

    The errors are those of ``rate.mel_errors_db``; ``scores`` holds the requested ones.
    """

    recording: str
    variant: Variant
    quality: int
    file_kbps: float
    payload_kbps: float
    error_db: float
    heard_error_db: float
    scores: dict[str, float]


def cut(frames: FloatArray, width: int) -> list[FloatArray]:
    """Split ``[n_mels, frames]`` into cells of one width; the last of several is padded with its last frame."""
    count = frames.shape[1]
    if count <= width:
        return [frames]
    missing = -count % width
    padded = np.concatenate([frames, np.repeat(frames[:, -1:], missing, axis=1)], axis=1)
    return np.split(padded, padded.shape[1] // width, axis=1)


@lru_cache(maxsize=64)
def _other_still(format: str, shape: tuple[int, ...], quality: int) -> bytes:
    """A black picture, to find the bytes that all pictures of that size and quality share."""
    codec = find_codec(format)
    black: AnyPixels = np.zeros(shape, np.uint8) if codec.depth == 8 else np.zeros(shape, np.uint16)
    return codec.encode(black, quality)


@dataclass(frozen=True)
class Job:
    """A job: encode one recording in one variant at some qualities, decode it with the vocoder, and score it."""

    recording: Path
    variant: Variant
    qualities: tuple[int, ...]
    vocoder: str
    scores: tuple[str, ...]

    def run(self) -> list[Point]:
        """Raises AudioAvifError where a package is missing."""
        sound = sound_of(self.recording)
        frames = log_mel(sound)
        info = self.variant.info(frames)
        return [self._point(sound, frames, info, quality) for quality in self.qualities]

    def _point(self, sound: FloatArray, frames: FloatArray, info: PictureInfo, quality: int) -> Point:
        codec = self.variant.codec
        file_bytes = payload_bytes = 0
        decoded = []
        for cell in cut(frames, self.variant.tile_frames):
            pixels = to_pixels(cell[None], info)
            still = codec.encode(pixels, quality)
            file_bytes += len(still)
            payload_bytes += codec.payload_bytes(still, _other_still(self.variant.format, pixels.shape, quality))
            decoded.append(from_pixels(codec.decode(still), info)[0])
        joined = np.concatenate(decoded, axis=1)[:, : frames.shape[1]]
        error_db, heard_error_db = mel_errors_db(frames, joined)
        scores = {}
        if self.scores:
            heard = speak(joined, _vocoder(self.vocoder))[: sound.size]
            scores = {key: SCORES[key](sound[: heard.size], heard) for key in self.scores}
        kbps = 8e-3 * RATE_HZ / sound.size
        return Point(
            self.recording.as_posix(),
            self.variant,
            quality,
            file_bytes * kbps,
            payload_bytes * kbps,
            error_db,
            heard_error_db,
            scores,
        )


@lru_cache(maxsize=2)
def _vocoder(name: str) -> Vocoder:
    return load_vocoder(device="cpu", name=name)


def require_vocoder(name: str) -> None:
    """Raises ModelError where there is no such vocoder or it expects another mel."""
    require_fit(_vocoder(name), _MEL)


def ladder(codec: StillCodec, asked: Sequence[int] | None) -> tuple[int, ...]:
    """The qualities to try: the requested ones, for codecs whose scale ends at 100, or the codec's own."""
    if asked is None or codec.maximum > 100:
        return CODECS[codec.name].qualities
    return tuple(quality for quality in asked if codec.minimum <= quality <= codec.maximum)


def to_csv(points: Sequence[Point]) -> str:
    """Return all points as CSV with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    texts = ("recording", "format", "depth", "range", "tile_frames", "quality")
    writer.writerow([*texts, "file_kbps", "payload_kbps", "error_db", "heard_error_db", *SCORED])
    for point in points:
        codec = point.variant.codec
        told = (point.recording, codec.name, codec.depth, point.variant.range_name, point.variant.tile_frames)
        numbers = (point.file_kbps, point.payload_kbps, point.error_db, point.heard_error_db)
        scores = (f"{point.scores[key]:.4f}" if key in point.scores else "" for key in SCORED)
        writer.writerow([*told, point.quality, *(f"{number:.4f}" for number in numbers), *scores])
    return out.getvalue()


def rate(point: Point, size: str) -> float:
    """The rate in kbps of the files or of their payload, as ``size`` says."""
    return point.file_kbps if size == "file" else point.payload_kbps


def values_of(point: Point) -> list[float]:
    """Error, heard error, then SCORED; NaN where a score was not requested."""
    return [point.error_db, point.heard_error_db, *(point.scores.get(key, np.nan) for key in SCORED)]
