"""Streaming synthesis: any vocoder, fed frame by frame, without seams.

Models with state run each frame once. Models without state are fed context frames before and after each chunk, and
neighbouring chunks are crossfaded over the samples that both have computed.
"""

from __future__ import annotations

import numpy as np

from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import GriffinLim, RtisiLa
from audio_avif.vocoders.onnx_model import OnnxVocoder
from audio_avif.vocoders.protocol import Vocoder, VocoderStream


def open_stream(vocoder: Vocoder) -> VocoderStream:
    """Start a stream in the way that suits the vocoder. Raises TypeError for one that has none."""
    if isinstance(vocoder, GriffinLim):
        return RtisiLa(vocoder.mel)
    if isinstance(vocoder, OnnxVocoder):
        if vocoder.has_state:
            return StateStream(vocoder)
        return ContextStream(vocoder, vocoder.info.context_frames, vocoder.info.lookahead_frames)
    raise TypeError(f"{type(vocoder).__name__} has no streaming form")


class StateStream:
    """A model that carries its own past: each frame is run once, and the output lags by the model's latency."""

    def __init__(self, vocoder: OnnxVocoder) -> None:
        self._vocoder = vocoder
        self.latency_samples = vocoder.info.latency_samples
        self.reset()

    def reset(self) -> None:
        """Return to the zero state."""
        self._state = self._vocoder.zero_state()
        self._unborn_samples = self.latency_samples

    def push(self, log_mel: FloatArray) -> FloatArray:
        """Take ``[n_mels, frames]``; return the samples that are now final."""
        if log_mel.shape[1] == 0:
            return np.zeros(0, np.float32)
        samples, self._state = self._vocoder.run(log_mel, self._state)
        skipped = min(self._unborn_samples, samples.size)
        self._unborn_samples -= skipped
        return samples[skipped:]

    def flush(self) -> FloatArray:
        """Feed silence until the last frame's samples are out."""
        mel = self._vocoder.mel
        frames = -(-self.latency_samples // mel.hop_samples)
        tail = self.push(np.full((mel.n_mels, frames), np.log10(mel.floor), np.float32))
        surplus = frames * mel.hop_samples - self.latency_samples
        return tail[: tail.size - surplus]


class ContextStream:
    """A stateless model fed with context: left context again, right context as lookahead, chunks crossfaded.

    With ``context_frames`` and ``lookahead_frames`` at the model's receptive field the output is whole-signal synthesis
    and nothing is crossfaded. With less, each chunk's last ``lookahead_frames`` are computed with too little future;
    they are computed again with the next chunk, and the two are crossfaded over the first hop: no seam is heard, and
    no delay is added.
    """

    def __init__(self, vocoder: OnnxVocoder, context_frames: int, lookahead_frames: int) -> None:
        if context_frames < 0 or lookahead_frames < 0:
            raise ValueError("context and lookahead must not be negative")
        self._vocoder = vocoder
        self._context_frames = context_frames
        self._lookahead_frames = lookahead_frames
        self._hop = vocoder.mel.hop_samples
        exact = min(context_frames, lookahead_frames) >= vocoder.info.receptive_frames
        fade = np.arange(0 if exact or not lookahead_frames else self._hop, dtype=np.float32)
        self._fade_in = (0.5 - 0.5 * np.cos(np.pi * (fade + 0.5) / max(1, fade.size))).astype(np.float32)
        self.latency_samples = lookahead_frames * self._hop
        self.reset()

    def reset(self) -> None:
        """Forget the context."""
        self._frames = np.zeros((self._vocoder.mel.n_mels, 0), np.float32)
        self._emitted_frames = 0  # of those in self._frames
        self._overlap = np.zeros(0, np.float32)

    def push(self, log_mel: FloatArray) -> FloatArray:
        """Take ``[n_mels, frames]``; return the samples that have their lookahead."""
        self._frames = np.concatenate([self._frames, log_mel], axis=1)
        return self._emit(self._frames.shape[1] - self._lookahead_frames)

    def flush(self) -> FloatArray:
        """Return the last ``lookahead_frames`` hops."""
        return self._emit(self._frames.shape[1])

    def _emit(self, until_frame: int) -> FloatArray:
        if until_frame <= self._emitted_frames:
            return np.zeros(0, np.float32)
        samples, _ = self._vocoder.run(self._frames, {})
        out = samples[self._emitted_frames * self._hop : until_frame * self._hop].copy()
        fade = self._fade_in[: self._overlap.size]
        out[: fade.size] = self._overlap + (out[: fade.size] - self._overlap) * fade
        self._overlap = samples[until_frame * self._hop :][: self._fade_in.size].copy()
        dropped = max(0, until_frame - self._context_frames)
        self._frames = self._frames[:, dropped:]
        self._emitted_frames = until_frame - dropped
        return out
