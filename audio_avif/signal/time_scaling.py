"""Faster and slower speech at the same pitch: whole frames before the vocoder, and less than a frame after it."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from audio_avif.types import FloatArray

MAX_CHANGE = 0.15
"""What of the frames may be left out or put in, over any length of speech: more is heard as haste."""

_OVERLAP_SAMPLES = 64  # of the crossfade at a join: 4 ms
_FADE = np.linspace(0, 1, _OVERLAP_SAMPLES + 2, dtype=np.float32)[1:-1]
_PLACE_STEP_SAMPLES = 16
_LAG_STEP_SAMPLES = 4
_MAX_LAG_SAMPLES = 160  # the pitch period of a voice at 100 Hz
_MIN_SHARE = 0.5  # of what is wanted; the rest follows at the next join
_DEFERRAL_PENALTY = 0.1  # times the share of what is wanted that is left to the next join
_MAX_DIFFERENCE = 0.2  # energy of the difference to that of both sides: a correlation of 0.8
_BETWEEN_TRIES_SAMPLES = 1600
_SILENCE = 1e-9


def resample_frames(before: FloatArray, log_mel: FloatArray, frames: int) -> FloatArray:
    """Lay ``[n_mels, n]`` over ``frames`` frames by interpolation, going on evenly from the frame ``before`` them."""
    count = log_mel.shape[1]
    places = np.arange(1, frames + 1) * (count / frames)  # 0 is the frame before, `count` the last one
    left = np.minimum(places.astype(int), count - 1)
    share = (places - left).astype(np.float32)
    known = np.concatenate([before[:, None], log_mel], axis=1)
    return np.asarray(known[:, left] * (1 - share) + known[:, left + 1] * share, np.float32)


class FrameStretcher:
    """Leaves out or puts in frames as asked, at most 15 of 100."""

    def __init__(self) -> None:
        self.shortened_frames = 0
        self.lengthened_frames = 0
        self._allowance = 0.0

    def push(self, before: FloatArray, log_mel: FloatArray, wanted: int) -> FloatArray:
        """Take a tile ``[n_mels, frames]``; return it with as many frames more, or fewer, as are wanted and may be."""
        count = log_mel.shape[1]
        share = MAX_CHANGE * count
        self._allowance = min(self._allowance + share, max(1.0, share))
        change = int(np.sign(wanted)) * min(abs(wanted), int(self._allowance), count - 1)
        if not change:
            return log_mel
        self._allowance -= abs(change)
        self.shortened_frames += max(0, -change)
        self.lengthened_frames += max(0, change)
        return resample_frames(before, log_mel, count + change)


class SampleSplicer:
    """Leaves out or puts in up to 10 ms of samples at a join that is not heard.

    The sound on both sides of a join is alike, as one pitch period is like the next, or it is quiet. After WSOLA
    (Verhelst and Roelands 1993), which WebRTC's NetEq uses too.
    """

    def __init__(self) -> None:
        self._since_try_samples = _BETWEEN_TRIES_SAMPLES

    def push(self, samples: FloatArray, wanted: int, is_quiet: bool) -> FloatArray:
        """Return ``[samples]`` with up to ``wanted`` put in, or left out where that is negative.

        They are unchanged where no join is possible, or the last try was less than 100 ms ago.
        """
        self._since_try_samples += samples.size
        if not wanted or self._since_try_samples < _BETWEEN_TRIES_SAMPLES:
            return samples
        self._since_try_samples = 0
        place, lag = _best_join(samples, min(abs(wanted), _MAX_LAG_SAMPLES), math.inf if is_quiet else _MAX_DIFFERENCE)
        if not lag:
            return samples
        left_end, right_end = place + _OVERLAP_SAMPLES, place + lag + _OVERLAP_SAMPLES
        left, right = samples[place:left_end], samples[place + lag : right_end]
        if wanted < 0:
            parts = samples[:place], left + (right - left) * _FADE, samples[right_end:]
        else:
            parts = samples[: place + lag], right + (left - right) * _FADE, samples[left_end:]
        return np.concatenate(parts)


def _best_join(samples: FloatArray, wanted_samples: int, max_difference: float) -> tuple[int, int]:
    """Find the place and the lag at which ``samples`` are most like themselves; (0, 0) where none are alike enough.

    The difference is the energy of what differs, relative to the energy of both sides.
    """
    best, least_cost = (0, 0), math.inf
    windows = sliding_window_view(samples.astype(np.float64), min(_OVERLAP_SAMPLES, samples.size))
    min_samples = max(1, int(_MIN_SHARE * wanted_samples))
    max_samples = min(wanted_samples, samples.size - _OVERLAP_SAMPLES)
    for lag in range(max_samples, min_samples - 1, -_LAG_STEP_SAMPLES):
        left = windows[: windows.shape[0] - lag : _PLACE_STEP_SAMPLES]
        right = windows[lag::_PLACE_STEP_SAMPLES]
        energy = (left**2).sum(axis=1) + (right**2).sum(axis=1) + _SILENCE
        difference = ((left - right) ** 2).sum(axis=1) / energy
        place = int(np.argmin(difference))
        cost = difference[place] + _DEFERRAL_PENALTY * (wanted_samples - lag) / wanted_samples
        if difference[place] <= max_difference and cost < least_cost:
            best, least_cost = (place * _PLACE_STEP_SAMPLES, lag), cost
    return best
