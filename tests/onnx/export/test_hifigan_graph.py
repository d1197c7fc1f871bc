"""The streaming graph of a HiFi-GAN: equal to torch's whole signal for every layout, in calls of any lengths."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.config import MelConfig
from audio_avif.types import FloatArray
from audio_avif.vocoders.onnx_model import ModelInfo, OnnxVocoder
from audio_avif.vocoders.streaming import StateStream, open_stream

torch = pytest.importorskip("torch")

from audio_avif_onnx.export.hifigan.graph import build_graph
from audio_avif_onnx.export.hifigan.network import Generator, GeneratorConfig

N_MELS = 8
V1 = {"upsample_rates": (8, 8, 2, 2), "upsample_kernels": (16, 16, 4, 4)}
THREE_BY_TWO = {"resblock_kernels": (3, 7, 11), "resblock_dilations": ((1, 3, 5),) * 3}
CONFIGS = {
    "speecht5": {"initial_channels": 64, **THREE_BY_TWO},
    "v1": {"initial_channels": 32, **V1, **THREE_BY_TWO, "normalised": False, "ln_floor": 1e-5},
    "v2": {"initial_channels": 16, **V1, **THREE_BY_TWO, "normalised": False, "ln_floor": 1e-5},
    "v3": {
        "initial_channels": 32,
        "upsample_rates": (8, 8, 4),
        "upsample_kernels": (16, 16, 8),
        "resblock_type": 2,
        "resblock_kernels": (3, 5, 7),
        "resblock_dilations": ((1, 2), (2, 6), (3, 12)),
        "normalised": False,
        "ln_floor": 1e-5,
    },
    "kernels that exceed their rates by odd numbers": {
        "initial_channels": 16,
        "upsample_rates": (4, 4, 4, 4),
        "upsample_kernels": (9, 8, 7, 5),
        "resblock_kernels": (3, 5),
        "resblock_dilations": ((1, 2), (1, 3)),
    },
    "kernels as long as their rates, a residual kernel of one": {
        "initial_channels": 16,
        "upsample_rates": (16, 16),
        "upsample_kernels": (16, 16),
        "resblock_kernels": (1,),
        "resblock_dilations": ((1, 1),),
    },
}


def random_log_mel(frames: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).uniform(-6.0, 1.0, (N_MELS, frames)).astype(np.float32)


def audible(name: str) -> Generator:
    """A generator of seeded weights whose output is neither silent nor saturated."""
    torch.manual_seed(3)
    generator = Generator(GeneratorConfig(n_mels=N_MELS, **CONFIGS[name])).eval().requires_grad_(False)  # type: ignore[arg-type]
    for key, value in generator.named_parameters():
        if key.endswith("weight"):
            torch.nn.init.kaiming_normal_(value).mul_(0.6)
        else:
            torch.nn.init.normal_(value, std=0.05)
    if generator.config.normalised:
        generator.mean.copy_(torch.linspace(-4.0, -2.0, N_MELS))
        generator.scale.copy_(torch.linspace(0.5, 1.5, N_MELS))
    generator.conv_post.weight.mul_(0.1 / generator(torch.from_numpy(random_log_mel(40))[None]).std())
    return generator


def offline(generator: Generator, log_mel: FloatArray) -> FloatArray:
    samples: FloatArray = generator(torch.from_numpy(log_mel)[None])[0].numpy()
    return samples


def export(generator: Generator, lookahead_frames: int, folder: Path) -> OnnxVocoder:
    mel = MelConfig(n_mels=N_MELS)
    info = ModelInfo(
        "small", mel, lookahead_frames=lookahead_frames, receptive_frames=generator.config.receptive_frames
    )
    onnx.save_model(build_graph(generator, info), folder / "small.onnx")
    return OnnxVocoder(folder / "small.onnx", provider="cpu")


@pytest.fixture(scope="module", params=list(CONFIGS))
def exact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Generator, OnnxVocoder]:
    """A generator, and its graph with the whole receptive field as lookahead."""
    generator = audible(request.param)
    return generator, export(generator, generator.config.receptive_frames, tmp_path_factory.mktemp("exact"))


@settings(max_examples=8)
@given(chunks=st.lists(st.integers(0, 20), min_size=1, max_size=8))
def test_any_calls_equal_torch_with_the_whole_receptive_field_ahead(
    exact: tuple[Generator, OnnxVocoder], chunks: list[int]
) -> None:
    generator, vocoder = exact
    log_mel = random_log_mel(sum(chunks) + 1)
    stream = open_stream(vocoder)
    pieces = [stream.push(piece) for piece in np.split(log_mel, np.cumsum(chunks), axis=1)]
    expected = offline(generator, log_mel)
    np.testing.assert_allclose(np.concatenate([*pieces, stream.flush()]), expected, atol=1e-4)
    assert stream.latency_samples == generator.config.receptive_frames * generator.config.hop_samples


def test_the_state_is_that_of_the_last_final_frame(tmp_path: Path) -> None:
    """With too little lookahead the output is not torch's, but a call is what torch makes of it and of what is kept."""
    generator, lookahead = audible("speecht5"), 2
    vocoder = export(generator, lookahead, tmp_path)
    log_mel = random_log_mel(80)
    late, state = vocoder.run(log_mel[:, : 40 + lookahead], vocoder.zero_state())
    samples, _ = vocoder.run(log_mel[:, 40:], state)
    whole, hop = offline(generator, log_mel), generator.config.hop_samples
    receptive = generator.config.receptive_frames
    np.testing.assert_allclose(late[: (42 - receptive) * hop], whole[: (42 - receptive) * hop], atol=1e-4)
    # What is kept of frames before 40 saw zeros after 42; nothing later than the receptive field depends on it.
    np.testing.assert_allclose(samples[receptive * hop :], whole[(40 + receptive) * hop :], atol=1e-4)
    errors = [np.abs(sound - whole[40 * hop :][: 2 * hop]).max() for sound in (late[40 * hop :], samples[: 2 * hop])]
    assert errors[1] < errors[0] / 2, "the next call computes the lookahead again, with more future"


def test_each_layer_keeps_what_it_reaches_back_to(tmp_path: Path) -> None:
    generator = audible("speecht5")
    vocoder = export(generator, 2, tmp_path)
    shapes = {name: value.shape for name, value in vocoder.zero_state().items()}
    reach = sum(kernel // 2 * (dilation + 1) for kernel in (3, 7, 11) for dilation in (1, 3, 5))
    channels = [64 // 2**level for level in range(5)]
    assert shapes == {
        "state.pre": (1, N_MELS, 1, 3),
        **{f"state.up{level}": (1, wide, 1, 1) for level, wide in enumerate(channels[:-1])},
        **{f"state.level{level}": (1, narrow, 1, reach) for level, narrow in enumerate(channels[1:])},
        "state.post": (1, channels[-1], 1, 3),
    }


def test_a_layer_that_reaches_nowhere_has_no_state(tmp_path: Path) -> None:
    vocoder = export(audible("kernels as long as their rates, a residual kernel of one"), 2, tmp_path)
    assert list(vocoder.zero_state()) == ["state.pre", "state.post"]


def test_damaged_frames_do_not_outlast_the_receptive_field(tmp_path: Path) -> None:
    vocoder = export(audible("v3"), 2, tmp_path)
    receptive = vocoder.info.receptive_frames
    stream = open_stream(vocoder)
    stream.push(random_log_mel(8))
    stream.push(np.full((N_MELS, 8), np.nan, np.float32))
    clean = random_log_mel(2 * receptive + 8)
    samples = np.concatenate([*(stream.push(piece) for piece in np.split(clean, [3, 20], axis=1)), stream.flush()])
    assert np.isfinite(samples[(2 + receptive) * vocoder.mel.hop_samples :]).all()


def test_the_lookahead_is_all_that_is_computed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = export(audible("v2"), 2, tmp_path)
    stream = StateStream(vocoder)
    computed = []
    run = vocoder.run

    def watched(log_mel: FloatArray, state: dict[str, FloatArray]) -> tuple[FloatArray, dict[str, FloatArray]]:
        computed.append(log_mel.shape[1])
        return run(log_mel, state)

    monkeypatch.setattr(vocoder, "run", watched)
    log_mel = random_log_mel(40)
    for begin, end in pairwise([0, 8, 16, 20, 24, 25, 26, 40]):
        stream.push(log_mel[:, begin:end])
    stream.flush()
    assert computed == [8, 10, 6, 6, 3, 3, 16, 2]
