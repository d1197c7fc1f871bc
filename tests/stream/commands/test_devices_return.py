"""Streams outlive their sound server: it is killed and started again, and the sound comes back by itself."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio_avif.edge.devices import Microphone, Speaker
from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard
from support.stream_helpers import (
    PATIENCE_S,
    RATE_HZ,
    RECEIVER,
    SENDER,
    json_lines,
    receiving,
    running,
    speech,
    wait_until,
    write_wav,
)
from support.timing import best_of_attempts, in_time

pytestmark = [pytest.mark.device, pytest.mark.slow]

HERE = ("--host", "127.0.0.1")
BACK_S = 5.0
LOUD = 0.05


def hear_at(device: str) -> float:
    """Record until something is heard; return when that was, by the monotonic clock."""
    data = threading.Event()
    with Microphone(device, on_data=data.set) as microphone:
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            data.wait(0.5)
            data.clear()
            samples, age_s = microphone.read()
            if samples.size and np.abs(samples).max() > LOUD:
                return time.monotonic() - age_s
    raise AssertionError(f"nothing was heard at {device}")


def talk_into(device: str, seconds: float) -> float:
    """Play speech; return when that began, by the monotonic clock."""
    with Speaker(device) as speaker:
        began_s = time.monotonic()
        speaker.write(speech(min(seconds, 1.5)))
        while time.monotonic() < began_s + seconds:
            if speaker.buffered_s < 0.5:
                speaker.write(speech(1.0))
            time.sleep(0.05)
    return began_s


@pytest.fixture
def card() -> Iterator[VirtualSoundCard]:
    """A sound server of this test alone, which may be killed."""
    if reason := VirtualSoundCard.missing():
        pytest.skip(reason)
    with VirtualSoundCard() as card:
        yield card


@contextmanager
def other_process(card: VirtualSoundCard) -> Iterator[Callable[..., Future[Any]]]:
    """Yield what calls a function in a process that has loaded all it needs, and whose PortAudio sees the card."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in card.env.items():
            patch.setenv(name, value)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(abs, 0).result()
            yield pool.submit


@best_of_attempts
def test_a_receiver_is_heard_again_after_its_sound_server_was_restarted(card: VirtualSoundCard, tmp_path: Path) -> None:
    said = write_wav(tmp_path / "said.wav", np.tile(speech(5.0), 24))
    with (
        receiving("--output", "speaker", "--device", "ear", env=card.env) as (receiver, port),
        running(SENDER, *HERE, "--port", port, "--input", said) as sender,
    ):
        with other_process(card) as call:
            call(hear_at, "ear_mic").result()
        card.kill()
        receiver.wait_for("output device 'ear' has stopped; nothing is heard until it is back")
        with other_process(card) as call:
            call(speech, 1.0).result()
            card.start()
            up_s = time.monotonic()
            receiver.wait_for("output device 'ear' is used after")
            heard_s = call(hear_at, "ear_mic").result()
        assert sender.popen.poll() is None and receiver.popen.poll() is None
        print(f"heard {heard_s - up_s:.2f} s after the sound server was back")
        in_time(heard_s - up_s < BACK_S, heard_s - up_s)
    assert receiver.err.count("has stopped") == 1, receiver.err


@best_of_attempts
def test_a_sender_is_heard_again_after_its_sound_server_was_restarted(card: VirtualSoundCard, tmp_path: Path) -> None:
    heard = tmp_path / "heard.raw"
    with (
        heard.open("wb") as out,
        receiving("--output", "-", "--stats-json", tmp_path / "figures.json", stdout=out) as (receiver, port),
        running(SENDER, *HERE, "--port", port, "--device", "mouth_mic", env=card.env) as sender,
    ):
        with other_process(card) as call:
            call(talk_into, "mouth", 3.0).result()
        card.kill()
        sender.wait_for("input device 'mouth_mic' has stopped; silence is sent until it is back")
        lost_bytes = heard.stat().st_size
        # Silence is sent meanwhile: what is played goes on.
        wait_until(lambda: heard.stat().st_size > lost_bytes + RATE_HZ, "half a second of silence")
        card.start()
        up_s = time.monotonic()
        sender.wait_for("input device 'mouth_mic' is used after")
        print(f"recorded {time.monotonic() - up_s:.2f} s after the sound server was back")
        in_time(time.monotonic() - up_s < BACK_S, time.monotonic() - up_s)
        back_samples = heard.stat().st_size // 2
        with other_process(card) as call:
            call(talk_into, "mouth", 3.0).result()

        def is_heard_again() -> bool:
            samples = np.fromfile(heard, "<i2")[back_samples:]
            return bool(samples.size and np.abs(samples).max() > LOUD * 32_768)

        wait_until(is_heard_again, "speech after the restart")
        assert sender.popen.poll() is None and receiver.popen.poll() is None
    figures = json_lines(tmp_path / "figures.json")
    # The delay stays what it was: the silence stood for the time that passed.
    delays_ms = [line["delay_ms"] for line in figures if line["delay_ms"] is not None]
    in_time(delays_ms[-1] < 1000, delays_ms)


@pytest.mark.parametrize("program", [SENDER, RECEIVER])
def test_a_script_may_let_a_lost_device_end_the_program(card: VirtualSoundCard, tmp_path: Path, program: str) -> None:
    said = write_wav(tmp_path / "said.wav", np.tile(speech(5.0), 24))
    exits = ("--device-lost", "exit")
    if program == SENDER:
        with (
            receiving("--output", tmp_path / "heard.wav") as (_, port),
            running(SENDER, *HERE, "--port", port, "--device", "mouth_mic", *exits, "--stats", env=card.env) as sender,
        ):
            sender.wait_for("codec")
            card.kill()
            ended = sender.ended()
        assert "input device 'mouth_mic' has stopped; was it unplugged?" in ended.err
    else:
        with (
            receiving(
                "--device",
                "ear",
                *exits,
                env=card.env,
            ) as (receiver, port),
            running(SENDER, *HERE, "--port", port, "--input", said, "--stats", "--reconnect-s", 0) as sender,
        ):
            wait_until(lambda: "codec" in sender.err or receiver.popen.poll() is not None, "a stream")
            assert "codec" in sender.err, receiver.ended().err
            card.kill()
            ended = receiver.ended()
        assert "output device 'ear' has stopped; was it unplugged?" in ended.err
    assert ended.code == 1, ended.err


def test_a_sender_waits_for_a_sound_server_that_starts_later(card: VirtualSoundCard, tmp_path: Path) -> None:
    card.kill()
    heard = tmp_path / "heard.raw"
    with (
        heard.open("wb") as out,
        receiving("--output", "-", stdout=out) as (_, port),
        running(SENDER, *HERE, "--port", port, "--device", "mouth_mic", "--wait-device", env=card.env) as sender,
    ):
        sender.wait_for("there is no usable input device 'mouth_mic' yet; silence is sent until it is there")
        wait_until(lambda: heard.stat().st_size > RATE_HZ, "half a second of silence")
        card.start()
        sender.wait_for("input device 'mouth_mic' is used after")
        sender.signal(signal.SIGINT)
        assert sender.ended().code == 0


def test_a_sound_server_that_answers_nothing_holds_up_nobody(card: VirtualSoundCard, tmp_path: Path) -> None:
    heard = tmp_path / "heard.raw"
    with (
        heard.open("wb") as out,
        receiving("--output", "-", stdout=out) as (_, port),
        running(SENDER, *HERE, "--port", port, "--device", "mouth_mic", "--stats", env=card.env) as sender,
    ):
        sender.wait_for("codec")
        os.kill(card.pid, signal.SIGSTOP)
        try:
            sender.wait_for("input device 'mouth_mic' takes or gives no sound any more; silence is sent")
            before_bytes = heard.stat().st_size
            wait_until(lambda: heard.stat().st_size > before_bytes + RATE_HZ, "half a second of silence")
            sender.signal(signal.SIGINT)
            assert sender.ended().code == 0
        finally:
            os.kill(card.pid, signal.SIGCONT)


def test_a_stream_follows_the_default_device_of_the_sound_server(card: VirtualSoundCard, tmp_path: Path) -> None:
    env = {name: value for name, value in card.env.items() if name not in ("PULSE_SINK", "PULSE_SOURCE")}
    said = write_wav(tmp_path / "said.wav", np.tile(speech(5.0), 24))

    def set_default(sink: str) -> None:
        subprocess.run(["pactl", "set-default-sink", sink], env=env, check=True, timeout=PATIENCE_S)

    set_default("mouth")
    with (
        receiving("--output", "speaker", env=env) as (receiver, port),
        running(SENDER, *HERE, "--port", port, "--input", said),
        other_process(card) as call,
    ):
        call(hear_at, "mouth_mic").result()
        set_default("ear")
        call(hear_at, "ear_mic").result()
        assert receiver.popen.poll() is None
