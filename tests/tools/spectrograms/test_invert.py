"""Pictures of sound as a user makes and inverts them: our own, other programs', and what is none."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import cbook, pyplot
from PIL import Image

from audio_avif.metrics import stoi
from audio_avif.recording.codec import encode
from audio_avif.recording.picture_encoder import FileConfig
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif_tools.shared.signals import demo_clip
from audio_avif_tools.spectrograms import invert_command as invert
from audio_avif_tools.spectrograms import spectrogram_command as spectrogram
from audio_avif_tools.spectrograms.colour_maps import from_colours
from audio_avif_tools.spectrograms.definitions import SpectrogramConfig

pytestmark = pytest.mark.slow

CLIP = demo_clip()[16_000:56_000]  # two and a half seconds with hardly a pause
RATE_HZ = 16_000


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """The clip as a WAV file."""
    path = tmp_path / "clip.wav"
    soundfile.write(path, CLIP, RATE_HZ)
    return path


def likeness(path: Path, original: FloatArray = CLIP) -> float:
    """STOI of a sound file of any rate against the clip."""
    heard, rate_hz = soundfile.read(path, dtype="float32")
    heard = soxr.resample(heard, rate_hz, RATE_HZ)
    size = min(heard.size, original.size)
    return float(stoi(original[:size], heard[:size]))


def make(*arguments: object) -> None:
    assert spectrogram.main([str(argument) for argument in arguments]) == 0


def hear(*arguments: object) -> None:
    assert invert.main([str(argument) for argument in arguments]) == 0


# Our own pictures


@pytest.mark.parametrize(
    ("name", "options", "least"),
    [
        ("p.png", (), 0.98),
        ("p.png", ("--depth", "16"), 0.98),
        ("p.png", ("--colour", "magma"), 0.98),
        ("p.png", ("--colour", "gray_r", "--order", "low-at-top"), 0.98),
        ("p.npy", (), 0.98),
        ("p.png", ("--db-range", "-40,40"), 0.98),
        ("p.jpg", (), 0.95),
        ("p.jpg", ("--colour", "viridis"), 0.94),
        ("p.webp", ("--colour", "inferno", "--quality", "90"), 0.95),
        ("p.avif", ("--kind", "mel"), 0.9),
        ("p.png", ("--kind", "mel", "--scale", "ln", "--n-mels", "64"), 0.9),
    ],
)
def test_our_own_pictures_need_no_options(
    clip: Path, capsys: pytest.CaptureFixture[str], name: str, options: tuple[str, ...], least: float
) -> None:
    picture, sound = clip.with_name(name), clip.with_name("sound.wav")
    make(clip, picture, *options)
    hear(picture, "--output", sound)
    assert "nothing was assumed" in capsys.readouterr().out
    info = soundfile.info(sound)
    assert (info.samplerate, info.channels, info.frames, info.subtype) == (RATE_HZ, 1, CLIP.size, "PCM_16")
    assert likeness(sound) > least
    heard, _ = soundfile.read(sound)
    assert 0.8 < np.std(heard) / np.std(CLIP) < 1.2
    assert not list(clip.parent.glob("*.part"))


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """Definitions that keep speech intelligible: frames at most 16 ms apart, overlapping by half or more."""
    n_fft = draw(st.sampled_from([400, 512, 640, 1024]))
    chosen = {
        "kind": draw(st.sampled_from(["linear", "mel", "mel-htk"])),
        "scale": draw(st.sampled_from(["db", "ln", "log10", "linear"])),
        "rate": draw(st.sampled_from([16_000, 22_050, 32_000])),
        "n-fft": n_fft,
        "hop": draw(st.integers(n_fft // 6, min(n_fft // 2, 256))),
        "n-mels": draw(st.integers(64, 100)),
        "colour": draw(st.sampled_from(["gray", "gray_r", "viridis", "plasma"])),
        "order": draw(st.sampled_from(["low-at-bottom", "low-at-top"])),
    }
    is_linear = chosen["scale"] == "linear"  # of which eight bits show 48 dB, and half that of powers
    chosen["power"] = 1 if is_linear else draw(st.sampled_from([1, 2]))
    chosen["db-range"] = draw(st.sampled_from(["70", "90"] if is_linear else ["70", "90", "-50,40"]))
    return chosen


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(definitions())
def test_speech_survives_any_sensible_definition(
    tmp_path_factory: pytest.TempPathFactory, definition: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    soundfile.write(folder / "clip.wav", CLIP, RATE_HZ)
    make(folder / "clip.wav", folder / "p.png", *(f"--{name}={value}" for name, value in definition.items()))
    hear(folder / "p.png", "--iterations", 32)
    assert soundfile.info(folder / "p.wav").samplerate == definition["rate"]
    assert likeness(folder / "p.wav") > 0.8


@pytest.mark.parametrize("rate_hz", [8000, 44_100, 96_000])
def test_a_picture_has_the_rate_of_its_file(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "in.flac", soxr.resample(CLIP, RATE_HZ, rate_hz), rate_hz)
    make(tmp_path / "in.flac", tmp_path / "p.png")
    hear(tmp_path / "p.png", "--iterations", 16)
    heard, original = soundfile.info(tmp_path / "p.wav"), soundfile.info(tmp_path / "in.flac")
    assert (heard.samplerate, heard.frames) == (rate_hz, original.frames)
    assert likeness(tmp_path / "p.wav") > 0.9


def test_options_win_over_what_a_picture_says(clip: Path) -> None:
    make(clip, clip.with_name("p.png"))
    hear(clip.with_name("p.png"), "--rate", 8000, "--iterations", 1)
    assert soundfile.info(clip.with_name("p.wav")).samplerate == 8000


def test_long_pictures_are_inverted_in_parts_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audio_avif_tools.spectrograms import inversion

    soundfile.write(tmp_path / "in.wav", np.tile(CLIP, 6), RATE_HZ)
    make(tmp_path / "in.wav", tmp_path / "p.png")
    monkeypatch.setattr(inversion, "_PART_VALUES", 256 * 513)
    hear(tmp_path / "p.png")
    assert soundfile.info(tmp_path / "p.wav").frames == 6 * CLIP.size
    assert likeness(tmp_path / "p.wav", np.tile(CLIP, 6)) > 0.97


def test_the_true_phases_are_better_than_found_ones(clip: Path) -> None:
    make(clip, clip.with_name("p.png"), "--depth", "16")
    padded = np.pad(CLIP, 512)
    angles = np.angle(librosa.stft(padded, n_fft=1024, hop_length=256, center=False))
    np.save(clip.with_name("angles.npy"), angles)
    for name in ("clip.wav", "angles.npy"):
        sound = clip.with_name(f"{name}.flac")
        hear(clip.with_name("p.png"), "--phase", clip.with_name(name), "--iterations", 0, "--output", sound)
        heard, _ = soundfile.read(sound)
        assert np.sum((heard - CLIP) ** 2) < 1e-3 * np.sum(CLIP**2)


# Pictures from elsewhere


def librosa_decibels(rate_hz: int = 22_050) -> FloatArray:
    """A mel spectrogram as librosa's guide makes it, 0 dB the loudest."""
    samples = soxr.resample(CLIP, RATE_HZ, rate_hz)
    return np.asarray(librosa.power_to_db(librosa.feature.melspectrogram(y=samples, sr=rate_hz), ref=np.max))


@pytest.mark.parametrize("colour", ["viridis", "magma"])
def test_what_imsave_makes_of_librosas_mel(tmp_path: Path, capsys: pytest.CaptureFixture[str], colour: str) -> None:
    pyplot.imsave(tmp_path / "p.png", librosa_decibels(), origin="lower", cmap=colour)
    hear(tmp_path / "p.png")
    first = capsys.readouterr().out.splitlines()[0]
    for assumed in ("--rate 22050", "--kind mel", "--n-fft 2048", "--hop 512", f"--colour {colour}", "--db-range 80"):
        assert assumed in first
    assert likeness(tmp_path / "p.wav") > 0.85
    assert 0.45 < np.abs(soundfile.read(tmp_path / "p.wav")[0]).max() < 0.55


def test_the_same_upside_down_as_jpeg(tmp_path: Path) -> None:
    pyplot.imsave(tmp_path / "p.jpg", librosa_decibels(), origin="upper", cmap="inferno")
    hear(tmp_path / "p.jpg", "--order", "low-at-top", "--colour", "inferno")
    assert likeness(tmp_path / "p.wav") > 0.8


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_gray_pictures_of_every_make(tmp_path: Path, mode: str) -> None:
    magnitudes = np.abs(librosa.stft(CLIP, n_fft=512, hop_length=128, pad_mode="constant"))
    shares = np.clip(librosa.amplitude_to_db(magnitudes, ref=np.max, top_db=None) / 80 + 1, 0, 1)[::-1]
    if mode == "I;16":
        image = Image.fromarray(np.uint16(shares * 65_535))
    else:
        image = Image.fromarray(np.uint8(shares * 255)).convert("RGB").convert(mode)
    path = tmp_path / ("p.tiff" if mode == "CMYK" else "p.png")
    image.save(path)
    hear(path, "--rate", RATE_HZ)
    assert likeness(tmp_path / "p.wav") > 0.95


@pytest.mark.parametrize("rows", [256, 200, 600])
def test_rows_that_do_not_fit_are_resampled_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: int
) -> None:
    magnitudes = np.abs(librosa.stft(CLIP, n_fft=512, hop_length=128, pad_mode="constant"))
    shares = np.clip(librosa.amplitude_to_db(magnitudes, ref=np.max, top_db=None) / 80 + 1, 0, 1)
    image = Image.fromarray(np.uint8((shares[:256] if rows == 256 else shares)[::-1] * 255))
    image.resize((image.width, rows)).save(tmp_path / "p.png")
    hear(tmp_path / "p.png", "--rate", RATE_HZ, "--n-fft", 512)
    said = capsys.readouterr().out
    assert ("without the last" if rows == 256 else f"{rows} rows were resampled to 257") in said
    assert likeness(tmp_path / "p.wav") > 0.9


def test_transparent_pixels_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shares = np.full((257, 60), 255, np.uint8)
    alpha = np.full_like(shares, 255)
    alpha[:, 30:] = 0
    Image.merge("LA", [Image.fromarray(shares), Image.fromarray(alpha)]).save(tmp_path / "p.png")
    hear(tmp_path / "p.png", "--iterations", 2)
    assert "50% of the picture is transparent" in capsys.readouterr().out
    heard, _ = soundfile.read(tmp_path / "p.wav")
    assert np.abs(heard[: heard.size // 3]).mean() > 0.01 > np.abs(heard[2 * heard.size // 3 :]).mean()


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (lambda mel: mel, ("--kind", "mel")),  # powers
        (lambda mel: np.log(np.maximum(np.sqrt(mel), 1e-5)), ("--kind", "mel", "--scale", "ln")),
        (lambda mel: librosa.power_to_db(mel)[None], ("--kind", "mel", "--scale", "db")),
        (lambda mel: librosa.power_to_db(mel, ref=np.max)[::-1], ("--kind", "mel", "--order", "low-at-bottom")),
        (lambda mel: np.log10(np.maximum(mel, 1e-10)).astype(">f8"), ("--scale", "log10", "--power", "2")),
    ],
)
def test_arrays_of_librosas_mel(
    tmp_path: Path, values: Callable[[FloatArray], FloatArray], options: tuple[str, ...]
) -> None:
    mel = librosa.feature.melspectrogram(y=CLIP, sr=RATE_HZ, n_fft=1024, hop_length=256, n_mels=80)
    np.save(tmp_path / "p.npy", values(mel))
    power = () if "--power" in options or "ln" in options else ("--power", "2")
    hear(tmp_path / "p.npy", "--rate", RATE_HZ, "--n-fft", 1024, *options, *power)
    assert likeness(tmp_path / "p.wav") > 0.9


def speech_synthesis_mel() -> FloatArray:
    """A mel ``[80, frames]`` as text to speech makes it: log10 of magnitudes of 80 to 7600 Hz."""
    return np.asarray(log_mel(CLIP), np.float32)


@pytest.mark.parametrize("shape", ["frames first", "batch of frames", "batch of bands"])
def test_mels_of_speech_synthesis_in_every_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: str
) -> None:
    mel = speech_synthesis_mel()
    np.save(
        tmp_path / "p.npy", {"frames first": mel.T, "batch of frames": mel.T[None], "batch of bands": mel[None]}[shape]
    )
    hear(tmp_path / "p.npy", "--kind", "mel", "--scale", "log10", "--rate", RATE_HZ, "--fmin", 80, "--fmax", 7600)
    assert ("frames first and was transposed" in capsys.readouterr().out) == (shape != "batch of bands")
    assert soundfile.info(tmp_path / "p.wav").frames == 256 * mel.shape[1]  # as HiFi-GAN makes of so many frames
    assert likeness(tmp_path / "p.wav") > 0.9


@pytest.mark.parametrize(("least", "most"), [(0, 1), (-1, 1), (-4, 4)])
def test_normalised_mels_are_taken_for_what_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], least: int, most: int
) -> None:
    shares = np.clip((20 * speech_synthesis_mel() - 20 + 100) / 100, 0, 1)  # Tacotron's: 20 dB is the reference
    np.save(tmp_path / "p.npy", shares * (most - least) + least)
    hear(tmp_path / "p.npy", "--rate", RATE_HZ, "--fmin", 80, "--fmax", 7600)
    out = capsys.readouterr().out
    assert f"within {least} to {most}" in out and "--db-range 100" in out
    assert likeness(tmp_path / "p.wav") > 0.9


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda mel: (mel - mel.mean()) / 10, "span only"), (lambda mel: mel + 2, "dB above a sine of full scale")],
)
def test_values_that_no_recording_has_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[FloatArray], FloatArray], said: str
) -> None:
    np.save(tmp_path / "p.npy", change(speech_synthesis_mel()))
    hear(tmp_path / "p.npy", "--kind", "mel", "--scale", "log10", "--rate", RATE_HZ, "--iterations", 1)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("source", ["standard input", "fifo"])
@pytest.mark.parametrize("name", ["p.png", "p.npy"])
def test_pictures_and_arrays_come_through_pipes(clip: Path, source: str, name: str) -> None:
    make(clip, clip.with_name(name))
    content, sound, pipe = clip.with_name(name).read_bytes(), clip.with_name("sound.wav"), clip.with_name("pipe")
    options = ["--output", str(sound), "--rate", str(RATE_HZ), "--iterations", "1"]
    command = [sys.executable, "-m", "audio_avif_tools.spectrograms.invert_command"]
    if source == "fifo":
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=[content])
        writer.start()
        done = subprocess.run([*command, str(pipe), *options], capture_output=True)
        writer.join()
    else:
        done = subprocess.run([*command, "-", *options], input=content, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert soundfile.info(sound).samplerate == RATE_HZ


def test_a_pipe_needs_a_name_for_the_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert invert.main(["-"]) == 1
    assert "name the sound file with --output" in capsys.readouterr().err


def test_loud_sound_is_made_quieter_rather_than_clipped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "p.npy", 8 * np.abs(librosa.stft(CLIP, n_fft=1024)))
    hear(tmp_path / "p.npy", "--rate", RATE_HZ)
    assert "made quieter by" in capsys.readouterr().out
    assert 0.99 < np.abs(soundfile.read(tmp_path / "p.wav")[0]).max() < 1


# Vocoders


@pytest.mark.parametrize(
    ("options", "said", "least"),
    [
        (("--kind", "mel", "--fmin", "80", "--fmax", "7600", "--scale", "log10"), "nothing was", 0.93),
        ((), "gets the mel that it was trained on", 0.93),
        (("--rate", "22050", "--n-fft", "1024"), "windows of 46.4 ms every 11.6 ms are not the vocoder's", 0.92),
        (("--kind", "mel", "--n-mels", "64"), "64 bands hold less detail than 80 would", 0.88),
        (("--rate", "8000"), "ends at 4000 Hz", 0.9),
    ],
)
def test_a_vocoder_speaks_any_spectrogram_and_says_what_is_lost(
    clip: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str, least: float
) -> None:
    make(clip, clip.with_name("p.png"), *options)
    capsys.readouterr()
    hear(clip.with_name("p.png"), "--vocoder", "embedded")
    out = capsys.readouterr().out
    assert said in out
    assert ("note:" in out) == (said != "nothing was")
    assert soundfile.info(clip.with_name("p.wav")).frames / soundfile.info(clip.with_name("p.wav")).samplerate == (
        pytest.approx(CLIP.size / RATE_HZ, abs=1e-3)
    )
    assert likeness(clip.with_name("p.wav")) > least


def test_the_reference_gives_scores(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(clip, clip.with_name("p.png"))
    hear(clip.with_name("p.png"), "--reference", clip)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"against {clip}: STOI 0.9")
    assert "PESQ-WB 3." in last and "mel distance 0.0" in last


# What is none


def photograph(path: Path) -> None:
    Image.open(cbook.get_sample_data("grace_hopper.jpg")).save(path)


def our_own_page(path: Path) -> None:
    path.write_bytes(encode(CLIP, RATE_HZ, FileConfig()))


def truncated(path: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8)).save(file, "PNG")
    path.write_bytes(file.getvalue()[:5000])


def saved(array: Any) -> Callable[[Path], object]:
    return lambda path: np.save(path, array, allow_pickle=True)


def claiming(rows: int, columns: int) -> Callable[[Path], object]:
    """A PNG whose header promises that size, whatever follows."""

    def write(path: Path) -> None:
        file = io.BytesIO()
        Image.new("L", (1, 1)).save(file, "PNG")
        header = b"IHDR" + struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
        data = file.getvalue()
        path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])

    return write


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("p.png", lambda path: None, "there is no file"),
        ("p.png", Path.mkdir, "is a folder"),
        ("p.png", Path.touch, "is empty"),
        ("p.png", lambda path: path.write_text("no picture"), "is no picture or array"),
        ("p.svg", lambda path: path.write_text("<svg/>"), "is no picture or array"),
        ("p.png", truncated, "is no picture or array"),
        ("p.jpg", photograph, "may be a photograph"),
        ("p.avif", our_own_page, "audio-avif PICTURE plays it back"),
        ("p.png", claiming(1, 1), "only 1 rows"),
        ("p.png", claiming(9000, 9000), "too large"),
        ("p.png", claiming(99_000, 99_000), "too large"),
        ("p.png", claiming(20_000, 8), "too large"),
        ("p.png", claiming(800, 800), "is no picture or array"),
        ("p.npy", lambda path: path.write_text("no array"), "is no .npy array"),
        ("p.npy", lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), "is no .npy array"),
        ("p.npy", saved(np.array([{}, []], object)), "is no .npy array"),
        ("p.npy", saved(np.array(["a", "b"])), "not numbers"),
        ("p.npy", saved(np.zeros((9, 9), bool)), "not numbers"),
        ("p.npy", saved(np.zeros((9, 9), complex)), "complex"),
        ("p.npy", saved(np.full((513, 4), np.nan)), "NaN"),
        ("p.npy", saved(np.full((513, 4), np.inf)), "infinity"),
        ("p.npy", saved(np.zeros(16_000)), "not of shape [16000]"),
        ("p.npy", saved(np.zeros((2, 513, 9))), "not of shape [2, 513, 9]"),
        ("p.npy", saved(np.zeros((513, 0))), "is empty"),
        ("p.npy", saved(np.zeros((0, 513))), "is empty"),
    ],
)
def test_what_is_no_spectrogram_is_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, write: Callable[[Path], object], said: str
) -> None:
    write(tmp_path / name)
    assert invert.main([str(tmp_path / name), "--output", str(tmp_path / "sound.wav")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("audio-avif invert: ") and error.count("\n") == 1
    assert not (tmp_path / "sound.wav").exists() and not list(tmp_path.glob("*.part"))


def figure_of(values: FloatArray, path: Path, colour: str) -> None:
    figure, axes = pyplot.subplots()
    drawn = axes.imshow(values, origin="lower", aspect="auto", cmap=colour)
    figure.colorbar(drawn)
    figure.savefig(path)
    pyplot.close(figure)


@pytest.mark.parametrize("colour", ["gray", "viridis"])
def test_a_figure_with_axes_is_refused_until_it_is_cropped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], colour: str
) -> None:
    figure_of(librosa_decibels(), tmp_path / "p.png", colour)
    assert invert.main([str(tmp_path / "p.png")]) == 1
    error = capsys.readouterr().err
    assert "seems to hold axes" in error and error.count("\n") == 1
    crop = re.search(r"--crop (\S+),", error)
    assert crop is not None
    x, y, width, height = map(int, crop[1].split(","))
    hear(tmp_path / "p.png", "--crop", crop[1], "--hop", 100, "--iterations", 1)
    assert soundfile.info(tmp_path / "p.wav").frames == 100 * width
    shown = np.asarray(Image.open(tmp_path / "p.png").convert("RGB"))[y : y + height, x : x + width]
    assert from_colours(shown, colour)[1] < 6  # nothing but the map's own colours is left


def test_force_reads_a_figure_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure_of(librosa_decibels(), tmp_path / "p.png", "gray")
    hear(tmp_path / "p.png", "--force", "--colour", "gray", "--iterations", 1)


@pytest.mark.parametrize(
    ("option", "code", "said"),
    [("0,0,9999,9", 1, "does not lie within"), ("1,2,3", 2, "X,Y,W,H"), ("0,0,0,9", 2, "X,Y,W,H")],
)
def test_a_crop_that_cannot_be_is_told(
    clip: Path, capsys: pytest.CaptureFixture[str], option: str, code: int, said: str
) -> None:
    make(clip, clip.with_name("p.png"))
    try:
        assert invert.main([str(clip.with_name("p.png")), "--output", "o.wav", "--crop", option]) == code
    except SystemExit as exit_info:
        assert exit_info.code == code
    assert said in capsys.readouterr().err


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_damaged_files_are_sound_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    name = data.draw(st.sampled_from(["p.png", "p.jpg", "p.webp", "p.avif", "p.npy"]))
    soundfile.write(folder / "clip.wav", CLIP[:4000], RATE_HZ)
    make(folder / "clip.wav", folder / name, "--n-fft", 256, "--colour", "viridis")
    for path in (folder / name, folder / "p.npy.json"):
        if path.exists():
            content = bytearray(path.read_bytes())
            for at, value in data.draw(st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), max_size=9)):
                content[at % len(content)] = value
            path.write_bytes(content[: data.draw(st.integers(1, 9)) * len(content) // 5])
    code = invert.main([str(folder / name), "--iterations", "0"])
    assert code in (0, 1)
    assert (folder / "p.wav").exists() == (code == 0)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--hop", "5000"), 1, "hop_samples must be"),
        (("--fmax", "20000"), 1, "half the rate"),
        (("--colour", "magma"), 1, "is gray"),
        (("--vocoder", "no-such"), 1, "unknown vocoder"),
        (("--phase", "no-such.wav"), 1, "there is no sound file"),
        (("--phase", "no-such.npy"), 1, "is no .npy array"),
        (("--output", "no-such-folder/x.wav"), 1, "cannot be written"),
        (("--output", "x.mp3"), 2, "must end in"),
        (("--momentum", "7"), 2, "0 to 1"),
        (("--db-range", "5,4"), 2, "range"),
        (("--vocoder", "embedded", "--phase", "x.wav"), 2, "need --vocoder griffin-lim"),
    ],
)
def test_options_that_cannot_be_are_told(
    clip: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], code: int, said: str
) -> None:
    make(clip, clip.with_name("p.png"))
    arguments = [str(clip.with_name("p.png")), *options]
    if code == 2:
        with pytest.raises(SystemExit) as exit_info:
            invert.main(arguments)
        assert exit_info.value.code == 2
    else:
        assert invert.main(arguments) == 1
    assert said in capsys.readouterr().err
    assert not clip.with_name("p.wav").exists()


def test_a_coloured_picture_of_another_map_is_read_when_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photograph(tmp_path / "p.jpg")
    hear(tmp_path / "p.jpg", "--colour", "viridis", "--iterations", 1)
    assert "note: the picture's colours are not those of viridis" in capsys.readouterr().out


def test_an_unknown_map_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photograph(tmp_path / "p.jpg")
    assert invert.main([str(tmp_path / "p.jpg"), "--colour", "mgama"]) == 1
    assert "no colour map 'mgama'" in capsys.readouterr().err


def test_a_recording_of_that_name_is_not_overwritten(clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(clip, clip.with_suffix(".png"))
    before = clip.read_bytes()
    assert invert.main([str(clip.with_suffix(".png"))]) == 1
    assert "--output" in capsys.readouterr().err
    assert clip.read_bytes() == before


def test_damaged_settings_are_not_used_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"audio_avif_spectrogram": 1, "samples": -5, **SpectrogramConfig().to_dict(), "n_fft": 10**9}
    np.save(tmp_path / "p.npy", np.zeros((513, 5), np.float32))
    for text, said in ((json.dumps(values), "damaged"), ("{", "assumed"), ("[]", "assumed")):
        (tmp_path / "p.npy.json").write_text(text)
        hear(tmp_path / "p.npy", "--output", tmp_path / "o.wav", "--iterations", 1)
        assert said in capsys.readouterr().out


@pytest.mark.parametrize("samples", [1, 300, 16_000])
def test_short_and_silent_recordings_make_sound_of_their_length(tmp_path: Path, samples: int) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(samples, np.float32), RATE_HZ)
    make(tmp_path / "in.wav", tmp_path / "p.png")
    for vocoder in ("griffin-lim", "embedded"):
        hear(tmp_path / "p.png", "--output", tmp_path / "o.wav", "--vocoder", vocoder)
        heard, _ = soundfile.read(tmp_path / "o.wav")
        assert heard.shape == (samples,)
        assert np.abs(heard).max() < 1e-2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no-such.wav", "p.png"), "there is no sound file"),
        (("empty.wav", "p.png"), "is empty"),
        (("noise.txt", "p.png"), "is not a sound file"),
        (("long.wav", "p.webp"), "a WEBP picture holds 16383 columns"),
        (("long.wav", "p.png", "--hop", "1", "--n-fft", "8192"), "more than"),
        (("long.wav", "p.png", "--colour", "mgama"), "no colour map"),
        (("long.wav", "no-such-folder/p.png"), "cannot be written"),
    ],
)
def test_recordings_that_make_no_picture_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: Any, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    soundfile.write("empty.wav", np.zeros(0, np.float32), RATE_HZ)
    soundfile.write("long.wav", np.zeros(300 * RATE_HZ, np.float32), RATE_HZ)
    Path("noise.txt").write_text("no sound")
    assert spectrogram.main(arguments) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"empty.wav", "long.wav", "noise.txt"}


@pytest.mark.parametrize("arguments", [("in.wav", "out.gif"), ("in.wav", "out.jpg", "--depth", "16"), ("in.wav",)])
def test_wrong_usage_of_spectrogram(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        spectrogram.main(arguments)
    assert exit_info.value.code == 2


@pytest.mark.parametrize("command", ["invert", "spectrogram"])
def test_help_loads_nothing_heavy(command: str) -> None:
    code = (
        f"import sys\nfrom audio_avif_tools.spectrograms.{command}_command import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'numpy', 'PIL', 'matplotlib', 'soxr'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
