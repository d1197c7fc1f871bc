"""Any folder of speech as one array of samples on disk, and the random pieces a training step takes from it."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from audio_avif.config import MelConfig
from audio_avif.errors import FileError
from audio_avif.features import frame_count

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".flac", ".wav", ".ogg", ".opus", ".mp3", ".aiff", ".aif"})
MIN_CLIP_S = 0.5
_FULL_SCALE = 32767.0


@dataclass(frozen=True)
class Clip:
    """Where one clip lies in the array: ``samples`` from ``first_sample``, ``frames`` from ``first_frame``."""

    name: str
    first_sample: int
    samples: int
    first_frame: int
    frames: int


@dataclass(frozen=True)
class Corpus:
    """All clips of a folder: ``samples`` ``[total] int16`` memory-mapped, and the clips in it."""

    folder: Path
    samples: npt.NDArray[np.int16]
    clips: tuple[Clip, ...]

    @property
    def frames(self) -> int:
        """How many mel frames all clips have together."""
        return sum(clip.frames for clip in self.clips)

    def audio(self, clip: Clip, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """Samples ``start:stop`` of a clip as ``float32`` in -1..1; what lies outside the clip is silence."""
        stop = clip.samples if stop is None else stop
        out = np.zeros(stop - start, np.float32)
        low, high = max(0, start), min(clip.samples, stop)
        if low < high:
            piece = self.samples[clip.first_sample + low : clip.first_sample + high]
            out[low - start : high - start] = piece / np.float32(_FULL_SCALE)
        return out


def find_audio(data: Path) -> list[Path]:
    """Every audio file below a folder, sorted. Raises FileError where there is none."""
    if not data.is_dir():
        raise FileError(f"{data} is not a folder; give --data a folder of audio files")
    files = sorted(path for path in data.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise FileError(f"{data} holds no audio file; give --data a folder of {', '.join(sorted(SUFFIXES))} files")
    return files


def read_mono(path: Path, rate_hz: int) -> npt.NDArray[np.float32]:
    """One file as mono ``[samples] float32`` at ``rate_hz``. Raises FileError where it does not decode."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise FileError(f"{path} does not decode: {error}") from error
    mono = samples.mean(axis=1)
    return mono if rate == rate_hz else soxr.resample(mono, rate, rate_hz, quality="VHQ").astype(np.float32)


def open_corpus(data: Path, cache: Path, mel: MelConfig) -> Corpus:
    """The corpus of a folder, decoded into ``cache`` on first use and mapped from there afterwards.

    Files that do not decode or are shorter than ``MIN_CLIP_S`` are skipped, counted and named in the log.

    Raises FileError where nothing is left.
    """
    files = find_audio(data)
    folder = cache / _fingerprint(files, mel)
    index = folder / "clips.json"
    if not index.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        clips = _decode(files, data, folder / "samples.i16", mel)
        partial = index.with_suffix(".part")
        partial.write_text(json.dumps([vars(clip) for clip in clips]))
        partial.replace(index)
    listed = tuple(Clip(**values) for values in json.loads(index.read_text()))
    return Corpus(folder, np.memmap(folder / "samples.i16", np.int16, mode="r"), listed)


def _fingerprint(files: list[Path], mel: MelConfig) -> str:
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([stats, mel.to_dict()]).encode()).hexdigest()[:16]


def _decode(files: list[Path], data: Path, target: Path, mel: MelConfig) -> list[Clip]:
    clips: list[Clip] = []
    skipped: list[str] = []
    first_sample = first_frame = 0
    with target.open("wb") as out:
        for path in files:
            try:
                samples = read_mono(path, mel.rate_hz)
            except FileError as error:
                skipped.append(str(error))
                continue
            if samples.size < MIN_CLIP_S * mel.rate_hz:
                skipped.append(f"{path} is shorter than {MIN_CLIP_S} s")
                continue
            out.write(np.rint(np.clip(samples, -1, 1) * _FULL_SCALE).astype(np.int16).tobytes())
            frames = frame_count(samples.size, mel)
            clips.append(Clip(str(path.relative_to(data)), first_sample, samples.size, first_frame, frames))
            first_sample += samples.size
            first_frame += frames
    for reason in skipped:
        logger.warning("skipped: %s", reason)
    if skipped:
        logger.warning("%d of %d files skipped", len(skipped), len(files))
    if not clips:
        raise FileError(f"none of the {len(files)} audio files in {data} is usable; the log names the reasons")
    return clips
