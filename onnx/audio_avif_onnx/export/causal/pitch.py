"""The pitch of a voice from the spectrum that its mel implies."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from audio_avif.config import MelConfig
from audio_avif_onnx.export.precision import without_autocast

PITCH_HZ = (60, 400)
_CORRELATED_HZ = (62.5, 2000.0)  # above, mel bands are wider than harmonics are apart
_SHARPNESS = 40.0
_PITCH_STEPS = 96  # an octave


class PitchHead(nn.Module):
    """Scores of all periods: the autocorrelation of the prior's power spectrum plus a learned correction.

    Shape: prior ``[batch, frames, bins]`` and hidden ``[batch, frames, channels]`` -> ``[batch, frames, lags]``,
    the logits of a softmax.
    """

    octaves: Tensor
    table: Tensor
    likelihood: Tensor

    def __init__(self, mel: MelConfig, channels: int) -> None:
        super().__init__()
        lags = torch.arange(mel.rate_hz // PITCH_HZ[1], mel.rate_hz // PITCH_HZ[0] + 1)
        self.register_buffer("octaves", torch.log2(mel.rate_hz / PITCH_HZ[0] / lags), persistent=False)
        low, high = (round(hz * mel.n_fft / mel.rate_hz) for hz in _CORRELATED_HZ)
        self._bins = slice(low, high)
        angle = 2 * math.pi / mel.n_fft * torch.arange(low, high)[:, None] * lags
        self.register_buffer("table", angle.cos(), persistent=False)
        falling = _SHARPNESS * (1 - 0.1 * torch.linspace(0, 1, lags.numel()))  # multiples of a period fit as well
        self.register_buffer("likelihood", falling, persistent=False)
        self.learned = nn.Linear(channels, lags.numel())
        nn.init.zeros_(self.learned.weight)

    def forward(self, prior: Tensor, hidden: Tensor) -> Tensor:
        likely: Tensor = self._correlation(prior) + self.learned(hidden).float()
        return likely

    @without_autocast
    def _correlation(self, prior: Tensor) -> Tensor:
        power = (2 * prior[..., self._bins]).exp()
        return (power @ self.table) / power.sum(dim=-1, keepdim=True) * self.likelihood

    def pitch(self, likely: Tensor) -> Tensor:
        """Expected pitch in octaves above the lowest, ``[batch, frames, 1]``."""
        return (likely.softmax(dim=-1) * self.octaves).sum(dim=-1, keepdim=True)

    def rounded(self, likely: Tensor) -> Tensor:
        """The pitch, rounded to about an eighth of a semitone.

        Matrix products round differently for other numbers of frames. Without rounding the phase would drift with
        every frame, and the output would depend on the chunks of a stream.
        """
        return (self.pitch(likely) * _PITCH_STEPS).round() / _PITCH_STEPS
