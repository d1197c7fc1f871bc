"""Frames are left out and put in evenly, and no more than a listener bears."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.signal.time_scaling import MAX_CHANGE, FrameStretcher, SampleSplicer, resample_frames


def ramp(first: int, frames: int) -> np.ndarray:
    return np.tile(np.arange(first, first + frames, dtype=np.float32), (80, 1))


@pytest.mark.parametrize("frames", [1, 7, 8, 9, 20])
def test_frames_lie_evenly_from_the_one_before_to_the_last(frames: int) -> None:
    out = resample_frames(ramp(0, 1)[:, 0], ramp(1, 8), frames)
    assert out.shape == (80, frames) and out.dtype == np.float32
    np.testing.assert_allclose(out[0], np.linspace(0, 8, frames + 1)[1:], atol=1e-5)


def test_as_many_frames_are_the_same_frames() -> None:
    np.testing.assert_array_equal(resample_frames(ramp(0, 1)[:, 0], ramp(5, 8), 8), ramp(5, 8))


@given(
    widths=st.lists(st.integers(1, 64), min_size=1, max_size=60),
    wanted=st.integers(-100, 100),
)
def test_never_more_than_15_of_100_but_for_one_frame(widths: list[int], wanted: int) -> None:
    stretcher = FrameStretcher()
    spoken = sum(stretcher.push(np.zeros(80, np.float32), ramp(0, width), wanted).shape[1] for width in widths)
    change = spoken - sum(widths)
    assert change * wanted >= 0
    assert abs(change) <= MAX_CHANGE * sum(widths) + 1
    assert stretcher.lengthened_frames - stretcher.shortened_frames == change


def test_no_more_than_wanted() -> None:
    stretcher = FrameStretcher()
    assert stretcher.push(np.zeros(80, np.float32), ramp(0, 64), -2).shape[1] == 62
    assert stretcher.push(np.zeros(80, np.float32), ramp(0, 64), 0).shape[1] == 64
    assert (stretcher.shortened_frames, stretcher.lengthened_frames) == (2, 0)


def test_narrow_tiles_share_the_allowance() -> None:
    stretcher = FrameStretcher()
    widths = [stretcher.push(np.zeros(80, np.float32), ramp(0, 2), 9).shape[1] for _ in range(20)]
    assert set(widths) == {2, 3} and 44 <= sum(widths) <= 40 * (1 + MAX_CHANGE)


SINE: np.ndarray = np.sin(2 * np.pi * 200 / 16000 * np.arange(2048)).astype(np.float32)
NOISE: np.ndarray = np.random.default_rng(1).standard_normal(2048).astype(np.float32)


@pytest.mark.parametrize("wanted", [-160, -100, 100, 160])
def test_pitch_periods_are_left_out_and_put_in_without_a_click(wanted: int) -> None:
    heard = SampleSplicer().push(SINE, wanted, is_quiet=False)
    assert heard.dtype == np.float32 and heard.size - SINE.size == np.sign(wanted) * (abs(wanted) // 80) * 80
    assert np.abs(np.diff(heard, 2)).max() < 1.5 * np.abs(np.diff(SINE, 2)).max()


@given(wanted=st.integers(-1000, 1000), size=st.integers(0, 1024))
def test_no_more_samples_than_wanted_are_spliced(wanted: int, size: int) -> None:
    change = SampleSplicer().push(NOISE[:size], wanted, is_quiet=True).size - size
    assert change * wanted >= 0 and abs(change) <= min(abs(wanted), 160)


def test_sound_is_spliced_where_it_is_alike_or_quiet() -> None:
    assert SampleSplicer().push(NOISE, -100, is_quiet=False) is NOISE
    assert 1948 <= SampleSplicer().push(NOISE, -100, is_quiet=True).size <= 1998
    assert SampleSplicer().push(NOISE[:60], -50, is_quiet=True).size == 60


def test_tries_are_100_ms_apart() -> None:
    splicer = SampleSplicer()
    changes = [480 - splicer.push(SINE[:480], -80, is_quiet=False).size for _ in range(10)]
    assert changes == [80, 0, 0, 0, 80, 0, 0, 0, 80, 0]
