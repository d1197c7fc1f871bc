"""Streaming equals whole-signal synthesis where it promises to, and has no audible seams where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from audio_avif.config import MelConfig
from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif.vocoders.onnx_model import ModelInfo, OnnxVocoder
from audio_avif.vocoders.protocol import VocoderStream
from audio_avif.vocoders.streaming import ContextStream, StateStream, open_stream
from audio_avif_onnx.export.hifigan.checkpoints import Checkpoint
from audio_avif_onnx.export.hifigan.export import export_checkpoint
from audio_avif_onnx.export.hifigan.network import Generator, GeneratorConfig

TILE_FRAMES = 8
CONTEXT_FRAMES = 8
chunkings = st.lists(st.integers(0, 30), min_size=1, max_size=12)


def speech_like_log_mel(frames: int, n_mels: int = 80, seed: int = 0) -> FloatArray:
    """Wandering formants under a syllabic envelope with pauses, over a noise floor: ``[n_mels, frames]`` log10."""
    random = np.random.default_rng(seed)
    time_s = np.arange(frames) * MelConfig().frame_s
    band = np.arange(n_mels)[:, None] / n_mels
    log_mel = np.full((n_mels, frames), -3.5)
    syllables = np.clip(np.sin(2 * np.pi * 3.7 * time_s + np.sin(time_s)) + 0.4, 0.0, 1.0)
    for centre, swing, rate_hz in ((0.12, 0.05, 2.3), (0.4, 0.12, 1.7), (0.65, 0.08, 2.9)):
        formant = centre + swing * np.sin(2 * np.pi * rate_hz * time_s + random.uniform(0, 6))
        log_mel += 2.5 * syllables * np.exp(-(((band - formant) / 0.08) ** 2))
    return (log_mel + random.normal(0.0, 0.1, log_mel.shape)).astype(np.float32)


def voiced_generator() -> Generator:
    """SpeechT5's layers with few channels and seeded weights that sound below 500 Hz, as a voice does.

    The first two levels are random and make the partials; the others interpolate, so that sample-to-sample jumps are
    small and a seam stands out. The seed is one of 24 tried: with most of them even whole-signal output jumps more or
    less at tile ends than elsewhere (ratios of 0.3 to 1.5), so a bound on the ratio says nothing about the seam.
    """
    torch.manual_seed(17)
    generator = Generator(GeneratorConfig(initial_channels=64)).eval().requires_grad_(False)
    for name, layer in generator.named_modules():
        if isinstance(layer, nn.ConvTranspose1d | nn.Conv1d):
            taps = layer.weight.shape[2]
            smooth = torch.hann_window(taps + 2, periodic=False)[1:-1]
            fan_in = layer.weight.shape[0 if isinstance(layer, nn.ConvTranspose1d) else 1]
            mix = torch.randn(*layer.weight.shape[:2], 1) / fan_in**0.5
            early = name.startswith("conv_pre") or name in ("upsampler.0", "upsampler.1")
            shape = torch.randn(layer.weight.shape) * smooth if early else smooth
            layer.weight.copy_(mix * shape * layer.stride[0] / smooth.sum())
    generator.mean.fill_(-3.0)
    log_mel = torch.from_numpy(speech_like_log_mel(200))[None]
    generator.conv_post.bias.zero_()
    generator.conv_post.weight.mul_(0.1 / generator(log_mel).std())
    return generator


@pytest.fixture(scope="module")
def voiced() -> Checkpoint:
    return Checkpoint("voiced", voiced_generator(), MelConfig())


@pytest.fixture(scope="module")
def vocoder(voiced: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> OnnxVocoder:
    """A HiFi-GAN without state, as all were exported once."""
    path = tmp_path_factory.mktemp("voiced") / "voiced.onnx"
    export_checkpoint(voiced, path, context_frames=CONTEXT_FRAMES)
    return OnnxVocoder(path, provider="cpu")


@pytest.fixture(scope="module")
def streaming(voiced: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> OnnxVocoder:
    """The same with state."""
    path = tmp_path_factory.mktemp("voiced") / "voiced.onnx"
    export_checkpoint(voiced, path)
    return OnnxVocoder(path, provider="cpu")


def stream_through(stream: VocoderStream, log_mel: FloatArray, chunks: Sequence[int]) -> FloatArray:
    """Push chunks of the given sizes, the rest in one piece, then flush."""
    ends = np.minimum(np.cumsum(chunks), log_mel.shape[1])
    pieces = [stream.push(piece) for piece in np.split(log_mel, ends, axis=1)]
    return np.concatenate([*pieces, stream.flush()])


def tiles(frames: int) -> list[int]:
    return [TILE_FRAMES] * (frames // TILE_FRAMES)


# Context


@settings(max_examples=15)
@given(chunks=chunkings)
def test_full_context_streamed_equals_offline(vocoder: OnnxVocoder, chunks: list[int]) -> None:
    log_mel = speech_like_log_mel(130)
    receptive = vocoder.info.receptive_frames
    streamed = stream_through(ContextStream(vocoder, receptive, receptive), log_mel, chunks)
    np.testing.assert_allclose(streamed, vocoder.synthesize(log_mel), atol=1e-4)


def test_context_matters(vocoder: OnnxVocoder) -> None:
    """With less than the receptive field the output is another one, or the test above would prove nothing."""
    log_mel = speech_like_log_mel(130)
    streamed = stream_through(ContextStream(vocoder, 4, 4), log_mel, tiles(130))
    assert np.abs(streamed - vocoder.synthesize(log_mel)).max() > 1e-3


@settings(max_examples=15)
@given(chunks=chunkings, context=st.integers(0, 10), lookahead=st.integers(0, 4))
def test_every_frame_becomes_a_hop(vocoder: OnnxVocoder, chunks: list[int], context: int, lookahead: int) -> None:
    stream = ContextStream(vocoder, context, lookahead)
    emitted = 0
    for pushed, chunk in zip(np.cumsum(chunks), chunks, strict=True):
        emitted += stream.push(speech_like_log_mel(chunk)).size
        assert emitted == max(0, pushed - lookahead) * 256
    assert emitted + stream.flush().size == sum(chunks) * 256
    assert stream.latency_samples == lookahead * 256


def seam_ratio(samples: FloatArray, seams: np.ndarray) -> float:
    """99th percentile of the sample-to-sample jumps at the seams, over that of all others."""
    jumps = np.abs(np.diff(samples))
    at_seams = np.zeros(jumps.size, bool)
    at_seams[seams - 1] = True
    return float(np.percentile(jumps[at_seams], 99) / np.percentile(jumps[~at_seams], 99))


def test_seams_do_not_click(vocoder: OnnxVocoder) -> None:
    assert not vocoder.has_state
    log_mel = speech_like_log_mel(1200)
    stream = open_stream(vocoder)
    streamed = stream_through(stream, log_mel, tiles(1200))
    ends = np.arange(TILE_FRAMES, 1200, TILE_FRAMES) * 256
    assert seam_ratio(streamed, ends - stream.latency_samples) <= 1.2

    concatenated = stream_through(ContextStream(vocoder, 0, 0), log_mel, tiles(1200))
    assert seam_ratio(concatenated, ends) > 3.0  # what the crossfade and the context are for


def test_reset_leaves_no_trace(vocoder: OnnxVocoder) -> None:
    log_mel = speech_like_log_mel(60)
    fresh = stream_through(open_stream(vocoder), log_mel, tiles(60))
    used = open_stream(vocoder)
    used.push(log_mel[:, ::-1])
    used.reset()
    np.testing.assert_array_equal(stream_through(used, log_mel, tiles(60)), fresh)


def test_negative_context_is_refused(vocoder: OnnxVocoder) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        ContextStream(vocoder, -1, 0)


# State and lookahead


def test_no_seam_clicks_where_the_state_was_cut(streaming: OnnxVocoder) -> None:
    log_mel = speech_like_log_mel(1200)
    stream = open_stream(streaming)
    assert isinstance(stream, StateStream)
    streamed = stream_through(stream, log_mel, tiles(1200))
    ends = np.arange(TILE_FRAMES, 1200, TILE_FRAMES) * 256
    assert seam_ratio(streamed, ends - stream.latency_samples) <= 1.2


def test_state_is_as_near_to_whole_signal_synthesis_as_context(vocoder: OnnxVocoder, streaming: OnnxVocoder) -> None:
    log_mel = speech_like_log_mel(400)
    whole = vocoder.synthesize(log_mel)
    errors = [stream_through(open_stream(each), log_mel, tiles(400)) - whole for each in (vocoder, streaming)]
    context_error, state_error = (np.sqrt(np.mean(error**2)) for error in errors)
    assert 0.001 < state_error <= 1.1 * context_error


def test_a_model_with_state_synthesizes_whole_signals(vocoder: OnnxVocoder, streaming: OnnxVocoder) -> None:
    log_mel = speech_like_log_mel(130)
    whole = vocoder.synthesize(log_mel)
    np.testing.assert_allclose(streaming.synthesize(log_mel), whole, atol=1e-4)
    receptive = streaming.info.receptive_frames
    refed = stream_through(ContextStream(streaming, receptive, receptive), log_mel, tiles(130))
    np.testing.assert_allclose(refed, whole, atol=1e-4)


@settings(max_examples=10)
@given(chunks=chunkings)
def test_every_frame_becomes_a_hop_once_its_lookahead_is_there(streaming: OnnxVocoder, chunks: list[int]) -> None:
    stream = open_stream(streaming)
    assert stream.latency_samples == 2 * 256
    emitted = 0
    for pushed, chunk in zip(np.cumsum(chunks), chunks, strict=True):
        emitted += stream.push(speech_like_log_mel(chunk)).size
        assert emitted == max(0, pushed - 2) * 256
    assert emitted + stream.flush().size == sum(chunks) * 256


def test_reset_leaves_no_trace_of_state(streaming: OnnxVocoder) -> None:
    log_mel = speech_like_log_mel(60)
    fresh = stream_through(open_stream(streaming), log_mel, tiles(60))
    used = open_stream(streaming)
    used.push(log_mel[:, 30:31])
    used.flush()  # with fewer frames than the lookahead has, which leaves no state to go on with
    used.reset()
    used.push(log_mel[:, ::-1])
    used.reset()
    np.testing.assert_array_equal(stream_through(used, log_mel, tiles(60)), fresh)


# State


STATE_MEL = MelConfig(rate_hz=8000, n_fft=64, hop_samples=16, n_mels=8, fmin_hz=0.0, fmax_hz=4000.0)
TAPS = 5


def stateful_vocoder(folder: Path, latency_samples: int) -> tuple[OnnxVocoder, FloatArray]:
    """A causal convolution over frames that keeps its last inputs; returns the weights ``[hop, n_mels, taps]`` too."""
    hop, n_mels = STATE_MEL.hop_samples, STATE_MEL.n_mels
    weights = np.random.default_rng(5).normal(0.0, 0.1, (hop, n_mels, TAPS)).astype(np.float32)
    make = onnx.helper
    constants = {
        "weights": weights,
        "last": np.array([-(TAPS - 1)]),
        "end": np.array([np.iinfo(np.int64).max]),
        "time": np.array([2]),
        "flat": np.array([0, -1]),
    }
    graph = make.make_graph(
        [
            make.make_node("Concat", ["state.past", "log_mel"], ["seen"], axis=2),
            make.make_node("Conv", ["seen", "weights"], ["hops"]),
            make.make_node("Transpose", ["hops"], ["rows"], perm=[0, 2, 1]),
            make.make_node("Reshape", ["rows", "flat"], ["samples"]),
            make.make_node("Slice", ["seen", "last", "end", "time"], ["next.past"]),
        ],
        "stateful",
        [
            make.make_tensor_value_info("log_mel", onnx.TensorProto.FLOAT, ["batch", n_mels, "frames"]),
            make.make_tensor_value_info("state.past", onnx.TensorProto.FLOAT, ["batch", n_mels, TAPS - 1]),
        ],
        [
            make.make_tensor_value_info("samples", onnx.TensorProto.FLOAT, ["batch", "samples"]),
            make.make_tensor_value_info("next.past", onnx.TensorProto.FLOAT, ["batch", n_mels, TAPS - 1]),
        ],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    make.set_model_props(model, ModelInfo("stateful", STATE_MEL, latency_samples=latency_samples).to_metadata())
    onnx.checker.check_model(model)
    onnx.save_model(model, folder / "stateful.onnx")
    return OnnxVocoder(folder / "stateful.onnx", provider="cpu"), weights


@pytest.fixture(scope="module", params=[0, 16, 21], ids="latency={}".format)
def stateful(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[OnnxVocoder, FloatArray]:
    return stateful_vocoder(tmp_path_factory.mktemp("stateful"), request.param)


@settings(max_examples=25)
@given(chunks=chunkings)
def test_state_streamed_equals_whole(stateful: tuple[OnnxVocoder, FloatArray], chunks: list[int]) -> None:
    vocoder, weights = stateful
    log_mel = speech_like_log_mel(sum(chunks) + 1, STATE_MEL.n_mels)
    streamed = stream_through(StateStream(vocoder), log_mel, chunks)
    np.testing.assert_allclose(streamed, vocoder.synthesize(log_mel), atol=1e-4)

    silence = np.full((STATE_MEL.n_mels, 2), np.log10(STATE_MEL.floor))
    seen = np.concatenate([np.zeros((STATE_MEL.n_mels, TAPS - 1)), log_mel, silence], axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(seen, TAPS, axis=1)
    expected = np.einsum("hmk,mtk->th", weights, windows).ravel()[vocoder.info.latency_samples :][: streamed.size]
    np.testing.assert_allclose(streamed, expected, atol=1e-4)


def test_state_stream_resets(stateful: tuple[OnnxVocoder, FloatArray]) -> None:
    vocoder, _ = stateful
    log_mel = speech_like_log_mel(20, STATE_MEL.n_mels)
    stream = open_stream(vocoder)
    assert isinstance(stream, StateStream)
    assert stream.latency_samples == vocoder.info.latency_samples
    first = stream_through(stream, log_mel, [3, 4])
    stream.reset()
    np.testing.assert_array_equal(stream_through(stream, log_mel, [3, 4]), first)


def test_open_stream_knows_the_vocoders(vocoder: OnnxVocoder) -> None:
    assert isinstance(open_stream(vocoder), ContextStream)
    assert open_stream(GriffinLim()).push(speech_like_log_mel(4)).dtype == np.float32
    with pytest.raises(TypeError, match="has no streaming form"):
        open_stream(object())  # type: ignore[arg-type]
