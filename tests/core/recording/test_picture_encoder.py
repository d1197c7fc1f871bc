"""Recordings become the same cells in whatever pieces they come."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.recording.codec import encode
from audio_avif.recording.grid import GridWriter
from audio_avif.recording.layout import CELL_FRAMES, PictureInfo, from_pixels
from audio_avif.recording.picture_encoder import (
    FileConfig,
    PictureEncoder,
    encode_cell,
    faded,
    max_seconds,
    write_picture,
)
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from support.pictures import EXACT, FAST, RATE_HZ, eleven_seconds, read, voice
from support.speech import chunked


def test_a_grid_fades_out_after_its_sound() -> None:
    frames, silence = CELL_FRAMES + 100, PictureInfo().log10_min
    encoder = PictureEncoder(FileConfig(), channels=1)
    log_mel_of_all = np.random.default_rng(0).uniform(-3, 0, (1, 80, frames)).astype(np.float32)
    cells = [*encoder.push_frames(log_mel_of_all), *encoder.flush()]
    after = from_pixels(cells[1], encoder.info)[0][:, 100:]
    assert len(cells) == 2 and after.shape == (80, CELL_FRAMES - 100)
    assert np.allclose(after[:, 0], log_mel_of_all[0, :, -1], atol=0.03)
    assert (np.diff(after[:, :17], axis=1) < 0).all()
    assert np.allclose(after[:, 16:], silence, atol=0.03)
    assert faded(log_mel_of_all, frames, silence).shape == (1, 80, frames)


def picture_in_pieces(samples: FloatArray, sizes: list[int], config: FileConfig) -> bytes:
    """The picture of a recording that comes in pieces."""
    encoder = PictureEncoder(config, samples.shape[1])
    out = io.BytesIO()
    with GridWriter() as writer:
        for piece in chunked(samples.shape[0], sizes):
            for cell in encoder.push(samples[piece]):
                writer.add(encode_cell(cell, config))
        for cell in encoder.flush():
            writer.add(encode_cell(cell, config))
        write_picture(writer, encoder, config, out)
    return out.getvalue()


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(0, 60_000), max_size=12), channels=st.integers(1, 2))
def test_any_pieces_give_the_same_picture(sizes: list[int], channels: int) -> None:
    samples = voice(11.3, channels)
    assert picture_in_pieces(samples, sizes, FAST) == eleven_seconds(channels)


def test_frames_may_be_pushed_in_place_of_samples() -> None:
    samples = voice(12.0)
    frames = log_mel(samples[:, 0])
    encoder = PictureEncoder(EXACT, 1)
    cells = [
        cell
        for start in range(0, frames.shape[1], 8)
        for cell in encoder.push_frames(frames[None, :, start:][:, :, :8])
    ]
    cells += encoder.flush()
    encoder.info = replace(encoder.info, samples=samples.shape[0])
    out = io.BytesIO()
    with GridWriter() as writer:
        for cell in cells:
            writer.add(encode_cell(cell, EXACT))
        write_picture(writer, encoder, EXACT, out)
    np.testing.assert_array_equal(read(out.getvalue()), read(encode(samples, RATE_HZ, EXACT)))


def test_pieces_of_another_shape_are_a_mistake() -> None:
    for samples in (voice(0.1), voice(0.1, 3), voice(0.1)[:, 0]):
        with pytest.raises(ValueError, match=r"samples must be \[samples, 2\]"):
            PictureEncoder(FAST, 2).push(samples)


def test_a_grid_holds_more_than_half_a_day() -> None:
    assert max_seconds(1) > 13.5 * 3600
    assert max_seconds(4) > 3 * 3600 and max_seconds(3, "planes") == max_seconds(1)


@pytest.mark.parametrize(
    "changes",
    [{"quality": 101}, {"speed": 11}, {"depth": 16}, {"layout": "x"}, {"log10_min": 2.0}, {"log10_max": 11.0}],
)
def test_a_configuration_that_makes_no_sense_is_a_mistake(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        FileConfig(**changes)
