"""The vocoders that come with the package, and the default one heard through tiles."""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import pytest

from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.edge.sound_files import read_audio
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.tiles import TileCutter, from_pixels
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif.vocoders.onnx_model import OnnxVocoder
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.registry import load_vocoder
from audio_avif.vocoders.streaming import open_stream
from support.paths import CORPUS
from support.speech import FloatArray, speech_like

LATENCIES_SAMPLES = {"embedded": 768, "embedded-low": 256}
MIN_GAINS = {"embedded": 0.2, "embedded-low": 0.08}  # over RTISI-LA, which takes 768 samples


@pytest.fixture(scope="module", params=LATENCIES_SAMPLES)
def embedded(request: pytest.FixtureRequest) -> OnnxVocoder:
    vocoder = load_vocoder(device="cpu", name=request.param)
    assert isinstance(vocoder, OnnxVocoder)
    return vocoder


def streamed(vocoder: Vocoder, frames: FloatArray, chunk_frames: int) -> FloatArray:
    stream = open_stream(vocoder)
    parts = [stream.push(frames[:, at : at + chunk_frames]) for at in range(0, frames.shape[1], chunk_frames)]
    return np.concatenate([*parts, stream.flush()])


def test_there_are_two_and_they_are_small() -> None:
    files = [entry for entry in resources.files("audio_avif_onnx.models").iterdir() if entry.name.endswith(".onnx")]
    assert {file.name for file in files} == {f"{name}.onnx" for name in LATENCIES_SAMPLES}
    assert sum(len(file.read_bytes()) for file in files) <= 8_000_000


def test_it_carries_its_own_state_and_is_small(embedded: OnnxVocoder) -> None:
    assert embedded.has_state
    assert embedded.mel == MelConfig()
    assert embedded.info.latency_samples == LATENCIES_SAMPLES[embedded.info.name]
    assert sum(state.size for state in embedded.zero_state().values()) < 100_000


@pytest.mark.parametrize("chunk_frames", [1, 3, 8])
def test_any_chunking_is_the_whole(embedded: OnnxVocoder, chunk_frames: int) -> None:
    frames = log_mel(speech_like(1.0))
    whole = embedded.synthesize(frames)
    assert whole.size == frames.shape[1] * 256
    np.testing.assert_allclose(streamed(embedded, frames, chunk_frames), whole, atol=1e-4)


def test_silence_stays_silent_and_damage_stays_finite(embedded: OnnxVocoder) -> None:
    silence = np.full((80, 30), -10.0, np.float32)
    assert np.abs(embedded.synthesize(silence)).max() < 1e-3
    loud = np.full((80, 30), 4.0, np.float32)
    assert np.abs(embedded.synthesize(loud)).max() <= 1.0


def through_tiles(sound: FloatArray) -> FloatArray:
    tile, cutter = TileConfig(), TileCutter(80, TileConfig())
    tiles = cutter.push(log_mel(sound)) + cutter.flush()
    pixels = [decode_still(encode_still(tile_.pixels, EncoderConfig()), tile.frames, 80) for tile_ in tiles]
    return np.concatenate([from_pixels(picture, tile) for picture in pixels], axis=1)


def score(sound: FloatArray, vocoder: Vocoder, frames: FloatArray) -> float:
    from pesq import pesq

    return float(pesq(16_000, sound, streamed(vocoder, frames, 8)[: sound.size], "wb"))


@cache
def baseline() -> list[tuple[FloatArray, FloatArray, float]]:
    """Clips, their frames after coding, and the score of RTISI-LA."""
    sounds = [read_audio(clip)[: 5 * 16_000] for clip in sorted(CORPUS.glob("*_clean_*.flac"))[:24:6]]
    coded = [(sound, through_tiles(sound)) for sound in sounds]
    return [(sound, frames, score(sound, GriffinLim(), frames)) for sound, frames in coded]


@pytest.mark.slow
@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no speech in {CORPUS}; AUDIO_AVIF_CORPUS may name a folder")
def test_it_sounds_better_than_griffin_lim_through_tiles(embedded: OnnxVocoder) -> None:
    gains = [score(sound, embedded, frames) - reference for sound, frames, reference in baseline()]
    assert np.mean(gains) > MIN_GAINS[embedded.info.name]
