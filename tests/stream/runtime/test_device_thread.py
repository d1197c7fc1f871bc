"""The thread of a device hands on what goes wrong, and ends."""

from __future__ import annotations

import threading

import pytest

from audio_avif.errors import DeviceError
from audio_avif_stream.runtime import device_thread
from audio_avif_stream.runtime.device_thread import DeviceThread


class Keeper:
    """A keeper that fails where a test wants it to."""

    kind = "input"
    tick_s = 0.001

    def __init__(self, fails_at: str = "") -> None:
        self.error: Exception | None = None
        self.done: list[str] = []
        self.has_ticked = threading.Event()
        self.answers = threading.Event()
        self.answers.set()
        self._fails_at = fails_at

    def _do(self, what: str) -> None:
        self.answers.wait()
        self.done.append(what)
        if what == self._fails_at:
            raise DeviceError("busy") if what != "tick" else RuntimeError("a fault")

    def open(self, now_s: float) -> None:
        self._do("open")

    def start(self, now_s: float) -> None:
        self._do("start")

    def tick(self, now_s: float) -> None:
        self.has_ticked.set()
        self._do("tick")

    def fail(self, error: Exception) -> None:
        self.error = error

    def close(self) -> None:
        self._do("close")


def test_a_device_is_looked_after_from_its_start_to_its_end() -> None:
    keeper = Keeper()
    thread = DeviceThread(keeper)  # type: ignore[arg-type]
    assert keeper.done == ["open"]
    thread.start()
    assert keeper.has_ticked.wait(60)
    thread.close()
    assert keeper.done[:2] == ["open", "start"] and keeper.done[-1] == "close"


@pytest.mark.parametrize("step", ["open", "start"])
def test_a_device_that_cannot_be_opened_or_started_is_told_to_who_asked(step: str) -> None:
    with pytest.raises(DeviceError, match="busy"):
        DeviceThread(Keeper(step)).start()  # type: ignore[arg-type]


def test_a_fault_of_this_program_is_an_error_of_the_device() -> None:
    keeper = Keeper("tick")
    thread = DeviceThread(keeper)  # type: ignore[arg-type]
    thread.start()
    assert keeper.has_ticked.wait(60)
    thread.close()
    assert str(keeper.error) == "the input device failed: a fault"


def test_a_sound_system_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    abandoned = []
    monkeypatch.setattr(device_thread, "_ANSWER_S", 0.05)
    monkeypatch.setattr(device_thread.PORTAUDIO, "abandon", lambda: abandoned.append(True))
    keeper = Keeper()
    keeper.answers.clear()
    with pytest.raises(DeviceError, match="the sound system does not answer; restart it, or use a file: --input FILE"):
        DeviceThread(keeper)  # type: ignore[arg-type]
    keeper.answers.set()
    assert abandoned
