"""An autoencoder in place of the picture: shapes and values fitted, its rate counted, its failures told in a sentence.

The networks are tiny and untrained, or stand-ins; no trained weights are fetched.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from audio_avif.config import RATE_HZ
from audio_avif.errors import AudioAvifError, ModelError
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif_tools.analyze.autoencoder import AudioLdmMel, Autoencoder, load_network, open_autoencoder, our_mels
from audio_avif_tools.analyze.command import main
from audio_avif_tools.bitrate.coding import mel_errors_db
from audio_avif_tools.shared.signals import demo_clip

pytestmark = pytest.mark.slow

needs_vae = pytest.mark.skipif(
    any(importlib.util.find_spec(package) is None for package in ("torch", "diffusers", "safetensors")),
    reason="the extra vae is not installed",
)
SPEECH = demo_clip()[: 2 * RATE_HZ]
MEL = log_mel(SPEECH)
TINY = {
    "in_channels": 1,
    "out_channels": 1,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 16),
    "latent_channels": 4,
    "norm_num_groups": 4,
}


def save(folder: Path, **changes: Any) -> Path:
    """A seeded AutoencoderKL as ``save_pretrained`` writes it."""
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    AutoencoderKL(**TINY | changes).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("tiny"))


class StandIn:
    """A network that gives back what it is given, but for what lies beyond ``reach``."""

    is_audioldm = False

    def __init__(self, downsampling: int = 4, reach: float = np.inf) -> None:
        self.downsampling = downsampling
        self.reach = reach
        self.shapes: list[tuple[int, ...]] = []

    def reconstruct(self, values: FloatArray, bits: int) -> tuple[FloatArray, int]:
        self.shapes.append(values.shape)
        assert not any(size % self.downsampling for size in values.shape)
        return np.clip(values, -self.reach, self.reach), bits * values.size


# The mels it is fed


def test_audioldm_mel_is_what_its_training_code_makes() -> None:
    import librosa

    loud = 0.5 * SPEECH.astype(np.float64) / np.abs(SPEECH).max()
    bands = librosa.feature.melspectrogram(
        y=np.pad(loud, 432, mode="reflect"),
        sr=RATE_HZ,
        n_fft=1024,
        hop_length=160,
        center=False,
        power=1.0,
        n_mels=64,
        fmin=0,
        fmax=8000,
    )
    ours = AudioLdmMel().values(SPEECH, MEL)
    assert ours.shape == (200, 64)
    np.testing.assert_allclose(ours.T, np.log(np.maximum(bands, 1e-5)), atol=1e-4)


def test_audioldm_mel_comes_back_as_ours() -> None:
    feed = AudioLdmMel()
    back = feed.log_mel(feed.values(SPEECH, MEL), SPEECH, MEL.shape[1])
    assert back.shape == MEL.shape
    assert mel_errors_db(MEL, back)[1] < 4
    quiet = 0.01 * SPEECH  # the level is taken off and put back
    quieter = feed.log_mel(feed.values(quiet, log_mel(quiet)), quiet, MEL.shape[1])
    heard = back > -2
    np.testing.assert_allclose(quieter[heard], back[heard] - 2, atol=0.02)


@pytest.mark.parametrize("samples", [1, 159, 160, 161, 1000])
def test_audioldm_mel_of_the_shortest(samples: int) -> None:
    sound = SPEECH[:samples]
    feed, mel = AudioLdmMel(), log_mel(sound)
    values = feed.values(sound, mel)
    assert values.shape == (-(-samples // 160), 64) and np.isfinite(values).all()
    assert feed.log_mel(values, sound, mel.shape[1]).shape == mel.shape


def test_our_mels_come_back_within_their_ranges() -> None:
    for feed in our_mels():
        back = feed.log_mel(feed.values(SPEECH, MEL), SPEECH, MEL.shape[1])
        np.testing.assert_allclose(np.maximum(back, -5), np.maximum(MEL, -5), atol=1e-4)


# The stage


@pytest.mark.parametrize("downsampling", [1, 2, 4, 7, 16])
def test_any_shape_is_filled_up_and_cut_off(downsampling: int) -> None:
    network = StandIn(downsampling)
    shown = Autoencoder(network, our_mels()[:1], 16).show(SPEECH, MEL)
    np.testing.assert_allclose(np.maximum(shown.log_mel, -5), np.maximum(MEL, -5), atol=1e-4)
    frames, bands = network.shapes[-1]
    assert 0 <= frames - MEL.shape[1] < downsampling and 0 <= bands - 80 < downsampling
    assert shown.bits == 16 * frames * bands


def test_the_scale_is_found_on_the_recording() -> None:
    of_pictures = Autoencoder(StandIn(reach=1.0), our_mels())
    of_pictures.show(SPEECH, MEL)
    assert "our mel, -1 to 1" in of_pictures.report(10.0)
    of_logs = Autoencoder(StandIn(reach=12.0), our_mels())
    of_logs.show(SPEECH, MEL)
    assert "our mel, " in of_logs.report(10.0) and "1:25.6 of 16-bit PCM" in of_logs.report(10.0)


def test_a_network_that_gives_no_numbers_is_told() -> None:
    class Broken(StandIn):
        def reconstruct(self, values: FloatArray, bits: int) -> tuple[FloatArray, int]:
            return np.full_like(values, np.nan), 1

    with pytest.raises(ModelError, match="is not finite"):
        Autoencoder(Broken(), our_mels()[:1]).show(SPEECH, MEL)


# diffusers


@needs_vae
@pytest.mark.slow
def test_the_command_sets_picture_beside_latent(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(tmp_path / "talk.wav", SPEECH, RATE_HZ)
    found = []
    for run in ("first", "second"):
        arguments = [str(tmp_path / "talk.wav"), "--vae", str(tiny), "--vocoder", "griffin-lim"]
        assert main([*arguments, "--output", str(tmp_path / run)]) == 0
        found.append(json.loads((tmp_path / run / "analyze.json").read_text()))
    told = capsys.readouterr().out
    assert found[0]["tables"] == found[1]["tables"]
    rows = {(row["picture"], row["voice"]): row for row in found[0]["tables"]["mean"]}
    assert {voice for picture, voice in rows if picture == "autoencoder"} == {"true phase", "griffin-lim"}
    # 4 latent channels of half the 126 frames and half the 80 bands, 16 bit each, in two seconds
    assert rows["autoencoder", "griffin-lim"]["kbps"] == pytest.approx(4 * 63 * 40 * 16 / 2000)
    assert "Latents of float16 take 80.6 kbps, 1:3.2 of 16-bit PCM" in told
    assert "Spoken by griffin-lim, the picture has" in told and "the autoencoder" in told
    # Nobody has trained it: what comes out is no speech, and the table says so.
    assert rows["autoencoder", "true phase"]["lsd_db"] > rows["AVIF", "true phase"]["lsd_db"] + 3


@needs_vae
def test_its_shape_tells_what_it_is_fed(tiny: Path, tmp_path: Path) -> None:
    shape = {
        "block_out_channels": (4, 4, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "latent_channels": 8,
    }
    folder = save(tmp_path / "ldm" / "vae", **shape).parent  # as in a pipeline's folder
    for name, kind, fed in (
        (folder, "auto", "AudioLDM's mel"),
        (folder, "ours", "our mel"),
        (tiny, "auto", "our mel"),
        (tiny, "audioldm", "AudioLDM's mel"),
    ):
        stage = open_autoencoder(str(name), kind)
        shown = stage.show(SPEECH, MEL)
        assert shown.log_mel.shape == MEL.shape
        assert f"fed {fed}" in stage.report(1.0)
    # 8 channels of a quarter of 200 frames and of 64 bands
    assert open_autoencoder(str(folder)).show(SPEECH, MEL).bits == 16 * 8 * 50 * 16


@needs_vae
def test_fewer_bits_cost_less_and_err_more(tiny: Path) -> None:
    network = load_network(str(tiny))
    values = our_mels()[1].values(SPEECH, MEL)
    fine, bits = network.reconstruct(values[:120], 16)
    errors = []
    for coarse in (8, 4, 2):
        made, coarse_bits = network.reconstruct(values[:120], coarse)
        assert coarse_bits == bits * coarse / 16
        errors.append(float(np.abs(made - fine).mean()))
    assert 0 < errors[0] < errors[1] < errors[2]


@needs_vae
def test_a_folder_that_is_no_mel_autoencoder_is_told(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    save(tmp_path / "colour", in_channels=3, out_channels=3)
    for name, text in (("text", "no JSON"), ("list", "[]"), ("unet", '{"_class_name": "UNet2DModel"}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    for name in ("no-weights", "damaged", "half"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_bytes((tiny / "config.json").read_bytes())
    weights = "diffusion_pytorch_model.safetensors"
    (tmp_path / "damaged" / weights).write_bytes((tiny / weights).read_bytes()[:1000])
    from safetensors.torch import load_file, save_file

    tensors = load_file(tiny / weights)
    tensors.pop("decoder.conv_in.weight")
    save_file(tensors, tmp_path / "half" / weights, metadata={"format": "pt"})
    for name, sentence in (
        ("empty", "holds no autoencoder"),
        ("text", "cannot be read as the settings of a model"),
        ("list", "is no AutoencoderKL"),
        ("unet", "is no AutoencoderKL but a UNet2DModel"),
        ("colour", "is for pictures of 3 channels; one of mels has 1"),
        ("no-weights", "cannot be loaded"),
        ("damaged", "cannot be loaded"),
        ("half", "lacks weights, decoder.conv_in.weight for one"),
    ):
        with pytest.raises(ModelError) as told:
            load_network(str(tmp_path / name))
        assert sentence in str(told.value) and len(str(told.value).splitlines()) == 1


def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AudioAvifError, match=r"--vae needs torch and diffusers .*pip install 'audio-avif\[vae\]'"):
        load_network(str(tmp_path))


# A hub


class _Hub(http.server.SimpleHTTPRequestHandler):
    """As much of a hub as a download of one model needs."""

    def do_HEAD(self) -> None:
        self._answer(sends_body=False)

    def do_GET(self) -> None:
        self._answer(sends_body=True)

    def _answer(self, sends_body: bool) -> None:
        owner, _, revision = self.path.partition("/resolve/")
        path = revision.partition("/")[2]
        file = Path(str(self.directory)) / path
        if owner != "/someone/voices":
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
        elif not path or not file.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_response(200)
            self.send_header("ETag", f'"{file.stat().st_size:040x}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(file.stat().st_size))
            self.end_headers()
            if sends_body:
                self.wfile.write(file.read_bytes())
            return
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    save(tmp_path / "hub" / "vae")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Hub, directory=str(tmp_path / "hub")))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """What loading by names of a hub comes to, with a cache of its own and as if the hub's client were loaded anew."""
    import huggingface_hub

    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    huggingface_hub.close_session()
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between its tries
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def asked(*names: str, endpoint: str, is_offline: bool = False) -> list[str]:
        address = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", is_offline)
        return list(map(told, names))

    def told(name: str) -> str:
        try:
            return f"loaded {load_network(name).downsampling}"
        except ModelError as error:
            return str(error)

    yield asked
    huggingface_hub.close_session()


@needs_vae
def test_a_name_is_fetched_from_the_hub_and_kept(hub: str, ask: Callable[..., list[str]]) -> None:
    fetched, absent = ask("someone/voices", "someone/nothing", endpoint=hub)
    assert fetched == "loaded 2"
    assert absent.startswith("there is no folder someone/nothing here and no such model")
    kept, offline, no_name = ask("someone/voices", "someone/else", "a/b/c", endpoint=hub, is_offline=True)
    assert kept == "loaded 2"
    assert "the hub cannot be asked for it" in offline
    assert no_name.startswith("a/b/c is neither a folder here nor the name of a model")


@needs_vae
def test_no_network_is_told(ask: Callable[..., list[str]]) -> None:
    (told,) = ask("someone/voices", endpoint="http://127.0.0.1:9")
    assert told.startswith("there is no folder someone/voices here and the hub cannot be asked for it; try again")
