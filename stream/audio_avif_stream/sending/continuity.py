"""Keeps the sound of an interrupted source in step with the clock: silence for what is missing."""

from __future__ import annotations

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.types import FloatArray

_MAX_GAP_S = 10.0  # a longer one is a machine that slept, and nobody waits for its silence
_MIN_SILENCE_S = 0.008
_USUAL_AGE_S = 0.02


class Continuity:
    """Sound ``[samples] float32`` at 16 kHz whose n-th sample stays at its place in time though devices come and go.

    The newest sample of a block is ``age_s`` old at ``now_s``.
    """

    def __init__(self, now_s: float) -> None:
        self.age_s = _USUAL_AGE_S
        """The age of what was handed on last."""
        self._until_s = now_s - self.age_s

    def join(self, samples: FloatArray, now_s: float, age_s: float) -> FloatArray:
        """Take the first block of a device: put silence before it, or leave out what was filled with silence."""
        gap_samples = round((now_s - age_s - self._until_s) * RATE_HZ) - samples.size
        joined = samples
        if gap_samples < 0:
            joined = samples[-gap_samples:]
        elif gap_samples > 0:
            silence = np.zeros(min(gap_samples, round(_MAX_GAP_S * RATE_HZ)), np.float32)
            joined = np.concatenate([silence, samples])
        self.follow(now_s, age_s)
        return joined

    def follow(self, now_s: float, age_s: float) -> None:
        """A block of the same device was handed on."""
        self.age_s = age_s
        self._until_s = max(self._until_s, now_s - age_s)

    def silence(self, now_s: float) -> FloatArray:
        """Silence for the time that has passed without a device."""
        due_s = now_s - self.age_s - self._until_s
        if due_s < _MIN_SILENCE_S:
            return np.zeros(0, np.float32)
        self._until_s += due_s
        return np.zeros(round(min(due_s, _MAX_GAP_S) * RATE_HZ), np.float32)
