"""Compare decoded recordings of any length with their originals: error sums, and scores of excerpts."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.sound_files import read_channels
from audio_avif.metrics import MAX_CLIP_S, Score
from audio_avif.optional import absent_packages
from audio_avif.recording.layout import PictureInfo
from audio_avif.types import DoubleArray, FloatArray

EXCERPT_S = 10
MAX_EXCERPTS = 12
_WHITE = 255.0
_MIN_SCORED_SAMPLES = RATE_HZ // 4
_MIN_LOUDNESS_SAMPLES = round(0.4 * RATE_HZ)  # one block of BS.1770's gate


class Feed:
    """Rechunk arrays of any length to requested lengths along the last axis, which is time."""

    def __init__(self, pieces: Iterator[FloatArray]) -> None:
        self._pieces = pieces
        self._pending: list[FloatArray] = []

    def take(self, length: int) -> FloatArray | None:
        """Return the next ``[..., length]``, shorter at the end, and None after the end."""
        held = sum(piece.shape[-1] for piece in self._pending)
        while held < length and (piece := next(self._pieces, None)) is not None:
            self._pending.append(piece)
            held += piece.shape[-1]
        if not held:
            return None
        whole = np.concatenate(self._pending, axis=-1) if len(self._pending) > 1 else self._pending[0]
        self._pending = [whole[..., length:]] if held > length else []
        return whole[..., :length]


class MelError:
    """The error of a picture: its log-mel against the original's.

    ``psnr_db`` is 10 log10(255 ** 2 / mean squared error) with the picture's value range scaled to 0..255, whatever
    its depth. Both are clipped to that range. The original is not rounded, so rounding counts as error.
    """

    def __init__(self, info: PictureInfo) -> None:
        self._info = info
        self._squares = np.zeros(info.channels)
        self._count = 0

    def push(self, original: FloatArray, shown: FloatArray) -> None:
        """Add ``[channels, n_mels, frames] float32, log10`` of both, up to the end of the shorter."""
        frames = min(original.shape[2], shown.shape[2])
        difference = self._levels(original[:, :, :frames]) - self._levels(shown[:, :, :frames])
        self._squares += np.square(difference).sum(axis=(1, 2))
        self._count += difference[0].size

    def _levels(self, log_mel: FloatArray) -> DoubleArray:
        low, high = self._info.log10_min, self._info.log10_max
        return np.clip((log_mel.astype(np.float64) - low) / (high - low), 0, 1) * _WHITE

    def psnr_db(self) -> list[float]:
        """Return one figure for each channel; NaN without frames or without any error."""
        means = self._squares / max(1, self._count)
        return [10 * math.log10(_WHITE**2 / mean) if mean > 0 else math.nan for mean in means]


class WaveError:
    """The error of the waveform after the gain, found by least squares, that brings it nearest to the original.

    With that gain g = <x, y> / <y, y> the signal-to-noise ratio is |x|^2 / |x - g y|^2 = 1 / (1 - r^2), where r is the
    correlation <x, y> / (|x| |y|); so it cannot fall below 0 dB.
    """

    def __init__(self, channels: int) -> None:
        self._xx, self._yy, self._xy = np.zeros((3, channels))

    def push(self, original: FloatArray, heard: FloatArray) -> None:
        """Add ``[channels, samples]`` of both, up to the end of the shorter."""
        samples = min(original.shape[1], heard.shape[1])
        x, y = (side[:, :samples].astype(np.float64) for side in (original, heard))
        self._xx += np.square(x).sum(axis=1)
        self._yy += np.square(y).sum(axis=1)
        self._xy += (x * y).sum(axis=1)

    def gains(self) -> list[float]:
        """Return one gain for each channel: negative for an inverted waveform, NaN where the decoded one is silent."""
        return [_ratio(xy, yy) for xy, yy in zip(self._xy, self._yy, strict=True)]

    def correlations(self) -> list[float]:
        """Return one figure from -1 to 1 for each channel; NaN where either sound is silent."""
        norms = np.sqrt(self._xx) * np.sqrt(self._yy)
        return [float(np.clip(_ratio(xy, norm), -1, 1)) for xy, norm in zip(self._xy, norms, strict=True)]

    def snr_db(self) -> list[float]:
        """Return one figure for each channel; NaN where either sound is silent or there is no error."""
        return [-10 * math.log10(1 - r * r) + 0.0 if r * r < 1 else math.nan for r in self.correlations()]


def _ratio(over: float, under: float) -> float:
    return float(over / under) if under > 0 else math.nan


def excerpts_of(samples: int) -> list[tuple[int, int]]:
    """Return the excerpts of a recording at 16 kHz to score, as (start, length) in samples.

    A recording of up to ``MAX_CLIP_S`` is scored whole, a longer one on at most twelve evenly spaced excerpts of ten
    seconds.
    """
    if samples <= MAX_CLIP_S * RATE_HZ:
        return [(0, samples)] if samples else []
    length = EXCERPT_S * RATE_HZ
    count = min(MAX_EXCERPTS, -(-samples // length))
    return [(round(i * (samples - length) / (count - 1)), length) for i in range(count)]


def cut(path: Path, ranges: Sequence[tuple[int, int]]) -> list[FloatArray]:
    """Read ranges (start, length) of a sound file as ``[channels, samples]`` at 16 kHz, shorter at its end."""
    pieces: list[list[FloatArray]] = [[] for _ in ranges]
    end = max(start + length for start, length in ranges)
    at = channels = 0
    for block in read_rows(path):
        channels = block.shape[0]
        for (start, length), mine in zip(ranges, pieces, strict=True):
            piece = block[:, max(0, start - at) : max(0, start + length - at)]
            if piece.size:
                mine.append(piece)
        at += block.shape[1]
        if at >= end:
            break
    nothing = np.zeros((channels, 0), np.float32)
    return [np.concatenate([nothing, *mine], axis=1) for mine in pieces]


def read_rows(path: Path) -> Iterator[FloatArray]:
    """Read a sound file as ``[channels, samples]`` at 16 kHz, in blocks of any length. Raises FileError."""
    return (np.ascontiguousarray(block.T) for block in read_channels(path))


def mean_score(score: Score, pairs: Sequence[tuple[FloatArray, FloatArray]]) -> float:
    """Return the mean score of (original, decoded) excerpts ``[samples]``; NaN where no excerpt has a score.

    Excerpts shorter than a quarter of a second have no score: PESQ refuses them, and STOI needs more.

    Raises AudioAvifError where the score's packages are missing.
    """
    long_enough = [(first, second) for first, second in pairs if first.size >= _MIN_SCORED_SAMPLES]
    return mean_of(score(np.ascontiguousarray(first), np.ascontiguousarray(second)) for first, second in long_enough)


def mean_of(values: Iterator[float] | Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN where there are none."""
    answers = [value for value in values if not math.isnan(value)]
    return sum(answers) / len(answers) if answers else math.nan


def has_loudness() -> bool:
    """Return whether pyloudnorm is installed, so that loudness can be measured."""
    return not absent_packages(["pyloudnorm"])


def loudness_meter() -> Callable[[FloatArray], float]:
    """Return a function from ``[samples]`` to LUFS; NaN for silence, less than 0.4 s, or without pyloudnorm.

    Source: ITU-R BS.1770-4, by pyloudnorm.
    """
    if not has_loudness():
        return lambda samples: math.nan
    import pyloudnorm

    meter = pyloudnorm.Meter(RATE_HZ)

    def measure(samples: FloatArray) -> float:
        if samples.size < _MIN_LOUDNESS_SAMPLES:
            return math.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the mean over no block: all lie below the gate
            value = float(meter.integrated_loudness(samples.astype(np.float64)))
        return value if math.isfinite(value) else math.nan

    return measure
