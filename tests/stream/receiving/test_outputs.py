"""Files that hold what a listener heard, whatever the clock did."""

from __future__ import annotations

import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest

from audio_avif.edge.device_choice import DeviceChoice
from audio_avif.errors import FileError
from audio_avif_stream.receiving import outputs


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def samples_in(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_a_gap_in_a_live_stream_is_a_gap_in_the_file(clock: Clock, tmp_path: Path) -> None:
    output = outputs.WavOutput(str(tmp_path / "heard.wav"), clock)
    output.begin(is_live=True)
    output.silence(0.05)
    output.write(np.full(1600, 0.5, np.float32))
    assert output.buffered_s == pytest.approx(0.15)
    clock.now_s += 0.65
    assert output.buffered_s == 0.0
    output.write(np.full(1600, 0.5, np.float32))
    output.close()
    heard = samples_in(tmp_path / "heard.wav")
    assert heard.size == 1600 + 8000 + 1600
    assert not heard[1600:9600].any() and heard[:1600].all() and heard[9600:].all()
    assert output.underruns == 1


def test_silence_that_is_meant_is_a_gap_but_no_underrun(clock: Clock, tmp_path: Path) -> None:
    output = outputs.WavOutput(str(tmp_path / "heard.wav"), clock)
    output.begin(is_live=True)
    output.write(np.full(1600, 0.5, np.float32))
    output.rest()
    clock.now_s += 2.1
    output.silence(0.04)
    output.write(np.full(1600, 0.5, np.float32))
    assert output.underruns == 0
    clock.now_s += 1.0
    output.write(np.full(1600, 0.5, np.float32))
    assert output.underruns == 1
    output.close()
    assert samples_in(tmp_path / "heard.wav").size == (0.1 + 2.0 + 0.04 + 0.1 + 0.86 + 0.1) * 16000


def test_a_file_sent_at_once_has_no_gaps(clock: Clock, tmp_path: Path) -> None:
    output = outputs.WavOutput(str(tmp_path / "heard.wav"), clock)
    output.begin(is_live=False)
    for _ in range(3):
        output.write(np.full(100, 0.5, np.float32))
        clock.now_s += 10
    output.close()
    assert samples_in(tmp_path / "heard.wav").size == 300
    assert output.underruns == 0


def test_a_pause_of_an_hour_does_not_fill_the_memory(clock: Clock, tmp_path: Path) -> None:
    output = outputs.WavOutput(str(tmp_path / "heard.wav"), clock)
    output.begin(is_live=True)
    output.write(np.zeros(16, np.float32))
    clock.now_s += 3600
    tracemalloc.start()
    output.write(np.ones(16, np.float32))
    _, max_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    output.close()
    assert max_bytes < 4e6
    assert samples_in(tmp_path / "heard.wav").size == pytest.approx(3600 * 16_000, abs=64)


def test_beside_a_first_output_a_file_follows_without_a_clock(clock: Clock, tmp_path: Path) -> None:
    paths = [tmp_path / "first.wav", tmp_path / "second.wav"]
    output = outputs.open_output([str(path) for path in paths], DeviceChoice(), 0.0, clock)
    output.begin(is_live=True)
    output.write(np.full(160, 0.5, np.float32))
    clock.now_s += 1.0
    output.write(np.full(160, 0.5, np.float32))
    output.close()
    assert [samples_in(path).size for path in paths] == [160 + 15840 + 160, 320]
    assert output.underruns == 1


def test_an_output_that_cannot_be_had_leaves_none_open(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"neither speaker nor - nor a \.wav file"):
        outputs.open_output([str(tmp_path / "a.wav"), "b.mp3"], DeviceChoice(), 0.0)


def test_a_file_that_is_there_is_kept_until_a_stream_comes(tmp_path: Path) -> None:
    path = tmp_path / "old.wav"
    path.write_bytes(b"an old recording")
    output = outputs.WavOutput(str(path), clock)
    output.close()
    assert path.read_bytes() == b"an old recording"
    output = outputs.WavOutput(str(path), clock)
    output.begin(is_live=False)
    output.close()
    assert samples_in(path).size == 0


def test_what_is_heard_when_is_told(clock: Clock, tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []
    wav = outputs.WavOutput(str(tmp_path / "heard.wav"), clock)
    wav.device_latency_s = 0.02
    output = outputs.TappedOutput(wav, lambda samples, heard_s: told.append((samples.size, heard_s)), clock)
    output.begin(is_live=True)
    output.write(np.ones(1600, np.float32))
    output.write(np.ones(800, np.float32))
    output.silence(3.0)
    output.write(np.ones(160, np.float32))
    output.rest()
    output.end()
    assert output.underruns == 0 and output.device is wav.device and output.device_latency_s == 0.02
    assert output.buffered_s == pytest.approx(3.16)
    output.close()
    assert [size for size, _ in told] == [1600, 800, 16_000, 160]
    assert [heard_s for _, heard_s in told] == pytest.approx([100.02, 100.12, 100.17, 103.17])
    assert samples_in(tmp_path / "heard.wav").size == 1600 + 800 + 48_000 + 160
