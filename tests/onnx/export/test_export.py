"""From checkpoints to ONNX files: every layout, equality with the reference implementations, every refusal."""

from __future__ import annotations

import functools
import json
import math
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub.constants
import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from audio_avif.config import MelConfig
from audio_avif.errors import ModelError
from audio_avif.vocoders import registry
from audio_avif.vocoders.onnx_model import ModelInfo, OnnxVocoder
from audio_avif.vocoders.streaming import open_stream
from audio_avif_onnx.export import command as main
from audio_avif_onnx.export import exporter, trained
from audio_avif_onnx.export.hifigan import checkpoints
from audio_avif_onnx.export.hifigan.export import export_checkpoint
from audio_avif_onnx.export.hifigan.finetuned import HifiGanConfig
from audio_avif_onnx.export.hifigan.network import Generator, GeneratorConfig

if TYPE_CHECKING:
    from transformers import SpeechT5HifiGan

HUB_NAME = "microsoft/speecht5_hifigan"
TINY = {
    "upsample_initial_channel": 32,
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 2], [1, 3]],
}
ORIGINAL = {
    "resblock": "1",
    "upsample_rates": [8, 8, 2, 2],
    "upsample_kernel_sizes": [16, 16, 4, 4],
    "upsample_initial_channel": 32,
    "resblock_kernel_sizes": [3, 7],
    "resblock_dilation_sizes": [[1, 3], [1, 3]],
    "segment_size": 8192,
    "num_mels": 80,
    "n_fft": 1024,
    "hop_size": 256,
    "win_size": 1024,
    "sampling_rate": 22050,
    "fmin": 0,
    "fmax": 8000,
    "fmax_for_loss": None,
}
ORIGINAL_SMALL = {
    **ORIGINAL,
    "resblock": "2",
    "upsample_rates": [8, 8, 4],
    "upsample_kernel_sizes": [16, 16, 8],
    "resblock_kernel_sizes": [3, 5],
    "resblock_dilation_sizes": [[1, 2], [2, 6]],
}


def random_log_mel(frames: int, *, batch: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-6.0, 1.0, (batch, 80, frames)).astype(np.float32)


def speecht5(**changes: object) -> SpeechT5HifiGan:
    """Transformers' own generator with seeded weights of audible, unsaturated output and input scaling that matters."""
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig  # takes seconds, which few workers need

    torch.manual_seed(1)
    model = SpeechT5HifiGan(SpeechT5HifiGanConfig(**changes)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter).mul_(0.6)
            else:
                nn.init.normal_(parameter, std=0.05)
        model.mean.copy_(torch.linspace(-4.0, -2.0, 80))
        model.scale.copy_(torch.linspace(0.5, 1.5, 80))
        model.conv_post.weight.mul_(0.1 / model(torch.from_numpy(random_log_mel(30)).transpose(1, 2)).std())
    return model


@functools.cache
def tiny_speecht5() -> SpeechT5HifiGan:
    return speecht5(**TINY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny SpeechT5 checkpoint as transformers saves it."""
    path = tmp_path / "tiny_hifigan"
    tiny_speecht5().save_pretrained(path)
    return path


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUDIO_AVIF_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def reference_output(model: SpeechT5HifiGan, log_mel: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        samples: np.ndarray = model(torch.from_numpy(log_mel).transpose(1, 2)).numpy()
    assert samples.std() > 0.01 and np.abs(samples).max() < 0.99, "the comparison would prove nothing"
    return samples


def assert_file_matches(path: Path, model: SpeechT5HifiGan) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for batch, frames in ((1, 5), (3, 21)):
        log_mel = random_log_mel(frames, batch=batch, seed=frames)
        states = {
            node.name: np.zeros((batch, *node.shape[1:]), np.float32)
            for node in session.get_inputs()
            if node.name != "log_mel"
        }
        assert states, "the default is a streaming graph"
        (samples,) = session.run(["samples"], {"log_mel": log_mel, **states})
        np.testing.assert_allclose(samples, reference_output(model, log_mel), atol=1e-4)


# Equality with transformers


@pytest.mark.slow
def test_full_size_file_equals_transformers(tmp_path: Path) -> None:
    model = speecht5()
    model.save_pretrained(tmp_path / "full")
    assert main.main([str(tmp_path / "full")]) == 0
    path = registry.model_path("full")
    assert path is not None
    assert_file_matches(path, model)
    assert OnnxVocoder(path, provider="cpu").info.receptive_frames == 24


def test_full_size_has_the_published_parameter_count() -> None:
    generator = Generator(GeneratorConfig())
    assert sum(parameter.numel() for parameter in generator.parameters()) == 12_656_257
    assert generator.config.hop_samples == 256


def test_folder_with_safetensors(folder: Path, tmp_path: Path) -> None:
    assert main.main([str(folder), "--output", str(tmp_path / "out.onnx")]) == 0
    assert_file_matches(tmp_path / "out.onnx", tiny_speecht5())


def test_folder_with_bin(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(tiny_speecht5().state_dict(), folder / "pytorch_model.bin")
    assert main.main([str(folder), "--output", str(tmp_path / "out.onnx")]) == 0
    assert_file_matches(tmp_path / "out.onnx", tiny_speecht5())


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_single_file(folder: Path, tmp_path: Path, suffix: str) -> None:
    shutil.move(folder / "model.safetensors", folder / "other.safetensors")
    torch.save(tiny_speecht5().state_dict(), folder / "other.bin")
    assert main.main([str(folder / f"other{suffix}"), "--output", str(tmp_path / "out.onnx")]) == 0
    assert_file_matches(tmp_path / "out.onnx", tiny_speecht5())


def test_weights_saved_with_weight_norm(folder: Path) -> None:
    model = speecht5(**TINY)
    model.apply_weight_norm()
    safetensors.torch.save_file(model.state_dict(), folder / "model.safetensors")
    assert any("parametrizations" in key for key in model.state_dict())
    generator = checkpoints.load(str(folder)).generator
    log_mel = random_log_mel(11)
    np.testing.assert_allclose(generator(torch.from_numpy(log_mel)), reference_output(model, log_mel), atol=1e-5)


HALVES = [torch.float16, torch.bfloat16]


def in_half(state: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: value.to(dtype) for key, value in state.items()}


def with_older_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    ends = {".parametrizations.weight.original0": ".weight_g", ".parametrizations.weight.original1": ".weight_v"}
    for newer, older in ends.items():
        state = {key.replace(newer, older): value for key, value in state.items()}
    return state


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("rename", [dict, with_older_names], ids=["parametrizations", "weight_g"])
def test_half_precision_with_weight_norm_equals_torch_in_single_precision(
    folder: Path, tmp_path: Path, dtype: torch.dtype, rename: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    model = speecht5(**TINY)
    model.apply_weight_norm()
    stored = in_half(model.state_dict(), dtype)
    model.load_state_dict(stored)  # into parameters of single precision: torch normalises the weights in it
    safetensors.torch.save_file(rename(stored), folder / "model.safetensors")
    assert main.main([str(folder), "--output", str(tmp_path / "out.onnx")]) == 0
    log_mel = random_log_mel(21)
    samples = OnnxVocoder(tmp_path / "out.onnx", provider="cpu").synthesize(log_mel[0])
    np.testing.assert_allclose(samples, reference_output(model, log_mel)[0], atol=1e-5)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_fold_in_half_precision_is_not_written(
    folder: Path, models: Path, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The comparison before the file appears does not rest on the fold that it is to examine."""
    model = speecht5(**TINY)
    model.apply_weight_norm()
    safetensors.torch.save_file(in_half(model.state_dict(), dtype), folder / "model.safetensors")
    fold = checkpoints.fold_weight_norm
    monkeypatch.setattr(
        checkpoints, "fold_weight_norm", lambda state: {key: value.to(dtype) for key, value in fold(state).items()}
    )
    assert "the exported graph differs from torch by" in refusal([str(folder)], capsys)
    assert not list(models.glob("*"))


def test_weight_norm_of_other_shapes_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = speecht5(**TINY)
    model.apply_weight_norm()
    state = model.state_dict()
    state["conv_pre.parametrizations.weight.original0"] = torch.ones(1, 80, 1)
    safetensors.torch.save_file(state, folder / "model.safetensors")
    sentence = refusal([str(folder)], capsys)
    assert "the weight normalisation of conv_pre has the shapes [1, 80, 1] and [32, 80, 7]" in sentence


def test_normalisation_can_be_off(tmp_path: Path) -> None:
    model = speecht5(**TINY, normalize_before=False)
    model.save_pretrained(tmp_path / "plain")
    generator = checkpoints.load(str(tmp_path / "plain")).generator
    log_mel = random_log_mel(11)
    np.testing.assert_allclose(generator(torch.from_numpy(log_mel)), reference_output(model, log_mel), atol=1e-5)


# The layout of the original repository


class OriginalGenerator(nn.Module):
    """Written from jik876/hifi-gan's models.py: ups, flat resblocks, weight norm everywhere, natural-log input."""

    def __init__(self, config: dict, weight_norm: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        channels = config["upsample_initial_channel"]
        self.conv_pre = weight_norm(nn.Conv1d(80, channels, 7, 1, padding=3))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, kernel in zip(config["upsample_rates"], config["upsample_kernel_sizes"], strict=True):
            padding = (kernel - rate) // 2
            self.ups.append(weight_norm(nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=padding)))
            channels //= 2
            for width, dilations in zip(
                config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True
            ):
                block = nn.Module()
                lists = {"convs1": dilations, "convs2": [1] * len(dilations)}
                for name, steps in lists.items() if config["resblock"] == "1" else [("convs", dilations)]:
                    convs = [
                        weight_norm(nn.Conv1d(channels, channels, width, dilation=d, padding=(width * d - d) // 2))
                        for d in steps
                    ]
                    block.add_module(name, nn.ModuleList(convs))
                self.resblocks.append(block)
        self.conv_post = weight_norm(nn.Conv1d(channels, 1, 7, 1, padding=3))

    def forward(self, ln_mel: Tensor) -> Tensor:
        leaky = nn.functional.leaky_relu
        x = self.conv_pre(ln_mel)
        per_level = len(self.resblocks) // len(self.ups)
        for level, up in enumerate(self.ups):
            x = up(leaky(x, 0.1))
            outputs = []
            for block in self.resblocks[level * per_level : (level + 1) * per_level]:
                y = x
                if hasattr(block, "convs"):
                    for conv in block.convs:
                        y = conv(leaky(y, 0.1)) + y
                else:
                    for one, two in zip(block.convs1, block.convs2, strict=True):
                        y = two(leaky(one(leaky(y, 0.1)), 0.1)) + y
                outputs.append(y)
            x = sum(outputs) / per_level
        return torch.tanh(self.conv_post(leaky(x)))[:, 0]


def original_checkpoint(
    folder: Path,
    config: dict,
    weight_norm: Callable[[nn.Module], nn.Module] = nn.utils.parametrizations.weight_norm,
    dtype: torch.dtype = torch.float32,
) -> OriginalGenerator:
    torch.manual_seed(2)
    model = OriginalGenerator(config, weight_norm).eval().requires_grad_(False)
    for key, value in model.state_dict().items():
        if key.endswith(("weight_g", "original0")):
            value.mul_(torch.rand(value.shape) + 0.8)
    stored = in_half(model.state_dict(), dtype)
    model.load_state_dict(stored)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    torch.save({"generator": stored}, folder / "g_02500000")
    torch.save({"generator": {}}, folder / "g_00005000")
    return model


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("weight_norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm])
@pytest.mark.parametrize("config", [ORIGINAL, ORIGINAL_SMALL], ids=["resblock1", "resblock2"])
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_original_layout(
    tmp_path: Path, config: dict, weight_norm: Callable[[nn.Module], nn.Module], dtype: torch.dtype
) -> None:
    model = original_checkpoint(tmp_path / "LJ", config, weight_norm, dtype)
    assert main.main([str(tmp_path / "LJ")]) == 0
    vocoder = OnnxVocoder(tmp_path / "models" / "LJ.onnx", provider="cpu")
    assert vocoder.mel == MelConfig(rate_hz=22050, fmin_hz=0.0, fmax_hz=8000.0)

    log_mel = random_log_mel(20)[0]
    magnitude = 10.0 ** torch.from_numpy(log_mel)
    expected = model(torch.log(torch.clamp(magnitude, min=1e-5))[None])[0].numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(vocoder.synthesize(log_mel), expected, atol=1e-5)


def test_original_layout_takes_half_the_rate_for_an_open_fmax(tmp_path: Path) -> None:
    original_checkpoint(tmp_path / "LJ", {**ORIGINAL, "fmax": None})
    assert checkpoints.load(str(tmp_path / "LJ" / "g_02500000")).mel.fmax_hz == 11025.0


# Other names of the same weights


def exports_tiny(source: Path, output: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Export the tiny SpeechT5 checkpoint from this file; return what the command noted."""
    capsys.readouterr()
    assert main.main([str(source), "--output", str(output)]) == 0
    assert_file_matches(output, tiny_speecht5())
    return "".join(line for line in capsys.readouterr().err.splitlines() if line.startswith("Note: "))


@pytest.mark.parametrize(
    "prefix", ["module.", "generator.", "vocoder.", "model.", "model_g.", "module.generator.", "model.module.vocoder."]
)
def test_prefixes_of_wrappers_are_stripped(
    folder: Path, tmp_path: Path, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {f"{prefix}{key}": value for key, value in tiny_speecht5().state_dict().items()}
    torch.save(state, folder / "wrapped.bin")
    note = exports_tiny(folder / "wrapped.bin", tmp_path / "out.onnx", capsys)
    assert note == f"Note: stripped the prefix {prefix} from the names of {len(state)} weights"


@pytest.mark.parametrize("containers", [["state_dict"], ["model"], ["model", "generator"]])
def test_other_networks_beside_the_generator_are_left_out(
    folder: Path, tmp_path: Path, containers: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    content: dict[str, object] = {f"generator.{key}": value for key, value in tiny_speecht5().state_dict().items()}
    content |= {"discriminator.conv_post.weight": torch.zeros(1, 1, 3), "step": 7}
    for name in containers:
        content = {name: content, "epoch": 3}
    torch.save(content, folder / "last.ckpt")
    note = exports_tiny(folder / "last.ckpt", tmp_path / "out.onnx", capsys)
    assert note.endswith("; left out discriminator.conv_post.weight and 1 more, not of the generator")


def test_two_generators_in_a_file_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tiny_speecht5().state_dict().items()
    torch.save({f"{name}.{key}": value for name in ("ema", "net") for key, value in state}, folder / "two.bin")
    assert "holds 2 generators, ema. and net.; save one alone" in refusal([str(folder / "two.bin")], capsys)


def test_a_buffer_that_a_prefixed_checkpoint_lacks_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = {f"module.{key}": value for key, value in tiny_speecht5().state_dict().items() if key != "mean"}
    torch.save(state, folder / "wrapped.bin")
    assert "lacks the buffer mean; without its" in refusal([str(folder / "wrapped.bin")], capsys)


@pytest.mark.parametrize("name", ["tiny.pt", "tiny.pth", "tiny.ckpt", "tiny"])
@pytest.mark.parametrize("save", [torch.save, safetensors.torch.save_file])
def test_content_tells_what_a_file_is_and_not_its_name(
    folder: Path, tmp_path: Path, name: str, save: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    save(dict(tiny_speecht5().state_dict()), folder / name)
    assert exports_tiny(folder / name, tmp_path / "out.onnx", capsys) == ""


@pytest.mark.parametrize(
    "architecture",
    [
        {"kind": "older", "vocoder": {}},
        {"kind": "hifigan", "vocoder": {"channels": 3}},
        {"kind": "generator", "vocoder": {"mel": MelConfig().to_dict(), "layers": 3}},
        "hifigan",
    ],
)
def test_a_checkpoint_of_another_version_is_told_from_a_damaged_one(
    architecture: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"architecture": architecture, "average": {}}, tmp_path / "best.pt")
    sentence = refusal([str(tmp_path / "best.pt"), "--output", str(tmp_path / "out.onnx")], capsys)
    assert "a network that this version does not know; export it with the version that trained it" in sentence
    assert not (tmp_path / "out.onnx").exists()


def test_a_checkpoint_of_the_training_program_may_have_another_name(tmp_path: Path) -> None:
    config = HifiGanConfig(generator=GeneratorConfig(initial_channels=16))
    torch.manual_seed(3)
    network = trained.build(config)
    average = {f"{trained.NETWORK}{key}": value for key, value in network.state_dict().items()}
    torch.save({"architecture": trained.describe(config), "average": average}, tmp_path / "best.pth")
    assert main.main([str(tmp_path / "best.pth"), "--output", str(tmp_path / "out.onnx")]) == 0
    assert OnnxVocoder(tmp_path / "out.onnx", provider="cpu").mel == MelConfig()


def test_a_file_that_is_not_there_is_not_looked_for_on_the_hub(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no file or folder runs/best.pt" in refusal(["runs/best.pt"], capsys)


def test_a_damaged_checkpoint_is_called_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "best.pt").write_bytes(b"PK and nothing more")
    assert "best.pt is no plain file of weights: it is damaged" in refusal([str(tmp_path / "best.pt")], capsys)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_program_is_called_that(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "program.pt")
    assert main.main([str(tmp_path / "program.pt")]) == 1
    *progress, sentence = capfd.readouterr().err.splitlines()
    assert len(progress) == 2 and sentence.endswith("is a TorchScript program; save the generator's state_dict instead")


# Kernels that exceed their rates by an odd number


def test_odd_kernels_equal_transformers(tmp_path: Path) -> None:
    """Such a layer makes one step more at the end, which the exported model leaves out."""
    model = speecht5(**TINY, upsample_kernel_sizes=[9, 8, 7, 4])
    model.save_pretrained(tmp_path / "odd")
    assert main.main([str(tmp_path / "odd"), "--output", str(tmp_path / "out.onnx")]) == 0
    vocoder = OnnxVocoder(tmp_path / "out.onnx", provider="cpu")
    for frames in (1, 5, 21):
        log_mel = random_log_mel(frames, seed=frames)
        expected = reference_output(model, log_mel)[0]
        assert expected.size > frames * 256
        np.testing.assert_allclose(vocoder.synthesize(log_mel[0]), expected[: frames * 256], atol=1e-5)


def test_a_mel_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The sizes of AudioLDM2's vocoder: its layers could be exported, its mel has no place in a stream."""
    sizes = {"upsample_rates": [5, 4, 2, 2, 2], "upsample_kernel_sizes": [16, 16, 8, 4, 4], "model_in_dim": 64}
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    config = SpeechT5HifiGanConfig(**TINY, **sizes, normalize_before=False)
    SpeechT5HifiGan(config).save_pretrained(tmp_path / "vocoder")
    capsys.readouterr()
    sentence = refusal([str(tmp_path / "vocoder")], capsys)
    told = "rate_hz 16000, n_fft 1024, hop_samples 160, n_mels 64"
    assert f"a generator for a mel that audio-avif cannot make ({told}): hop_samples must divide n_fft" in sentence


def test_a_generator_for_another_mel_is_not_offered_to_the_receiver(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original_checkpoint(tmp_path / "LJ", ORIGINAL)
    assert main.main([str(tmp_path / "LJ")]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["Use it with:", "  audio-avif invert PICTURE --vocoder LJ"]
    assert "Its mel is 22050 Hz" in shown.err and "audio-avif-recv cannot use it" in shown.err


def test_a_mel_that_the_configuration_does_not_state_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speecht5(**TINY, sampling_rate=22_050).save_pretrained(tmp_path / "faster")
    assert main.main([str(tmp_path / "faster")]) == 0
    assert "does not state the mel; assumed: log10 magnitude, 22050 Hz, n_fft 1024, hop 256" in capsys.readouterr().err


# Receptive field


@pytest.mark.parametrize(
    "config",
    [
        GeneratorConfig(initial_channels=16),
        GeneratorConfig(initial_channels=16, upsample_rates=(8, 8, 2, 2), upsample_kernels=(16, 16, 4, 4)),
        GeneratorConfig(initial_channels=16, upsample_rates=(5, 4, 2, 2), upsample_kernels=(16, 15, 8, 3)),
        GeneratorConfig(
            initial_channels=16,
            upsample_rates=(8, 8, 4),
            upsample_kernels=(16, 16, 8),
            resblock_type=2,
            resblock_kernels=(3, 5, 7),
            resblock_dilations=((1, 2), (2, 6), (3, 12)),
        ),
    ],
    ids=["speecht5", "v1", "odd", "v3"],
)
def test_receptive_field_is_exact(config: GeneratorConfig) -> None:
    """Gradients reach exactly that far: all weights are positive, so no path cancels another."""
    generator = Generator(config).double()
    for parameter in generator.parameters():
        nn.init.uniform_(parameter, 0.01, 0.02)
    middle = 60
    log_mel = torch.ones(1, 80, 2 * middle + 1, dtype=torch.double, requires_grad=True)
    frame = slice(middle * config.hop_samples, (middle + 1) * config.hop_samples)
    torch.atanh(generator(log_mel))[0, frame].sum().backward()  # before tanh, which may saturate
    assert log_mel.grad is not None
    touched = log_mel.grad[0].abs().sum(0).nonzero()[:, 0] - middle
    assert touched.abs().max() == config.receptive_frames


# The file


def test_found_by_name_afterwards(folder: Path, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert registry.model_path("mine") is None
    assert main.main([str(folder), "--name", "mine", "--context-frames", "5", "--lookahead-frames", "3"]) == 0
    path = registry.model_path("mine")
    assert path == models / "mine.onnx"
    assert capsys.readouterr().out.splitlines()[-1].strip() == "audio-avif-recv --vocoder mine"
    vocoder = OnnxVocoder(path, provider="cpu")
    info = vocoder.info
    assert (info.name, info.context_frames, info.lookahead_frames) == ("mine", 5, 3)
    assert info.mel == MelConfig()
    assert not vocoder.has_state, "context is for models without state"
    assert [entry.name for entry in models.iterdir()] == ["mine.onnx"]


def test_the_default_keeps_state(folder: Path, models: Path) -> None:
    assert main.main([str(folder), "--lookahead-frames", "3"]) == 0
    vocoder = OnnxVocoder(models / "tiny_hifigan.onnx", provider="cpu")
    assert vocoder.has_state
    assert (vocoder.info.context_frames, vocoder.info.lookahead_frames) == (0, 3)
    assert open_stream(vocoder).latency_samples == 3 * 256


def test_says_nothing_else(folder: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    assert main.main([str(folder)]) == 0
    shown = capfd.readouterr()
    assert shown.out.splitlines() == ["Use it with:", "  audio-avif-recv --vocoder tiny_hifigan"]
    assert [line.split()[0] for line in shown.err.splitlines()] == ["Starting", "Loading", "Exporting,", "Wrote"]
    assert not recwarn.list


def test_a_graph_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = checkpoint_of_size(8).generator
    write = exporter._write

    def write_then_change(module: nn.Module, info: ModelInfo, path: Path) -> None:
        write(module, info, path)
        module.conv_post.bias.data.add_(0.1)

    monkeypatch.setattr(exporter, "_write", write_then_change)
    with pytest.raises(ModelError, match="differs from torch by"):
        exporter.export_module(module, ModelInfo("x", MelConfig()), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_streaming_graph_that_differs_is_not_written(tmp_path: Path) -> None:
    checkpoint = checkpoint_of_size(8)
    louder = checkpoint_of_size(8).generator
    louder.conv_post.bias.data.add_(0.1)
    with pytest.raises(ModelError, match="differs from torch by"):
        export_checkpoint(replace(checkpoint, reference=louder), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"older")
    module = checkpoint_of_size(8).generator
    with pytest.raises(ModelError, match="the exported graph gives"):
        exporter.export_module(module, ModelInfo("x", MelConfig(hop_samples=128)), tmp_path / "x.onnx")
    assert (tmp_path / "x.onnx").read_bytes() == b"older"


def checkpoint_of_size(channels: int) -> checkpoints.Checkpoint:
    shape = GeneratorConfig(initial_channels=channels * 2, upsample_rates=(16, 16), upsample_kernels=(32, 32))
    return checkpoints.Checkpoint("x", Generator(shape).eval(), MelConfig())


# Refusals


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder: Path, **changes: Tensor | None) -> None:
    path = folder / "model.safetensors"
    state = {**safetensors.torch.load_file(path), **changes}
    safetensors.torch.save_file({key: value for key, value in state.items() if value is not None}, path)


def only_bin(folder: Path, content: object) -> None:
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights: looked for model.safetensors"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json must stand beside its weights"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json cannot be read"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "holds no model configuration"),
    "another model": (lambda f: edit_config(f, model_type="wav2vec2"), "describes a model of type wav2vec2; only"),
    "no model at all": (lambda f: (f / "config.json").write_text("{}"), "describes a model of type unknown; only"),
    "original without keys": (
        lambda f: (f / "config.json").write_text('{"upsample_rates": [4]}'),
        "lacks the key 'win_size'",
    ),
    "original of another hop": (
        lambda f: (f / "config.json").write_text(json.dumps({**ORIGINAL, "hop_size": 128})),
        "promises 128 samples per frame, but its upsampling makes 256",
    ),
    "original of another window": (
        lambda f: (f / "config.json").write_text(json.dumps({**ORIGINAL, "win_size": 800})),
        "window of 800 samples is not n_fft",
    ),
    "values of a wrong type": (
        lambda f: (f / "config.json").write_text(json.dumps({**ORIGINAL, "num_mels": None})),
        "describes no usable generator",
    ),
    "channels of a wrong type": (
        lambda f: edit_config(f, upsample_initial_channel=32.0),
        "describes no usable generator",
    ),
    "impossible rates": (lambda f: edit_config(f, upsample_rates=[4, 4, 4, 9]), "at least as long as its rate"),
    "another hop": (lambda f: edit_config(f, upsample_rates=[4, 4, 4, 3]), "hop_samples must divide n_fft"),
    "rates and kernels": (lambda f: edit_config(f, upsample_rates=[4]), "one upsampling kernel for each of its rates"),
    "another rate": (lambda f: edit_config(f, sampling_rate=100), "rate_hz must be 4000 to 192000"),
    "wrong shape": (
        lambda f: edit_weights(f, **{"conv_pre.weight": torch.zeros(32, 64, 7)}),
        r"conv_pre.weight in .* has the shape \[32, 64, 7\], but config.json makes it \[32, 80, 7\]",
    ),
    "no mean": (lambda f: edit_weights(f, mean=None), "lacks the buffer mean; without its input normalisation"),
    "no mean and scale": (lambda f: edit_weights(f, mean=None, scale=None), "lacks the buffer mean and scale"),
    "zero scale": (lambda f: edit_weights(f, scale=torch.zeros(80)), "scale in .* holds a zero"),
    "not a number": (lambda f: edit_weights(f, mean=torch.full((80,), math.nan)), "values that are no numbers"),
    "missing weights": (
        lambda f: edit_weights(f, **{"conv_pre.bias": None}),
        "lacks conv_pre.bias; it does not belong",
    ),
    "fewer layers": (lambda f: edit_config(f, resblock_kernel_sizes=[3], resblock_dilation_sizes=[[1]]), "the unknown"),
    "more layers": (
        lambda f: edit_config(f, resblock_dilation_sizes=[[1, 2, 3]] * 2),
        "lacks resblocks.0.* and .* more",
    ),
    "damaged safetensors": (
        lambda f: (f / "model.safetensors").write_bytes(b"\0" * 50),
        "damaged or no file of weights",
    ),
    "code instead of weights": (lambda f: only_bin(f, Path("x")), "holds code, which is never run"),
    "discriminators": (
        lambda f: only_bin(f, {"mpd": {}, "msd": {}}),
        "holds no generator but mpd, msd; give the generator's file",
    ),
    "a list": (lambda f: only_bin(f, [1, 2]), "holds no generator; give the generator's file"),
}


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command that must fail; return its one sentence."""
    assert main.main(arguments) == 1
    shown = capsys.readouterr()
    *progress, sentence = shown.err.splitlines()
    assert shown.out == ""
    assert sentence.startswith("audio-avif-export: ")
    assert all(line.endswith(" ...") for line in progress), progress
    return sentence


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(folder: Path, models: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage, sentence = REFUSALS[case]
    damage(folder)
    assert re.search(sentence, refusal([str(folder)], capsys))
    assert not models.exists()


def test_nothing_of_that_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no file or folder ./nowhere" in refusal(["./nowhere"], capsys)


def test_unwritable_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = folder / "taken.onnx"
    taken.mkdir()
    before = sorted(folder.iterdir())
    assert f"{taken} cannot be written: Is a directory" in refusal([str(folder), "--output", str(taken)], capsys)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("module", ["torch", "onnx.checker"])
def test_missing_extra(monkeypatch: pytest.MonkeyPatch, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    needed = module.partition(".")[0]
    sentence = f"exporting needs {needed}; install with: pip install 'audio-avif[export]'"
    assert refusal(["x/y"], capsys).endswith(sentence)


@pytest.mark.parametrize(
    "arguments",
    [[], ["x", "--name", "a/b"], ["x", "--name", "../a"], ["x", "--output", "x.bin"], ["x", "--context-frames", "-1"]],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main.main(arguments)
    assert exit_info.value.code == 2
    assert "usage: audio-avif-export" in capsys.readouterr().err


# The hub


class Hub(ThreadingHTTPServer):
    """Serves files the way the hub does; a name that is not there has the hub's own error code."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files = files


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(self.server.files.get(self.path.rpartition("/")[2]))

    def do_GET(self) -> None:
        content = self.server.files.get(self.path.rpartition("/")[2])
        self._answer(content)
        self.wfile.write(content or b"")

    def _answer(self, content: bytes | None) -> None:
        known = self.path.startswith(f"/{HUB_NAME}/resolve/main/")
        self.send_response(200 if known and content is not None else 404)
        self.send_header("X-Repo-Commit", "0" * 40)
        if content is None or not known:
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        self.send_header("ETag", f'"{hash(content)}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has the tiny checkpoint under the published name, with .bin weights only, as the published one has."""
    torch.save(tiny_speecht5().state_dict(), folder / "weights")
    files = {"config.json": "config.json", "pytorch_model.bin": "weights"}
    with Hub({name: (folder / source).read_bytes() for name, source in files.items()}) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        use_hub(monkeypatch, tmp_path, server.server_port)
        yield server
        server.shutdown()
        thread.join()


def use_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, port: int) -> None:
    address = f"http://127.0.0.1:{port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


@pytest.mark.usefixtures("hub")
def test_by_hub_name(models: Path) -> None:
    assert main.main([HUB_NAME]) == 0
    assert_file_matches(models / "speecht5_hifigan.onnx", tiny_speecht5())


def test_cached_model_needs_no_hub(hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.load(HUB_NAME)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.files.clear()
    assert main.main([HUB_NAME]) == 0


def test_unknown_on_the_hub(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no local folder some/body, and no model of that name" in refusal(["some/body"], capsys)
    del hub.files["pytorch_model.bin"]
    assert f"{HUB_NAME} on the hub lacks config.json or weights" in refusal([HUB_NAME], capsys)


def test_unreachable_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    use_hub(monkeypatch, tmp_path, port=9)  # discard: nothing listens there
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its retries
    sentence = refusal([HUB_NAME], capsys)
    assert "is not in the hub's cache, and the hub cannot be reached; download the model elsewhere" in sentence
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert refusal([HUB_NAME], capsys) == sentence
