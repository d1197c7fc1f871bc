"""A folder of speech decoded into one array of samples on disk."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from audio_avif.config import MelConfig
from audio_avif.errors import FileError
from audio_avif.signal.features import frame_count
from audio_avif_onnx.train.files import alone_in, whole_file
from audio_avif_onnx.train.progress import Display

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".flac", ".wav", ".ogg", ".opus", ".mp3", ".aiff", ".aif"})
MIN_CLIP_S = 0.5
SKIPPED = "skipped.txt"
FULL_SCALE = 32767.0
_NAMED = 10  # so many skipped files are named in the log, all of them in a file


@dataclass(frozen=True)
class Clip:
    """The place of one clip in the array: ``samples`` from ``first_sample``, ``frames`` from ``first_frame``."""

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
        """Number of mel frames of all clips."""
        return sum(clip.frames for clip in self.clips)

    def audio(self, clip: Clip, start: int = 0, stop: int | None = None) -> npt.NDArray[np.float32]:
        """Samples ``start:stop`` of a clip as ``float32`` in -1..1; outside the clip they are zero."""
        stop = clip.samples if stop is None else stop
        out = np.zeros(stop - start, np.float32)
        low, high = max(0, start), min(clip.samples, stop)
        if low < high:
            piece = self.samples[clip.first_sample + low : clip.first_sample + high]
            out[low - start : high - start] = piece / np.float32(FULL_SCALE)
        return out


def find_audio(data: Path) -> list[Path]:
    """All audio files below a folder, sorted. Raises FileError where there are none."""
    if not data.is_dir():
        raise FileError(f"{data} is not a folder; give a folder of audio files")
    files = sorted(path for path in data.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise FileError(f"{data} has no audio files; give a folder of {', '.join(sorted(SUFFIXES))} files")
    return files


def read_mono(path: Path, rate_hz: int) -> npt.NDArray[np.float32]:
    """Read a file as mono ``[samples] float32`` at ``rate_hz``. Raises FileError where it cannot be decoded."""
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, UnicodeEncodeError) as error:  # the last for a name that is no UTF-8
        raise FileError(f"{path} cannot be decoded: {error}") from error
    if not np.isfinite(samples).all():
        raise FileError(f"{path} cannot be decoded: some samples are not finite")
    mono: npt.NDArray[np.float32] = samples.mean(axis=1)
    if rate != rate_hz:
        mono = soxr.resample(mono, rate, rate_hz, quality="VHQ").astype(np.float32)
    return mono


def open_corpus(data: Path, cache: Path, mel: MelConfig, display: Display) -> Corpus:
    """Open the corpus of a folder, decoded into ``cache`` on first use and memory-mapped afterwards.

    Files that cannot be decoded or are shorter than ``MIN_CLIP_S`` are skipped, counted and named in the log.

    Raises FileError where no usable file is left, or where the cache cannot be written.
    """
    files = find_audio(data)
    folder = cache / _fingerprint(files, mel)
    index, target = folder / "clips.json", folder / "samples.i16"
    with filling(cache, display):
        if not index.is_file() or not is_whole(target, read_index(index)):
            folder.mkdir(parents=True, exist_ok=True)
            clips = _decode(files, data, target, mel, display)
            with whole_file(index) as out:
                out.write(json.dumps([vars(clip) for clip in clips]).encode())
    return Corpus(folder, np.memmap(target, np.int16, mode="r"), read_index(index))


@contextmanager
def filling(cache: Path, display: Display) -> Iterator[None]:
    """Lock a cache, which several runs may share, while filling it. Raises FileError where it cannot be written."""
    try:
        with alone_in(cache, wait=lambda: display.show(f"another run is filling {cache}; waiting")):
            yield
    except OSError as error:
        raise FileError(
            f"the cache {cache} cannot be written: {error.strerror}; its content is kept: "
            "free disk space, then run the same command again"
        ) from error


def _fingerprint(files: list[Path], mel: MelConfig) -> str:
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([stats, mel.to_dict()]).encode()).hexdigest()[:16]


def read_index(index: Path) -> tuple[Clip, ...]:
    """The clips listed in an index file."""
    return tuple(Clip(**values) for values in json.loads(index.read_text()))


def is_whole(target: Path, clips: tuple[Clip, ...]) -> bool:
    """Whether a file of samples is as long as its clips together."""
    end = clips[-1].first_sample + clips[-1].samples
    return target.is_file() and target.stat().st_size == end * np.dtype(np.int16).itemsize


def _decode(files: list[Path], data: Path, target: Path, mel: MelConfig, display: Display) -> list[Clip]:
    clips: list[Clip] = []
    skipped: list[str] = []
    first_sample = first_frame = 0
    with whole_file(target) as out:
        for path in display.each(files, "decoding", "files", len(files)):
            try:
                samples = read_mono(path, mel.rate_hz)
            except FileError as error:
                skipped.append(str(error))
                continue
            if samples.size < MIN_CLIP_S * mel.rate_hz:
                skipped.append(f"{path} is shorter than {MIN_CLIP_S} s")
                continue
            out.write(np.rint(np.clip(samples, -1, 1) * FULL_SCALE).astype(np.int16).tobytes())
            frames = frame_count(samples.size, mel)
            clips.append(Clip(str(path.relative_to(data)), first_sample, samples.size, first_frame, frames))
            first_sample += samples.size
            first_frame += frames
        if not clips:
            raise FileError(f"none of the {len(files)} audio files in {data} is usable; the first: {skipped[0]}")
    _tell(skipped, len(files), target.with_name(SKIPPED))
    return clips


def _tell(skipped: list[str], files: int, record: Path) -> None:
    # A file name may hold bytes that are no text; they are shown as escapes.
    shown = [reason.encode(errors="backslashreplace").decode() for reason in skipped]
    record.write_text("".join(f"{reason}\n" for reason in shown), encoding="utf-8")
    for reason in shown[:_NAMED]:
        logger.warning("skipped: %s", reason)
    if skipped:
        logger.warning("%d of %d files skipped; %s lists all of them", len(skipped), files, record)
