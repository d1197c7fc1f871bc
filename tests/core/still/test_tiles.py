"""Pixels hold what they promise, and tiles cut a stream without losing a frame."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.config import TileConfig
from audio_avif.signal.features import log_mel
from audio_avif.still.tiles import TileCutter, from_pixels, to_pixels
from support.speech import FloatArray, chunked, speech_like

SPEECH = log_mel(speech_like(1.0))
RANGES = [TileConfig(), TileConfig(log10_min=-11.0, log10_max=4.0)]


@pytest.mark.parametrize("config", RANGES, ids=str)
def test_round_trip_within_half_a_step(config: TileConfig) -> None:
    inside = np.clip(SPEECH, config.log10_min, config.log10_max)
    half_step = (config.log10_max - config.log10_min) / 255 / 2
    assert np.abs(from_pixels(to_pixels(SPEECH, config), config) - inside).max() <= half_step + 1e-5


@pytest.mark.parametrize("config", RANGES, ids=str)
def test_every_pixel_value_survives(config: TileConfig) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(64, 4)
    log_values = from_pixels(pixels, config)
    assert log_values.dtype == np.float32
    np.testing.assert_array_equal(to_pixels(log_values, config), pixels)
    assert (log_values.min(), log_values.max()) == (pytest.approx(config.log10_min), pytest.approx(config.log10_max))


def test_the_low_band_lies_at_the_bottom_and_time_runs_to_the_right() -> None:
    frames = np.full((80, 8), -11.0, np.float32)
    frames[0, 3] = 4.0
    pixels = to_pixels(frames, TileConfig())
    assert np.argwhere(pixels == 255).tolist() == [[79, 3]]


def test_what_lies_outside_the_range_is_clipped() -> None:
    frames = np.array([[-99.0, 99.0, -np.inf, np.inf]], np.float32)
    assert to_pixels(frames, TileConfig()).tolist() == [[0, 255, 0, 255]]


@given(sizes=st.lists(st.integers(0, 20), max_size=10), frames=st.integers(2, 20))
def test_any_chunking_gives_the_same_tiles(sizes: list[int], frames: int) -> None:
    config = TileConfig(frames)
    cutter = TileCutter(80, config)
    assert cutter.latency_frames == frames - 1
    tiles = [tile for piece in chunked(SPEECH.shape[1], sizes) for tile in cutter.push(SPEECH[:, piece])]
    assert len(tiles) == SPEECH.shape[1] // frames
    tiles += cutter.flush()
    assert [tile.sequence for tile in tiles] == list(range(len(tiles)))
    assert [tile.first_frame for tile in tiles] == [frames * number for number in range(len(tiles))]
    assert sum(tile.frames for tile in tiles) == SPEECH.shape[1]
    assert all(tile.pixels.shape == (80, frames) for tile in tiles)
    joined = np.concatenate([tile.pixels[:, : tile.frames] for tile in tiles], axis=1)
    np.testing.assert_array_equal(joined, to_pixels(SPEECH, config))


def ramp(frames: int) -> FloatArray:
    return np.tile(np.arange(frames, dtype=np.float32) - 8, (80, 1))


def test_the_last_tile_repeats_its_last_frame() -> None:
    cutter = TileCutter(80, TileConfig(8))
    assert len(cutter.push(ramp(11))) == 1
    (last,) = cutter.flush()
    assert (last.sequence, last.first_frame, last.frames) == (1, 8, 3)
    np.testing.assert_array_equal(last.pixels[:, 3:], np.repeat(last.pixels[:, 2:3], 5, axis=1))


def test_nothing_is_left_to_flush_after_whole_tiles() -> None:
    cutter = TileCutter(80, TileConfig(8))
    assert cutter.flush() == []
    assert len(cutter.push(ramp(16))) == 2
    assert cutter.flush() == []


def test_reset_counts_from_zero_again() -> None:
    cutter = TileCutter(80, TileConfig(4))
    cutter.push(ramp(6))
    cutter.reset()
    assert [tile.sequence for tile in cutter.push(ramp(4))] == [0]
