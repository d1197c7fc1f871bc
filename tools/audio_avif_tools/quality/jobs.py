"""The jobs of the quality bench: find clips, and score one clip through one system."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.sound_files import read_blocks
from audio_avif.errors import AudioAvifError, FileError
from audio_avif.metrics import MAX_CLIP_S, SCORES
from audio_avif.types import FloatArray
from audio_avif_tools.quality.rows import Key, Row
from audio_avif_tools.quality.systems import System

SUFFIXES = frozenset({".flac", ".wav", ".ogg", ".opus", ".mp3", ".aiff", ".aif"})
_MIN_CLIP_S = 1.0


@dataclass(frozen=True)
class Clip:
    """A sound file that can be scored: its name within the folder, and a digest of its bytes."""

    path: Path
    name: str
    digest: str
    seconds: float
    is_cut: bool


@dataclass(frozen=True)
class ClipChoice:
    """The clips to score, and a reason for each file that was skipped."""

    clips: tuple[Clip, ...]
    skipped: tuple[str, ...]


def choose_clips(folder: Path, match: str = "", every: int = 1) -> ClipChoice:
    """Find audio files in a folder and below whose names contain ``match``; keep each ``every``-th that can be scored.

    Raises FileError where none is left.
    """
    if not folder.is_dir():
        raise FileError(f"there is no folder {folder}")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    matching = [path for path in files if match in path.name]
    if not matching:
        named = f" with {match!r} in its name" if match else ""
        raise FileError(f"there is no audio file{named} in {folder}; use WAV, FLAC, OGG, Opus, MP3 or AIFF")
    clips, skipped = [], []
    for path in matching[::every]:
        try:
            clips.append(_clip(path, path.relative_to(folder).as_posix()))
        except (FileError, OSError) as error:
            skipped.append(str(error).replace(str(path), path.relative_to(folder).as_posix()))
    if not clips:
        raise FileError(f"no clip in {folder} can be scored: {skipped[0]}")
    return ClipChoice(tuple(clips), tuple(skipped))


def _clip(path: Path, name: str) -> Clip:
    if len(name.splitlines()) > 1:
        raise FileError(f"{name!r} has more than one line in its name")
    sound, is_cut = _read(path)
    if sound.size < _MIN_CLIP_S * RATE_HZ:
        raise FileError(f"{path} is shorter than {_MIN_CLIP_S:g} s")
    if not sound.any():
        raise FileError(f"{path} is silent")
    return Clip(path, name, hashlib.sha256(path.read_bytes()).hexdigest()[:8], sound.size / RATE_HZ, is_cut)


@lru_cache(maxsize=4)
def _read(path: Path) -> tuple[FloatArray, bool]:
    """Read the first MAX_CLIP_S of a file ``[samples]``, clipped to -1..1 for other codecs, and whether it goes on."""
    blocks = read_blocks(path, MAX_CLIP_S * RATE_HZ)
    first = next(blocks, np.zeros(0, np.float32))
    is_cut = next(blocks, None) is not None
    return np.clip(first, np.float32(-1.0), np.float32(1.0)), is_cut


@dataclass(frozen=True)
class Job:
    """A job: one clip through one system, and the keys of the scores to compute."""

    clip: Clip
    system: System
    scores: tuple[str, ...]

    @property
    def key(self) -> Key:
        """The key of the resulting row."""
        return self.clip.name, self.clip.digest, self.system.name, self.system.setting, self.system.made_by

    def run(self) -> Row:
        """Code and score the clip. Raises AudioAvifError where the system fails."""
        sound = sound_of(self.clip)
        try:
            coded = self.system.code(sound)
            scores = {key: SCORES[key](sound, coded.samples) for key in self.scores}
        except (AudioAvifError, ValueError) as error:
            what = f"{self.system.name}, {self.system.setting}"
            raise AudioAvifError(f"{what} failed on {self.clip.name}: {error}") from error
        seconds = self.clip.seconds
        payload_kbps, wire_kbps = 1e-3 * coded.payload_bits / seconds, 8e-3 * coded.wire_bytes / seconds
        return Row(*self.key, seconds, payload_kbps, wire_kbps, scores)


def sound_of(clip: Clip) -> FloatArray:
    """The samples that are scored ``[samples]`` at 16 kHz."""
    return _read(clip.path)[0]
