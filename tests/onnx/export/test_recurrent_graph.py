"""The recurrent vocoder's way to ONNX: its transforms are the torch ones, and signals of a batch do not meet."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx.checker") and import_module("onnx")
from audio_avif_onnx.export.recurrent import fourier, graph
from audio_avif_onnx.export.recurrent.config import (
    HIGH_QUALITY,
    LOW_DELAY,
    RecurrentConfig,
)
from audio_avif_onnx.export.recurrent.phase import Frames
from audio_avif_onnx.export.recurrent.vocoder import Vocoder

CONFIGS = [RecurrentConfig(), LOW_DELAY]


def staged(config: RecurrentConfig) -> tuple[Frames, fourier.StagedFrames]:
    sizes = config.window_samples, config.mel.hop_samples
    frames = fourier.StagedFrames(*sizes)
    frames.use(fourier.FourierTables(config.window_samples)(*fourier.fourier_indices(config.window_samples)))
    return Frames(*sizes), frames


@pytest.mark.parametrize("config", CONFIGS)
def test_staged_transforms_are_fourier_transforms(config: RecurrentConfig) -> None:
    torch.manual_seed(0)
    plain, frames = staged(config)
    windows = torch.randn(3, config.window_samples)
    spectrum = torch.randn(3, 2, config.window_samples // 2)
    assert (frames.analyse(windows) - plain.analyse(windows)).abs().max() < 1e-4
    assert (frames.synthesise(spectrum) - plain.synthesise(spectrum)).abs().max() < 1e-6


@pytest.mark.parametrize("config", CONFIGS)
def test_an_echo_is_analysis_after_synthesis(config: RecurrentConfig) -> None:
    torch.manual_seed(0)
    plain, _ = staged(config)
    spectrum = torch.randn(3, 2, config.window_samples // 2)
    heard = plain.analyse(plain.synthesise(spectrum))
    assert (fourier.Echo(plain)(spectrum) - heard).abs().max() < 1e-5


@pytest.mark.parametrize("config", [*CONFIGS, HIGH_QUALITY])
def test_signals_of_a_batch_do_not_meet(config: RecurrentConfig, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    path = tmp_path / "model.onnx"
    onnx.save_model(graph.build_graph(Vocoder(config), "batch", half=False), path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    states = {node.name: node.shape[1:] for node in session.get_inputs() if node.name != "log_mel"}

    def run(log_mel: np.ndarray) -> np.ndarray:
        zeros = {name: np.zeros((len(log_mel), *shape), np.float32) for name, shape in states.items()}
        samples: np.ndarray = session.run(["samples"], {"log_mel": log_mel, **zeros})[0]
        return samples

    frames = 4 if config.refiner is None else 4 + config.latency_samples // config.mel.hop_samples
    log_mel = np.random.default_rng(0).uniform(-4.0, 0.0, (2, config.mel.n_mels, frames)).astype(np.float32)
    both = run(log_mel)
    assert np.abs(both).max() > 0.01
    assert np.abs(both - np.concatenate([run(log_mel[:1]), run(log_mel[1:])])).max() < 1e-4
