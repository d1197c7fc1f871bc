"""How far a sound is from the one it should be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

COMPRESSION = 0.3
_POWER_WEIGHT = 2.0


def magnitude_loss(log_predicted: Tensor, log_target: Tensor) -> tuple[Tensor, Tensor]:
    """Mean L1 of the logarithm, and of the 0.3rd power, of two magnitudes given as natural logarithms."""
    power = torch.exp(COMPRESSION * log_predicted) - torch.exp(COMPRESSION * log_target)
    return (log_predicted - log_target).abs().mean(), power.abs().mean()


def weigh(log_l1: Tensor, power_l1: Tensor) -> Tensor:
    """The one number that training descends."""
    return log_l1 + _POWER_WEIGHT * power_l1


def phase_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of ``1 - cos`` of the phase error, weighted by the 0.3rd power of the target's magnitude.

    Shape: ``[..., 2, bins]`` both; ``predicted`` has modulus one, ``target`` is the spectrum.
    """
    size = target.square().sum(dim=-2).sqrt()
    weight = size**COMPRESSION
    error = 1 - (predicted * target).sum(dim=-2) / (size + 1e-6)
    return (error * weight).sum() / weight.sum()


class MultiResolution(nn.Module):
    """Magnitude loss of two waveforms ``[batch, samples]`` at several window lengths, hop a quarter of each."""

    def __init__(self, lengths: tuple[int, ...] = (2048, 1024, 512, 256, 128)) -> None:
        super().__init__()
        self._lengths = lengths
        for length in lengths:
            self.register_buffer(f"window_{length}", torch.hann_window(length), persistent=False)

    def forward(self, predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        pairs = [
            magnitude_loss(self._log_magnitude(predicted, length), self._log_magnitude(target, length))
            for length in self._lengths
        ]
        logs, powers = zip(*pairs, strict=True)
        return torch.stack(logs).mean(), torch.stack(powers).mean()

    def _log_magnitude(self, samples: Tensor, length: int) -> Tensor:
        window = self.get_buffer(f"window_{length}")
        spectrum = torch.fft.rfft(samples.unfold(-1, length, length // 4) * window)
        # Magnitudes grow with the window: the floor, far below hearing, must as well.
        floor = 1e-7 * length
        return 0.5 * (spectrum.real.square() + spectrum.imag.square() + floor**2).log()


class PhaseRelations(nn.Module):
    """Errors of what phases say apart from where they start (Ai and Ling 2023), of waveforms ``[batch, samples]``.

    Their instantaneous phase, group delay (from bin to bin) and instantaneous angular frequency (from window to
    window). An error is the chord between two points of the unit circle, so nothing has to be unwrapped, and it counts
    by the 0.3rd power of the target's magnitude, so that no phase is learned where there is no sound.
    """

    window: Tensor

    def __init__(self, length: int, hop: int) -> None:
        super().__init__()
        self._length, self._hop = length, hop
        self.register_buffer("window", torch.hann_window(length), persistent=False)

    def forward(self, predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (found, _), (wanted, weight) = (self._turns(each) for each in (predicted, target))
        pairs = (
            (found, wanted, weight),
            (_step(found, -1), _step(wanted, -1), weight[..., 1:]),
            (_step(found, -2), _step(wanted, -2), weight[..., 1:, :]),
        )
        phase, delay, frequency = (_chord(*pair) for pair in pairs)
        return phase, delay, frequency

    def _turns(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Phases as complex numbers of modulus one, 0 where there is nothing; and how much each counts."""
        spectrum = torch.fft.rfft(samples.unfold(-1, self._length, self._hop) * self.window)
        size = (spectrum.real.square() + spectrum.imag.square() + (1e-6 * self._length) ** 2).sqrt()
        return spectrum / size, size.detach() ** COMPRESSION


def _step(turns: Tensor, dim: int) -> Tensor:
    """By how much phase advances along a dimension, as complex numbers."""
    steps = turns.shape[dim] - 1
    return turns.narrow(dim, 1, steps) * turns.narrow(dim, 0, steps).conj()


def _chord(found: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    apart = found - wanted
    distance = (apart.real.square() + apart.imag.square() + 1e-4).sqrt()
    return (distance * weight).sum() / weight.sum()
