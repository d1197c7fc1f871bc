"""Commands fail in one sentence, with the exit code that says how."""

from __future__ import annotations

import argparse
import logging
import signal
import subprocess
import sys

import pytest

from audio_avif.edge import console
from audio_avif.errors import DeviceError


def fail(error: BaseException) -> None:
    raise error


def test_success_is_zero_and_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run("prog", lambda: None) == 0
    assert capsys.readouterr() == ("", "")


def test_a_failure_is_one_sentence_and_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run("prog", lambda: fail(DeviceError("there is no microphone; plug one in"))) == 1
    assert capsys.readouterr() == ("", "prog: there is no microphone; plug one in\n")


def test_ctrl_c_ends_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run("prog", lambda: fail(KeyboardInterrupt())) == 130
    assert capsys.readouterr() == ("", "")


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        console.run("prog", lambda: fail(ZeroDivisionError()))


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("8765", 8765), ("65535", 65535)])
def test_ports(text: str, value: int) -> None:
    assert console.port(text) == value


@pytest.mark.parametrize("text", ["-1", "65536", "http", "", "80.0"])
def test_no_ports(text: str) -> None:
    with pytest.raises(ValueError):
        console.port(text)


@pytest.mark.parametrize(("text", "value"), [("0", 0.0), ("40.5", 40.5), ("10000", 10_000.0)])
def test_milliseconds(text: str, value: float) -> None:
    assert console.milliseconds(text) == value


@pytest.mark.parametrize("text", ["-0.1", "10001", "nan", "inf", "soon"])
def test_no_milliseconds(text: str) -> None:
    with pytest.raises(ValueError):
        console.milliseconds(text)


def test_integers_in_a_range_and_how_argparse_refuses_others(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser("prog")
    parser.add_argument("--tile-frames", type=console.integer_in(2, 64))
    assert parser.parse_args(["--tile-frames", "64"]).tile_frames == 64
    with pytest.raises(SystemExit) as exit_info:
        parser.parse_args(["--tile-frames", "65"])
    assert exit_info.value.code == 2
    assert "number (2 to 64)" in capsys.readouterr().err


def test_warnings_name_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging.getLogger("websockets"), "level", logging.NOTSET)
    console.log_to_stderr("prog")
    logging.getLogger("audio_avif.x").warning("tiles are %s", "late")
    logging.getLogger("audio_avif.x").info("not this")
    logging.getLogger("websockets.server").error("nor this")
    assert capsys.readouterr().err == "prog: tiles are late\n"


def test_the_first_interruption_is_heard_and_later_ones_are_ignored() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        with console.interrupted_once():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert [signal.getsignal(number) for number in numbers] == [signal.default_int_handler] * 2
        for first in numbers:
            with pytest.raises(KeyboardInterrupt), console.interrupted_once():
                signal.raise_signal(first)
            for number in numbers:
                signal.raise_signal(number)  # else pytest would end here
                signal.signal(number, signal.default_int_handler)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with console.interrupted_once():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def test_a_programs_own_lines_are_told_while_c_libraries_are_silenced() -> None:
    program = (
        "import os\nfrom audio_avif.edge import console\nfrom audio_avif.quiet import quiet_c_libraries\n"
        "console.log_to_stderr('prog')\n"
        "with quiet_c_libraries():\n    os.write(2, b'chatter')\n    console.tell('told')\n"
        "    import logging; logging.warning('warned')\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stderr == "told\nprog: warned\n"
