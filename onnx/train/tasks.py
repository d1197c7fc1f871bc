"""What can be trained, in the order it pays: magnitudes, phases from the true past, then both on their own output."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from batches import Batch
from losses import MultiResolution, magnitude_loss, phase_loss, weigh
from networks import MagnitudeConfig, MagnitudeNet
from phase import PhaseConfig
from spectra import LOG_FLOOR, Analysis
from torch import Tensor, nn
from vocoder import Conditions, Vocoder

from audio_avif.config import MelConfig

_PHASE_WEIGHT = 1.0
_SPECTRUM_WEIGHT = 0.3
_TRUE_START_SHARE = 0.5


class MagnitudeTask(nn.Module):
    """Teaches the magnitude network by L1 on the logarithm and on the 0.3rd power, without an adversary."""

    name = "magnitude"
    lookahead_frames = MagnitudeNet.lookahead_frames

    def __init__(self, mel: MelConfig) -> None:
        super().__init__()
        config = MagnitudeConfig()
        self.architecture: dict[str, Any] = {"mel": mel.to_dict(), "magnitude": asdict(config)}
        self.vocoder = nn.ModuleDict({"magnitude": MagnitudeNet(mel, config)})
        self.analysis = Analysis(mel)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to descend."""
        target = self.analysis.magnitude(batch.samples).clamp(min=LOG_FLOOR).log()
        log_magnitude, _, _ = self.vocoder["magnitude"](batch.log_mel)
        log_l1, power_l1 = magnitude_loss(log_magnitude, target)
        return {"loss": weigh(log_l1, power_l1), "log": log_l1.detach(), "power": power_l1.detach()}


class _VocoderTask(nn.Module):
    lookahead_frames = Vocoder.lookahead_frames

    def __init__(self, mel: MelConfig) -> None:
        super().__init__()
        magnitude, phase = MagnitudeConfig(), PhaseConfig()
        self.architecture: dict[str, Any] = {
            "mel": mel.to_dict(),
            "magnitude": asdict(magnitude),
            "phase": asdict(phase),
        }
        self.vocoder = Vocoder(mel, magnitude, phase)
        self.analysis = Analysis(mel)


class PhaseTask(_VocoderTask):
    """Teaches the phase step from the true past, beside the magnitudes."""

    name = "phase"

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to descend."""
        target = self.analysis.magnitude(batch.samples).clamp(min=LOG_FLOOR).log()
        log_magnitude, conditions = self.vocoder.conditions(batch.log_mel)
        detached = Conditions(*(each.detach() for each in conditions))
        phase, louder, true = self.vocoder.guided(batch.samples, detached)
        phase_error = phase_loss(phase, true)
        magnitude_error = weigh(*magnitude_loss(log_magnitude, target))
        louder_error = weigh(*magnitude_loss(louder, target[:, 1:, :-1]))
        loss = _PHASE_WEIGHT * phase_error + magnitude_error + louder_error
        parts = {"phase": phase_error, "magnitude": magnitude_error, "louder": louder_error}
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}


class WaveTask(_VocoderTask):
    """Teaches both networks on what they produce from their own output, heard at several resolutions."""

    name = "wave"

    def __init__(self, mel: MelConfig) -> None:
        super().__init__(mel)
        self.resolutions = MultiResolution()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to descend."""
        samples, frames = batch.samples, self.vocoder.frames
        target = self.analysis.magnitude(samples).clamp(min=LOG_FLOOR).log()
        log_magnitude, conditions = self.vocoder.conditions(batch.log_mel)
        magnitude_error = weigh(*magnitude_loss(log_magnitude, target))
        # Some rows start amid true sound, the others from silence, as streams do. The first frame serves as the past.
        known = (torch.rand(samples.shape[0], 1, device=samples.device) < _TRUE_START_SHARE).float()
        first, second = samples[:, : frames.length], samples[:, frames.hop :][:, : frames.length]
        produced = self.vocoder.free(
            known * second * frames.past_share, known[..., None] * frames.analyse(first), conditions
        )
        whole = slice(frames.length - frames.hop, produced.shape[1] - frames.length + frames.hop)
        log_l1, power_l1 = self.resolutions(produced[:, whole], samples[:, frames.hop :][:, whole])
        loss = weigh(log_l1, power_l1) + _SPECTRUM_WEIGHT * magnitude_error
        parts = {"log": log_l1, "power": power_l1, "magnitude": magnitude_error}
        return {"loss": loss, **{name: value.detach() for name, value in parts.items()}}


TASKS = {task.name: task for task in (MagnitudeTask, PhaseTask, WaveTask)}
