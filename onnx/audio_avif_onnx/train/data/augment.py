"""Augment speech: random changes of speed, spectrum, room response and background noise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
from scipy.signal import fftconvolve

from audio_avif.config import MelConfig
from audio_avif.signal.features import frame_count
from audio_avif.types import FloatArray
from audio_avif_onnx.train.data.corpus import FULL_SCALE, Clip, Corpus, is_whole, read_index
from audio_avif_onnx.train.files import whole_file
from audio_avif_onnx.train.progress import Display

_SPEED = (0.85, 1.15)
_SPEED_SHARE = 0.7
_EQUALISER_DB = 4.0  # standard deviation at each of the corner frequencies
_EQUALISER_HZ = (0.0, 100.0, 250.0, 600.0, 1500.0, 3500.0, 8000.0)
_EQUALISER_SHARE = 0.5
_REVERBERATION_S = (0.1, 0.4)
_DIRECT_TO_REVERBERANT_DB = (6.0, 20.0)
_REVERBERATION_SHARE = 0.15
_SIGNAL_TO_NOISE_DB = (15.0, 45.0)
_NOISE_SHARE = 0.25
_PEAK = 0.99
_Samples = npt.NDArray[np.floating[Any]]  # in double precision, until all changes are made


@dataclass(frozen=True)
class Augmentation:
    """The changes of one clip; the default changes nothing.

    ``speed`` changes tempo and pitch together; ``equaliser_db`` are gains at the corner frequencies; ``seed`` seeds the
    room response and the noise. An infinite ratio disables it.
    """

    speed: float = 1.0
    equaliser_db: tuple[float, ...] = (0.0,) * len(_EQUALISER_HZ)
    reverberation_s: float = 0.0
    direct_to_reverberant_db: float = np.inf
    signal_to_noise_db: float = np.inf
    seed: int = 0

    def length(self, samples: int) -> int:
        """Length in samples of a clip of ``samples`` after the changes."""
        return round(samples / self.speed)


def draw_augmentation(rng: np.random.Generator) -> Augmentation:
    """Draw random changes, each with its own probability."""
    drawn = Augmentation(seed=int(rng.integers(2**32)))
    if rng.random() < _SPEED_SHARE:
        drawn = replace(drawn, speed=float(rng.uniform(*_SPEED)))
    if rng.random() < _EQUALISER_SHARE:
        gains_db = rng.normal(0.0, _EQUALISER_DB, len(_EQUALISER_HZ))
        drawn = replace(drawn, equaliser_db=tuple(map(float, gains_db - gains_db.mean())))
    if rng.random() < _REVERBERATION_SHARE:
        ratio_db = float(rng.uniform(*_DIRECT_TO_REVERBERANT_DB))
        length_s = float(rng.uniform(*_REVERBERATION_S))
        drawn = replace(drawn, reverberation_s=length_s, direct_to_reverberant_db=ratio_db)
    if rng.random() < _NOISE_SHARE:
        drawn = replace(drawn, signal_to_noise_db=float(rng.uniform(*_SIGNAL_TO_NOISE_DB)))
    return drawn


def augment(samples: FloatArray, how: Augmentation, rate_hz: int) -> FloatArray:
    """Change ``[samples] float32`` and return ``[how.length(samples)] float32`` in -1..1."""
    rng = np.random.default_rng(how.seed)
    length = how.length(samples.size)
    changed: _Samples = samples
    if how.speed != 1.0:
        changed = soxr.resample(samples, rate_hz * how.speed, rate_hz, quality="HQ")
        changed = np.pad(changed[:length], (0, max(0, length - changed.size)))
    if any(how.equaliser_db):
        changed = _equalise(changed, how.equaliser_db, rate_hz)
    if how.reverberation_s:
        changed = _reverberate(changed, how, rate_hz, rng)
    if np.isfinite(how.signal_to_noise_db):
        changed = _add_noise(changed, how.signal_to_noise_db, rate_hz, rng)
    peak = float(np.abs(changed).max(initial=0.0))
    return (changed * min(1.0, _PEAK / max(peak, 1e-9))).astype(np.float32)


def _equalise(samples: _Samples, gains_db: tuple[float, ...], rate_hz: int) -> _Samples:
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(samples.size, 1 / rate_hz)
    # interpolated over the cube root of frequency, which spreads the corner frequencies about evenly
    gain_db = np.interp(np.cbrt(hz), np.cbrt(_EQUALISER_HZ), gains_db)
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), samples.size)


def _reverberate(samples: _Samples, how: Augmentation, rate_hz: int, rng: np.random.Generator) -> _Samples:
    """Add a tail of exponentially decaying noise that falls by 60 dB in ``reverberation_s``."""
    time_s = np.arange(int(how.reverberation_s * rate_hz)) / rate_hz
    tail = rng.normal(size=time_s.size) * 10 ** (-3 * time_s / how.reverberation_s)
    tail *= 10 ** (-how.direct_to_reverberant_db / 20) / np.sqrt(np.sum(tail**2) + 1e-12)
    tail[0] = 1.0
    reverberant: _Samples = fftconvolve(samples, tail)
    return reverberant[: samples.size]


def _add_noise(samples: _Samples, ratio_db: float, rate_hz: int, rng: np.random.Generator) -> _Samples:
    """Add noise whose spectrum falls with frequency, by a random slope from white to brown."""
    spectrum = np.fft.rfft(rng.normal(size=samples.size))
    hz = np.maximum(np.fft.rfftfreq(samples.size, 1 / rate_hz), 50.0)
    noise = np.fft.irfft(spectrum * hz ** -rng.uniform(0.0, 1.0), samples.size)
    share = np.sqrt(np.mean(np.square(samples)) / (np.mean(np.square(noise)) + 1e-20))
    noisy: _Samples = samples + noise * share * 10 ** (-ratio_db / 20)
    return noisy


def open_augmented(corpus: Corpus, mel: MelConfig, number: int, display: Display) -> Corpus:
    """Augmented copy ``number`` of a corpus, written into the cache folder on first use."""
    rng = np.random.default_rng([number, len(corpus.clips)])
    drawn = [draw_augmentation(rng) for _ in corpus.clips]
    clips = tuple(_changed_clips(corpus, mel, drawn))
    index = corpus.folder / f"augmented_{number}.json"
    target = index.with_suffix(".i16")
    wanted = Corpus(corpus.folder, corpus.samples, clips)
    if not index.is_file() or read_index(index) != clips or not is_whole(target, clips):
        with whole_file(target) as out:
            pairs = zip(corpus.clips, drawn, strict=True)
            for clip, how in display.each(pairs, f"augmenting copy {number}", "clips", len(clips)):
                changed = augment(corpus.audio(clip), how, mel.rate_hz)
                out.write(np.rint(changed * FULL_SCALE).astype(np.int16).tobytes())
        with whole_file(index) as out:
            out.write(json.dumps([vars(clip) for clip in clips]).encode())
    return replace(wanted, samples=np.memmap(target, np.int16, mode="r"))


def _changed_clips(corpus: Corpus, mel: MelConfig, drawn: list[Augmentation]) -> Iterator[Clip]:
    first_sample = first_frame = 0
    for clip, how in zip(corpus.clips, drawn, strict=True):
        samples = how.length(clip.samples)
        frames = frame_count(samples, mel)
        yield Clip(clip.name, first_sample, samples, first_frame, frames)
        first_sample += samples
        first_frame += frames
