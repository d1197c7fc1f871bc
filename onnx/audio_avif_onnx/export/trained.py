"""Load the network of a training checkpoint and export its streaming graph."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from audio_avif.errors import ModelError
from audio_avif.vocoders.onnx_model import OnnxVocoder
from audio_avif_onnx.export import exporter
from audio_avif_onnx.export.causal import graph as causal_graph
from audio_avif_onnx.export.causal.config import CausalConfig
from audio_avif_onnx.export.causal.generator import CausalGenerator
from audio_avif_onnx.export.hifigan.checkpoints import Checkpoint
from audio_avif_onnx.export.hifigan.export import export_checkpoint
from audio_avif_onnx.export.hifigan.finetuned import HifiGan, HifiGanConfig
from audio_avif_onnx.export.hifigan.options import DEFAULT_LOOKAHEAD_FRAMES
from audio_avif_onnx.export.recurrent import graph as recurrent_graph
from audio_avif_onnx.export.recurrent.config import RecurrentConfig
from audio_avif_onnx.export.recurrent.vocoder import Vocoder

SUFFIX = ".pt"
Config = RecurrentConfig | CausalConfig | HifiGanConfig
Network = Vocoder | CausalGenerator | HifiGan
_KINDS: dict[str, tuple[type[Config], type[Network]]] = {
    "recurrent": (RecurrentConfig, Vocoder),
    "generator": (CausalConfig, CausalGenerator),
    "hifigan": (HifiGanConfig, HifiGan),
}
NETWORK = "vocoder."  # where a training task keeps the network that is to be shipped
# Frames, and how far they may differ; a wrong graph differs by the size of the sound.
_CHECKED = {
    Vocoder: (4, 0.02),  # later, its recursion may turn rounding into other phases of the same spectrum
    CausalGenerator: (32, 0.005),  # its highest harmonics turn by a hundred times the rounding of its pitch
}


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a checkpoint without running code in it. Raises ModelError where it is missing or damaged."""
    if not path.is_file():
        raise ModelError(f"there is no checkpoint {path}")
    try:
        with warnings.catch_warnings(action="ignore"):
            content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises pickle, zip and runtime errors alike
        raise ModelError(f"{path} is not a checkpoint of the training program, or damaged") from error
    if not isinstance(content, dict) or not {"architecture", "average"} <= content.keys():
        raise ModelError(f"{path} is not a checkpoint of the training program: it lacks architecture or weights")
    return content


def is_trained(path: Path) -> bool:
    """Whether a file is a checkpoint of the training program, judged by its content."""
    try:
        read_checkpoint(path, torch.device("cpu"))
    except ModelError:
        return False
    return True


def describe(config: Config) -> dict[str, Any]:
    """The description of a network in a checkpoint."""
    kind = next(name for name, (known, _) in _KINDS.items() if isinstance(config, known))
    return {"kind": kind, "vocoder": config.to_dict()}


def build(config: Config) -> Network:
    """Build a network with random weights."""
    network = next(network for known, network in _KINDS.values() if isinstance(config, known))
    return network(config)  # type: ignore[arg-type]


def load_trained(path: Path) -> Network:
    """Load the averaged network of a checkpoint. Raises ModelError where it holds no whole vocoder."""
    content = read_checkpoint(path, torch.device("cpu"))
    try:
        described = content["architecture"]
        known, _ = _KINDS[described.get("kind", "recurrent")]
        network = build(known.from_dict(described["vocoder"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{path} holds a network that this version does not know; export it with the version that trained it"
        ) from error
    try:
        weights = content["average"].items()
        network.load_state_dict(
            {name.removeprefix(NETWORK): value for name, value in weights if name.startswith(NETWORK)}
        )
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"{path} holds no whole vocoder that this version knows; "
            "--task magnitude trains a part of one, which a later task's --init completes"
        ) from error
    return network.eval()


def export_trained(
    network: Network,
    path: Path,
    name: str,
    *,
    context_frames: int | None = None,
    lookahead_frames: int = DEFAULT_LOOKAHEAD_FRAMES,
) -> None:
    """Write a network as a model file, after comparing ONNX Runtime with torch.

    They are compared in single precision; the file stores large weights in half precision. A HiFi-GAN is written in
    single precision, and is the only one that context and lookahead are for.

    Raises ModelError where they differ, or where the file cannot be written.
    """
    if isinstance(network, HifiGan):
        checkpoint = Checkpoint(name, network.generator, network.config.mel)
        export_checkpoint(checkpoint, path, context_frames=context_frames, lookahead_frames=lookahead_frames)
        return
    with exporter.whole_model(path) as partial:
        onnx.save_model(_graph(network, name, half=False), partial)
        _check(network, partial)
        onnx.save_model(_graph(network, name, half=True), partial)


def _graph(network: Vocoder | CausalGenerator, name: str, *, half: bool) -> onnx.ModelProto:
    if isinstance(network, CausalGenerator):
        return causal_graph.build_graph(network, name, half=half)
    return recurrent_graph.build_graph(network, name, half=half)


def _check(network: Vocoder | CausalGenerator, path: Path) -> None:
    mel = network.config.mel
    log_mel = np.random.default_rng(0).uniform(-4.0, 0.0, (mel.n_mels, 32)).astype(np.float32)
    with torch.inference_mode():
        expected = network.synthesize(torch.from_numpy(log_mel.T.copy())[None])[0].clamp(-1, 1).numpy()
    actual = OnnxVocoder(path, provider="cpu").synthesize(log_mel)
    frames, tolerance = _CHECKED[type(network)]
    checked = slice(0, frames * mel.hop_samples)
    error = float(np.max(np.abs(actual[checked] - expected[checked])))
    if actual.shape != expected.shape or not error <= tolerance:  # also for NaN
        raise ModelError(f"the exported graph differs from torch by {error:.2g}; nothing was written")
