"""Notice that a call howls: each end's microphone hears its loudspeaker, and the sound grows at each round."""

from __future__ import annotations

from collections import deque

LOUD_DB = -9.0
"""RMS of full scale that speech does not keep up; a clipped tone has -3 to 0 dB."""
RISE_DB = 12.0
"""How much quieter it was before; what has been loud all along is no howling."""
LASTS_S = 2.0
"""How long both directions stay that loud."""

_MEMORY_S = 15.0


class HowlingWatch:
    """Takes the levels of both directions; both must rise, and then stay near full scale."""

    def __init__(self) -> None:
        self._levels: deque[tuple[float, float]] = deque()  # when, and the quieter direction's level
        self._loud_since_s: float | None = None
        self._is_told = False

    def push(self, said_db: float, heard_db: float, now_s: float) -> bool:
        """Take the levels in dB of full scale at a time; return whether howling has begun, once each time it does."""
        level_db = min(said_db, heard_db)
        self._levels.append((now_s, level_db))
        while self._levels[0][0] < now_s - _MEMORY_S:
            self._levels.popleft()
        if level_db < LOUD_DB:
            self._loud_since_s, self._is_told = None, False
            return False
        if self._loud_since_s is None:
            self._loud_since_s = now_s
        has_risen = min(level for _, level in self._levels) <= level_db - RISE_DB
        if self._is_told or not has_risen or now_s - self._loud_since_s < LASTS_S:
            return False
        self._is_told = True
        return True
