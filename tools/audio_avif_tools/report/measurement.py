"""Measure the figures of a report: one pass over each recording, and scores of excerpts."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.errors import FileError
from audio_avif.metrics import SCORES
from audio_avif.recording.layout import PictureInfo
from audio_avif.recording.picture_reader import PictureReader
from audio_avif.signal.features import LogMelStream
from audio_avif.types import FloatArray
from audio_avif_tools.report.figures import (
    SCORE_KEYS,
    SHOWN_S,
    ChannelFigures,
    Rendition,
    RenditionFigures,
    Report,
    Source,
    SourceFigures,
)
from audio_avif_tools.shared.decoding import opened
from audio_avif_tools.shared.fidelity import (
    Feed,
    MelError,
    WaveError,
    cut,
    excerpts_of,
    has_loudness,
    loudness_meter,
    mean_score,
    read_rows,
)
from audio_avif_tools.shared.processes import run_jobs

_PCM_BYTES = 2
_IN_PROCESSES_S = 90.0  # of sound to score; less is scored sooner than another process starts


@dataclass(frozen=True)
class Errors:
    """The result of a pass over a recording: lists ``[rendition][channel]``, and the start of the loudest excerpt."""

    mel_psnr_db: list[list[float]]
    snr_db: list[list[float]]
    correlation: list[list[float]]
    gain: list[list[float]]
    loudest_from_s: int


@dataclass(frozen=True)
class Pass:
    """A pass over a whole recording and all its renditions, side by side, one second at a time."""

    source: Source

    def run(self) -> Errors:
        """Compare each rendition with the original.

        Raises FileError where a file cannot be read or has another number of channels than its pictures.
        """
        with ExitStack() as files:
            readers = [PictureReader(files.enter_context(opened(each.picture))) for each in self.source.renditions]
            mels = [Feed(reader.log_mels()) for reader in readers]
            sounds = [Feed(read_rows(each.sound)) for each in self.source.renditions]
            return self._compare([reader.info for reader in readers], mels, sounds)

    def _compare(self, infos: list[PictureInfo], mels: list[Feed], sounds: list[Feed]) -> Errors:
        streams = [LogMelStream(infos[0].mel) for _ in range(infos[0].channels)]
        mel_errors = [MelError(info) for info in infos]
        wave_errors = [WaveError(info.channels) for info in infos]
        powers: list[float] = []
        original = Feed(read_rows(self.source.path))

        def compare_mels(columns: FloatArray) -> None:
            for feed, mel_error in zip(mels, mel_errors, strict=True):
                if columns.shape[2] and (shown := feed.take(columns.shape[2])) is not None:
                    mel_error.push(columns, shown)

        while (samples := original.take(RATE_HZ)) is not None:
            _require_channels(self.source.path, samples, infos[0])
            powers.append(float(np.square(samples).sum()))
            for rendition, feed, wave_error in zip(self.source.renditions, sounds, wave_errors, strict=True):
                if (heard := feed.take(samples.shape[1])) is not None:
                    _require_channels(rendition.sound, heard, infos[0])
                    wave_error.push(samples, heard)
            compare_mels(np.stack([stream.push(row) for stream, row in zip(streams, samples, strict=True)]))
        compare_mels(np.stack([stream.flush() for stream in streams]))
        return Errors(
            [error.psnr_db() for error in mel_errors],
            [error.snr_db() for error in wave_errors],
            [error.correlations() for error in wave_errors],
            [error.gains() for error in wave_errors],
            _loudest_from_s(powers),
        )


def _loudest_from_s(powers: list[float]) -> int:
    """The start of the ``SHOWN_S`` seconds with the most power."""
    windows = np.convolve(powers, np.ones(SHOWN_S), "valid") if len(powers) > SHOWN_S else np.zeros(1)
    return int(windows.argmax())


@dataclass(frozen=True)
class Scores:
    """A job that scores excerpts of one rendition and measures their loudness."""

    source: Source
    rendition: Rendition
    excerpts: tuple[tuple[int, int], ...]
    keys: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """The length of all excerpts."""
        return sum(length for _, length in self.excerpts) / RATE_HZ

    def run(self) -> list[dict[str, float]]:
        """The scores and loudness of each channel. Raises FileError where a file cannot be read."""
        originals, heards = (cut(path, self.excerpts) for path in (self.source.path, self.rendition.sound))
        pairs = []
        for original, heard in zip(originals, heards, strict=True):
            samples = min(original.shape[1], heard.shape[1])
            pairs.append((original[:, :samples], heard[:, :samples]))
        loudness = loudness_meter()
        results = []
        for channel in range(min(min(len(original), len(heard)) for original, heard in pairs)):
            mine = [(original[channel], heard[channel]) for original, heard in pairs]
            scores = {key: mean_score(SCORES[key], mine) for key in self.keys}
            for side, name in enumerate(("original_lufs", "decoded_lufs")):
                scores[name] = loudness(np.concatenate([pair[side] for pair in mine]))
            results.append(scores)
        return results


def _require_channels(path: Path, samples: FloatArray, info: PictureInfo) -> None:
    if samples.shape[0] != info.channels:
        raise FileError(f"{path} has {samples.shape[0]} channels, its pictures have {info.channels}; encode it again")


def read_info(path: Path) -> PictureInfo:
    """Read the metadata of a picture. Raises FileError."""
    with opened(path) as file:
        return PictureReader(file).info


def missing_packages() -> tuple[str, ...]:
    """The packages that the report's scores need and that are not installed."""
    absent = [package for key in SCORE_KEYS if SCORES[key].missing() for package in SCORES[key].packages]
    return (*absent, *(() if has_loudness() else ("pyloudnorm",)))


@dataclass(frozen=True)
class _Numbered:
    """A job whose result comes with its number."""

    number: int
    job: Pass | Scores

    def run(self) -> tuple[int, Any]:
        return self.number, self.job.run()


def measure_all(sources: Sequence[Source], progress: Callable[[int], None], workers: int) -> Report:
    """Measure all recordings, in ``workers`` processes where there is much to score. Raises FileError.

    ``progress`` is called with the number of jobs done.
    """
    infos = [read_info(source.renditions[0].picture) for source in sources]
    keys = tuple(key for key in SCORE_KEYS if SCORES[key].missing() is None)
    jobs: list[Pass | Scores] = []
    for source, info in zip(sources, infos, strict=True):
        jobs.append(Pass(source))
        excerpts = tuple(excerpts_of(info.samples))
        jobs += [Scores(source, rendition, excerpts, keys) for rendition in source.renditions]
    has_much = sum(job.seconds for job in jobs if isinstance(job, Scores)) > _IN_PROCESSES_S
    numbered = [_Numbered(number, job) for number, job in enumerate(jobs)]
    done: dict[int, Any] = {}
    for number, result in run_jobs(numbered, workers if has_much else 1):
        done[number] = result
        progress(len(done))
    results = (done[number] for number in range(len(jobs)))
    names = _names([source.path for source in sources])
    figures = []
    for source, info, name in zip(sources, infos, names, strict=True):
        errors = next(results)
        scores = [next(results) for _ in source.renditions]
        figures.append(_figures(source, info, name, errors, scores))
    return Report(tuple(figures), missing_packages())


def _figures(
    source: Source, info: PictureInfo, name: str, errors: Errors, scores: list[list[dict[str, float]]]
) -> SourceFigures:
    seconds = info.samples / RATE_HZ
    pcm_bytes = _PCM_BYTES * info.channels * info.source_rate_hz * seconds
    renditions = []
    for i, rendition in enumerate(source.renditions):
        size = rendition.picture.stat().st_size
        channels = [
            ChannelFigures(
                errors.mel_psnr_db[i][channel],
                errors.snr_db[i][channel],
                errors.correlation[i][channel],
                mine.get("pesq_wb", math.nan),
                mine.get("stoi", math.nan),
                errors.gain[i][channel],
                mine["original_lufs"],
                mine["decoded_lufs"],
            )
            for channel, mine in enumerate(scores[i])
        ]
        renditions.append(RenditionFigures(rendition, size, 8e-3 * size / seconds, pcm_bytes / size, tuple(channels)))
    return SourceFigures(
        source,
        name,
        seconds,
        info.source_rate_hz,
        info.channels,
        tuple((start / RATE_HZ, length / RATE_HZ) for start, length in excerpts_of(info.samples)),
        float(errors.loudest_from_s),
        tuple(sorted(renditions, key=lambda each: each.rendition.quality)),
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """The files' names, with their folders where names alone are not unique."""
    if len({path.name for path in paths}) == len(paths):
        return [path.name for path in paths]
    absolute = [path.absolute() for path in paths]
    common = os.path.commonpath([path.parent for path in absolute])
    return [path.relative_to(common).as_posix() for path in absolute]
