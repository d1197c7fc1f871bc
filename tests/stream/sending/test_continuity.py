"""The sound of an interrupted microphone stays in step with the clock."""

from __future__ import annotations

import numpy as np
import pytest

from audio_avif_stream.sending.continuity import Continuity

RATE_HZ = 16_000


def block(seconds: float) -> np.ndarray:
    return np.ones(round(seconds * RATE_HZ), np.float32)


def test_silence_stands_for_what_is_missing_and_the_next_device_begins_where_it_ends() -> None:
    continuity, total = Continuity(100.0), 0
    total += continuity.join(block(0.032), 100.05, 0.03).size  # began at 99.988
    for step in range(1, 50):
        now_s = 100.05 + step * 0.01
        total += block(0.01).size
        continuity.follow(now_s, 0.03)
    for step in range(100):
        total += continuity.silence(100.6 + step * 0.032).size
    joined = continuity.join(block(0.02), 104.5, 0.05)
    total += joined.size
    assert not joined[: -block(0.02).size].any() and joined[-block(0.02).size :].all()
    assert total == pytest.approx((104.5 - 0.05 - 99.98) * RATE_HZ, abs=4)


def test_sound_for_which_silence_was_sent_already_is_left_out() -> None:
    continuity = Continuity(100.0)
    continuity.join(block(0.03), 100.05, 0.02)
    continuity.silence(101.05)
    joined = continuity.join(block(0.05), 101.06, 0.05)
    assert joined.size == 0
    joined = continuity.join(block(0.05), 101.06, 0.01)
    assert joined.size == pytest.approx(0.02 * RATE_HZ, abs=2)


def test_hours_of_sleep_are_not_filled() -> None:
    continuity = Continuity(100.0)
    assert continuity.silence(100.0 + 8 * 3600).size == 10 * RATE_HZ
    assert continuity.silence(100.0 + 8 * 3600 + 0.004).size == 0
    assert continuity.join(block(0.02), 2 * 8 * 3600.0, 0.02).size == 10 * RATE_HZ + block(0.02).size
