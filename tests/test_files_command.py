"""``audio-avif`` as a user types it: round trips, folders, names, and every kind of file that is not what it should be."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from PIL import Image
from speech import speech_like, tone

from audio_avif.config import RATE_HZ
from audio_avif.files import decode, encode
from audio_avif.metrics import stoi
from audio_avif.pictures import logmel_to_image, wav_to_logmel
from audio_avif.ring import FloatArray
from audio_avif.sound_files import read_audio
from audio_avif.tools.files import SUBCOMMANDS, main
from audio_avif.tools.signals import demo_clip

Capture = pytest.CaptureFixture[str]
SECOND = demo_clip()[RATE_HZ : 2 * RATE_HZ]


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


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    soundfile.write(path, SECOND, RATE_HZ)
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.avif"
    path.write_bytes(encode(SECOND, RATE_HZ))
    return path


def test_help_is_for_strangers_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from audio_avif.tools.files import main\n"
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
    monkeypatch.setitem(sys.modules, f"audio_avif.tools.{name}", module)
    assert main([name, "a.wav", "--quality", "3"]) == 7
    assert seen == ["a.wav", "--quality", "3"]


def test_a_recording_becomes_a_picture_and_sound_again(tmp_path: Path, capsys: Capture) -> None:
    clip = demo_clip()[: 12 * RATE_HZ]
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
    assert read_audio(wav).size == SECOND.size


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".WAV"])
def test_sound_is_written_as_its_name_says(picture: Path, tmp_path: Path, suffix: str) -> None:
    assert run(picture, "--output", tmp_path / f"new/heard{suffix}") == 0
    info = soundfile.info(tmp_path / f"new/heard{suffix}")
    assert info.format == suffix[1:].upper()
    assert (info.samplerate, info.frames) == (RATE_HZ, SECOND.size)


def test_a_report_comes_with_pictures_and_sound_of_each_quality(wav: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert run(wav, "--output", out, "--quality", "90,60", "--workers", 1) == 0
    renditions = {f"speech-q{quality}.{kind}" for quality in (60, 90) for kind in ("avif", "wav")}
    assert files_in(out) == renditions | {"report.html", "report.json"}
    assert (out / "speech-q60.avif").stat().st_size < (out / "speech-q90.avif").stat().st_size
    assert read_audio(out / "speech-q60.wav").size == SECOND.size
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
        soundfile.write(folder / name, SECOND[:4000], RATE_HZ)
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
        soundfile.write(tmp_path / name, SECOND[:4000], RATE_HZ)
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


@pytest.mark.slow
def test_the_number_of_workers_changes_no_bit(tmp_path: Path) -> None:
    sound = tmp_path / "long.wav"
    soundfile.write(sound, np.resize(demo_clip(), 150 * RATE_HZ), RATE_HZ)
    for workers in (1, 2, 5):
        picture = tmp_path / f"{workers}.avif"
        assert run(sound, "--output", picture, "--workers", workers) == 0
        assert run(picture, "--output", tmp_path / f"{workers}.wav", "--workers", workers) == 0
    for kind in ("avif", "wav"):
        assert len({(tmp_path / f"{workers}.{kind}").read_bytes() for workers in (1, 2, 5)}) == 1
    assert soundfile.info(tmp_path / "1.wav").frames == 150 * RATE_HZ


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
    soundfile.write(sound, np.stack([SECOND, SECOND[::-1] / 2], axis=1)[:, :channels], RATE_HZ)
    assert run(sound, "--output", picture, *options) == 0
    assert run(picture, "--output", tmp_path / "out.wav") == 0
    heard, _ = soundfile.read(tmp_path / "out.wav", dtype="float32", always_2d=True)
    assert heard.shape == (SECOND.size, channels)
    assert stoi(SECOND, heard[:, 0]) > 0.7
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
    soundfile.write(folder / "stereo.wav", np.stack([SECOND, SECOND], axis=1), 44_100)
    assert run(folder, "--output", tmp_path / "out", "--quality", 85, "--workers", 1) == 0


def flac_that_claims(path: Path, seconds: int) -> None:
    """A short FLAC file whose header (STREAMINFO: the last 36 of 64 bits at byte 18) promises another length."""
    soundfile.write(path, SECOND, RATE_HZ)
    data = bytearray(path.read_bytes())
    fields = int.from_bytes(data[18:26], "big") >> 36 << 36
    data[18:26] = (fields | seconds * RATE_HZ).to_bytes(8, "big")
    path.write_bytes(data)


def bad_sounds(folder: Path) -> dict[str, tuple[Path, str]]:
    """Each file that cannot become a picture, and what is said of it."""
    made = {}

    def add(name: str, message: str) -> Path:
        made[name] = (folder / name, message)
        return folder / name

    add("empty.wav", "is not a sound file").write_bytes(b"")
    add("text.wav", "is not a sound file").write_text("this is a text\n" * 99)
    soundfile.write(add("no samples.wav", "holds no sound"), np.zeros(0), RATE_HZ)
    soundfile.write(add("32 channels.wav", "1 to 4 channels, not 32"), np.zeros((99, 32)), RATE_HZ)
    flac_that_claims(add("24 h.flac", "lasts 24.0 h"), 24 * 3600)
    soundfile.write(add("truncated.flac", "is damaged after"), speech_like(5.0), RATE_HZ)
    whole = (folder / "truncated.flac").read_bytes()
    (folder / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    add("missing.wav", "there is no sound file")
    Image.new("L", (80, 80)).save(add("picture.png", "audio-avif invert"))
    return made


@pytest.mark.parametrize("name", sorted(bad_sounds(Path("/")) if False else [
    "empty.wav", "text.wav", "no samples.wav", "32 channels.wav", "24 h.flac", "truncated.flac", "missing.wav",
    "picture.png",
]))
@pytest.mark.parametrize("output", ["out.avif", "out"])
def test_what_cannot_become_a_picture_is_told_and_leaves_nothing(
    tmp_path: Path, capsys: Capture, name: str, output: str
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path, message = bad_sounds(folder)[name]
    assert message in told_failure(capsys, path, "--output", tmp_path / output)
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]
