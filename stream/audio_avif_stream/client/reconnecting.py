"""Repeat an attempt to connect, after pauses that grow."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from audio_avif.errors import ConnectionFailed, RefusedForGood

_FIRST_S = 0.1
_SPREAD = 0.2  # so that peers that lost the same server do not come back at the same moment

_T = TypeVar("_T")


class Backoff:
    """Pauses between attempts: each round of ``attempts`` waits twice as long as the one before, up to ``max_s``."""

    def __init__(self, max_s: float, attempts: int = 1) -> None:
        self._max_s = max_s
        self._attempts = attempts
        self.reset()

    def reset(self) -> None:
        """Start again with the shortest pause."""
        self._pause_s = _FIRST_S
        self._made = 0

    def next_s(self) -> float:
        """Return the pause before the next attempt."""
        pause_s = self._pause_s * random.uniform(1 - _SPREAD, 1 + _SPREAD)
        self._made += 1
        if self._made % self._attempts == 0:
            self._pause_s = min(2 * self._pause_s, self._max_s)
        return pause_s


async def keep_trying(
    attempt: Callable[[], Awaitable[_T]], backoff: Backoff, on_failure: Callable[[ConnectionFailed, float], None]
) -> _T:
    """Repeat ``attempt`` until it succeeds; a pause is counted from the beginning of the attempt before it.

    ``on_failure`` takes the failure and the loop time of the next attempt; it raises to end the attempts.
    RefusedForGood ends them too.
    """
    loop = asyncio.get_running_loop()
    while True:
        began_s = loop.time()
        try:
            return await attempt()
        except RefusedForGood:
            raise
        except ConnectionFailed as failure:
            next_s = max(began_s + backoff.next_s(), loop.time())
            on_failure(failure, next_s)
        await asyncio.sleep(next_s - loop.time())
