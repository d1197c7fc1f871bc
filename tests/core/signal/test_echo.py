"""The echo canceller alone: what it removes, and what it leaves as it is."""

from __future__ import annotations

import numpy as np

from audio_avif.signal.echo import EchoCanceller
from audio_avif.types import FloatArray
from support.speech import speech_like

FRAME = 160
FAR = speech_like(6.0)
TALK = np.roll(speech_like(6.0, seed=3), 4000)


def processed(near: FloatArray, far: FloatArray = FAR) -> FloatArray:
    canceller = EchoCanceller(FRAME, 25)
    frames = range(0, near.size // FRAME * FRAME, FRAME)
    return np.concatenate([canceller.process(near[at : at + FRAME], far[at : at + FRAME]) for at in frames])


def level_db(samples: FloatArray) -> float:
    return float(10 * np.log10(np.mean(samples[-32_000:] ** 2) + 1e-12))


def delayed(far: FloatArray, samples: int) -> FloatArray:
    return np.concatenate([np.zeros(samples, np.float32), 0.5 * far[:-samples]])


def test_an_echo_is_removed_also_after_its_path_has_changed() -> None:
    echo = delayed(FAR, 800)
    assert level_db(processed(echo)) < level_db(echo) - 20
    changed = np.concatenate([echo[:32_000], delayed(FAR, 1500)[32_000:]])
    assert level_db(processed(changed)) < level_db(changed) - 15


def test_speech_beside_the_echo_is_kept() -> None:
    echo = delayed(FAR, 800)
    late = np.where(np.arange(FAR.size) < 48_000, 0, TALK).astype(np.float32)
    heard = processed(echo + late)
    assert level_db(heard - late[: heard.size]) < level_db(echo) - 6  # both have the same pitch


def test_without_a_far_end_nothing_is_changed() -> None:
    assert np.array_equal(processed(TALK, np.zeros_like(TALK)), TALK[: TALK.size // FRAME * FRAME])
