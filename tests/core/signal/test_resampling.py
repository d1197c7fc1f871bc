"""Live resampling is exact in place, clean in band and quick."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.signal.resampling import Resampler
from support.speech import tone

RATES_HZ = [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000]


def chunked(samples: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    start = 0
    for size in [*sizes, samples.size]:
        yield samples[start : start + size]
        start += size


@settings(max_examples=40, deadline=None)
@given(
    rates=st.tuples(st.sampled_from(RATES_HZ), st.sampled_from(RATES_HZ)),
    length=st.integers(0, 3000),
    sizes=st.lists(st.integers(0, 700), max_size=20),
    seed=st.integers(0, 9),
)
def test_any_chunking_resamples_like_one_shot(rates: tuple[int, int], length: int, sizes: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)
    resampler = Resampler(*rates)
    whole = np.concatenate([resampler.push(samples), resampler.flush()])
    parts = [resampler.push(chunk) for chunk in chunked(samples, sizes)]
    np.testing.assert_allclose(np.concatenate([*parts, resampler.flush()]), whole, atol=1e-6)
    assert whole.size == -(-length * rates[1] // rates[0])


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("inwards", [True, False])
def test_resampling_keeps_tones_in_place_and_in_level(rate_hz: int, inwards: bool) -> None:
    rates = (rate_hz, 16_000) if inwards else (16_000, rate_hz)
    for frequency_hz in (100, 1000, 0.95 * min(rates) / 2):
        resampler = Resampler(*rates)
        out = np.concatenate([resampler.push(tone(frequency_hz, rates[0], 0.3)), resampler.flush()])
        middle = slice(rates[1] // 20, rates[1] // 4)
        np.testing.assert_allclose(out[middle], tone(frequency_hz, rates[1], 0.3)[middle], atol=5e-4)


@pytest.mark.parametrize("rate_hz", [22_050, 44_100, 48_000])
def test_what_does_not_fit_below_8_khz_is_80_db_down(rate_hz: int) -> None:
    out = Resampler(rate_hz, 16_000).push(tone(8_500, rate_hz, 0.3))
    assert np.abs(out[800:]).max() < 0.5 * 1.5e-4


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_sample_comes_out_after_the_promised_delay_of_few_milliseconds(rate_hz: int) -> None:
    for rates in [(rate_hz, 16_000), (16_000, rate_hz)]:
        resampler = Resampler(*rates)
        made = resampler.push(np.zeros(rates[0], np.float32)).size / rates[1]
        assert 1 - made == pytest.approx(resampler.latency_s, abs=1 / min(rates))
        assert resampler.latency_s < 0.0065
