"""The training program: what it hears is what a receiver hears, a run resumes exactly, and what it exports streams."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.errors import FileError, ModelError
from audio_avif.signal.features import log_mel
from audio_avif.vocoders.onnx_model import OnnxVocoder
from audio_avif.vocoders.streaming import StateStream
from support.training import configuration, same, small_recurrent, weights

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx.checker") and import_module("onnx")
from audio_avif_onnx.export import trained
from audio_avif_onnx.export.command import main as export_command
from audio_avif_onnx.export.recurrent import graph
from audio_avif_onnx.export.recurrent.config import RefinerConfig
from audio_avif_onnx.train import configuration as configurations
from audio_avif_onnx.train import progress
from audio_avif_onnx.train import run as train
from audio_avif_onnx.train.data import batches, corpus, degrade
from audio_avif_onnx.train.objectives import tasks

MEL = MelConfig()


def voice(seconds: float, pitch_hz: float) -> np.ndarray:
    """A buzz with a slow swell and a little noise."""
    time = np.arange(int(seconds * MEL.rate_hz)) / MEL.rate_hz
    buzz = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 20))
    noise = np.random.default_rng(0).normal(size=time.size)
    return (0.1 * buzz * np.sin(3 * time) ** 2 + 0.003 * noise).astype(np.float32)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "deeper").mkdir(parents=True)
    soundfile.write(folder / "a.wav", voice(1.5, 110), MEL.rate_hz)
    soundfile.write(folder / "deeper" / "b.flac", voice(1.0, 190), MEL.rate_hz)
    return folder


@pytest.mark.parametrize("task", sorted(tasks.RECURRENT_TASKS))
def test_a_run_in_two_parts_ends_where_an_unbroken_one_ends(
    task: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_DISCRIMINATOR_CHANNELS", 2)
    monkeypatch.setitem(configurations.MODELS, "embedded", small_recurrent())
    monkeypatch.setitem(configurations.MODELS, "embedded-high", small_recurrent(refiner=RefinerConfig()))
    same_run = {"task": task, "frames": 32} | ({"model": "embedded-high"} if task == "refine" else {})
    train.train(configuration(data, tmp_path / "whole", steps=3, **same_run))
    train.train(configuration(data, tmp_path / "parts", steps=1, **same_run))
    train.train(configuration(data, tmp_path / "parts", steps=3, **same_run), resume=True)
    assert same(tmp_path / "whole" / train.CHECKPOINT, tmp_path / "parts" / train.CHECKPOINT)


def test_a_later_task_starts_from_an_earlier_ones_weights(data: Path, tmp_path: Path) -> None:
    train.train(configuration(data, tmp_path / "first", task="magnitude", steps=1))
    first = tmp_path / "first" / train.CHECKPOINT
    train.train(configuration(data, tmp_path / "second", task="phase", steps=0), init=first)
    before, after = weights(first), weights(tmp_path / "second" / train.CHECKPOINT)
    assert all(torch.equal(after[name], value) for name, value in before.items() if name.startswith("average."))


def test_refining_leaves_the_first_stage_as_it_was_and_moves_the_second(data: Path, tmp_path: Path) -> None:
    train.train(configuration(data, tmp_path / "first", task="wave", steps=0))
    first = tmp_path / "first" / train.CHECKPOINT
    refined = configuration(data, tmp_path / "high", model="embedded-high", task="refine", frames=32, steps=2)
    train.train(refined, init=first)
    before, after = weights(first), weights(tmp_path / "high" / train.CHECKPOINT)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    moved = "task.vocoder.refiner.passes.0.leave.bias"
    assert after[moved].abs().max() > 0


def test_refining_needs_a_second_stage(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--model embedded-high"):
        train.train(configuration(data, tmp_path / "out", model="embedded", task="refine", frames=32))


def test_a_run_is_not_overwritten_without_being_asked(data: Path, tmp_path: Path) -> None:
    train.train(configuration(data, tmp_path / "out", steps=0))
    with pytest.raises(FileError, match="--resume"):
        train.train(configuration(data, tmp_path / "out", steps=1))


def test_a_variant_is_the_corpus_as_received_at_its_level(data: Path, tmp_path: Path) -> None:
    opened = corpus.open_corpus(data, tmp_path / "cache", MEL, progress.Display())
    (variant,) = degrade.open_variants(opened, MEL, 1, display=progress.Display())
    for number, clip in enumerate(variant.corpus.clips):
        settings = variant.settings[number]
        received = variant.log_mel(number, clip.first_frame, clip.first_frame + clip.frames).T
        louder = variant.corpus.audio(clip) * np.float32(10 ** (settings.gain_db / 20))
        sent = np.clip(log_mel(louder, MEL), settings.tile.log10_min, settings.tile.log10_max)
        assert received.shape == sent.shape
        assert 0 < np.abs(received - sent).mean() < 0.25


def test_a_cached_variant_is_not_encoded_again(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = corpus.open_corpus(data, tmp_path / "cache", MEL, progress.Display())
    first = degrade.open_variants(opened, MEL, 1, display=progress.Display())
    assert "encoding variant 0: 2 of 2 clips" in capsys.readouterr().err
    again = degrade.open_variants(opened, MEL, 1, display=progress.Display())
    assert not capsys.readouterr().err
    assert np.array_equal(first[0].pixels, again[0].pixels) and first[0].settings == again[0].settings


def test_tiles_of_high_quality_change_little_and_cost_bytes() -> None:
    clean = log_mel(voice(0.5, 150), MEL)
    pixels, size = degrade.through_tiles(clean, TileConfig(8), EncoderConfig(quality=100, speed=8))
    assert pixels.shape == clean.shape and size > 0
    step = 15 / 255
    assert np.abs(degrade.from_pixels(pixels, TileConfig(8)) - clean).mean() < step


def test_a_clean_batch_is_what_the_encoder_would_compute(data: Path, tmp_path: Path) -> None:
    opened = corpus.open_corpus(data, tmp_path / "cache", MEL, progress.Display())
    batcher = batches.Batcher(opened, [], MEL, batches.BatchShape(3, 8, 1), seed=0, device=torch.device("cpu"))
    batch = batcher.draw()
    assert batch.log_mel.shape == (3, 9, MEL.n_mels)
    assert batch.samples.shape == (3, MEL.n_fft + 7 * MEL.hop_samples)
    for row in range(3):  # frame k of the batch is centred on sample n_fft / 2 + hop * k: frame k + 2 of the whole
        wanted = log_mel(batch.samples[row].numpy(), MEL)[:, 2:10]
        assert np.abs(batch.log_mel[row, :8].T.numpy() - wanted).max() < 1e-3


def test_a_lost_tile_of_a_degraded_batch_falls_to_the_bottom_of_the_range_or_leads_to_what_follows(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = corpus.open_corpus(data, tmp_path / "cache", MEL, progress.Display())
    variants = degrade.open_variants(opened, MEL, 1, display=progress.Display())

    def draw(loss_share: float, seed: int) -> np.ndarray:
        monkeypatch.setattr(batches, "CLEAN_SHARE", 0.0)
        monkeypatch.setattr(batches, "LOSS_SHARE", loss_share)
        device = torch.device("cpu")
        batcher = batches.Batcher(opened, variants, MEL, batches.BatchShape(1, 40, 1), seed=seed, device=device)
        return batcher.draw().log_mel[0].numpy()

    falls = 0
    for seed in range(10):
        whole, lossy = draw(0.0, seed), draw(1.0, seed)
        (lost,) = np.nonzero((whole != lossy).any(axis=1))
        start, stop = lost[0], lost[-1] + 1
        around = np.concatenate([whole[start - 1 : start], whole[stop : stop + 1]])
        assert (lossy[start:stop] <= around.max(axis=0) + 1e-5).all()
        assert (lossy[start:stop] >= min(each.tile.log10_min for each in variants[0].settings) - 1e-5).all()
        falls += bool((np.diff(lossy[start - 1 : stop], axis=0) <= 0).all())
    assert 0 < falls < 10


@pytest.mark.parametrize(
    ("model", "latency_samples"), [("embedded", 768), ("embedded-low", 256), ("embedded-high", 2560)]
)
def test_the_exported_graph_is_the_network_in_any_chunks(model: str, latency_samples: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    vocoder = tasks.WaveTask(configurations.MODELS[model]).vocoder
    path = tmp_path / "model.onnx"
    onnx.save_model(graph.build_graph(vocoder, "trained", half=False), path)
    exported = OnnxVocoder(path, provider="cpu")
    assert exported.info.latency_samples == latency_samples
    received = log_mel(voice(0.6, 120), MEL)
    with torch.no_grad():
        wanted = vocoder.synthesize(torch.from_numpy(received.T.copy())[None])[0].numpy()
    whole = exported.synthesize(received)
    start = 8 * MEL.hop_samples  # later, untrained networks turn rounding into other phases of the same spectrum
    assert np.abs(wanted[:start]).max() > 0.01
    assert np.abs(whole - wanted)[:start].max() < 1e-4
    assert np.abs(log_mel(whole, MEL) - log_mel(wanted, MEL)).mean() < 0.05
    stream = StateStream(exported)
    pieces = [stream.push(received[:, start : start + 3]) for start in range(0, received.shape[1], 3)]
    chunked = np.concatenate([*pieces, stream.flush()])
    assert np.abs(chunked - whole).max() < 1e-4


@pytest.mark.parametrize("model", ["embedded", "embedded-low"])
def test_latency_is_when_a_sample_is_final(model: str) -> None:
    """What comes after a frame's lookahead and overlap no longer changes its sound."""
    torch.manual_seed(0)
    config = configurations.MODELS[model]
    vocoder = tasks.WaveTask(config).vocoder
    one = log_mel(voice(0.5, 120), MEL).T.copy()
    other = one.copy()
    changed = 16
    other[changed:] = -3.0
    with torch.no_grad():
        sounds = [vocoder.synthesize(torch.from_numpy(frames)[None])[0].numpy() for frames in (one, other)]
    same = int(np.argmax(sounds[0] != sounds[1]))
    assert same >= changed * MEL.hop_samples - config.latency_samples
    assert same < changed * MEL.hop_samples - config.latency_samples + MEL.hop_samples


@pytest.mark.parametrize("model", ["embedded", "embedded-low"])
def test_damaged_frames_do_not_outlast_themselves(model: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    trained.export_trained(tasks.WaveTask(configurations.MODELS[model]).vocoder.eval(), path, "trained")
    stream = StateStream(OnnxVocoder(path, provider="cpu"))
    for damaged in (float("nan"), 4.0, -11.0):
        stream.push(np.full((MEL.n_mels, 8), damaged, np.float32))
        samples = stream.push(log_mel(voice(0.3, 120), MEL))
        assert np.isfinite(samples).all() and np.abs(samples).max() <= 1


def test_the_command_exports_a_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIO_AVIF_MODELS", str(tmp_path / "models"))
    train.train(configuration(data, tmp_path / "mine", task="wave", steps=1))
    assert export_command([str(tmp_path / "mine" / train.CHECKPOINT)]) == 0
    assert "--vocoder mine" in capsys.readouterr().out
    model = OnnxVocoder(tmp_path / "models" / "mine.onnx", provider="cpu")
    assert (tmp_path / "models" / "mine.onnx").stat().st_size < 5e6
    assert model.info.name == "mine" and model.mel == MEL
    assert model.synthesize(log_mel(voice(0.2, 120), MEL)).size


@pytest.mark.parametrize("content", [b"", b"PK and nothing more"])
def test_the_command_refuses_what_is_no_checkpoint(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    assert export_command([str(tmp_path / "model.pt"), "--output", str(tmp_path / "out.onnx")]) == 1
    assert "damaged" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.onnx"))


def test_the_command_says_that_magnitudes_alone_make_no_sound(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.train(configuration(data, tmp_path / "out", task="magnitude", steps=0))
    assert export_command([str(tmp_path / "out" / train.CHECKPOINT), "--output", str(tmp_path / "out.onnx")]) == 1
    (sentence,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("audio-avif-export:")]
    assert "holds no whole vocoder" in sentence and "--task magnitude" in sentence
