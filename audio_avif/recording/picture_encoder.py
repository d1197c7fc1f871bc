"""Recordings to the cells of a picture, one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import IO

import numpy as np

from audio_avif.config import RATE_HZ, EncoderConfig, MelConfig, TileConfig, whole_rate_hz
from audio_avif.errors import FileError
from audio_avif.recording.grid import GridWriter, max_cells
from audio_avif.recording.layout import CELL_FRAMES, PictureInfo, side_pays, to_pixels
from audio_avif.recording.metadata import to_exif
from audio_avif.signal.features import LogMelStream
from audio_avif.still.avif import encode_deep_still, encode_still
from audio_avif.types import AnyPixels, FloatArray

FADE_FRAMES = 16
"""Frames in which a grid fades out after its sound's end."""


@dataclass(frozen=True)
class FileConfig:
    """How a recording becomes a picture: libavif's quality 0..100 and libaom's speed 0..10, pixel range and format.

    Without ``log10_min`` and ``log10_max`` the usual range of a stream; ``fit_range`` finds a recording's own.
    """

    quality: int = 85
    speed: int = 6
    depth: int = 8
    layout: str = "stacked"
    log10_min: float = TileConfig().log10_min
    log10_max: float = TileConfig().log10_max

    def __post_init__(self) -> None:
        _ = self.encoder, self.info(1, RATE_HZ)

    @property
    def encoder(self) -> EncoderConfig:
        """What the image encoder is told."""
        return EncoderConfig(self.quality, self.speed)

    def info(self, channels: int, source_rate_hz: int) -> PictureInfo:
        """What the picture of such a recording says of itself before its samples are counted."""
        return PictureInfo(
            channels=channels,
            log10_min=self.log10_min,
            log10_max=self.log10_max,
            depth=self.depth,
            layout=self.layout,
            source_rate_hz=source_rate_hz,
        )


def faded(log_mel: FloatArray, frames: int, silence_log10: float) -> FloatArray:
    """Fill ``[channels, n_mels, any]`` up to so many frames with the last one, which fades out to silence."""
    last, silence = log_mel[:, :, -1:], np.float32(silence_log10)
    level = np.maximum(0, 1 - np.arange(frames - log_mel.shape[2], dtype=np.float32) / FADE_FRAMES)
    return np.concatenate([log_mel, silence + level * (last - silence)], axis=2)


class PictureEncoder:
    """Samples to the pixels of cells; any chunking gives the same cells.

    The settings that a decoder needs, ``info``, are complete after ``flush``.
    """

    def __init__(
        self, config: FileConfig, channels: int, source_rate_hz: float = RATE_HZ, mel: MelConfig | None = None
    ) -> None:
        self.info = replace(config.info(channels, whole_rate_hz(source_rate_hz)), mel=mel or MelConfig())
        self._streams = [LogMelStream(self.info.mel) for _ in range(channels)]
        self._pending = np.zeros((channels, self.info.mel.n_mels, 0), np.float32)
        self._cells = 0

    def push(self, samples: FloatArray) -> list[AnyPixels]:
        """Take ``[samples, channels] float32`` at 16 kHz; return the cells now full."""
        if samples.ndim != 2 or samples.shape[1] != self.info.channels:
            raise ValueError(f"samples must be [samples, {self.info.channels}], not of shape {samples.shape}")
        columns = np.stack([stream.push(samples[:, i]) for i, stream in enumerate(self._streams)])
        self.info = replace(self.info, samples=self.info.samples + samples.shape[0])
        return self.push_frames(columns)

    def push_frames(self, log_mel: FloatArray) -> list[AnyPixels]:
        """Take ``[channels, n_mels, frames]`` in place of samples, which the caller counts then."""
        self._pending = np.concatenate([self._pending, log_mel], axis=2)
        cells = []
        while self._pending.shape[2] >= CELL_FRAMES:
            cells.append(self._cell(self._pending[:, :, :CELL_FRAMES]))
            self._pending = self._pending[:, :, CELL_FRAMES:]
        return cells

    def flush(self) -> list[AnyPixels]:
        """Return the last cells.

        One that is not full fades out after its last frame, if it is not the only one: no edge rings into the sound.
        Raises FileError for a recording without any samples.
        """
        cells = self.push_frames(np.stack([stream.flush() for stream in self._streams]))
        frames = self._pending.shape[2]
        if frames and self._cells:
            cells.append(self._cell(faded(self._pending, CELL_FRAMES, self.info.log10_min)))
        elif frames:
            cells.append(self._cell(self._pending))
        if not self._cells:
            raise FileError("the recording is empty")
        self._pending = self._pending[:, :, :0]
        return cells

    def blank(self) -> AnyPixels:
        """A cell without sound, with which the last row of a grid is filled."""
        size = (self.info.channels, self.info.mel.n_mels, CELL_FRAMES)
        return to_pixels(np.full(size, self.info.log10_min, np.float32), self.info)

    def _cell(self, log_mel: FloatArray) -> AnyPixels:
        is_side = self.info.can_have_side and side_pays(log_mel, self.info)
        if self.info.can_have_side:
            self.info = replace(self.info, side_cells=self.info.side_cells + str(int(is_side)))
        self._cells += 1
        return to_pixels(log_mel, self.info, is_side)


def max_seconds(channels: int, layout: str = "stacked") -> float:
    """How long a recording of so many channels may be."""
    info = PictureInfo(channels=channels, layout=layout)
    return max_cells(CELL_FRAMES, info.height) * CELL_FRAMES * info.mel.frame_s


def encode_cell(pixels: AnyPixels, config: FileConfig) -> bytes:
    """Compress a cell. Raises AudioAvifError where the package for deep pictures is missing."""
    if config.depth == 8:
        return encode_still(pixels.astype(np.uint8, copy=False), config.encoder)
    return encode_deep_still(pixels, config.encoder, config.depth)


def write_picture(grid: GridWriter, encoder: PictureEncoder, config: FileConfig, file: IO[bytes]) -> None:
    """Fill the grid's last row and write it with its settings, once the encoder has been flushed."""
    if grid.missing_cells():
        grid.fill(encode_cell(encoder.blank(), config))
    grid.write(file, encoder.info.frames, to_exif(encoder.info))
