"""Scenes: clips as recorded, with noise at a given level, or with long pauses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.types import DoubleArray, FloatArray

_PAUSE_S = 3.0


@dataclass(frozen=True)
class Scene:
    """Clips as recorded, or with ``noise`` at ``snr_db`` below the speech; ``dialogue`` adds long pauses."""

    name: str
    noise: str = ""
    snr_db: float = math.inf
    dialogue: bool = False


SCENES = (
    Scene("as recorded"),
    *(
        Scene(f"{noise} noise, {snr_db} dB", noise, snr_db)
        for noise in ("white", "pink", "babble")
        for snr_db in (20, 10)
    ),
    Scene("dialogue, pink noise, 40 dB", "pink", 40, dialogue=True),
    Scene("dialogue, pink noise, 20 dB", "pink", 20, dialogue=True),
    Scene("dialogue, babble, 20 dB", "babble", 20, dialogue=True),
)


def pink(samples: int, random: np.random.Generator) -> FloatArray:
    """Noise of equal power in each octave, with a standard deviation of 1: ``[samples]``."""
    spectrum = np.fft.rfft(random.normal(size=samples))
    spectrum[1:] /= np.sqrt(np.arange(1, spectrum.size))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, samples)
    return np.asarray(noise / noise.std(), np.float32)


def babble(samples: int, voices: Sequence[FloatArray], random: np.random.Generator) -> FloatArray:
    """Eight simultaneous voices of equal loudness, with a standard deviation of 1: ``[samples]``."""
    chosen = random.choice(len(voices), 8, replace=len(voices) < 8)
    parts = [np.resize(np.roll(voices[at], random.integers(voices[at].size)), samples) for at in chosen]
    noise = sum(part / (part.std() + 1e-9) for part in parts)
    return np.asarray(noise / np.std(noise), np.float32)


def perform(scene: Scene, speech: FloatArray, voices: Sequence[FloatArray], seed: int) -> tuple[FloatArray, FloatArray]:
    """Return the speech alone and the microphone's signal, both ``[samples]``."""
    random = np.random.default_rng(seed)
    if scene.dialogue:
        rest = np.zeros(round(_PAUSE_S * RATE_HZ), np.float32)
        speech = np.concatenate([speech[: speech.size // 2], rest, speech[speech.size // 2 :], rest])
    if not scene.noise:
        return speech, speech
    noise: FloatArray | DoubleArray
    match scene.noise:
        case "white":
            noise = random.normal(size=speech.size)
        case "pink":
            noise = pink(speech.size, random)
        case _:
            noise = babble(speech.size, voices, random)
    gain = np.sqrt(np.mean(speech[speech != 0] ** 2)) * 10 ** (-scene.snr_db / 20)
    return speech, (speech + gain * noise).astype(np.float32)
