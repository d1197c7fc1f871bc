"""Sound by position: gaps are silence, small errors of position are ignored, and a step moves what is read."""

from __future__ import annotations

import numpy as np

from audio_avif.signal.timeline import Timeline
from audio_avif.types import FloatArray


def ramp(first: int, samples: int) -> FloatArray:
    return np.arange(first, first + samples, dtype=np.float32)


def test_what_was_not_written_is_silence() -> None:
    timeline = Timeline(100, tolerance_samples=2)
    assert not timeline.read(5, 1000).any()
    timeline.write(ramp(1, 10), 1000)
    assert timeline.read(14, 998).tolist() == [0, 0, *ramp(1, 10), 0, 0]
    timeline.write(ramp(50, 10), 1020)
    assert timeline.read(18, 1012).tolist() == [*np.zeros(8), *ramp(50, 10)]


def test_positions_that_are_a_little_wrong_leave_no_gap() -> None:
    timeline = Timeline(1000, tolerance_samples=3)
    for at, error in enumerate((0, 3, -3, 2)):
        timeline.write(ramp(10 * at, 10), 10 * at + error)
    heard = [timeline.read(8, 8 * at + error) for at, error in enumerate((0, -2, 3, 0, 1))]
    assert np.concatenate(heard).tolist() == ramp(0, 40).tolist()


def test_a_step_is_followed_and_a_step_back_drops_what_was_to_come() -> None:
    timeline = Timeline(1000, tolerance_samples=3)
    timeline.write(ramp(1, 50), 0)
    timeline.write(ramp(100, 10), 20)
    assert timeline.read(40, 10).tolist() == [*ramp(11, 10), *ramp(100, 10), *np.zeros(20)]
    assert timeline.read(5, 5).tolist() == ramp(6, 5).tolist()


def test_only_the_last_samples_are_kept() -> None:
    timeline = Timeline(20, tolerance_samples=0)
    timeline.write(ramp(0, 50), 0)
    assert timeline.read(60, 0).tolist() == [*np.zeros(30), *ramp(30, 20), *np.zeros(10)]
    timeline.write(ramp(7, 3), 10_000)
    assert timeline.read(25, 9980).tolist() == [*np.zeros(20), *ramp(7, 3), 0, 0]
