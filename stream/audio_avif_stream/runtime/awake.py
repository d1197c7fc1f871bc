"""Time without the time in which this program stood still itself."""

from __future__ import annotations

import time
from collections.abc import Callable

_LONGEST_STEP_S = 1.0


class AwakeClock:
    """A clock that stops while the program does not run: what a peer said meanwhile could not be heard.

    The silence of a peer is judged by it, so that a stopped process, a busy machine or a laptop that slept does not
    take its peers for dead. It must be read at least once a second; of a longer step one second counts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._read_s = clock()
        self._awake_s = self._read_s

    def now_s(self) -> float:
        """The time of ``clock``, less what has been left out."""
        now_s = self._clock()
        self._awake_s += min(now_s - self._read_s, _LONGEST_STEP_S)
        self._read_s = now_s
        return self._awake_s
