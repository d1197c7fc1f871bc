"""What can be trained, in the order it pays: magnitudes, phases from the true past, both on their own output, a jury.

Random numbers come from the processor's generator on every device, which is the one a checkpoint holds.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from batches import Batch
from checkpoints import check_architecture, load_checkpoint
from discriminators import Jury, deceit_loss, feature_loss, jury_loss
from losses import MultiResolution, magnitude_loss, phase_loss, weigh
from networks import MagnitudeConfig, MagnitudeNet
from phase import PhaseConfig
from spectra import LOG_FLOOR, Analysis
from torch import Tensor, nn
from vocoder import Conditions, Vocoder

from audio_avif.config import MelConfig

_SPECTRUM_WEIGHT = 0.3
_TRUE_START_SHARE = 0.8
_JURY_CHANNELS = 16
_DECEIT_WEIGHT = 0.05
_FEATURE_WEIGHT = 0.2
_JUDGED_SAMPLES = 8192


class MagnitudeTask(nn.Module):
    """Teaches the magnitude network by L1 on the logarithm and on the 0.3rd power, without an adversary."""

    name = "magnitude"
    lookahead_frames = MagnitudeNet.lookahead_frames

    def __init__(self, mel: MelConfig) -> None:
        super().__init__()
        config = MagnitudeConfig()
        self.architecture: dict[str, Any] = {"mel": mel.to_dict(), "magnitude": asdict(config)}
        self.vocoder: nn.Module = nn.ModuleDict({"magnitude": MagnitudeNet(mel, config)})
        self.analysis = Analysis(mel)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to descend."""
        target = self.analysis.magnitude(batch.samples).clamp(min=LOG_FLOOR).log()
        log_magnitude, _, _ = self.vocoder.magnitude(batch.log_mel)
        log_l1, power_l1 = magnitude_loss(log_magnitude, target)
        return {"loss": weigh(log_l1, power_l1), "log": log_l1, "power": power_l1}


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
        phase, log_size, true = self.vocoder.guided(batch.samples, detached)
        phase_error = phase_loss(phase, true)
        magnitude_error = weigh(*magnitude_loss(log_magnitude, target))
        size_error = weigh(*magnitude_loss(log_size, target[:, 1:, :-1]))
        loss = phase_error + magnitude_error + size_error
        return {"loss": loss, "phase": phase_error, "magnitude": magnitude_error, "size": size_error}


class WaveTask(_VocoderTask):
    """Teaches both networks on what they produce from their own output, heard at several resolutions."""

    name = "wave"

    def __init__(self, mel: MelConfig) -> None:
        super().__init__(mel)
        self.resolutions = MultiResolution()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to descend."""
        return self.listen(batch)[0]

    def listen(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The losses, and what was produced and should have been, ``[batch, samples]``."""
        samples, frames = batch.samples, self.vocoder.frames
        target = self.analysis.magnitude(samples).clamp(min=LOG_FLOOR).log()
        log_magnitude, conditions = self.vocoder.conditions(batch.log_mel)
        magnitude_error = weigh(*magnitude_loss(log_magnitude, target))
        # Some rows start amid true sound, the others from silence, as streams do. The first frame serves as the past.
        known = (torch.rand(samples.shape[0], 1) < _TRUE_START_SHARE).float().to(samples.device)
        first, second = samples[:, : frames.length], samples[:, frames.hop :][:, : frames.length]
        produced = self.vocoder.free(
            known * second * frames.past_share, known[..., None] * frames.analyse(first), conditions
        )
        whole = slice(frames.length - frames.hop, produced.shape[1] - frames.length + frames.hop)
        produced, wanted = produced[:, whole], samples[:, frames.hop :][:, whole]
        log_l1, power_l1 = self.resolutions(produced, wanted)
        loss = weigh(log_l1, power_l1) + _SPECTRUM_WEIGHT * magnitude_error
        return {"loss": loss, "log": log_l1, "power": power_l1, "magnitude": magnitude_error}, produced, wanted


class AdversarialTask(WaveTask):
    """The same against a jury, which learns in the same step: each side sees the other's weights as constants."""

    name = "adversarial"

    def __init__(self, mel: MelConfig) -> None:
        super().__init__(mel)
        self.architecture["jury"] = {"channels": _JURY_CHANNELS}
        self.jury = Jury(_JURY_CHANNELS)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to descend."""
        losses, produced, wanted = self.listen(batch)
        start = int(torch.randint(max(1, wanted.shape[1] - _JUDGED_SAMPLES), ()))
        produced, wanted = (each[:, start : start + _JUDGED_SAMPLES] for each in (produced, wanted))
        real = self.jury(wanted)
        judging = jury_loss(real, self.jury(produced.detach()))
        fixed = {name: value.detach() for name, value in self.jury.named_parameters()}
        judged: list[list[Tensor]] = torch.func.functional_call(self.jury, fixed, (produced,))
        deceit, features = deceit_loss(judged), feature_loss(real, judged)
        loss = losses["loss"] + _DECEIT_WEIGHT * deceit + _FEATURE_WEIGHT * features + judging
        return losses | {"loss": loss, "deceit": deceit, "features": features, "judging": judging}


TASKS = {task.name: task for task in (MagnitudeTask, PhaseTask, WaveTask, AdversarialTask)}


def load_vocoder(path: Path, mel: MelConfig) -> Vocoder:
    """The averaged vocoder of a checkpoint. Raises ModelError where there is none, or one of another architecture."""
    task = WaveTask(mel)
    content = load_checkpoint(path, torch.device("cpu"))
    architecture = content.get("architecture", {})
    check_architecture({name: architecture.get(name) for name in task.architecture}, task.architecture, path)
    own = {name: value for name, value in content["average"].items() if name.startswith("vocoder.")}
    task.load_state_dict(own)
    return task.vocoder.eval()
