"""``audio-avif`` as a user types it: round trips, folders, names, and files that are not what they should be."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image

from audio_avif.config import RATE_HZ, MelConfig
from audio_avif.edge.sound_files import read_audio
from audio_avif.errors import FileError
from audio_avif.metrics import stoi
from audio_avif.recording.codec import decode, encode
from audio_avif.recording.segments import cut_parts
from audio_avif.steps import logmel_to_image, wav_to_logmel
from audio_avif.types import FloatArray
from audio_avif.vocoders import onnx_model
from audio_avif_tools.files import jobs as file_jobs
from audio_avif_tools.files import spooling
from audio_avif_tools.files.command import MODULES, SUBCOMMANDS, main
from audio_avif_tools.shared import decoding
from audio_avif_tools.shared.signals import demo_clip
from audio_avif_tools.shared.workers import Workers
from support.speech import speech_like

pytestmark = pytest.mark.slow

Capture = pytest.CaptureFixture[str]
CLIP = demo_clip()[RATE_HZ : 3 * RATE_HZ]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def told_failure(capsys: Capture, *arguments: object) -> str:
    """The one sentence with which the command fails."""
    capsys.readouterr()
    assert run(*arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("audio-avif: ") and err.count("\n") == 1, err
    return err


def wrong_usage(capsys: Capture, *arguments: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit:
        run(*arguments)
    assert exit.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module", autouse=True)
def _models_are_loaded_once() -> Iterator[None]:
    """Each run of the command in this process would load the same model anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_model, "_open_session", cache(onnx_model._open_session))
        yield


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    soundfile.write(path, CLIP, RATE_HZ)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.avif"
    path.write_bytes(encode(CLIP, RATE_HZ))
    return path


def test_help_is_for_strangers_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from audio_avif_tools.files.command import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'PIL', 'onnxruntime', 'soundfile', 'rich', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "audio-avif speech.wav --output DIR" in done.stdout
    for name, text in SUBCOMMANDS.items():
        assert f"audio-avif {name}" in done.stdout and text in done.stdout


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_other_commands_are_handed_their_arguments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    module = SimpleNamespace(main=lambda arguments: seen.extend(arguments) or 7)
    monkeypatch.setitem(sys.modules, MODULES[name], module)
    assert main([name, "a.wav", "--quality", "3"]) == 7
    assert seen == ["a.wav", "--quality", "3"]


def test_a_recording_becomes_a_picture_and_sound_again(tmp_path: Path, capsys: Capture) -> None:
    clip = demo_clip()[: 11 * RATE_HZ]
    sound, picture, heard = tmp_path / "in.flac", tmp_path / "out.avif", tmp_path / "heard.wav"
    soundfile.write(sound, clip, RATE_HZ)
    assert run(sound, "--output", picture) == 0
    seconds = clip.size / RATE_HZ
    assert f"{picture}: {seconds:.1f} s" in capsys.readouterr().out
    assert run(picture, "--output", heard) == 0
    assert capsys.readouterr().out == f"{heard}: {seconds:.1f} s\n"
    assert soundfile.info(heard).subtype == "PCM_16"
    samples = read_audio(heard)
    assert samples.size == clip.size
    assert stoi(clip, samples) > 0.85
    assert files_in(tmp_path) == {"in.flac", "out.avif", "heard.wav"}


def test_the_command_makes_what_the_python_api_makes(wav: Path, tmp_path: Path) -> None:
    assert run(wav, "--output", tmp_path / "out.avif") == 0
    made = (tmp_path / "out.avif").read_bytes()
    assert made == encode(read_audio(wav), RATE_HZ)
    assert run(tmp_path / "out.avif", "--output", tmp_path / "out.flac") == 0
    np.testing.assert_allclose(read_audio(tmp_path / "out.flac"), decode(made)[0], atol=1 / 32768)


def test_the_sound_of_a_picture_lies_beside_it_but_never_over_a_recording(
    wav: Path, tmp_path: Path, capsys: Capture
) -> None:
    before = wav.read_bytes()
    assert run(wav, "--output", tmp_path / "speech.avif") == 0
    assert "name the output with --output" in told_failure(capsys, tmp_path / "speech.avif")
    assert wav.read_bytes() == before
    wav.unlink()
    assert run(tmp_path / "speech.avif") == 0
    assert read_audio(wav).size == CLIP.size


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".WAV"])
def test_sound_is_written_as_its_name_says(picture: Path, tmp_path: Path, suffix: str) -> None:
    assert run(picture, "--output", tmp_path / f"new/heard{suffix}") == 0
    info = soundfile.info(tmp_path / f"new/heard{suffix}")
    assert info.format == suffix[1:].upper()
    assert (info.samplerate, info.frames) == (RATE_HZ, CLIP.size)


def test_a_report_comes_with_pictures_and_sound_of_each_quality(wav: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert run(wav, "--output", out, "--quality", "90,60", "--workers", 1) == 0
    renditions = {f"speech-q{quality}.{kind}" for quality in (60, 90) for kind in ("avif", "wav")}
    assert files_in(out) == renditions | {"report.html", "report.json"}
    assert (out / "speech-q60.avif").stat().st_size < (out / "speech-q90.avif").stat().st_size
    assert read_audio(out / "speech-q60.wav").size == CLIP.size
    assert "speech" in (out / "report.html").read_text()
    assert json.loads((out / "report.json").read_text())
    assert str(out / "report.html") in capsys.readouterr().out


def test_a_report_has_five_qualities_unless_told(wav: Path, tmp_path: Path) -> None:
    assert run(wav, "--output", tmp_path / "out", "--workers", 1) == 0
    assert {path.stem for path in (tmp_path / "out").glob("*.avif")} == {
        f"speech-q{quality}" for quality in (70, 80, 85, 90, 95)
    }


def test_a_folder_goes_on_past_bad_files_and_names_them(tmp_path: Path, capsys: Capture) -> None:
    folder, out = tmp_path / "in", tmp_path / "in" / "out"
    for name in ("a.wav", "a.flac", "deeper/a.wav", ".hidden/a.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, CLIP[:4000], RATE_HZ)
    (folder / "text.wav").write_text("no sound " * 99)
    (folder / "deeper" / "readme.txt").write_text("not looked at")
    for _ in range(2):  # what the first run has made inside the folder is not taken for recordings by the second
        assert run(folder, "--output", out, "--quality", 80, "--workers", 3) == 1
        err = capsys.readouterr().err
        assert "1 of 4 files failed:" in err and "text.wav is not a sound file" in err
        names = {"a", "a-wav", "deeper/a"}
        assert files_in(out) == {f"{name}-q80.{kind}" for name in names for kind in ("avif", "wav")} | {
            "report.html",
            "report.json",
        }


def test_files_of_one_name_from_several_places_stay_apart(tmp_path: Path) -> None:
    for name in ("x/a.wav", "y/a.wav", "z/sub/A.wav"):
        (tmp_path / name).parent.mkdir(parents=True)
        soundfile.write(tmp_path / name, CLIP[:4000], RATE_HZ)
    out = tmp_path / "out"
    assert run(tmp_path / "x/a.wav", tmp_path / "y/a.wav", "--output", out, "--quality", 80, "--workers", 1) == 0
    assert {path.name for path in out.glob("*.avif")} == {"a-q80.avif", "a-wav-q80.avif"}
    both = tmp_path / "both"
    assert run(tmp_path / "x", tmp_path / "z", "--output", both, "--quality", 80, "--workers", 1) == 0
    assert {path.relative_to(both).as_posix() for path in both.rglob("*.avif")} == {"x/a-q80.avif", "z/sub/A-q80.avif"}


def test_a_folder_of_pictures_becomes_a_folder_of_sounds(picture: Path, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for name in ("a.avif", "more/b.avif"):
        (folder / name).write_bytes(picture.read_bytes())
    (folder / "c.avif").write_bytes(b"no picture")
    assert run(folder, "--output", tmp_path / "out") == 1
    assert files_in(tmp_path / "out") == {"a.wav", "more/b.wav"}
    assert "1 of 3 files failed" in capsys.readouterr().err


def test_the_number_of_workers_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "cut_parts", partial(cut_parts, part_frames=300))  # five, as of several minutes
    sound = tmp_path / "long.wav"
    soundfile.write(sound, np.resize(demo_clip(), 25 * RATE_HZ), RATE_HZ)
    made = []
    for workers in (1, 5):
        picture, heard = tmp_path / f"{workers}.avif", tmp_path / f"{workers}.wav"
        assert run(sound, "--output", picture, "--workers", workers) == 0
        assert run(picture, "--output", heard, "--workers", workers) == 0
        made.append((picture.read_bytes(), heard.read_bytes()))
    assert made[0] == made[1]
    assert soundfile.info(heard).frames == 25 * RATE_HZ


@pytest.mark.parametrize(
    "options",
    [
        ("--depth", 10),
        ("--depth", 12, "--layout", "planes"),
        ("--layout", "planes"),
        ("--range", "auto"),
        ("--range", "-7.5,2"),
        ("--range=-11,4", "--speed", 10, "--quality", 95),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_pictures_of_all_kinds_say_themselves_how_they_are_to_be_heard(
    tmp_path: Path, options: tuple[object, ...], channels: int
) -> None:
    sound, picture = tmp_path / "in.wav", tmp_path / "out.avif"
    soundfile.write(sound, np.stack([CLIP, CLIP[::-1] / 2], axis=1)[:, :channels], RATE_HZ)
    assert run(sound, "--output", picture, *options) == 0
    assert run(picture, "--output", tmp_path / "out.wav") == 0
    heard, _ = soundfile.read(tmp_path / "out.wav", dtype="float32", always_2d=True)
    assert heard.shape == (CLIP.size, channels)
    assert stoi(CLIP, heard[:, 0]) > 0.7
    if channels == 2:
        assert heard[:, 1].std() == pytest.approx(heard[:, 0].std() / 2, rel=0.3)


@pytest.mark.parametrize(
    ("samples", "rate_hz"),
    [
        (np.zeros(16_000, np.float32), 16_000),
        (np.clip(speech_like(1.0) * 9, -1, 1), 16_000),
        (np.full(1, 0.5, np.float32), 16_000),
        (speech_like(1.0, 8_000), 8_000),
        (speech_like(1.0, 192_000), 192_000),
        (np.full(16_000, np.nan, np.float32), 16_000),
        (np.where(np.arange(16_000) % 99 == 0, np.inf, speech_like(1.0)), 16_000),
        (np.where(np.arange(16_000) == 99, 3e38, speech_like(1.0)), 16_000),
        (np.repeat(speech_like(0.5)[:, None], 4, axis=1), 16_000),
    ],
    ids=["silence", "clipped", "1-sample", "8kHz", "192kHz", "nan", "inf", "huge", "4-channels"],
)
@pytest.mark.parametrize("fit", ["fixed", "auto"])
def test_odd_recordings_give_sensible_sound(
    tmp_path: Path, capsys: Capture, samples: FloatArray, rate_hz: int, fit: str
) -> None:
    sound, picture = tmp_path / "in.wav", tmp_path / "out.avif"
    soundfile.write(sound, samples.astype(np.float32), rate_hz, subtype="FLOAT")
    assert run(sound, "--output", picture, "--range", fit) == 0
    assert run(picture, "--output", tmp_path / "out.wav") == 0
    heard, _ = soundfile.read(tmp_path / "out.wav", dtype="float32", always_2d=True)
    assert heard.shape[0] == pytest.approx(len(samples) * RATE_HZ / rate_hz, abs=1)
    usable = samples[np.isfinite(samples)]
    if not usable.any():
        assert np.abs(heard).max() < 0.01
    elif usable.size > 1 and usable.max() <= 1:
        assert heard.std() > 0.2 * usable.std()
    assert capsys.readouterr().err == ""


def test_a_report_of_odd_recordings(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    soundfile.write(folder / "silence.wav", np.zeros(16_000), RATE_HZ)
    soundfile.write(folder / "sample.wav", np.ones(1), RATE_HZ)
    soundfile.write(folder / "stereo.wav", np.stack([CLIP, CLIP], axis=1), 44_100)
    assert run(folder, "--output", tmp_path / "out", "--quality", 85, "--workers", 1) == 0


def flac_that_claims(path: Path, seconds: int) -> None:
    """A short FLAC file whose header (STREAMINFO: the last 36 of 64 bits at byte 18) promises another length."""
    soundfile.write(path, CLIP, RATE_HZ)
    data = bytearray(path.read_bytes())
    fields = int.from_bytes(data[18:26], "big") >> 36 << 36
    data[18:26] = (fields | seconds * RATE_HZ).to_bytes(8, "big")
    path.write_bytes(data)


def damaged(path: Path) -> None:
    soundfile.write(path, speech_like(5.0), RATE_HZ)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD_SOUNDS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty.wav": (lambda path: path.write_bytes(b""), "is not a sound file"),
    "text.wav": (lambda path: path.write_text("this is a text\n" * 99), "is not a sound file"),
    "no samples.wav": (lambda path: soundfile.write(path, np.zeros(0), RATE_HZ), "is empty"),
    "32 channels.wav": (lambda path: soundfile.write(path, np.zeros((99, 32)), RATE_HZ), "1 to 4 channels, not 32"),
    "24 h.flac": (lambda path: flac_that_claims(path, 24 * 3600), "lasts 24.0 h"),
    "truncated.flac": (damaged, "is damaged after"),
    "missing.wav": (lambda path: None, "there is no sound file"),
    "array.npy": (lambda path: np.save(path, np.zeros((80, 80))), "audio-avif invert"),
}


@pytest.mark.parametrize("name", BAD_SOUNDS)
@pytest.mark.parametrize("output", ["out.avif", "out", "new/out.avif"])
def test_what_cannot_become_a_picture_is_told_and_leaves_nothing(
    tmp_path: Path, capsys: Capture, name: str, output: str
) -> None:
    make, message = BAD_SOUNDS[name]
    folder = tmp_path / "in"
    folder.mkdir()
    make(folder / name)
    assert message in told_failure(capsys, folder / name, "--output", tmp_path / output)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


@pytest.mark.skipif(sys.platform == "win32", reason="pipes have no names there")
@pytest.mark.parametrize("name", ["-", "fifo", "fd"])
@pytest.mark.parametrize("output", ["out.avif", "out"])
def test_a_pipe_is_read_as_a_sound_file(wav: Path, tmp_path: Path, name: str, output: str) -> None:
    code = "import sys; from audio_avif_tools.files.command import main; sys.exit(main(sys.argv[1:]))"
    given = {"-": "-", "fifo": str(tmp_path / "talk.fifo"), "fd": "/dev/fd/0"}[name]
    command = [sys.executable, "-c", code, given, "--output", str(tmp_path / output), "--quality", "80"]
    if name == "fifo":
        os.mkfifo(given)
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if name == "fifo":
        Path(given).write_bytes(wav.read_bytes())
    _, err = process.communicate(None if name == "fifo" else wav.read_bytes(), timeout=300)
    assert (process.returncode, err) == (0, b"")
    stem = {"-": "stdin", "fifo": "talk", "fd": "0"}[name]
    picture = tmp_path / (output if output == "out.avif" else f"out/{stem}-q80.avif")
    assert decode(picture.read_bytes())[0].size == CLIP.size


def test_a_pipe_that_cannot_be_read_is_told(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def told_of(data: bytes) -> str:
        (tmp_path / "in").write_bytes(data)
        with (tmp_path / "in").open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            return told_failure(capsys, "-", "--output", tmp_path / "out.avif")

    assert told_of(b"").startswith("audio-avif: standard input is not a sound file")
    assert told_of(b"text" * 99).startswith("audio-avif: standard input is not a sound file")
    monkeypatch.setattr(spooling, "MAX_BYTES", 1000)
    assert "holds more than 0 GiB; save it as a file" in told_of(bytes(2000))
    monkeypatch.setattr(sys, "stdin", None)
    assert "redirect a sound file to it" in told_failure(capsys, "-", "--output", tmp_path / "out.avif")
    assert files_in(tmp_path) == {"in"}


def test_a_file_under_a_wrong_suffix_is_called_what_it_is(
    wav: Path, picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = ("--output", tmp_path / "out.wav")
    for kind in ("JPEG", "PNG", "GIF", "WebP", "TIFF", "BMP"):
        Image.new("L", (80, 80)).save(tmp_path / "in.avif", kind)
        told = told_failure(capsys, tmp_path / "in.avif", *out)
        assert f"in.avif is a {kind} picture, not an AVIF picture; audio-avif invert makes" in told
        Image.new("L", (80, 80)).save(tmp_path / "in.wav", kind)
        told = told_failure(capsys, tmp_path / "in.wav", "--output", tmp_path / "out.avif")
        assert f"in.wav is a {kind} picture, not a sound file; use audio-avif invert" in told
    for kind in ("WAV", "FLAC", "Ogg", "AIFF", "MP3"):
        soundfile.write(tmp_path / "in.avif", CLIP, RATE_HZ, format=kind.upper())
        article = "an" if kind[0] in "OA" or kind == "MP3" else "a"
        assert f"in.avif is {article} {kind} sound file, not an AVIF" in told_failure(
            capsys, tmp_path / "in.avif", *out
        )
    for name in ("in.wav", "in.png"):
        (tmp_path / name).write_bytes(picture.read_bytes())
        told = told_failure(capsys, tmp_path / name, "--output", tmp_path / "out.avif")
        assert f"{name} is an AVIF picture" in told and "rename it so that it ends in .avif" in told
    (tmp_path / "in.m4a").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0" * 9)
    assert "is an M4A sound file, which cannot be read" in told_failure(
        capsys, tmp_path / "in.m4a", "--output", tmp_path / "out.avif"
    )


def test_an_unfinished_file_is_told_of_once(wav: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = bytearray(wav.read_bytes())
    data[4:8] = data[40:44] = bytes(4)
    wav.write_bytes(data)
    assert run(wav, "--output", tmp_path / "out", "--quality", 80, "--workers", 1) == 0
    assert caplog.messages == [f"{wav}: the header does not state the length; the file is read to its end"]


def test_a_truncated_wav_is_heard_as_far_as_it_goes(wav: Path, tmp_path: Path) -> None:
    wav.write_bytes(wav.read_bytes()[: wav.stat().st_size // 2])
    assert run(wav, "--output", tmp_path / "out.avif") == 0
    assert run(tmp_path / "out.avif", "--output", tmp_path / "out.wav") == 0
    assert read_audio(tmp_path / "out.wav").size == pytest.approx(CLIP.size / 2, abs=20)


def test_a_file_that_ends_before_it_should_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "in.mp3"
    soundfile.write(path, speech_like(10.0), RATE_HZ)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert run(path, "--output", tmp_path / "out.avif") == 0
    assert "though its header announces 10.0 s" in caplog.text


def photograph(rows: int) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 120, 3), np.uint8)
    Image.fromarray(pixels).save(out, "AVIF")
    return out.getvalue()


def changed(before: bytes, after: bytes) -> bytes:
    """A picture of ours whose settings say something else, in as many bytes."""
    picture = encode(CLIP, RATE_HZ)
    assert picture.count(before) == 1 and len(before) == len(after)
    return picture.replace(before, after)


BAD_PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", ""),
    "text": (lambda: b"this is a text" * 99, "not a readable picture"),
    "photograph": (lambda: photograph(64), "has no metadata of audio-avif"),
    "settings without sense": (lambda: changed(b'"depth": 8', b'"depth": 7'), "metadata are damaged"),
    "settings of the future": (lambda: changed(b'"audio_avif": 1', b'"audio_avif": 9'), "format 9"),
    "another height": (lambda: changed(b'"channels": 1', b'"channels": 3'), "metadata describe"),
    "another length": (lambda: changed(b'"samples": 32000', b'"samples": 99999'), "metadata describe"),
    "another mel": (lambda: changed(b'"hop_samples": 256', b'"hop_samples": 512'), ""),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_what_is_no_picture_of_sound_is_told_and_leaves_nothing(tmp_path: Path, capsys: Capture, name: str) -> None:
    make, message = BAD_PICTURES[name]
    path = tmp_path / "in.avif"
    path.write_bytes(make())
    for output in ("out.wav", "out", "new/out.flac"):
        told = told_failure(capsys, path, "--output", tmp_path / output)
        assert str(path) in told and message in told
        assert files_in(tmp_path) == {"in.avif"}


@pytest.mark.parametrize("kind", ["avif", "png", "webp", "tiff"])
def test_a_picture_that_an_image_program_has_saved_again_is_heard(
    picture: Path, tmp_path: Path, capsys: Capture, kind: str
) -> None:
    again = tmp_path / f"again.{kind}"
    with Image.open(picture) as image:
        image.convert("RGB").save(again, quality=95, exif=image.getexif())
    assert run(picture, "--output", tmp_path / "first.wav") == 0
    assert run(again) == 0
    first, heard = read_audio(tmp_path / "first.wav"), read_audio(tmp_path / "again.wav")
    assert heard.size == first.size == CLIP.size
    assert stoi(first, heard) > 0.95
    assert "pictures are decoded to sound" in wrong_usage(capsys, again, "--output", tmp_path / "out.avif")


def test_a_cropped_picture_is_heard_with_the_option_that_is_named(
    picture: Path, tmp_path: Path, capsys: Capture
) -> None:
    cropped = tmp_path / "cropped.png"
    with Image.open(picture) as image:
        image.crop((0, 0, 100, 80)).save(cropped, exif=image.getexif())
    assert "; --range=-5.5,1 plays it as it is" in told_failure(capsys, cropped)
    assert run(cropped, "--range=-5.5,1") == 0
    assert read_audio(tmp_path / "cropped.wav").size == 99 * 256


def test_another_picture_is_sent_to_invert(tmp_path: Path, capsys: Capture) -> None:
    Image.new("L", (80, 80)).save(tmp_path / "picture.png")
    assert "audio-avif invert" in told_failure(capsys, tmp_path / "picture.png", "--output", tmp_path / "out")
    assert files_in(tmp_path) == {"picture.png"}


def test_pictures_of_other_kinds_in_a_folder_are_no_recordings(wav: Path, tmp_path: Path) -> None:
    Image.new("L", (80, 80)).save(tmp_path / "cover.png")
    assert run(tmp_path, "--output", tmp_path / "out", "--quality", 80, "--workers", 1) == 0
    assert "speech-q80.avif" in {path.name for path in (tmp_path / "out").iterdir()}


def test_a_truncated_picture_is_told_wherever_it_ends(picture: Path, capsys: Capture) -> None:
    whole = picture.read_bytes()
    for length in range(0, len(whole), len(whole) // 25):
        picture.write_bytes(whole[:length])
        told_failure(capsys, picture, "--vocoder", "griffin-lim")
        assert files_in(picture.parent) == {picture.name}


def test_log_mel_pictures_of_others_need_their_range(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "seed.avif"
    logmel_to_image(wav_to_logmel(CLIP)).save(path, "AVIF", quality=90)
    assert "give its value range" in told_failure(capsys, path)
    assert run(path, "--range", "-11,4") == 0
    heard = read_audio(tmp_path / "seed.wav")
    assert stoi(CLIP[: heard.size], heard) > 0.7
    assert "80" in told_failure(capsys, path, "--range", "-11,4", "--channels", 2, "--output", tmp_path / "2.wav")


def test_where_nothing_can_be_written_is_told(wav: Path, picture: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_bytes(b"in the way")
    before = files_in(tmp_path)
    assert "cannot be created" in told_failure(capsys, wav, "--output", tmp_path / "file")
    assert "cannot be created" in told_failure(capsys, wav, "--output", tmp_path / "file" / "out.avif")
    assert "cannot be created" in told_failure(capsys, picture, "--output", tmp_path / "file" / "out.wav")
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("bad", ["x" * 300, "circle"])
def test_names_that_cannot_be_are_told(wav: Path, picture: Path, tmp_path: Path, capsys: Capture, bad: str) -> None:
    (tmp_path / "circle").symlink_to("circle")
    before = files_in(tmp_path)
    path = tmp_path / bad
    assert "there is no sound file" in told_failure(capsys, path, "--output", tmp_path / "out")
    assert "there is no sound file" in told_failure(capsys, f"{path}.wav", "--output", tmp_path / "out.avif")
    assert "cannot be created" in told_failure(capsys, wav, "--output", path)
    assert "cannot be created" in told_failure(capsys, picture, "--output", path / "out.wav")
    assert files_in(tmp_path) == before


def test_links_in_a_circle_are_passed_over(wav: Path, tmp_path: Path) -> None:
    (wav.parent / "circle.wav").symlink_to("circle.wav")
    (wav.parent / "around").symlink_to(wav.parent)
    assert run(wav.parent, "--output", tmp_path / "out", "--quality", 80) == 0
    assert "speech-q80.avif" in files_in(tmp_path / "out")


def test_a_folder_without_sound_is_told(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.txt").write_text("no sound")
    assert "holds no sound files" in told_failure(capsys, tmp_path / "in", "--output", tmp_path / "out")
    assert "holds no sound files" in told_failure(capsys, tmp_path / "in")


def test_sounds_are_never_replaced_by_their_copies(wav: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "is both input and output" in told_failure(capsys, tmp_path, "--output", tmp_path)
    copy = wav.with_name("speech-q80.wav")
    copy.write_bytes(wav.read_bytes())
    assert "would be replaced" in told_failure(capsys, wav, copy, "--output", tmp_path, "--quality", 80)
    assert files_in(tmp_path) == {"speech.wav", "speech-q80.wav"}


@pytest.mark.parametrize("kind", ["avif", "wav", "flac"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, wav: Path, picture: Path, kind: str) -> None:
    """The system's limit on the size of files stands for a disk that is full."""
    resource = pytest.importorskip("resource", reason="limits on files are for POSIX")
    source = wav if kind == "avif" else picture
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (900, 900));"
    code += "from audio_avif_tools.files.command import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(source), "--output", str(tmp_path / f"out.{kind}")]
    before = files_in(tmp_path)
    done = subprocess.run(command, capture_output=True, text=True)
    assert resource and done.returncode == 1
    assert done.stderr.startswith("audio-avif: ") and done.stderr.count("\n") == 1, done.stderr
    assert files_in(tmp_path) == before


class Silent:
    """A vocoder that takes no time."""

    name = "silent"
    mel = MelConfig()

    def synthesize(self, log_mel: FloatArray) -> FloatArray:
        return np.zeros(log_mel.shape[1] * self.mel.hop_samples, np.float32)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_jobs, "load_vocoder", lambda device, name: Silent())
    monkeypatch.setattr(decoding, "cut_parts", partial(cut_parts, part_frames=300))
    with soundfile.SoundFile(tmp_path / "in.wav", "w", 8_000, 1) as file:
        for _ in range(10):
            file.write(np.zeros(60 * 8_000, np.int16))
    for given in (("in.wav", "--output", "out.avif"), ("out.avif", "--output", "out.wav")):
        tracemalloc.start()
        assert run(*(argument if argument == "--output" else tmp_path / argument for argument in given)) == 0
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak_bytes < 15e6  # the whole takes 38 MB
    assert soundfile.info(tmp_path / "out.wav").frames == 600 * RATE_HZ


def test_workers_keep_the_order_and_take_no_more_than_they_need() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    with Workers(4) as workers:
        for number, result in enumerate(workers.map(lambda item: item * item, items())):
            assert result == number**2
            assert len(taken) <= number + 1 + 5


def test_workers_give_back_the_error_of_one_job_and_end_all_at_a_bug() -> None:
    def fail() -> int:
        raise FileError("damaged")

    with Workers(2, 3) as workers:
        first, second, third = workers.each([lambda: 1, fail, lambda: 3])
    assert (first, str(second), third) == (1, "damaged", 3)
    with pytest.raises(ZeroDivisionError), Workers(2, 3) as workers:
        workers.each([lambda: sum(workers.map(lambda item: 1, iter(int, 1))), lambda: 1 // 0])


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("stage", "output", "complete"),
    [
        ("files.encoding.encode_cell", "out.avif", set()),
        ("files.encoding.encode_cell", "out", set()),
        ("shared.decoding.speak_part", "out", {"out/long-q80.avif"}),
    ],
)
def test_an_interruption_leaves_no_half_written_output(
    tmp_path: Path, name: str, stage: str, output: str, complete: set[str]
) -> None:
    soundfile.write(tmp_path / "long.wav", np.resize(demo_clip(), 30 * RATE_HZ), RATE_HZ)
    folder, module, function = stage.split(".")
    code = (
        "import itertools, signal, sys, threading\n"
        "interrupted, real_handler = threading.Event(), signal.default_int_handler\n"
        "def handler(*given):\n"
        "    interrupted.set()\n"
        "    real_handler(*given)\n"
        "signal.default_int_handler = handler\n"
        # Ctrl-C is not heard by what was started in the background, as a test may have been.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"from audio_avif_tools.{folder} import {module} as stage; from audio_avif_tools.files.command import main\n"
        f"real, calls = stage.{function}, itertools.count(1)\n"
        "def announced(*given):\n"
        "    number = next(calls)\n"
        "    if number == 2: print('at work', flush=True)\n"
        "    if number >= 2: interrupted.wait(50)  # or all may be done before the signal comes\n"
        "    return real(*given)\n"
        f"stage.{function} = announced\n"
        "from audio_avif.recording.segments import cut_parts\n"
        "cut_parts.__defaults__ = (300,)  # so that there are several\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    given = [tmp_path / "long.wav", "--output", tmp_path / output, "--quality", 80]
    command = [sys.executable, "-c", code, *map(str, given)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "at work\n"
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")
    assert files_in(tmp_path) == {"long.wav"} | complete


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_later_interruptions_print_nothing_while_threads_finish(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", np.resize(demo_clip(), 30 * RATE_HZ), RATE_HZ)
    code = (
        "import signal, sys, threading\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from audio_avif_tools.files import encoding; from audio_avif_tools.files.command import main\n"
        "real, go_on = encoding.encode_cell, threading.Event()\n"
        "threading.Thread(target=lambda: sys.stdin.readline() and go_on.set(), daemon=True).start()\n"
        "def held(*given):\n"
        "    if threading.current_thread() is not threading.main_thread():\n"
        "        print('at work', flush=True)\n"
        "        go_on.wait()\n"
        "    return real(*given)\n"
        "encoding.encode_cell = held\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "long.wav"), "--output", str(tmp_path / "out.avif")]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None and process.stdout.readline() == "at work\n"
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)  # so that they are not one
    _, err = process.communicate("go on\n", timeout=60)
    assert (process.returncode, err) == (130, "")
    assert files_in(tmp_path) == {"long.wav"}


def test_wrong_usage_is_told(wav: Path, picture: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out.avif"
    assert "--output is missing" in wrong_usage(capsys, wav)
    assert "one --quality" in wrong_usage(capsys, wav, "--output", out, "--quality", "70,80")
    assert "several files" in wrong_usage(capsys, wav, tmp_path / "b.wav", "--output", out)
    for name in ("out.wav", "out.png"):
        assert "become AVIF pictures" in wrong_usage(capsys, wav, "--output", tmp_path / name)
    assert "--vocoder" in wrong_usage(capsys, wav, "--output", out, "--vocoder", "griffin-lim")
    assert "--channels" in wrong_usage(capsys, wav, "--output", out, "--channels", 2)
    assert "only for recordings" in wrong_usage(capsys, picture, "--quality", 80)
    assert "need --range" in wrong_usage(capsys, picture, "--channels", 2)
    assert "need --range" in wrong_usage(capsys, picture, "--range", "auto")
    assert "name a file that ends in" in wrong_usage(capsys, picture, "--output", tmp_path / "out.mp3")
    assert "several pictures" in wrong_usage(capsys, picture, tmp_path / "b.avif", "--output", tmp_path / "out.wav")
    assert "numbers (0 to 100" in wrong_usage(capsys, wav, "--output", out, "--quality", "101")
    assert "range (fixed" in wrong_usage(capsys, wav, "--output", out, "--range", "4,-11")
    assert "colour picture" in wrong_usage(
        capsys, picture, "--range", "-11,4", "--channels", 4, "--layout", "planes", "--output", tmp_path / "out.wav"
    )
    assert files_in(tmp_path) == {"speech.wav", "picture.avif"}
    assert "of one kind" in told_failure(capsys, wav, picture, "--output", tmp_path / "both")


def test_a_vocoder_that_is_not_there_is_told_before_anything_is_made(
    wav: Path, tmp_path: Path, capsys: Capture
) -> None:
    assert "unknown vocoder" in told_failure(capsys, wav, "--output", tmp_path / "out", "--vocoder", "nobody")
    assert files_in(tmp_path) == {"speech.wav"}


def test_deep_pictures_without_their_package_are_told(
    wav: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert "audio-avif[formats]" in told_failure(capsys, wav, "--output", tmp_path / "out.avif", "--depth", 10)
