"""How much latency to ask of a sound device: little at first, more where sound is lost, less after a quiet time."""

from __future__ import annotations

from dataclasses import dataclass

STEPS_S = (0.005, 0.010, 0.016, 0.024, 0.032, 0.048, 0.064, 0.096)
_LOW_S = {"input": 0.005, "output": 0.010}
"""What is asked for first. A sound server gives a microphone's sound in pieces as long as its latency, so that tiles
come late by up to a piece; outputs begin higher, since with 5 ms they ran dry."""
MIN_LATENCY_S, MAX_LATENCY_S = 0.002, 0.5
"""What a user may ask for."""

MAX_PLAUSIBLE_S = 2.0
"""A longer latency is an error of the driver."""

_SETTLING_S = 1.0  # a device that has just been opened may lose a block
_XRUN_WINDOW_S = 30.0
_XRUNS_TO_RAISE = 2  # a single one may have any reason
_XRUNS_TO_RAISE_MORE = 5  # from _LONG_S on, where delay begins to hurt more than a rare click
_LONG_S = 0.032
_QUIET_S = 600.0
_MAX_QUIET_S = 9600.0


@dataclass(frozen=True)
class Remembered:
    """What a device was found to need: its latency, and for how long nothing has been lost with it."""

    latency_s: float
    quiet_s: float = 0.0


class LatencySteps:
    """Chooses the latency of one device by its xruns; a fixed one stays.

    Two xruns within half a minute raise it by a step, five where it is long already. Ten minutes without any lower it,
    and twice as long each time that a lower step turned out to be too low. A program's own underruns do not count: no
    latency of the device mends sound that was not there.
    """

    def __init__(
        self, fixed_s: float | None = None, remembered: Remembered | None = None, low_s: float = 0.010
    ) -> None:
        """Nothing below ``low_s`` is asked for."""
        self._fixed_s = fixed_s
        self._low_s = low_s
        start_s = remembered.latency_s if remembered else 0.0
        self._step = next((at for at, step_s in enumerate(STEPS_S) if step_s >= start_s - 1e-6), len(STEPS_S) - 1)
        self._quiet_s = remembered.quiet_s if remembered else 0.0
        self._needed_quiet_s = _QUIET_S
        self._xruns_s: list[float] = []
        self._seen_s: float | None = None
        self._opened_s = 0.0

    @property
    def latency_s(self) -> float:
        """What to ask of the device."""
        if self._fixed_s is not None:
            return self._fixed_s
        return max(STEPS_S[self._step], min(self._low_s, STEPS_S[-1]))

    @property
    def remembered(self) -> Remembered:
        """What to keep for the next start."""
        return Remembered(STEPS_S[self._step], round(self._quiet_s, 1))

    def opened(self, now_s: float) -> None:
        """The device was opened at ``now_s``."""
        self._opened_s = self._seen_s = now_s

    def push(self, new_xruns: int, now_s: float) -> None:
        """Count the xruns since the last call; ``latency_s`` may change."""
        passed_s = 0.0 if self._seen_s is None else now_s - self._seen_s
        self._seen_s = now_s
        if self._fixed_s is not None or now_s - self._opened_s < _SETTLING_S:
            return
        if new_xruns:
            self._quiet_s = 0.0
            recent = [at_s for at_s in self._xruns_s if now_s - at_s < _XRUN_WINDOW_S]
            self._xruns_s = recent + [now_s] * new_xruns
            if len(self._xruns_s) >= (_XRUNS_TO_RAISE if self.latency_s < _LONG_S else _XRUNS_TO_RAISE_MORE):
                self._raise()
            return
        self._quiet_s += passed_s
        if self._quiet_s >= self._needed_quiet_s:
            self._quiet_s = 0.0
            self._lower()

    def _raise(self) -> None:
        self._xruns_s = []
        if self._has_lowered:
            self._needed_quiet_s = min(2 * self._needed_quiet_s, _MAX_QUIET_S)
        self._has_lowered = False
        while self._step + 1 < len(STEPS_S):
            self._step += 1
            if STEPS_S[self._step] > self._low_s:  # a step below the least that is asked for changes nothing
                break

    def _lower(self) -> None:
        if self._step and STEPS_S[self._step] > self._low_s:
            self._step -= 1
            self._has_lowered = True

    _has_lowered = False  # since it was raised last


def low_latency_s(kind: str, devices_own_s: float) -> float:
    """The least to ask of an ``input`` or ``output``: what the device itself calls low counts where it is long."""
    return devices_own_s if devices_own_s > _LOW_S["output"] else _LOW_S[kind]


def plausible_latency_s(reported_s: float, otherwise_s: float) -> float:
    """What a device reports as its latency, unless that is negative, no number, or longer than two seconds."""
    return reported_s if 0.0 <= reported_s <= MAX_PLAUSIBLE_S else otherwise_s
