"""Frames in place of tiles that did not come, made in the mel domain so that the vocoder joins them without a click."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# 20 dB of amplitude in 100 ms: long enough to bridge a tile, too short to be heard as a stuck tone.
_DECAY_LOG10_PER_S = 10.0


def interpolate(before: FloatArray, after: FloatArray, frames: int) -> FloatArray:
    """Frames ``[n_mels, frames]`` that lead from the last one heard ``[n_mels]`` to the next one known."""
    share = np.arange(1, frames + 1, dtype=np.float32) / (frames + 1)
    return np.asarray(before[:, None] + (after - before)[:, None] * share, np.float32)


def decay(before: FloatArray, frames: int, frame_s: float, log10_min: float) -> FloatArray:
    """Frames ``[n_mels, frames]`` that hold the last one heard ``[n_mels]`` while it fades."""
    fall = np.arange(1, frames + 1, dtype=np.float32) * np.float32(_DECAY_LOG10_PER_S * frame_s)
    return np.maximum(before[:, None] - fall, np.float32(log10_min))
