"""Streaming synthesis: any vocoder, fed frame by frame, without seams.

Models with state run each frame once, but for those of their lookahead, which are run again with the next chunk. Models
without state are fed context frames before and after each chunk. Neighbouring chunks are crossfaded over the samples
that both have computed.
"""

from __future__ import annotations

import numpy as np

from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import GriffinLim, RtisiLa
from audio_avif.vocoders.mel_consistency import ConsistentStream, ConsistentVocoder
from audio_avif.vocoders.onnx_model import OnnxVocoder
from audio_avif.vocoders.protocol import Vocoder, VocoderStream


def open_stream(vocoder: Vocoder) -> VocoderStream:
    """Start a stream in the way that suits the vocoder. Raises TypeError for one that has none."""
    if isinstance(vocoder, GriffinLim):
        return RtisiLa(vocoder.mel)
    if isinstance(vocoder, ConsistentVocoder):
        return ConsistentStream(open_stream(vocoder.base), vocoder.mel)
    if isinstance(vocoder, OnnxVocoder):
        if vocoder.has_state:
            return StateStream(vocoder)
        return ContextStream(vocoder, vocoder.info.context_frames, vocoder.info.lookahead_frames)
    raise TypeError(f"{type(vocoder).__name__} has no streaming form")


class Crossfade:
    """Joins chunks that were computed with too little future to those that the next call computes in their place."""

    def __init__(self, samples: int) -> None:
        ramp = (np.arange(samples, dtype=np.float32) + 0.5) / max(1, samples)
        self._fade_in = (0.5 - 0.5 * np.cos(np.pi * ramp)).astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Let the next chunk begin without a fade."""
        self._overlap = np.zeros(0, np.float32)

    def join(self, samples: FloatArray, final_samples: int) -> FloatArray:
        """Take a chunk and what was computed after it; return the chunk, faded in over what was there before."""
        out = samples[:final_samples].copy()
        overlap = self._overlap[: out.size]
        out[: overlap.size] = overlap + (out[: overlap.size] - overlap) * self._fade_in[: overlap.size]
        self._overlap = samples[final_samples:][: self._fade_in.size].copy()
        return out


class StateStream:
    """A model that carries its own past.

    Without lookahead each frame is run once, and the output lags by the model's latency. With lookahead the model
    returns its state as it was before the last ``lookahead_frames`` frames, which are run again in the next call, with
    more future. If they are the model's receptive field, nothing changes with more future; if they are fewer, the two
    results are crossfaded over the first hop: no seam is heard, and no delay is added.
    """

    def __init__(self, vocoder: OnnxVocoder) -> None:
        info = vocoder.info
        hop = vocoder.mel.hop_samples
        self._vocoder = vocoder
        self._crossfade = Crossfade(hop if 0 < info.lookahead_frames < info.receptive_frames else 0)
        self.latency_samples = info.lookahead_frames * hop + info.latency_samples
        self.reset()

    def reset(self) -> None:
        """Return to the zero state."""
        mel = self._vocoder.mel
        self._state = self._vocoder.zero_state()
        self._crossfade.reset()
        self._ahead = np.zeros((mel.n_mels, 0), np.float32)  # the frames that are not final yet
        self._unborn_samples = self._vocoder.info.latency_samples

    def push(self, log_mel: FloatArray) -> FloatArray:
        """Take ``[n_mels, frames]``; return the samples that are now final."""
        return self._run(log_mel, self._vocoder.info.lookahead_frames)

    def flush(self) -> FloatArray:
        """Make the lookahead final, and feed silence until the last frame's samples are out."""
        mel, latency_samples = self._vocoder.mel, self._vocoder.info.latency_samples
        frames = -(-latency_samples // mel.hop_samples)
        tail = self._run(np.full((mel.n_mels, frames), np.log10(mel.floor), np.float32), 0)
        surplus = frames * mel.hop_samples - latency_samples
        return tail[: tail.size - surplus]

    def _run(self, log_mel: FloatArray, lookahead_frames: int) -> FloatArray:
        frames = np.concatenate([self._ahead, log_mel], axis=1)
        final_frames = frames.shape[1] - lookahead_frames
        if final_frames <= 0:
            self._ahead = frames
            return np.zeros(0, np.float32)
        samples, self._state = self._vocoder.run(frames, self._state)
        self._ahead = frames[:, final_frames:]
        final = self._crossfade.join(samples, final_frames * self._vocoder.mel.hop_samples)
        skipped = min(self._unborn_samples, final.size)
        self._unborn_samples -= skipped
        return final[skipped:]


class ContextStream:
    """A model fed with context: left context again, right context as lookahead, chunks crossfaded.

    With ``context_frames`` and ``lookahead_frames`` at the model's receptive field the output is whole-signal synthesis
    and nothing is crossfaded. With less, each chunk's last ``lookahead_frames`` are computed with too little future;
    they are computed again with the next chunk, and the two are crossfaded over the first hop: no seam is heard, and
    no delay is added. A model with state is fed the zero state each time.
    """

    def __init__(self, vocoder: OnnxVocoder, context_frames: int, lookahead_frames: int) -> None:
        if context_frames < 0 or lookahead_frames < 0:
            raise ValueError("context and lookahead must not be negative")
        self._vocoder = vocoder
        self._context_frames = context_frames
        self._lookahead_frames = lookahead_frames
        self._hop = vocoder.mel.hop_samples
        exact = min(context_frames, lookahead_frames) >= vocoder.info.receptive_frames
        self._crossfade = Crossfade(0 if exact or not lookahead_frames else self._hop)
        self.latency_samples = lookahead_frames * self._hop
        self.reset()

    def reset(self) -> None:
        """Forget the context."""
        self._frames = np.zeros((self._vocoder.mel.n_mels, 0), np.float32)
        self._emitted_frames = 0  # of those in self._frames
        self._crossfade.reset()

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
        samples, _ = self._vocoder.run(self._frames, self._vocoder.zero_state())
        fresh = samples[self._emitted_frames * self._hop :]
        out = self._crossfade.join(fresh, (until_frame - self._emitted_frames) * self._hop)
        dropped = max(0, until_frame - self._context_frames)
        self._frames = self._frames[:, dropped:]
        self._emitted_frames = until_frame - dropped
        return out
