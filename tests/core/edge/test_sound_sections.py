"""A sound file is read to its end: several recordings in it, headers left unfinished, tags between."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.edge.sound_files import read_audio, read_blocks, read_channels, read_header
from audio_avif.edge.sound_sections import find_sections
from audio_avif.errors import FileError
from support.speech import FloatArray, tone

ID3 = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
ID3V1 = b"TAG" + bytes(125)
KINDS = {
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "wav": ("WAV", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
}


def recording(kind: str, hz: float, rate_hz: int = 48_000, channels: int = 1, seconds: float = 1.0) -> bytes:
    file = io.BytesIO()
    name, subtype = KINDS[kind]
    samples = np.repeat(tone(hz, rate_hz, seconds)[:, None], channels, axis=1)
    soundfile.write(file, samples, rate_hz, format=name, subtype=subtype)
    return file.getvalue()


def heard(folder: Path, data: bytes) -> FloatArray:
    path = folder / "sound"
    path.write_bytes(data)
    return read_audio(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("second_rate_hz", [48_000, 24_000])
def test_recordings_one_after_another_are_all_read(tmp_path: Path, kind: str, second_rate_hz: int) -> None:
    parts = [recording(kind, 440), recording(kind, 880, second_rate_hz), recording(kind, 660)]
    expected = np.concatenate([heard(tmp_path, part) for part in parts])
    np.testing.assert_array_equal(heard(tmp_path, b"".join(parts)), expected)
    assert expected.size == pytest.approx(48_000, rel=0.02)
    assert read_header(tmp_path / "sound").seconds == pytest.approx(expected.size / 16_000, abs=0.01)
    blocks = list(read_blocks(tmp_path / "sound", 1000))
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_recordings_may_differ_in_channels(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sound"
    path.write_bytes(recording(kind, 440) + recording(kind, 440, channels=2))
    header = read_header(path)
    assert header.channels == 2
    samples = np.concatenate(list(read_channels(path)))
    assert samples.shape[1] == 2 and samples.shape[0] == read_audio(path).size
    np.testing.assert_allclose(samples[:, 0], samples[:, 1], atol=0.01)
    for second in (samples[3000:13_000], samples[19_000:29_000]):
        assert second.std() == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


def test_recordings_of_different_kinds_are_all_read(tmp_path: Path) -> None:
    parts = [recording(kind, 440) for kind in ("wav", "flac")]
    np.testing.assert_array_equal(
        heard(tmp_path, b"".join(parts)), np.concatenate([heard(tmp_path, part) for part in parts])
    )


@pytest.mark.parametrize(("kind", "after"), [("mp3", ID3V1), ("flac", ID3V1), ("flac", ID3), ("wav", b"junk" * 99)])
def test_what_is_no_sound_after_a_recording_changes_nothing(tmp_path: Path, kind: str, after: bytes) -> None:
    part = recording(kind, 440)
    np.testing.assert_array_equal(heard(tmp_path, part + after), heard(tmp_path, part))


@pytest.mark.parametrize("kind", ["mp3", "flac"])
def test_tags_between_recordings_are_passed_over(tmp_path: Path, kind: str) -> None:
    parts = [ID3 + recording(kind, 440), ID3 + recording(kind, 880)]
    assert heard(tmp_path, b"".join(parts)).size == sum(heard(tmp_path, part).size for part in parts)
    between = parts[0] + (ID3V1 if kind == "mp3" else b"") + parts[1]
    assert heard(tmp_path, between).size == sum(heard(tmp_path, part).size for part in parts)


def without_xing_header(mp3: bytes) -> bytes:
    """The frames alone, whose number no header counts; they differ in length."""
    return mp3[mp3.index(mp3[:2], 4) :]


def test_mp3_without_a_header_of_its_length_is_read_whole(tmp_path: Path) -> None:
    """libsndfile takes its length from the first frame's bitrate and loses five seconds of six."""
    part = recording("mp3", 440, 16_000, seconds=2.0)
    bare = without_xing_header(part)
    for data, seconds in ((bare, 2), (3 * bare, 6), (part + bare, 4), (bare + part, 4), (ID3 + bare + ID3 + bare, 4)):
        samples = heard(tmp_path, data)
        assert samples.size / 16_000 == pytest.approx(seconds, abs=0.1 * seconds)
        assert np.abs(samples[-6000:-3000]).max() == pytest.approx(0.5, rel=0.1)


def with_sizes(wav: bytes, whole: int, sound: int) -> bytes:
    at = wav.index(b"data") + 4
    return wav[:4] + struct.pack("<I", whole) + wav[8:at] + struct.pack("<I", sound) + wav[at + 4 :]


@pytest.mark.parametrize("whole", [0, 8, 36, 0x7FFFFFFF, 0xFFFFFFFF, None])
@pytest.mark.parametrize("sound", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_wav_file_whose_sizes_were_never_written_is_read_to_its_end(
    tmp_path: Path, whole: int | None, sound: int
) -> None:
    wav = recording("wav", 440)
    unfinished = with_sizes(wav, len(wav) - 8 if whole is None else whole, sound)
    np.testing.assert_array_equal(heard(tmp_path, unfinished), heard(tmp_path, wav))


def test_other_unfinished_headers_are_read_to_the_end_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    aiff, au = bytearray(recording("aiff", 440)), bytearray(recording("au", 440))
    expected = heard(tmp_path, bytes(aiff))
    size = struct.pack(">I", 8)
    aiff[4:8] = size
    aiff[(at := aiff.index(b"SSND") + 4) : at + 4] = size
    np.testing.assert_array_equal(heard(tmp_path, bytes(aiff)), expected)
    assert "the header does not state the length" in caplog.text
    au[8:12] = bytes(4)
    np.testing.assert_array_equal(heard(tmp_path, bytes(au)), expected)


def test_a_finished_file_without_sound_stays_empty(tmp_path: Path) -> None:
    empty = recording("wav", 440, seconds=0)
    assert heard(tmp_path, empty).size == 0
    chunk = struct.pack("<4sI4s", b"LIST", 4, b"INFO")
    assert heard(tmp_path, with_sizes(empty + chunk, len(empty) + len(chunk) - 8, 0)).size == 0
    assert heard(tmp_path, recording("aiff", 440, seconds=0)).size == 0
    assert heard(tmp_path, recording("au", 440, seconds=0)).size == 0


def test_what_cannot_be_read_of_a_chain_is_told(tmp_path: Path) -> None:
    first, second = recording("vorbis", 440), bytearray(recording("vorbis", 880))
    second[28:36] = b"unknown!"  # the name of the codec
    path = tmp_path / "sound"
    path.write_bytes(first + second)
    with pytest.raises(FileError, match=f"another recording from byte {len(first)} on that cannot be read"):
        read_audio(path)


def test_a_single_recording_is_the_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "sound"
    for kind in KINDS:
        path.write_bytes(recording(kind, 440))
        assert [section.is_whole for section in find_sections(path)] == [True]


BEGINNINGS = [
    b"",
    b"RIFF\0\0\0\0WAVE",
    b"FORM\0\0\0\0AIFF",
    b".snd",
    b"fLaC\0\0\0\x22",
    b"OggS",
    b"ID3",
    b"\xff\xfb\x90\0",
]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.sampled_from(BEGINNINGS), st.binary(max_size=40)), max_size=12))
def test_any_bytes_are_cut_into_sections_in_order(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any bytes"
    path.write_bytes(b"".join(pieces))
    at = 0
    for section in find_sections(path):
        if section.is_whole:
            continue
        assert section.end is not None and at <= section.start < section.end <= path.stat().st_size
        with section.open(path) as file:
            assert len(file.read()) == section.end - section.start - section.replaced_bytes + len(section.head)
        at = section.end


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_damage_anywhere_is_an_error_or_sound(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    whole = bytearray(recording(kind, 440, 16_000 if kind != "opus" else 48_000, seconds=0.2) * 2)
    for _ in range(data.draw(st.integers(0, 20))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        assert np.isfinite(read_audio(path)).all()
    except FileError as error:
        assert str(path) in str(error)
