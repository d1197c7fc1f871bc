"""The second stage of a vocoder with more delay: it corrects sound that the recurrent vocoder has finished.

A pass analyses that sound, corrects phase and magnitude of every bin, and synthesises it again. It is not recursive,
so all frames of a call are computed together, and a frame may depend on later ones. A pass's input is invariant to a
common rotation of phase, and an untrained pass changes almost nothing.

Every network here is causal with a delay: ``Delayed`` layers output frame k when frame k + ``lookahead`` has
arrived. The frames before a stream's first are zeros.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_avif_onnx.export.members import members
from audio_avif_onnx.export.recurrent.config import PassConfig, RecurrentConfig
from audio_avif_onnx.export.recurrent.magnitude import LOG_CEILING
from audio_avif_onnx.export.recurrent.phase import PULSE, SMALLEST, Frames, patches, polar, product

_FEATURES = 7
_LEVEL_RANGE = 6.0
SILENT_LOG = -9.0


class Refined(NamedTuple):
    """Sound ``[batch, samples]`` or levels, and their start in samples from the first frame's window."""

    values: Tensor
    position: int


class DelayedDepthwise(nn.Module):
    """Depthwise convolution along time, ``[batch, frames, ..., channels]``, with ``lookahead`` frames."""

    def __init__(self, channels: int, kernel: int, lookahead: int) -> None:
        super().__init__()
        self.kernel, self.lookahead = kernel, lookahead
        self.weight = nn.Parameter(torch.randn(kernel, channels) * 0.2 / kernel**0.5)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the frames that are due, the convolution at these frames, and the ``past`` of the next call.

        ``past`` holds the ``kernel - 1`` frames before.
        """
        whole = torch.cat([past.to(x.dtype), x], dim=1)
        back = self.kernel - 1
        mixed = whole[:, back:] * self.weight[back]
        for step in range(1, self.kernel):  # counted from the end: a graph then holds no arithmetic on sizes
            mixed = mixed + whole[:, back - step : -step] * self.weight[back - step]
        due = whole[:, back - self.lookahead : -self.lookahead] if self.lookahead else whole[:, back:]
        return due, mixed, whole[:, -back:]


class SmootherBlock(nn.Module):
    """A ConvNeXt block with lookahead; ``[batch, frames, channels]``."""

    def __init__(self, channels: int, expansion: int, kernel: int, lookahead: int) -> None:
        super().__init__()
        self.mix = DelayedDepthwise(channels, kernel, lookahead)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, channels * expansion)
        self.narrow = nn.Linear(channels * expansion, channels)
        nn.init.normal_(self.narrow.weight, std=0.3 / (channels * expansion) ** 0.5)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        x, mixed, past = self.mix(x, past)
        x = x + mixed
        return x + self.narrow(functional.gelu(self.widen(self.norm(x)), approximate="tanh")), past


class MixingBlock(nn.Module):
    """Mixing over time and tokens, then over channels; ``[batch, frames, tokens, channels]``."""

    def __init__(self, tokens: int, channels: int, expansion: int, kernel: int, lookahead: int) -> None:
        super().__init__()
        self.mix = DelayedDepthwise(channels, kernel, lookahead)
        self.across = nn.Parameter(torch.randn(tokens, tokens) * 0.2 / tokens**0.5)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, channels * expansion)
        self.narrow = nn.Linear(channels * expansion, channels)
        nn.init.normal_(self.narrow.weight, std=0.3 / (channels * expansion) ** 0.5)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        x, mixed, past = self.mix(x, past)
        x = x + mixed
        x = x + torch.matmul(self.across, x)
        return x + self.narrow(functional.gelu(self.widen(self.norm(x)), approximate="tanh")), past


class RefinementPass(nn.Module):
    """Corrects the spectra of analysed sound.

    A pass whose hop is a fraction of the mel's has several spectra for each mel frame.
    """

    advance: Tensor

    def __init__(self, config: PassConfig, whole: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.frames = Frames(config.window_samples, config.hop_samples)
        self.spectra = whole.mel.hop_samples // config.hop_samples
        self._ratio = whole.window_samples // config.window_samples
        self.tokens = config.bins // config.stride
        angle = 2 * torch.pi * config.hop_samples / config.window_samples * torch.arange(config.bins)
        self.register_buffer("advance", torch.stack([angle.cos(), angle.sin()]), persistent=False)
        hidden = whole.magnitude.channels
        self.level = nn.Linear(hidden, self.spectra * config.bins)
        self.condition = nn.Linear(hidden, self.spectra * config.channels)
        self.enter = nn.Linear(_FEATURES * 2 * config.stride, config.channels)
        self.place = nn.Parameter(0.02 * torch.randn(self.tokens, config.channels))
        self.blocks = nn.ModuleList(
            MixingBlock(self.tokens, config.channels, config.expansion, config.kernel, lookahead)
            for lookahead in config.lookaheads
        )
        self.norm = nn.LayerNorm(config.channels)
        self.leave = nn.Linear(config.channels, 3 * config.stride)
        nn.init.zeros_(self.level.weight)
        nn.init.zeros_(self.level.bias)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def zero_state(self, batch: int) -> list[Tensor]:
        """The state before the first spectrum: its phase, spectra that are not due yet, and a past for each block."""
        config, zeros = self.config, self.place.new_zeros
        pasts = [zeros(batch, config.kernel - 1, self.tokens, config.channels) for _ in config.lookaheads]
        return [
            zeros(batch, 1, 2, config.bins),
            zeros(batch, config.lookahead_frames, 3, config.bins),
            *pasts,
        ]

    def wanted(self, hidden: Tensor, levels: Tensor) -> Tensor:
        """Log-magnitudes ``[batch, spectra, 2, bins]``: the wanted ones, and the priors of the mel.

        ``levels`` ``[batch, frames, 2, whole bins]`` holds both for the first stage's window.
        """
        batch, frames = hidden.shape[:2]
        levels = levels[..., :: self._ratio] - math.log(self._ratio)
        change = self.level(hidden).float().reshape(batch, frames, self.spectra, self.config.bins)
        wanted = (levels[:, :, :1] + change).clamp(max=LOG_CEILING)
        said = levels[:, :, 1:].expand(-1, -1, self.spectra, -1)
        return torch.stack([wanted, said], dim=3).reshape(batch, frames * self.spectra, 2, self.config.bins)

    def conditions(self, hidden: Tensor) -> Tensor:
        """The conditions of all tokens of a spectrum, ``[batch, spectra, channels]``."""
        batch, frames = hidden.shape[:2]
        told: Tensor = self.condition(hidden)
        return told.reshape(batch, frames * self.spectra, self.config.channels)

    def forward(
        self, spectra: Tensor, wanted: Tensor, conditions: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Correct ``[batch, spectra, 2, bins]``; the output has that shape, delayed by ``lookahead_frames``."""
        before, held, *pasts = state
        turn, size = polar(spectra + spectra.new_tensor([[PULSE], [0.0]]))
        own, level = (size + SMALLEST).log(), size.log()
        previous = torch.cat([before, turn], dim=1)
        planes = self._features(turn, previous[:, :-1], own, wanted)
        x = self.enter(patches(planes, self.config.stride)) + self.place + conditions[:, :, None]
        next_pasts = []
        for block, past in zip(self.blocks, pasts, strict=True):
            x, past = block(x, past)
            next_pasts.append(past)
        out = self.leave(self.norm(x)).float()
        out = out.unflatten(-1, (3, self.config.stride)).transpose(-3, -2).flatten(-2)
        whole = torch.cat([held, torch.cat([turn, level], dim=2)], dim=1)
        due = whole[:, : whole.shape[1] - self.config.lookahead_frames]
        phase, _ = polar(due[:, :, :2] + product(due[:, :, :2], out[:, :, :2]))
        level = (due[:, :, 2:] + out[:, :, 2:]).clamp(max=LOG_CEILING)
        return phase * level.exp(), [previous[:, -1:], whole[:, due.shape[1] :], *next_pasts]

    def _features(self, turn: Tensor, previous: Tensor, own: Tensor, wanted: Tensor) -> Tensor:
        across = product(functional.pad(turn[..., 1:], (0, 1)), turn, conjugate=True)
        along = product(turn, product(previous, self.advance), conjugate=True)
        now = wanted[:, :, :1]
        relative = (torch.cat([own, wanted[:, :, 1:]], dim=2) - now).clamp(-_LEVEL_RANGE, _LEVEL_RANGE) / 2.0
        return torch.cat([(now + 2.0) / 3.0, relative, across, along], dim=2)


class Refiner(nn.Module):
    """The second stage: blocks over the magnitude network's features with lookahead, then the passes."""

    def __init__(self, whole: RecurrentConfig) -> None:
        super().__init__()
        assert whole.refiner is not None
        self.config = config = whole.refiner
        self._channels = whole.magnitude.channels
        self._window_samples, self._bins = whole.window_samples, whole.window_samples // 2
        self._delays = whole.refiner_delays
        self.lookahead_frames = sum(config.lookaheads)
        self.blocks = nn.ModuleList(
            SmootherBlock(self._channels, config.expansion, config.kernel, lookahead) for lookahead in config.lookaheads
        )
        self.norm = nn.LayerNorm(self._channels)
        self.passes = nn.ModuleList(RefinementPass(each, whole) for each in config.passes)

    def zero_state(self, batch: int) -> list[Tensor]:
        """The state before the first frame: a past for each block over features."""
        return [self.norm.weight.new_zeros(batch, self.config.kernel - 1, self._channels) for _ in self.blocks]

    def smooth(self, hidden: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Features ``[batch, frames, channels]``, delayed by ``lookahead_frames``."""
        next_state = []
        for block, past in zip(self.blocks, state, strict=True):
            hidden, past = block(hidden, past)
            next_state.append(past)
        return self.norm(hidden), next_state

    def forward(self, samples: Tensor, hidden: Tensor, levels: Tensor) -> tuple[Refined, list[Refined]]:
        """Correct a piece of a signal; only windows that lie inside it are used, so it becomes shorter.

        Shape: ``samples`` ``[batch, samples]`` begin where the window of the first frame of ``hidden``
        ``[batch, frames, channels]`` and ``levels`` ``[batch, frames, 2, bins]`` begins. Returns the sound, and the
        log-magnitudes that each pass wanted, whose position is where their first window begins.
        """
        late = self.lookahead_frames
        hidden, _ = self.smooth(hidden, self.zero_state(hidden.shape[0]))
        hidden, levels = hidden[:, late:], levels[:, : levels.shape[1] - late]
        position, half_samples = 0, self._window_samples // 2
        wanted_levels = []
        for each in members(self.passes, RefinementPass):
            window, hop, late = each.config.window_samples, each.config.hop_samples, each.config.lookahead_frames
            # the first spectrum that has features and whose window is inside
            first = max(0, -((half_samples - window // 2 - position) // hop))
            start = half_samples - window // 2 + hop * first
            windows = samples[:, start - position :].unfold(-1, window, hop)
            wanted, conditions = each.wanted(hidden, levels)[:, first:], each.conditions(hidden)[:, first:]
            count = min(windows.shape[1], wanted.shape[1])
            spectra = each.frames.analyse(windows[:, :count])
            state = each.zero_state(samples.shape[0])
            spectra, _ = each(spectra, wanted[:, :count], conditions[:, :count], state)
            samples = each.frames.overlap_add(each.frames.synthesise(spectra[:, late:]))
            wanted_levels.append(Refined(wanted[:, :count, 0], start))
            lost = window - hop
            samples, position = samples[:, lost:-lost], start + lost
        return Refined(samples, position), wanted_levels

    def stream_state(self, batch: int) -> list[Tensor]:
        """The initial state of ``stream``: silence."""
        zeros = self.norm.weight.new_zeros
        state = [zeros(batch, self.lookahead_frames, 2, self._bins), *self.zero_state(batch)]
        for each, delay in zip(members(self.passes, RefinementPass), self._delays, strict=True):
            lost = each.config.window_samples - each.config.hop_samples
            state += [
                zeros(batch, lost),
                zeros(batch, lost),
                zeros(batch, delay, 2, each.config.bins),
                zeros(batch, delay, each.config.channels),
                *each.zero_state(batch),
            ]
        return state

    def stream(
        self, samples: Tensor, hidden: Tensor, levels: Tensor, state: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Correct a hop of samples for each frame from the first stage and its magnitude network.

        The output has that shape, delayed by ``config.latency_samples``. ``levels`` are relative to silence.
        """
        late, first = self.lookahead_frames, 1 + len(self.blocks)
        levels = torch.cat([state[0], levels], dim=1)
        next_state = [levels[:, levels.shape[1] - late :]]
        hidden, pasts = self.smooth(hidden, state[1:first])
        next_state += pasts
        levels = levels[:, : levels.shape[1] - late] + SILENT_LOG
        for each, delay in zip(members(self.passes, RefinementPass), self._delays, strict=True):
            last = first + 4 + len(each.zero_state(1))
            samples, pass_state = _stream(each, samples, hidden, levels, delay, state[first:last])
            next_state += pass_state
            first = last
        return samples, next_state


def _stream(
    each: RefinementPass, samples: Tensor, hidden: Tensor, levels: Tensor, delay: int, state: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    past, tail, held, told, *rest = state
    whole = torch.cat([past, samples], dim=1)
    lost = past.shape[1]
    wanted = torch.cat([held, each.wanted(hidden, levels) - SILENT_LOG], dim=1)
    conditions = torch.cat([told, each.conditions(hidden)], dim=1)
    due = wanted.shape[1] - delay
    batch, window, hop = whole.shape[0], each.config.window_samples, each.config.hop_samples
    hops = whole.reshape(batch, -1, hop)
    later = window // hop - 1
    windows = torch.cat([hops[:, step : step - later or None] for step in range(later + 1)], dim=-1)
    spectra = each.frames.analyse(windows.reshape(-1, window)).reshape(batch, -1, 2, each.config.bins)
    spectra, rest = each(spectra, wanted[:, :due] + SILENT_LOG, conditions[:, :due], rest)
    pieces = each.frames.synthesise(spectra.reshape(-1, 2, each.config.bins)).reshape(batch, -1, window)
    added = each.frames.overlap_add(pieces)
    added = torch.cat([added[:, :lost] + tail, added[:, lost:]], dim=1)
    return added[:, :-lost], [whole[:, -lost:], added[:, -lost:], wanted[:, due:], conditions[:, due:], *rest]
