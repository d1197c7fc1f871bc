"""The pauses of a stream at the sender: which tiles are pauses, and which of these are sent."""

from __future__ import annotations

from audio_avif.codec.noise import PauseDetector
from audio_avif.config import MelConfig, TileConfig
from audio_avif.types import FloatArray

_UPDATE_S = 0.4  # how often a pause says what its noise is like, as Opus does (RFC 6716, 2.1.9)


class PauseSchedule:
    """Finds pauses where ``is_on``, and chooses the tiles whose noise is described to the receiver."""

    def __init__(self, mel: MelConfig, tile: TileConfig, is_on: bool) -> None:
        self.tiles = 0
        """Tiles of all pauses so far."""
        self._detector = PauseDetector(mel) if is_on else None
        self._update_tiles = max(1, round(_UPDATE_S / (tile.frames * mel.frame_s)))
        self._pause_tiles = 0  # of the present pause

    def push(self, log_mel: FloatArray) -> bool:
        """Take a tile's ``[n_mels, frames]``; return whether it is a pause."""
        is_pause = self._detector is not None and self._detector.push(log_mel)
        self.tiles += is_pause
        self._pause_tiles = self._pause_tiles + 1 if is_pause else 0
        return is_pause

    @property
    def is_due(self) -> bool:
        """Whether the noise of the newest tile, which is a pause, must be described."""
        return (self._pause_tiles - 1) % self._update_tiles == 0
