"""Two people who talk, one of them through a loudspeaker that the other's microphone hears too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audio_avif.config import RATE_HZ, ProcessingConfig
from audio_avif.edge.processing import FRAME_SAMPLES, MicrophoneProcessor
from audio_avif.metrics import stoi
from audio_avif.types import FloatArray

SECONDS = 30
DOUBLE_TALK_S = 12
"""Until then only the far end talks."""
JUMPS_S = (14, 22)
_SETTLED_S = 3
_SPEECH_DB = -26.0
_PATH_DB = -6.0
_TAIL_DB, _TAIL_S = -8.0, 0.15  # against the direct sound; until it has fallen by 60 dB
_SILENCE_DB = -80.0  # the microphone's own noise


@dataclass(frozen=True)
class Talk:
    """What the loudspeaker plays, the echo of it at the microphone, and near speech: ``[samples]`` each."""

    far: FloatArray
    echo: FloatArray
    near: FloatArray

    @property
    def silence(self) -> FloatArray:
        """The microphone's own noise."""
        noise = np.random.default_rng(1).normal(size=self.far.size) * 10 ** (_SILENCE_DB / 20)
        return noise.astype(np.float32)


def talk(far: Sequence[FloatArray], near: Sequence[FloatArray], delays_ms: Sequence[float]) -> Talk:
    """Let the clips be said in a room, through paths of these delays, which change at JUMPS_S without notice."""
    samples = SECONDS * RATE_HZ
    played, said = (np.resize(np.concatenate([leveled(clip) for clip in clips]), samples) for clips in (far, near))
    starts = np.searchsorted([at_s * RATE_HZ for at_s in JUMPS_S], np.arange(samples), side="right")
    echoes = [_through(played, _path(delay_ms)) for delay_ms in delays_ms]
    echo = np.choose(np.minimum(starts, len(echoes) - 1), echoes)
    return Talk(played, echo, np.where(np.arange(samples) < DOUBLE_TALK_S * RATE_HZ, 0, said).astype(np.float32))


def leveled(clip: FloatArray) -> FloatArray:
    """Return a clip with the usual level of speech."""
    loud = clip[np.abs(clip) > 0.01 * np.abs(clip).max()]
    return clip * np.float32(10 ** (_SPEECH_DB / 20) / loud.std())


def _path(delay_ms: float) -> FloatArray:
    """Return the impulse response of a loudspeaker's direct sound and a short tail."""
    time_s = np.arange(round(_TAIL_S * RATE_HZ)) / RATE_HZ
    tail = np.random.default_rng(0).normal(size=time_s.size) * 10 ** (-3 * time_s / _TAIL_S)
    response = tail * 10 ** (_TAIL_DB / 20) / np.sqrt(np.sum(tail**2))
    response[0] = 1
    response *= 10 ** (_PATH_DB / 20) / np.sqrt(np.sum(response**2))
    return np.concatenate([np.zeros(round(delay_ms * RATE_HZ / 1e3)), response]).astype(np.float32)


def _through(sound: FloatArray, path: FloatArray) -> FloatArray:
    size = sound.size + path.size
    heard = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(path, size), size)
    return heard[: sound.size].astype(np.float32)


def processed(config: ProcessingConfig, microphone: FloatArray, far: FloatArray) -> tuple[FloatArray, float]:
    """Return the microphone's sound, processed, and the processor time that a second of it took."""
    processor, begin_s = MicrophoneProcessor(config), time.process_time()
    frames = range(0, microphone.size, FRAME_SAMPLES)
    parts = [processor.push(microphone[at : at + FRAME_SAMPLES], far[at : at + FRAME_SAMPLES]) for at in frames]
    took_s = time.process_time() - begin_s
    return np.concatenate([*parts, processor.flush()]), took_s * RATE_HZ / microphone.size


@dataclass(frozen=True)
class EchoResult:
    """How much weaker the echo is against near speech, settled and from the second second after each jump, in dB;
    STOI of double talk before and after; the residue ``[samples]`` while the far end talks alone.
    """

    settled_db: float
    jumped_db: float
    stoi_before: float
    stoi_after: float
    residue: FloatArray


def measure(scene: Talk, config: ProcessingConfig) -> EchoResult:
    """Process the echo alone, near speech alone, and both."""
    residue, _ = processed(config, scene.echo + scene.silence, scene.far)
    alone, _ = processed(config, scene.near + scene.silence, np.zeros_like(scene.far))
    both, _ = processed(config, scene.echo + scene.near + scene.silence, scene.far)
    talking = slice(DOUBLE_TALK_S * RATE_HZ, None)
    gain_db = _level_db(alone[talking]) - _level_db(scene.near[talking])

    def weaker_db(*spans_s: tuple[float, float]) -> float:
        before, after = (
            np.concatenate([sound[round(a * RATE_HZ) : round(b * RATE_HZ)] for a, b in spans_s])
            for sound in (scene.echo, residue)
        )
        return _level_db(before) - _level_db(after) + gain_db

    return EchoResult(
        weaker_db((_SETTLED_S, JUMPS_S[0]), *((at_s + _SETTLED_S, at_s + 8) for at_s in JUMPS_S)),
        weaker_db(*((at_s + 1, at_s + _SETTLED_S) for at_s in JUMPS_S)),
        stoi(scene.near[talking], (scene.echo + scene.near)[talking]),
        stoi(scene.near[talking], both[talking]),
        residue,
    )


def _level_db(sound: FloatArray) -> float:
    return float(10 * np.log10(np.mean(sound.astype(np.float64) ** 2) + 1e-12))
