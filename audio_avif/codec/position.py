"""The place in the stream of every sample that the vocoder makes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from audio_avif.types import FloatArray


@dataclass(frozen=True)
class Chunk:
    """Samples to be played next; ``first_sample`` is the stream position of the first of them."""

    samples: FloatArray
    first_sample: int


class StreamPosition:
    """Counts the samples that go into the vocoder and come out of it, and the jumps between them.

    A jump is a place where the next frame spoken lies later or earlier in the stream than the frames before it say:
    frames were left out, put in or never came. The vocoder holds samples back, so its output meets a jump later than
    its input.
    """

    def __init__(self, hop_samples: int) -> None:
        self._hop_samples = hop_samples
        self.pushed_samples = 0
        self._emitted_samples = 0
        self._jumps: deque[tuple[int, int]] = deque()  # (samples pushed before the jump, samples left out by it)
        self._left_out_samples = 0
        self._end_sample: int | None = None

    @property
    def held_samples(self) -> int:
        """Samples that the vocoder has taken in and not given out."""
        return self.pushed_samples - self._emitted_samples

    def push(self, frames: int) -> None:
        """The vocoder takes in so many frames."""
        self.pushed_samples += frames * self._hop_samples

    def leave_out(self, frames: int) -> None:
        """The next frame spoken lies so many frames later in the stream; negative where it lies earlier."""
        if frames:
            self._jumps.append((self.pushed_samples, frames * self._hop_samples))

    def end_at(self, sample: int) -> None:
        """The stream ends before this sample; ``emit`` cuts off what lies behind."""
        self._end_sample = sample

    def emit(self, samples: FloatArray) -> Chunk:
        """Give the vocoder's output ``[samples] float32`` its place in the stream."""
        first_sample = self._next_sample()
        self._emitted_samples += samples.size
        if self._end_sample is not None:
            beyond = min(samples.size, max(0, self._next_sample() - self._end_sample))
            samples = samples[: samples.size - beyond]
        # Sound that continues from a frame long past may lie before the stream's first sample.
        return Chunk(samples, max(0, first_sample))

    def _next_sample(self) -> int:
        """Stream position of the vocoder's next sample, which may lie before a jump that its input has passed."""
        while self._jumps and self._jumps[0][0] <= self._emitted_samples:
            self._left_out_samples += self._jumps.popleft()[1]
        return self._emitted_samples + self._left_out_samples
