"""Sound at the edge: files of any kind in, valid files out, and device choice, all without a device."""

import io
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif import audio_io
from audio_avif.audio_io import Device, Resampler, WavWriter, ZeroWatch, read_audio, read_blocks, to_s16le
from audio_avif.errors import DeviceError, FileError

RATES_HZ = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000]


def tone(frequency_hz: float, rate_hz: int, seconds: float, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency_hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


def chunked(samples: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    start = 0
    for size in [*sizes, samples.size]:
        yield samples[start : start + size]
        start += size


# ----------------------------------------------------------------------------------------------------------- resampler


@settings(max_examples=40, deadline=None)
@given(
    rates=st.tuples(st.sampled_from(RATES_HZ), st.sampled_from(RATES_HZ)),
    length=st.integers(0, 3000),
    sizes=st.lists(st.integers(0, 700), max_size=20),
    seed=st.integers(0, 9),
)
def test_any_chunking_resamples_like_one_shot(rates: tuple[int, int], length: int, sizes: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)
    resampler = Resampler(*rates)
    whole = np.concatenate([resampler.push(samples), resampler.flush()])
    parts = [resampler.push(chunk) for chunk in chunked(samples, sizes)]
    np.testing.assert_allclose(np.concatenate([*parts, resampler.flush()]), whole, atol=1e-6)
    assert whole.size == -(-length * rates[1] // rates[0])


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("inwards", [True, False])
def test_resampling_keeps_tones_in_place_and_in_level(rate_hz: int, inwards: bool) -> None:
    rates = (rate_hz, 16_000) if inwards else (16_000, rate_hz)
    for frequency_hz in (100, 1000, 0.95 * min(rates) / 2):
        resampler = Resampler(*rates)
        out = np.concatenate([resampler.push(tone(frequency_hz, rates[0], 0.3)), resampler.flush()])
        middle = slice(rates[1] // 20, rates[1] // 4)
        np.testing.assert_allclose(out[middle], tone(frequency_hz, rates[1], 0.3)[middle], atol=5e-4)


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000])
def test_what_does_not_fit_below_8_khz_is_80_db_down(rate_hz: int) -> None:
    out = Resampler(rate_hz, 16_000).push(tone(8_500, rate_hz, 0.3))
    assert np.abs(out[800:]).max() < 0.5 * 1.5e-4


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_sample_comes_out_after_the_promised_delay_of_few_milliseconds(rate_hz: int) -> None:
    for rates in [(rate_hz, 16_000), (16_000, rate_hz)]:
        resampler = Resampler(*rates)
        made = resampler.push(np.zeros(rates[0], np.float32)).size / rates[1]
        assert 1 - made == pytest.approx(resampler.latency_s, abs=1 / min(rates))
        assert resampler.latency_s < 0.0065


# --------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_files_of_any_rate_and_channel_count_become_16_khz_mono(tmp_path: Path, rate_hz: int, channels: int) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, np.repeat(tone(440, rate_hz, 1.0)[:, None], channels, axis=1), rate_hz)
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert abs(samples.size - 16_000) <= 1
    np.testing.assert_allclose(samples[400:15_600], tone(440, 16_000, 1.0)[400:15_600], atol=2e-3)


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".aiff"])
def test_the_usual_formats_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"in{suffix}"
    soundfile.write(path, tone(440, 48_000, 1.0), 48_000)
    samples = read_audio(path)
    assert samples.size == pytest.approx(16_000, rel=0.1)
    assert samples[4000:12000].std() == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".flac"])
def test_compressed_files_are_read_piece_by_piece_without_holes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"in{suffix}"
    soundfile.write(path, tone(440, 16_000, 4.0), 16_000)
    at_once, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_allclose(read_audio(path), at_once, atol=1e-6)


@pytest.mark.parametrize("block_samples", [1, 256, 1000, 10**6])
def test_blocks_are_the_file_in_pieces_of_one_size(tmp_path: Path, block_samples: int) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, tone(440, 22_050, 0.4), 22_050)
    blocks = list(read_blocks(path, block_samples))
    assert {block.size for block in blocks[:-1]} <= {block_samples}
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(path))


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 44_100, 1) as file:
        for _ in range(120):
            file.write(np.zeros(44_100, np.float32))
    tracemalloc.start()
    total = sum(block.size for block in read_blocks(path, 256))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 120 * 16_000
    assert peak_bytes < 2e6  # the whole of it takes 7.7 MB


def test_nan_in_a_float_file_is_silence(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, np.array([0.25, np.nan, 0.5], np.float32), 16_000, subtype="FLOAT")
    assert read_audio(path).tolist() == [0.25, 0.0, 0.5]


@pytest.mark.parametrize("content", [b"", b"RIFF", b"this is a text\n" * 99])
def test_what_is_no_sound_is_told_in_one_sentence_when_opened(tmp_path: Path, content: bytes) -> None:
    for path in (tmp_path / "in.wav", tmp_path / "in.raw", tmp_path / "in"):
        path.write_bytes(content)
        with pytest.raises(FileError, match=r"is not a sound file that can be read; .*can be$"):
            read_blocks(path, 256)


def test_a_missing_file_and_a_folder_are_told_when_opened(tmp_path: Path) -> None:
    for path in (tmp_path / "none.wav", tmp_path):
        with pytest.raises(FileError, match=r"there is no sound file|is a folder"):
            read_blocks(path, 256)


def test_an_empty_recording_is_no_samples(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, np.zeros(0, np.float32), 44_100)
    assert read_audio(path).size == 0
    assert list(read_blocks(path, 256)) == []


@given(st.binary(max_size=200), st.integers(1, 50))
def test_standard_input_is_raw_s16le_and_half_a_sample_at_its_end_is_left_out(data: bytes, block_samples: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        blocks = list(read_blocks("-", block_samples))
    assert all(block.size == block_samples for block in blocks[:-1])
    assert b"".join(map(to_s16le, blocks)) == data[: len(data) // 2 * 2]


def test_s16le_clips_and_survives_nan() -> None:
    loud = np.array([2.0, -2.0, np.nan, 0.5, np.inf], np.float32)
    assert np.frombuffer(to_s16le(loud), "<i2").tolist() == [32767, -32768, 0, 16384, 32767]


# ----------------------------------------------------------------------------------------------------------- WavWriter


def test_a_recording_is_a_valid_file_after_every_write(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    with WavWriter(path) as writer:
        for written in range(0, 1000, 250):
            samples, rate_hz = soundfile.read(path)
            assert (samples.size, rate_hz) == (written, 16_000)
            writer.write(tone(440, 16_000, 250 / 16_000))
    assert soundfile.info(path).subtype == "PCM_16"


def test_a_recording_survives_a_killed_program(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    program = (
        "import os, sys, numpy as np; from audio_avif.audio_io import WavWriter; w = WavWriter(sys.argv[1]);"
        "w.write(np.full(777, 0.5, np.float32)); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)]).returncode == -9
    np.testing.assert_allclose(read_audio(path), np.full(777, 0.5), atol=1e-4)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot be written: No such file or directory"):
        WavWriter(tmp_path / "none" / "out.wav")
    with pytest.raises(FileError, match="cannot be written"):
        WavWriter(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told() -> None:
    with pytest.raises(FileError, match="No space left"):
        WavWriter("/dev/full")


def test_a_file_that_has_reached_4_gib_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_io, "_WAV_BYTES_MAX", 1000)
    with WavWriter(tmp_path / "out.wav") as writer:
        writer.write(np.zeros(400, np.float32))
        with pytest.raises(FileError, match="4 GiB"):
            writer.write(np.zeros(400, np.float32))


# ------------------------------------------------------------------------------------------------------------- devices


def device(name: str, index: int, inputs: int = 0, outputs: int = 0, default: bool = False) -> Device:
    return Device(name, index, inputs, outputs, 48_000, default and bool(inputs), default and bool(outputs))


DEVICES = [
    device("USB Headset", 0, inputs=1),
    device("USB Headset", 1, outputs=2),
    device("Built-in Microphone", 2, inputs=2, default=True),
    device("Built-in Speakers", 3, outputs=2, default=True),
    device("USB Camera", 4, inputs=1),
    device("USB Headset", 5, inputs=1),  # the same one under another host API
]


@pytest.mark.parametrize(
    ("wanted", "kind", "index"),
    [
        (None, "input", 2),
        (None, "output", 3),
        ("USB Headset", "input", 0),
        ("USB Headset", "output", 1),
        ("headset", "input", 0),
        ("4", "input", 4),
        (4, "input", 4),
    ],
)
def test_a_device_is_found_by_name_part_of_a_name_or_number(wanted: str | int | None, kind: str, index: int) -> None:
    assert audio_io.find_device(wanted, kind, DEVICES).index == index


@pytest.mark.parametrize(
    ("wanted", "kind", "sentence"),
    [
        ("usb", "input", "input device 'usb' fits several devices; did you mean 'USB Headset' or 'USB Camera'?"),
        (
            "Built-in Mircophone",
            "input",
            "there is no input device 'Built-in Mircophone'; did you mean 'Built-in Microphone'?",
        ),
        ("hdmi", "output", "there is no output device 'hdmi'; --list-devices shows them all"),
        (9, "input", "there is no input device '9'; --list-devices shows them all"),
    ],
)
def test_a_device_that_is_not_found_is_told_with_what_to_do(wanted: str | int, kind: str, sentence: str) -> None:
    with pytest.raises(DeviceError) as caught:
        audio_io.find_device(wanted, kind, DEVICES)
    assert str(caught.value) == sentence


def test_no_default_device_is_told() -> None:
    with pytest.raises(DeviceError, match="there is no default input device"):
        audio_io.find_device(None, "input", [])


def test_the_table_names_every_device_and_marks_the_defaults() -> None:
    lines = audio_io.format_devices(DEVICES).splitlines()
    assert len(lines) == 1 + len(DEVICES)
    assert lines[3].split() == ["2", "Built-in", "Microphone", "2", "0", "48000", "default", "input"]
    assert audio_io.format_devices([]) == "no sound device found"


def test_a_missing_portaudio_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(DeviceError, match="apt-get install libportaudio2"):
        audio_io.list_devices()


def test_importing_the_module_loads_no_sound_library() -> None:
    program = (
        "import sys, audio_avif.audio_io; print({'sounddevice', 'soundfile', 'soxr', 'asyncio', 'threading', 'socket'}"
        " & (set(sys.modules) - set(sys.argv[1:])))"
    )
    numpy_loads = subprocess.run(
        [sys.executable, "-c", "import sys, numpy; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout.split()
    shown = subprocess.run([sys.executable, "-c", program, *numpy_loads], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


# ----------------------------------------------------------------------------------------------------------- ZeroWatch


@pytest.mark.parametrize("block_samples", [1, 7, 160, 5000])
def test_two_seconds_of_exact_zeros_are_reported_once_until_sound_comes(block_samples: int) -> None:
    watch = ZeroWatch(seconds=2.0, rate_hz=1000)
    signal = np.concatenate([np.zeros(1990), [1e-9], np.zeros(5000), [0.1], np.zeros(1990), [0.1], np.zeros(2010)])
    blocks = [signal[i : i + block_samples].astype(np.float32) for i in range(0, signal.size, block_samples)]
    reports = [index for index, block in enumerate(blocks) if watch.push(block)]
    assert len(reports) == 2
    assert reports[0] == (1991 + 2000 - 1) // block_samples
