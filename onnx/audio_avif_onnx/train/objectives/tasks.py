"""The training tasks, in the order of a chain: magnitudes, phases from the true past, both on their own output, then
adversarial training.

Random numbers come from the CPU's generator on every device: a checkpoint holds that one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from audio_avif.errors import ModelError
from audio_avif_onnx.export.causal.config import CausalConfig
from audio_avif_onnx.export.causal.generator import CausalGenerator
from audio_avif_onnx.export.causal.pitch import PITCH_HZ
from audio_avif_onnx.export.hifigan.finetuned import HifiGanConfig
from audio_avif_onnx.export.members import members
from audio_avif_onnx.export.recurrent.config import RecurrentConfig
from audio_avif_onnx.export.recurrent.magnitude import MagnitudeNet
from audio_avif_onnx.export.recurrent.prior import LOG_FLOOR
from audio_avif_onnx.export.recurrent.refiner import RefinementPass
from audio_avif_onnx.export.recurrent.vocoder import Conditions, Vocoder
from audio_avif_onnx.export.trained import build, describe
from audio_avif_onnx.train.data.batches import Batch
from audio_avif_onnx.train.data.pitch import PitchTracker
from audio_avif_onnx.train.data.spectra import Analysis
from audio_avif_onnx.train.objectives.discriminators import (
    Discriminators,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from audio_avif_onnx.train.objectives.losses import (
    LoudnessDifference,
    MultiResolution,
    PhaseRelations,
    Unintelligibility,
    magnitude_loss,
    phase_loss,
    weigh,
)

_SPECTRUM_WEIGHT = 0.3
_LOUDNESS_WEIGHT = 0.5
_UNINTELLIGIBILITY_WEIGHT = 10.0
_TRUE_START_SHARE = 0.8
_DISCRIMINATOR_CHANNELS = 16
_ADVERSARIAL_WEIGHT = 0.05
_FEATURE_WEIGHT = 0.2
_DISCRIMINATED_SAMPLES = 8192
_PHASE_WEIGHT = 0.1
_PITCH_WEIGHT = 0.1
_HILL_OCTAVES = 0.03


class Task(nn.Module):
    """The interface of all tasks; a call returns the losses of a batch by name."""

    name: str
    architecture: dict[str, Any]
    lookahead_frames: int
    vocoder: nn.Module


class _AudibleTask(Task):
    """A task that produces samples."""

    def listen(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The losses, the produced samples and the target samples, ``[batch, samples]``."""
        raise NotImplementedError


class _RecurrentTask(Task):
    """Base of the recurrent tasks: the synthesis windows of a batch, which may be shorter than the mel's."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.lookahead_frames = config.lookahead_frames
        self.architecture = {"task": self.name, "vocoder": config.to_dict()}
        self.analysis = Analysis(config.mel, config.window_samples)
        self._margin = (config.mel.n_fft - config.window_samples) // 2

    def windowed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The samples within the synthesis windows, and their log-magnitudes ``[batch, frames, bins]``."""
        samples = batch.samples[:, self._margin : batch.samples.shape[1] - self._margin]
        return samples, self.analysis.magnitude(samples).clamp(min=LOG_FLOOR).log()


class MagnitudeTask(_RecurrentTask):
    """Train the magnitude network by L1 of the logarithm and of the 0.3rd power."""

    name = "magnitude"

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.vocoder: nn.ModuleDict = nn.ModuleDict({"magnitude": MagnitudeNet(config)})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to minimise."""
        _, target = self.windowed(batch)
        log_magnitude, _, _ = self.vocoder["magnitude"](batch.log_mel)
        log_l1, power_l1 = magnitude_loss(log_magnitude, target)
        return {"loss": weigh(log_l1, power_l1), "log": log_l1, "power": power_l1}


class _VocoderTask(_RecurrentTask):
    vocoder: Vocoder

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.vocoder = Vocoder(config)


class PhaseTask(_VocoderTask):
    """Train the phase step from the true past, together with the magnitudes."""

    name = "phase"

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to minimise."""
        samples, target = self.windowed(batch)
        log_magnitude, conditions = self.vocoder.conditions(batch.log_mel)
        detached = Conditions(*(each.detach() for each in conditions))
        phase, log_size, true = self.vocoder.guided(samples, detached)
        phase_error = phase_loss(phase, true)
        magnitude_error = weigh(*magnitude_loss(log_magnitude, target))
        size_error = weigh(*magnitude_loss(log_size, target[:, 1:, :-1]))
        loss = phase_error + magnitude_error + size_error
        return {"loss": loss, "phase": phase_error, "magnitude": magnitude_error, "size": size_error}


class WaveTask(_VocoderTask, _AudibleTask):
    """Train both networks on what they produce from their own output, by spectra at several resolutions."""

    name = "wave"

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.resolutions = MultiResolution()
        self.loudness = LoudnessDifference(config.mel.rate_hz)
        self.unintelligibility = Unintelligibility(config.mel.rate_hz)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to minimise."""
        return self.listen(batch)[0]

    def listen(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The losses, the produced samples and the target samples, ``[batch, samples]``."""
        frames = self.vocoder.frames
        samples, target = self.windowed(batch)
        log_magnitude, conditions = self.vocoder.conditions(batch.log_mel)
        magnitude_error = weigh(*magnitude_loss(log_magnitude, target))
        produced = self.produce(self.vocoder.free, samples, conditions)
        whole = slice(frames.length - frames.hop, produced.shape[1] - frames.length + frames.hop)
        produced, wanted = produced[:, whole], samples[:, frames.hop :][:, whole]
        losses = self.compare(produced, wanted)
        losses["loss"] = losses["loss"] + _SPECTRUM_WEIGHT * magnitude_error
        return losses | {"magnitude": magnitude_error}, produced, wanted

    def compare(self, produced: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """The losses of waveforms."""
        log_l1, power_l1 = self.resolutions(produced, wanted)
        loudness, unintelligibility = self.loudness(produced, wanted), self.unintelligibility(produced, wanted)
        loss = weigh(log_l1, power_l1) + _LOUDNESS_WEIGHT * loudness + _UNINTELLIGIBILITY_WEIGHT * unintelligibility
        parts = {"log": log_l1, "power": power_l1, "loudness": loudness, "unintelligibility": unintelligibility}
        return {"loss": loss} | parts

    def produce(self, recursion: Callable[..., Tensor], samples: Tensor, conditions: Conditions) -> Tensor:
        """The samples that a recursion makes of every frame but the first, which serves as the past."""
        frames = self.vocoder.frames
        # Some rows start amid true sound, the others from silence, as streams do.
        known = (torch.rand(samples.shape[0], 1) < _TRUE_START_SHARE).float().to(samples.device)
        first, second = samples[:, : frames.length], samples[:, frames.hop :][:, : frames.length]
        return recursion(known * second * frames.past_share, known[..., None] * frames.analyse(first), conditions)


class RefineTask(WaveTask):
    """Train the second stage on the output of the first, which stays unchanged."""

    name = "refine"

    def __init__(self, config: RecurrentConfig) -> None:
        if config.refiner is None:
            raise ModelError("--task refine needs a --model with a second stage; give --model embedded-high")
        super().__init__(config)

    def listen(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The losses, the produced samples and the target samples, ``[batch, samples]``."""
        vocoder, frames = self.vocoder, self.vocoder.frames
        samples, _ = self.windowed(batch)
        with torch.no_grad():
            _, conditions = vocoder.conditions(batch.log_mel)
            first_stage = self.produce(vocoder.run, samples, conditions)
            first_stage = first_stage[:, : first_stage.shape[1] - frames.length + frames.hop]
            hidden, levels = conditions.hidden[:, 1:], vocoder.refiner_levels(conditions)[:, 1:]
        refined, wanted_levels = vocoder.refiner(first_stage, hidden, levels)
        samples = samples[:, frames.hop :]
        magnitude_errors = [
            weigh(*magnitude_loss(levels.values, _log_levels(each, samples[:, levels.position :], levels.values)))
            for each, levels in zip(members(vocoder.refiner.passes, RefinementPass), wanted_levels, strict=True)
        ]
        magnitude_error = torch.stack(magnitude_errors).mean()
        produced, wanted = refined.values, samples[:, refined.position :][:, : refined.values.shape[1]]
        losses = self.compare(produced, wanted)
        losses["loss"] = losses["loss"] + _SPECTRUM_WEIGHT * magnitude_error
        return losses | {"magnitude": magnitude_error}, produced, wanted


def _log_levels(each: RefinementPass, samples: Tensor, like: Tensor) -> Tensor:
    """Log-magnitudes ``[batch, spectra, bins]`` of the windows of a pass."""
    windows = samples.unfold(-1, each.config.window_samples, each.config.hop_samples)[:, : like.shape[1]]
    return (each.frames.analyse(windows).square().sum(dim=2) + LOG_FLOOR**2).sqrt().log()


class GeneratorTask(_AudibleTask):
    """Train a network that makes samples directly from mel, by spectra at several resolutions and by phase differences.

    The error of the phase itself is only reported: mel does not determine where a phase starts, so it stays at chance.
    The advance of phases from frame to frame is determined by the pitch, and is learned.
    """

    name = "generator"

    def __init__(self, config: CausalConfig | HifiGanConfig) -> None:
        super().__init__()
        self.architecture = {"task": self.name, **describe(config)}
        self.vocoder = build(config)
        self.lookahead_frames = config.lookahead_frames
        self.resolutions = MultiResolution()
        self.relations = PhaseRelations(config.mel.n_fft, config.mel.hop_samples)
        self._first = config.mel.n_fft // 2 - config.latency_samples

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to minimise."""
        return self.listen(batch)[0]

    def listen(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The losses, the produced samples and the target samples, ``[batch, samples]``."""
        produced = self.vocoder(batch.log_mel).float()
        wanted = self.wanted(batch, produced)
        return self.compare(produced, wanted), produced, wanted

    def wanted(self, batch: Batch, produced: Tensor) -> Tensor:
        """The target samples."""
        return batch.samples[:, self._first :][:, : produced.shape[1]]

    def compare(self, produced: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        """The losses of waveforms."""
        log_l1, power_l1 = self.resolutions(produced, wanted)
        phase, delay, frequency = self.relations(produced, wanted)
        loss = weigh(log_l1, power_l1) + _PHASE_WEIGHT * (delay + frequency)
        return {"loss": loss, "log": log_l1, "power": power_l1, "phase": phase, "delay": delay, "frequency": frequency}


class CausalGeneratorTask(GeneratorTask):
    """The same for the causal generator, whose pitch is trained too.

    In voiced frames its pulses have the true pitch: with wrong pulses it would learn to ignore them.
    """

    vocoder: CausalGenerator

    def __init__(self, config: CausalConfig) -> None:
        super().__init__(config)
        self.tracker = PitchTracker(config.mel.n_fft, config.mel.rate_hz, *PITCH_HZ)
        self._mel = config.mel

    def listen(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """The losses, the produced samples and the target samples, ``[batch, samples]``."""
        true = self.tracker(batch.samples.unfold(1, self._mel.n_fft, self._mel.hop_samples)).unsqueeze(2)
        true = functional.pad(true, (0, 0, 0, self.lookahead_frames), value=torch.nan)
        produced, likely = self.vocoder(batch.log_mel, true)
        produced = produced.float()
        wanted = self.wanted(batch, produced)
        losses = self.compare(produced, wanted)
        surprise, octaves = self._pitch_errors(likely, true)
        losses |= {"loss": losses["loss"] + _PITCH_WEIGHT * surprise, "pitch": surprise, "octaves": octaves}
        return losses, produced, wanted

    def _pitch_errors(self, likely: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
        """Over voiced frames: cross-entropy with a narrow hill about the true pitch, and mean distance from it."""
        head = self.vocoder.pitch
        voiced = ~true.isnan()
        distance = head.octaves - true.nan_to_num()
        hill = torch.softmax(-0.5 * (distance / _HILL_OCTAVES).square(), dim=-1)
        surprise = -(hill * likely.log_softmax(dim=-1)).sum(dim=-1, keepdim=True)
        off = (head.pitch(likely) - true.nan_to_num()).abs()
        count = voiced.sum().clamp(min=1)
        return (surprise * voiced).sum() / count, (off * voiced).sum() / count


class _Adversarial(_AudibleTask):
    """Adds adversarial training to the task it is mixed into.

    Vocoder and discriminators learn in the same step; each side treats the other's weights as constants.
    """

    name = "adversarial"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.architecture["jury"] = {"channels": _DISCRIMINATOR_CHANNELS}  # checkpoints hold this name, and the next
        self.jury = Discriminators(_DISCRIMINATOR_CHANNELS)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name; ``loss`` is the one to minimise."""
        losses, produced, wanted = self.listen(batch)
        start = int(torch.randint(max(1, wanted.shape[1] - _DISCRIMINATED_SAMPLES), ()))
        produced, wanted = (each[:, start : start + _DISCRIMINATED_SAMPLES] for each in (produced, wanted))
        real = self.jury(wanted)
        discrimination = discriminator_loss(real, self.jury(produced.detach()))
        fixed = {name: value.detach() for name, value in self.jury.named_parameters()}
        scored: list[list[Tensor]] = torch.func.functional_call(self.jury, fixed, (produced,))
        adversarial, features = adversarial_loss(scored), feature_loss(real, scored)
        loss = losses["loss"] + _ADVERSARIAL_WEIGHT * adversarial + _FEATURE_WEIGHT * features + discrimination
        return losses | {"loss": loss, "deceit": adversarial, "features": features, "judging": discrimination}


class AdversarialTask(_Adversarial, WaveTask):
    """Adversarial training of the recurrent vocoder."""


class AdversarialGeneratorTask(_Adversarial, GeneratorTask):
    """Adversarial training of a HiFi-GAN."""


class AdversarialCausalGeneratorTask(_Adversarial, CausalGeneratorTask):
    """Adversarial training of the causal generator."""


RECURRENT_TASKS: dict[str, type[_RecurrentTask]] = {
    task.name: task for task in (MagnitudeTask, PhaseTask, WaveTask, AdversarialTask, RefineTask)
}
GENERATOR_TASKS: dict[str, type[CausalGeneratorTask]] = {
    task.name: task for task in (CausalGeneratorTask, AdversarialCausalGeneratorTask)
}
HIFIGAN_TASKS: dict[str, type[GeneratorTask]] = {task.name: task for task in (GeneratorTask, AdversarialGeneratorTask)}
TASKS = frozenset(RECURRENT_TASKS.keys() | GENERATOR_TASKS.keys() | HIFIGAN_TASKS.keys())
_Known = TypeVar("_Known", bound=Task)


def open_task(name: str, config: RecurrentConfig | CausalConfig | HifiGanConfig) -> Task:
    """The task of that name for a network of that kind. Raises ModelError for a network without that task."""
    if isinstance(config, RecurrentConfig):
        return _find(name, RECURRENT_TASKS)(config)
    if isinstance(config, CausalConfig):
        return _find(name, GENERATOR_TASKS)(config)
    return _find(name, HIFIGAN_TASKS)(config)


def _find(name: str, tasks: dict[str, type[_Known]]) -> type[_Known]:
    if name not in tasks:
        raise ModelError(f"--task {name} does not train this --model; its tasks are {', '.join(tasks)}")
    return tasks[name]
