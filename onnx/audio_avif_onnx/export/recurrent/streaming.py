"""The recurrent vocoder arranged for ONNX Runtime: the same arithmetic in few, large operators.

A graph that computes frame after frame spends its time on starting operators and reading tables. So everything that
does not depend on sound already produced is computed for all frames of a call at once (``FrameConditions``), a token's
patch of bins is a convolution, constant factors are part of the weights, and a Fourier transform is two stages of small
matrix products.
"""

from __future__ import annotations

from copy import deepcopy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_avif_onnx.export.members import members
from audio_avif_onnx.export.recurrent.fourier import TABLES, Echo, StagedFrames
from audio_avif_onnx.export.recurrent.magnitude import LOG_CEILING, ConvNeXtBlock
from audio_avif_onnx.export.recurrent.phase import FEATURES, PULSE, SMALLEST, MixerBlock, PhaseNet
from audio_avif_onnx.export.recurrent.refiner import SILENT_LOG, RefinementPass, Refiner
from audio_avif_onnx.export.recurrent.vocoder import SILENT_LOG10_MEL, Vocoder

KNOWN = (0, 2, 3, 4)  # features of the first pass that depend on levels alone: now, before, and what the mel says
_LEVEL_SCALES = (3.0, 2.0, 2.0, 2.0, 2.0)
_LEVEL_OFFSET = 2.0
_LEVEL_RANGE = 6.0
_TURNS = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [-1.0, 0.0]]
_PAIRS = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
_SUMS = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]]


class ConvNeXtStream(nn.Module):
    """A ``ConvNeXtBlock`` whose convolution is one product over windows: ``indices`` ``[frames, kernel]`` of frames."""

    indices: Tensor

    def __init__(self, block: ConvNeXtBlock) -> None:
        super().__init__()
        self.past_frames, self.weight = block.mix.past_frames, block.mix.weight
        self.norm, self.widen, self.narrow = block.norm, block.widen, deepcopy(block.narrow)
        with torch.no_grad():
            self.narrow.weight.mul_(block.scale[:, None])
            self.narrow.bias.mul_(block.scale)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """As ``ConvNeXtBlock``."""
        whole = torch.cat([past, x], dim=1)
        mixed = (whole[:, self.indices] * self.weight).sum(dim=2)
        inner = functional.gelu(self.widen(self.norm(mixed)), approximate="tanh")
        return x + self.narrow(inner), whole[:, -self.past_frames :]


class PhaseStream(nn.Module):
    """A ``PhaseNet`` with its constant factors in its weights.

    ``known`` lists the features that are known before the recursion.
    """

    def __init__(self, net: PhaseNet, known: tuple[int, ...] = ()) -> None:
        super().__init__()
        config = net.config
        self.stride, self.tokens, self.bins = config.stride, net.tokens, net.bins
        self.condition, self.norm = net.condition, net.norm
        self.blocks = nn.ModuleList(MixerStream(block) for block in members(net.blocks, MixerBlock))
        weight = net.enter.weight.detach().reshape(config.channels, FEATURES, 2 * config.stride)
        offset = torch.full((1, 1, net.bins), _LEVEL_OFFSET / _LEVEL_SCALES[0])
        place = self._convolve(offset, weight[:, :1]) + net.place.detach() + net.enter.bias.detach()
        self.place = nn.Parameter(place[0, 0])
        weight = weight.clone()
        weight[:, : len(_LEVEL_SCALES)] /= torch.tensor(_LEVEL_SCALES)[:, None]
        self.enter_known = nn.Parameter(weight[:, list(known)])
        self.enter = nn.Parameter(weight[:, [feature for feature in range(FEATURES) if feature not in known]])
        self.leave = net.leave.weight
        one = torch.arange(len(net.leave.bias)) < config.stride  # what turns by nothing at all
        self.leave_bias = nn.Parameter((net.leave.bias.detach() + one)[:, None])

    def context(self, hidden: Tensor, known: Tensor | None = None) -> Tensor:
        """The conditions of frames: ``[batch, frames, hidden channels]`` and the known features
        ``[batch, frames, features, bins]`` -> ``[batch, frames, 1, tokens, channels]``.
        """
        context: Tensor = self.place + self.condition(hidden)[:, :, None, None]
        if known is None:
            return context
        planes = known.reshape(-1, *known.shape[2:])
        return context + self._convolve(planes, self.enter_known).reshape_as(context)

    def forward(self, planes: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rotation of the guess ``[rows, 2, bins]``, and the change of the level ``[rows, 1, bins]``.

        ``planes`` ``[rows, features, bins]``.
        """
        x = self._convolve(planes, self.enter) + context
        for block in self.blocks:
            x = block(x)
        out = self.leave @ self.norm(x).transpose(-1, -2) + self.leave_bias
        out = out.reshape(-1, 3, self.stride, self.tokens).transpose(-1, -2).reshape(-1, 3, self.bins)
        turn, change = out.split([2, 1], dim=1)
        return turn, change

    def _convolve(self, planes: Tensor, weight: Tensor) -> Tensor:
        """``[rows, features, bins]`` -> ``[rows, 1, tokens, channels]``."""
        strides, padding = (1, self.stride), (0, self.stride // 2)
        patches = functional.conv2d(planes[:, :, None], weight[:, :, None], stride=strides, padding=padding)
        return patches.permute(0, 2, 3, 1)


class MixerStream(nn.Module):
    """A ``MixerBlock`` whose mixing over tokens includes the residual connection."""

    def __init__(self, block: MixerBlock) -> None:
        super().__init__()
        self.across = nn.Parameter(block.across.detach() + torch.eye(len(block.across)))
        self.norm, self.widen, self.narrow = block.norm, block.widen, block.narrow

    def forward(self, x: Tensor) -> Tensor:
        x = torch.matmul(self.across, x)
        change: Tensor = self.narrow(functional.gelu(self.widen(self.norm(x)), approximate="tanh"))
        return x + change


class FrameConditions(nn.Module):
    """The conditions of a call's frames, known before their phases; every output is ``[batch, frames, ...]``.

    The magnitude network runs with its past as explicit state; with lookahead, its output is a frame late. The
    frame before a stream's first is silent: ``heard`` is 0 until a frame has come. Levels in the state are relative to
    silence, so that zero state is silence. NaN counts as silence, because it would stay in the state for ever.
    """

    def __init__(self, vocoder: Vocoder, first: PhaseStream, second: PhaseStream) -> None:
        super().__init__()
        self.net = deepcopy(vocoder.magnitude)
        self.net.blocks = nn.ModuleList(ConvNeXtStream(block) for block in members(self.net.blocks, ConvNeXtBlock))
        self.first, self.second = first, second
        self.is_refined = vocoder.config.refiner is not None

    def forward(
        self, log_mel: Tensor, heard: Tensor, prior: Tensor, level_before: Tensor, *pasts: Tensor
    ) -> tuple[Tensor, ...]:
        frames = log_mel.transpose(1, 2)
        frames = torch.where(frames.isnan(), SILENT_LOG10_MEL, frames)
        whole_prior = self.net.prior(frames)
        indices = torch.arange(frames.shape[1])[:, None] + torch.arange(self.net.config.kernel)
        for block in self.net.blocks:
            block.indices = indices
        correction, hidden, next_pasts = self.net.stream(frames, whole_prior, list(pasts))
        before = heard * prior + (1 - heard) * self.net.silent_prior
        priors = torch.cat([before, self.net.at_bins(whole_prior)], dim=1)
        flags = torch.cat([heard, torch.ones_like(frames[:, :, :1])], dim=1)
        present = self.net.present(flags)
        now = (self.net.present(priors) + correction).clamp(max=LOG_CEILING)
        levels = torch.cat([level_before, present * (now[..., :-1] - SILENT_LOG)], dim=1)
        wanted = levels + SILENT_LOG
        told = torch.stack([wanted[:, 1:], wanted[:, :-1], priors[:, :-1, :-1], priors[:, 1:, :-1]], dim=2)
        for_refiner = self._for_refiner(hidden, levels[:, 1:], priors, present) if self.is_refined else ()
        now, others = torch.split(told, [1, 3], dim=2)
        return (
            now,
            others,
            self.first.context(hidden, torch.cat([now, relative(others, now)], dim=2)),
            self.second.context(hidden),
            present.unsqueeze(-1),
            *for_refiner,
            flags[:, -1:],
            priors[:, -1:],
            levels[:, -1:],
            *next_pasts,
        )

    def _for_refiner(self, hidden: Tensor, levels: Tensor, priors: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """The arguments of ``Refiner.stream``; the frame before a stream's first is zero."""
        said = present * (self.net.present(priors)[..., :-1] - SILENT_LOG)
        return present * hidden, torch.stack([levels, said], dim=2)


class RefinerStream(nn.Module):
    """The second stage with transforms of ``StagedFrames``, whose tables are arguments of each call, pass by pass."""

    def __init__(self, refiner: Refiner) -> None:
        super().__init__()
        self.refiner = deepcopy(refiner)
        for each in members(self.refiner.passes, RefinementPass):
            each.frames = StagedFrames(each.config.window_samples, each.config.hop_samples)

    def forward(self, samples: Tensor, hidden: Tensor, levels: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        states = self.refiner.stream_state(1)
        tables = more[len(states) :]
        for number, each in enumerate(members(self.refiner.passes, RefinementPass)):
            frames = cast(StagedFrames, each.frames)
            frames.use(tables[number * TABLES : (number + 1) * TABLES])
        samples, next_states = self.refiner.stream(samples, hidden, levels, list(more[: len(states)]))
        return samples.clamp(-1.0, 1.0), *next_states


class FrameStep(nn.Module):
    """One frame of the recursion: ``past`` is the overlap-add so far, ``turned`` the previous phase advanced by a hop.

    A complex product is a real product of two quadruples and a sum over pairs: ``turns`` are a spectrum and the same
    turned back by a right angle, ``pairs`` the real part twice and the imaginary part twice. It conjugates the
    second factor.
    """

    pulse: Tensor
    advance: Tensor
    power: Tensor
    turns: Tensor
    pairs: Tensor
    conjugate_pairs: Tensor
    sums: Tensor
    pair_sums: Tensor

    def __init__(self, vocoder: Vocoder, first: PhaseStream, second: PhaseStream) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.hop = vocoder.frames.hop
        self.frames = StagedFrames(vocoder.frames.length, self.hop)
        self.echo = Echo(self.frames)
        advance = vocoder.phase.first.advance * torch.tensor([[1.0], [-1.0]])
        for name, values in (
            ("pulse", torch.tensor([[PULSE], [0.0]])),
            ("advance", torch.tensor(_PAIRS) @ advance),
            ("power", torch.ones(1, 2)),
            ("turns", torch.tensor(_TURNS)),
            ("pairs", torch.tensor(_PAIRS)),
            ("conjugate_pairs", torch.tensor(_PAIRS) @ torch.diag(torch.tensor([1.0, -1.0]))),
            ("sums", torch.tensor(_SUMS)),
            ("pair_sums", torch.tensor(_PAIRS) @ torch.tensor(_SUMS)),
        ):
            self.register_buffer(name, values)

    def forward(
        self,
        past: Tensor,
        turned: Tensor,
        now: Tensor,
        others: Tensor,
        first: Tensor,
        second: Tensor,
        present: Tensor,
        *tables: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        self.frames.use(tables)
        whole = functional.pad(past, (0, self.hop))
        guess = self.frames.analyse(whole) + self.pulse
        size, turns, heard = self._heard(guess, turned)
        planes = torch.cat([relative((size + SMALLEST).log(), now), *heard], dim=1)
        phase, now = self._leave(turns, now, *self.first(planes, first))
        guess = guess + self.echo(phase * now.clamp(max=LOG_CEILING).exp())
        size, turns, heard = self._heard(guess, turned)
        levels = relative(torch.cat([(size + SMALLEST).log(), others], dim=1), now)
        phase, now = self._leave(turns, now, *self.second(torch.cat([now, levels, *heard], dim=1), second))
        phase = phase * present
        whole = whole + self.frames.synthesise(phase * now.clamp(max=LOG_CEILING).exp())
        samples, past = torch.split(whole, [self.hop, self.frames.length - self.hop], dim=1)
        return past, self.pair_sums @ (self.turns @ phase * self.advance), samples.clamp(-1.0, 1.0)

    def _heard(self, guess: Tensor, turned: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The guess's magnitudes, its ``turns`` at modulus one, and its phase relative to its neighbours'."""
        size = self._size(guess)
        unit = guess / size
        turns, pairs = self.turns @ unit, self.pairs @ unit
        next_bin = functional.pad(turns, (-1, 1))
        return size, turns, [self._turn(next_bin, pairs), self._turn(turns, turned)]

    def _leave(self, turns: Tensor, level: Tensor, turn: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        phase = self._turn(turns, self.conjugate_pairs @ turn)
        return phase / self._size(phase), level + change

    def _size(self, spectrum: Tensor) -> Tensor:
        return (self.power @ (spectrum * spectrum) + 1e-16).sqrt()

    def _turn(self, turns: Tensor, pairs: Tensor) -> Tensor:
        return self.sums @ (turns * pairs)


def relative(levels: Tensor, now: Tensor) -> Tensor:
    """Levels relative to the one wanted now, within bounds."""
    return (levels - now).clamp(-_LEVEL_RANGE, _LEVEL_RANGE)
