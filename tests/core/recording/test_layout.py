"""Log-mels of several channels to pixels and back, and what a picture says of itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.config import MelConfig, TileConfig
from audio_avif.recording.layout import DEPTHS, LAYOUTS, PictureInfo, from_pixels, side_pays, to_pixels
from audio_avif.still.tiles import from_pixels as tile_from_pixels
from audio_avif.still.tiles import to_pixels as tile_to_pixels

MEL = MelConfig(n_mels=8)
COMBINATIONS = [
    (layout, channels) for layout in LAYOUTS for channels in (1, 2, 3, 4) if (layout, channels) != ("planes", 4)
]


def info_of(channels: int = 1, layout: str = "stacked", depth: int = 8, **changes: Any) -> PictureInfo:
    return PictureInfo(mel=MEL, channels=channels, layout=layout, depth=depth, **changes)


def noise(channels: int, frames: int = 50, low: float = -5.5, high: float = 1.0, seed: int = 0) -> np.ndarray:
    """Log-mels anywhere within a range."""
    return np.random.default_rng(seed).uniform(low, high, (channels, MEL.n_mels, frames)).astype(np.float32)


def step(info: PictureInfo) -> float:
    """What one pixel value stands for."""
    return (info.log10_max - info.log10_min) / (2**info.depth - 1)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("layout", "channels"), COMBINATIONS)
def test_every_kind_of_picture_keeps_every_channel_within_half_a_step(layout: str, channels: int, depth: int) -> None:
    info = info_of(channels, layout, depth)
    log_mel = noise(channels)
    pixels = to_pixels(log_mel, info)
    assert pixels.dtype == (np.uint8 if depth == 8 else np.uint16) and pixels.max() < 2**depth
    assert pixels.shape == ((info.height, 50) if layout == "stacked" else (8, 50, 3))
    assert info.height == (8 * channels if layout == "stacked" else 8)
    back = from_pixels(pixels, info)
    assert back.shape == log_mel.shape and back.dtype == np.float32
    assert np.abs(back - log_mel).max() <= step(info) / 2 + 1e-6
    np.testing.assert_array_equal(to_pixels(back, info), pixels)


def test_channels_lie_one_below_the_other_with_the_low_band_at_the_bottom() -> None:
    log_mel = np.full((2, 8, 3), -5.5, np.float32)
    log_mel[0, 0], log_mel[1, 7] = 1.0, 1.0
    pixels = to_pixels(log_mel, info_of(2))
    assert np.flatnonzero(pixels[:, 0]).tolist() == [7, 8]
    assert pixels[7:9].min() == 255


def test_planes_are_red_green_and_blue_and_one_channel_is_gray() -> None:
    for channels in (1, 2, 3):
        log_mel = noise(channels)
        pixels = to_pixels(log_mel, info_of(channels, "planes"))
        stacked = to_pixels(log_mel, info_of(channels)).reshape(channels, 8, -1)
        for plane, channel in enumerate(((0, 0, 0), (0, 1, 1), (0, 1, 2))[channels - 1]):
            np.testing.assert_array_equal(pixels[..., plane], stacked[channel])


def test_one_channel_at_8_bit_is_what_a_streams_tile_is() -> None:
    log_mel = noise(1)
    config = TileConfig()
    np.testing.assert_array_equal(to_pixels(log_mel, info_of()), tile_to_pixels(log_mel[0], config))
    shades = np.arange(256, dtype=np.uint8)[None].repeat(8, axis=0)
    np.testing.assert_array_equal(from_pixels(shades, info_of())[0], tile_from_pixels(shades, config))


def test_what_lies_outside_the_range_is_clipped() -> None:
    log_mel = noise(1, low=-11.0, high=4.0)
    back = from_pixels(to_pixels(log_mel, info_of()), info_of())
    assert np.abs(back - np.clip(log_mel, -5.5, 1.0)).max() <= step(info_of()) / 2 + 1e-6


@pytest.mark.parametrize("depth", DEPTHS)
def test_mid_and_side_keep_both_channels_within_a_step(depth: int) -> None:
    info = info_of(2, depth=depth)
    left = noise(1)[0]
    log_mel = np.stack([left, np.clip(left + noise(1, low=-3.0, high=3.0, seed=1)[0], -5.5, 1.0)])
    back = from_pixels(to_pixels(log_mel, info, is_side=True), info, is_side=True)
    assert np.abs(back - log_mel).max() <= 0.75 * step(info) + 1e-6


def test_equal_channels_have_a_side_of_one_shade() -> None:
    log_mel = np.repeat(noise(1), 2, axis=0)
    pixels = to_pixels(log_mel, info_of(2), is_side=True)
    assert len(np.unique(pixels[8:])) == 1
    assert side_pays(log_mel, info_of(2))


def test_channels_too_different_for_a_side_are_brought_nearer_and_never_beyond_the_range() -> None:
    info = info_of(2)
    log_mel = np.stack([np.full((8, 5), 1.0, np.float32), np.full((8, 5), -5.5, np.float32)])
    back = from_pixels(to_pixels(log_mel, info, is_side=True), info, is_side=True)
    assert (back[0] > back[1]).all()
    wild = np.random.default_rng(2).integers(0, 256, (16, 50), np.uint8)
    found = from_pixels(wild, info, is_side=True)
    assert found.min() >= -5.5 - 1e-6 and found.max() <= 1.0 + 1e-6


def test_a_side_is_never_chosen_where_it_would_lose_what_is_different() -> None:
    """Speech on the left and silence on the right: half of the difference's shades would be cut off."""
    speech = np.repeat(noise(1, low=-1.0, high=1.0)[0], 4, axis=1)
    hard_left = np.stack([speech, np.full_like(speech, -5.5)])
    info = info_of(2)
    assert not side_pays(hard_left, info)
    assert side_pays(np.stack([speech, speech - 0.3]), info)
    assert not side_pays(np.stack([speech, noise(1, frames=200, low=-1.0, seed=5)[0]]), info)


@given(st.data())
def test_whatever_is_chosen_both_channels_are_kept_within_a_step(data: st.DataObject) -> None:
    info = info_of(2, depth=data.draw(st.sampled_from(DEPTHS)))
    seed = data.draw(st.integers(0, 2**32))
    apart = data.draw(st.floats(0, 8))
    log_mel = noise(2, 12, seed=seed) * np.array([1, data.draw(st.floats(0, 1))], np.float32)[:, None, None]
    log_mel[1] -= apart
    is_side = side_pays(log_mel, info)
    back = from_pixels(to_pixels(log_mel, info, is_side), info, is_side)
    assert np.abs(back - np.clip(log_mel, -5.5, 1.0)).max() <= 0.75 * step(info) + 1e-5


def test_a_picture_says_what_it_is_in_json() -> None:
    info = PictureInfo(
        mel=MelConfig(n_mels=40),
        samples=123_456,
        channels=2,
        log10_min=-7.25,
        log10_max=0.5,
        depth=10,
        side_cells="0110",
        source_rate_hz=44_100,
    )
    assert PictureInfo.from_dict(json.loads(json.dumps(info.to_dict()))) == info
    assert (info.frames, info.height, info.can_have_side) == (1 + 123_456 // 256, 80, True)
    assert [info.is_side(cell) for cell in range(6)] == [False, True, True, False, False, False]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"channels": 0}, "1 to 4 channels"),
        ({"channels": 5}, "1 to 4 channels"),
        ({"channels": 4, "layout": "planes"}, "at most 3 channels"),
        ({"channels": True}, "must be a int"),
        ({"channels": 1.0}, "must be a int"),
        ({"depth": 9}, "8, 10 or 12 bit"),
        ({"depth": "8"}, "must be a int"),
        ({"layout": "mosaic"}, "stacked or planes"),
        ({"layout": ["stacked"]}, "must be a str"),
        ({"log10_min": 1.0}, "within -20..10"),
        ({"log10_min": float("nan")}, "within -20..10"),
        ({"log10_max": float("inf")}, "within -20..10"),
        ({"log10_max": 10**400}, "too large a number"),
        ({"channels": 10**400}, "1 to 4 channels"),
        ({"log10_max": None}, "must be a float"),
        ({"samples": -1}, "out of range"),
        ({"samples": 10**400}, "out of range"),
        ({"source_rate_hz": 0}, "out of range"),
        ({"source_rate_hz": 10**9}, "out of range"),
        ({"side_cells": "01"}, "two stacked channels"),
        ({"side_cells": "01x", "channels": 2}, "two stacked channels"),
        ({"side_cells": [1], "channels": 2}, "must be a str"),
        ({"mel": {}}, "exactly the keys"),
        ({"mel": None}, "exactly the keys"),
        ({"mel": {**MelConfig().to_dict(), "n_mels": 10**6}}, "n_mels must be"),
        ({"more": 1}, "exactly the keys"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        PictureInfo.from_dict({**PictureInfo().to_dict(), **changes})
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("values", [None, [], "x", {}, {"mel": MelConfig().to_dict()}])
def test_settings_that_lack_something_are_refused(values: Any) -> None:
    with pytest.raises(ValueError, match="exactly the keys"):
        PictureInfo.from_dict(values)


def test_whole_numbers_do_for_the_range() -> None:
    info = PictureInfo.from_dict({**PictureInfo().to_dict(), "log10_min": -6, "log10_max": 2})
    assert info == replace(PictureInfo(), log10_min=-6.0, log10_max=2.0)
