"""Whether this machine keeps up with a vocoder."""

from __future__ import annotations

_WINDOW_S = 1.5
_MAX_SHARE = 0.9  # of real time; the rest is needed for all else


class VocoderLoad:
    """Finds from the time that sound took to make whether a vocoder is too slow for this machine as it is now.

    It is where two windows in a row took almost as long to make as they last: a single stall is no reason.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget earlier sound, as that of another vocoder."""
        self._took_s = self._sound_s = 0.0
        self._was_slow = False

    def push(self, took_s: float, sound_s: float) -> bool:
        """Record that ``sound_s`` of sound took ``took_s`` to make; return whether the vocoder is too slow."""
        self._took_s += took_s
        self._sound_s += sound_s
        if self._sound_s < _WINDOW_S:
            return False
        is_slow = self._took_s >= _MAX_SHARE * self._sound_s
        is_too_slow = is_slow and self._was_slow
        self._took_s = self._sound_s = 0.0
        self._was_slow = is_slow
        return is_too_slow
