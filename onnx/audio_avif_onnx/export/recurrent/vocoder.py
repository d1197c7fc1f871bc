"""The recurrent vocoder: magnitudes from the mel, then phases frame by frame from the sound already produced."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_avif_onnx.export.recurrent.config import RecurrentConfig
from audio_avif_onnx.export.recurrent.magnitude import LOG_CEILING, MagnitudeNet
from audio_avif_onnx.export.recurrent.phase import Frames, PhaseNet
from audio_avif_onnx.export.recurrent.refiner import SILENT_LOG, Refiner

SILENT_LOG10_MEL = -10.0


class Conditions(NamedTuple):
    """The conditions of the phase step for each frame.

    Shape: ``levels`` ``[batch, frames, 4, bins]`` as for ``PhaseNet``, ``hidden`` ``[batch, frames, channels]``.
    """

    levels: Tensor
    hidden: Tensor


def spectrum(phase: Tensor, log_size: Tensor) -> Tensor:
    """Combine phases of modulus one ``[..., 2, bins]`` and log-magnitude ``[..., bins]``."""
    return phase * log_size.clamp(max=LOG_CEILING).exp().unsqueeze(-2)


class PhaseStep(nn.Module):
    """One frame from the overlap-add before it, in two passes.

    The first pass starts from the sound already produced, the second from the sum of that and the first pass.
    ``frames`` analyses and synthesises; it is an argument of each call, because an ONNX graph uses another one.
    """

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.first = PhaseNet(config)
        self.second = PhaseNet(config)

    def forward(
        self, frames: Frames, past: Tensor, before: Tensor, levels: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return phase and log-magnitude.

        Shape: ``past`` ``[rows, window]``, ``before`` ``[rows, 2, bins]``, ``levels`` ``[rows, 4, bins]``.
        """
        phase, log_size = self.first(frames.analyse(past), before, levels, hidden)
        whole = past + frames.synthesise(spectrum(phase, log_size))
        levels = torch.cat([log_size.unsqueeze(1), levels[:, 1:]], dim=1)
        result: tuple[Tensor, Tensor] = self.second(frames.analyse(whole), before, levels, hidden)
        return result


class Vocoder(nn.Module):
    """Received log-mel to samples, with at most one frame of mel lookahead and causal otherwise."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.lookahead_frames = config.lookahead_frames
        self.magnitude = MagnitudeNet(config)
        self.phase = PhaseStep(config)
        self.frames = Frames(config.window_samples, config.mel.hop_samples)
        if config.refiner:
            self.refiner = Refiner(config)

    def conditions(self, log_mel: Tensor) -> tuple[Tensor, Conditions]:
        """Log-magnitude ``[batch, frames, bins + 1]`` of all frames, and the conditions of the phase step."""
        log_magnitude, hidden, priors = self.magnitude(log_mel)
        now = log_magnitude[..., :-1]
        before = functional.pad(now[:, :-1], (0, 0, 1, 0), value=SILENT_LOG)
        levels = torch.stack([now, before, priors[:, :-1, :-1], priors[:, 1:, :-1]], dim=2)
        return log_magnitude, Conditions(levels, hidden)

    def guided(self, samples: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor, Tensor]:
        """Predict all frames but the first from the true past in parallel.

        Shape: ``samples`` ``[batch, window + hop * (frames - 1)]``. Returns phase ``[batch, frames - 1, 2, bins]``,
        log-magnitude and the true spectrum.
        """
        windows = samples.unfold(-1, self.frames.length, self.frames.hop)
        true = self.frames.analyse(windows)
        phase, log_size = self._all_frames(windows[:, 1:] * self.frames.past_share, true[:, :-1], conditions, 1)
        return phase, log_size, true[:, 1:]

    def free(self, past: Tensor, before: Tensor, conditions: Conditions, *, skip: int = 1) -> Tensor:
        """Produce every frame but the first ``skip`` from the network's own output.

        The recursion runs without gradients; then all frames are computed again in parallel from its pasts.
        So a frame learns from all sound that overlaps it, and no gradient is propagated through the recursion, where it
        would explode.

        Shape: ``past`` ``[batch, window]``, the overlap-add so far under the first window to come; ``before``
        ``[batch, 2, bins]``, the spectrum before it. Returns ``[batch, window + hop * (frames - skip - 1)]``.
        """
        with torch.no_grad():
            pasts, spectra = self._recursion(past, before, conditions, skip)
        phase, log_size = self._all_frames(pasts, spectra[:, :-1], conditions, skip)
        produced = self.frames.overlap_add(self.frames.synthesise(spectrum(phase, log_size)))
        return torch.cat([produced[:, : self.frames.length] + past, produced[:, self.frames.length :]], dim=1)

    def synthesize(self, log_mel: Tensor) -> Tensor:
        """Synthesize a whole signal as a stream does: ``[batch, frames, n_mels]`` -> ``[batch, frames * hop]``."""
        batch, frames, _ = log_mel.shape
        hop, late = self.frames.hop, self.config.latency_samples
        _, conditions = self.conditions(functional.pad(log_mel, (0, 0, 0, -(-late // hop)), value=SILENT_LOG10_MEL))
        silence = log_mel.new_zeros(batch, self.frames.length)
        produced = self.run(silence, self.frames.analyse(silence), conditions, skip=0)
        samples = functional.pad(produced[:, : hop * conditions.hidden.shape[1]], (self.lookahead_frames * hop, 0))
        if self.config.refiner:
            ahead = (0, 0, self.lookahead_frames, 0)  # frames that a stream has before its first
            hidden = functional.pad(conditions.hidden, ahead)
            levels = functional.pad(self.refiner_levels(conditions) - SILENT_LOG, (0, 0, *ahead))
            samples, _ = self.refiner.stream(samples, hidden, levels, self.refiner.stream_state(batch))
        return samples[:, late:][:, : frames * hop]

    def refiner_levels(self, conditions: Conditions) -> Tensor:
        """Log-magnitudes for the second stage ``[batch, frames, 2, bins]``: the first stage's and the priors."""
        prior = 2 if self.lookahead_frames else 3
        return conditions.levels[:, :, [0, prior]]

    @torch.no_grad()
    def run(self, past: Tensor, before: Tensor, conditions: Conditions, *, skip: int = 1) -> Tensor:
        """As ``free``, by the recursion alone, without gradients."""
        _, spectra = self._recursion(past, before, conditions, skip)
        produced = self.frames.overlap_add(self.frames.synthesise(spectra[:, 1:]))
        return torch.cat([produced[:, : self.frames.length] + past, produced[:, self.frames.length :]], dim=1)

    def _recursion(self, past: Tensor, before: Tensor, conditions: Conditions, skip: int) -> tuple[Tensor, Tensor]:
        """The overlap-add before each frame, and the spectra before and after it."""
        hop = self.frames.hop
        pasts, spectra = [], [before]
        for frame in range(skip, conditions.hidden.shape[1]):
            pasts.append(past)
            phase, log_size = self.phase(
                self.frames, past, spectra[-1], conditions.levels[:, frame], conditions.hidden[:, frame]
            )
            spectra.append(spectrum(phase, log_size))
            past = functional.pad((past + self.frames.synthesise(spectra[-1]))[:, hop:], (0, hop))
        return torch.stack(pasts, dim=1), torch.stack(spectra, dim=1)

    def _all_frames(self, pasts: Tensor, befores: Tensor, conditions: Conditions, skip: int) -> tuple[Tensor, Tensor]:
        batch = pasts.shape[0]
        inputs = (pasts, befores, conditions.levels[:, skip:], conditions.hidden[:, skip:])
        phase, log_size = self.phase(self.frames, *(each.flatten(0, 1) for each in inputs))
        return phase.unflatten(0, (batch, -1)), log_size.unflatten(0, (batch, -1))
