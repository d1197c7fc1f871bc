"""A signal like speech, made from nothing, so that unit tests need no files."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from audio_avif.types import FloatArray

_RATE_HZ = 16_000


def speech_like(duration_s: float, rate_hz: int = 16_000, seed: int = 0) -> FloatArray:
    """Voiced syllables with gliding pitch and formants, hiss between them and a few pauses: ``[samples]``, peak 0.5."""
    return _made_once(duration_s, rate_hz, seed).copy()


@lru_cache(maxsize=64)
def _made_once(duration_s: float, rate_hz: int, seed: int) -> FloatArray:
    random = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    pitch_hz = 120 + 30 * np.sin(2 * np.pi * 0.7 * time_s + random.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    voice = np.zeros_like(time_s)
    for harmonic in range(1, 30):
        formant_hz = 600 + 250 * np.sin(2 * np.pi * 1.3 * time_s + random.uniform(0, 6))
        weight = np.exp(-(((harmonic * pitch_hz - formant_hz) / 400) ** 2)) + 0.5 / harmonic**1.5
        voice += weight * np.sin(harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 3.3 * time_s + random.uniform(0, 6)) + 0.3, 0, None)
    hiss = 0.1 * random.normal(size=time_s.size) * np.clip(-np.sin(2 * np.pi * 3.3 * time_s), 0, None)
    signal = voice * syllables + hiss
    peak = max(1e-9, np.abs(signal).max(initial=0.0))
    return np.asarray(0.5 * signal / peak, np.float32)


def chunked(length: int, sizes: list[int]) -> list[slice]:
    """Cut ``length`` samples into pieces of the given sizes and a last one of what remains."""
    ends = np.minimum(np.cumsum([0, *sizes]), length).tolist()
    return [slice(start, end) for start, end in zip(ends, [*ends[1:], length], strict=True)]


def tone(frequency_hz: float, rate_hz: int, seconds: float, level: float = 0.5) -> FloatArray:
    """A sine ``[samples] float32``."""
    return (level * np.sin(2 * np.pi * frequency_hz * np.arange(round(rate_hz * seconds)) / rate_hz)).astype(np.float32)


@lru_cache
def speech_with_a_pause() -> FloatArray:
    """1.5 s of words, 4.5 s of a quiet room, words again, the quiet room: 8 s at 16 kHz."""
    words = speech_like(1.5)
    room = np.random.default_rng(5).normal(0, 1e-3, 8 * _RATE_HZ).astype(np.float32)
    room[: words.size] += words
    room[6 * _RATE_HZ :][: words.size] += words
    return room
