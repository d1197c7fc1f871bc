"""Train the embedded vocoder: ``python onnx/train/train.py --data DIR --out DIR``; see README.md beside this file."""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from batches import Batcher
from checkpoints import check_architecture, save_checkpoint
from corpus import open_corpus, read_mono
from degrade import open_variants
from evaluate import CLEAN, choose_clips, evaluate, synthesizer
from journal import Journal, show
from tasks import TASKS
from torch import nn

from audio_avif.errors import AudioAvifError, FileError, ModelError
from audio_avif.export.recurrent.config import LOW_DELAY, RecurrentConfig
from audio_avif.export.recurrent.vocoder import Vocoder
from audio_avif.export.trained import read_checkpoint
from audio_avif.features import log_mel

logger = logging.getLogger("train")

CHECKPOINT = "last.pt"
BEST = "best.pt"
EVALUATION_QUALITIES = (45, 60, 75)  # of 8-frame tiles: about 3, 4.5 and 6 kbps
MODELS = {"embedded": RecurrentConfig(), "embedded-low": LOW_DELAY}


@dataclass(frozen=True)
class TrainConfig:
    """One run; what is not in here follows from the task."""

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
    evaluate_every_minutes: float = 30.0
    save_every_s: float = 120.0
    log_every_steps: int = 50


class Trainer:
    """A task, its optimiser, averaged weights and random sequences: everything a checkpoint holds."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.device = _device(config.device)
        torch.manual_seed(config.seed)
        model = MODELS[config.model]
        self.mel = mel = model.mel
        corpus = open_corpus(config.data, config.out / "cache", mel)
        variants = open_variants(corpus, mel, config.variants, workers=config.workers, progress=show)
        self.task = TASKS[config.task](model).to(self.device)
        self.average = copy.deepcopy(self.task).requires_grad_(False)
        self.batcher = Batcher(
            corpus,
            variants,
            mel,
            batch_size=config.batch_size,
            frames=config.frames,
            lookahead_frames=self.task.lookahead_frames,
            seed=config.seed,
            device=self.device,
        )
        self.optimizer = torch.optim.AdamW(
            self.task.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.step = 0
        self.trained_s = 0.0
        self.best_pesq = 0.0

    @property
    def can_be_heard(self) -> bool:
        """Whether the task trains a whole vocoder."""
        return isinstance(self.task.vocoder, Vocoder)

    @property
    def checkpoint(self) -> Path:
        """Where this run's checkpoint lies."""
        return self.config.out / CHECKPOINT

    def save(self, name: str = CHECKPOINT) -> None:
        """Write everything needed to go on exactly here."""
        save_checkpoint(
            self.config.out / name,
            {
                "architecture": self.task.architecture,
                "task": self.task.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "batcher": json.dumps(self.batcher.state_dict()),
                "torch_rng": torch.get_rng_state(),
                "step": self.step,
                "trained_s": self.trained_s,
                "best_pesq": self.best_pesq,
            },
        )

    def resume(self) -> None:
        """Go on from this run's checkpoint. Raises ModelError where it is missing or of another architecture."""
        content = read_checkpoint(self.checkpoint, self.device)
        check_architecture(content.get("architecture", {}), self.task.architecture, self.checkpoint)
        self.task.load_state_dict(content["task"])
        self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.batcher.load_state_dict(json.loads(content["batcher"]))
        torch.set_rng_state(content["torch_rng"].cpu())
        self.step = content["step"]
        self.trained_s = content["trained_s"]
        self.best_pesq = content["best_pesq"]

    def start_from(self, path: Path) -> None:
        """Take over another run's averaged weights for all networks it has; the rest stays as it is."""
        weights = read_checkpoint(path, self.device)["average"]
        own = self.task.state_dict()
        shared = own.keys() & weights.keys()
        if not shared or any(own[name].shape != weights[name].shape for name in shared):
            raise ModelError(f"{path} holds another architecture than --task {self.config.task} trains")
        for module in (self.task, self.average):
            module.load_state_dict(weights, strict=False)

    def train_step(self) -> dict[str, float]:
        """One step. Raises ModelError for a non-finite loss, before it touches a weight."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        batch = self.batcher.draw()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bfloat16):
            losses = self.task(batch)
        if not torch.isfinite(losses["loss"]):
            raise ModelError(
                f"the loss is no longer finite at step {self.step}; {self.checkpoint} holds the last good weights: "
                "resume with a lower --learning-rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        losses["loss"].backward()
        for part in filter(_learns, self.task.children()):  # a jury's gradients must not shrink the vocoder's
            nn.utils.clip_grad_norm_(part.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self._update_average()
        return {name: float(value.detach()) for name, value in losses.items()}

    def evaluate(self, clips: list[Path], journal: Journal) -> None:
        """Score the averaged weights on clips, clean and through tiles; keep the checkpoint with the best mean PESQ."""
        assert isinstance(self.average.vocoder, Vocoder)
        synthesize = synthesizer(self.average.vocoder)
        rows = list(evaluate(clips, {"averaged": synthesize}, [CLEAN, *map(str, EVALUATION_QUALITIES)], self.mel))
        for condition in dict.fromkeys(row.condition for row in rows):
            mine = [row.scores for row in rows if row.condition == condition]
            means = {f"{condition}/{name}": float(np.mean([each[name] for each in mine])) for name in mine[0]}
            journal.scalars(self.step, self.trained_s, means)
        first = log_mel(read_mono(clips[0], self.mel.rate_hz), self.mel)
        journal.sound(self.step, "first clip, clean mel", synthesize(first), self.mel.rate_hz)
        pesq = float(np.mean([row.scores["pesq"] for row in rows]))
        if pesq > self.best_pesq:
            self.best_pesq = pesq
            self.save(BEST)

    def _learning_rate(self) -> float:
        """Warm-up, then inverse square root, which needs no end date; to zero over the last ``cooldown_steps``."""
        config = self.config
        share = min(1.0, (self.step + 1) / config.warmup_steps)
        if config.cooldown_steps:
            share *= min(1.0, max(0.0, (config.steps - self.step) / config.cooldown_steps))
        return config.learning_rate * share * min(1.0, math.sqrt(config.decay_from_step / (self.step + 1)))

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        pairs = zip(self.average.parameters(), self.task.parameters(), strict=True)
        for kept, new in pairs:
            kept.lerp_(new, 1 - decay)


def train(
    config: TrainConfig, *, resume: bool = False, init: Path | None = None, stopped: Callable[[], bool] = lambda: False
) -> None:
    """Run until the minutes or steps are up or it is stopped, saving as it goes."""
    config.out.mkdir(parents=True, exist_ok=True)
    if not resume and (config.out / CHECKPOINT).exists():
        raise FileError(f"{config.out / CHECKPOINT} exists; add --resume to go on, or give another --out")
    trainer = Trainer(config)
    if resume:
        trainer.resume()
    elif init:
        trainer.start_from(init)
    journal = Journal(config.out)
    clips = choose_clips(config.clips, config.clip_match) if config.clips else []
    started = saved = evaluated = time.monotonic()
    trained_before_s = trainer.trained_s
    recent: list[dict[str, float]] = []
    while trainer.step < config.steps and not stopped() and time.monotonic() - started < 60 * config.minutes:
        recent.append(trainer.train_step())
        now = time.monotonic()
        trainer.trained_s = trained_before_s + now - started
        if trainer.step % config.log_every_steps == 0:
            means = {name: float(np.mean([losses[name] for losses in recent])) for name in recent[0]}
            journal.scalars(trainer.step, trainer.trained_s, means)
            recent = []
        if now - saved > config.save_every_s:
            trainer.save()
            saved = now
        if clips and trainer.can_be_heard and now - evaluated > 60 * config.evaluate_every_minutes:
            trainer.evaluate(clips, journal)
            evaluated = time.monotonic()
    trainer.save()
    if clips and trainer.can_be_heard and not stopped():
        trainer.evaluate(clips, journal)


def _learns(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _stop_signals() -> Callable[[], bool]:
    """Whether SIGINT or SIGTERM has come; a second SIGINT interrupts at once."""
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return lambda: bool(received)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("--device cuda needs an NVIDIA device and a CUDA build of torch; use --device cpu")
    return torch.device(name)


def _parse(arguments: list[str] | None) -> tuple[TrainConfig, bool, Path | None]:
    defaults = TrainConfig(Path(), Path())
    parser = argparse.ArgumentParser(description="Train the embedded vocoder; checkpoints resume exactly.")
    parser.add_argument("--data", type=Path, required=True, help="a folder of audio files, searched recursively")
    parser.add_argument("--out", type=Path, required=True, help="where checkpoints, log and cache go")
    parser.add_argument("--model", choices=sorted(MODELS), default=defaults.model, help="which network to train")
    parser.add_argument("--task", choices=sorted(TASKS), default=defaults.task, help="what to train")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument(
        "--init", type=Path, help="start from the weights of this checkpoint, of this or an earlier task"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default=defaults.device)
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="stop after so long (default: never)")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="stop at this step (default: never)")
    parser.add_argument("--batch-size", type=int, default=defaults.batch_size, help="segments a step")
    parser.add_argument("--frames", type=int, default=defaults.frames, help="frames a segment")
    parser.add_argument(
        "--variants", type=int, default=defaults.variants, help="degraded copies of the corpus to cache"
    )
    parser.add_argument("--workers", type=int, default=defaults.workers, help="processes that encode those copies")
    parser.add_argument("--clips", type=Path, help="other audio to score now and then (needs pesq and pystoi)")
    parser.add_argument("--clip-match", default=defaults.clip_match, help="only clips whose name contains this")
    parser.add_argument("--evaluate-every-minutes", type=float, default=defaults.evaluate_every_minutes)
    parser.add_argument("--learning-rate", type=float, default=defaults.learning_rate)
    parser.add_argument(
        "--cooldown-steps", type=int, default=defaults.cooldown_steps, help="let the rate fall to zero before --steps"
    )
    parser.add_argument("--seed", type=int, default=defaults.seed, help="give every run of a chain another one")
    parser.add_argument("--float32", dest="bfloat16", action="store_false", help="train without bfloat16 autocast")
    values = vars(parser.parse_args(arguments))
    resume, init = values.pop("resume"), values.pop("init")
    return TrainConfig(**values), resume, init


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0, or 1 for a failure told in one sentence."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config, resume, init = _parse(arguments)
    try:
        train(config, resume=resume, init=init, stopped=_stop_signals())
    except AudioAvifError as error:
        print(f"train: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"train: {error}; nothing is lost but the steps since the last checkpoint", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ntrain: interrupted; --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
