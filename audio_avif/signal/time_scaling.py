"""Faster and slower speech, made of log-mel frames before the vocoder: the pitch stays, and nothing clicks."""

from __future__ import annotations

import numpy as np

from audio_avif.types import FloatArray

MAX_CHANGE = 0.15
"""What of the frames may be left out or put in, over any length of speech: more is heard as haste."""


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
