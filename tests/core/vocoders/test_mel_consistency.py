"""A vocoder's sound corrected towards its mel: the stream's contract, and what the correction does and leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.recording.segments import speak
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.tiles import TileCutter, from_pixels
from audio_avif.types import FloatArray
from audio_avif.vocoders.mel_consistency import ConsistencyPass, ConsistentVocoder, Detail
from audio_avif.vocoders.registry import load_vocoder
from audio_avif.vocoders.streaming import open_stream
from support.speech import speech_like

MEL = MelConfig()
HOP = MEL.hop_samples
FRAMES = log_mel(speech_like(1.0))
LATENCY_SAMPLES = 768 + 2 * 768


@pytest.fixture(scope="module")
def vocoder() -> ConsistentVocoder:
    loaded = load_vocoder(device="cpu", name="embedded-high")
    assert isinstance(loaded, ConsistentVocoder)
    return loaded


@pytest.fixture(scope="module")
def whole(vocoder: ConsistentVocoder) -> FloatArray:
    return vocoder.synthesize(FRAMES)


def through_tiles(sound: FloatArray, quality: int) -> FloatArray:
    tile, cutter = TileConfig(16), TileCutter(80, TileConfig(16))
    tiles = cutter.push(log_mel(sound)) + cutter.flush()
    pixels = [decode_still(encode_still(each.pixels, EncoderConfig(quality)), tile.frames, 80) for each in tiles]
    return np.concatenate([from_pixels(picture, tile) for picture in pixels], axis=1)


def deviation_db(samples: FloatArray, frames: FloatArray) -> float:
    """How far the audible bands of a sound are from those of a mel."""
    heard = log_mel(samples)[:, : frames.shape[1]]
    audible = frames > -3
    return float(20 * np.abs(heard - frames)[audible].mean())


# The stream's contract


@settings(derandomize=True, deadline=None, max_examples=10)
@given(chunks=st.lists(st.integers(0, 30), max_size=8))
def test_any_chunking_equals_one_shot(vocoder: ConsistentVocoder, whole: FloatArray, chunks: list[int]) -> None:
    stream = open_stream(vocoder)
    assert stream.latency_samples == LATENCY_SAMPLES
    pieces = []
    for part in np.split(FRAMES, np.minimum(np.cumsum(chunks, dtype=int), FRAMES.shape[1]), axis=1):
        pieces.append(stream.push(part))
    assert sum(piece.size for piece in pieces) == FRAMES.shape[1] * HOP - LATENCY_SAMPLES
    np.testing.assert_allclose(np.concatenate([*pieces, stream.flush()]), whole, atol=1e-4)


@pytest.mark.parametrize("frames", [0, 1, 5, 9])
def test_short_signals_come_out_whole(vocoder: ConsistentVocoder, frames: int) -> None:
    stream = open_stream(vocoder)
    assert stream.push(FRAMES[:, :frames]).size == 0
    assert stream.flush().size == frames * HOP == vocoder.synthesize(FRAMES[:, :frames]).size


def test_reset_leaves_no_trace(vocoder: ConsistentVocoder, whole: FloatArray) -> None:
    stream = open_stream(vocoder)
    stream.push(FRAMES[:, ::-1])
    stream.reset()
    np.testing.assert_allclose(np.concatenate([stream.push(FRAMES), stream.flush()]), whole, atol=1e-4)


def test_recordings_are_spoken_as_a_whole(vocoder: ConsistentVocoder, whole: FloatArray) -> None:
    np.testing.assert_allclose(speak(FRAMES, vocoder), whole, atol=1e-4)


# The correction


def test_the_bands_come_nearer_to_the_mel(vocoder: ConsistentVocoder, whole: FloatArray) -> None:
    assert deviation_db(whole, FRAMES) < 0.8 * deviation_db(vocoder.base.synthesize(FRAMES), FRAMES)


def test_a_signal_that_has_its_mel_is_left_alone_from_the_first_sample() -> None:
    sound = speech_like(0.5)[: 30 * HOP].astype(np.float64) + 0.1  # no fade at either end would hide
    bands = 10.0 ** log_mel(sound.astype(np.float32))[:, :30].astype(np.float64)
    once = ConsistencyPass(MEL)
    once.expect(bands, np.ones(30))
    np.testing.assert_allclose(np.concatenate([once.push(sound), once.flush()]), sound, atol=1e-5)


def test_unknown_bands_are_left_alone() -> None:
    sound = speech_like(0.5)[: 30 * HOP].astype(np.float64)
    once = ConsistencyPass(MEL)
    once.expect(np.full((80, 30), np.nan), np.ones(30))
    np.testing.assert_allclose(np.concatenate([once.push(sound), once.flush()]), sound, atol=1e-12)


@pytest.mark.parametrize("level_log10", [np.nan, -10.0, 4.0])
def test_silence_stays_silent_and_damage_stays_finite(vocoder: ConsistentVocoder, level_log10: float) -> None:
    samples = vocoder.synthesize(np.full((80, 30), level_log10, np.float32))
    assert np.abs(samples).max() <= (1e-3 if level_log10 == -10.0 else 1.0)


def test_coarse_tiles_are_told_from_fine_ones_and_from_clean_mel() -> None:
    sound = speech_like(3.0)
    shares = [
        Detail(MEL).push(frames.astype(np.float64))[60:].mean()
        for frames in (through_tiles(sound, 30), through_tiles(sound, 70), log_mel(sound))
    ]
    assert shares[0] < shares[1] <= shares[2]
    assert shares[0] < 0.2
