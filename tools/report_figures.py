"""The figures of a report: each recording at each quality, each channel apart, and means."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.errors import FileError
from audio_avif.features import LogMelStream
from audio_avif.files import PictureReader
from audio_avif.metrics import SCORES
from audio_avif.planes import PictureInfo
from audio_avif.sound_files import read_channels
from audio_avif.tools.fidelity import (
    Feed,
    FloatArray,
    MelError,
    WaveError,
    excerpts_of,
    has_loudness,
    loudness_meter,
    mean_of,
    mean_score,
)
from audio_avif.tools.report import Rendition, Source
from audio_avif.tools.report_jobs import run_jobs

SHOWN_S = 30
"""How much of a longer recording the page lets see and hear."""

SCORE_KEYS = ("pesq_wb", "stoi")
_PCM_BYTES = 2
_IN_PROCESSES_S = 90.0  # of sound to score; less is done before another process has started


@dataclass(frozen=True)
class ChannelFigures:
    """One channel at one quality; NaN where there is no answer."""

    mel_psnr_db: float
    snr_db: float
    correlation: float
    pesq_wb: float
    stoi: float
    gain: float
    original_lufs: float
    decoded_lufs: float


@dataclass(frozen=True)
class RenditionFigures:
    """A recording at one quality; scores of it are means over ``channels``."""

    rendition: Rendition
    bytes: int
    kbps: float
    ratio: float
    channels: tuple[ChannelFigures, ...]

    def value(self, key: str) -> float:
        """Any figure by its name."""
        if hasattr(self, key):
            return float(getattr(self, key))
        if hasattr(self.rendition, key):
            return float(getattr(self.rendition, key))
        return mean_of([getattr(channel, key) for channel in self.channels])


@dataclass(frozen=True)
class SourceFigures:
    """A recording: what it is, where it was scored (``excerpts`` as start and length in seconds), its renditions."""

    source: Source
    name: str
    seconds: float
    rate_hz: int
    channels: int
    excerpts: tuple[tuple[float, float], ...]
    shown_from_s: float
    renditions: tuple[RenditionFigures, ...]

    @property
    def is_cut(self) -> bool:
        """Whether the page shows only a part."""
        return self.seconds > SHOWN_S


@dataclass(frozen=True)
class Report:
    """All that the page tells; ``missing`` names the packages without which some scores could not be had."""

    sources: tuple[SourceFigures, ...]
    missing: tuple[str, ...]

    @property
    def qualities(self) -> list[int]:
        """All qualities, in order."""
        return sorted({r.rendition.quality for source in self.sources for r in source.renditions})

    def at(self, quality: int) -> list[RenditionFigures]:
        """All recordings at that quality."""
        return [r for source in self.sources for r in source.renditions if r.rendition.quality == quality]

    def mean(self, quality: int, key: str) -> float:
        """The mean of a figure over recordings at that quality, of those that have it."""
        return mean_of([figures.value(key) for figures in self.at(quality)])


@dataclass(frozen=True)
class Errors:
    """What a pass over a whole recording gives: for each rendition a list over channels, and where it is loudest."""

    mel_psnr_db: list[list[float]]
    snr_db: list[list[float]]
    correlation: list[list[float]]
    gain: list[list[float]]
    loudest_from_s: int


@dataclass(frozen=True)
class Pass:
    """The pass over a whole recording and all its renditions, side by side, a second at a time."""

    source: Source

    def run(self) -> Errors:
        """Raises FileError where a file cannot be read, or has other channels than the original."""
        with ExitStack() as files:
            readers = [PictureReader(files.enter_context(_opened(each.picture))) for each in self.source.renditions]
            mels = [Feed(reader.log_mels()) for reader in readers]
            sounds = [Feed(_channels(each.sound)) for each in self.source.renditions]
            return self._compare([reader.info for reader in readers], mels, sounds)

    def _compare(self, infos: list[PictureInfo], mels: list[Feed], sounds: list[Feed]) -> Errors:
        streams = [LogMelStream(infos[0].mel) for _ in range(infos[0].channels)]
        mel_errors = [MelError(info) for info in infos]
        wave_errors = [WaveError(info.channels) for info in infos]
        powers: list[float] = []
        original = Feed(_channels(self.source.path))

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
    """The second from which ``SHOWN_S`` seconds hold the most power."""
    windows = np.convolve(powers, np.ones(SHOWN_S), "valid") if len(powers) > SHOWN_S else np.zeros(1)
    return int(windows.argmax())


@dataclass(frozen=True)
class Scores:
    """One rendition's scores and loudness, on excerpts of it."""

    source: Source
    rendition: Rendition
    excerpts: tuple[tuple[int, int], ...]
    keys: tuple[str, ...]

    def run(self) -> list[dict[str, float]]:
        """For each channel its scores. Raises FileError where a file cannot be read."""
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


def cut(path: Path, ranges: Sequence[tuple[int, int]]) -> list[FloatArray]:
    """Read ranges (start, length) of a sound file as ``[channels, samples]`` at 16 kHz, shorter at its end."""
    pieces: list[list[FloatArray]] = [[] for _ in ranges]
    end = max(start + length for start, length in ranges)
    at = 0
    for block in _channels(path):
        for (start, length), mine in zip(ranges, pieces, strict=True):
            mine.append(block[:, max(0, start - at) : max(0, start + length - at)])
        at += block.shape[1]
        if at >= end:
            break
    return [np.concatenate(mine, axis=1) if mine else np.zeros((1, 0), np.float32) for mine in pieces]


def _channels(path: Path) -> Iterator[FloatArray]:
    return (np.ascontiguousarray(block.T) for block in read_channels(path))


def _opened(path: Path) -> Any:
    try:
        return path.open("rb")
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error


def _require_channels(path: Path, samples: FloatArray, info: PictureInfo) -> None:
    if samples.shape[0] != info.channels:
        raise FileError(f"{path} has {samples.shape[0]} channels, its pictures have {info.channels}")


def read_info(path: Path) -> PictureInfo:
    """What a picture of ours says of itself. Raises FileError."""
    with _opened(path) as file:
        return PictureReader(file).info


def missing_packages() -> tuple[str, ...]:
    """The packages of the report's scores that are not installed."""
    absent = [package for key in SCORE_KEYS if SCORES[key].missing() for package in SCORES[key].packages]
    return (*absent, *(() if has_loudness() else ("pyloudnorm",)))


def measure_all(sources: Sequence[Source], progress: Callable[[int, int], None] | None, workers: int | None) -> Report:
    """Measure everything, in processes of their own where there is much. Raises FileError."""
    infos = [read_info(source.renditions[0].picture) for source in sources]
    keys = tuple(key for key in SCORE_KEYS if SCORES[key].missing() is None)
    jobs: list[Pass | Scores] = []
    for source, info in zip(sources, infos, strict=True):
        jobs.append(Pass(source))
        excerpts = tuple(excerpts_of(info.samples))
        jobs += [Scores(source, rendition, excerpts, keys) for rendition in source.renditions]
    scored_s = sum(min(120, info.samples / RATE_HZ) * len(s.renditions) for s, info in zip(sources, infos, strict=True))
    workers = workers or os.cpu_count() or 1
    results = iter(run_jobs(jobs, workers if scored_s > _IN_PROCESSES_S else 1, progress))
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
    """Each file's name, with as much of its folders as tells them apart."""
    if len({path.name for path in paths}) == len(paths):
        return [path.name for path in paths]
    absolute = [path.absolute() for path in paths]
    common = os.path.commonpath([path.parent for path in absolute])
    return [path.relative_to(common).as_posix() for path in absolute]


def relative(path: Path, folder: Path) -> str:
    """The path as seen from that folder, with forward slashes; the whole path where there is no way."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()


def rounded(value: float) -> float | int | None:
    """A figure as JSON and page hold it: six digits, None for none."""
    if not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else float(f"{value:.6g}")


MEAN_KEYS = ("mel_psnr_db", "snr_db", "correlation", *SCORE_KEYS)
RENDITION_KEYS = ("bytes", "kbps", "ratio", *MEAN_KEYS, "encode_s", "decode_s")


def to_json(report: Report, output: Path) -> dict[str, Any]:
    """The report as JSON holds it; paths are as seen from the folder ``output``."""
    from audio_avif import __version__

    return {
        "audio_avif": __version__,
        "missing_packages": list(report.missing),
        "means": [
            {"quality": quality, **{key: rounded(report.mean(quality, key)) for key in RENDITION_KEYS}}
            for quality in report.qualities
        ],
        "files": [_file_to_json(source, output) for source in report.sources],
    }


def _file_to_json(figures: SourceFigures, output: Path) -> dict[str, Any]:
    return {
        "name": figures.name,
        "path": relative(figures.source.path, output),
        "seconds": rounded(figures.seconds),
        "rate_hz": figures.rate_hz,
        "channels": figures.channels,
        "scored": [{"from_s": rounded(start), "seconds": rounded(length)} for start, length in figures.excerpts],
        "qualities": [
            {
                "quality": each.rendition.quality,
                "picture": relative(each.rendition.picture, output),
                "sound": relative(each.rendition.sound, output),
                **{key: rounded(each.value(key)) for key in RENDITION_KEYS},
                "channels": [
                    {key: rounded(value) for key, value in asdict(channel).items()} for channel in each.channels
                ],
            }
            for each in figures.renditions
        ],
    }
