"""Discriminators on waveforms folded at prime periods (Kong, Kim and Bae 2020) and on spectra (Jang et al. 2021)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

PERIODS = (2, 3, 5, 7, 11)
LENGTHS = (256, 512, 1024)
_SLOPE = 0.1


class _Discriminator(nn.Module):
    """A stack of 2-d convolutions; returns the output of every layer, the score last."""

    def __init__(self, layers: list[nn.Conv2d]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)

    def features(self, picture: Tensor) -> list[Tensor]:
        features = []
        for layer in self.layers[:-1]:
            picture = functional.leaky_relu(layer(picture), _SLOPE)
            features.append(picture)
        return [*features, self.layers[-1](picture)]


class PeriodDiscriminator(_Discriminator):
    """Folds ``[batch, samples]`` into rows of ``period`` samples."""

    def __init__(self, period: int, channels: int) -> None:
        widths = [1, channels, channels * 2, channels * 4, channels * 8]
        pairs = pairwise(widths)
        layers = [nn.Conv2d(low, high, (5, 1), (3, 1), (2, 0)) for low, high in pairs]
        super().__init__([*layers, nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0))])
        self._period = period

    def forward(self, samples: Tensor) -> list[Tensor]:
        usable = samples.shape[-1] // self._period * self._period
        return self.features(torch.unflatten(samples[:, :usable], -1, (-1, self._period)).unsqueeze(1))


class SpectrumDiscriminator(_Discriminator):
    """Takes the compressed magnitudes at one window length."""

    window: Tensor

    def __init__(self, length: int, channels: int) -> None:
        widths = [1, channels, channels, channels * 2, channels * 2]
        pairs = pairwise(widths)
        layers = [nn.Conv2d(low, high, (3, 9), (1, 2), (1, 4)) for low, high in pairs]
        super().__init__([*layers, nn.Conv2d(widths[-1], 1, 3, 1, 1)])
        self._length = length
        self.register_buffer("window", torch.hann_window(length), persistent=False)

    def forward(self, samples: Tensor) -> list[Tensor]:
        spectrum = torch.fft.rfft(samples.unfold(-1, self._length, self._length // 4) * self.window)
        return self.features((spectrum.abs() + 1e-5).pow(0.3).unsqueeze(1))


class Discriminators(nn.Module):
    """All discriminators; ``[batch, samples]`` -> one list of features from each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        periods = [PeriodDiscriminator(period, channels) for period in PERIODS]
        spectra = [SpectrumDiscriminator(length, channels) for length in LENGTHS]
        self.judges = nn.ModuleList([*periods, *spectra])  # checkpoints hold this name

    def forward(self, samples: Tensor) -> list[list[Tensor]]:
        return [discriminator(samples) for discriminator in self.judges]


def discriminator_loss(real: list[list[Tensor]], produced: list[list[Tensor]]) -> Tensor:
    """The loss of the discriminators: least squares towards 1 for real and 0 for produced sound (Mao et al. 2017)."""
    errors = [(1 - r[-1]).square().mean() + p[-1].square().mean() for r, p in zip(real, produced, strict=True)]
    return torch.stack(errors).mean()


def adversarial_loss(produced: list[list[Tensor]]) -> Tensor:
    """The adversarial loss of the vocoder: least squares towards 1 for produced sound."""
    return torch.stack([(1 - features[-1]).square().mean() for features in produced]).mean()


def feature_loss(real: list[list[Tensor]], produced: list[list[Tensor]]) -> Tensor:
    """Mean distance of the discriminators' inner features, relative to their size for real sound."""
    distances = [
        (r.detach() - p).abs().mean() / (r.detach().abs().mean() + 1e-3)
        for real_features, produced_features in zip(real, produced, strict=True)
        for r, p in zip(real_features[:-1], produced_features[:-1], strict=True)
    ]
    return torch.stack(distances).mean()
