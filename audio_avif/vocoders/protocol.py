"""What every vocoder offers: whole-signal synthesis, and a stream whose output is the same for any chunking."""

from __future__ import annotations

from typing import Protocol

from audio_avif.config import MelConfig
from audio_avif.types import FloatArray


class VocoderStream(Protocol):
    """Turns frames into samples as they arrive.

    After all frames have been pushed and the stream flushed, ``hop_samples`` samples per frame have come out; sample
    ``hop_samples * k`` lies at the centre of frame k.
    """

    @property
    def latency_samples(self) -> int:
        """How many samples the output ends before the newest frame's centre."""
        ...

    def push(self, log_mel: FloatArray) -> FloatArray:
        """Take ``[n_mels, frames] float32, log10 magnitude``; return ``[samples] float32`` that are now final."""
        ...

    def flush(self) -> FloatArray:
        """Return the samples still held back; ``reset`` before pushing again."""
        ...

    def reset(self) -> None:
        """Forget everything heard so far."""
        ...


class Vocoder(Protocol):
    """A way from log-mel to sound."""

    name: str
    mel: MelConfig

    def synthesize(self, log_mel: FloatArray) -> FloatArray:
        """Take ``[n_mels, frames] float32, log10 magnitude``; return ``[frames * hop_samples] float32`` in -1..1."""
        ...
