"""Random training segments: received mel frames and the original samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from audio_avif.codec.concealment import decay, interpolate
from audio_avif.config import MelConfig, TileConfig
from audio_avif_onnx.train.data.corpus import Corpus
from audio_avif_onnx.train.data.degrade import GAIN_DB, Variant
from audio_avif_onnx.train.data.spectra import Analysis

CLEAN_SHARE = 0.2
LOSS_SHARE = 0.1


@dataclass(frozen=True)
class Batch:
    """Received mel frames and the original samples, whose first window is that of the first frame.

    Shape: ``log_mel`` ``[batch, frames + lookahead, n_mels]``, ``samples`` ``[batch, n_fft + hop * (frames - 1)]``.
    """

    log_mel: Tensor
    samples: Tensor


@dataclass(frozen=True)
class BatchShape:
    """How many segments a batch has, and how many frames each, beside those that the network looks ahead."""

    segments: int
    frames: int
    lookahead_frames: int


class Batcher:
    """Draws batches with one random generator, whose state is enough to continue the sequence."""

    def __init__(
        self,
        corpus: Corpus,
        variants: Sequence[Variant],
        mel: MelConfig,
        shape: BatchShape,
        *,
        seed: int | np.random.Generator,
        device: torch.device,
    ) -> None:
        self._corpus = corpus
        self._variants = variants
        self._mel = mel
        self._shape = shape
        self._device = device
        self._rng = np.random.default_rng(seed)
        self._analysis = Analysis(mel, mel.n_fft).to(device)
        lengths = np.array([clip.frames for clip in corpus.clips], np.float64)
        self._clip_ends = np.cumsum(lengths / lengths.sum())

    def draw(self) -> Batch:
        """The next batch."""
        shape = self._shape
        frames_in = shape.frames + shape.lookahead_frames
        length = self._mel.n_fft + self._mel.hop_samples * (frames_in - 1)
        audio = np.empty((shape.segments, length), np.float32)
        received = np.full((shape.segments, frames_in, self._mel.n_mels), np.nan, np.float32)
        for row in range(shape.segments):
            self._draw_row(audio[row], received[row])
        samples, log_mel = self._to_device(audio), self._to_device(received)
        clean = self._analysis.log_mel(self._analysis.magnitude(samples))
        log_mel = torch.where(log_mel.isnan(), clean, log_mel)
        return Batch(log_mel, samples[:, : length - self._mel.hop_samples * shape.lookahead_frames])

    def _to_device(self, values: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(values)
        if self._device.type == "cuda":  # from pinned memory the copy runs beside what the device still computes
            tensor = tensor.pin_memory()
        return tensor.to(self._device, non_blocking=True)

    def _draw_row(self, audio: np.ndarray, received: np.ndarray) -> None:
        rng, mel = self._rng, self._mel
        number = min(int(np.searchsorted(self._clip_ends, rng.random())), len(self._corpus.clips) - 1)
        variant = self._variants[int(rng.integers(len(self._variants)))] if self._variants else None
        corpus = self._corpus if variant is None else variant.corpus
        clip = corpus.clips[number]
        frames_in = received.shape[0]
        first = int(rng.integers(0, max(1, clip.frames - frames_in + 1)))
        degraded = None if variant is None or rng.random() < CLEAN_SHARE else variant
        gain_db = rng.uniform(*GAIN_DB) if degraded is None else degraded.settings[number].gain_db
        start = first * mel.hop_samples - mel.n_fft // 2
        audio[:] = corpus.audio(clip, start, start + audio.size) * np.float32(10 ** (gain_db / 20))
        if degraded is not None:
            rows = clip.first_frame + first
            here = min(frames_in, clip.frames - first)
            received[:here] = degraded.log_mel(number, rows, rows + here)
            received[here:] = received[here - 1]
            if rng.random() < LOSS_SHARE:
                self._lose_a_tile(received, first, degraded.settings[number].tile)

    def _lose_a_tile(self, received: np.ndarray, first: int, tile: TileConfig) -> None:
        """Conceal a random tile, if one fits, within ``[frames, n_mels]``, with or without knowing the next frame."""
        starts = range(tile.frames - first % tile.frames, received.shape[0] - tile.frames, tile.frames)
        if not starts:
            return
        start = starts[int(self._rng.integers(len(starts)))]
        stop = start + tile.frames
        before = received[start - 1]
        if self._rng.random() < 0.5:
            received[start:stop] = interpolate(before, received[stop], tile.frames).T
        else:
            floor = np.full_like(before, tile.log10_min)
            received[start:stop] = decay(before, floor, tile.frames, self._mel.frame_s).T
