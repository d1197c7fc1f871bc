"""A speaker whose device comes and goes: sound is dropped in time while it is away."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from audio_avif.edge.devices import DeviceSettings, Speaker
from audio_avif.edge.portaudio import PORTAUDIO
from audio_avif.errors import DeviceError
from audio_avif_stream.receiving.speaker import SpeakerOutput
from audio_avif_stream.runtime.device_keeper import NO_DEVICE
from support.fake_portaudio import FakeDevice, FakePortAudio

RATE_HZ = 16_000


class Keeper:
    """A keeper and its thread, whose device is what the test says."""

    figures = NO_DEVICE

    def __init__(self) -> None:
        self.keeper = self
        self.device: Speaker | None = None
        self.error: DeviceError | None = None
        self.is_quiet = False
        self.is_closed = False

    def start(self) -> None:
        if self.device is not None:
            self.device.start()

    def close(self) -> None:
        self.is_closed = True


class Stage:
    def __init__(self, rate_hz: int = RATE_HZ) -> None:
        self.portaudio = FakePortAudio([FakeDevice("a", outputs=1, rate_hz=rate_hz)])
        self.keeper = Keeper()

    def open(self, **settings: Any) -> Speaker:
        speaker = Speaker("a", settings=DeviceSettings(**settings))
        speaker.start()
        return speaker

    def play(self, seconds: float) -> np.ndarray:
        """What the newest device plays."""
        stream = self.portaudio.streams[-1]
        blocks = []
        for _ in range(round(seconds / 0.008)):
            self.portaudio.now_s += 0.008
            blocks.append(stream.run()[:, 0])
        return np.concatenate(blocks)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setitem(sys.modules, "sounddevice", stage.portaudio)  # type: ignore[arg-type]
    monkeypatch.setattr(PORTAUDIO, "_devices", [])
    return stage


def output_of(stage: Stage) -> SpeakerOutput:
    output = SpeakerOutput(stage.keeper, lambda: stage.portaudio.now_s)  # type: ignore[arg-type]
    output.begin(is_live=True)
    return output


def ones(seconds: float) -> np.ndarray:
    return np.ones(round(seconds * RATE_HZ), np.float32)


def test_sound_is_dropped_in_time_while_the_device_is_away_and_the_rest_is_in_place(stage: Stage) -> None:
    stage.keeper.device = stage.open()
    output = output_of(stage)
    output.write(ones(0.1))
    stage.keeper.device = None
    assert output.buffered_s == pytest.approx(0.1)
    stage.portaudio.now_s += 0.06
    assert output.buffered_s == pytest.approx(0.04)
    output.write(ones(0.1))
    stage.portaudio.now_s += 0.1
    assert output.buffered_s == pytest.approx(0.04) and output.underruns == 0
    stage.keeper.device = stage.open(fades_in=True)
    output.write(ones(0.2))
    heard = stage.play(0.24)
    assert not heard[: round(0.04 * RATE_HZ)].any()
    assert heard[-1] == 1.0


def test_a_device_that_is_back_fades_in(stage: Stage) -> None:
    stage.keeper.device = None
    output = output_of(stage)
    stage.keeper.device = stage.open(fades_in=True)
    output.write(ones(0.1))
    heard = stage.play(0.096)
    assert heard[0] < 0.01 and np.diff(heard).max() < 0.01 and heard[-1] == 1.0


def test_what_waits_goes_over_to_a_device_that_was_opened_with_another_latency(stage: Stage) -> None:
    stage.keeper.device = before = stage.open()
    output = output_of(stage)
    output.write(ones(0.1))
    assert stage.play(0.04).all()
    before.close()
    output.write(ones(0.04))
    stage.keeper.device = stage.open()
    assert output.buffered_s - output.reserve_s == pytest.approx(0.1)
    output.write(ones(0.02))
    heard = stage.play(0.12)
    assert heard.all() and output.underruns == 0


def test_a_device_with_another_rate_gets_silence_in_place_of_what_waited(stage: Stage) -> None:
    stage.keeper.device = stage.open()
    output = output_of(stage)
    output.write(ones(0.1))
    stage.portaudio.devices[0].rate_hz = 48_000
    stage.keeper.device = stage.open()
    assert output.buffered_s - output.reserve_s == pytest.approx(0.1, abs=0.004)
    assert not stage.play(0.096).any()


def test_the_end_of_a_stream_is_played_by_a_device_that_was_opened_meanwhile(stage: Stage) -> None:
    stage.keeper.device = before = stage.open()
    output = output_of(stage)
    output.write(ones(0.2))
    sleep = stage.portaudio.sleep
    heard: list[np.ndarray] = []

    def change_after_a_while(milliseconds: int) -> None:
        if len(heard) == 5:
            before.close()
            stage.keeper.device = stage.open()
        heard.append(np.asarray([stream.run()[:, 0].sum() for stream in stage.portaudio.streams if stream.active]))
        sleep(0)

    stage.portaudio.sleep = change_after_a_while  # type: ignore[method-assign]
    output.end()
    assert output.buffered_s <= output.reserve_s


def test_a_device_that_is_lost_for_good_is_told(stage: Stage) -> None:
    output = output_of(stage)
    stage.keeper.error = DeviceError("gone")
    with pytest.raises(DeviceError, match="gone"):
        output.write(ones(0.1))


def test_a_gap_is_not_heard_between_streams_and_in_pauses(stage: Stage) -> None:
    stage.keeper.device = stage.open()
    output = output_of(stage)
    output.write(ones(0.01))
    assert not stage.keeper.is_quiet
    output.rest()
    assert stage.keeper.is_quiet
