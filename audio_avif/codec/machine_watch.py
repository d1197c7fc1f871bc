"""How fast and how punctual this machine is, as the playout buffer must know it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

from audio_avif.codec.playout import Pacer
from audio_avif.link.jitter import recent_s

_MEMORY_S = 5.0
_KNOWN_S = 1.0
_MAX_SEEN = 512
_OF_LATE = 9
_WAKES_S = 0.001  # a thread that waits is woken so much later


class Steadiness:
    """Finds how much sound must be waiting because this machine is not punctual, from the last ``recent_s``.

    ``unsteady_s`` is a sum: what the output cannot play until more is written, how much sooner than of late the output
    was about to run dry, and how much longer than usual a tile's sound took to make. It is None in the first second.
    """

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float, float]] = deque(maxlen=_MAX_SEEN)
        self.unsteady_s: float | None = None
        self._began_s: float | None = None

    def reset(self) -> None:
        """Forget what was before a silence; the value stays until a second is known again."""
        self._seen.clear()
        self._began_s = None

    def push(self, now_s: float, written_s: float, buffered_s: float, reserve_s: float, delay_s: float) -> None:
        """Record a tile's sound that was made ``delay_s`` after the tile came.

        So far ``written_s`` were written to the output, of which ``buffered_s`` are still waiting; of these the output
        cannot play the last ``reserve_s`` until more is written.
        """
        self._seen.append((now_s, now_s + buffered_s - written_s, delay_s))
        self._began_s = now_s if self._began_s is None else self._began_s
        while self._seen[0][0] < now_s - recent_s(now_s - self._began_s):
            self._seen.popleft()
        ends_s = [end_s for _, end_s, _ in self._seen]
        delays_s = [delay_s for _, _, delay_s in self._seen]
        sooner_s = max(0.0, median(ends_s[-_OF_LATE:]) - min(ends_s))
        unsteady_s = reserve_s + _WAKES_S + sooner_s + max(delays_s) - median(delays_s)
        if now_s - self._began_s >= _KNOWN_S or (self.unsteady_s is not None and unsteady_s > self.unsteady_s):
            self.unsteady_s = unsteady_s


@dataclass(frozen=True)
class OutputState:
    """The output before a tile's sound is written: ``written_s`` in all, ``buffered_s`` of it waiting.

    Of these it cannot play the last ``reserve_s`` until more is written; a sample is heard ``device_s`` after it leaves
    the buffer.
    """

    written_s: float
    buffered_s: float
    reserve_s: float
    device_s: float


class MachineWatch:
    """Measures the tiles that are spoken and tells the pacer: the usual time for one, and how unsteady all is."""

    def __init__(self, pacer: Pacer, tile_s: float) -> None:
        """Begin with what the pacer knows."""
        self._pacer = pacer
        self._took_s = deque([pacer.processing_s], maxlen=max(2, round(_MEMORY_S / tile_s)))
        self._steadiness = Steadiness()

    def forget_vocoder(self) -> None:
        """Forget the time for a tile: another vocoder speaks from now on."""
        self._took_s.clear()

    def forget_depths(self) -> None:
        """Forget when the output was about to run dry: it was silent."""
        self._steadiness.reset()

    def push(self, spoken_s: float, took_s: float, delay_s: float, output: OutputState) -> None:
        """Record a tile whose sound was made at ``spoken_s``.

        The work took ``took_s``, and its end was ``delay_s`` after it could begin.
        """
        self._took_s.append(took_s)
        self._pacer.processing_s = median(self._took_s)
        self._steadiness.push(spoken_s, output.written_s, output.buffered_s, output.reserve_s, delay_s)
        if self._steadiness.unsteady_s is not None:
            self._pacer.unsteady_s = self._steadiness.unsteady_s
