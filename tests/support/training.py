"""A little speech, and training runs of a few small steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import soundfile

from support.speech import speech_like

SMALL: dict[str, Any] = {"batch_size": 1, "frames": 16, "variants": 1, "device": "cpu", "steps": 3}


def small_recurrent(**changes: Any) -> Any:
    """A recurrent vocoder whose networks take little time; ``changes`` are fields of RecurrentConfig."""
    from audio_avif_onnx.export.recurrent.config import MagnitudeConfig, PhaseConfig, RecurrentConfig

    return RecurrentConfig(
        magnitude=MagnitudeConfig(channels=32, blocks=1), phase=PhaseConfig(channels=8, blocks=1), **changes
    )


def write_speech(folder: Path, *seconds: float) -> Path:
    """A folder with one file of each length."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, length_s in enumerate(seconds):
        soundfile.write(folder / f"{number}.wav", speech_like(length_s, seed=number), 16_000)
    return folder


def configuration(data: Path, out: Path, **changes: Any) -> Any:
    """A run of small steps; ``changes`` are fields of TrainConfig."""
    from audio_avif_onnx.train.configuration import TrainConfig

    return TrainConfig(data=data, out=out, **(SMALL | changes))


def command(data: Path, out: Path, *more: str) -> list[str]:
    """The same run as arguments of the program."""
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    return [f"--data={data}", f"--out={out}", *options, *more]


def weights(checkpoint: Path) -> dict[str, Any]:
    """All learned and averaged weights in a checkpoint."""
    import torch

    from audio_avif_onnx.export.trained import read_checkpoint

    content = read_checkpoint(checkpoint, torch.device("cpu"))
    return {f"{kind}.{name}": value for kind in ("task", "average") for name, value in content[kind].items()}


def same(first: Path, second: Path) -> bool:
    """Whether two checkpoints hold the same weights to the bit."""
    import torch

    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
