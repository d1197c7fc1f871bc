"""The processed microphone: nothing is lost or shifted, the echo goes, and a missing package is told."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from audio_avif.config import ProcessingConfig
from audio_avif.edge.processing import EchoReference, MicrophoneProcessor
from audio_avif.errors import MissingPackage
from audio_avif.types import FloatArray
from audio_avif_stream.commands.send import main, parse
from audio_avif_stream.runtime.device_keeper import NO_DEVICE
from audio_avif_stream.sending.capture import Block, nothing_missing
from audio_avif_stream.sending.processing import ProcessedSource
from support.speech import speech_like

RATE_HZ = 16_000
ALL = ProcessingConfig(echo=True, noise=True, gain=True)
VOICE = speech_like(1.5)
FAR = np.roll(VOICE, 5000)


def in_chunks(config: ProcessingConfig, near: FloatArray, far: FloatArray, sizes: list[int]) -> FloatArray:
    pytest.importorskip("livekit")
    processor = MicrophoneProcessor(config)
    parts, at = [np.zeros(0, np.float32)], 0
    while at < near.size:
        size = sizes[len(parts) % len(sizes)]
        parts.append(processor.push(near[at : at + size], far[at : at + size]))
        at += size
        came = sum(part.size for part in parts)
        assert processor.waiting_samples == min(at, near.size) - came < 160 + processor.latency_samples
    return np.concatenate([*parts, processor.flush()])


def level_db(samples: FloatArray) -> float:
    return float(10 * np.log10(np.mean(samples**2) + 1e-12))


@pytest.mark.parametrize("config", [ALL, ProcessingConfig(noise=True), ProcessingConfig(gain=True)])
def test_any_chunking_gives_the_same_sound(config: ProcessingConfig) -> None:
    whole = in_chunks(config, VOICE, FAR, [VOICE.size])
    assert whole.size == VOICE.size
    for sizes in ([1, 7, 500], [128], [160], [3000, 0, 33]):
        assert np.array_equal(in_chunks(config, VOICE, FAR, sizes), whole)


@pytest.mark.parametrize("config", [ALL, ProcessingConfig(noise=True), ProcessingConfig()])
@pytest.mark.parametrize("before", [0, 1, 80, 159, 160, 1000])
def test_as_many_samples_as_are_missing_give_what_is_wanted(config: ProcessingConfig, before: int) -> None:
    pytest.importorskip("livekit")
    processor = MicrophoneProcessor(config)
    processor.push(VOICE[:before], FAR[:before])
    missing = processor.missing_samples(100)
    sizes = [processor.push(VOICE[:size], FAR[:size]).size for size in (missing - 1, 1)]
    assert sizes[0] < 100 <= sum(sizes)


@pytest.mark.parametrize("config", [ProcessingConfig(echo=True), ProcessingConfig(noise=True), ALL])
def test_the_sound_keeps_its_place(config: ProcessingConfig) -> None:
    heard = in_chunks(config, VOICE, np.zeros_like(VOICE), [160])
    likeness = np.fft.irfft(np.conj(np.fft.rfft(VOICE, 2 * VOICE.size)) * np.fft.rfft(heard, 2 * VOICE.size))
    shift = int(np.argmax(likeness))
    assert min(shift, 2 * VOICE.size - shift) <= 2


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 161, 1000])
def test_short_sound_and_silence_come_out_whole(samples: int) -> None:
    silence = np.zeros(samples, np.float32)
    heard = in_chunks(ALL, silence, silence, [100])
    assert heard.size == samples
    assert not heard.size or level_db(heard) < -60


def test_a_processor_can_be_used_again() -> None:
    pytest.importorskip("livekit")
    processor = MicrophoneProcessor(ProcessingConfig(noise=True))
    first, second = (np.concatenate([processor.push(VOICE), processor.flush()]) for _ in range(2))
    assert np.array_equal(first, second)


def test_wrong_samples_do_no_harm() -> None:
    wild = VOICE.copy()
    wild[100:200] = np.nan
    wild[300:400] = 1e9
    assert np.abs(in_chunks(ALL, wild, wild, [160])).max() <= 1.01


def test_echo_needs_the_far_end() -> None:
    pytest.importorskip("livekit")
    with pytest.raises(ValueError, match="far end"):
        MicrophoneProcessor(ALL).push(VOICE)
    with pytest.raises(ValueError, match="far end"):
        MicrophoneProcessor(ALL).push(VOICE, FAR[1:])


class Room:
    """A microphone beside a loudspeaker; both devices tell the times of what they give and take."""

    device = NO_DEVICE

    def __init__(self, captured: FloatArray) -> None:
        self._captured = captured
        self.now_s = 0.0
        self.is_closed = False

    async def blocks(self, missing: Callable[[], int] = nothing_missing) -> AsyncIterator[Block]:
        """Yield the sound in blocks whose age changes midway, as when a device is opened with more latency."""
        for at in range(0, self._captured.size, 128):
            block, age_s = self._captured[at : at + 128], 0.03 if at < self._captured.size // 2 else 0.2
            self.now_s = (at + block.size) / RATE_HZ + age_s
            yield Block(block, age_s)

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


def through_source(room: Room, config: ProcessingConfig, reference: EchoReference | None = None) -> list[Block]:
    async def run() -> list[Block]:
        source = ProcessedSource(room, config, reference, lambda: room.now_s)
        assert source.device is NO_DEVICE
        blocks = [block async for block in source.blocks()]
        source.close()
        return blocks

    pytest.importorskip("livekit")
    blocks = asyncio.run(run())
    assert room.is_closed
    return blocks


def test_the_echo_is_removed_also_where_the_speakers_latency_jumps() -> None:
    far, jump_s = speech_like(5.0), 0.1
    before, after = far[: 3 * RATE_HZ], far[3 * RATE_HZ :]
    reference = EchoReference()
    reference.write(before, 0.0)
    reference.write(after, 3.0 + jump_s)
    heard = np.concatenate([before, np.zeros(round(jump_s * RATE_HZ), np.float32), after])
    echo = (0.5 * np.concatenate([np.zeros(300, np.float32), heard])).astype(np.float32)
    blocks = through_source(Room(echo), ProcessingConfig(echo=True), reference)
    rest = np.concatenate([block.samples for block in blocks])
    assert rest.size == echo.size
    for start_s in (2.0, 3.0, 4.0):  # AEC3 alone lets an echo pass for seconds after a jump
        second = slice(round(start_s * RATE_HZ), round((start_s + 1) * RATE_HZ))
        assert level_db(rest[second]) < level_db(echo[second]) - 20


def test_the_age_of_a_block_counts_what_still_waits() -> None:
    blocks = through_source(Room(VOICE[: 128 * 50]), ProcessingConfig(noise=True))
    # Blocks of 128 samples complete frames of 160, of which the first gives 64: 96 are in the filter.
    assert [block.samples.size for block in blocks[:3]] == [64, 160, 160]
    assert blocks[0].age_s == pytest.approx(0.03 + (256 - 64) / RATE_HZ)
    assert blocks[1].age_s == pytest.approx(0.03 + (384 - 224) / RATE_HZ)
    assert sum(block.samples.size for block in blocks) == 128 * 50
    assert blocks[-1].age_s == 0.2


def test_a_source_for_echo_needs_a_reference() -> None:
    with pytest.raises(ValueError, match="reference"):
        ProcessedSource(Room(VOICE), ALL)


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livekit.rtc", None)
    with pytest.raises(
        MissingPackage, match=r"microphone processing needs livekit; .*pip install 'audio-avif\[talk\]'"
    ):
        ProcessedSource(Room(VOICE), ProcessingConfig(noise=True))


def test_the_option_of_the_sender(capsys: pytest.CaptureFixture[str]) -> None:
    assert not parse(["--host", "there"]).process
    assert not parse(["--host", "there", "--process", "none"]).process
    assert parse(["--host", "there", "--process", "gain,noise"]).process == ProcessingConfig(noise=True, gain=True)
    for wrong, sentence in {
        "echo": "needs the far end's sound",
        "noise,hum": "neither none nor a list of echo, noise and gain",
        "": "neither none nor a list",
        "none,noise": "neither none nor a list",
    }.items():
        with pytest.raises(SystemExit) as ended:
            main(["--host", "there", "--process", wrong])
        assert ended.value.code == 2
        assert sentence in capsys.readouterr().err
