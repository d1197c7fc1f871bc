"""Sound laid out by the time at which it is heard."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio_avif.types import FloatArray


class Timeline:
    """The last ``capacity_samples`` of sound by position, with silence where nothing was written.

    The positions of writer and reader are measured and so a little inexact: each goes on where it was, without a gap,
    until it is more than ``tolerance_samples`` away from where it should be.
    """

    def __init__(self, capacity_samples: int, tolerance_samples: int) -> None:
        self._sound: FloatArray = np.zeros(capacity_samples, np.float32)
        self._tolerance_samples = tolerance_samples
        self._written_until: int | None = None
        self._read_until: int | None = None

    def write(self, samples: FloatArray, position: int) -> None:
        """Put ``[samples] float32`` there; what was to come later than a step back is dropped."""
        start, before = self._continued(self._written_until, position), self._written_until
        end = start + samples.size
        if before is not None:
            self._sound[self._places(min(before, end), max(before, start))] = 0
        kept = samples[-self._sound.size :]
        self._sound[self._places(end - kept.size, end)] = kept
        self._written_until = end

    def read(self, samples: int, position: int) -> FloatArray:
        """Return ``[samples] float32`` from there."""
        start = self._continued(self._read_until, position)
        self._read_until = start + samples
        found: FloatArray = np.zeros(samples, np.float32)
        if self._written_until is not None:
            oldest = self._written_until - self._sound.size
            first, end = max(start, oldest), min(start + samples, self._written_until)
            if first < end:
                found[first - start : end - start] = self._sound[self._places(first, end)]
        return found

    def _continued(self, until: int | None, position: int) -> int:
        return position if until is None or abs(position - until) > self._tolerance_samples else until

    def _places(self, first: int, end: int) -> npt.NDArray[np.intp]:
        """The indices of the last positions of a stretch that there is room for."""
        return np.arange(max(first, end - self._sound.size), end) % self._sound.size
