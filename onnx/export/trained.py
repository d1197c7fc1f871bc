"""Checkpoints of the training program under ``onnx/train``: what network they hold, and its streaming graph."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from audio_avif.errors import ModelError
from audio_avif.export.recurrent.config import RecurrentConfig
from audio_avif.export.recurrent.graph import build_graph
from audio_avif.export.recurrent.vocoder import Vocoder
from audio_avif.vocoders.onnx_model import OnnxVocoder

SUFFIX = ".pt"
_NETWORK = "vocoder."  # where a training task keeps the network that is to be shipped
_CHECKED_FRAMES = 4  # later, rounding may turn into other phases of the same spectrum
_TOLERANCE = 0.02  # a wrong graph differs by the size of the sound


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Everything a checkpoint holds. Raises ModelError where it is missing or damaged; runs no code in it."""
    if not path.is_file():
        raise ModelError(f"there is no checkpoint {path}")
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises pickle, zip and runtime errors alike
        raise ModelError(f"{path} is not a checkpoint of the training program: {error}") from error
    if not isinstance(content, dict) or not {"architecture", "average"} <= content.keys():
        raise ModelError(f"{path} is not a checkpoint of the training program: it lacks architecture or weights")
    return content


def load_trained(path: Path) -> Vocoder:
    """The averaged network of a checkpoint. Raises ModelError where there is none that makes sound."""
    content = read_checkpoint(path, torch.device("cpu"))
    try:
        network = Vocoder(RecurrentConfig.from_dict(content["architecture"]["vocoder"]))
        weights = content["average"].items()
        network.load_state_dict(
            {name.removeprefix(_NETWORK): value for name, value in weights if name.startswith(_NETWORK)}
        )
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{path} holds no whole vocoder that this version knows: {error}") from error
    return network.eval()


def export_trained(network: Vocoder, path: Path, name: str) -> None:
    """Write a network as a model file, whole or not at all, after comparing ONNX Runtime with torch.

    They are compared in single precision; the file stores large weights in half precision.

    Raises ModelError where they differ, or where the file cannot be written.
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save_model(build_graph(network, name, half=False), partial)
        _check(network, partial)
        onnx.save_model(build_graph(network, name), partial)
        partial.replace(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def _check(network: Vocoder, path: Path) -> None:
    mel = network.config.mel
    log_mel = np.random.default_rng(0).uniform(-4.0, 0.0, (mel.n_mels, 32)).astype(np.float32)
    with torch.inference_mode():
        expected = network.synthesize(torch.from_numpy(log_mel.T.copy())[None])[0].clamp(-1, 1).numpy()
    actual = OnnxVocoder(path, provider="cpu").synthesize(log_mel)
    checked = slice(0, _CHECKED_FRAMES * mel.hop_samples)
    error = float(np.max(np.abs(actual[checked] - expected[checked])))
    if actual.shape != expected.shape or not error <= _TOLERANCE:  # also for NaN
        raise ModelError(f"the exported graph differs from torch by {error:.2g}; nothing was written")
