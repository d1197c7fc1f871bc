"""The value range that a recording fills."""

from __future__ import annotations

import numpy as np

from audio_avif.config import TileConfig
from audio_avif.types import FloatArray


class RangeFinder:
    """Finds the value range that a recording fills, from any number of its log-mels; digital silence does not count."""

    _EDGES = np.linspace(-9.9, 4.0, 1391)

    def __init__(self) -> None:
        self._counts = np.zeros(self._EDGES.size - 1, np.int64)

    def push(self, log_mel: FloatArray) -> None:
        """Take ``[..., frames] float32, log10``."""
        self._counts += np.histogram(np.minimum(log_mel, self._EDGES[-1]), self._EDGES)[0]

    def range(self) -> tuple[float, float]:
        """The least and the greatest value, leaving out the quietest thousandth; at least one apart.

        That of a stream where there was no sound.
        """
        if not self._counts.any():
            return TileConfig().log10_min, TileConfig().log10_max
        shares = np.cumsum(self._counts) / int(self._counts.sum())
        low = float(self._EDGES[int(np.searchsorted(shares, 1e-3))])
        high = float(self._EDGES[min(self._counts.size, int(np.searchsorted(shares, 1 - 1e-9)) + 1)])
        return round(min(low, high - 1), 2), round(high, 2)
