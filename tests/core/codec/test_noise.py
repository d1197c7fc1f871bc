"""Pauses are found where nobody speaks and nowhere else, and the noise in their place is as loud as the background."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.codec.noise import FloorTracker, NoiseSource, PauseDetector, noise_envelope, noise_levels
from audio_avif.config import MAX_TILE_FRAMES, RATE_HZ, EncoderConfig, MelConfig, TileConfig
from audio_avif.edge.sound_files import read_audio
from audio_avif.link.packets import NOISE_LEVELS
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.tiles import from_pixels, to_pixels
from support.paths import CORPUS
from support.speech import FloatArray, chunked, speech_like, tone

MEL, TILE = MelConfig(), TileConfig()


def hiss(seconds: float, level: float = 1e-3, seed: int = 0) -> FloatArray:
    return (level * np.random.default_rng(seed).normal(size=round(seconds * RATE_HZ))).astype(np.float32)


def vowel(seconds: float) -> FloatArray:
    """A sung vowel without end: a steady pitch of 120 Hz and its harmonics, far above a room's noise."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return np.asarray(0.05 * sum(np.sin(2 * np.pi * 120 * k * time_s) / k for k in range(1, 30)), np.float32)


def pauses(samples: FloatArray, tile_frames: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """For each whole tile of the sound: when it begins in s, and whether it is a pause."""
    frames = log_mel(samples)
    detector = PauseDetector(MEL)
    starts = np.arange(0, frames.shape[1] - tile_frames + 1, tile_frames)
    found = [detector.push(frames[:, start : start + tile_frames]) for start in starts]
    return starts * MEL.frame_s, np.array(found)


@pytest.mark.parametrize("tile_frames", [2, 8, 64])
def test_background_noise_is_a_pause_once_it_is_known(tile_frames: int) -> None:
    starts_s, is_pause = pauses(hiss(20), tile_frames)
    assert not is_pause[starts_s < 0.98].any()
    assert is_pause[starts_s > 5].mean() > 0.95


def test_digital_silence_is_a_pause_and_the_first_sound_after_it_is_not() -> None:
    starts_s, is_pause = pauses(np.concatenate([np.zeros(3 * RATE_HZ, np.float32), 0.1 * hiss(1, 1.0)]))
    is_silent = (starts_s > 1.2) & (starts_s < 2.7)
    assert is_pause[is_silent].all()
    assert not is_pause[starts_s > 2.9].any()


@pytest.mark.parametrize("level", [0.0, 1e-3, 5e-3])
def test_a_word_is_sent_from_its_first_sound_to_its_last(level: float) -> None:
    speech = speech_like(3.0, seed=2)
    room = hiss(14, level)
    start = round(6.013 * RATE_HZ)
    room[start : start + speech.size] += speech
    starts_s, is_pause = pauses(room)
    sounding = np.flatnonzero(np.abs(speech) > 10 ** (-40 / 20) * np.abs(speech).max()) + start
    tile = sounding // (MEL.hop_samples * TILE.frames)
    assert not is_pause[np.unique(tile)].any()
    assert is_pause[(starts_s > 4.5) & (starts_s < 5.7)].mean() > 0.8
    assert is_pause[(starts_s > 9.6) & (starts_s < 13.6)].mean() > 0.8


@pytest.mark.parametrize(("db", "within_s"), [(10, 5.0), (-10, 1.0)])
def test_noise_that_changes_by_10_db_is_a_pause_again_within_seconds(db: float, within_s: float) -> None:
    samples = hiss(20, 2e-3)
    samples[8 * RATE_HZ :] *= 10 ** (db / 20)
    starts_s, is_pause = pauses(samples)
    assert is_pause[starts_s > 8 + within_s].mean() > 0.95
    if db > 0:
        assert not is_pause[(starts_s > 7.95) & (starts_s < 9)].any()


@pytest.mark.parametrize("before_s", [0, 3])
@pytest.mark.parametrize("sound", [vowel(20), tone(440, RATE_HZ, 20, 0.05)], ids=["vowel", "tone"])
def test_a_held_note_never_becomes_a_pause(before_s: int, sound: FloatArray) -> None:
    samples = hiss(before_s + 20, 5e-4)
    samples[before_s * RATE_HZ :] += sound
    starts_s, is_pause = pauses(samples)
    assert not is_pause[starts_s > before_s].any()


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no music in {CORPUS}; AUDIO_AVIF_CORPUS may name a folder")
@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_music_is_not_a_pause(gain: float) -> None:
    clips = sorted(CORPUS.glob("*_music_music-*.flac"))
    assert clips
    for clip in clips:
        _, is_pause = pauses(gain * np.tile(read_audio(clip), 4))
        assert is_pause.mean() < 0.03, clip.name


def test_a_stream_that_begins_in_the_middle_of_speech_is_sent() -> None:
    _, is_pause = pauses(speech_like(4.0, seed=5) + hiss(4, 1e-3))
    assert not is_pause[:8].any()
    assert is_pause.mean() < 0.2


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, MAX_TILE_FRAMES), max_size=20), st.integers(0, 99))
def test_the_floor_is_the_same_for_any_chunking(sizes: list[int], seed: int) -> None:
    frames = log_mel(speech_like(3.0, seed=seed) + hiss(3))
    whole, pieces = FloorTracker(MEL, spares_tones=True), FloorTracker(MEL, spares_tones=True)
    whole.push(frames)
    for piece in chunked(frames.shape[1], sizes):
        pieces.push(frames[:, piece])
    np.testing.assert_array_equal(whole.floor, pieces.floor)


def test_the_floor_is_the_mean_of_the_noise_that_words_stand_in() -> None:
    noise = hiss(8, 2e-3)
    tracker = FloorTracker(MEL)
    speech = speech_like(8.0, seed=1) * (np.arange(8 * RATE_HZ) % (2 * RATE_HZ) < RATE_HZ)
    tracker.push(log_mel((noise + speech).astype(np.float32)))
    error_db = 20 * (tracker.floor - log_mel(noise).mean(axis=1)).reshape(NOISE_LEVELS, -1).mean(axis=1)
    assert np.abs(error_db).max() < 2


@pytest.mark.parametrize("quality", [20, 60])
def test_the_receiver_learns_a_loud_background_from_pictures_that_smooth_it(quality: int) -> None:
    frames = log_mel(hiss(12, 0.03))[:, : 90 * 8]
    config = EncoderConfig(quality=quality)
    tracker = FloorTracker(MEL)
    for start in range(0, frames.shape[1], 8):
        still = encode_still(to_pixels(frames[:, start : start + 8], TILE), config)
        tracker.push(from_pixels(decode_still(still, 8, 80), TILE))
    error_db = 20 * (tracker.floor - frames.mean(axis=1)).reshape(NOISE_LEVELS, -1).mean(axis=1)
    assert np.abs(error_db).max() < 2


def test_reset_begins_a_new_stream() -> None:
    frames = log_mel(hiss(6))
    detector = PauseDetector(MEL)
    detector.push(frames)
    assert detector.push(frames[:, :8])
    detector.reset()
    assert not detector.push(frames[:, :8])


@pytest.mark.parametrize("n_mels", [8, 13, 80, 128])
def test_levels_come_back_as_the_same_levels(n_mels: int) -> None:
    random = np.random.default_rng(n_mels)
    for _ in range(20):
        levels = bytes(random.integers(90, 150, NOISE_LEVELS, dtype=np.uint8))
        envelope = noise_envelope(levels, n_mels, TILE)
        assert envelope.shape == (n_mels,)
        assert envelope.dtype == np.float32
        assert noise_levels(envelope[:, None], TILE) == levels


def test_levels_run_from_the_low_bands_to_the_high() -> None:
    rising = np.linspace(-4, -2, 80, dtype=np.float32)
    levels = list(noise_levels(np.tile(rising[:, None], 8), TILE))
    assert levels == sorted(levels)
    assert levels[0] < levels[-1]
    np.testing.assert_allclose(noise_envelope(bytes(levels), 80, TILE)[5:75], rising[5:75], atol=0.05)


def test_made_noise_fluctuates_as_real_noise_does() -> None:
    real = log_mel(hiss(8, seed=7))[:, 4:-4]
    made = NoiseSource(MEL).frames(real.mean(axis=1), 480)
    assert made.shape == (80, 480)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made.mean(axis=1), real.mean(axis=1), atol=0.05)
    np.testing.assert_allclose(made.std(axis=1), real.std(axis=1), rtol=0.25)
    changes = [np.diff(frames, axis=1).std(axis=1) for frames in (made, real)]
    np.testing.assert_allclose(*changes, rtol=0.25)


def test_made_noise_is_the_same_for_a_seed_and_any_chunking() -> None:
    envelope = np.full(80, -3, np.float32)
    whole = NoiseSource(MEL, 3).frames(envelope, 700)
    source = NoiseSource(MEL, 3)
    pieces = [source.frames(envelope, count) for count in (1, 1, 8, 500, 190)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
    assert not np.array_equal(NoiseSource(MEL, 4).frames(envelope, 700), whole)


@pytest.mark.parametrize("n_mels", [9, 80])
def test_levels_of_any_kind_stay_within_the_range(n_mels: int) -> None:
    """They come from a peer."""
    envelope = noise_envelope(bytes([0, 255] * 4), n_mels, TILE)
    assert TILE.log10_min <= envelope.min() and envelope.max() <= TILE.log10_max
