"""Causal convolutions: each takes its past as an argument and returns the past of the next call."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_avif_onnx.export.members import members

SLOPE = 0.1
"""Of the leaky rectifiers."""


class CausalConv(nn.Module):
    """Convolution over present and past steps of ``[batch, channels, steps]``, zero before the first."""

    def __init__(self, channels: int, out_channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.past_shape = (channels, (kernel - 1) * dilation)
        self.conv = nn.Conv1d(channels, out_channels, kernel, dilation=dilation)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and the last steps, the ``past`` of the next call."""
        whole = torch.cat([past.to(x.dtype), x], dim=2)
        return self.conv(whole), whole[:, :, -self.past_shape[1] :]


class CausalUpsampling(nn.Module):
    """Transposed convolution whose kernel spans two steps: ``rate`` outputs from a step and the one before it."""

    def __init__(self, channels: int, out_channels: int, rate: int) -> None:
        super().__init__()
        self._rate = rate
        self.conv = CausalConv(channels, out_channels * rate, 2)
        self.past_shape = self.conv.past_shape

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        phases, past = self.conv(x, past)
        return phases.unflatten(1, (-1, self._rate)).transpose(2, 3).flatten(2), past


class ResidualBranches(nn.Module):
    """Mean of residual branches of several kernels, each a chain of dilated convolutions (HiFi-GAN's MRF, type 2)."""

    def __init__(self, channels: int, kernels: tuple[int, ...], dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.ModuleList(CausalConv(channels, channels, kernel, dilation) for dilation in dilations)
            for kernel in kernels
        )

    def forward(self, x: Tensor, pasts: Iterator[Tensor], next_pasts: list[Tensor]) -> Tensor:
        results = []
        for branch in members(self.branches, nn.ModuleList):
            hidden = x
            for conv in branch:
                change, past = conv(functional.leaky_relu(hidden, SLOPE), next(pasts))
                hidden = hidden + change
                next_pasts.append(past)
            results.append(hidden)
        return torch.stack(results).mean(dim=0)
