"""Pitch tracking, for training a generator's pulses."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_VOICED_FROM = 0.6
_SHORTER_IS_LIKELIER = 0.1  # among multiples of a period, which fit as well
_QUIET_POWER = 1e-7


class PitchTracker(nn.Module):
    """The highest peak of each window's autocorrelation, divided by the window function's own (Boersma 1993).

    Shape: ``[..., window]`` samples -> ``[...]`` octaves above ``lowest_hz``, NaN where a window is unvoiced or silent.
    """

    window: Tensor
    own: Tensor
    likelihood: Tensor

    def __init__(self, window_samples: int, rate_hz: int, lowest_hz: float, highest_hz: float) -> None:
        super().__init__()
        self._length = 2 * window_samples
        self._first, last = math.floor(rate_hz / highest_hz), math.ceil(rate_hz / lowest_hz)
        self._octaves_at_a_sample = math.log2(rate_hz / lowest_hz)
        self._octaves = math.log2(highest_hz / lowest_hz)
        self._lags = slice(self._first - 1, last + 2)  # with a neighbour on each side
        window = torch.hann_window(window_samples)
        self.register_buffer("window", window, persistent=False)
        own = torch.fft.irfft(torch.fft.rfft(window, n=self._length).abs().square())
        self.register_buffer("own", (own / own[0])[self._lags], persistent=False)
        falling = 1 - _SHORTER_IS_LIKELIER * torch.linspace(0, 1, self.own.numel())
        self.register_buffer("likelihood", falling, persistent=False)

    @torch.no_grad()
    def forward(self, windows: Tensor) -> Tensor:
        spectrum = torch.fft.rfft(windows.float() * self.window, n=self._length)
        correlation = torch.fft.irfft(spectrum.real.square() + spectrum.imag.square())
        power = correlation[..., :1]
        likeness = correlation[..., self._lags] / (power + 1e-9) / self.own
        peak = (likeness * self.likelihood)[..., 1:-1].argmax(dim=-1, keepdim=True) + 1
        before, height, after = (likeness.gather(-1, peak + offset) for offset in (-1, 0, 1))
        # The top of the parabola through the three.
        bend = (before - 2 * height + after).clamp(max=-1e-6)
        lag = peak + self._first - 1 + ((before - after) / (2 * bend)).clamp(-0.5, 0.5)
        octaves = (self._octaves_at_a_sample - lag.log2()).clamp(0.0, self._octaves)
        voiced = (height > _VOICED_FROM) & (power > _QUIET_POWER * self.window.numel())
        return torch.where(voiced, octaves, torch.nan).squeeze(-1)
