"""How soon a stream is heard again after its sound server was killed and started again."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.sound_files import WavWriter
from audio_avif.errors import DeviceError
from audio_avif_tools.bench.rows import Row
from audio_avif_tools.shared.loopback import Program
from audio_avif_tools.shared.signals import demo_clip
from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard

_TIMES = 3
_TARGET_S = 5.0
_PATIENCE_S = 30.0
_LOUD = 0.05 * 32768
_BLOCK_BYTES = 2 * RATE_HZ // 50


def bench_restart() -> list[Row]:
    """Kill the sound server under a stream from a microphone to a loudspeaker, start it again, and listen."""
    if (reason := VirtualSoundCard.missing()) is not None:
        return [Row(reason, "")]
    with VirtualSoundCard() as card, tempfile.TemporaryDirectory() as name:
        speech = Path(name) / "speech.wav"
        with WavWriter(speech) as wav:
            wav.write(np.resize(demo_clip(), 60 * RATE_HZ))
        times_s = list(_times_until_heard(card, speech))
    return [
        Row(
            f"sound server killed and started again, {_TIMES} times: s until the stream is heard again",
            " / ".join(f"{seconds:.1f}" for seconds in times_s),
            f"<= {_TARGET_S:.0f}",
            max(times_s) <= _TARGET_S,
        )
    ]


def _times_until_heard(card: VirtualSoundCard, speech: Path) -> Iterator[float]:
    receiver = Program("recv", ["--output", "speaker", "--device", "ear", "--port", "0"], environment=card.env)
    try:
        port = receiver.wait_for(r"--port (\d+)")[1]
        here = ["--host", "127.0.0.1", "--port", port]
        sender = Program("send", [*here, "--device", "mouth_mic"], environment=card.env)
        try:
            with _played(card, speech):
                _wait_until_heard(card)
            for _ in range(_TIMES):
                card.kill()
                for program in (sender, receiver):
                    program.wait_for("has stopped")
                card.start()
                up_s = time.monotonic()
                with _played(card, speech):
                    _wait_until_heard(card)
                yield time.monotonic() - up_s
        finally:
            sender.stop()
    finally:
        receiver.stop()


@contextmanager
def _played(card: VirtualSoundCard, speech: Path) -> Iterator[None]:
    """Play speech into the microphone meanwhile."""
    player = subprocess.Popen(["paplay", "--device=mouth", str(speech)], env=card.env, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        player.kill()
        player.wait()


def _wait_until_heard(card: VirtualSoundCard) -> None:
    """Record at the loudspeaker until something is heard. Raises DeviceError where nothing is."""
    command = ["parec", "--device=ear.monitor", "--format=s16le", f"--rate={RATE_HZ}", "--channels=1"]
    recorder = subprocess.Popen([*command, "--latency-msec=20"], env=card.env, stdout=subprocess.PIPE)
    try:
        assert recorder.stdout is not None
        deadline_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline_s and (block := recorder.stdout.read(_BLOCK_BYTES)):
            if np.abs(np.frombuffer(block[: len(block) // 2 * 2], "<i2").astype(np.float32)).max() > _LOUD:
                return
        raise DeviceError(f"the stream was not heard within {_PATIENCE_S:.0f} s")
    finally:
        recorder.kill()
        recorder.wait()
