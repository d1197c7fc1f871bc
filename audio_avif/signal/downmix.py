"""Several channels to one, without losing what cancels or drowns in their mean."""

from __future__ import annotations

import numpy as np

from audio_avif.notices import warn_once
from audio_avif.types import DoubleArray, FloatArray

_WINDOW_S = 0.01
_FAST_S = 0.1
_SLOW_S = 3.0
# A channel alone beside a silent one is 6 dB above the mean of both. That is no fault: with two people, one on each
# side, the mean loses the first sounds of neither.
_SELECT_RATIO = 10**0.7
_SELECT_S = 0.2
_AT_ONCE_RATIO = 10**1.3
_MEAN_RATIO = 10**0.4
_OTHER_RATIO = 2.0
_QUIET_RATIO = 0.01
_SILENCE = 1e-10  # mean square, -100 dB


class _Choice:
    """Which channel is heard alone, by the powers of one window after the other."""

    def __init__(self, channels: int, window_samples: int, rate_hz: int, name: str) -> None:
        self.selected: int | None = None
        """The channel that is heard alone; None for the mean of all."""
        self._name = name
        self._window_samples = window_samples
        self._lasting_samples = round(_SELECT_S * rate_hz)
        window_s = window_samples / rate_hz
        self._keep_fast, self._keep_slow = (float(np.exp(-window_s / span_s)) for span_s in (_FAST_S, _SLOW_S))
        self._fast: DoubleArray = np.zeros(channels + 1)
        self._slow: DoubleArray = np.zeros(channels + 1)
        self._weak_windows = 0

    def push(self, powers: FloatArray) -> None:
        """Take the powers ``[channels + 1]`` of a window, that of the mean last; choose for the next window."""
        if not np.isfinite(powers).all():  # a broken driver; it would never be forgotten
            return
        self._fast += (1 - self._keep_fast) * (powers - self._fast)
        self._slow += (1 - self._keep_slow) * (powers - self._slow)
        strongest = int(self._fast[:-1].argmax())
        loudest = self._fast[strongest]
        if loudest < _SILENCE:
            return
        if self.selected is None:
            is_in_sound = loudest > _QUIET_RATIO * self._slow[:-1].max()
            is_weak = is_in_sound and _is_mean_weak(self._fast, _SELECT_RATIO)
            self._weak_windows = self._weak_windows + 1 if is_weak else 0
            is_lasting = self._weak_windows * self._window_samples >= self._lasting_samples
            if is_weak and (is_lasting or _is_mean_weak(self._fast, _AT_ONCE_RATIO)):
                self.selected = strongest
                warn_once(
                    f"{self._name}: the channels cancel each other, or all but one are nearly silent; "
                    "the strongest channel alone is used while they do"
                )
        elif not _is_mean_weak(self._fast, _MEAN_RATIO) and not _is_mean_weak(self._slow, _MEAN_RATIO):
            self.selected = None
        elif loudest > _OTHER_RATIO * self._fast[self.selected]:
            self.selected = strongest


class Downmixer:
    """The mean of all channels, or the strongest channel alone while the mean is 7 dB weaker than that channel.

    Channels in opposite phase cancel in the mean, and one voice among six channels drowns in it. A mean that is 7 dB
    weaker for a fifth of a second is left, one that is 13 dB weaker at once; it comes back when it has been less than
    4 dB weaker for some seconds of sound. The noise of pauses counts little. Powers are compared window by window, and
    what one window shows holds from the next on, into which it is faded. So the samples have no delay, and any
    chunking gives the same ones.
    """

    latency_samples = 0

    def __init__(self, channels: int, rate_hz: int, name: str) -> None:
        """``name`` is for the warning that is logged when a channel is selected for the first time."""
        if channels < 1:
            raise ValueError(f"there must be at least one channel, not {channels}")
        self._channels = channels
        self._rate_hz = rate_hz
        self._name = name
        self._window_samples = max(1, round(_WINDOW_S * rate_hz))
        self.reset()

    def reset(self) -> None:
        """Start a new signal with the mean of all channels."""
        self._choice = _Choice(self._channels, self._window_samples, self._rate_hz, self._name)
        self._previous: int | None = None  # what the current window fades from
        self._window: FloatArray = np.zeros((0, self._channels + 1), np.float32)  # its channels and their mean

    def push(self, samples: FloatArray) -> FloatArray:
        """Take ``[samples, channels] float32`` of any length; return as many, ``[samples]``."""
        if samples.ndim != 2 or samples.shape[1] != self._channels:
            raise ValueError(f"samples must be [samples, {self._channels}], not of shape {samples.shape}")
        mixed: FloatArray = samples.mean(axis=1, dtype=np.float32)
        if self._channels == 1:
            return mixed
        at = 0
        known = np.concatenate([self._window, np.column_stack([samples, mixed])])
        powers = self._powers(known)
        for number in range(len(powers) + 1):
            end = min((number + 1) * self._window_samples - len(self._window), len(samples))
            self._mix(samples[at:end], mixed[at:end], at + len(self._window) - number * self._window_samples)
            if number < len(powers):
                self._previous = self._choice.selected
                self._choice.push(powers[number])
            at = end
        self._window = known[len(powers) * self._window_samples :].copy()
        return mixed

    def _powers(self, signals: FloatArray) -> FloatArray:
        """Mean squares ``[windows, channels + 1]`` of the signals in each whole window."""
        windows = len(signals) // self._window_samples
        whole = np.ascontiguousarray(signals[: windows * self._window_samples].T)
        squares = np.square(whole).reshape(self._channels + 1, windows, self._window_samples)
        return np.asarray(squares.mean(axis=2).T, np.float32)

    def _mix(self, samples: FloatArray, mixed: FloatArray, first: int) -> None:
        """Replace the means ``mixed`` of samples that begin at ``first`` of the window where they are not wanted."""
        selected = self._choice.selected
        if selected is None and self._previous is None:
            return
        share = (np.arange(first, first + len(samples), dtype=np.float32) + np.float32(0.5)) / self._window_samples
        before = mixed if self._previous is None else samples[:, self._previous]
        after = mixed if selected is None else samples[:, selected]
        mixed[:] = before + share * (after - before) if self._previous != selected else after


def _is_mean_weak(powers: DoubleArray, ratio: float) -> bool:
    """Whether the mean has less than one ``ratio``-th of the strongest channel's power."""
    return bool(powers[:-1].max() > ratio * powers[-1])
