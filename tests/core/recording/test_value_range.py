"""The value range of a recording is found."""

from __future__ import annotations

import numpy as np

from audio_avif.recording.codec import encode
from audio_avif.recording.picture_encoder import FileConfig
from audio_avif.recording.value_range import RangeFinder
from audio_avif.signal.features import log_mel
from support.pictures import EXACT, RATE_HZ, read, voice


def test_the_range_of_a_recording_is_found() -> None:
    quiet = 1e-3 * voice(3.0)
    finder = RangeFinder()
    for start in range(0, quiet.shape[0], 5000):
        finder.push(np.stack([log_mel(channel) for channel in quiet[start : start + 5000].T]))
    low, high = finder.range()
    assert -11 <= low < high - 0.99 and high < -1.5
    config = FileConfig(100, 10, log10_min=low, log10_max=high)
    fixed, fitted = (read(encode(quiet, RATE_HZ, choice)) for choice in (EXACT, config))
    wanted = log_mel(quiet[:, 0])
    assert np.mean((fitted - wanted) ** 2) < np.mean((fixed - wanted) ** 2) / 10


def test_digital_silence_has_the_usual_range_and_does_not_widen_another() -> None:
    finder = RangeFinder()
    usual = finder.range()
    finder.push(log_mel(np.zeros(RATE_HZ, np.float32)))
    assert finder.range() == usual == (FileConfig().log10_min, FileConfig().log10_max)
    spoken = log_mel(voice(3.0)[:, 0])
    finder.push(spoken)
    alone = RangeFinder()
    alone.push(spoken)
    assert finder.range() == alone.range()
