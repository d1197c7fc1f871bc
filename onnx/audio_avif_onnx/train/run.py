"""Train a vocoder: ``python -m audio_avif_onnx.train --data DIR --out DIR``; see README.md beside this file."""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from audio_avif.edge.console import log_to_stderr, run
from audio_avif.errors import FileError, ModelError
from audio_avif_onnx.train.configuration import TrainConfig
from audio_avif_onnx.train.data.corpus import find_audio
from audio_avif_onnx.train.examination import Examination
from audio_avif_onnx.train.files import alone_in
from audio_avif_onnx.train.journal import Journal
from audio_avif_onnx.train.options import parse
from audio_avif_onnx.train.progress import Display, Stopped, duration, stop_signals
from audio_avif_onnx.train.trainer import BEST, CHECKPOINT, Trainer


def train(
    config: TrainConfig, *, resume: bool = False, init: Path | None = None, display: Display | None = None
) -> None:
    """Train until the minutes or steps are over, saving regularly; settings are checked before the long work begins.

    Raises AudioAvifError for any failure, and Stopped, after saving, when it is stopped.
    """
    display = display or Display()
    try:
        with alone_in(config.out):
            _prepare_and_train(config, resume, init, display)
    except OSError as error:
        raise FileError(
            f"{error.filename or config.out}: {error.strerror or error}; only the steps since the "
            "last checkpoint are lost"
        ) from error
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"the device has too little memory for batches of {config.batch_size} x {config.frames} frames; "
            "lower --batch-size or --frames"
        ) from error


def _prepare_and_train(config: TrainConfig, resume: bool, init: Path | None, display: Display) -> None:
    if not resume and (config.out / CHECKPOINT).exists():
        raise FileError(f"{config.out / CHECKPOINT} exists; add --resume to go on, or give another --out")
    find_audio(config.data)
    trainer = Trainer(config, display)
    if resume:
        trainer.resume()
    elif init:
        trainer.start_from(init)
    examination = _examination(trainer, display)
    try:
        trainer.open_data()
    except Stopped:
        display.say("train: stopped; encoded clips are kept, and the same command continues")
        raise
    journal = Journal(config.out, trainer.state.step)
    if not journal.has_board:
        display.say(
            "train: TensorBoard is missing, so no curves and sounds are kept; install with: pip install -e '.[train]'"
        )
    try:
        _train(trainer, journal, examination, display)
    except Stopped:
        trainer.save()
        display.say(f"train: stopped and saved at step {trainer.state.step}; the same command with --resume continues")
        raise
    finally:
        display.close()
        journal.close()


def _examination(trainer: Trainer, display: Display) -> Examination | None:
    """Return an examination that has been tried out; None where no clips are given or the task makes no sound."""
    config = trainer.config
    if config.clips is None:
        return None
    if not trainer.can_be_heard:
        display.say(f"train: --clips are not scored: --task {config.task} makes no sound")
        return None
    examination = Examination(config.clips, config.clip_match, config.clip_every, trainer.mel, display)
    examination.try_out(trainer.heard)
    return examination


def _train(trainer: Trainer, journal: Journal, examination: Examination | None, display: Display) -> None:
    config = trainer.config
    first_step, first_s = trainer.state.step, trainer.state.trained_s
    if examination is not None and trainer.state.step == 0:
        journal.sound(0, "clip/original", examination.original(), trainer.mel.rate_hz)
    saved_s = time.monotonic()
    recent: deque[dict[str, float]] = deque(maxlen=config.log_every_steps)
    while trainer.state.step < config.steps and trainer.state.trained_s - first_s < 60 * config.minutes:
        before_s = trainer.state.trained_s
        recent.append(trainer.train_step() | {"step_s": trainer.state.trained_s - before_s})
        if trainer.state.step % config.log_every_steps == 0:
            journal.scalars(trainer.state.step, trainer.state.trained_s, _summary(recent, trainer))
        if time.monotonic() - saved_s >= 60 * config.save_every_minutes:
            _save(trainer, journal)
            saved_s = time.monotonic()
        if (
            examination is not None
            and trainer.state.trained_s - trainer.state.scored_s >= 60 * config.evaluate_every_minutes
        ):
            _score(trainer, journal, examination, display)
        by_steps = (trainer.state.step - first_step) / (config.steps - first_step)
        by_time = (trainer.state.trained_s - first_s) / (60 * config.minutes)
        display.show(_line(recent, trainer), None if config.is_endless else max(by_steps, by_time))
    _save(trainer, journal)
    if examination is not None and trainer.state.scored_s < trainer.state.trained_s:
        _score(trainer, journal, examination, display)
    state = trainer.state
    display.say(f"train: step {state.step} after {duration(state.trained_s)} of training, in {trainer.checkpoint}")


def _save(trainer: Trainer, journal: Journal) -> None:
    trainer.save()
    journal.flush()


def _score(trainer: Trainer, journal: Journal, examination: Examination, display: Display) -> None:
    """Score the averaged weights, and keep them if they are the best of this run."""
    _save(trainer, journal)  # scoring takes minutes
    display.close()
    vocoder = trainer.heard
    figure, figures = examination.examine(vocoder)
    journal.scalars(trainer.state.step, trainer.state.trained_s, figures | {"merit": figure})
    if journal.has_board:
        for name, samples in examination.sounds(vocoder).items():
            journal.sound(trainer.state.step, f"clip/{name}", samples, trainer.mel.rate_hz)
    is_best = trainer.state.score(figure, examination.ruler)
    if is_best:
        trainer.save(BEST)
    _save(trainer, journal)
    display.say(f"step {trainer.state.step}: merit {figure:.3f}{', the best so far' if is_best else ''}")


def _summary(recent: deque[dict[str, float]], trainer: Trainer) -> dict[str, float]:
    means = {name: float(np.mean([step[name] for step in recent])) for name in recent[0]}
    return means | {"steps_per_s": 1 / means.pop("step_s"), "learning_rate": trainer.learning_rate}


def _line(recent: deque[dict[str, float]], trainer: Trainer) -> str:
    summary = _summary(recent, trainer)
    return (
        f"step {trainer.state.step}  loss {summary['loss']:.4f}  {summary['steps_per_s']:.2f} steps/s  "
        f"trained {duration(trainer.state.trained_s)}"
    )


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Silence torch's warnings, and tracebacks of TensorBoard's thread, whose errors also reach the main thread."""
    hook = threading.excepthook
    threading.excepthook = lambda _: None
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            yield
    finally:
        threading.excepthook = hook


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 1 after an error message, 2 for wrong usage, or 130 after a signal."""
    config, resume, init = parse(arguments)
    log_to_stderr("train")
    with _quiet_libraries(), stop_signals() as stopped:
        return run("train", lambda: train(config, resume=resume, init=init, display=Display(stopped)))


if __name__ == "__main__":
    sys.exit(main())
