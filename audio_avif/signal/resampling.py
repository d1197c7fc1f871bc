"""Live sound from one rate to another, with 3 ms of delay."""

from __future__ import annotations

import math

import numpy as np

from audio_avif.types import FloatArray


class Resampler:
    """Streaming polyphase resampler with a delay of 3 ms, for live sound.

    Flat to 95 % of the lower Nyquist frequency, 80 dB down from 105 %: with 16 kHz inside, aliases stay above the
    7600 Hz where the mel bands end. libsoxr's streams are cleaner, but hand out their samples in lumps 36 ms apart.
    Source: Kaiser-windowed sinc, Oppenheim and Schafer, Discrete-Time Signal Processing, 7.6.
    """

    def __init__(self, in_rate_hz: int, out_rate_hz: int) -> None:
        if in_rate_hz < 1 or out_rate_hz < 1:
            raise ValueError(f"rates must be positive, not {in_rate_hz} and {out_rate_hz}")
        common = math.gcd(in_rate_hz, out_rate_hz)
        self._phases, self._step = out_rate_hz // common, in_rate_hz // common
        lower_hz = min(in_rate_hz, out_rate_hz)
        self._taps = _polyphase_taps(self._phases, lower_hz / in_rate_hz)
        self._ahead = 0 if self._phases == self._step else self._taps.shape[1] // 2
        self.latency_s = self._ahead / in_rate_hz
        """How long after its own instant a sample comes out."""
        self.reset()

    def reset(self) -> None:
        """Forget the past; the next sample is the first."""
        self._pending: FloatArray = np.zeros(max(0, self._ahead - 1), np.float32)
        self._pushed = 0  # input samples so far
        self._made = 0  # output samples so far
        self._first = -self._pending.size  # position of self._pending[0] in the input

    def push(self, samples: FloatArray) -> FloatArray:
        """Take ``[samples] float32`` at the first rate; return those at the second that have their lookahead."""
        if not self._ahead:
            return samples
        self._pending = np.concatenate([self._pending, samples])
        self._pushed += samples.size
        return self._emit(-(-(self._pushed - self._ahead) * self._phases // self._step))

    def flush(self) -> FloatArray:
        """Return the samples held back, so that ``ceil(pushed * out / in)`` have come out; then ``reset``."""
        total = -(-self._pushed * self._phases // self._step)
        self._pending = np.concatenate([self._pending, np.zeros(self._ahead, np.float32)])
        tail = self._emit(total)
        self.reset()
        return tail

    def _emit(self, until: int) -> FloatArray:
        if until <= self._made:
            return np.zeros(0, np.float32)
        position = np.arange(self._made, until) * self._step
        start = position // self._phases - self._ahead + 1 - self._first
        windows = np.lib.stride_tricks.sliding_window_view(self._pending, self._taps.shape[1])[start]
        out: FloatArray = np.einsum("ij,ij->i", windows, self._taps[position % self._phases])
        self._made = until
        dropped = until * self._step // self._phases - self._ahead + 1 - self._first
        self._pending = self._pending[dropped:]
        self._first += dropped
        return out


def _polyphase_taps(phases: int, bandwidth: float) -> FloatArray:
    """Return ``[phases, taps] float32``: row p interpolates p/phases of a sample after the middle, gain 1 at 0 Hz.

    ``bandwidth`` is the kept part of the input's band, 1 where the output has the higher rate.
    """
    stop_db, transition = 80.0, 0.1 * bandwidth / 2  # in cycles per input sample
    half = math.ceil((stop_db - 7.95) / (14.36 * transition) / 2)
    beta = 0.1102 * (stop_db - 8.7)
    offset = np.arange(1 - half, half + 1) - np.arange(phases)[:, None] / phases
    window = np.i0(beta * np.sqrt(np.clip(1 - (offset / half) ** 2, 0, 1)))
    taps = window * np.sinc(offset * bandwidth)
    return np.asarray(taps / taps.sum(axis=1, keepdims=True), np.float32)
