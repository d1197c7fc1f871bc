"""Test signals whose delay can be measured, and functions that measure it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_avif.config import RATE_HZ
from audio_avif.edge.sound_files import read_audio
from audio_avif.types import FloatArray

CHIRP_SAMPLES = 960  # 60 ms, about four hops: short enough to locate, long enough to survive the codec


def demo_clip_path() -> Path:
    """The bundled clip of synthesised speech, a FLAC file at 16 kHz."""
    return Path(__file__).parents[1] / "clips" / "speech.flac"


def demo_clip() -> FloatArray:
    """The bundled clip ``[samples]`` at 16 kHz."""
    return read_audio(demo_clip_path())


def clicks_and_speech(seconds: float) -> FloatArray:
    """The repeated demo clip with a click of 2 ms every second, ``[samples]`` at 16 kHz."""
    signal = np.resize(demo_clip(), round(seconds * RATE_HZ)) * np.float32(0.7)
    click = np.hanning(32).astype(np.float32) * np.float32(0.9)
    for start in range(RATE_HZ // 2, signal.size - click.size, RATE_HZ):
        signal[start : start + click.size] = click
    return signal


def chirp() -> FloatArray:
    """A sweep from 400 to 4000 Hz under a Hann window ``[CHIRP_SAMPLES]``."""
    t = np.arange(CHIRP_SAMPLES) / RATE_HZ
    length_s = CHIRP_SAMPLES / RATE_HZ
    phase = 2 * np.pi * (400 * t + (4000 - 400) / (2 * length_s) * t**2)
    return (0.7 * np.hanning(CHIRP_SAMPLES) * np.sin(phase)).astype(np.float32)


def chirp_starts(seconds: float) -> list[int]:
    """The starts of the chirps, at uneven distances of 0.75 to 1.15 s so that only one delay matches."""
    rng = np.random.default_rng(1)
    starts, at = [], 0.5
    while at < seconds - 0.5:
        starts.append(round(at * RATE_HZ))
        at += rng.uniform(0.75, 1.15)
    return starts


def chirp_train(seconds: float) -> FloatArray:
    """All chirps of ``chirp_starts`` in silence ``[samples]``."""
    train = np.zeros(round(seconds * RATE_HZ), np.float32)
    one = chirp()
    for start in chirp_starts(seconds):
        train[start : start + one.size] = one
    return train


def correlation(reference: FloatArray, heard: FloatArray) -> npt.NDArray[np.float64]:
    """Cross-correlation for lags 0..len(heard)-1: entry k is large where ``heard[k:]`` looks like ``reference``."""
    size = 1 << (reference.size + heard.size - 1).bit_length()
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(reference, size))
    return np.asarray(np.fft.irfft(spectrum, size)[: heard.size], np.float64)


def envelope(samples: FloatArray) -> FloatArray:
    """Loudness over time: the magnitude smoothed over 8 ms ``[samples]``."""
    kernel = np.hanning(RATE_HZ * 8 // 1000)
    return np.convolve(np.abs(samples), kernel / kernel.sum(), mode="same").astype(np.float32)
