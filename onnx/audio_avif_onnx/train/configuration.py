"""The settings of a training run."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

from audio_avif_onnx.export.causal.config import CausalConfig
from audio_avif_onnx.export.hifigan.finetuned import HifiGanConfig
from audio_avif_onnx.export.recurrent.config import HIGH_QUALITY, LOW_DELAY, RecurrentConfig

MODELS: dict[str, RecurrentConfig | CausalConfig | HifiGanConfig] = {
    "embedded": RecurrentConfig(),
    "embedded-low": LOW_DELAY,
    "embedded-high": HIGH_QUALITY,
    "generator": CausalConfig(),
    "hifigan": HifiGanConfig(),
}

_MIN_FRAMES = 16  # the losses hear windows of 2048 samples
_MIN_REFINED_FRAMES = 32  # the second stage gives back only what all its windows lie inside of


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one run; all others follow from the task."""

    data: Path
    out: Path
    model: str = "embedded"
    task: str = "magnitude"
    device: str = "auto"
    minutes: float = math.inf
    steps: int = sys.maxsize
    batch_size: int = 16
    frames: int = 64
    variants: int = 4
    workers: int = 1
    learning_rate: float = 1e-3
    warmup_steps: int = 300
    decay_from_step: int = 4000
    cooldown_steps: int = 0
    ema_decay: float = 0.999
    seed: int = 0
    bfloat16: bool = True
    clips: Path | None = None
    clip_match: str = ""
    clip_every: int = 1
    evaluate_every_minutes: float = 30.0
    save_every_minutes: float = 2.0
    log_every_steps: int = 50

    def __post_init__(self) -> None:
        """Raise ValueError for settings out of range."""
        if not self.minutes > 0:
            raise ValueError(f"--minutes must be above 0, not {self.minutes}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"--learning-rate must be above 0 and finite, not {self.learning_rate}")
        for name, low in (
            ("steps", 0),
            ("batch_size", 1),
            ("frames", _MIN_FRAMES),
            ("variants", 0),
            ("workers", 1),
            ("warmup_steps", 1),
            ("cooldown_steps", 0),
            ("seed", 0),
            ("clip_every", 1),
            ("evaluate_every_minutes", 0),
            ("save_every_minutes", 0),
        ):
            if not getattr(self, name) >= low:
                raise ValueError(f"--{name.replace('_', '-')} must be {low} or more, not {getattr(self, name)}")
        if self.task == "refine" and self.frames < _MIN_REFINED_FRAMES:
            raise ValueError(f"--frames must be {_MIN_REFINED_FRAMES} or more for --task refine, not {self.frames}")
        if self.cooldown_steps and self.steps == sys.maxsize:
            raise ValueError("--cooldown-steps needs --steps, the step at which the rate reaches zero")

    @property
    def is_endless(self) -> bool:
        """Whether the run ends only by a signal."""
        return self.steps == sys.maxsize and self.minutes == math.inf
