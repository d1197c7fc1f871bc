"""Cut and pad sound for codecs that take whole frames."""

from __future__ import annotations

import numpy as np

from audio_avif.types import FloatArray


def fit(samples: FloatArray, size: int) -> FloatArray:
    """Cut to ``size``, or fill with silence."""
    return np.pad(samples[:size], (0, max(0, size - samples.size)))


def padded(sound: FloatArray, multiple: int, extra: int = 0) -> FloatArray:
    """Append ``extra`` samples of silence, and pad to a multiple."""
    return np.pad(sound, (0, extra + -(sound.size + extra) % multiple))
