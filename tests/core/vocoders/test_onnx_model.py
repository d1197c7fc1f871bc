"""Model files that contradict themselves are refused when they are loaded, and nothing is said about CUDA in vain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from audio_avif.config import MelConfig
from audio_avif.errors import ModelError
from audio_avif.vocoders import onnx_model
from audio_avif.vocoders.onnx_model import ModelInfo, OnnxVocoder


def write_model(path: Path, *, bands: int = 80, hop_samples: int = 256, metadata: dict[str, str] | None = None) -> Path:
    """A graph that repeats the mean of a frame's bands for each sample of its hop."""
    nodes = [
        helper.make_node("ReduceMean", ["log_mel"], ["mean"], axes=[1], keepdims=0),  # [batch, frames]
        helper.make_node("Unsqueeze", ["mean", "last"], ["column"]),
        helper.make_node("Expand", ["column", "hop"], ["hops"]),
        helper.make_node("Flatten", ["hops"], ["samples"]),
    ]
    constants = [
        helper.make_tensor("last", TensorProto.INT64, [1], [2]),
        helper.make_tensor("hop", TensorProto.INT64, [3], [1, 1, hop_samples]),
    ]
    log_mel = helper.make_tensor_value_info("log_mel", TensorProto.FLOAT, ["batch", bands, "frames"])
    samples = helper.make_tensor_value_info("samples", TensorProto.FLOAT, ["batch", "samples"])
    graph = helper.make_graph(nodes, "mean", [log_mel], [samples], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, ModelInfo("mean", MelConfig()).to_metadata() if metadata is None else metadata)
    onnx.save(model, path)
    return path


def test_a_model_that_keeps_its_word_is_loaded(tmp_path: Path) -> None:
    vocoder = OnnxVocoder(write_model(tmp_path / "model.onnx"))
    frames = np.arange(4, dtype=np.float32) * np.ones((80, 1), np.float32)
    np.testing.assert_allclose(vocoder.synthesize(frames), np.repeat(np.arange(4), 256), atol=1e-6)
    assert vocoder.synthesize(frames[:, :0]).size == 0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"bands": 64}, "does not take 80 bands as its metadata say"),
        ({"hop_samples": 100}, "makes 100 samples per frame, not 256 as its metadata say"),
        ({"metadata": {}}, "has no mel definition"),
        ({"metadata": {"audio_avif.mel": "{}", "audio_avif.format": "1"}}, "metadata is damaged"),
        ({"metadata": {"audio_avif.mel": "{}", "audio_avif.format": "9"}}, "this version reads 1"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, int], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        OnnxVocoder(write_model(tmp_path / "model.onnx", **changes))


def test_without_an_nvidia_device_cuda_is_refused_and_auto_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_model, "has_cuda", lambda: False)
    path = write_model(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="needs an NVIDIA device"):
        OnnxVocoder(path, provider="cuda")
    assert not OnnxVocoder(path, provider="auto").is_on_cuda
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(onnx_model.has_cuda(), reason="CUDA works here")
def test_with_a_device_and_no_libraries_the_way_out_is_said(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnx_model, "has_cuda", lambda: True)
    path = write_model(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match=r"audio-avif\[cuda\]"):
        OnnxVocoder(path, provider="cuda")
    assert not OnnxVocoder(path, provider="auto").is_on_cuda
    assert "running on the CPU" in caplog.text
    assert capfd.readouterr() == ("", ""), "standard output may carry sound"
