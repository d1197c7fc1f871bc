"""Damaged pictures are refused, and long ones read in little memory."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from functools import lru_cache
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.errors import FileError, ModelError
from audio_avif.recording.codec import decode, encode
from audio_avif.recording.grid import GridWriter, max_cells
from audio_avif.recording.grid_reader import GridReader
from audio_avif.recording.layout import CELL_FRAMES, PictureInfo
from audio_avif.recording.metadata import to_exif
from audio_avif.recording.picture_encoder import encode_cell
from audio_avif.recording.picture_reader import PictureReader
from support.pictures import FAST, RATE_HZ, TELLER, described, description, eleven_seconds, voice


@pytest.mark.parametrize("make", [lambda data: data[:-1], lambda data: data[: len(data) // 2]])
def test_a_truncated_recording_is_told_before_or_where_it_ends(make: Callable[[bytes], bytes]) -> None:
    with pytest.raises(FileError, match="truncated"):
        decode(make(eleven_seconds(1)), TELLER)


def test_a_cell_that_does_not_decode_says_when_it_would_be_heard() -> None:
    data = bytearray(eleven_seconds(1))
    reader = GridReader(io.BytesIO(data))
    offset, length = reader._cells[1]
    data[offset : offset + length] = b"\xff" * length
    pieces = PictureReader(io.BytesIO(data)).log_mels()
    assert next(pieces).shape == (1, 80, CELL_FRAMES)
    with pytest.raises(FileError, match="the picture is damaged after 10 s"):
        next(pieces)


@given(st.data())
def test_damage_never_ends_in_another_error(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from([_small(), described(description())])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        change = data.draw(st.binary(min_size=1, max_size=4))
        whole[at : at + len(change)] = change
    try:
        audio, _ = decode(bytes(whole), TELLER)
    except FileError as error:
        assert len(str(error)) < 300
    except ModelError as error:
        assert "but the picture has" in str(error)
    else:
        assert np.isfinite(audio).all()


@lru_cache
def _small() -> bytes:
    return encode(voice(0.2, 2), RATE_HZ, FAST)


def test_half_a_day_is_opened_and_read_in_little_memory() -> None:
    blank = encode_cell(np.zeros((80, CELL_FRAMES), np.uint8), FAST)
    cells = max_cells(CELL_FRAMES, 80)
    info = PictureInfo(samples=cells * CELL_FRAMES * 256 - 1)
    with GridWriter() as writer:
        for _ in range(cells):
            writer.add(blank)
        writer.write(out := io.BytesIO(), 24 * CELL_FRAMES, to_exif(info))
    tracemalloc.start()
    try:
        reader = PictureReader(out)
        pieces = list(islice(reader.log_mels(), 3))
        _, max_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.frames == cells * CELL_FRAMES and len(out.getvalue()) < 1_000_000
    assert [piece.shape for piece in pieces] == [(1, 80, CELL_FRAMES)] * 3
    assert max_bytes < 16_000_000, "all of its pixels would be 245 MB"


def test_nothing_is_allotted_to_promises() -> None:
    """A grid of 16384x16384 pixels is refused or read cell by cell, however much it claims."""
    data = described(description(samples=2**40))
    huge = data.replace((30).to_bytes(4, "big") + (80).to_bytes(4, "big"), (16_384).to_bytes(4, "big") * 2)
    assert huge != data
    for picture in (huge, data):
        with pytest.raises(FileError):
            PictureReader(io.BytesIO(picture))
