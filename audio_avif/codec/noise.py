"""Background noise in the mel domain: how loud it is, whether a tile holds nothing else, and more of the same.

A pause is sent as eight bytes, its spectral envelope; the receiver puts natural fluctuation on it.
``docs/design/pauses.md`` tells what the margins are and what they cost.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from audio_avif.config import MelConfig, TileConfig
from audio_avif.link.packets import NOISE_LEVELS
from audio_avif.signal.features import log_mel
from audio_avif.still.tiles import from_pixels, to_pixels
from audio_avif.types import DoubleArray, FloatArray

INAUDIBLE_LOG10 = -5.0
"""What lies below, 70 dB under speech, is not heard."""

_WINDOW_S = 1.5  # speech has a gap in every band within it (Martin 2001)
_WINDOW_BLOCKS = 6
_SMOOTHING_S = 0.06
_SMOOTHED_BANDS = 5
_AVERAGE_S = 0.3
_NEAR_LOG10 = 0.4  # a band this close to its minimum holds background alone
_RISE_LOG10_PER_S = 0.15  # 3 dB: a sound held for seconds is not background yet
_STEADY_SHARE = 0.5  # what fluctuates less than this share of natural noise is a tone
_QUIET_LOG10 = -3.0  # up to here, a quiet room's noise, the floor may rise at once

# How far background noise rises above its own mean by chance: the wider the bands, the less.
_MEAN_MARGIN_LOG10 = 0.1
_GROUP_MARGINS_LOG10 = np.array([0.5] + [0.35] * (NOISE_LEVELS - 1), np.float32)
_BAND_MARGIN_LOG10 = 0.8
_HANGOVER_S = 0.2  # words fade
_LEARNING_S = 1.0

_NATURAL_NOISE_FRAMES = 512


class _MinimumStatistics:
    """The smallest smoothed level of the last 1.5 s in each band, ``[n_mels] float32, log10`` (Martin 2001)."""

    def __init__(self, frame_s: float) -> None:
        self._block_frames = max(1, round(_WINDOW_S / _WINDOW_BLOCKS / frame_s))
        self._smoothing = np.float32(1 - np.exp(-frame_s / _SMOOTHING_S))
        self._frames = 0
        self._smoothed: FloatArray | None = None
        self._block: FloatArray | None = None
        self._blocks: deque[FloatArray] = deque(maxlen=_WINDOW_BLOCKS)

    def push(self, level: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Take a frame's levels; return them smoothed, and their minimum in the window."""
        self._smoothed = (
            level if self._smoothed is None else self._smoothed + self._smoothing * (level - self._smoothed)
        )
        self._block = self._smoothed if self._block is None else np.minimum(self._block, self._smoothed)
        window = np.minimum.reduce([self._block, *self._blocks])
        self._frames += 1
        if self._frames % self._block_frames == 0:
            self._blocks.append(self._block)
            self._block = None
        return self._smoothed, window


class _Fluctuation:
    """How much each band changes from frame to frame, compared with natural noise."""

    def __init__(self, mel: MelConfig, min_share: float) -> None:
        self._averaging = _averaging(mel)
        self._across = _across_bands(mel.n_mels)
        lag_frames = mel.n_fft // mel.hop_samples  # frames so far apart share no samples
        natural = _natural_fluctuation(mel, 0)
        change = np.abs(natural[:, lag_frames:] - natural[:, :-lag_frames]).mean(axis=1)
        self._min_change = min_share * (self._across @ change)
        self._change = np.zeros(mel.n_mels, np.float32)
        self._recent: deque[FloatArray] = deque(maxlen=lag_frames)

    def push(self, frame: FloatArray) -> npt.NDArray[np.bool_]:
        """Take a frame; return which bands have lately changed by at least the minimum share ``[n_mels]``."""
        before = self._recent[0] if self._recent else frame
        self._recent.append(frame)
        self._change = self._change + self._averaging * (self._across @ np.abs(frame - before) - self._change)
        return np.asarray(self._change >= self._min_change)


class FloorTracker:
    """The background's level in each band, found where and when nothing else is heard.

    ``floor`` ``[n_mels] float32, log10`` is the mean of what lies near the minimum of the last 1.5 s. It falls at once.
    Above a quiet room's noise it rises slowly, by 3 dB a second; with ``spares_tones`` only in bands that fluctuate as
    noise does, so that a held note or vowel never becomes background. Pictures smooth noise, so that only the sender
    can tell. Any division into calls gives the same.

    Source: minimum statistics, Martin 2001; averaging controlled by them, Cohen and Berdugo 2002.
    """

    def __init__(self, mel: MelConfig, spares_tones: bool = False) -> None:
        self._mel = mel
        self._min_share = _STEADY_SHARE if spares_tones else 0.0
        self._averaging = _averaging(mel)
        self._across = _across_bands(mel.n_mels)
        self.reset()

    def reset(self) -> None:
        """Forget the past; start with the floor of a quiet room."""
        self.floor: FloatArray = np.full(self._mel.n_mels, _QUIET_LOG10, np.float32)
        self.frames = 0
        self._minimum = self.floor
        self._window = _MinimumStatistics(self._mel.frame_s)
        self._fluctuation = _Fluctuation(self._mel, self._min_share)

    def push(self, log_mel: FloatArray) -> None:
        """Take ``[n_mels, frames]``."""
        for frame in log_mel.T:
            self._push_frame(frame)

    def _push_frame(self, frame: FloatArray) -> None:
        smoothed, minimum = self._window.push(self._across @ frame)
        rise = np.float32(_RISE_LOG10_PER_S * self._mel.frame_s) * self._fluctuation.push(frame)
        self._minimum = np.minimum(minimum, np.maximum(self._minimum, _QUIET_LOG10) + rise)
        is_near = smoothed < self._minimum + _NEAR_LOG10
        mean = np.where(is_near, self.floor + self._averaging * (frame - self.floor), self.floor)
        self.floor = np.clip(mean, self._minimum, self._minimum + _NEAR_LOG10).astype(np.float32)
        self.frames += 1


class PauseDetector:
    """Says of each tile whether it holds nothing but background noise.

    A tile is none if one of its frames rises above the floor, in all bands, a group of them or a single one, or if such
    a frame was less than 200 ms ago. Any division of a stream into tiles hears the same frames.
    """

    def __init__(self, mel: MelConfig) -> None:
        self._tracker = FloorTracker(mel, spares_tones=True)
        self._groups = _group_matrix(mel.n_mels)
        self._across = _across_bands(mel.n_mels)
        self._hangover_frames = round(_HANGOVER_S / mel.frame_s)
        self._learning_frames = round(_LEARNING_S / mel.frame_s)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream."""
        self._tracker.reset()
        self._quiet_frames = 0

    @property
    def floor(self) -> FloatArray:
        """The background's level ``[n_mels], log10``."""
        return self._tracker.floor

    def push(self, log_mel: FloatArray) -> bool:
        """Take a tile ``[n_mels, frames]``; return whether it is a pause."""
        is_pause = True
        for frame in log_mel.T:
            self._tracker.push(frame[:, None])
            is_pause &= self._is_background(frame)
        return is_pause

    def _is_background(self, frame: FloatArray) -> bool:
        floor = np.maximum(self._tracker.floor, INAUDIBLE_LOG10)
        excess = np.maximum(frame, INAUDIBLE_LOG10) - floor
        is_onset = (
            excess.mean() > _MEAN_MARGIN_LOG10
            or (self._groups @ excess > _GROUP_MARGINS_LOG10).any()
            or (self._across @ excess).max() > _BAND_MARGIN_LOG10
        )
        self._quiet_frames = 0 if is_onset else self._quiet_frames + 1
        return self._quiet_frames > self._hangover_frames and self._tracker.frames > self._learning_frames


def noise_levels(log_mel: FloatArray, config: TileConfig) -> bytes:
    """Describe noise ``[n_mels, frames]`` by the mean pixel value of each of NOISE_LEVELS equal groups of bands."""
    means = _group_matrix(log_mel.shape[0]) @ log_mel.mean(axis=1)
    return to_pixels(means[:, None].astype(np.float32), config)[::-1].tobytes()


def noise_envelope(levels: bytes, n_mels: int, config: TileConfig) -> FloatArray:
    """The smooth envelope ``[n_mels] float32, log10`` whose groups have the means that ``levels`` tell."""
    means = from_pixels(np.frombuffer(levels, np.uint8)[::-1, None], config)[:, 0]
    # Between groups of very unlike levels the lines overshoot.
    lines = np.clip(_envelope_matrix(n_mels) @ means, config.log10_min, config.log10_max)
    return np.asarray(lines, np.float32)


class NoiseSource:
    """Background noise of any envelope that fluctuates as natural noise does; the same for the same seed."""

    def __init__(self, mel: MelConfig, seed: int = 0) -> None:
        self._fluctuation = _natural_fluctuation(mel, seed)
        self._at = 0

    def frames(self, envelope: FloatArray, count: int) -> FloatArray:
        """The next ``count`` frames ``[n_mels, count] float32, log10`` with the mean ``envelope`` ``[n_mels]``."""
        columns = np.arange(self._at, self._at + count) % _NATURAL_NOISE_FRAMES
        self._at = (self._at + count) % _NATURAL_NOISE_FRAMES
        return np.asarray(envelope[:, None] + self._fluctuation[:, columns], np.float32)


def _averaging(mel: MelConfig) -> np.float32:
    """The share of a new frame in an average over 0.3 s."""
    return np.float32(1 - np.exp(-mel.frame_s / _AVERAGE_S))


@lru_cache(maxsize=8)
def _natural_fluctuation(mel: MelConfig, seed: int) -> FloatArray:
    """Log-mel of white noise less each band's mean ``[n_mels, _NATURAL_NOISE_FRAMES]``.

    Within a narrow band all noise is white, so this holds the right spread of each band, and the right likeness of
    neighbouring bands and of frames that share samples.
    """
    edge_frames = mel.n_fft // mel.hop_samples
    samples = np.random.default_rng(seed).normal(size=(_NATURAL_NOISE_FRAMES + 2 * edge_frames) * mel.hop_samples)
    frames = log_mel(samples.astype(np.float32), mel)[:, edge_frames : edge_frames + _NATURAL_NOISE_FRAMES]
    fluctuation: FloatArray = frames - frames.mean(axis=1, keepdims=True)
    fluctuation.setflags(write=False)
    return fluctuation


@lru_cache(maxsize=8)
def _group_matrix(n_mels: int) -> FloatArray:
    """Takes the mean of each group of bands: ``[NOISE_LEVELS, n_mels]``."""
    group = np.arange(n_mels) * NOISE_LEVELS // n_mels
    members = (group == np.arange(NOISE_LEVELS)[:, None]).astype(np.float32)
    return np.asarray(members / members.sum(axis=1, keepdims=True), np.float32)


@lru_cache(maxsize=8)
def _across_bands(n_mels: int) -> FloatArray:
    """Takes each band's mean with its neighbours: ``[n_mels, n_mels]``."""
    band = np.arange(n_mels)
    members = (np.abs(band - band[:, None]) <= _SMOOTHED_BANDS // 2).astype(np.float32)
    return np.asarray(members / members.sum(axis=1, keepdims=True), np.float32)


@lru_cache(maxsize=8)
def _envelope_matrix(n_mels: int) -> DoubleArray:
    """From the groups' means to a line through points at their centres that keeps these means."""
    centres = (np.arange(NOISE_LEVELS) + 0.5) * n_mels / NOISE_LEVELS - 0.5
    points = np.eye(NOISE_LEVELS)
    lines = np.stack([np.interp(np.arange(n_mels), centres, point) for point in points], axis=1)
    return np.asarray(lines @ np.linalg.inv(_group_matrix(n_mels) @ lines), np.float64)
