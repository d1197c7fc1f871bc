"""What is written to a speaker is played to its end before the device is given back, however late the device is."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from audio_avif.edge.devices import BLOCK_S, Speaker

RATE_HZ = 16_000
BLOCK = round(BLOCK_S * RATE_HZ)


class LateDevice:
    """PortAudio with one output device, which plays ``played`` and moves on only while the program sleeps.

    It takes a block of sound every 10 ms, and plays nothing in the ticks ``[begin, end)``, as where its server gets no
    time. It holds ``held_blocks``; what it holds when it is closed is not played.
    """

    PortAudioError = RuntimeError
    default = SimpleNamespace(device=(-1, 0))

    def __init__(self, held_blocks: int, late: tuple[int, int], asks_while_late: bool = True) -> None:
        self.played: list[np.ndarray] = []
        self.latency = held_blocks * BLOCK_S
        self.active = True
        self._held: list[np.ndarray] = []
        self._held_blocks = held_blocks
        self._late = late
        self._asks_while_late = asks_while_late
        self._tick = 0

    def query_devices(self) -> list[dict[str, Any]]:
        return [
            {"name": "late", "max_input_channels": 0, "max_output_channels": 1, "default_samplerate": float(RATE_HZ)}
        ]

    def OutputStream(self, *, callback: Any, **_: object) -> LateDevice:
        self._callback = callback
        return self

    def start(self) -> None:
        """Play on with each ``sleep``."""

    def close(self) -> None:
        self._held.clear()

    def sleep(self, milliseconds: int) -> None:
        for _ in range(milliseconds // 10):
            is_late = self._late[0] <= self._tick < self._late[1]
            self._tick += 1
            if not is_late and self._held:
                self.played.append(self._held.pop(0))
            if len(self._held) < self._held_blocks and (self._asks_while_late or not is_late):
                self._ask()

    def _ask(self) -> None:
        block = np.empty((BLOCK, 1), np.float32)
        now = SimpleNamespace(currentTime=0.0, outputBufferDacTime=len(self._held) * BLOCK_S)
        self._callback(block, BLOCK, now, SimpleNamespace(output_underflow=False))
        self._held.append(block[:, 0])

    @property
    def heard(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.float32), *self.played])


def play(monkeypatch: pytest.MonkeyPatch, device: LateDevice, samples: int) -> np.ndarray:
    """Write so many ones, wait for their end, and return what was heard when the device was given back."""
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    speaker = Speaker("late")
    speaker.start()
    device.sleep(200)  # silence comes first
    speaker.write(np.ones(samples, np.float32))
    speaker.close(drain=True)
    return device.heard


@pytest.mark.parametrize("late", [(0, 0), (25, 60), (65, 95), (70, 270)])
@pytest.mark.parametrize("held_blocks", [4, 50])
def test_the_end_of_the_sound_is_played_though_the_device_is_late(
    monkeypatch: pytest.MonkeyPatch, late: tuple[int, int], held_blocks: int
) -> None:
    heard = play(monkeypatch, LateDevice(held_blocks, late), 50 * BLOCK)
    assert np.count_nonzero(heard > 0.5) == 50 * BLOCK


def test_a_device_that_asks_for_nothing_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    device = LateDevice(4, (30, 10**9), asks_while_late=False)
    heard = play(monkeypatch, device, 50 * BLOCK)
    assert np.count_nonzero(heard > 0.5) < 50 * BLOCK
