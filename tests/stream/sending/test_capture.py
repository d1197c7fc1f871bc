"""Where a sender's sound comes from, without a network or a device."""

from __future__ import annotations

import asyncio
import io
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from audio_avif.edge.device_choice import DeviceChoice
from audio_avif.edge.devices import Microphone
from audio_avif.edge.sound_files import to_s16le
from audio_avif.errors import FileError
from audio_avif_stream.sending import capture
from audio_avif_stream.sending.capture import FileSource, MicrophoneSource
from support.speech import FloatArray, speech_like

RATE_HZ = 16_000
VOICE = speech_like(2.0)


def all_of(path: str) -> FloatArray:
    async def read() -> FloatArray:
        source = FileSource(path, is_paced=False)
        return np.concatenate([np.zeros(0, np.float32), *[block.samples async for block in source.blocks()]])

    return asyncio.run(read())


def test_a_file_is_read_to_its_end(tmp_path: Path) -> None:
    parts = []
    for rate_hz in (16_000, 48_000):
        part = io.BytesIO()
        soundfile.write(part, speech_like(1.0, rate_hz), rate_hz, format="OGG", subtype="VORBIS")
        parts.append(part.getvalue())
    (tmp_path / "chained.ogg").write_bytes(b"".join(parts))
    assert all_of(str(tmp_path / "chained.ogg")).size == 2 * RATE_HZ
    soundfile.write(tmp_path / "in.wav", VOICE, RATE_HZ)
    wav = bytearray((tmp_path / "in.wav").read_bytes())
    wav[4:8] = wav[40:44] = bytes(4)
    (tmp_path / "in.wav").write_bytes(wav)
    assert all_of(str(tmp_path / "in.wav")).size == VOICE.size


def test_a_file_without_sound_is_told_and_a_pipe_without_sound_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros(0), RATE_HZ)
    with pytest.raises(FileError, match="is empty"):
        all_of(str(tmp_path / "in.wav"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert all_of("-").size == 0
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(to_s16le(VOICE))))
    assert all_of("-").size == VOICE.size


class FakeInput:
    """An input device of sounddevice, which gives what a test gives it."""

    latency = 0.01
    time = 0.0

    def __init__(self, callback: Any, **settings: Any) -> None:
        self.give = callback

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.mark.parametrize("channels", [2, 6])
def test_a_microphone_whose_channels_cancel_is_heard(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    device = {"name": "mic", "max_input_channels": channels, "max_output_channels": 0, "default_samplerate": 48_000.0}
    sounddevice = SimpleNamespace(
        default=SimpleNamespace(device=(0, -1)),
        query_devices=lambda: [device],
        InputStream=FakeInput,
        PortAudioError=OSError,
    )
    monkeypatch.setitem(sys.modules, "sounddevice", sounddevice)  # type: ignore[arg-type]
    voice = speech_like(1.0, 48_000)
    captured = np.zeros((voice.size, channels), np.float32)
    captured[:, 0], captured[:, 1] = voice, -voice
    heard = []
    status = SimpleNamespace(input_overflow=False)
    with Microphone() as microphone:
        for block in np.array_split(captured, 125):
            microphone._stream.give(block, len(block), SimpleNamespace(inputBufferAdcTime=0.0), status)
            waiting_samples = microphone.waiting_samples
            heard.append(microphone.read()[0])
            assert waiting_samples <= heard[-1].size <= waiting_samples + 2 or len(heard) < 3
    assert np.concatenate(heard).std() == pytest.approx(voice.std(), rel=0.03)


class CountingMicrophone:
    """A microphone of a test, which holds as many samples as it was given."""

    has_stopped = False
    waiting_samples = 0

    def read(self) -> tuple[FloatArray, float]:
        samples, self.waiting_samples = np.ones(self.waiting_samples, np.float32), 0
        return samples, 0.0


@pytest.mark.parametrize(("missing", "size"), [(0, 80), (100, 160), (240, 240), (5000, 320)])
def test_a_microphone_is_read_once_what_is_missing_is_here(
    missing: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of 80 samples wake nobody until they add up to what the caller needs, 20 ms at most."""
    microphone = CountingMicrophone()
    keeper = SimpleNamespace(device=microphone, error=None, is_quiet=False)
    monkeypatch.setattr(capture, "DeviceKeeper", lambda *_: keeper)
    monkeypatch.setattr(capture, "DeviceThread", lambda _: SimpleNamespace(start=lambda: None))

    async def sizes() -> list[int]:
        source, read = MicrophoneSource(DeviceChoice()), []
        blocks = source.blocks(lambda: missing)
        microphone.waiting_samples = 320
        await anext(blocks)  # the device joins
        for _ in range(3):
            block = asyncio.ensure_future(anext(blocks))
            while not block.done():
                microphone.waiting_samples += 80
                source._on_data()
                for _ in range(20):  # turns of the event loop, more than it takes to be woken
                    await asyncio.sleep(0)
            read.append(block.result().samples.size)
        return read

    assert asyncio.run(sizes()) == [size] * 3
