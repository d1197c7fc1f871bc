"""Going over from one vocoder to another keeps every sample in its place and makes no seam."""

from __future__ import annotations

import numpy as np
import pytest

from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import RtisiLa
from audio_avif.vocoders.registry import load_vocoder
from audio_avif.vocoders.replaceable import ReplaceableStream
from audio_avif.vocoders.streaming import open_stream
from support.speech import speech_like
from support.stage import HOP, MEL, FrameTeller


def told(numbers: range) -> FloatArray:
    """Frames of which the telling vocoder says the numbers."""
    levels = np.array(numbers, np.float32) * np.float32(6.5 / 255) - np.float32(5.5)
    return np.repeat(levels[None], MEL.n_mels, axis=0).astype(np.float32)


@pytest.mark.parametrize("before", [0, 1, 3])
@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("tile_frames", [1, 2, 8])
@pytest.mark.parametrize("at_tile", [0, 1, 5])
def test_every_sample_comes_out_once_and_in_its_place(before: int, after: int, tile_frames: int, at_tile: int) -> None:
    stream = ReplaceableStream(FrameTeller(before), MEL)
    pieces = []
    for number in range(8):
        if number == at_tile:
            stream.replace(FrameTeller(after))
        pieces.append(stream.push(told(range(number * tile_frames, (number + 1) * tile_frames))))
    assert stream.latency_samples == after * HOP
    pieces.append(stream.flush())
    spoken = np.concatenate(pieces)
    np.testing.assert_allclose(spoken, np.repeat(np.arange(8.0 * tile_frames), HOP), atol=1e-3)


def levels_db(samples: FloatArray) -> FloatArray:
    """The level of each 8 ms."""
    steps = samples[: samples.size // 128 * 128].reshape(-1, 128)
    return np.asarray(20 * np.log10(np.sqrt(np.mean(steps**2, axis=1)) + 1e-3), np.float32)


@pytest.mark.parametrize("to", ["embedded-low", "griffin-lim"])
def test_no_seam_is_heard(to: str) -> None:
    """At the change the sound's level is as near to a third vocoder's as elsewhere."""
    frames = log_mel(speech_like(3.0))
    stream = ReplaceableStream(open_stream(load_vocoder("cpu", "embedded")), MEL)
    pieces = []
    for start in range(0, frames.shape[1], 4):
        if start == 80:
            stream.replace(open_stream(load_vocoder("cpu", to)))
        pieces.append(stream.push(frames[:, start : start + 4]))
    heard = np.concatenate([*pieces, stream.flush()])
    alone = RtisiLa(MEL)
    expected = np.concatenate([alone.push(frames), alone.flush()])
    assert heard.size == expected.size
    away = np.abs(levels_db(heard) - levels_db(expected))
    assert away[156:168].max() < np.percentile(away, 99) + 3
