"""Concealment joins what it stands between."""

from __future__ import annotations

import numpy as np
import pytest

from audio_avif.concealment import decay, interpolate

BEFORE = np.linspace(-1, -4, 80).astype(np.float32)
AFTER = np.linspace(-3, 0, 80).astype(np.float32)


@pytest.mark.parametrize("frames", [1, 2, 8, 16])
def test_interpolation_leads_in_equal_steps_from_one_frame_to_the_other(frames: int) -> None:
    filled = interpolate(BEFORE, AFTER, frames)
    assert filled.shape == (80, frames)
    assert filled.dtype == np.float32
    whole = np.column_stack([BEFORE, filled, AFTER])
    np.testing.assert_allclose(
        np.diff(whole, axis=1), np.outer(AFTER - BEFORE, np.ones(frames + 1)) / (frames + 1), atol=1e-6
    )


def test_decay_falls_by_20_db_in_100_ms() -> None:
    faded = decay(BEFORE, 10, 0.01, -11.0)
    assert faded.shape == (80, 10)
    assert faded.dtype == np.float32
    np.testing.assert_allclose(faded[:, -1], BEFORE - 1.0, atol=1e-5)
    np.testing.assert_allclose(np.diff(faded, axis=1), -0.1, atol=1e-5)


def test_decay_stops_at_the_bottom_of_the_range() -> None:
    assert decay(BEFORE, 100, 0.016, -5.5).min() == -5.5


def test_decay_frame_by_frame_is_decay_at_once() -> None:
    last, one_by_one = BEFORE, []
    for _ in range(5):
        last = decay(last, 1, 0.016, -11.0)[:, 0]
        one_by_one.append(last)
    np.testing.assert_allclose(np.column_stack(one_by_one), decay(BEFORE, 5, 0.016, -11.0), atol=1e-5)
