"""What can be trained, in the order it pays: magnitudes, phases from the true past, both on their own output, a jury.

Random numbers come from the processor's generator on every device, which is the one a checkpoint holds.
"""

from __future__ import annotations

from typing import Any

import torch
from batches import Batch
from discriminators import Jury, deceit_loss, feature_loss, jury_loss
from losses import MultiResolution, magnitude_loss, phase_loss, weigh
from spectra import Analysis
from torch import Tensor, nn

from audio_avif.export.recurrent.config import RecurrentConfig
from audio_avif.export.recurrent.magnitude import MagnitudeNet
from audio_avif.export.recurrent.prior import LOG_FLOOR
from audio_avif.export.recurrent.vocoder import Conditions, Vocoder

_SPECTRUM_WEIGHT = 0.3
_TRUE_START_SHARE = 0.8
_JURY_CHANNELS = 16
_DECEIT_WEIGHT = 0.05
_FEATURE_WEIGHT = 0.2
_JUDGED_SAMPLES = 8192


class _RecurrentTask(nn.Module):
    """What all tasks share: the synthesis windows of a batch, which may be shorter than the mel's."""

    name: str

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.lookahead_frames = config.lookahead_frames
        self.architecture: dict[str, Any] = {"task": self.name, "vocoder": config.to_dict()}
        self.analysis = Analysis(config.mel, config.window_samples)
        self._margin = (config.mel.n_fft - config.window_samples) // 2

    def windowed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Samples that the synthesis windows span, and their log-magnitudes ``[batch, frames, bins]``."""
        samples = batch.samples[:, self._margin : batch.samples.shape[1] - self._margin]
        return samples, self.analysis.magnitude(samples).clamp(min=LOG_FLOOR).log()


class MagnitudeTask(_RecurrentTask):
    """Teaches the magnitude network by L1 on the logarithm and on the 0.3rd power, without an adversary."""

    name = "magnitude"

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.vocoder: nn.Module = nn.ModuleDict({"magnitude": MagnitudeNet(config)})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to descend."""
        _, target = self.windowed(batch)
        log_magnitude, _, _ = self.vocoder.magnitude(batch.log_mel)
        log_l1, power_l1 = magnitude_loss(log_magnitude, target)
        return {"loss": weigh(log_l1, power_l1), "log": log_l1, "power": power_l1}


class _VocoderTask(_RecurrentTask):
    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.vocoder = Vocoder(config)


class PhaseTask(_VocoderTask):
    """Teaches the phase step from the true past, beside the magnitudes."""

    name = "phase"

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to descend."""
        samples, target = self.windowed(batch)
        log_magnitude, conditions = self.vocoder.conditions(batch.log_mel)
        detached = Conditions(*(each.detach() for each in conditions))
        phase, log_size, true = self.vocoder.guided(samples, detached)
        phase_error = phase_loss(phase, true)
        magnitude_error = weigh(*magnitude_loss(log_magnitude, target))
        size_error = weigh(*magnitude_loss(log_size, target[:, 1:, :-1]))
        loss = phase_error + magnitude_error + size_error
        return {"loss": loss, "phase": phase_error, "magnitude": magnitude_error, "size": size_error}


class WaveTask(_VocoderTask):
    """Teaches both networks on what they produce from their own output, heard at several resolutions."""

    name = "wave"

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.resolutions = MultiResolution()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to descend."""
        return self.listen(batch)[0]

    def listen(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The losses, and what was produced and should have been, ``[batch, samples]``."""
        frames = self.vocoder.frames
        samples, target = self.windowed(batch)
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

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
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
