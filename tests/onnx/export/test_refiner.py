"""The second stage of a vocoder: exact delay, any chunks, the same in training, streaming and ONNX."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from audio_avif.vocoders.onnx_model import OnnxVocoder

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx.checker") and import_module("onnx")
from audio_avif_onnx.export.recurrent import graph
from audio_avif_onnx.export.recurrent.config import HIGH_QUALITY, PassConfig, RecurrentConfig, RefinerConfig
from audio_avif_onnx.export.recurrent.refiner import SILENT_LOG, Refiner
from audio_avif_onnx.export.recurrent.vocoder import Vocoder

HOP = HIGH_QUALITY.mel.hop_samples
LATE = HIGH_QUALITY.refiner.latency_samples
FRAMES = 48
OTHER_SHAPE = replace(
    HIGH_QUALITY,
    refiner=RefinerConfig(
        lookaheads=(1,), passes=(PassConfig(512, 128, (0, 1)), PassConfig(1024, 256, (2,), channels=16))
    ),
)


def trained(config: RecurrentConfig) -> Refiner:
    """A second stage that changes what it hears."""
    torch.manual_seed(0)
    refiner = Refiner(config).eval()
    for each in refiner.passes:
        torch.nn.init.normal_(each.leave.weight, std=0.05)
        torch.nn.init.normal_(each.level.weight, std=0.02)
    return refiner


def first_stage(frames: int = FRAMES):
    """Samples as the first stage gives them, features, and log-magnitudes counted from silence."""
    generator = torch.Generator().manual_seed(1)
    sizes = (2, frames * HOP), (2, frames, HIGH_QUALITY.magnitude.channels), (2, frames, 2, HIGH_QUALITY.bins - 1)
    samples, hidden, levels = (torch.randn(size, generator=generator) for size in sizes)
    return 0.1 * samples, hidden, levels - SILENT_LOG


@torch.no_grad()
def stream(refiner: Refiner, samples, hidden, levels, pieces: list[int]):
    state, parts, first = refiner.stream_state(samples.shape[0]), [], 0
    for frames in pieces:
        piece = slice(first, first + frames)
        heard = samples[:, first * HOP : (first + frames) * HOP]
        part, state = refiner.stream(heard, hidden[:, piece], levels[:, piece], state)
        parts.append(part)
        first += frames
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("config", [HIGH_QUALITY, OTHER_SHAPE])
def test_any_chunks_give_one_sound(config: RecurrentConfig) -> None:
    refiner, given = trained(config), first_stage()
    whole = stream(refiner, *given, [FRAMES])
    pieces = stream(refiner, *given, [1, 2, 5, 1, 7, 20, 12])
    assert whole.shape == given[0].shape and whole.abs().max() > 0.05
    assert (whole - pieces).abs().max() < 1e-5


@pytest.mark.parametrize("config", [HIGH_QUALITY, OTHER_SHAPE])
def test_untrained_it_only_delays(config: RecurrentConfig) -> None:
    samples, hidden, levels = first_stage()
    time_s = torch.arange(samples.shape[1]) / config.mel.rate_hz
    samples = (0.3 * (2 * torch.pi * 440 * time_s).sin()).expand_as(
        samples
    )  # the Nyquist bin, which it lacks, is empty
    out = stream(Refiner(config).eval(), samples, hidden, levels, [FRAMES])
    late, settled = config.refiner.latency_samples, 4 * HOP
    assert (out[:, late + settled :] - samples[:, settled:-late]).abs().max() < 1e-3


@pytest.mark.parametrize("config", [HIGH_QUALITY, OTHER_SHAPE])
def test_training_hears_what_a_stream_makes(config: RecurrentConfig) -> None:
    refiner, (samples, hidden, levels) = trained(config), first_stage(80)
    streamed = stream(refiner, samples, hidden, levels, [80])
    with torch.no_grad():
        refined, wanted = refiner(samples, hidden, levels + SILENT_LOG)
    streamed = streamed[:, config.refiner.latency_samples + refined.position :][:, : refined.values.shape[1]]
    settled = 32 * HOP  # in training the frames before the first are missing, in a stream they are silent
    difference = (refined.values[:, : streamed.shape[1]] - streamed)[:, settled:]
    assert difference.shape[1] > HOP and difference.abs().max() < 1e-5
    assert [levels.values.shape[-1] for levels in wanted] == [each.bins for each in config.refiner.passes]


def test_it_does_not_know_the_sign_of_a_sound() -> None:
    refiner, (samples, hidden, levels) = trained(HIGH_QUALITY), first_stage()
    out = stream(refiner, samples, hidden, levels, [FRAMES])
    turned = stream(refiner, -samples, hidden, levels, [FRAMES])
    assert (out + turned).abs().max() < 0.01 * out.abs().max()


def test_what_comes_before_the_first_sound_is_silence() -> None:
    out = stream(trained(HIGH_QUALITY), *first_stage(), [FRAMES])
    assert out[:, : HOP // 2].abs().max() < 1e-6 and torch.isfinite(out).all()


def test_the_graph_is_the_network_after_the_same_first_stage(tmp_path: Path) -> None:
    torch.manual_seed(0)
    high, plain = Vocoder(HIGH_QUALITY).eval(), Vocoder(RecurrentConfig()).eval()
    high.refiner = trained(HIGH_QUALITY)
    plain.load_state_dict(high.state_dict(), strict=False)
    models = []
    for name, network in (("high", high), ("plain", plain)):
        onnx.save_model(graph.build_graph(network, name, half=False), tmp_path / f"{name}.onnx")
        models.append(OnnxVocoder(tmp_path / f"{name}.onnx", provider="cpu"))
    assert models[0].info.latency_samples == HIGH_QUALITY.latency_samples == 768 + LATE
    log_mel = np.random.default_rng(0).uniform(-4.0, 0.0, (80, 40)).astype(np.float32)
    refined, samples = (model.run(log_mel, model.zero_state())[0] for model in models)
    with torch.no_grad():
        _, conditions = high.conditions(torch.from_numpy(log_mel.T.copy())[None])
        hidden = torch.nn.functional.pad(conditions.hidden, (0, 0, 1, 0))
        levels = torch.nn.functional.pad(high.refiner_levels(conditions) - SILENT_LOG, (0, 0, 0, 0, 1, 0))
        expected = stream(high.refiner, torch.from_numpy(samples)[None], hidden, levels, [40])[0].clamp(-1, 1)
    assert np.abs(refined).max() > 0.01
    # phases of bins that hold next to nothing turn with rounding; a wrong graph differs by the size of the sound
    assert np.abs(refined - expected.numpy()).max() < 2e-3


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="hop_samples"):
        PassConfig(1000, 256, (0,))
    with pytest.raises(ValueError, match="lookahead"):
        PassConfig(1024, 256, (3,))
    with pytest.raises(ValueError, match="look further ahead"):
        replace(HIGH_QUALITY, refiner=replace(HIGH_QUALITY.refiner, lookaheads=(2, 2)))


def test_sizes_survive_a_checkpoint() -> None:
    for config in (HIGH_QUALITY, OTHER_SHAPE, RecurrentConfig()):
        assert RecurrentConfig.from_dict(config.to_dict()) == config
    assert "refiner" not in RecurrentConfig().to_dict()
