"""Concealment joins what it stands between: in the frames, and in the sound that the vocoder makes of them."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest

from audio_avif.codec.concealment import decay, fade_in, interpolate, over_noise
from audio_avif.codec.noise import FloorTracker, NoiseSource
from audio_avif.config import RATE_HZ, MelConfig
from audio_avif.edge.sound_files import read_audio
from audio_avif.metrics import stoi
from audio_avif.signal.features import log_mel
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import load_vocoder
from audio_avif.vocoders.streaming import open_stream
from audio_avif_tools.bitrate.losses import fill, lost_tiles, through_avif
from audio_avif_tools.shared.signals import demo_clip
from support.paths import CORPUS
from support.speech import FloatArray

BEFORE = np.linspace(-1, -4, 80).astype(np.float32)
AFTER = np.linspace(-3, 0, 80).astype(np.float32)
MEL = MelConfig()
TILE_FRAMES = 8


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
    faded = decay(BEFORE, np.full(80, -11, np.float32), 10, 0.01)
    assert faded.shape == (80, 10)
    assert faded.dtype == np.float32
    np.testing.assert_allclose(faded[:, -1], BEFORE - 1.0, atol=1e-5)
    np.testing.assert_allclose(np.diff(faded, axis=1), -0.1, atol=1e-5)


def test_decay_ends_at_the_background_and_lifts_nothing_to_it() -> None:
    floor = np.full(80, -2.5, np.float32)
    faded = decay(BEFORE, floor, 100, 0.016)
    np.testing.assert_array_equal(faded[:, -1], np.minimum(BEFORE, floor))
    assert (np.diff(np.column_stack([BEFORE, faded]), axis=1) <= 0).all()


def test_decay_frame_by_frame_is_decay_at_once() -> None:
    floor = AFTER - 2
    last, one_by_one = BEFORE, []
    for _ in range(20):
        last = decay(last, floor, 1, 0.016)[:, 0]
        one_by_one.append(last)
    np.testing.assert_allclose(np.column_stack(one_by_one), decay(BEFORE, floor, 20, 0.016), atol=1e-5)


def test_noise_is_heard_where_what_fades_has_gone() -> None:
    floor = np.full(80, -3, np.float32)
    fading = decay(BEFORE, floor, 30, 0.016)
    noise = NoiseSource(MEL).frames(floor, 30)
    heard = over_noise(fading, floor, noise)
    assert heard.dtype == np.float32
    np.testing.assert_array_equal(heard[:, -1], noise[:, -1])
    assert (heard >= noise).all()
    np.testing.assert_array_equal(heard[:10, 0], fading[:10, 0])


def test_what_comes_after_silence_rises_by_20_db_in_100_ms() -> None:
    risen = fade_in(np.repeat(BEFORE[:, None], 20, axis=1), 0.01)
    np.testing.assert_allclose(risen[:, 0], BEFORE - 1, atol=1e-5)
    np.testing.assert_allclose(np.diff(risen[:, :11], axis=1), 0.1, atol=1e-5)
    np.testing.assert_array_equal(risen[:, 11:], np.repeat(BEFORE[:, None], 9, axis=1))


@pytest.fixture(scope="module")
def vocoder() -> Vocoder:
    return load_vocoder(device="cpu", name="embedded")


@pytest.fixture(scope="module")
def speech() -> FloatArray:
    """Log-mel of synthesised speech in a room, whole tiles of it."""
    clip = demo_clip()[: 5 * RATE_HZ]
    room = 1e-3 * np.random.default_rng(0).normal(size=clip.size)
    frames = log_mel((clip + room).astype(np.float32))
    return frames[:, : frames.shape[1] // TILE_FRAMES * TILE_FRAMES]


@pytest.fixture(scope="module")
def spoken(vocoder: Vocoder, speech: FloatArray) -> FloatArray:
    """What the vocoder makes of it without loss."""
    return speak(vocoder, speech)


def speak(vocoder: Vocoder, frames: FloatArray) -> FloatArray:
    stream = open_stream(vocoder)
    starts = range(0, frames.shape[1], TILE_FRAMES)
    return np.concatenate([*(stream.push(frames[:, at : at + TILE_FRAMES]) for at in starts), stream.flush()])


def without(speech: FloatArray, first: int, frames: int, is_interpolated: bool) -> tuple[FloatArray, FloatArray]:
    """The frames heard when some are lost, and the background's level before."""
    tracker = FloorTracker(MEL)
    tracker.push(speech[:, :first])
    floor, before = tracker.floor, speech[:, first - 1]
    if is_interpolated:
        fill = interpolate(before, speech[:, first + frames], frames)
    else:
        noise = NoiseSource(MEL).frames(floor, frames)
        fill = over_noise(decay(before, floor, frames, MEL.frame_s), floor, noise)
    return np.concatenate([speech[:, :first], fill, speech[:, first + frames :]], axis=1), floor


def worst_click(samples: FloatArray) -> float:
    """How far the sharpest edge of 1 ms stands out of the 10 ms on each of its sides.

    A click is a jump: it is loudest in the sixth difference, where speech has little, and it is alone. An onset is as
    sharp, and goes on.
    """
    edges = np.abs(np.diff(samples.astype(np.float64), 6))
    edges = edges[: edges.size // 16 * 16].reshape(-1, 16).max(axis=1)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(edges, 10, mode="reflect"), 21)
    usual = np.maximum(*(np.percentile(side, 90, axis=1) for side in (around[:, :9], around[:, 12:])))
    return float((edges / (usual + 1e-4)).max())


CLICK = 1.3  # times the sharpest edge of the vocoder's own
STARTS = [120, 176, 208]


@pytest.mark.parametrize(
    ("tiles", "is_interpolated"), [(1, True), (2, True), (4, True), (1, False), (3, False), (8, False)]
)
def test_a_loss_makes_no_click(
    vocoder: Vocoder, speech: FloatArray, spoken: FloatArray, tiles: int, is_interpolated: bool
) -> None:
    usual = worst_click(spoken)
    for first in STARTS:
        frames, _ = without(speech, first, tiles * TILE_FRAMES, is_interpolated)
        assert worst_click(speak(vocoder, frames)) < CLICK * usual, f"lost from frame {first}"


def test_clicks_would_be_found(spoken: FloatArray) -> None:
    """Sound that stops in the middle of a voice and goes on later; beside another glottal pulse it is not heard.

    The sharper a vocoder's own pulses are, the more of these clicks they hide; those of the original hide most.
    """
    clicks = []
    for first in range(RATE_HZ // 2, spoken.size - RATE_HZ, 499):
        cut = spoken.copy()
        cut[first : first + TILE_FRAMES * MEL.hop_samples] = 0
        if abs(spoken[first - 1]) > 0.02:
            clicks.append(worst_click(cut))
    assert len(clicks) >= 40
    assert np.mean(np.array(clicks) > CLICK * worst_click(spoken)) > 0.4


def test_no_tone_is_left_300_ms_after_the_last_sound(vocoder: Vocoder, speech: FloatArray) -> None:
    settled = round(0.3 / MEL.frame_s) + 1
    for first in STARTS:
        frames, floor = without(speech, first, 64, is_interpolated=False)
        heard = log_mel(speak(vocoder, frames))[:, first + settled : first + 60]
        error_db = 20 * (heard.mean(axis=1) - floor)
        assert np.abs(error_db.reshape(8, 10).mean(axis=1)).max() < 3, f"lost from frame {first}"
        assert error_db.max() < 6, f"lost from frame {first}"


def test_speech_is_whole_again_100_ms_after_a_loss(vocoder: Vocoder, speech: FloatArray, spoken: FloatArray) -> None:
    whole = log_mel(spoken)
    for first in STARTS:
        frames, _ = without(speech, first, 24, is_interpolated=False)
        after = slice(first + 24 + 7, first + 24 + 40)
        heard = np.maximum(log_mel(speak(vocoder, frames))[:, after], -4)
        assert np.abs(heard - np.maximum(whole[:, after], -4)).mean() < 0.05


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no speech in {CORPUS}; AUDIO_AVIF_CORPUS may name a folder")
@pytest.mark.parametrize("mean_burst_tiles", [1, 3])
@pytest.mark.parametrize("interpolated_tiles", [0, 4])
def test_words_are_understood_where_one_tile_in_twenty_is_lost(
    vocoder: Vocoder, mean_burst_tiles: int, interpolated_tiles: int
) -> None:
    clips = [read_audio(path) for path in sorted(CORPUS.glob("*_clean_*.flac"))[::12]]
    pictures = [through_avif(clip) for clip in clips]
    patterns = (lost_tiles(sum(map(len, pictures)), mean_burst_tiles, seed) for seed in count())
    lost = next(pattern for pattern in patterns if abs(pattern.mean() - 0.05) < 0.005)
    scores = []
    for clip, tiles, holes in zip(clips, pictures, np.split(lost, np.cumsum([*map(len, pictures)])[:-1]), strict=True):
        sound = speak(vocoder, fill(tiles, holes, interpolated_tiles))
        scores.append(stoi(clip[: sound.size], sound[: clip.size]))
    assert np.mean(scores) > (0.85 if interpolated_tiles else 0.80)
