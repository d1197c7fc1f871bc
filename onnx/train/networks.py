"""Causal frame-rate networks, channels last: every tensor is ``[batch, frames, channels]``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from spectra import MagnitudePrior
from torch import Tensor, nn
from torch.nn import functional

from audio_avif.config import MelConfig

LOG_CEILING = 7.0


class CausalDepthwise(nn.Module):
    """Depthwise convolution over the present and the ``kernel - 1`` frames before it, zero before the first."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.past_frames = kernel - 1
        self.weight = nn.Parameter(torch.randn(kernel, channels) / kernel**0.5)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and the last frames, which are the next call's ``past``."""
        frames = x.shape[1]
        whole = torch.cat([past.to(x.dtype), x], dim=1)
        out = whole[:, :frames] * self.weight[0]
        for tap in range(1, self.past_frames + 1):
            out = out + whole[:, tap : tap + frames] * self.weight[tap]
        return out, whole[:, frames:]


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, norm, and a pointwise bottleneck turned inside out (Liu et al. 2022), causal."""

    def __init__(self, channels: int, expansion: int, kernel: int) -> None:
        super().__init__()
        self.mix = CausalDepthwise(channels, kernel)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, channels * expansion)
        self.narrow = nn.Linear(channels * expansion, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.3))

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        mixed, past = self.mix(x, past)
        inner = functional.gelu(self.widen(self.norm(mixed)), approximate="tanh")
        return x + self.scale * self.narrow(inner), past


@dataclass(frozen=True)
class MagnitudeConfig:
    """Sizes of the magnitude network."""

    channels: int = 256
    blocks: int = 6
    expansion: int = 2
    kernel: int = 5


class MagnitudeNet(nn.Module):
    """Received log-mel to the natural-log magnitude of every bin: a correction of the pseudo-inverse.

    Output frame k sees mel frames up to k + 1: one frame of lookahead, counted by the caller, who feeds one more frame
    than comes out. Shape: ``[batch, 1 + frames, n_mels]`` -> ``[batch, frames, n_fft // 2 + 1]``.
    """

    lookahead_frames = 1

    def __init__(self, mel: MelConfig, config: MagnitudeConfig) -> None:
        super().__init__()
        bins = mel.n_fft // 2 + 1
        self.config = config
        self.prior = MagnitudePrior(mel)
        self.enter = nn.Linear(mel.n_mels + bins, config.channels)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(config.channels, config.expansion, config.kernel) for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.channels)
        self.leave = nn.Linear(config.channels, bins)

    def zero_state(self, batch: int) -> list[Tensor]:
        """What stands before the first frame: one ``[batch, kernel - 1, channels]`` a block."""
        past_frames, channels = self.config.kernel - 1, self.config.channels
        return [self.leave.weight.new_zeros(batch, past_frames, channels) for _ in self.blocks]

    def stream(self, log_mel: Tensor, prior: Tensor, state: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Correction of the prior, hidden features and the next state; output frame k belongs to mel frame k - 1."""
        x = self.enter(torch.cat([(log_mel.clamp(min=-6.0) + 3.0) / 1.5, (prior + 2.0) / 3.0], dim=-1))
        next_state = []
        for block, past in zip(self.blocks, state, strict=True):
            x, past = block(x, past)
            next_state.append(past)
        hidden = self.norm(x)
        return self.leave(hidden), hidden, next_state

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-magnitude, hidden features ``[batch, frames, channels]``, and the prior, which has one frame more."""
        prior = self.prior(log_mel)
        correction, hidden, _ = self.stream(log_mel, prior, self.zero_state(log_mel.shape[0]))
        log_magnitude = prior[:, :-1] + correction[:, 1:].float()
        return log_magnitude.clamp(max=LOG_CEILING), hidden[:, 1:], prior
