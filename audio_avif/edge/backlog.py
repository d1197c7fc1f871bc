"""Notices sound that piles up between a program and its device, in a sound server for instance."""

from __future__ import annotations

from collections import deque

_STEP_S = 1.0
_LATENCY_STEPS = 10
_WINDOW_STEPS = 60
_DRIFT = 1e-3  # sound cards run up to 300 ppm fast; what is taken faster than this waits somewhere
_LIMIT_S = 0.15
_MAX_PASSED_S = 0.9


class BacklogWatch:
    """Follows what a device reports and what it takes; times are in seconds of one clock.

    Two signs tell of a backlog: a latency that stays higher than it was at first, and an output that took more sound in
    a minute than a minute holds. The drift of an ordinary sound card is neither.
    """

    def __init__(self, now_s: float) -> None:
        self._next_s = now_s + _STEP_S
        self._pushed_s = now_s
        self._latencies_s: deque[float] = deque(maxlen=_LATENCY_STEPS)
        self._first_latency_s: float | None = None
        self._taken: deque[tuple[float, float]] = deque(maxlen=_WINDOW_STEPS + 1)
        self._piled_s = 0.0

    def push(self, taken_s: float | None, latency_s: float, now_s: float) -> float:
        """Return how much sound waits too much, or 0 while that is little.

        ``taken_s`` is the sound that an output has taken so far, None for an input. Call this several times a second.
        """
        passed_s, self._pushed_s = now_s - self._pushed_s, now_s
        if passed_s > _MAX_PASSED_S:
            self._taken.clear()  # the clock may have left out a part of so long a step
        if now_s < self._next_s:
            return 0.0
        self._next_s = now_s + _STEP_S
        piled_s = max(self._grown_s(latency_s), 0.0 if taken_s is None else self._overtaken_s(taken_s, now_s))
        return piled_s if piled_s > _LIMIT_S else 0.0

    def _grown_s(self, latency_s: float) -> float:
        """How much the smallest latency of the last seconds exceeds that of the first ones."""
        self._latencies_s.append(latency_s)
        if len(self._latencies_s) < _LATENCY_STEPS:
            return 0.0
        smallest_s = min(self._latencies_s)
        if self._first_latency_s is None:
            self._first_latency_s = smallest_s
        return smallest_s - self._first_latency_s

    def _overtaken_s(self, taken_s: float, now_s: float) -> float:
        """How much sound was taken that cannot have been played."""
        self._taken.append((taken_s, now_s))
        if len(self._taken) > _WINDOW_STEPS:
            began_taken_s, began_s = self._taken[0]
            excess_s = (taken_s - began_taken_s) - (now_s - began_s)
            if excess_s > _DRIFT * (now_s - began_s):
                self._piled_s += excess_s
            self._taken.clear()
            self._taken.append((taken_s, now_s))
        return self._piled_s
