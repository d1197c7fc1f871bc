"""A ring of samples between an audio callback and the program: one writer, one reader, no lock."""

from __future__ import annotations

import numpy as np

from audio_avif.types import FloatArray


class Ring:
    """Single-producer, single-consumer ring of float32 samples.

    Each counter is a plain int that only one side writes, after its copy is done, so the other side never sees samples
    that are not there. Neither side ever waits.
    """

    def __init__(self, capacity_samples: int) -> None:
        if capacity_samples < 1:
            raise ValueError(f"a ring holds at least one sample, not {capacity_samples}")
        self._buffer: FloatArray = np.zeros(capacity_samples, np.float32)
        self.capacity = capacity_samples
        self.written = 0
        """Samples accepted since the start; written by the producer."""
        self.consumed = 0
        """Samples read or cleared since the start; written by the consumer."""

    @property
    def fill(self) -> int:
        """Samples ready to be read."""
        return self.written - self.consumed

    def write(self, samples: FloatArray) -> int:
        """Copy in as many of ``[samples] float32`` as there is room for, the first ones first; return how many."""
        accepted = min(samples.size, self.capacity - self.fill)
        start = self.written % self.capacity
        before_wrap = min(accepted, self.capacity - start)
        self._buffer[start : start + before_wrap] = samples[:before_wrap]
        self._buffer[: accepted - before_wrap] = samples[before_wrap:accepted]
        self.written += accepted
        return accepted

    def read_into(self, out: FloatArray) -> int:
        """Fill ``out [samples] float32`` with the oldest samples, then zeros; return how many were real."""
        available = min(out.size, self.fill)
        start = self.consumed % self.capacity
        before_wrap = min(available, self.capacity - start)
        out[:before_wrap] = self._buffer[start : start + before_wrap]
        out[before_wrap:available] = self._buffer[: available - before_wrap]
        out[available:] = 0.0
        self.consumed += available
        return available

    def clear(self) -> None:
        """Drop what is readable now. Only the consumer may call it; samples written meanwhile may stay."""
        self.consumed = self.written
