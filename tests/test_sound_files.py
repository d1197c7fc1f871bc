"""Files of any kind in, files that are valid at any time out."""

from __future__ import annotations

import io
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from speech import tone

from audio_avif import sound_files
from audio_avif.errors import FileError
from audio_avif.sound_files import WavWriter, read_audio, read_blocks, to_s16le


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
        "import os, sys, numpy as np; from audio_avif.sound_files import WavWriter; w = WavWriter(sys.argv[1]);"
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
    monkeypatch.setattr(sound_files, "_WAV_BYTES_MAX", 1000)
    with WavWriter(tmp_path / "out.wav") as writer:
        writer.write(np.zeros(400, np.float32))
        with pytest.raises(FileError, match="4 GiB"):
            writer.write(np.zeros(400, np.float32))
