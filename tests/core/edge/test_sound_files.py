"""Files of any kind in, files that are valid at any time out."""

from __future__ import annotations

import io
import os
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

from audio_avif.edge import sound_files
from audio_avif.edge.sound_files import (
    WavWriter,
    read_audio,
    read_blocks,
    read_channels,
    read_header,
    replacing,
    sound_writer,
    to_s16le,
)
from audio_avif.errors import FileError
from support.speech import speech_like, tone


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_files_of_any_rate_and_channel_count_become_16_khz_mono(tmp_path: Path, rate_hz: int, channels: int) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, np.repeat(tone(440, rate_hz, 1.0)[:, None], channels, axis=1), rate_hz)
    samples = read_audio(path)
    assert samples.dtype == np.float32
    assert abs(samples.size - 16_000) <= 1
    np.testing.assert_allclose(samples[400:15_600], tone(440, 16_000, 1.0)[400:15_600], atol=2e-3)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_stay_apart_where_they_are_asked_for(tmp_path: Path, rate_hz: int, channels: int) -> None:
    path = tmp_path / "in.wav"
    frequencies_hz = [300 + 100 * channel for channel in range(channels)]
    soundfile.write(path, np.stack([tone(hz, rate_hz, 1.0) for hz in frequencies_hz], axis=1), rate_hz)
    header = read_header(path)
    assert (header.rate_hz, header.channels, header.seconds) == (rate_hz, channels, 1.0)
    samples = np.concatenate(list(read_channels(path)))
    assert samples.dtype == np.float32
    assert samples.shape[1] == channels and abs(samples.shape[0] - 16_000) <= 1
    for heard, hz in zip(samples.T, frequencies_hz, strict=True):
        np.testing.assert_allclose(heard[400:15_600], tone(hz, 16_000, 1.0)[400:15_600], atol=2e-3)


def test_a_file_of_a_sample_a_second_does_not_fill_memory(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, np.zeros((40, 2)), 1)
    assert max(block.shape[0] for block in read_channels(path)) < 10**6


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
    tracemalloc.start()
    total = sum(len(block) for block in read_channels(path))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 120 * 16_000
    assert peak_bytes < 2e6


def test_nan_in_a_float_file_is_silence(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    soundfile.write(path, np.array([0.25, np.nan, 0.5], np.float32), 16_000, subtype="FLOAT")
    assert read_audio(path).tolist() == [0.25, 0.0, 0.5]


def test_what_no_sound_can_be_is_silence_channel_by_channel(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    samples = np.array([[0.25, np.nan], [np.inf, 0.5], [-np.inf, 3e38]], np.float32)
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    assert np.concatenate(list(read_channels(path))).tolist() == [[0.25, 0.0], [0.0, 0.5], [0.0, 0.0]]


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
        "import os, sys, numpy as np; from audio_avif.edge.sound_files import WavWriter; w = WavWriter(sys.argv[1]);"
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


@pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "PCM_16"), (".flac", "PCM_16"), (".ogg", "VORBIS")])
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_sound_is_written_as_the_suffix_says(tmp_path: Path, suffix: str, subtype: str, channels: int) -> None:
    path = tmp_path / f"out{suffix}"
    samples = np.repeat(tone(440, 16_000, 3.0)[:, None], channels, axis=1)
    with sound_writer(path, channels) as write:
        for piece in np.array_split(samples, 5):
            write(piece)
            assert not path.exists()
    info = soundfile.info(path)
    assert (info.subtype, info.channels, info.samplerate) == (subtype, channels, 16_000)
    heard, _ = soundfile.read(path, dtype="float32", always_2d=True)
    np.testing.assert_allclose(heard, samples, atol=0.05 if suffix == ".ogg" else 1 / 32768)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
@pytest.mark.parametrize("samples", [1, 100, 16_384, 200_000])
def test_sound_of_any_length_is_written_whole(tmp_path: Path, suffix: str, samples: int) -> None:
    with sound_writer(tmp_path / f"out{suffix}", 1) as write:
        write(np.full((samples, 1), 2.0, np.float32))
    heard, _ = soundfile.read(tmp_path / f"out{suffix}", dtype="float32")
    assert heard.size == samples
    if suffix != ".ogg":
        assert set(heard.tolist()) == {32767 / 32768}  # clipped, not wrapped around


def test_what_fails_while_it_is_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"as it was")
    with pytest.raises(KeyboardInterrupt), sound_writer(path, 1) as write:
        write(np.zeros((99, 1), np.float32))
        raise KeyboardInterrupt
    assert path.read_bytes() == b"as it was"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.wav"]


def test_files_that_cannot_take_their_place_are_told(tmp_path: Path) -> None:
    (tmp_path / "folder.wav").mkdir()
    for path, message in ((tmp_path / "folder.wav", "is a folder"), (tmp_path / "none" / "out.wav", "No such file")):
        with pytest.raises(FileError, match=message), sound_writer(path, 1) as write:
            write(np.zeros((1, 1), np.float32))
        with pytest.raises(FileError, match=message), replacing(path) as part:
            part.write_bytes(b"new")
    with pytest.raises(ValueError, match=r"\.wav, \.flac, \.ogg"), sound_writer(tmp_path / "out.mp3", 1):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder.wav"]


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
@pytest.mark.parametrize("samples", [2_000, 200_000])
def test_a_disk_that_fills_leaves_nothing(tmp_path: Path, suffix: str, samples: int) -> None:
    """The system's limit on the size of files stands for the disk."""
    pytest.importorskip("resource", reason="limits on files are for POSIX")
    program = (
        "import resource, sys, numpy as np; from audio_avif.edge.sound_files import sound_writer\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "with sound_writer(sys.argv[1], 1) as write:\n"
        f"    write(np.random.default_rng(0).uniform(-1, 1, ({samples}, 1)).astype(np.float32))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / f"out{suffix}")], capture_output=True, text=True
    )
    assert "FileError" in done.stderr and "cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("scale", [2**15, 2**31])
def test_a_float_file_in_the_range_of_integers_is_scaled_and_told(
    tmp_path: Path, subtype: str, scale: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "in.wav"
    samples = np.concatenate([np.zeros(50_000, np.float32), speech_like(2.0)])
    soundfile.write(path, samples * np.float32(scale), 16_000, subtype=subtype)
    np.testing.assert_allclose(read_audio(path), samples, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(list(read_channels(path)))[:, 0], samples, atol=1e-6)
    assert [message for message in caplog.messages if f"divided by {scale}" in message] == caplog.messages != []


def test_a_float_file_that_is_only_too_loud_stays_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "in.wav"
    samples = speech_like(1.0) * np.float32(20)
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(path), samples)
    assert not caplog.messages


def test_files_whose_channels_cancel_are_heard_and_it_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, voice = tmp_path / "in.wav", speech_like(2.0, 48_000)
    soundfile.write(path, np.stack([voice, -voice], axis=1), 48_000)
    whole = read_audio(path)
    assert whole.std() == pytest.approx(voice.std(), rel=0.02)
    np.testing.assert_array_equal(np.concatenate(list(read_blocks(path, 256))), whole)
    assert len(caplog.messages) == 1 and str(path) in caplog.messages[0]


def test_stereo_that_does_not_cancel_is_the_mean_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "in.wav"
    stereo = np.stack([speech_like(2.0), speech_like(2.0, seed=1)], axis=1)
    soundfile.write(path, stereo, 16_000, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(path), stereo.mean(axis=1, dtype=np.float32))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_cannot_be_read_twice_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "talk.wav")
    for path in (tmp_path / "talk.wav", Path("/dev/null")):
        with pytest.raises(FileError, match="is a pipe or a device, which cannot be read twice"):
            read_blocks(path, 256)
