"""Log-mel frames to tiles of pixels and back: time runs left to right, the low band lies at the bottom."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audio_avif.config import TileConfig
from audio_avif.types import FloatArray, Pixels

_WHITE = 255


def to_pixels(log_mel: FloatArray, config: TileConfig) -> Pixels:
    """Map ``[n_mels, frames] float32, log10`` to ``[n_mels, frames] uint8``, low band in the last row.

    The configured range spans 0..255; what lies outside is clipped, and the rest is rounded to the nearest step.
    """
    scaled = (log_mel - config.log10_min) * (_WHITE / (config.log10_max - config.log10_min))
    return np.ascontiguousarray(np.rint(np.clip(scaled, 0, _WHITE)).astype(np.uint8)[::-1])


def from_pixels(pixels: Pixels, config: TileConfig) -> FloatArray:
    """Map ``[n_mels, frames] uint8`` back to ``[n_mels, frames] float32, log10``."""
    step = (config.log10_max - config.log10_min) / _WHITE
    return (pixels[::-1] * np.float32(step) + np.float32(config.log10_min)).astype(np.float32)


@dataclass(frozen=True)
class PixelTile:
    """One tile before compression: ``log_mel`` and ``pixels`` ``[n_mels, tile_frames]``, from frame ``first_frame`` on.

    The first ``frames`` columns are sound, all of them but in a stream's last tile.
    """

    sequence: int
    first_frame: int
    frames: int
    log_mel: FloatArray
    pixels: Pixels


class TileCutter:
    """Cuts a stream of frames into numbered tiles of one width."""

    def __init__(self, n_mels: int, config: TileConfig) -> None:
        self._config = config
        self._n_mels = n_mels
        self.latency_frames = config.frames - 1
        self.reset()

    def reset(self) -> None:
        """Start at frame and tile 0."""
        self._pending = np.zeros((self._n_mels, 0), np.float32)
        self._sequence = 0

    @property
    def missing_frames(self) -> int:
        """How many more frames complete a tile."""
        return self._config.frames - self._pending.shape[1]

    def push(self, log_mel: FloatArray) -> list[PixelTile]:
        """Take ``[n_mels, frames]``; return the tiles now full."""
        self._pending = np.concatenate([self._pending, log_mel], axis=1)
        tiles = []
        width = self._config.frames
        while self._pending.shape[1] >= width:
            tiles.append(self._cut(self._pending[:, :width], width))
            self._pending = self._pending[:, width:]
        return tiles

    def flush(self) -> list[PixelTile]:
        """Return the last tile, if any frames are left; its missing columns repeat the last frame."""
        frames = self._pending.shape[1]
        if not frames:
            return []
        missing = np.repeat(self._pending[:, -1:], self._config.frames - frames, axis=1)
        last = np.concatenate([self._pending, missing], axis=1)
        self._pending = self._pending[:, :0]
        return [self._cut(last, frames)]

    def _cut(self, log_mel: FloatArray, frames: int) -> PixelTile:
        first_frame = self._sequence * self._config.frames
        tile = PixelTile(self._sequence, first_frame, frames, log_mel, to_pixels(log_mel, self._config))
        self._sequence += 1
        return tile
