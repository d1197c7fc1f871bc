"""Frames in place of tiles that did not come, made in the mel domain so that the vocoder joins them without a click."""

from __future__ import annotations

import numpy as np

from audio_avif.types import FloatArray

# 20 dB of amplitude in 100 ms: long enough to bridge a tile, too short to be heard as a stuck tone.
_DECAY_LOG10_PER_S = 10.0


def interpolate(before: FloatArray, after: FloatArray, frames: int) -> FloatArray:
    """Frames ``[n_mels, frames]`` that lead from the last one heard ``[n_mels]`` to the next one known."""
    share = np.arange(1, frames + 1, dtype=np.float32) / (frames + 1)
    return np.asarray(before[:, None] + (after - before)[:, None] * share, np.float32)


def decay(before: FloatArray, floor: FloatArray, frames: int, frame_s: float) -> FloatArray:
    """Frames ``[n_mels, frames]`` that fall from the last one heard to the background ``floor``, both ``[n_mels]``.

    A band that is already quieter than the background stays as it is. Frame by frame gives what all at once gives.
    """
    fall = np.arange(1, frames + 1, dtype=np.float32) * np.float32(_DECAY_LOG10_PER_S * frame_s)
    return np.maximum(before[:, None] - fall, np.minimum(before, floor)[:, None], dtype=np.float32)


def over_noise(fading: FloatArray, floor: FloatArray, noise: FloatArray) -> FloatArray:
    """Join ``fading`` frames ``[n_mels, frames]`` with background ``noise`` of the same shape.

    The louder of the two in each band; where ``decay`` has arrived at ``floor`` ``[n_mels]``, the noise alone.
    """
    return np.where(fading > floor[:, None], np.maximum(fading, noise), noise).astype(np.float32)


def fade_in(log_mel: FloatArray, frame_s: float) -> FloatArray:
    """Frames ``[n_mels, frames]`` after silence, the first 100 ms of them rising by 20 dB."""
    rise = np.arange(log_mel.shape[1], dtype=np.float32) * np.float32(_DECAY_LOG10_PER_S * frame_s)
    return np.asarray(log_mel + np.minimum(rise - 1, 0), np.float32)
