"""Score a recording after each stage of the codec, with oracles instead of the other stages.

A *chain* is a picture of the sound with some loss, and a *voice* that makes sound of it. The voice that knows the
original's phases shows the loss of the picture; the other voices show the cost of unknown phases.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from audio_avif.config import RATE_HZ, EncoderConfig, MelConfig
from audio_avif.metrics import SCORES, Score
from audio_avif.recording.layout import CELL_FRAMES, PictureInfo, from_pixels, to_pixels
from audio_avif.recording.picture_encoder import FileConfig, faded
from audio_avif.recording.segments import speak
from audio_avif.signal.features import frame_count, hann, log_mel
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.boxes import inspect_still
from audio_avif.still.frame_headers import FRAME_HEADER_BYTES
from audio_avif.types import FloatArray, Pixels
from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif.vocoders.protocol import Vocoder
from audio_avif_tools.shared.fidelity import WaveError, mean_of

PCM_KBPS = RATE_HZ * 16 / 1000
TRUE_PHASE, GRIFFIN_LIM = "true phase", GriffinLim.name
ORIGINAL, CLEAN, EIGHT_BIT, AVIF, AUTOENCODER = "original", "clean mel", "8 bit", "AVIF", "autoencoder"
_HEARD_DB = 60.0
_MIN_SAMPLES = RATE_HZ // 10  # pystoi fails on shorter recordings, and no score is meaningful
_MEL = MelConfig()


@dataclass(frozen=True)
class Shown:
    """The log-mel that a picture holds, ``[n_mels, frames] float32, log10``, and its size; 0 without a picture."""

    log_mel: FloatArray
    bits: float


class PictureStage(Protocol):
    """An encoding of a log-mel spectrogram."""

    name: str

    def show(self, samples: FloatArray, mel: FloatArray) -> Shown:
        """Encode and decode ``[n_mels, frames]``, the log-mel of ``[samples]``."""
        ...


class CleanMel:
    """The unchanged log-mel."""

    name = CLEAN

    def show(self, samples: FloatArray, mel: FloatArray) -> Shown:
        """Return the log-mel unchanged."""
        return Shown(mel, 0.0)


class EightBit:
    """Uncompressed pixels of 8 bit over the value range of a file."""

    name = EIGHT_BIT

    def show(self, samples: FloatArray, mel: FloatArray) -> Shown:
        """Round to gray levels and clip to the value range."""
        return Shown(from_pixels(to_pixels(mel[None], _info()), _info())[0], 8.0 * mel.size)


class Avif:
    """Compressed cells of a file or, where narrower, tiles of a stream."""

    name = AVIF

    def __init__(self, quality: int, width: int = CELL_FRAMES) -> None:
        self._config = EncoderConfig(quality=quality)
        self._width = width

    def show(self, samples: FloatArray, mel: FloatArray) -> Shown:
        """Encode and decode; the size is what a stream sends, and a file has a few more bytes every ten seconds."""
        frames = mel.shape[1]
        # As in a file: an only cell is as wide as needed, the last of several fades out. A tile repeats its last frame.
        width = min(self._width, frames) if self._width == CELL_FRAMES else self._width
        missing = -frames % width
        if self._width == CELL_FRAMES:
            filled = faded(mel[None], frames + missing, _info().log10_min)
        else:
            filled = np.pad(mel[None], ((0, 0), (0, 0), (0, missing)), mode="edge")
        padded = to_pixels(filled, _info())
        decoded: list[Pixels] = []
        bits = 0
        for at in range(0, frames, width):
            still = encode_still(np.ascontiguousarray(padded[:, at : at + width], np.uint8), self._config)
            bits += 8 * (len(still) - inspect_still(still).frame_body_at)
            if self._width != CELL_FRAMES and at + width <= frames:  # a stream's hello holds its whole tiles' headers
                bits -= 8 * FRAME_HEADER_BYTES
            decoded.append(decode_still(still, width, padded.shape[0]))
        return Shown(from_pixels(np.concatenate(decoded, axis=1)[:, :frames], _info())[0], bits)


def _info() -> PictureInfo:
    return FileConfig().info(1, RATE_HZ)


class Voice(Protocol):
    """A synthesis of sound from a log-mel."""

    name: str

    def say(self, mel: FloatArray, samples: FloatArray) -> FloatArray:
        """Synthesise ``[n_mels, frames]``; only an oracle uses the original ``[samples]``."""
        ...


class TruePhase:
    """The oracle: magnitudes by the pseudo-inverse of the mel filters, and the original's phases."""

    name = TRUE_PHASE

    def say(self, mel: FloatArray, samples: FloatArray) -> FloatArray:
        """Synthesise with one inverse STFT."""
        return GriffinLim(_MEL, iterations=0).synthesize(mel, np.angle(stft(samples)))


class Spoken:
    """A vocoder, which does not see the original."""

    def __init__(self, vocoder: Vocoder) -> None:
        self.name = vocoder.name
        self._vocoder = vocoder

    def say(self, mel: FloatArray, samples: FloatArray) -> FloatArray:
        """Synthesise as for a file."""
        return speak(mel, self._vocoder)


def stft(samples: FloatArray) -> npt.NDArray[np.complex128]:
    """The centred STFT ``[n_fft // 2 + 1, frames]`` from which the log-mel is computed."""
    padded = np.pad(samples.astype(np.float64), _MEL.n_fft // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _MEL.n_fft)[:: _MEL.hop_samples]
    frames = windows[: frame_count(samples.size, _MEL)] * hann(_MEL.n_fft)
    return np.asarray(np.fft.rfft(frames, axis=1).T, np.complex128)


def snr_db(original: FloatArray, heard: FloatArray) -> float:
    """Signal-to-noise ratio in dB after the gain on ``heard`` that maximises it; NaN without noise."""
    return math.nan if np.array_equal(original, heard) else _wave_error(original, heard).snr_db()[0]


def correlation(original: FloatArray, heard: FloatArray) -> float:
    """The normalised inner product of the two waveforms, sample by sample: -1 to 1."""
    return _wave_error(original, heard).correlations()[0]


def _wave_error(original: FloatArray, heard: FloatArray) -> WaveError:
    error = WaveError(1)
    error.push(original[None], heard[None])
    return error


def lsd_db(original: FloatArray, heard: FloatArray) -> float:
    """Log-spectral distance in dB: the root mean square difference of a frame's two spectra in dB, mean over frames.

    The spectra are those of the log-mel, 513 bins every 16 ms. Bins are raised to at least 60 dB below the original's
    loudest bin, because differences in silence are inaudible. No gain is fitted.

    Source: Gray and Markel, "Distance measures for speech processing", 1976; Rabiner and Juang, 1993, chapter 4.
    """
    first, second = (np.abs(stft(samples)) for samples in (original, heard))
    least = first.max() * 10 ** (-_HEARD_DB / 20)
    levels_db = [20 * np.log10(np.maximum(spectrum, least)) for spectrum in (first, second)]
    return float(np.sqrt(np.mean((levels_db[0] - levels_db[1]) ** 2, axis=0)).mean())


MEASURES = {
    score.key: score
    for score in (
        Score("snr_db", "SNR, dB", snr_db, (), 1, True, "is 0 for any other phases, however it sounds"),
        Score("correlation", "correlation", correlation, (), 2, True, "is 0 for any other phases, however it sounds"),
        Score("lsd_db", "LSD, dB", lsd_db, (), 1, False, "ignores phase, and weighs noise in a gap as much as a word"),
        SCORES["pesq_wb"],
        SCORES["stoi"],
    )
}
"""All scores of the table by key, in the table's order."""


@dataclass(frozen=True)
class Row:
    """The scores of a chain by key, NaN where missing, and the rate of its picture; 0 without a picture."""

    picture: str
    voice: str
    kbps: float
    scores: dict[str, float] = field(default_factory=dict)


def voices_of(vocoder: Vocoder) -> list[Voice]:
    """Return the oracle, Griffin-Lim, and the vocoder if it is another one."""
    voices: list[Voice] = [TruePhase(), Spoken(GriffinLim(_MEL))]
    return voices if vocoder.name == GRIFFIN_LIM else [*voices, Spoken(vocoder)]


def analyze(
    samples: FloatArray, pictures: Sequence[PictureStage], voices: Sequence[Voice], measures: Sequence[Score]
) -> Iterator[Row]:
    """Yield a row for each chain, the original first, for up to 20 s of ``[samples]`` at 16 kHz."""

    def scores(heard: FloatArray) -> dict[str, float]:
        is_long_enough = samples.size >= _MIN_SAMPLES
        return {
            measure.key: measure(samples, heard[: samples.size]) if is_long_enough else math.nan for measure in measures
        }

    mel = log_mel(samples, _MEL)
    yield Row(ORIGINAL, "", PCM_KBPS, scores(samples))
    shown = [(picture.name, picture.show(samples, mel)) for picture in pictures]
    for voice in voices:
        for name, picture in shown:
            kbps = picture.bits * RATE_HZ / samples.size / 1000
            yield Row(name, voice.name, kbps, scores(voice.say(picture.log_mel, samples)))


def mean_rows(tables: Sequence[Sequence[Row]]) -> list[Row]:
    """The mean over tables of the same chains; each score over the clips that have it."""
    return [_mean_row(rows) for rows in zip(*tables, strict=True)]


def _mean_row(rows: Sequence[Row]) -> Row:
    scores = {key: mean_of([row.scores[key] for row in rows]) for key in rows[0].scores}
    return Row(rows[0].picture, rows[0].voice, mean_of([row.kbps for row in rows]), scores)


@dataclass(frozen=True)
class Step:
    """One stage between the original and the whole codec, with the score before and after it."""

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Split:
    """One score after each stage from the original to the whole codec; the end of each step is a row of the table.

    ``chance`` is the standard error of a mean score that inaudible rounding to 8 bit causes.
    """

    score: Score
    steps: tuple[Step, ...]
    vocoder: str
    chance: float

    @classmethod
    def of(cls, tables: Sequence[Sequence[Row]], vocoder: str) -> Split | None:
        """Split one recording's table by PESQ-WB, or the next score that all steps have; None where there is none."""
        scores = {(row.picture, row.voice): row.scores for row in mean_rows(tables)}
        chains = [
            (ORIGINAL, ""),
            (CLEAN, TRUE_PHASE),
            (EIGHT_BIT, TRUE_PHASE),
            (AVIF, TRUE_PHASE),
            (AVIF, GRIFFIN_LIM),
        ]
        names = [f"{_MEL.n_mels} mel\nbands", "8 bit", "AVIF", "phase by\nGriffin-Lim"]
        if vocoder != GRIFFIN_LIM:
            chains.append((AVIF, vocoder))
            names.append(f"{vocoder}\ninstead" if len(vocoder) < 11 else vocoder.replace("-", "-\n", 1))
        for key in ("pesq_wb", "stoi", "lsd_db"):
            levels = [scores[chain].get(key, math.nan) for chain in chains]
            if all(map(math.isfinite, levels)):
                steps = (Step(*step) for step in zip(names, levels[:-1], levels[1:], strict=True))
                return cls(MEASURES[key], tuple(steps), vocoder, _chance(tables, key))
        return None

    def cost(self, first: int, last: int) -> float:
        """The cost of the steps from one to another; negative for a gain."""
        change = self.steps[last].after - self.steps[first].before
        return -change if self.score.higher_is_better else change

    def sentence(self) -> str:
        """Return which stage limits the quality, and how much of the figures is chance."""
        mel, picture, phase = self.cost(0, 0), self.cost(1, 2), self.cost(3, 3)
        left = self.cost(3, len(self.steps) - 1)
        costs = {"the mel": mel, "the picture": picture, "phase": left}
        text = f"Of {self.score.title.removesuffix(', dB')}, the {_MEL.n_mels} mel bands cost {self._tell(mel)}, "
        text += f"the picture {self._tell(picture)} and phase {self._tell(phase)}"
        if self.vocoder != GRIFFIN_LIM:
            costs["the model"] = costs.pop("phase")
            gain = phase - left
            verb = "wins back" if gain >= 0 else "loses another"
            text += f"; over Griffin-Lim the vocoder {self.vocoder} {verb} {self._tell(abs(gain))}"
            text += f" and leaves {self._tell(left)}"
        worst = max(costs, key=lambda name: costs[name])
        if costs[worst] < 0.5 * 10**-self.score.decimals:
            return f"{text}: no stage limits the quality."
        chance = f"Rounding to 8 bit alone moves a voice by {self._tell(self.chance)}; smaller differences are chance."
        return f"{text}: {worst} limits the quality most. {chance}"

    def _tell(self, cost: float) -> str:
        unit = " dB" if self.score.title.endswith(", dB") else ""
        return f"{cost:.{self.score.decimals}f}{unit}"


def _chance(tables: Sequence[Sequence[Row]], key: str) -> float:
    """The largest RMS change of a voice's score by rounding, divided by the square root of the number of recordings."""
    scores = [{(row.picture, row.voice): row.scores[key] for row in rows} for rows in tables]
    errors = []
    for voice in {row.voice for row in tables[0]} - {"", TRUE_PHASE}:
        changes = [table[CLEAN, voice] - table[EIGHT_BIT, voice] for table in scores]
        known = [change**2 for change in changes if math.isfinite(change)]
        errors += [math.sqrt(sum(known)) / len(known)] if known else []
    return max(errors, default=0.0)
