"""``audio-avif compare --layouts``: compare the layouts of two channels in one AVIF at equal rates."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audio_avif.config import RATE_HZ
from audio_avif.recording.layout import CELL_FRAMES, from_pixels, side_pays, to_pixels
from audio_avif.recording.picture_encoder import FileConfig, encode_cell
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_picture
from audio_avif.types import FloatArray
from audio_avif_tools.bitrate.coding import mel_errors_db
from audio_avif_tools.compare.jobs import sound_of
from audio_avif_tools.compare.tables import RATES_KBPS, cell
from audio_avif_tools.shared.pages import table

QUALITIES = (5, 15, 25, 35, 45, 55, 65, 75, 85, 92, 97)
SCENES = (
    "one voice twice",
    "one voice, 6 dB and 2 ms apart",
    "two talkers in turn, the other 12 dB lower",
    "two talkers at once, the other 12 dB lower",
    "two talkers",
)
LAYOUTS = ("left/right", "mid/side", "planes")
_CELL_SAMPLES = (CELL_FRAMES - 1) * 256
_PAN_SAMPLES = 2 * RATE_HZ // 1000
_PAN_GAIN, _CROSSTALK_GAIN = (np.float32(10 ** (-db / 20)) for db in (6, 12))


@dataclass(frozen=True)
class LayoutPoint:
    """One recording in a scene, in one layout at one quality; whether ``side_pays`` chose mid and side."""

    scene: str
    recording: str
    layout: str
    quality: int
    kbps: float
    error_db: float
    heard_error_db: float
    takes_side: bool


@dataclass(frozen=True)
class LayoutJob:
    """A job: ten seconds of a recording in every scene; ``other`` is the second talker."""

    recording: Path
    other: Path

    def run(self) -> list[LayoutPoint]:
        """Raises FileError."""
        points = []
        for scene, sounds in zip(SCENES, self._scenes(), strict=True):
            frames = np.stack([log_mel(sound) for sound in sounds])
            takes_side = side_pays(frames, FileConfig().info(2, RATE_HZ))
            for layout in LAYOUTS:
                for quality in QUALITIES:
                    kbps, errors_db = _coded(frames, layout, quality)
                    name = self.recording.as_posix()
                    points.append(LayoutPoint(scene, name, layout, quality, kbps, *errors_db, takes_side))
        return points

    def _scenes(self) -> Iterator[tuple[FloatArray, FloatArray]]:
        alone, other = (sound_of(each)[:_CELL_SAMPLES] for each in (self.recording, self.other))
        yield alone, alone
        yield alone, _PAN_GAIN * np.concatenate([np.zeros(_PAN_SAMPLES, np.float32), alone])[: alone.size]
        both = min(alone.size, other.size)
        first, second = alone[:both], other[:both]
        turn = np.arange(both) < both // 2
        for each, another in ((first * turn, second * ~turn), (first, second)):
            yield each + _CROSSTALK_GAIN * another, another + _CROSSTALK_GAIN * each
        yield first, second


def _coded(frames: FloatArray, layout: str, quality: int) -> tuple[float, tuple[float, float]]:
    """Return the rate of ``[2, n_mels, frames]`` as a picture, and its errors over both channels."""
    config = FileConfig(quality=quality, layout="planes" if layout == "planes" else "stacked")
    info = config.info(2, RATE_HZ)
    is_side = layout == "mid/side"
    still = encode_cell(to_pixels(frames, info, is_side), config)
    pixels = decode_picture(still, frames.shape[2], info.height, 8, is_gray=layout != "planes")
    decoded = from_pixels(pixels, info, is_side)
    kbps = 8e-3 * len(still) / (frames.shape[2] * info.mel.frame_s)
    return kbps, mel_errors_db(np.concatenate([*frames]), np.concatenate([*decoded]))


def layouts_csv(points: Sequence[LayoutPoint]) -> str:
    """Return all points as CSV with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    texts = ("scene", "recording", "layout", "quality")
    writer.writerow([*texts, "kbps", "error_db", "heard_error_db", "side_pays"])
    for point in points:
        numbers = (f"{number:.4f}" for number in (point.kbps, point.error_db, point.heard_error_db))
        writer.writerow([*(getattr(point, text) for text in texts), *numbers, int(point.takes_side)])
    return out.getvalue()


def _errors_db(points: Sequence[LayoutPoint]) -> npt.NDArray[np.float64]:
    """Heard errors ``[layouts, rates]`` of one recording in a scene, interpolated over the logarithm of the rate."""
    errors = []
    for layout in LAYOUTS:
        curve = sorted((point for point in points if point.layout == layout), key=lambda point: point.kbps)
        rates = np.log([point.kbps for point in curve])
        wanted = np.log(RATES_KBPS)
        values = np.interp(wanted, rates, [point.heard_error_db for point in curve])
        errors.append(np.where((rates[0] <= wanted) & (wanted <= rates[-1]), values, np.nan))
    return np.array(errors)


def layout_table(points: Sequence[LayoutPoint]) -> str:
    """Return a table of the mean heard error of each layout at RATES_KBPS of both channels together.

    It also has the error of the layout that ``side_pays`` chooses, how often that is mid and side, and how often the
    choice is right.
    """
    rows = []
    for scene in SCENES:
        groups: dict[str, list[LayoutPoint]] = {}
        for point in points:
            if point.scene == scene:
                groups.setdefault(point.recording, []).append(point)
        errors = np.array([_errors_db(group) for group in groups.values()])  # [recordings, layouts, rates]
        takes_side = np.array([group[0].takes_side for group in groups.values()])
        chosen = np.where(takes_side[:, None], errors[:, 1], errors[:, 0])
        is_wrong = chosen > np.minimum(errors[:, 0], errors[:, 1])
        columns = [*np.moveaxis(errors, 1, 0), chosen]
        rows.append(
            [
                scene,
                *(" / ".join(cell(value, 2) for value in column.mean(axis=0)) for column in columns),
                f"{takes_side.sum()} of {takes_side.size}",
                " / ".join(map(str, takes_side.size - is_wrong.sum(axis=0))),
            ]
        )
    at = " / ".join(f"{kbps:g}" for kbps in RATES_KBPS)
    header = ["scene", *LAYOUTS, "as chosen", "mid/side chosen", "chosen rightly"]
    return f"Error, dB, heard, at {at} kbps of both channels together:\n\n{table(header, rows)}"
