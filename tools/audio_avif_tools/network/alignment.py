"""Align the sound heard from a live stream with the original: to keep its delay a receiver skips sound or waits."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from audio_avif.config import RATE_HZ
from audio_avif.types import FloatArray
from audio_avif_tools.shared.signals import envelope

EARLY_S: Final = 4.0
LATE_S: Final = 1.5

_STEP_SAMPLES: Final = RATE_HZ // 500
_HOP_STEPS: Final = 64  # an eighth of a second
_WINDOW_STEPS: Final = 200
_DRIFT_STEPS: Final = 10  # from one hop to the next: time scaling by 15 %
_DRIFT_COST: Final = 0.002  # for each step
_JUMP_COST: Final = 0.8

_Scores = npt.NDArray[np.float64]


def align(said: FloatArray, heard: FloatArray) -> FloatArray:
    """Move each eighth of a second of ``heard [samples]`` to its place in ``said [samples]``; return as many samples.

    Dynamic programming finds the lag from the loudness: drifting costs little, and the lag jumps where that costs less.
    """
    patterns = _windows(_loudness(said))
    lags = np.arange(-round(EARLY_S * RATE_HZ) // _STEP_SAMPLES, round(LATE_S * RATE_HZ) // _STEP_SAMPLES)
    around = np.pad(_loudness(heard), (-lags[0] + _WINDOW_STEPS, lags[-1] + _WINDOW_STEPS + said.size // _STEP_SAMPLES))
    spread = max(float(patterns.std()), 1e-9)
    best = np.zeros(lags.size)
    came_from = []
    for number, pattern in enumerate(patterns):
        start = number * _HOP_STEPS - (_WINDOW_STEPS - _HOP_STEPS) // 2 + _WINDOW_STEPS
        views = np.lib.stride_tricks.sliding_window_view(
            around[start : start + lags.size + _WINDOW_STEPS - 1], _WINDOW_STEPS
        )
        weight = min(1.0, float(pattern.std()) / spread)
        best, previous = _follow(best)
        best = best + weight * _resemblance(pattern, views, spread)
        came_from.append(previous)
    out = np.zeros_like(said)
    lag = int(np.argmax(best))
    for number in reversed(range(len(patterns))):
        _copy(heard, out, number * _HOP_STEPS * _STEP_SAMPLES, int(lags[lag]) * _STEP_SAMPLES)
        lag = int(came_from[number][lag])
    return out


def _loudness(samples: FloatArray) -> _Scores:
    return np.sqrt(envelope(samples)[::_STEP_SAMPLES].astype(np.float64)) if samples.size else np.zeros(0)


def _windows(loudness: _Scores) -> _Scores:
    """The loudness around each hop ``[hops, steps]``."""
    before = (_WINDOW_STEPS - _HOP_STEPS) // 2
    hops = -(-loudness.size // _HOP_STEPS)
    padded = np.pad(loudness, (before, hops * _HOP_STEPS + _WINDOW_STEPS - loudness.size))
    return np.stack([padded[hop * _HOP_STEPS :][:_WINDOW_STEPS] for hop in range(hops)])


def _resemblance(pattern: _Scores, views: _Scores, spread: float) -> _Scores:
    """Correlation of the pattern with each view, reduced where a view is far quieter than speech."""
    centred = pattern - pattern.mean()
    size = np.maximum(views.std(axis=1), spread / 10) * max(float(pattern.std()), 1e-9) * pattern.size
    return np.asarray(views @ centred / size, np.float64)


def _follow(best: _Scores) -> tuple[_Scores, npt.NDArray[np.intp]]:
    """The best path to each lag from the lags of the previous hop, and that previous lag."""
    leap = int(np.argmax(best))
    found, previous = np.full(best.size, best[leap] - _JUMP_COST), np.full(best.size, leap)
    for drift in range(-_DRIFT_STEPS, _DRIFT_STEPS + 1):
        low, high = max(0, -drift), best.size - max(0, drift)
        scores = best[low + drift : high + drift] - _DRIFT_COST * abs(drift)
        better = scores > found[low:high]
        found[low:high][better] = scores[better]
        previous[low:high][better] = np.arange(low + drift, high + drift)[better]
    return found, previous


def _copy(heard: FloatArray, out: FloatArray, at: int, lag: int) -> None:
    """Copy a hop of the heard sound, up to its end."""
    end = min(out.size, at + _HOP_STEPS * _STEP_SAMPLES)
    low, high = max(at, -lag), min(end, heard.size - lag)
    if low < high:
        out[low:high] = heard[low + lag : high + lag]
