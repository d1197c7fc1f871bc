"""Frames to samples: the vocoder, the place of what it makes in the stream, and the splices in it."""

from __future__ import annotations

import numpy as np

from audio_avif.codec.position import Chunk, StreamPosition
from audio_avif.link.hello import Hello
from audio_avif.signal.time_scaling import SampleSplicer
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import VocoderStream


class Voice:
    """Speaks the frames of one stream; ``last_frame`` ``[n_mels]`` is the one spoken last."""

    def __init__(self, hello: Hello, vocoder: VocoderStream) -> None:
        self.position = StreamPosition(hello.mel.hop_samples)
        self.last_frame: FloatArray = np.full(hello.mel.n_mels, hello.tile.log10_min, np.float32)
        self._mel = hello.mel
        self._vocoder = vocoder
        self._splicer = SampleSplicer()
        self._quiet_samples = 0  # that the vocoder took in a row

    @property
    def latency_samples(self) -> int:
        """How many samples the vocoder's output ends before the newest frame's centre."""
        return self._vocoder.latency_samples

    @property
    def has_begun(self) -> bool:
        """Whether the vocoder has taken any frames."""
        return self.position.pushed_samples > 0

    @property
    def unfilled_s(self) -> float:
        """How much of the silence at the start will be filled by frames that the vocoder has not taken yet."""
        if not self.has_begun:
            return 0.0
        return max(0, self.latency_samples - self.position.held_samples) / self._mel.rate_hz

    def speak(self, log_mel: FloatArray, is_quiet: bool, splice_s: float) -> tuple[Chunk, float]:
        """Run the vocoder on ``[n_mels, frames]``; return the samples that are now final.

        So much sound as ``splice_s`` is put into them, or left out where negative, if a join is not heard; also returns
        the seconds by which they were changed.
        """
        frames, rate_hz = log_mel.shape[1], self._mel.rate_hz
        self.last_frame = log_mel[:, -1]
        self.position.push(frames)
        self._quiet_samples = self._quiet_samples + frames * self._mel.hop_samples if is_quiet else 0
        are_quiet = self._quiet_samples >= self.position.held_samples
        chunk = self.position.emit(self._vocoder.push(log_mel))
        samples = self._splicer.push(chunk.samples, round(splice_s * rate_hz), are_quiet)
        return Chunk(samples, chunk.first_sample), (samples.size - chunk.samples.size) / rate_hz

    def flush(self) -> Chunk:
        """Return the vocoder's last samples."""
        return self.position.emit(self._vocoder.flush())
