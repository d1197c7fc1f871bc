"""The HiFi-GAN generator (Kong, Kim and Bae 2020, arXiv:2010.05646) in torch, with its input scaling inside.

One module covers SpeechT5's generator and the three of the original repository, jik876/hifi-gan. Its layers are named
as in transformers' ``SpeechT5HifiGan``, so that those weights load without renaming.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_avif_onnx.export.members import members

_EDGE_KERNEL = 7
LAST_SLOPE = 0.01  # both reference implementations use leaky_relu's default before the last convolution


@dataclass(frozen=True)
class GeneratorConfig:
    """The shape of a generator; the defaults are microsoft/speecht5_hifigan's.

    ``normalised`` subtracts a mean and divides by a scale per band. ``ln_floor`` is for generators trained on natural
    logarithms: the log10 input is converted and raised to that floor (given as magnitude).
    """

    n_mels: int = 80
    initial_channels: int = 512
    upsample_rates: tuple[int, ...] = (4, 4, 4, 4)
    upsample_kernels: tuple[int, ...] = (8, 8, 8, 8)
    resblock_type: int = 1
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    leaky_slope: float = 0.1
    normalised: bool = True
    ln_floor: float | None = None

    def __post_init__(self) -> None:
        if not self.upsample_rates or len(self.upsample_rates) != len(self.upsample_kernels):
            raise ValueError("a generator needs one upsampling kernel for each of its rates")
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernels, strict=True):
            if rate < 1 or kernel < rate:
                raise ValueError(f"an upsampling kernel must be at least as long as its rate, not {kernel} and {rate}")
        if self.initial_channels < 1 or self.initial_channels % 2 ** len(self.upsample_rates):
            raise ValueError(f"{self.initial_channels} channels cannot be halved {len(self.upsample_rates)} times")
        if self.resblock_type not in (1, 2):
            raise ValueError(f"resblock_type must be 1 or 2, not {self.resblock_type}")
        if not self.resblock_kernels or len(self.resblock_kernels) != len(self.resblock_dilations):
            raise ValueError("a generator needs one list of dilations for each of its residual kernels")
        if any(kernel < 1 or kernel % 2 == 0 for kernel in self.resblock_kernels):
            raise ValueError(f"residual kernels must be odd, not {self.resblock_kernels}")
        if any(dilation < 1 for dilations in self.resblock_dilations for dilation in dilations):
            raise ValueError(f"dilations must be positive, not {self.resblock_dilations}")

    @property
    def hop_samples(self) -> int:
        """Samples per frame."""
        return math.prod(self.upsample_rates)

    @property
    def receptive_frames(self) -> int:
        """Frames on each side of a frame that its samples depend on."""
        first, last = -(_EDGE_KERNEL // 2), self.hop_samples - 1 + _EDGE_KERNEL // 2
        for rate, kernel in zip(reversed(self.upsample_rates), reversed(self.upsample_kernels), strict=True):
            first, last = first - self._residual_reach, last + self._residual_reach
            # Transposed convolution: input i reaches outputs rate * i - padding + 0 .. kernel - 1.
            padding = (kernel - rate) // 2
            first, last = -((kernel - 1 - padding - first) // rate), (last + padding) // rate
        return max(-first, last) + _EDGE_KERNEL // 2

    @property
    def _residual_reach(self) -> int:
        """Steps on each side that a sum of residual blocks depends on."""
        undilated = 1 if self.resblock_type == 1 else 0
        return max(
            sum(kernel // 2 * (dilation + undilated) for dilation in dilations)
            for kernel, dilations in zip(self.resblock_kernels, self.resblock_dilations, strict=True)
        )


def _same_length_conv(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    return nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=kernel // 2 * dilation)


class _ResidualBlock1(nn.Module):
    """Pairs of a dilated and an undilated convolution."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], slope: float) -> None:
        super().__init__()
        self._slope = slope
        self.convs1 = nn.ModuleList(_same_length_conv(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_same_length_conv(channels, kernel, 1) for _ in dilations)

    def chains(self) -> list[tuple[nn.Conv1d, ...]]:
        """The convolutions between one addition of the residual and the next."""
        return list(zip(members(self.convs1, nn.Conv1d), members(self.convs2, nn.Conv1d), strict=True))

    def forward(self, hidden: Tensor) -> Tensor:
        for dilated, undilated in zip(self.convs1, self.convs2, strict=True):
            inner = dilated(functional.leaky_relu(hidden, self._slope))
            hidden = undilated(functional.leaky_relu(inner, self._slope)) + hidden
        return hidden


class _ResidualBlock2(nn.Module):
    """Dilated convolutions alone, as in the smallest generator of the original repository."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], slope: float) -> None:
        super().__init__()
        self._slope = slope
        self.convs = nn.ModuleList(_same_length_conv(channels, kernel, dilation) for dilation in dilations)

    def chains(self) -> list[tuple[nn.Conv1d, ...]]:
        """The convolutions between one addition of the residual and the next."""
        return [(conv,) for conv in members(self.convs, nn.Conv1d)]

    def forward(self, hidden: Tensor) -> Tensor:
        for dilated in self.convs:
            hidden = dilated(functional.leaky_relu(hidden, self._slope)) + hidden
        return hidden


_ResidualBlock = _ResidualBlock1 | _ResidualBlock2


class Generator(nn.Module):
    """Log-mel in, samples out; weights are plain, without weight normalisation."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        # A kernel that exceeds its rate by an odd number makes one step more at the end.
        pairs = zip(config.upsample_rates, config.upsample_kernels, strict=True)
        self._is_longer = any((kernel - rate) % 2 for rate, kernel in pairs)
        channels = config.initial_channels
        self.conv_pre = nn.Conv1d(config.n_mels, channels, _EDGE_KERNEL, padding=_EDGE_KERNEL // 2)
        self.upsampler = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        block = _ResidualBlock1 if config.resblock_type == 1 else _ResidualBlock2
        for rate, kernel in zip(config.upsample_rates, config.upsample_kernels, strict=True):
            self.upsampler.append(
                nn.ConvTranspose1d(channels, channels // 2, kernel, stride=rate, padding=(kernel - rate) // 2)
            )
            channels //= 2
            for width, dilations in zip(config.resblock_kernels, config.resblock_dilations, strict=True):
                self.resblocks.append(block(channels, width, dilations, config.leaky_slope))
        self.conv_post = nn.Conv1d(channels, 1, _EDGE_KERNEL, padding=_EDGE_KERNEL // 2)
        if config.normalised:
            self.register_buffer("mean", torch.zeros(config.n_mels))
            self.register_buffer("scale", torch.ones(config.n_mels))

    def forward(self, log_mel: Tensor) -> Tensor:
        """Take ``[batch, n_mels, frames]`` log10 magnitude; return ``[batch, frames * hop_samples]`` in -1..1."""
        hidden = self.conv_pre(self._scale_input(log_mel))
        for upsample, (first, *others) in self.levels():
            hidden = upsample(functional.leaky_relu(hidden, self.config.leaky_slope))
            total = first(hidden)
            for block in others:
                total = total + block(hidden)
            hidden = total / (1 + len(others))
        samples = torch.tanh(self.conv_post(functional.leaky_relu(hidden, LAST_SLOPE))).squeeze(1)
        if self._is_longer:
            samples = samples[:, : log_mel.shape[2] * self.config.hop_samples]
        return samples

    def levels(self) -> list[tuple[nn.ConvTranspose1d, list[_ResidualBlock]]]:
        """Each upsampling with the residual blocks whose mean follows it."""
        count = len(self.config.resblock_kernels)
        blocks: list[_ResidualBlock] = members(self.resblocks, _ResidualBlock1)
        upsamplings = enumerate(members(self.upsampler, nn.ConvTranspose1d))
        return [(upsample, blocks[level * count : (level + 1) * count]) for level, upsample in upsamplings]

    def _scale_input(self, log_mel: Tensor) -> Tensor:
        if self.config.ln_floor is not None:
            log_mel = torch.clamp(log_mel * math.log(10.0), min=math.log(self.config.ln_floor))
        if self.config.normalised:
            log_mel = (log_mel - self.mean[:, None]) / self.scale[:, None]
        return log_mel


_MAGNITUDE, _DIRECTION = ".parametrizations.weight.original0", ".parametrizations.weight.original1"
_OLDER_NAMES = {".weight_g": _MAGNITUDE, ".weight_v": _DIRECTION}


def with_newer_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename weight-norm pairs from torch's older names to those of its parametrizations."""
    renamed = {}
    for key, value in state.items():
        end = next((end for end in _OLDER_NAMES if key.endswith(end)), "")
        renamed[key.removesuffix(end) + _OLDER_NAMES.get(end, "")] = value
    return renamed


def fold_weight_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace each weight-norm pair of ``with_newer_names`` by its weight, in single precision.

    It is computed in double precision, because checkpoints in half precision lose three digits otherwise.

    Raises ValueError where the shapes of a pair do not match.
    """
    plain = dict(state)
    for layer in _normalised_layers(state):
        magnitude, direction = plain.pop(layer + _MAGNITUDE).double(), plain.pop(layer + _DIRECTION).double()
        if magnitude.shape != direction.shape[:1] + (1,) * (direction.dim() - 1):
            raise ValueError(
                f"the weight normalisation of {layer} has the shapes {list(magnitude.shape)} and "
                f"{list(direction.shape)}, which do not fit"
            )
        norm = torch.linalg.vector_norm(direction, dim=tuple(range(1, direction.dim())), keepdim=True)
        plain[f"{layer}.weight"] = magnitude * direction / norm
    return {key: value.float() for key, value in plain.items()}


def with_weight_norm(config: GeneratorConfig, state: dict[str, Tensor]) -> Generator:
    """A generator with torch's own weight normalisation where ``state`` has pairs, loaded in single precision.

    It does not use ``fold_weight_norm``, so that a folded generator can be compared with it.
    """
    generator = Generator(config)
    for layer in _normalised_layers(state):
        nn.utils.parametrizations.weight_norm(generator.get_submodule(layer))
    generator.load_state_dict(state)
    return generator.eval().requires_grad_(False)


def _normalised_layers(state: dict[str, Tensor]) -> list[str]:
    layers = [key.removesuffix(_MAGNITUDE) for key in state if key.endswith(_MAGNITUDE)]
    return [layer for layer in layers if layer + _DIRECTION in state]
