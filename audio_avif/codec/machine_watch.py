"""How fast and how punctual this machine is, as the playout buffer must know it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

from audio_avif.codec.playout import Pacer, Unsteadiness
from audio_avif.link.jitter import recent_s

_MEMORY_S = 5.0
_KNOWN_S = 0.5
_MAX_SEEN = 512
_OF_LATE = 9
_WAKES_S = 0.0025  # a thread that waits until concealment is due may be woken so much later


@dataclass(frozen=True)
class OutputState:
    """The output before a tile's sound is written: ``written_s`` in all, ``buffered_s`` of it waiting.

    Of these it cannot play the last ``reserve_s`` until more is written; a sample is heard ``device_s`` after it leaves
    the buffer. It lacked sound ``underruns`` times.
    """

    written_s: float
    buffered_s: float
    reserve_s: float
    device_s: float
    underruns: int


@dataclass(frozen=True)
class _Spoken:
    """A tile: when its sound was made, when the output would have run dry and usually did, how long it had been dry,
    how long the sound took, and how late the tile came."""

    at_s: float
    dry_s: float
    usual_dry_s: float
    silence_s: float
    delay_s: float
    late_s: float


class Steadiness:
    """Finds how much sound must be waiting because this machine is not punctual, from the last ``recent_s``.

    A tile needs what the output cannot play until more is written, and besides: how much sooner than usual the output
    was about to run dry, or how long it had been dry; how much longer than usual the tile's sound took to make; and how
    late the tile came. What is usual is the median of the tiles before it, or of the latest tiles if that is sooner. So
    an output that begins to play later, as a device does that was opened again, adds nothing.
    ``unsteady`` is known after half a second: from the greatest of each cause, and from the greatest sum of one tile.
    """

    def __init__(self) -> None:
        self._seen: deque[_Spoken] = deque(maxlen=_MAX_SEEN)
        self.unsteady: Unsteadiness | None = None
        self._began_s: float | None = None
        self._underruns = 0

    def reset(self) -> None:
        """Forget what was before a silence; the value stays until half a second is known again."""
        self._seen.clear()
        self._began_s = None

    def push(self, now_s: float, output: OutputState, delay_s: float, late_s: float) -> None:
        """Record a tile that came ``late_s`` later than the earliest, and whose sound was made ``delay_s`` after it."""
        dry_s = now_s + output.buffered_s - output.written_s
        before_s = [spoken.dry_s for spoken in list(self._seen)[1 - _OF_LATE :]]
        silence_s = dry_s - median(before_s) if before_s and output.underruns > self._underruns else 0.0
        self._underruns = output.underruns
        self._seen.append(_Spoken(now_s, dry_s, median([*before_s, dry_s]), silence_s, delay_s, late_s))
        self._began_s = now_s if self._began_s is None else self._began_s
        while self._seen[0].at_s < now_s - recent_s(now_s - self._began_s):
            self._seen.popleft()
        unsteady = self._judge(output.reserve_s)
        is_known = now_s - self._began_s >= _KNOWN_S
        if is_known or (self.unsteady is not None and unsteady.alone_s > self.unsteady.alone_s):
            self.unsteady = unsteady

    def _judge(self, reserve_s: float) -> Unsteadiness:
        usual_dry_s = self._seen[-1].usual_dry_s
        usual_delay_s = median(spoken.delay_s for spoken in self._seen)
        sooner_s = [
            max(0.0, min(usual_dry_s, spoken.usual_dry_s) - spoken.dry_s, spoken.silence_s) for spoken in self._seen
        ]
        longer_s = [spoken.delay_s - usual_delay_s for spoken in self._seen]
        late_s = [spoken.late_s for spoken in self._seen]
        sums_s = map(sum, zip(sooner_s, longer_s, late_s, strict=True))
        alone_s = reserve_s + _WAKES_S + max(sooner_s) + max(longer_s)
        return Unsteadiness(alone_s, reserve_s + max(sums_s) - max(late_s))


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

    def push(self, spoken_s: float, output: OutputState, took_s: float, delay_s: float, late_s: float) -> None:
        """Record a tile whose sound was made at ``spoken_s``.

        It came ``late_s`` later than the earliest. The work took ``took_s``, and its end was ``delay_s`` after it could
        begin.
        """
        self._took_s.append(took_s)
        self._pacer.processing_s = median(self._took_s)
        self._steadiness.push(spoken_s, output, delay_s, late_s)
        if self._steadiness.unsteady is not None:
            self._pacer.unsteady = self._steadiness.unsteady
