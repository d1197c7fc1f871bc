"""The learned phase step: from what was already produced to the spectrum of the next frame, and the recursion around it.

A frame's spectrum is predicted relative to the spectrum of the partial overlap-add, that is of what the frames before say
about its span (the first guess of RTISI, Zhu et al. 2007). Everything the network sees is invariant to a common rotation
of phase, and its first layer is shared by all frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from audio_avif.config import MelConfig
from audio_avif.features import hann
from torch import Tensor, nn
from torch.nn import functional

_FEATURES = 7
_SMALLEST = 1e-4


@dataclass(frozen=True)
class PhaseConfig:
    """Sizes of the phase network: every token stands for ``stride`` bins and sees ``patch`` of them."""

    channels: int = 64
    blocks: int = 3
    expansion: int = 3
    stride: int = 8
    patch: int = 16


class MixerBlock(nn.Module):
    """Mixing over tokens, then over channels (Tolstikhin et al. 2021); ``[rows, tokens, channels]``."""

    def __init__(self, tokens: int, channels: int, expansion: int) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(channels)
        self.tokens = nn.Linear(tokens, tokens)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, channels * expansion)
        self.narrow = nn.Linear(channels * expansion, channels)
        nn.init.normal_(self.tokens.weight, std=0.2 / tokens**0.5)
        nn.init.normal_(self.narrow.weight, std=0.3 / (channels * expansion) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm_tokens(x).transpose(1, 2)).transpose(1, 2)
        return x + self.narrow(functional.gelu(self.widen(self.norm(x)), approximate="tanh"))


class PhaseNet(nn.Module):
    """One frame's spectrum from the guess, the spectrum before it, the wanted magnitude and the magnitude network's features.

    All spectra are centred (phase zero is the middle of the window) and lack the Nyquist bin: ``[rows, n_fft // 2]``.
    """

    def __init__(self, mel: MelConfig, hidden: int, config: PhaseConfig) -> None:
        super().__init__()
        self.config = config
        self.bins = mel.n_fft // 2
        tokens = self.bins // config.stride
        self.margin = (config.patch - config.stride) // 2
        advance = 2 * torch.pi * mel.hop_samples / mel.n_fft * torch.arange(self.bins)
        self.register_buffer("advance", torch.polar(torch.ones_like(advance), advance), persistent=False)
        self.enter = nn.Linear(_FEATURES * config.patch, config.channels)
        self.place = nn.Parameter(0.02 * torch.randn(tokens, config.channels))
        self.condition = nn.Linear(hidden, config.channels)
        self.blocks = nn.ModuleList(MixerBlock(tokens, config.channels, config.expansion) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.channels)
        self.leave = nn.Linear(config.channels, 3 * config.stride)
        nn.init.normal_(self.leave.weight, std=0.01)
        nn.init.zeros_(self.leave.bias)

    def forward(
        self, guess: Tensor, before: Tensor, log_magnitude: Tensor, log_before: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the unit phase ``[rows, bins] complex`` and the log-magnitude ``[rows, bins]``."""
        unit, size = _unit(guess)
        x = self._tokens(self._features(unit, size, before, log_magnitude, log_before))
        x = self.enter(x) + self.place + self.condition(hidden)[:, None]
        for block in self.blocks:
            x = block(x)
        out = self.leave(self.norm(x)).float().unflatten(-1, (3, self.config.stride))
        turn_real, turn_imag, louder = out.transpose(1, 2).flatten(2).unbind(1)
        turned = unit * torch.complex(1.0 + turn_real, turn_imag)
        return _unit(turned)[0], log_magnitude + louder

    def _features(self, unit: Tensor, size: Tensor, before: Tensor, log_now: Tensor, log_before: Tensor) -> Tensor:
        across = functional.pad(unit[:, 1:] * unit[:, :-1].conj(), (0, 1))
        along = unit * (_unit(before)[0] * self.advance).conj()
        log_size = (size + _SMALLEST).log()
        planes = [
            (log_now + 2.0) / 3.0,
            (log_size - log_now).clamp(min=-6.0) / 2.0,
            (log_before - log_now).clamp(-6.0, 6.0) / 2.0,
            across.real,
            across.imag,
            along.real,
            along.imag,
        ]
        return torch.stack(planes, dim=1)

    def _tokens(self, planes: Tensor) -> Tensor:
        padded = functional.pad(planes, (self.margin, self.margin))
        patches = padded.unfold(-1, self.config.patch, self.config.stride)
        return patches.transpose(1, 2).flatten(2)


def _unit(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """A spectrum's phases as numbers of modulus one (nearly zero where it is nearly silent), and its magnitudes."""
    size = (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()
    return spectrum / (size + _SMALLEST), size


class Frames(nn.Module):
    """Windowed overlap-add and its analysis, with centred spectra that lack the Nyquist bin."""

    def __init__(self, mel: MelConfig) -> None:
        super().__init__()
        self.length = mel.n_fft
        self.hop = mel.hop_samples
        window = torch.tensor(hann(mel.n_fft), dtype=torch.float32)
        steps = mel.n_fft // mel.hop_samples
        total = sum(torch.roll(window**2, step * self.hop) for step in range(steps))
        share = window**2 / total
        past = sum(functional.pad(share[step * self.hop :], (0, step * self.hop)) for step in range(1, steps))
        sign = 1.0 - 2.0 * (torch.arange(mel.n_fft // 2) % 2)
        for name, buffer in (("window", window), ("synthesis", window / total), ("past_share", past), ("sign", sign)):
            self.register_buffer(name, buffer, persistent=False)

    def analyse(self, windows: Tensor) -> Tensor:
        """``[..., n_fft]`` -> ``[..., n_fft // 2] complex``."""
        return torch.fft.rfft(windows * self.window)[..., :-1] * self.sign

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """``[..., n_fft // 2] complex`` -> ``[..., n_fft]``, ready to be added up."""
        return torch.fft.irfft(functional.pad(spectrum * self.sign, (0, 1)), self.length) * self.synthesis

    def overlap_add(self, pieces: Tensor) -> Tensor:
        """``[batch, frames, n_fft]`` -> ``[batch, n_fft + hop * (frames - 1)]``."""
        steps, frames = self.length // self.hop, pieces.shape[1]
        hops = pieces.unflatten(-1, (steps, self.hop))
        parts = [functional.pad(hops[:, :, step], (0, 0, step, steps - 1 - step)) for step in range(steps)]
        return torch.stack(parts).sum(dim=0)[:, : frames + steps - 1].flatten(1)
