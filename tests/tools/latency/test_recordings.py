"""The delay between two recordings whose devices run at different speeds."""

from __future__ import annotations

import numpy as np
import pytest

from audio_avif.config import RATE_HZ
from audio_avif.types import FloatArray
from audio_avif_tools.latency.acoustic import by_clock, find_delays_ms
from audio_avif_tools.shared.delays import drift_ms
from audio_avif_tools.shared.signals import chirp_train

SECONDS, DELAY_S, POLL_S = 40, 0.14, 0.01


def recorded(delay_s: float, ppm: float) -> tuple[FloatArray, float]:
    """The chirps, ``delay_s`` after they were played, as a device records them that is so many ppm fast."""
    train = chirp_train(SECONDS)
    speed = 1 + ppm * 1e-6
    seconds = np.arange(round((SECONDS + 2) * RATE_HZ * speed)) / RATE_HZ / speed
    random = np.random.default_rng(1)
    samples = np.interp(seconds - delay_s, np.arange(train.size) / RATE_HZ, train, 0, 0)
    samples = (samples + 0.001 * random.standard_normal(samples.size)).astype(np.float32)
    counts = np.arange(1, round(seconds[-1] / POLL_S)) * POLL_S * RATE_HZ * speed
    jitter_s = random.uniform(0, 0.003, counts.size)
    return by_clock(samples, counts.astype(int), 100 + counts / RATE_HZ / speed + jitter_s)


@pytest.mark.parametrize(("mouth_ppm", "ear_ppm"), [(0, 0), (240, -60), (-100, 300)])
def test_devices_of_different_speeds_make_no_drift(mouth_ppm: float, ear_ppm: float) -> None:
    delays_ms = find_delays_ms(recorded(0.0, mouth_ppm), recorded(DELAY_S, ear_ppm), SECONDS, False)
    assert delays_ms == pytest.approx([DELAY_S * 1e3] * len(delays_ms), abs=2.0)
    assert abs(drift_ms(delays_ms)) < 1.0
