"""Causal frame-rate networks, channels last: every tensor is ``[batch, frames, channels]``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_avif_onnx.export.recurrent.config import RecurrentConfig
from audio_avif_onnx.export.recurrent.prior import LOG_FLOOR, MagnitudePrior

LOG_CEILING = 7.0


class CausalDepthwise(nn.Module):
    """Depthwise convolution over the present and the ``kernel - 1`` frames before it, zero before the first."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.past_frames = kernel - 1
        self.weight = nn.Parameter(torch.randn(kernel, channels) / kernel**0.5)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and the last frames, the ``past`` of the next call."""
        whole = torch.cat([past.to(x.dtype), x], dim=1)
        out = whole[:, self.past_frames :] * self.weight[self.past_frames]
        for back in range(1, self.past_frames + 1):  # counted from the end: a graph then holds no arithmetic on sizes
            out = out + whole[:, self.past_frames - back : -back] * self.weight[self.past_frames - back]
        return out, whole[:, -self.past_frames :]


class ConvNeXtBlock(nn.Module):
    """Causal depthwise convolution, norm, and an inverted pointwise bottleneck (Liu et al. 2022)."""

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


class MagnitudeNet(nn.Module):
    """Received log-mel to the natural-log magnitude of every bin of a window, as a correction of the pseudo-inverse.

    Output frame k depends on mel frames up to k + ``lookahead_frames``, so the input has that many more frames.
    Shape: ``[batch, lookahead_frames + frames, n_mels]`` -> ``[batch, frames, bins]``.
    """

    def __init__(self, whole: RecurrentConfig) -> None:
        super().__init__()
        self.config = config = whole.magnitude
        self.lookahead_frames = whole.lookahead_frames
        self.bins = whole.bins
        self._ratio = whole.mel.n_fft // whole.window_samples
        self.prior = MagnitudePrior(whole.mel)
        self.enter = nn.Linear(whole.mel.n_mels + whole.mel.n_fft // 2 + 1, config.channels)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(config.channels, config.expansion, config.kernel) for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.channels)
        self.leave = nn.Linear(config.channels, self.bins)

    def zero_state(self, batch: int) -> list[Tensor]:
        """The state before the first frame: one ``[batch, kernel - 1, channels]`` per block."""
        past_frames, channels = self.config.kernel - 1, self.config.channels
        return [self.leave.weight.new_zeros(batch, past_frames, channels) for _ in self.blocks]

    def stream(self, log_mel: Tensor, prior: Tensor, state: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return the correction of the prior, hidden features and the next state, up to the newest possible frame."""
        x = self.enter(torch.cat([(log_mel.clamp(min=-6.0) + 3.0) / 1.5, (prior + 2.0) / 3.0], dim=-1))
        next_state = []
        for block, past in zip(self.blocks, state, strict=True):
            x, past = block(x, past)
            next_state.append(past)
        hidden = self.norm(x)
        return self.leave(hidden), hidden, next_state

    def at_bins(self, prior: Tensor) -> Tensor:
        """The prior of the mel window, scaled and sampled at the bins of the shorter synthesis window."""
        return prior[..., :: self._ratio] - math.log(self._ratio)

    @property
    def silent_prior(self) -> float:
        """The prior of silence at the bins of the synthesis window."""
        return math.log(LOG_FLOOR) - math.log(self._ratio)

    def present(self, priors: Tensor) -> Tensor:
        """The output frames among ``[batch, 1 + frames, ...]``: the previous mel frame and the newest ones."""
        return priors[:, :-1] if self.lookahead_frames else priors[:, 1:]

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log-magnitude, hidden features ``[batch, frames, channels]``, and priors, which have one more frame.

        Output frame k may use priors up to k + 1.
        """
        prior = self.prior(log_mel)
        correction, hidden, _ = self.stream(log_mel, prior, self.zero_state(log_mel.shape[0]))
        priors = self.at_bins(prior)
        if not self.lookahead_frames:
            priors = functional.pad(priors, (0, 0, 1, 0), value=self.silent_prior)
        log_magnitude = self.present(priors) + correction[:, self.lookahead_frames :].float()
        return log_magnitude.clamp(max=LOG_CEILING), hidden[:, self.lookahead_frames :], priors
