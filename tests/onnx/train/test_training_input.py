"""What the training program is given and cannot use: one sentence that names it and says what to do."""

from __future__ import annotations

import logging
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audio_avif.config import MelConfig
from audio_avif.errors import FileError, ModelError
from support.speech import speech_like
from support.training import command, configuration, weights, write_speech

torch = pytest.importorskip("torch")
from audio_avif_onnx.train import journal, progress, trainer
from audio_avif_onnx.train import run as train
from audio_avif_onnx.train.data import corpus

MEL = MelConfig()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech(tmp_path_factory.mktemp("speech"), 0.7)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step of the magnitude task."""
    out = tmp_path_factory.mktemp("trained")
    train.train(configuration(data, out, steps=1))
    return out


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file can grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The last line said; there was no traceback and no warning."""
    said = capsys.readouterr().err
    assert "Traceback" not in said and "Warning" not in said
    return said.splitlines()[-1]


def test_bad_files_are_skipped_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_speech(tmp_path / "data", 0.7, 0.2)
    soundfile.write(folder / "deeper.flac", speech_like(0.6, 44_100), 44_100)
    (folder / "broken.wav").write_bytes(b"RIFF and nothing more")
    (folder / "empty.flac").touch()
    (folder / "renamed.ogg").write_text("no sound at all\n" * 50)
    soundfile.write(folder / "no_samples.wav", np.zeros(0), 16_000)
    soundfile.write(folder / "not_a_number.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    (folder / "folder.wav").mkdir()
    (folder / "notes.txt").write_text("not even asked")
    with caplog.at_level(logging.WARNING):
        opened = corpus.open_corpus(folder, tmp_path / "cache", MEL, progress.Display())
    assert [clip.name for clip in opened.clips] == ["0.wav", "deeper.flac"]
    bad = ("1.wav", "broken.wav", "empty.flac", "renamed.ogg", "no_samples.wav", "not_a_number.wav")
    assert all(name in caplog.text for name in bad)
    assert "6 of 8 files skipped" in caplog.text
    record = (opened.folder / corpus.SKIPPED).read_text()
    assert len(record.splitlines()) == 6 and all(name in record for name in bad)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text here")
def test_a_name_that_is_no_text_is_skipped_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_speech(tmp_path / "data", 0.7)
    (folder / os.fsdecode(b"\xe9.wav")).touch()
    opened = corpus.open_corpus(folder, tmp_path / "cache", MEL, progress.Display())
    assert len(opened.clips) == 1
    assert r"\udce9.wav cannot be decoded" in (opened.folder / corpus.SKIPPED).read_text()
    assert r"\udce9.wav cannot be decoded" in caplog.text


def test_many_bad_files_do_not_fill_the_screen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_speech(tmp_path / "data", 0.7)
    for number in range(30):
        (folder / f"bad{number}.wav").touch()
    corpus.open_corpus(folder, tmp_path / "cache", MEL, progress.Display())
    assert "30 of 31 files skipped" in caplog.text
    assert len(caplog.records) == 11


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: None, "is not a folder; give a folder of audio files"),
        (lambda folder: folder.mkdir(), "has no audio files; give a folder of"),
        (lambda folder: folder.write_text("a file"), "is not a folder"),
        (lambda folder: (folder.mkdir(), (folder / "a.wav").touch()), "none of the 1 audio files in"),
    ],
)
def test_a_folder_without_usable_audio(
    make: Callable[[Path], object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "data")
    assert train.main(command(tmp_path / "data", tmp_path / "out")) == 1
    assert said in one_sentence(capsys)
    assert not (tmp_path / "out" / "last.pt").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--minutes=-1", "--minutes must be above 0"),
        ("--minutes=nan", "--minutes must be above 0"),
        ("--steps=-1", "--steps must be 0 or more"),
        ("--batch-size=0", "--batch-size must be 1 or more"),
        ("--frames=2", "--frames must be 16 or more"),
        ("--variants=-1", "--variants must be 0 or more"),
        ("--workers=0", "--workers must be 1 or more"),
        ("--learning-rate=0", "--learning-rate must be above 0"),
        ("--learning-rate=inf", "--learning-rate must be above 0"),
        ("--seed=-1", "--seed must be 0 or more"),
        ("--clip-every=0", "--clip-every must be 1 or more"),
        ("--evaluate-every-minutes=nan", "--evaluate-every-minutes must be 0 or more"),
        ("--warmup-steps=0", "--warmup-steps must be 1 or more"),
        ("--task=refine", "--frames must be 32 or more for --task refine"),
        ("--cooldown-steps=5", "--cooldown-steps needs --steps"),
        ("--device=tpu", "invalid choice"),
        ("--task=painting", "invalid choice"),
        ("--batch-size=many", "invalid int value"),
    ],
)
def test_options_that_cannot_be_meant(
    option: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        train.main([f"--data={tmp_path}", f"--out={tmp_path / 'out'}", "--frames=16", option])
    assert ended.value.code == 2
    assert said in one_sentence(capsys)
    assert not (tmp_path / "out").exists()


def test_resume_and_init_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        train.main(command(tmp_path, tmp_path / "out", "--resume", "--init=other.pt"))
    assert ended.value.code == 2
    assert "leave --init out" in one_sentence(capsys)


def test_cuda_without_cuda(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert train.main(command(data, tmp_path, "--device=cuda")) == 1
    assert "--device cuda needs an NVIDIA device and a CUDA build of torch; use --device cpu" in one_sentence(capsys)
    assert trainer.Trainer(configuration(data, tmp_path, device="auto")).device.type == "cpu"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _lose(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    del content["optimizer"]
    torch.save(content, path)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b""), _cut, _flip, _lose])
def test_resuming_from_no_good_checkpoint(
    damage: Callable[[Path], object], trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "last.pt"
    checkpoint.write_bytes((trained / "last.pt").read_bytes())
    (tmp_path / "best.pt").touch()
    damage(checkpoint)
    assert train.main(command(data, tmp_path, "--resume")) == 1
    sentence = one_sentence(capsys)
    assert str(checkpoint) in sentence
    assert "leave --resume out to start again, or copy best.pt over last.pt" in sentence
    assert not (tmp_path / "cache").exists()  # told before hours of encoding


@pytest.mark.parametrize("options", [["--task=wave"], ["--model=embedded-low"]])
def test_resuming_another_architecture(
    options: list[str], trained: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train.main(command(data, trained, "--resume", *options)) == 1
    sentence = one_sentence(capsys)
    assert str(trained / "last.pt") in sentence and "another architecture" in sentence
    assert "give its --model and --task" in sentence


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "there is no checkpoint"), (b"PK and nothing more", "is not a checkpoint of this program, or is damaged")],
)
def test_starting_from_no_checkpoint(
    content: bytes | None, said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "other.pt").write_bytes(content)
    assert train.main(command(data, tmp_path / "out", f"--init={tmp_path / 'other.pt'}")) == 1
    sentence = one_sentence(capsys)
    assert "other.pt" in sentence and said in sentence and "give --init the .pt checkpoint of a run" in sentence


def test_starting_from_another_architecture(
    trained: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = command(data, tmp_path, f"--init={trained / 'last.pt'}", "--model=embedded-low")
    assert train.main(arguments) == 1
    assert "holds another architecture than --model embedded-low" in one_sentence(capsys)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_what_is_not_finite_stops_the_run_and_keeps_the_last_good_weights(
    broken: str,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = train.train(configuration(data, tmp_path, steps=1)) or weights(tmp_path / "last.pt")
    step = trainer.Trainer.train_step

    def spoiled(self: object) -> dict[str, float]:
        if self.state.step == 2 and broken == "loss":
            with torch.no_grad():
                next(self.task.parameters()).fill_(float("nan"))
        if self.state.step == 2 and broken == "gradient":
            next(self.task.parameters()).register_hook(lambda gradient: gradient * float("inf"))
        return step(self)

    monkeypatch.setattr(trainer.Trainer, "train_step", spoiled)
    assert train.main(command(data, tmp_path, "--resume", "--steps=4")) == 1
    sentence = one_sentence(capsys)
    assert f"the {broken} is no longer finite at step 2; {tmp_path / 'last.pt'} holds the last good weights" in sentence
    assert all(torch.equal(value, good[name]) for name, value in weights(tmp_path / "last.pt").items())


def test_a_full_disk_keeps_the_checkpoint_before(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.train(configuration(data, tmp_path, steps=1))
    good = (tmp_path / "last.pt").read_bytes()
    with full_disk(1_000_000):
        assert train.main(command(data, tmp_path, "--resume", "--steps=2")) == 1
    assert "last.pt cannot be written: File too large; the earlier checkpoint is unchanged" in one_sentence(capsys)
    assert (tmp_path / "last.pt").read_bytes() == good
    assert not list(tmp_path.glob("*.part"))
    assert train.main(command(data, tmp_path, "--resume", "--steps=2")) == 0


@pytest.mark.parametrize("size", [10_000, 24_000])
def test_a_full_disk_leaves_no_half_cache(size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first size is too small for the samples; the other, with these set aside, for the pixels."""
    data = write_speech(tmp_path / "data", 3.0, 3.0)
    if size > 10_000:
        corpus.open_corpus(data, tmp_path / "out" / "cache", MEL, progress.Display())
    with full_disk(size):
        assert train.main(command(data, tmp_path / "out", "--steps=0")) == 1
    assert "the cache" in (sentence := one_sentence(capsys)) and "run the same command again" in sentence
    assert not list(tmp_path.glob("out/cache/*/variant_0.u8"))
    train.train(configuration(data, tmp_path / "out", steps=0))
    train.train(configuration(data, tmp_path / "fresh", steps=0))
    (first,), (second,) = (list(tmp_path.glob(f"{out}/cache/*/variant_0.u8")) for out in ("out", "fresh"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_under_the_log(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = journal.Journal.__init__

    def onto_a_full_disk(self: object, folder: Path, step: int) -> None:
        opened(self, folder, step)
        (folder / journal.LOG).unlink(missing_ok=True)
        (folder / journal.LOG).symlink_to("/dev/full")

    train.train(configuration(data, tmp_path, steps=1))
    monkeypatch.setattr(journal.Journal, "__init__", onto_a_full_disk)
    with pytest.raises(FileError, match=r"No space left on device; only the steps since"):
        train.train(configuration(data, tmp_path, steps=2, log_every_steps=1), resume=True)


def test_an_out_that_is_no_folder(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("a file")
    assert train.main(command(data, tmp_path / "out")) == 1
    assert str(tmp_path / "out") in one_sentence(capsys)


def test_a_model_that_does_not_know_the_task(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="generator"):
        trainer.Trainer(configuration(data, tmp_path, model="generator", task="wave"))


def test_a_device_without_room(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_room(_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer.Trainer, "train_step", no_room)
    assert train.main(command(data, tmp_path)) == 1
    assert "too little memory for batches of 1 x 16 frames; lower --batch-size or --frames" in one_sentence(capsys)
