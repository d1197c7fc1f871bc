"""Speech that is played on a sound device for as long as a measurement lasts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.types import FloatArray

_AHEAD_S = 0.3  # how much speech is queued


@contextmanager
def talking(sound: FloatArray, device: str) -> Iterator[None]:
    """Play ``sound [samples]`` repeatedly on a device. Raises DeviceError."""
    from audio_avif.edge.devices import Speaker

    over = threading.Event()

    def talk(speaker: Speaker) -> None:
        at, block = 0, RATE_HZ // 10
        while not over.wait(0.02):
            while speaker.buffered_s < _AHEAD_S:
                speaker.write(np.take(sound, np.arange(at, at + block), mode="wrap"))
                at = (at + block) % sound.size

    with Speaker(device) as speaker:
        talker = threading.Thread(target=talk, args=(speaker,), daemon=True)
        talker.start()
        try:
            yield
        finally:
            over.set()
            talker.join()
