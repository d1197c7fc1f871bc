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
from audio_avif.vocoders.streaming import open_stream

METADATA = ModelInfo("mean", MelConfig()).to_metadata()


def without(*keys: str) -> dict[str, str]:
    return {key: value for key, value in METADATA.items() if key.removeprefix("audio_avif.") not in keys}


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
    helper.set_model_props(model, METADATA if metadata is None else metadata)
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
        ({"metadata": without("lookahead_frames")}, r"lacks audio_avif\.lookahead_frames; export it again"),
        ({"metadata": without("latency_samples", "name")}, r"lacks audio_avif\.latency_samples and audio_avif\.name"),
        ({"metadata": METADATA | {"audio_avif.mel": "{}"}}, "metadata is damaged: .*; export it again"),
        ({"metadata": METADATA | {"audio_avif.latency_samples": "much"}}, "metadata is damaged: .*; export it again"),
        ({"metadata": METADATA | {"audio_avif.format": "9"}}, "this version reads 1 and 2: update audio-avif"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, int], sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        OnnxVocoder(write_model(tmp_path / "model.onnx", **changes))


def write_delay(path: Path, *, kept_frames: int, lookahead_frames: int) -> Path:
    """A graph that gives each frame's mean one frame later, its state cut ``kept_frames`` before a call's end."""
    nodes = [
        helper.make_node("ReduceMean", ["log_mel"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Concat", ["state.past", "mean"], ["whole"], axis=1),
        helper.make_node("Slice", ["whole", "zero", "minus_one", "one"], ["delayed"]),
        helper.make_node("Slice", ["whole", "begin", "end", "one"], ["next.past"]),
        helper.make_node("Unsqueeze", ["delayed", "two"], ["column"]),
        helper.make_node("Expand", ["column", "hop"], ["hops"]),
        helper.make_node("Flatten", ["hops"], ["samples"]),
    ]
    numbers = {"zero": [0], "one": [1], "two": [2], "minus_one": [-1], "hop": [1, 1, 256]}
    numbers |= {"begin": [-1 - kept_frames], "end": [-kept_frames or 2**62]}
    constants = [helper.make_tensor(name, TensorProto.INT64, [len(each)], each) for name, each in numbers.items()]

    def value(name: str, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    inputs = [value("log_mel", "batch", 80, "frames"), value("state.past", "batch", 1)]
    outputs = [value("samples", "batch", "samples"), value("next.past", "batch", 1)]
    graph = helper.make_graph(nodes, "delay", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    info = ModelInfo("delay", MelConfig(), lookahead_frames=lookahead_frames, receptive_frames=lookahead_frames)
    helper.set_model_props(model, info.to_metadata(has_state=True))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("lookahead_frames", [0, 1, 3])
def test_a_state_is_cut_where_the_metadata_says(tmp_path: Path, lookahead_frames: int) -> None:
    path = write_delay(tmp_path / "m.onnx", kept_frames=lookahead_frames, lookahead_frames=lookahead_frames)
    stream = open_stream(OnnxVocoder(path))
    frames = np.arange(1, 9, dtype=np.float32) * np.ones((80, 1), np.float32)
    pieces = [stream.push(piece) for piece in np.split(frames, [1, 2, 6], axis=1)]
    streamed = np.concatenate([*pieces, stream.flush()])
    np.testing.assert_allclose(streamed, np.repeat(np.arange(8), 256), atol=1e-5)


@pytest.mark.parametrize(("kept_frames", "lookahead_frames"), [(0, 1), (1, 2), (3, 2)])
def test_a_state_that_is_cut_elsewhere_is_refused(tmp_path: Path, kept_frames: int, lookahead_frames: int) -> None:
    path = write_delay(tmp_path / "m.onnx", kept_frames=kept_frames, lookahead_frames=lookahead_frames)
    with pytest.raises(ModelError, match=r"does not return its states as of .* export it again"):
        OnnxVocoder(path)


def test_only_models_with_state_and_lookahead_are_closed_to_earlier_versions() -> None:
    """Those would take each frame of the lookahead for two."""
    info = ModelInfo("x", MelConfig(), lookahead_frames=2, receptive_frames=24)
    assert info.to_metadata(has_state=True)["audio_avif.format"] == "2"
    assert info.to_metadata()["audio_avif.format"] == "1"
    assert ModelInfo("x", MelConfig(), latency_samples=5).to_metadata(has_state=True)["audio_avif.format"] == "1"
    assert ModelInfo.from_metadata(info.to_metadata(has_state=True)) == info


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
