"""The learned phase step: predicts the spectrum of the next frame from the sound already produced.

A frame's spectrum is predicted relative to the spectrum of the partial overlap-add, the contribution of earlier frames
to its span (the first guess of RTISI, Zhu et al. 2007). The network's input is invariant to a common rotation
of phase, and its first layer is shared by all frequencies.

Spectra are real tensors ``[..., 2, bins]``, real part before imaginary part, so that ONNX can hold the same arithmetic.
They are centred (phase zero is the middle of the window) and lack the Nyquist bin: ``bins`` is half the window.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_avif.signal.features import hann
from audio_avif_onnx.export.recurrent.config import PhaseConfig, RecurrentConfig

FEATURES = 9
SMALLEST = 1e-4
PULSE = 1e-5  # where nothing has been produced, the guess is a pulse at the centre


class MixerBlock(nn.Module):
    """Mixing over tokens, then over channels (Tolstikhin et al. 2021); ``[rows, tokens, channels]``."""

    def __init__(self, tokens: int, channels: int, expansion: int) -> None:
        super().__init__()
        self.across = nn.Parameter(torch.randn(tokens, tokens) * 0.2 / tokens**0.5)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, channels * expansion)
        self.narrow = nn.Linear(channels * expansion, channels)
        nn.init.normal_(self.narrow.weight, std=0.3 / (channels * expansion) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.matmul(self.across, x)
        change: Tensor = self.narrow(functional.gelu(self.widen(self.norm(x)), approximate="tanh"))
        return x + change


class PhaseNet(nn.Module):
    """One frame's spectrum from the guess, the previous spectrum, the wanted magnitude and the magnitude features."""

    advance: Tensor

    def __init__(self, whole: RecurrentConfig) -> None:
        super().__init__()
        self.config: PhaseConfig = whole.phase
        config = self.config
        self.bins = whole.window_samples // 2
        self.tokens = self.bins // config.stride
        angle = 2 * torch.pi * whole.mel.hop_samples / whole.window_samples * torch.arange(self.bins)
        self.register_buffer("advance", torch.stack([angle.cos(), angle.sin()]), persistent=False)
        self.enter = nn.Linear(FEATURES * 2 * config.stride, config.channels)
        self.place = nn.Parameter(0.02 * torch.randn(self.tokens, config.channels))
        self.condition = nn.Linear(whole.magnitude.channels, config.channels)
        self.blocks = nn.ModuleList(
            MixerBlock(self.tokens, config.channels, config.expansion) for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.channels)
        self.leave = nn.Linear(config.channels, 3 * config.stride)
        nn.init.normal_(self.leave.weight, std=0.01)
        nn.init.zeros_(self.leave.bias)

    def forward(self, guess: Tensor, before: Tensor, levels: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the phase as a spectrum of modulus one ``[rows, 2, bins]`` and the log-magnitude ``[rows, bins]``.

        ``levels`` ``[rows, 4, bins]`` are natural logarithms: the magnitude wanted now and that of the frame before,
        and the priors of the last two mel frames.
        """
        unit, size = polar(guess + guess.new_tensor([[PULSE], [0.0]]))
        planes = self._features(unit, size, before, levels)
        x = self.enter(patches(planes, self.config.stride)) + self.place + self.condition(hidden)[:, None]
        for block in self.blocks:
            x = block(x)
        out = self.leave(self.norm(x)).float()
        out = out.reshape(-1, self.tokens, 3, self.config.stride).transpose(1, 2).reshape(-1, 3, self.bins)
        return polar(unit + product(unit, out[:, :2]))[0], levels[:, 0] + out[:, 2]

    def _features(self, unit: Tensor, size: Tensor, before: Tensor, levels: Tensor) -> Tensor:
        next_bin = functional.pad(unit[..., 1:], (0, 1))
        across = product(next_bin, unit, conjugate=True)
        along = product(unit, product(polar(before)[0], self.advance), conjugate=True)
        now = levels[:, :1]
        guessed = (size + SMALLEST).log()
        relative = (torch.cat([guessed, levels[:, 1:]], dim=1) - now).clamp(-6.0, 6.0) / 2.0
        return torch.cat([(now + 2.0) / 3.0, relative, across, along], dim=1)


def patches(planes: Tensor, stride: int) -> Tensor:
    """``[..., features, bins]`` -> ``[..., tokens, features * 2 * stride]``.

    A token covers ``stride`` bins; it takes in these and half of each neighbour's.
    """
    *rest, features, bins = planes.shape
    padded = functional.pad(planes, (stride // 2, stride // 2)).reshape(*rest, features, bins // stride + 1, stride)
    pairs = torch.cat([padded[..., :-1, :], padded[..., 1:, :]], dim=-1).transpose(-3, -2)
    return pairs.reshape(*rest, bins // stride, features * 2 * stride)


def product(left: Tensor, right: Tensor, *, conjugate: bool = False) -> Tensor:
    """The complex product of two spectra, the right one conjugated on demand."""
    a, b = _parts(left)
    c, d = _parts(right)
    if conjugate:
        return torch.cat([a * c + b * d, b * c - a * d], dim=-2)
    return torch.cat([a * c - b * d, a * d + b * c], dim=-2)


def _parts(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part, each ``[..., 1, bins]``."""
    return spectrum[..., :1, :], spectrum[..., 1:, :]


def polar(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Split a spectrum into phases of modulus one and magnitudes ``[..., 1, bins]``."""
    real, imag = _parts(spectrum)
    size = (real * real + imag * imag + 1e-16).sqrt()
    return spectrum / size, size


class Frames(nn.Module):
    """Windowed analysis and overlap-add."""

    window: Tensor
    synthesis: Tensor
    past_share: Tensor
    sign: Tensor

    def __init__(self, window_samples: int, hop_samples: int) -> None:
        super().__init__()
        self.length = window_samples
        self.hop = hop_samples
        window = torch.tensor(hann(window_samples), dtype=torch.float32)
        steps = window_samples // hop_samples
        total = torch.stack([torch.roll(window**2, step * self.hop) for step in range(steps)]).sum(dim=0)
        share = window**2 / total
        tails = [functional.pad(share[step * self.hop :], (0, step * self.hop)) for step in range(1, steps)]
        sign = 1.0 - 2.0 * (torch.arange(window_samples // 2) % 2)
        for name, buffer in (
            ("window", window),
            ("synthesis", window / total),
            ("past_share", torch.stack(tails).sum(dim=0)),
            ("sign", sign),
        ):
            self.register_buffer(name, buffer, persistent=False)

    def analyse(self, windows: Tensor) -> Tensor:
        """``[..., window]`` -> ``[..., 2, bins]``."""
        spectrum = torch.fft.rfft(windows * self.window)[..., :-1] * self.sign
        return torch.stack([spectrum.real, spectrum.imag], dim=-2)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """``[..., 2, bins]`` -> ``[..., window]``, ready for overlap-add."""
        real, imag = (spectrum * self.sign).unbind(-2)
        window: Tensor = torch.fft.irfft(functional.pad(torch.complex(real, imag), (0, 1)), self.length)
        return window * self.synthesis

    def overlap_add(self, pieces: Tensor) -> Tensor:
        """``[batch, frames, window]`` -> ``[batch, window + hop * (frames - 1)]``."""
        steps = self.length // self.hop
        hops = torch.unflatten(pieces, -1, (steps, self.hop))
        parts = [functional.pad(hops[:, :, step], (0, 0, step, steps - 1 - step)) for step in range(steps)]
        return torch.stack(parts).sum(dim=0).flatten(1)
