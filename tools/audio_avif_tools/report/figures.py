"""The figures of a report: of each recording, quality and channel, and their means."""

from __future__ import annotations

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audio_avif_tools.shared.fidelity import mean_of

SHOWN_S = 30
"""How much of a longer recording the page shows and plays."""

SCORE_KEYS = ("pesq_wb", "stoi")
MEAN_KEYS = ("mel_psnr_db", "snr_db", "correlation", *SCORE_KEYS)
RENDITION_KEYS = ("bytes", "kbps", "ratio", *MEAN_KEYS, "encode_s", "decode_s")


@dataclass(frozen=True)
class Rendition:
    """A recording at one quality: its AVIF ``picture``, its ``sound`` (decoded, WAV at 16 kHz), the time of both."""

    quality: int
    picture: Path
    sound: Path
    encode_s: float
    decode_s: float


@dataclass(frozen=True)
class Source:
    """A sound file of any format and its renditions."""

    path: Path
    renditions: list[Rendition]


@dataclass(frozen=True)
class ChannelFigures:
    """The figures of one channel at one quality; NaN where a figure could not be measured."""

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
    """The figures of a recording at one quality; its scores are means over ``channels``."""

    rendition: Rendition
    bytes: int
    kbps: float
    ratio: float
    channels: tuple[ChannelFigures, ...]

    def value(self, key: str) -> float:
        """The figure of that name."""
        if hasattr(self, key):
            return float(getattr(self, key))
        if hasattr(self.rendition, key):
            return float(getattr(self.rendition, key))
        return mean_of([getattr(channel, key) for channel in self.channels])


@dataclass(frozen=True)
class SourceFigures:
    """A recording and the figures of its renditions; ``excerpts`` are the scored ones as (start, length) in seconds."""

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
        """Whether the page shows an excerpt only."""
        return self.seconds > SHOWN_S

    def value(self, quality: int, key: str) -> float:
        """The figure of that name at that quality; NaN where there is no such rendition."""
        return mean_of([each.value(key) for each in self.renditions if each.rendition.quality == quality])


@dataclass(frozen=True)
class Report:
    """All figures of a report; ``missing`` names the absent packages that some scores need."""

    sources: tuple[SourceFigures, ...]
    missing: tuple[str, ...]

    @property
    def qualities(self) -> list[int]:
        """All qualities in ascending order."""
        return sorted({r.rendition.quality for source in self.sources for r in source.renditions})

    @property
    def seconds(self) -> float:
        """The length of all recordings together."""
        return sum(source.seconds for source in self.sources)

    @property
    def overview_key(self) -> str:
        """The figure that compares the recordings: PESQ-WB, or mel PSNR where no recording has a PESQ-WB."""
        return "pesq_wb" if any(math.isfinite(self.mean(each, "pesq_wb")) for each in self.qualities) else "mel_psnr_db"

    def at(self, quality: int) -> list[RenditionFigures]:
        """The figures of all recordings at that quality."""
        return [r for source in self.sources for r in source.renditions if r.rendition.quality == quality]

    def mean(self, quality: int, key: str) -> float:
        """The mean of a figure at that quality, over the recordings that have it."""
        return mean_of([figures.value(key) for figures in self.at(quality)])

    def mean_kbps(self, quality: int, key: str) -> float:
        """The mean bit rate of the recordings that have that figure at that quality."""
        return mean_of([figures.kbps for figures in self.at(quality) if math.isfinite(figures.value(key))])


def relative(path: Path, folder: Path) -> str:
    """The path relative to that folder, with forward slashes; the absolute path where there is no relative one."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.absolute().as_posix()


def rounded(value: float) -> float | int | None:
    """A figure with six digits, as the JSON and the page hold it; None for NaN and infinities."""
    if not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() else float(f"{value:.6g}")


def to_json(report: Report, output: Path) -> dict[str, Any]:
    """The content of ``report.json``; paths are relative to the folder ``output``."""
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
