"""Channels that cancel or drown in their mean are heard; all others are mixed as before, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.signal.downmix import Downmixer
from support.speech import FloatArray, chunked, speech_like, tone

RATE_HZ = 16_000


def mixed(samples: FloatArray, rate_hz: int = RATE_HZ) -> FloatArray:
    return Downmixer(samples.shape[1], rate_hz, "a file").push(samples)


def level_db(heard: FloatArray, expected: FloatArray) -> float:
    return float(20 * np.log10(heard.std() / expected.std()))


def noise(seed: int, samples: int, level: float) -> FloatArray:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


VOICE = speech_like(4.0)


def test_opposite_phase_is_heard_as_loud_as_one_channel() -> None:
    heard = mixed(np.stack([VOICE, -VOICE], axis=1))
    np.testing.assert_array_equal(heard[RATE_HZ // 2 :], VOICE[RATE_HZ // 2 :])
    assert level_db(heard, VOICE) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("voice_channel", range(6))
def test_a_voice_in_one_of_six_channels_keeps_its_level(voice_channel: int) -> None:
    surround = np.stack([noise(channel, VOICE.size, 1e-4) for channel in range(6)], axis=1)
    surround[:, voice_channel] += VOICE
    assert level_db(mixed(surround), VOICE) == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize(
    "stereo",
    [
        np.stack([VOICE, VOICE], axis=1),
        np.stack([VOICE, np.zeros_like(VOICE)], axis=1),
        np.stack([VOICE, np.roll(VOICE, 9) / 2], axis=1),
        np.stack([VOICE, speech_like(4.0, seed=1)], axis=1),
        np.stack([VOICE * (np.arange(VOICE.size) < 30_000), VOICE * (np.arange(VOICE.size) >= 30_000)], axis=1),
        np.stack([noise(0, 99_999, 0.1), noise(1, 99_999, 0.1)], axis=1),
        np.stack([VOICE + noise(0, VOICE.size, 0.01), VOICE + noise(1, VOICE.size, 0.01)], axis=1),
        np.zeros((9999, 2), np.float32),
    ],
    ids=["same", "one side", "spaced", "two voices", "turns", "noise", "noisy", "silence"],
)
def test_where_nothing_cancels_it_is_the_mean_bit_for_bit(stereo: FloatArray) -> None:
    np.testing.assert_array_equal(mixed(stereo), stereo.mean(axis=1, dtype=np.float32))


def test_it_switches_without_clicks_and_only_when_something_changes() -> None:
    """In phase, out of phase, in phase: a slow tone shows each step."""
    low = tone(50, RATE_HZ, 8.0)
    sign = np.where((np.arange(low.size) // (2 * RATE_HZ)) == 1, -1, 1).astype(np.float32)
    heard = mixed(np.stack([low, sign * low], axis=1))
    assert np.abs(np.diff(heard)).max() < 2.5 * np.abs(np.diff(low)).max()
    np.testing.assert_array_equal(heard[3 * RATE_HZ :], low[3 * RATE_HZ :])


def test_pauses_with_noise_of_their_own_in_each_channel_do_not_bring_the_mean_back() -> None:
    """Else the first sound after each pause would be lost."""
    talk = np.concatenate([VOICE, np.zeros(5 * RATE_HZ, np.float32), VOICE])
    wires = np.stack([talk + noise(0, talk.size, 1e-3), -talk + noise(1, talk.size, 1e-3)], axis=1)
    np.testing.assert_array_equal(mixed(wires)[RATE_HZ:], wires[RATE_HZ:, 0])


def test_the_strongest_channel_is_followed() -> None:
    other = speech_like(4.0, seed=1)
    surround = np.zeros((8 * RATE_HZ, 6), np.float32)
    surround[: VOICE.size, 2], surround[VOICE.size :, 5] = VOICE, other
    heard = mixed(surround)
    assert level_db(heard[: VOICE.size], VOICE) == pytest.approx(0, abs=0.1)
    assert level_db(heard[VOICE.size + RATE_HZ // 2 :], other[RATE_HZ // 2 :]) == pytest.approx(0, abs=0.1)


def turning_stereo(channels: int, rate_hz: int) -> FloatArray:
    """In phase and out of phase in turns, so that every kind of change happens."""
    voice = speech_like(1.5, rate_hz)
    sign = np.where(np.arange(voice.size) // (rate_hz // 3) % 2, -1, 1).astype(np.float32)
    return np.stack([voice, *[sign * voice] * (channels - 1)], axis=1)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3000), max_size=30), st.sampled_from([2, 4]), st.sampled_from([8000, 11_025, 48_000]))
def test_any_chunking_gives_the_same(sizes: list[int], channels: int, rate_hz: int) -> None:
    stereo = turning_stereo(channels, rate_hz)
    mixer = Downmixer(channels, rate_hz, "a file")
    pieces = [mixer.push(stereo[piece]) for piece in chunked(len(stereo), sizes)]
    np.testing.assert_array_equal(np.concatenate(pieces), mixed(stereo, rate_hz))
    mixer.reset()
    np.testing.assert_array_equal(mixer.push(stereo), mixed(stereo, rate_hz))


def test_it_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    mixer = Downmixer(2, RATE_HZ, "talk.wav")
    for _ in range(3):
        mixer.push(np.stack([VOICE, VOICE], axis=1))
        assert not caplog.records
    for sign in (-1, 1, -1):
        mixer.push(np.stack([VOICE, sign * VOICE], axis=1))
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["talk.wav"]


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one channel"):
        Downmixer(0, RATE_HZ, "a file")
    with pytest.raises(ValueError, match=r"must be \[samples, 2\]"):
        Downmixer(2, RATE_HZ, "a file").push(np.zeros((9, 3), np.float32))
