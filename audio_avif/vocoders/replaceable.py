"""A vocoder stream that goes over to another vocoder between two frames, without a seam."""

from __future__ import annotations

import numpy as np

from audio_avif.config import MelConfig
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import VocoderStream
from audio_avif.vocoders.streaming import Crossfade

_KNOWN_FRAMES = 16  # which the next vocoder hears before its sound is used


class ReplaceableStream:
    """The stream of one vocoder, and after ``replace`` that of another, crossfaded over the hop before it.

    ``hop_samples`` samples per frame come out in all, also where the two hold back unequally many.
    """

    def __init__(self, stream: VocoderStream, mel: MelConfig) -> None:
        self._stream = stream
        self._next: VocoderStream | None = None
        self._hop = mel.hop_samples
        self._crossfade = Crossfade(self._hop)
        self._no_frames: FloatArray = np.zeros((mel.n_mels, 0), np.float32)
        self._no_samples: FloatArray = np.zeros(0, np.float32)
        self._forget()

    @property
    def latency_samples(self) -> int:
        """How many samples the output ends before the newest frame's centre."""
        return self._stream.latency_samples

    def _forget(self) -> None:
        self._known = self._no_frames
        self._unused_samples = 0  # of the next vocoder's output, which the one before has made
        self._crossfade.reset()

    def reset(self) -> None:
        """Forget everything heard so far."""
        self._stream.reset()
        self._forget()

    def push(self, log_mel: FloatArray) -> FloatArray:
        """Take ``[n_mels, frames]``; return the samples that are now final."""
        before = self._go_over()
        self._known = np.concatenate([self._known, log_mel], axis=1)[:, -_KNOWN_FRAMES:]
        return np.concatenate([before, self._use(self._stream.push(log_mel))])

    def flush(self) -> FloatArray:
        """Return the samples still held back."""
        return self._use(self._stream.flush())

    def replace(self, stream: VocoderStream) -> None:
        """Go over to a stream that was just opened, before the next frames."""
        self._next = stream

    def _go_over(self) -> FloatArray:
        """Go over to the next stream, if there is one; return the samples that the one before held back."""
        if self._next is None:
            return self._no_samples
        stream, self._next = self._next, None
        rest = self.flush()
        shared_samples = min(self._hop, rest.size)
        out = self._crossfade.join(rest, rest.size - shared_samples)
        self._stream = stream
        self._unused_samples = self._known.shape[1] * self._hop - shared_samples
        return np.concatenate([out, self._use(stream.push(self._known))])

    def _use(self, samples: FloatArray) -> FloatArray:
        unused = min(self._unused_samples, samples.size)
        self._unused_samples -= unused
        fresh = samples[unused:]
        return self._crossfade.join(fresh, fresh.size) if fresh.size else fresh
