"""What an output without a device does in place of one: it takes sound at once, and behaves as if it were played."""

from __future__ import annotations

import time
from collections.abc import Callable

from audio_avif.config import RATE_HZ
from audio_avif.types import FloatArray
from audio_avif_stream.runtime.device_keeper import NO_DEVICE


class Clocked:
    """An output that takes sound at once, and behaves as if a device played it by the clock."""

    device_latency_s = 0.0
    reserve_s = 0.0
    device = NO_DEVICE

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.underruns = 0
        self._clock = clock
        self._is_live = True
        self._is_resting = False
        self._written_until_s: float | None = None

    @property
    def buffered_s(self) -> float:
        """How long the written sound lasts beyond now."""
        if self._written_until_s is None or not self._is_live:
            return 0.0
        return max(0.0, self._written_until_s - self._clock())

    def begin(self, is_live: bool) -> None:
        """Begin a stream; its clock starts with the first sound."""
        self._is_live = is_live
        self._is_resting = False
        self._written_until_s = None

    def write(self, samples: FloatArray) -> None:
        """Write samples; time that passed without any becomes a gap and counts as an underrun."""
        if not samples.size:
            return
        self._written_until_s = self._until_s() + samples.size / RATE_HZ
        self._put(samples)

    def silence(self, seconds: float) -> None:
        """Before the first sound, start the clock later; after it, play silence."""
        has_begun = self._written_until_s is not None
        self._written_until_s = self._until_s() + seconds
        if has_begun:
            self._put_gap(seconds)

    def _until_s(self) -> float:
        """When what is written next is played; closes the gap where that should have been earlier."""
        now_s = self._clock()
        until_s = now_s if self._written_until_s is None else self._written_until_s
        is_resting, self._is_resting = self._is_resting, False
        if self._is_live and now_s > until_s:
            self.underruns += not is_resting
            self._put_gap(now_s - until_s)
            return now_s
        return until_s

    def rest(self) -> None:
        """Count no underrun for the gap that follows."""
        self._is_resting = True

    def end(self) -> None:
        """End the stream; a file needs no time to be played."""

    def _put(self, samples: FloatArray) -> None:
        raise NotImplementedError

    def _put_gap(self, seconds: float) -> None:
        raise NotImplementedError
