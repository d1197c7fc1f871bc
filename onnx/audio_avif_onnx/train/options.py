"""The options of the training command."""

from __future__ import annotations

import argparse
from pathlib import Path

from audio_avif_onnx.train.configuration import MODELS, TrainConfig
from audio_avif_onnx.train.objectives.tasks import TASKS


def parse(arguments: list[str] | None) -> tuple[TrainConfig, bool, Path | None]:
    """Return the configuration, whether to resume, and the checkpoint to start from; exit for wrong usage."""
    defaults = TrainConfig(Path(), Path())
    parser = argparse.ArgumentParser(description="Train the embedded vocoder; checkpoints resume exactly.")
    parser.add_argument("--data", type=Path, required=True, help="folder of audio files, searched recursively")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, log and cache")
    parser.add_argument(
        "--model", choices=sorted(MODELS), default=defaults.model, help="network to train (default: %(default)s)"
    )
    parser.add_argument(
        "--task", choices=sorted(TASKS), default=defaults.task, help="training task (default: %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint in --out")
    parser.add_argument("--init", type=Path, help="checkpoint of this or an earlier task to start from")
    parser.add_argument(
        "--device",
        choices=["auto", "cpu", "cuda"],
        default=defaults.device,
        help="device; auto prefers CUDA (default: %(default)s)",
    )
    _add_data_options(parser, defaults)
    _add_scoring_options(parser, defaults)
    _add_optimizer_options(parser, defaults)
    values = vars(parser.parse_args(arguments))
    resume, init = values.pop("resume"), values.pop("init")
    if resume and init:
        parser.error("--resume continues with its own weights; leave --init out")
    try:
        return TrainConfig(**values), resume, init
    except ValueError as error:
        parser.error(str(error))


def _add_data_options(parser: argparse.ArgumentParser, defaults: TrainConfig) -> None:
    parser.add_argument(
        "--minutes",
        type=float,
        default=defaults.minutes,
        help="training time in minutes, without encoding and scoring (default: unlimited)",
    )
    parser.add_argument("--steps", type=int, default=defaults.steps, help="step to stop at (default: unlimited)")
    parser.add_argument(
        "--batch-size", type=int, default=defaults.batch_size, help="segments per step (default: %(default)s)"
    )
    parser.add_argument("--frames", type=int, default=defaults.frames, help="frames per segment (default: %(default)s)")
    parser.add_argument(
        "--variants",
        type=int,
        default=defaults.variants,
        help="number of degraded copies of the corpus to cache (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, default=defaults.workers, help="number of processes that encode those copies"
    )


def _add_scoring_options(parser: argparse.ArgumentParser, defaults: TrainConfig) -> None:
    parser.add_argument(
        "--clips", type=Path, help="folder of other audio files to score regularly; the best weights are kept"
    )
    parser.add_argument("--clip-match", default=defaults.clip_match, help="only clips whose name contains this")
    parser.add_argument("--clip-every", type=int, default=defaults.clip_every, help="only every Nth clip")
    parser.add_argument(
        "--evaluate-every-minutes",
        type=float,
        default=defaults.evaluate_every_minutes,
        help="training time between scores in minutes (default: %(default)g)",
    )
    parser.add_argument(
        "--save-every-minutes",
        type=float,
        default=defaults.save_every_minutes,
        help="time between checkpoints in minutes (default: %(default)g)",
    )


def _add_optimizer_options(parser: argparse.ArgumentParser, defaults: TrainConfig) -> None:
    parser.add_argument(
        "--learning-rate",
        type=float,
        default=defaults.learning_rate,
        help="highest learning rate (default: %(default)g)",
    )
    parser.add_argument(
        "--warmup-steps",
        type=int,
        default=defaults.warmup_steps,
        help="steps of rising learning rate (default: %(default)s)",
    )
    parser.add_argument(
        "--cooldown-steps",
        type=int,
        default=defaults.cooldown_steps,
        help="steps of falling learning rate before --steps",
    )
    parser.add_argument(
        "--seed", type=int, default=defaults.seed, help="random seed; each run of a chain needs its own"
    )
    parser.add_argument("--float32", dest="bfloat16", action="store_false", help="train without bfloat16 autocast")
