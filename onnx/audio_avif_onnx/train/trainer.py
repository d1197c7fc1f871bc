"""The training step, and the state that a checkpoint holds."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from audio_avif.errors import ModelError
from audio_avif_onnx.export.hifigan.finetuned import HifiGanConfig, read_weights
from audio_avif_onnx.export.trained import NETWORK, Network, is_trained
from audio_avif_onnx.train.checkpoints import check_architecture, open_checkpoint, save_checkpoint
from audio_avif_onnx.train.configuration import MODELS, TrainConfig
from audio_avif_onnx.train.data.batches import Batcher, BatchShape
from audio_avif_onnx.train.data.corpus import open_corpus
from audio_avif_onnx.train.data.degrade import open_variants
from audio_avif_onnx.train.objectives.tasks import open_task
from audio_avif_onnx.train.progress import Display

CHECKPOINT = "last.pt"
BEST = "best.pt"


@dataclass
class RunState:
    """How far a run has come: steps, seconds of training in all and at the newest scores, and its best merit.

    ``ruler`` names the clips and scores that the merit was taken with.
    """

    step: int = 0
    trained_s: float = 0.0
    scored_s: float = 0.0
    best_merit: float = -math.inf
    ruler: str = ""

    def score(self, merit: float, ruler: str) -> bool:
        """Note a merit; return whether it is the best of those taken with the same clips and scores."""
        if ruler != self.ruler:
            self.ruler, self.best_merit = ruler, -math.inf
        is_best = merit > self.best_merit
        self.best_merit = max(merit, self.best_merit)
        self.scored_s = self.trained_s
        return is_best


class Trainer:
    """A task with its optimiser, averaged weights and random generators; call ``open_data`` before ``train_step``."""

    batcher: Batcher

    def __init__(self, config: TrainConfig, display: Display | None = None) -> None:
        self.config = config
        self.device = _device(config.device)
        self._display = display or Display()
        torch.manual_seed(config.seed)
        self._random = np.random.default_rng(config.seed)
        model = MODELS[config.model]
        self.mel = model.mel
        self.task = open_task(config.task, model).to(self.device)
        self.average = copy.deepcopy(self.task).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.task.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self._bfloat16 = config.bfloat16 and _has_bfloat16(self.device)
        self.state = RunState()

    def open_data(self) -> None:
        """Decode and encode the training data that the cache lacks.

        The first call takes long, so check everything else before. Raises FileError.
        """
        config = self.config
        corpus = open_corpus(config.data, config.out / "cache", self.mel, self._display)
        variants = open_variants(corpus, self.mel, config.variants, workers=config.workers, display=self._display)
        self.batcher = Batcher(
            corpus,
            variants,
            self.mel,
            BatchShape(config.batch_size, config.frames, self.task.lookahead_frames),
            seed=self._random,
            device=self.device,
        )

    @property
    def can_be_heard(self) -> bool:
        """Whether the task trains a whole vocoder."""
        return hasattr(self.task.vocoder, "synthesize")

    @property
    def heard(self) -> Network:
        """The vocoder with averaged weights, of a task that ``can_be_heard``."""
        return cast(Network, self.average.vocoder)

    @property
    def checkpoint(self) -> Path:
        """Path of this run's checkpoint."""
        return self.config.out / CHECKPOINT

    @property
    def learning_rate(self) -> float:
        """Warm-up, then inverse square root of the step, then down to zero over the last ``cooldown_steps``."""
        config = self.config
        share = min(1.0, (self.state.step + 1) / config.warmup_steps)
        if config.cooldown_steps:
            share *= min(1.0, max(0.0, (config.steps - self.state.step) / config.cooldown_steps))
        return config.learning_rate * share * min(1.0, math.sqrt(config.decay_from_step / (self.state.step + 1)))

    def save(self, name: str = CHECKPOINT) -> None:
        """Write a checkpoint that training can continue from exactly. Raises FileError."""
        save_checkpoint(
            self.config.out / name,
            {
                "architecture": self.task.architecture,
                "task": self.task.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "batcher": json.dumps(self._random.bit_generator.state),
                "torch_rng": torch.get_rng_state(),
                **asdict(self.state),
            },
        )

    def resume(self) -> None:
        """Continue from this run's checkpoint. Raises ModelError where it is missing, damaged or of another kind."""
        remedy = "leave --resume out to start again"
        if (self.config.out / BEST).is_file():
            remedy += f", or copy {BEST} over {CHECKPOINT} to continue from the best weights"
        content = open_checkpoint(self.checkpoint, remedy)
        check_architecture(
            content["architecture"], self.task.architecture, self.checkpoint, "give its --model and --task"
        )
        try:
            self.task.load_state_dict(content["task"])
            self.average.load_state_dict(content["average"])
            self.optimizer.load_state_dict(content["optimizer"])
            self._random.bit_generator.state = json.loads(content["batcher"])
            torch.set_rng_state(content["torch_rng"])
            self.state = RunState(**{field.name: content[field.name] for field in fields(RunState)})
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{self.checkpoint} is damaged or of another version; {remedy}") from error

    def start_from(self, path: Path) -> None:
        """Load another run's averaged weights for the networks that both have; the others stay unchanged."""
        model = MODELS[self.config.model]
        if isinstance(model, HifiGanConfig) and not is_trained(path):
            weights = read_weights(path, model, NETWORK)
        else:
            weights = open_checkpoint(path, "give --init the .pt checkpoint of a run")["average"]
        own = self.task.state_dict()
        shared = own.keys() & weights.keys()
        if not shared or any(own[name].shape != weights[name].shape for name in shared):
            raise ModelError(
                f"{path} holds another architecture than --model {self.config.model} --task {self.config.task} trains; "
                "give the --model and --task it was made with, or another --init"
            )
        for module in (self.task, self.average):
            module.load_state_dict(weights, strict=False)

    def train_step(self) -> dict[str, float]:
        """Take one step and return its losses. Raises ModelError for a non-finite loss, before changing any weight."""
        started_s = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        batch = self.batcher.draw()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16):
            losses = self.task(batch)
        # All numbers in one transfer: each one is a wait for a CUDA device.
        values = torch.stack([value.detach().float() for value in losses.values()]).tolist()
        if not all(map(math.isfinite, values)):
            raise self._not_finite("loss")
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        # A jury's gradients must not shrink the vocoder's.
        parts = [part.parameters() for part in self.task.children() if _learns(part)]
        norms = [nn.utils.clip_grad_norm_(part, 1.0) for part in parts]
        if not torch.stack(norms).isfinite().all():
            raise self._not_finite("gradient")
        self.optimizer.step()
        self.state.step += 1
        self._update_average()
        self.state.trained_s += time.monotonic() - started_s
        return dict(zip(losses, values, strict=True))

    def _not_finite(self, what: str) -> ModelError:
        remedy = "start again"
        if self.checkpoint.exists():
            remedy = f"{self.checkpoint} holds the last good weights: resume"
        return ModelError(
            f"the {what} is no longer finite at step {self.state.step}; {remedy} with a lower --learning-rate"
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.state.step) / (10 + self.state.step))
        pairs = zip(self.average.parameters(), self.task.parameters(), strict=True)
        for kept, new in pairs:
            kept.lerp_(new, 1 - decay)


def _learns(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("--device cuda needs an NVIDIA device and a CUDA build of torch; use --device cpu")
    return torch.device(name)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the device has bfloat16: CPUs emulate it, older CUDA devices refuse it."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
