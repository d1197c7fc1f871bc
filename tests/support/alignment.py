"""Where a decoded sound lies against its original."""

from __future__ import annotations

from audio_avif.types import FloatArray


def best_lag(original: FloatArray, heard: FloatArray, reach: int = 40) -> int:
    """By how many samples ``heard`` comes later, within ``reach``: where both are most alike."""
    margin = 10 * reach
    middle = original[margin:-margin]
    lags = range(-reach, reach + 1)
    return max(lags, key=lambda lag: float(middle @ heard[margin + lag : margin + lag + middle.size]))
