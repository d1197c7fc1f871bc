"""Training that is stopped, killed, doubled or resumed loses nothing but the steps since its last checkpoint."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from audio_avif.config import MelConfig
from audio_avif.errors import FileError
from support.training import command, configuration, same, weights, write_speech

pytest.importorskip("torch")
from audio_avif_onnx.train import examination, files, progress, trainer
from audio_avif_onnx.train import run as train
from audio_avif_onnx.train.data import corpus, degrade


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech(tmp_path_factory.mktemp("speech"), 1.2, 0.8, 1.0)


def signalled(calls: int, number: signal.Signals, function: Callable) -> Callable:
    """The function, sending a signal to this process before its call number ``calls``."""
    seen = 0

    def called(*arguments: object, **named: object) -> object:
        nonlocal seen
        seen += 1
        if seen == calls:
            signal.raise_signal(number)
        return function(*arguments, **named)

    return called


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_saves_and_goes_on_exactly(
    number: signal.Signals,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train.train(configuration(data, tmp_path / "whole", steps=4))
    with monkeypatch.context() as patched:
        patched.setattr(trainer.Trainer, "train_step", signalled(3, number, trainer.Trainer.train_step))
        assert train.main(command(data, tmp_path / "parts", "--steps=4")) == 130
    assert "stopped and saved at step 3; the same command with --resume continues" in capsys.readouterr().err
    assert train.main(command(data, tmp_path / "parts", "--steps=4", "--resume")) == 0
    assert same(tmp_path / "whole" / "last.pt", tmp_path / "parts" / "last.pt")


def test_signals_are_the_callers_again_afterwards(data: Path, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert train.main(command(data, tmp_path, "--steps=0")) == 0
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_signal_does_not_wait() -> None:
    with progress.stop_signals() as stopped, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
        assert stopped()
        signal.raise_signal(signal.SIGINT)


def test_an_evaluation_that_is_stopped_costs_no_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = write_speech(tmp_path / "clips", 0.6)
    examine = examination.Examination.examine
    monkeypatch.setattr(examination.Examination, "examine", signalled(1, signal.SIGINT, examine))
    monkeypatch.setattr(examination.Examination, "try_out", lambda *_: None)
    arguments = command(data, tmp_path / "out", "--task=wave", "--steps=2", f"--clips={clips}")
    assert train.main(arguments) == 130
    assert "saved at step 2" in capsys.readouterr().err
    assert weights(tmp_path / "out" / "last.pt")
    assert not (tmp_path / "out" / "best.pt").exists()


def test_encoding_that_is_stopped_goes_on_where_it_was(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train.train(configuration(data, tmp_path / "whole", steps=0))
    receive = degrade._receive_clip
    encoded: list[object] = []
    with monkeypatch.context() as patched:
        patched.setattr(degrade, "_receive_clip", signalled(2, signal.SIGTERM, receive))
        assert train.main(command(data, tmp_path / "parts", "--steps=0")) == 130
    assert "stopped; encoded clips are kept" in capsys.readouterr().err
    assert not (tmp_path / "parts" / "last.pt").exists()
    (partial,) = tmp_path.glob("parts/cache/*/variant_0.*.part")
    with partial.open("ab") as out:  # as a full disk or a kill leaves it: amid a clip
        out.write(b"rest")
    monkeypatch.setattr(degrade, "_receive_clip", lambda job: encoded.append(job) or receive(job))
    train.train(configuration(data, tmp_path / "parts", steps=0))
    assert 1 <= len(encoded) <= 2
    (whole,), (parts,) = tmp_path.glob("whole/cache/*/variant_0.u8"), tmp_path.glob("parts/cache/*/variant_0.u8")
    assert whole.read_bytes() == parts.read_bytes()
    assert not partial.exists()


@pytest.mark.parametrize("name", ["variant_0.u8", "samples.i16"])
def test_a_cut_cache_is_not_taken_for_a_whole_one(name: str, data: Path, tmp_path: Path) -> None:
    train.train(configuration(data, tmp_path, steps=0))
    (cached,) = tmp_path.glob(f"cache/*/{name}")
    whole = cached.read_bytes()
    os.truncate(cached, len(whole) // 2)
    opened = corpus.open_corpus(data, tmp_path / "cache", MelConfig(), progress.Display())
    degrade.open_variants(opened, MelConfig(), 1, display=progress.Display())
    assert cached.read_bytes() == whole


def test_a_killed_run_leaves_a_good_checkpoint(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    endless = command(data, out, "--save-every-minutes=0", "--steps=1000000")
    arguments = [sys.executable, "-m", "audio_avif_onnx.train", *endless]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        deadline_s = time.monotonic() + 120
        while not (out / "last.pt").exists() and process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.05)
        assert process.poll() is None, process.stderr and process.stderr.read()
        # The lock is the running program's alone, and goes with it.
        with pytest.raises(FileError, match="another run uses"):
            train.train(configuration(data, out, steps=1), resume=True)
        process.send_signal(signal.SIGKILL)
        assert process.stderr is not None
        told = process.stderr.read()
    assert "Warning" not in told and "Traceback" not in told
    resumed = trainer.Trainer(configuration(data, out))
    resumed.resume()
    assert resumed.state.step > 0
    train.train(configuration(data, out, steps=resumed.state.step + 1), resume=True)


def test_two_runs_in_one_folder_are_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with files.alone_in(tmp_path):
        assert train.main(command(data, tmp_path, "--steps=0")) == 1
    assert f"another run uses {tmp_path}" in capsys.readouterr().err
    assert train.main(command(data, tmp_path, "--steps=0")) == 0


def test_who_shares_a_cache_waits_for_it(tmp_path: Path) -> None:
    waited: list[None] = []

    def wait() -> None:
        waited.append(None)
        if len(waited) == 2:
            first.__exit__(None, None, None)

    first = files.alone_in(tmp_path)
    first.__enter__()
    with files.alone_in(tmp_path, wait=wait):
        assert len(waited) == 2


def test_progress_is_sparse_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = 0.0
    display = progress.Display(clock_s=lambda: now_s)
    for _ in display.each(range(100), "encoding", "clips", 200, done=100):
        now_s += 2.0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "encoding: 100 of 200 clips"
    assert lines[1] == "encoding: 115 of 200 clips  3 min left"
    assert lines[-1] == "encoding: 200 of 200 clips"
    assert len(lines) == 2 + 200 // 30


def test_progress_is_one_line_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    display = progress.Display()
    display.show("step 1", 0.25)
    display.show("step 2", 0.5)
    display.say("that stays")
    assert "step 2" in screen.getvalue()
    assert screen.getvalue().endswith("that stays\n")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (61, "61 s"), (600, "10 min"), (11_100, "3 h 05 min")])
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert progress.duration(seconds) == text


def test_a_whole_file_is_whole_or_not_there(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"before")
    with pytest.raises(KeyError), files.whole_file(target) as out:
        out.write(b"half")
        raise KeyError
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]
    with files.whole_file(target) as out:
        out.write(np.arange(3, dtype=np.uint8).tobytes())
    assert target.read_bytes() == b"\0\1\2"
