"""Samples as callers have them, integers or floats, to the float32 in -1..1 that everything inside works on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from audio_avif.notices import warn_once
from audio_avif.types import FloatArray

_MAX_INTEGER_BYTES = 4
_LOUD = 4.0  # 12 dB over full scale, which a float recording has at peaks at most
_LOUD_SHARE = 0.1
_INTEGER_PEAK = 100.0  # 40 dB over full scale, of 16-bit integers 50 dB below
_LOOKED_AT = 1 << 20  # samples, spread evenly
_INTEGER_SCALES = (2.0**15, 2.0**23, 2.0**31)


def as_samples(audio: npt.ArrayLike) -> FloatArray:
    """Convert samples of any shape to float32: integers are divided by their full scale, as ``soundfile`` does it.

    Unsigned integers have their zero in the middle of their range. NaN and infinity become silence. Raises TypeError
    for what is no sound: other types, and 64-bit integers, whose full scale nobody knows.
    """
    samples = np.asarray(audio)
    kind, bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind in "iu" and samples.dtype.itemsize <= _MAX_INTEGER_BYTES:
        full_scale = 2.0 ** (bits - 1)
        zero = full_scale if kind == "u" else 0.0
        return (samples.astype(np.float32) - np.float32(zero)) / np.float32(full_scale)
    if kind in "iu":
        raise TypeError(f"samples of type {samples.dtype} have no defined full scale; convert them to int16 or float32")
    if kind != "f":
        raise TypeError(f"samples must be integers or floats, not of type {samples.dtype}")
    with np.errstate(over="ignore"):
        floats = samples.astype(np.float32, copy=False)
    return floats if np.isfinite(floats).all() else np.nan_to_num(floats, posinf=0.0, neginf=0.0)


def float_scale(samples: npt.NDArray[np.floating[Any]]) -> float:
    """Return what float samples must be divided by: 1, or the full scale of the integers that they were.

    A recording that was converted from 16, 24 or 32-bit integers without a division is beyond full scale nearly
    everywhere; one that is only too loud, or damaged here and there, is not.
    """
    looked_at = samples.reshape(-1)[:: 1 + samples.size // _LOOKED_AT]
    loudness = np.abs(looked_at[np.isfinite(looked_at) & (looked_at != 0)])
    loud = loudness[(loudness > _LOUD) & (loudness <= 2 * _INTEGER_SCALES[-1])]
    if loud.size <= _LOUD_SHARE * loudness.size:
        return 1.0
    peak = float(np.percentile(loud, 99.9))
    if peak < _INTEGER_PEAK:
        return 1.0
    return next(scale for scale in _INTEGER_SCALES if peak <= 2 * scale)


def warn_of_scale(name: str, scale: float) -> None:
    """Log that the samples of a recording are divided by ``scale``, if it is not 1."""
    if scale != 1:
        bits = round(np.log2(scale)) + 1
        warn_once(f"{name} holds floats in the range of {bits}-bit integers; they are divided by {scale:.0f}")
