"""The two stream commands with microphone and speaker, through a sound server without hardware."""

from __future__ import annotations

import multiprocessing
import re
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from audio_avif.edge.devices import DeviceSettings, Microphone, Speaker
from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard
from support.stream_helpers import (
    PATIENCE_S,
    RATE_HZ,
    RECEIVER,
    SENDER,
    FloatArray,
    json_lines,
    read_wav,
    receiving,
    resemblance,
    run,
    running,
    speech,
    wait_until,
    write_wav,
)
from support.timing import best_of_attempts, in_time

pytestmark = pytest.mark.device

HERE = ("--host", "127.0.0.1")


@dataclass
class Recording:
    """What a microphone gave, and when the first sample of it was sound, in seconds of the monotonic clock."""

    samples: FloatArray
    began_s: float


def talk_and_listen(said: FloatArray, seconds: float) -> tuple[Recording, Recording]:
    """Play into the mouth; record there and at the ear."""
    data = threading.Event()
    ring_s = said.size / RATE_HZ + 1
    with (
        Microphone("mouth_mic", on_data=data.set) as near,
        Microphone("ear_mic", on_data=data.set) as far,
        Speaker("mouth", settings=DeviceSettings(ring_s=ring_s)) as mouth,
    ):
        mouth.write(said)
        recordings = [Recording(np.zeros(0, np.float32), 0.0) for _ in range(2)]
        while min(recording.samples.size for recording in recordings) < seconds * RATE_HZ:
            assert data.wait(PATIENCE_S)
            data.clear()
            for microphone, recording in zip((near, far), recordings, strict=True):
                block, age_s = microphone.read()
                recording.samples = np.concatenate([recording.samples, block])
                recording.began_s = time.monotonic() - age_s - recording.samples.size / RATE_HZ
    return recordings[0], recordings[1]


@contextmanager
def in_another_process(
    env: Mapping[str, str], said: FloatArray, seconds: float
) -> Iterator[Future[tuple[Recording, Recording]]]:
    """Talk and listen in a process that PortAudio leads to the virtual card."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool.submit(talk_and_listen, said, seconds)


def best_lag_s(said: FloatArray, heard: FloatArray) -> float:
    """By how much the second follows the first, from their loudness in steps of 10 ms."""
    loudness = [
        np.sqrt(np.square(signal[: signal.size // 160 * 160].reshape(-1, 160)).mean(axis=1)) for signal in (said, heard)
    ]
    centred = [level - level.mean() for level in loudness]
    return float(np.argmax(np.correlate(centred[1], centred[0], "full")) - centred[0].size + 1) / 100


@pytest.mark.slow
@best_of_attempts
def test_what_is_said_into_the_microphone_is_heard_at_the_speaker(sound_card: VirtualSoundCard, tmp_path: Path) -> None:
    said, trace = speech(3.0), tmp_path / "trace.jsonl"
    with receiving("--once", "--output", "speaker", "--stats-json", "-", env=sound_card.env) as (receiver, port):
        with running(SENDER, *HERE, "--port", port, "--stats", "--trace", trace, env=sound_card.env) as sender:
            sender.wait_for("codec")
            with in_another_process(sound_card.env, said, 4.0) as talking:
                near, far = talking.result(2 * PATIENCE_S)
            sender.signal(signal.SIGINT)
            sent = sender.ended()
        played = receiver.ended()
    assert (sent.code, played.code) == (0, 0), sent.err + played.err
    apart_s = best_lag_s(near.samples, far.samples)
    in_time(apart_s >= 0, apart_s)
    likeness = resemblance(near.samples, far.samples[round(apart_s * RATE_HZ) :])
    in_time(likeness > 0.6, likeness)
    delay_ms = 1000 * (apart_s + far.began_s - near.began_s)
    in_time(100 < delay_ms < 1000, delay_ms)
    *lines, summary = json_lines(trace)
    told_ms = float(np.median([line["mouth_to_ear_ms"] for line in lines]))
    in_time(abs(told_ms - delay_ms) < 100, (told_ms, delay_ms))
    assert json_lines(played.out)[-1]["lost_tiles"] <= summary["summary"]["dropped_tiles"]


@pytest.mark.slow
def test_a_microphone_that_gives_exact_zeros_is_reported_once(sound_card: VirtualSoundCard) -> None:
    with (
        receiving("--once", "--output", "-") as (_, port),
        running(SENDER, *HERE, "--port", port, "--device", "ear_mic", env=sound_card.env) as sender,
    ):
        sender.wait_for("the microphone gives exact zeros")
        sender.signal(signal.SIGINT)
        sent = sender.ended()
    assert sent.code == 0, sent.err
    assert sent.err.count("exact zeros") == 1


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", ["sender", "receiver"])
def test_a_file_that_would_play_for_long_can_be_interrupted(
    sound_card: VirtualSoundCard, tmp_path: Path, interrupted: str
) -> None:
    said, copy = write_wav(tmp_path / "said.wav", np.tile(speech(5.0), 24)), tmp_path / "copy.wav"
    with (
        receiving("--output", "speaker", "--output", copy, env=sound_card.env) as (receiver, port),
        running(SENDER, *HERE, "--port", port, "--input", said, "--no-realtime", "--reconnect-s", 0) as sender,
    ):
        wait_until(lambda: copy.stat().st_size > RATE_HZ, "half a second of sound")
        victim = sender if interrupted == "sender" else receiver
        victim.signal(signal.SIGINT)
        ended = victim.ended()
        assert ended.code == 0 and "Traceback" not in ended.err, ended.err
        assert copy.stat().st_size < said.stat().st_size / 2
        if victim is receiver:
            assert "Traceback" not in sender.ended().err
            assert read_wav(copy).size >= RATE_HZ // 2


def test_both_commands_list_the_devices(sound_card: VirtualSoundCard) -> None:
    for program in (SENDER, RECEIVER):
        listed = run(program, "--list-devices", env=sound_card.env)
        assert (listed.code, listed.err) == (0, "")
        assert re.search(r"^ +\d+  mouth_mic ", listed.out.decode(), re.MULTILINE)


def test_an_unknown_device_is_told_with_those_that_come_near(sound_card: VirtualSoundCard) -> None:
    ended = run(SENDER, *HERE, "--input", "mic", "--device", "mouth_mike", env=sound_card.env)
    assert ended.sentence(SENDER) == "there is no input device 'mouth_mike'; did you mean 'mouth_mic'?"
    ended = run(RECEIVER, "--port", 0, "--device", "nobody", env=sound_card.env)
    assert "there is no output device 'nobody'" in ended.sentence(RECEIVER)


@pytest.mark.parametrize("latency_ms", ["1", "501", "nan", "much"])
def test_a_latency_that_no_device_has_is_wrong_usage(latency_ms: str) -> None:
    for program, beside in ((SENDER, HERE), (RECEIVER, ("--port", 0))):
        ended = run(program, *beside, "--device-latency-ms", latency_ms)
        assert ended.code == 2 and "argument --device-latency-ms: " in ended.err.splitlines()[-1]


def test_exclusive_use_is_refused_in_one_sentence_where_there_is_no_wasapi(sound_card: VirtualSoundCard) -> None:
    ended = run(SENDER, *HERE, "--exclusive", env=sound_card.env)
    assert ended.sentence(SENDER) == "--exclusive needs WASAPI, which only Windows has; leave the option out"
