"""The generator and SpeechT5's HiFi-GAN in the training program: they learn, resume, export and stream exactly."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.config import MelConfig
from audio_avif.errors import ModelError
from audio_avif.signal.features import log_mel
from audio_avif.vocoders.onnx_model import OnnxVocoder
from audio_avif.vocoders.streaming import StateStream
from support.training import weights

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx.checker") and import_module("onnx")
from audio_avif_onnx.export import trained
from audio_avif_onnx.export.causal.config import CausalConfig
from audio_avif_onnx.export.causal.generator import CausalGenerator
from audio_avif_onnx.export.causal.graph import build_graph
from audio_avif_onnx.export.causal.windows import Pulses
from audio_avif_onnx.export.command import main as export_command
from audio_avif_onnx.export.hifigan.finetuned import HifiGanConfig
from audio_avif_onnx.export.hifigan.network import Generator, GeneratorConfig
from audio_avif_onnx.train import configuration
from audio_avif_onnx.train import run as train
from audio_avif_onnx.train.data import batches, pitch
from audio_avif_onnx.train.objectives import losses, tasks

MEL = MelConfig()
SMALL = CausalConfig(channels=32, blocks=2, widths=(16, 8))
SMALL_HIFIGAN = HifiGanConfig(
    generator=GeneratorConfig(initial_channels=16, resblock_kernels=(3,), resblock_dilations=((1,),))
)


def voice(seconds: float, pitch_hz: float) -> np.ndarray:
    """A buzz with a slow swell."""
    time = np.arange(int(seconds * MEL.rate_hz)) / MEL.rate_hz
    buzz = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 20))
    return (0.1 * buzz * np.sin(3 * time) ** 2).astype(np.float32)


def sung(config: CausalConfig) -> CausalGenerator:
    """An untrained generator."""
    torch.manual_seed(0)
    return CausalGenerator(config).eval()


@pytest.fixture(autouse=True)
def small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_DISCRIMINATOR_CHANNELS", 2)
    monkeypatch.setitem(configuration.MODELS, "generator", SMALL)
    monkeypatch.setitem(configuration.MODELS, "hifigan", SMALL_HIFIGAN)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    soundfile.write(folder / "a.wav", voice(1.5, 110), MEL.rate_hz)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> OnnxVocoder:
    path = tmp_path_factory.mktemp("models") / "small.onnx"
    onnx.save_model(build_graph(sung(SMALL), "small", half=False), path)
    return OnnxVocoder(path, provider="cpu")


def run(data: Path, out: Path, **changes: object) -> Path:
    """Train and return the checkpoint."""
    small = {"batch_size": 2, "frames": 16, "variants": 1, "device": "cpu", "model": "generator", "task": "generator"}
    resume, init = changes.pop("resume", False), changes.pop("init", None)
    train.train(train.TrainConfig(data=data, out=out, **(small | changes)), resume=resume, init=init)
    return out / train.CHECKPOINT


@pytest.mark.parametrize("model", ["generator", "hifigan"])
@pytest.mark.parametrize("task", ["generator", "adversarial"])
def test_a_run_in_two_parts_ends_where_an_unbroken_one_ends(model: str, task: str, data: Path, tmp_path: Path) -> None:
    whole = weights(run(data, tmp_path / "whole", model=model, task=task, steps=3))
    run(data, tmp_path / "parts", model=model, task=task, steps=1)
    parts = weights(run(data, tmp_path / "parts", model=model, task=task, steps=3, resume=True))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("model", ["generator", "hifigan"])
def test_the_discriminators_start_from_what_was_learned_before_it(model: str, data: Path, tmp_path: Path) -> None:
    first = run(data, tmp_path / "first", model=model, steps=1)
    second = run(data, tmp_path / "second", model=model, task="adversarial", steps=0, init=first)
    after = weights(second)
    assert all(torch.equal(after[name], value) for name, value in weights(first).items() if name.startswith("average."))


@pytest.mark.parametrize(("model", "task"), [("generator", "wave"), ("hifigan", "phase"), ("embedded", "generator")])
def test_a_task_of_another_network_is_refused(model: str, task: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"--task {task} does not train this --model"):
        run(data, tmp_path / "out", model=model, task=task)


def test_it_learns_to_be_as_loud_as_the_voice(data: Path, tmp_path: Path) -> None:
    """A few steps on the voice itself already tell a network that learns from one that is only handed around."""
    before = run(data, tmp_path / "before", steps=0, variants=0)
    after = run(data, tmp_path / "after", steps=100, learning_rate=1e-2, variants=0)
    heard = torch.from_numpy(log_mel(voice(0.5, 110), MEL).T.copy())[None]
    far = []
    for checkpoint in (before, after):
        content = trained.read_checkpoint(checkpoint, torch.device("cpu"))
        network = trained.build(SMALL)
        network.load_state_dict(
            {name.removeprefix("vocoder."): value for name, value in content["task"].items() if "vocoder." in name}
        )
        with torch.no_grad():
            sound = network.synthesize(heard)
        wanted = torch.from_numpy(voice(0.5, 110))[None, : sound.shape[1]]
        far.append(float(losses.weigh(*losses.MultiResolution()(sound[:, : wanted.shape[1]], wanted))))
    assert far[1] < 0.8 * far[0]


def test_the_latency_is_one_frame(exported: OnnxVocoder) -> None:
    assert exported.info.latency_samples == MEL.hop_samples == CausalConfig().latency_samples


@pytest.mark.parametrize("config", [SMALL, CausalConfig()])
def test_latency_is_when_a_sample_is_final(config: CausalConfig) -> None:
    """Frames a hop and more after a sample no longer change it; the frame just before that does."""
    network = sung(config)
    one = log_mel(voice(0.4, 120), MEL).T.copy()
    other = one.copy()
    changed = 16
    other[changed:] = -3.0
    with torch.no_grad():
        sounds = [network.synthesize(torch.from_numpy(frames)[None])[0].numpy() for frames in (one, other)]
    same = int(np.argmax(sounds[0] != sounds[1]))
    assert same >= changed * MEL.hop_samples - config.latency_samples
    assert same < changed * MEL.hop_samples - config.latency_samples + config.window_samples


@pytest.mark.parametrize("config", [SMALL, SMALL_HIFIGAN])
def test_what_is_trained_is_aligned_with_what_is_exported(
    config: CausalConfig | HifiGanConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task compares sample for sample: where a network produces the true sound, its losses vanish."""
    frames = 20
    sound = torch.from_numpy(voice(1.0, 110))[None]
    late = torch.cat([torch.zeros(1, config.latency_samples), sound], dim=1)
    task = tasks.open_task("generator", config)

    def know(heard: torch.Tensor, *_: object) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        samples = late[:, : heard.shape[1] * MEL.hop_samples]
        return (samples, heard[:, :, :1]) if isinstance(config, CausalConfig) else samples

    monkeypatch.setattr(task.vocoder, "forward", know)
    # The first window of the batch is centred on the first frame.
    samples = torch.cat([torch.zeros(1, MEL.n_fft // 2), sound], dim=1)[:, : MEL.n_fft + MEL.hop_samples * (frames - 1)]
    found = task(batches.Batch(torch.zeros(1, frames + task.lookahead_frames, MEL.n_mels), samples))
    assert float(found["log"]) < 1e-3 and float(found["frequency"]) < 0.02


def test_the_pitch_of_a_voice_is_found_and_of_noise_is_not() -> None:
    tracker = pitch.PitchTracker(MEL.n_fft, MEL.rate_hz, 60.0, 400.0)
    for hz in (75.0, 110.0, 233.0, 390.0):
        time = torch.arange(MEL.rate_hz) / MEL.rate_hz
        buzz = sum(torch.sin(2 * torch.pi * hz * k * time) / k for k in range(1, 15))
        found = tracker(buzz.unfold(0, MEL.n_fft, MEL.hop_samples))
        assert (found - np.log2(hz / 60)).abs().max() < 0.02
    noise = torch.randn(MEL.rate_hz, generator=torch.Generator().manual_seed(0))
    assert tracker(noise.unfold(0, MEL.n_fft, MEL.hop_samples)).isnan().float().mean() > 0.9
    assert tracker(torch.zeros(MEL.n_fft)).isnan()


def test_pulses_come_at_the_pitch_and_go_on_over_any_seam() -> None:
    pulses = Pulses(SMALL)
    frames, octaves = 50, np.log2(125 / 60)
    steady = torch.full((1, frames, 1), octaves)
    start = steady[:, :1], torch.zeros(1, 1, 1)
    real, imaginary, *_ = pulses(steady, *start)
    assert real.shape == (1, frames * SMALL.steps, SMALL.bins)
    power = (real.square() + imaginary.square()).mean()
    assert 0.8 < float(power) < 1.2  # that of white noise of power one
    period_steps = MEL.rate_hz / 125 / SMALL.hop_samples
    assert torch.allclose(real[:, : -int(period_steps)], real[:, int(period_steps) :], atol=1e-3)
    first, _, past_pitch, past_phase = pulses(steady[:, :7], *start)
    second, *_ = pulses(steady[:, 7:], past_pitch, past_phase)
    assert torch.equal(torch.cat([first, second], dim=1), real)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_any_chunks_give_the_same_samples(exported: OnnxVocoder, sizes: list[int]) -> None:
    received = log_mel(voice(sum(sizes) * MEL.frame_s, 120), MEL)[:, : sum(sizes)]
    whole = exported.synthesize(received)
    stream = StateStream(exported)
    pieces = [stream.push(piece) for piece in np.split(received, np.cumsum(sizes)[:-1], axis=1)]
    assert np.abs(np.concatenate([*pieces, stream.flush()]) - whole).max() < 1e-4


def test_the_exported_graph_is_the_network(exported: OnnxVocoder) -> None:
    received = log_mel(voice(0.6, 120), MEL)
    with torch.no_grad():
        wanted = sung(SMALL).synthesize(torch.from_numpy(received.T.copy())[None])[0].numpy()
    assert np.abs(wanted).max() > 0.01
    assert np.abs(exported.synthesize(received) - wanted).max() < 1e-3  # rounding of the pitch turns high harmonics


def test_a_stream_is_made_of_frames_one_by_one_too(exported: OnnxVocoder) -> None:
    received = log_mel(voice(0.3, 120), MEL)
    stream = StateStream(exported)
    pieces = [stream.push(received[:, [frame]]) for frame in range(received.shape[1])]
    assert np.abs(np.concatenate([*pieces, stream.flush()]) - exported.synthesize(received)).max() < 1e-4


def test_the_zero_state_is_silence(exported: OnnxVocoder) -> None:
    """Nothing sounds from it while nothing is received; and a reset stream is a new one."""
    silence = np.full((MEL.n_mels, 12), np.log10(MEL.floor), np.float32)
    assert np.abs(exported.synthesize(silence)).max() < 1e-3
    received = log_mel(voice(0.3, 120), MEL)
    stream = StateStream(exported)
    first = stream.push(received)
    stream.reset()
    assert np.array_equal(stream.push(received), first)


def test_damaged_frames_do_not_outlast_themselves(exported: OnnxVocoder) -> None:
    received = log_mel(voice(1.0, 120), MEL)
    unharmed = log_mel(exported.synthesize(received), MEL)
    for damaged in (float("nan"), float("inf"), -float("inf"), 1e30):
        stream = StateStream(exported)
        before = stream.push(received[:, :8])
        harmed = received[:, 8:].copy()
        harmed[:, :4] = damaged
        samples = np.concatenate([before, stream.push(harmed), stream.flush()])
        assert np.isfinite(samples).all() and np.abs(samples).max() <= 1
        later = np.abs(log_mel(samples, MEL) - unharmed)[:, 40:]
        assert later.mean() < 0.1  # pulses come at other times, but as before


@pytest.mark.slow
def test_the_command_exports_a_generator_and_leaves_the_discriminators_out(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUDIO_AVIF_MODELS", str(tmp_path / "models"))
    assert export_command([str(run(data, tmp_path / "mine", task="adversarial", steps=1))]) == 0
    assert "--vocoder mine" in capsys.readouterr().out
    model = OnnxVocoder(tmp_path / "models" / "mine.onnx", provider="cpu")
    assert model.has_state and model.info.latency_samples == MEL.hop_samples and model.mel == MEL
    assert model.synthesize(log_mel(voice(0.2, 120), MEL)).size


@pytest.mark.parametrize("options", [[], ["--context-frames", "5"]])
def test_the_command_exports_a_fine_tuned_hifigan(options: list[str], data: Path, tmp_path: Path) -> None:
    checkpoint = run(data, tmp_path / "mine", model="hifigan", steps=2)
    path = tmp_path / "mine.onnx"
    assert export_command([str(checkpoint), "--output", str(path), *options]) == 0
    model = OnnxVocoder(path, provider="cpu")
    assert (model.has_state, model.info.context_frames, model.info.lookahead_frames) == (
        (False, 5, 2) if options else (True, 0, 2)
    )
    received = log_mel(voice(0.3, 120), MEL)
    with torch.no_grad():
        wanted = trained.load_trained(checkpoint).synthesize(torch.from_numpy(received.T.copy())[None])[0].numpy()
    assert np.abs(model.synthesize(received) - wanted).max() < 1e-4


def speecht5_folder(folder: Path, generator: Generator, **changes: object) -> Path:
    """A checkpoint as transformers saves it, of the small sizes."""
    shape = SMALL_HIFIGAN.generator
    described = {
        "model_type": "speecht5_hifigan",
        "upsample_initial_channel": shape.initial_channels,
        "resblock_kernel_sizes": shape.resblock_kernels,
        "resblock_dilation_sizes": shape.resblock_dilations,
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(described | changes))
    torch.save(generator.state_dict(), folder / "pytorch_model.bin")
    return folder


def test_fine_tuning_starts_from_a_hifigan_checkpoint_as_published(data: Path, tmp_path: Path) -> None:
    published = Generator(SMALL_HIFIGAN.generator)
    published.mean.uniform_(-3, -2)
    folder = speecht5_folder(tmp_path / "published", published)
    shutil.copy(folder / "pytorch_model.bin", folder / "published.pt")
    for number, init in enumerate((folder, folder / "pytorch_model.bin", folder / "published.pt")):
        checkpoint = run(data, tmp_path / f"out{number}", model="hifigan", steps=0, init=init)
        found = trained.load_trained(checkpoint).generator.state_dict()
        assert all(torch.equal(found[name], value) for name, value in published.state_dict().items())


def test_a_hifigan_of_another_mel_is_refused(data: Path, tmp_path: Path) -> None:
    folder = speecht5_folder(tmp_path / "published", Generator(SMALL_HIFIGAN.generator), sampling_rate=22050)
    with pytest.raises(ModelError, match="of another mel"):
        run(data, tmp_path / "out", model="hifigan", init=folder)


def test_phase_relations_do_not_ask_where_a_tone_starts() -> None:
    """Group delay and angular frequency of a tone stay when it is turned; all are zero for equal sounds."""
    time = torch.arange(4096) / MEL.rate_hz
    tone, turned = (torch.sin(2 * torch.pi * 437.5 * time + start)[None] for start in (0.0, 1.5))
    relations = losses.PhaseRelations(1024, 256)
    assert all(float(each) < 0.02 for each in relations(tone, tone))
    phase, delay, frequency = map(float, relations(turned, tone))
    assert phase > 0.3 and frequency < 0.1 * phase and delay < 0.5 * phase


@pytest.mark.parametrize(
    "wrong", [{"rates": (4,)}, {"rates": (), "widths": ()}, {"rates": (3, 4)}, {"windows_overlapping": 1}]
)
def test_sizes_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        CausalConfig(**wrong)


def test_sizes_come_back_from_a_checkpoint() -> None:
    for config in (SMALL, CausalConfig(), SMALL_HIFIGAN):
        assert type(config).from_dict(config.to_dict()) == config
