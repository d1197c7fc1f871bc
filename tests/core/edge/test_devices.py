"""Microphone and speaker against a real sound server.

PortAudio reads its environment when it starts, so everything that touches a device runs in a process of its own.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from audio_avif.edge.device_choice import Device, list_devices
from audio_avif.edge.devices import DeviceSettings, Microphone, Speaker, ZeroWatch
from audio_avif.errors import DeviceError
from audio_avif_stream.runtime.realtime import realtime_priority
from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard
from support.timing import best_of_attempts, in_time

pytestmark = pytest.mark.device
_T = TypeVar("_T")


PATIENCE_S = 60.0
HELD_S = 0.4
"""What a device holds where a test is about the sound, and not how soon it is heard: a busy machine leaves no gaps."""


def in_process(env: Mapping[str, str], function: Callable[..., _T], *arguments: Any) -> _T:
    """Call the function in a new process with that environment; its errors are raised here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, *arguments).result(timeout=4 * PATIENCE_S)


def record(microphone: Microphone, data: threading.Event, samples: int) -> np.ndarray:
    """Read until so many samples are there."""
    parts, deadline_s = [np.zeros(0, np.float32)], time.monotonic() + samples / 16_000 + PATIENCE_S
    while sum(part.size for part in parts) < samples and time.monotonic() < deadline_s:
        data.wait(0.5)
        data.clear()
        parts.append(microphone.read()[0])
    return np.concatenate(parts)


def play_tone_and_record(seconds: float) -> tuple[np.ndarray, dict[str, int]]:
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(round(16_000 * seconds)) / 16_000)
    data = threading.Event()
    with (
        realtime_priority(),
        Microphone("mouth_mic", on_data=data.set, settings=DeviceSettings(HELD_S, PATIENCE_S)) as microphone,
        Speaker("mouth", settings=DeviceSettings(HELD_S)) as speaker,
    ):
        speaker.write(tone.astype(np.float32))
        speaker.close(drain=True)
        heard = record(microphone, data, round(16_000 * seconds) + 8000)
        lost = {
            "microphone": microphone.xruns + microphone.dropped_samples,
            "speaker": speaker.xruns + speaker.underruns + speaker.dropped_samples,
        }
    return heard, lost


@best_of_attempts
def test_a_tone_played_into_the_mouth_is_heard_whole_by_the_microphone(sound_card: VirtualSoundCard) -> None:
    heard, lost = in_process(sound_card.env, play_tone_and_record, 1.0)
    in_time(lost == {"microphone": 0, "speaker": 0}, lost)
    sounding = np.flatnonzero(np.abs(heard) > 0.1)
    in_time(sounding.size > 0, "the microphone heard nothing")
    start, end = int(sounding[0]), int(sounding[-1])
    # The sound server that carries the tone from one to the other leaves pieces out, untold, where it is late.
    in_time(abs(end - start - 16_000) <= 32, f"{end - start} of 16000 samples")
    inside = heard[start + 100 : end - 100].astype(np.float64)
    waves = np.exp(2j * np.pi * 1000 * np.arange(inside.size) / 16_000)
    amplitude = 2 * np.mean(inside * waves.conj())
    # A gap, a repeat or another frequency would leave something beside the one sine.
    beside = float(np.std(inside - (amplitude * waves).real))
    in_time(beside < 0.005, f"{beside:.3f} beside the sine")
    assert abs(amplitude) == pytest.approx(0.5, rel=0.02)


def hear_clicks(count: int) -> tuple[list[float], list[float]]:
    """Return for each click the seconds from ``write`` to ``read``, and the delay the two classes account for."""
    click, measured, accounted = np.zeros(160, np.float32), [], []
    click[:8] = 0.9
    data = threading.Event()
    with (
        realtime_priority(),
        Microphone("mouth_mic", on_data=data.set) as microphone,
        Speaker("mouth") as speaker,
    ):
        record(microphone, data, 3200)
        for _ in range(count):
            speaker.write(click)
            written_s = time.monotonic()
            accounted.append(speaker.buffered_s + speaker.device_latency_s)
            while time.monotonic() < written_s + PATIENCE_S / count:  # a lost click is not waited for longer
                data.wait(0.5)
                data.clear()
                samples, age_s = microphone.read()
                if samples.size and np.abs(samples).max() > 0.2:
                    measured.append(time.monotonic() - written_s)
                    accounted[-1] += age_s
                    break
            record(microphone, data, 1600)
    return measured, accounted


@best_of_attempts
def test_the_loop_through_speaker_and_microphone_is_short_and_accounted_for(sound_card: VirtualSoundCard) -> None:
    measured, accounted = in_process(sound_card.env, hear_clicks, 7)
    in_time(len(measured) == 7, f"{len(measured)} of 7 clicks were heard")
    best = int(np.argmin(measured))
    in_time(measured[best] < 0.075, measured)
    in_time(abs(accounted[best] - measured[best]) < 0.025, (accounted, measured))


def watch_silence(seconds: float) -> bool:
    watch, data = ZeroWatch(seconds), threading.Event()
    with Microphone("ear_mic", on_data=data.set) as microphone:
        return watch.push(record(microphone, data, round(16_000 * seconds)))


def test_a_microphone_that_gives_exact_zeros_is_noticed(sound_card: VirtualSoundCard) -> None:
    assert in_process(sound_card.env, watch_silence, 1.0)


def lose_the_card(daemon_pid: int) -> list[str]:
    messages, data = [], threading.Event()
    with Microphone("mouth_mic", on_data=data.set) as microphone, Speaker("ear") as speaker:
        record(microphone, data, 1600)
        os.kill(daemon_pid, signal.SIGKILL)
        for use in (lambda: record(microphone, data, 16_000), lambda: play_until_refused(speaker)):
            try:
                use()
            except DeviceError as error:
                messages.append(str(error))
        speaker.close(drain=True)
    return messages


def play_until_refused(speaker: Speaker) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        speaker.write(np.zeros(1, np.float32))


def test_a_device_that_vanishes_is_told_and_closed(sound_card: VirtualSoundCard) -> None:
    with VirtualSoundCard() as card:
        messages = in_process(card.env, lose_the_card, card.pid)
    assert messages == [
        "input device 'mouth_mic' has stopped; was it unplugged?",
        "output device 'ear' has stopped; was it unplugged?",
    ]


def test_devices_are_listed_with_their_directions(sound_card: VirtualSoundCard) -> None:
    devices: list[Device] = in_process(sound_card.env, list_devices)
    directions = {device.name: (device.input_channels > 0, device.output_channels > 0) for device in devices}
    assert directions == {
        "mouth": (False, True),
        "ear": (False, True),
        "mouth_mic": (True, False),
        "ear_mic": (True, False),
        "default": (True, True),
    }
    assert [device.name for device in devices if device.is_default_input and device.is_default_output] == ["default"]


@pytest.mark.parametrize("opener", [Microphone, Speaker])
def test_an_unknown_device_is_told(sound_card: VirtualSoundCard, opener: type[Microphone | Speaker]) -> None:
    with pytest.raises(DeviceError, match=r"there is no (in|out)put device 'nobody'; --list-devices shows them all"):
        in_process(sound_card.env, opener, "nobody")


@pytest.mark.parametrize("opener", [Microphone, Speaker])
def test_a_device_that_refuses_is_told_without_chatter(
    sound_card: VirtualSoundCard, tmp_path: Path, opener: type[Microphone | Speaker]
) -> None:
    config = tmp_path / "asound.conf"
    working = Path(sound_card.env["ALSA_CONFIG_PATH"]).read_text(encoding="ascii")
    config.write_text(working + "pcm.gone { type pulse device gone }\n", encoding="ascii")
    program = (
        "from audio_avif import errors\nfrom audio_avif.edge import devices\n"
        f"try: devices.{opener.__name__}('gone').start()\n"
        "except errors.DeviceError as error: print(error)\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program],
        env={**sound_card.env, "ALSA_CONFIG_PATH": str(config)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "put device 'gone' cannot be used (" in shown.stdout
    assert shown.stdout.count("\n") == 1
    assert shown.stderr == ""
