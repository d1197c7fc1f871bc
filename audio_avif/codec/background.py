"""The sound under speech and in its gaps: a pause's comfort noise, and concealment of tiles that did not come."""

from __future__ import annotations

import numpy as np

from audio_avif.codec import concealment
from audio_avif.codec.noise import FloorTracker, NoiseSource, noise_envelope
from audio_avif.config import MelConfig, TileConfig
from audio_avif.link.packets import PausePacket
from audio_avif.types import FloatArray

_QUIET_LOG10 = 0.5  # frames no louder than this above the background hold no speech


class Background:
    """Makes frames where no tile gives any: noise at the background's level, over which the last sound decays.

    ``pause`` is the pause that is being heard, None outside of pauses; its levels then take the place of the tracked
    background.
    """

    def __init__(self, mel: MelConfig, tile: TileConfig) -> None:
        self._mel = mel
        self._tile = tile
        self._tracker = FloorTracker(mel)
        self._noise = NoiseSource(mel)
        self._fading_frame: FloatArray = np.full(mel.n_mels, tile.log10_min, np.float32)
        self.pause: PausePacket | None = None
        self.concealed_frames = 0
        self.noise_frames = 0

    @property
    def _floor(self) -> FloatArray:
        """The background's levels ``[n_mels]``."""
        if self.pause is None:
            return self._tracker.floor
        return noise_envelope(self.pause.levels, self._mel.n_mels, self._tile)

    def push(self, log_mel: FloatArray) -> None:
        """Take the frames ``[n_mels, frames]`` of a tile that is spoken; it ends the pause."""
        self._tracker.push(log_mel)
        self._fading_frame = log_mel[:, -1]
        self.pause = None

    def is_quiet(self, log_mel: FloatArray) -> bool:
        """Whether frames ``[n_mels, frames]`` hold little more than the background."""
        return bool(log_mel.mean(axis=0).max() < self._floor.mean() + _QUIET_LOG10)

    def interpolate(self, before: FloatArray, after: FloatArray, frames: int) -> FloatArray:
        """Conceal a short gap by frames ``[n_mels, frames]`` that lead from one frame ``[n_mels]`` to another."""
        self.concealed_frames += frames
        return concealment.interpolate(before, after, frames)

    def frames(self, count: int) -> FloatArray:
        """Make frames ``[n_mels, count]``: the pause's noise, or concealment."""
        if self.pause is not None:
            self.noise_frames += count
        else:
            self.concealed_frames += count
        floor = self._floor
        fading = concealment.decay(self._fading_frame, floor, count, self._mel.frame_s)
        self._fading_frame = fading[:, -1]
        noise = self._noise.frames(floor, count)
        return np.maximum(concealment.over_noise(fading, floor, noise), np.float32(self._tile.log10_min))
