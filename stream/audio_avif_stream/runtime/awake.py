"""A clock that leaves out the time in which this program was suspended."""

from __future__ import annotations

import time
from collections.abc import Callable

_MAX_STEP_S = 1.0


class AwakeClock:
    """A clock that stops while the program does not run.

    The silence of a peer is measured by it: a stopped process, a busy machine or a laptop that slept could not hear its
    peers, and must not take them for dead. Read it at least once a second; of a longer step one second counts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read_s = clock()
        self._awake_s = self._read_s

    def now_s(self) -> float:
        """Return the time of ``clock`` less the time left out."""
        now_s = self._clock()
        self._awake_s += min(now_s - self._read_s, _MAX_STEP_S)
        self._read_s = now_s
        return self._awake_s
