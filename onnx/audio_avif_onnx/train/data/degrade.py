"""Received log-mel: the original sent through tiles and AVIF at random settings.

It is cached, because encoding takes longer than a training step.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.tiles import TileCutter, from_pixels
from audio_avif.types import FloatArray, Pixels
from audio_avif_onnx.train.data.augment import open_augmented
from audio_avif_onnx.train.data.corpus import Corpus, filling
from audio_avif_onnx.train.files import settle, whole_file
from audio_avif_onnx.train.progress import Display

_WIDTHS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
_WIDTH_WEIGHTS = (0.03, 0.03, 0.14, 0.06, 0.3, 0.06, 0.24, 0.04, 0.1)
_RANGES = ((-11.0, 4.0), (-5.5, 1.0), (-6.0, 2.0), (-8.0, 3.0))
_RANGE_WEIGHTS = (0.05, 0.85, 0.05, 0.05)
_QUALITY = (50.0, 14.0)  # mean and standard deviation: a third of 8-frame tiles lies between 3 and 5 kbps
GAIN_DB = (-18.0, 6.0)


@dataclass(frozen=True)
class Degradation:
    """One sender's settings: level, tile format and encoder."""

    gain_db: float
    tile: TileConfig
    encoder: EncoderConfig


def draw_degradation(rng: np.random.Generator) -> Degradation:
    """Draw random settings; common tile widths and qualities are drawn more often."""
    low, high = _RANGES[rng.choice(len(_RANGES), p=_RANGE_WEIGHTS)]
    return Degradation(
        gain_db=float(rng.uniform(*GAIN_DB)),
        tile=TileConfig(int(rng.choice(_WIDTHS, p=_WIDTH_WEIGHTS)), low, high),
        encoder=EncoderConfig(quality=int(np.clip(rng.normal(*_QUALITY), 15, 95)), speed=int(rng.choice([6, 8]))),
    )


def through_tiles(clean: FloatArray, tile: TileConfig, encoder: EncoderConfig) -> tuple[Pixels, int]:
    """Send ``[n_mels, frames]`` through tiles and AVIF; return decoded pixels of that shape and the bytes used."""
    n_mels, frames = clean.shape
    cutter = TileCutter(n_mels, tile)
    stills = [encode_still(cut.pixels, encoder) for cut in [*cutter.push(clean), *cutter.flush()]]
    decoded = np.concatenate([decode_still(still, tile.frames, n_mels) for still in stills], axis=1)
    return decoded[:, :frames], sum(map(len, stills))


@dataclass(frozen=True)
class Variant:
    """Send ``[n_mels, frames]`` through tiles and AVIF; return decoded pixels of that shape and the bytes used."""

    corpus: Corpus
    pixels: Pixels
    settings: tuple[Degradation, ...]

    def log_mel(self, clip: int, start: int, stop: int) -> FloatArray:
        """Rows ``start:stop`` of the array, part of clip number ``clip``, as ``[frames, n_mels]``."""
        return from_pixels(self.pixels[start:stop].T, self.settings[clip].tile).T


def open_variants(corpus: Corpus, mel: MelConfig, count: int, *, workers: int = 1, display: Display) -> list[Variant]:
    """Open the first ``count`` variants of a corpus; missing ones are encoded into its cache folder.

    Raises FileError where the cache cannot be written.
    """
    with filling(corpus.folder.parent, display):
        return [_open_variant(corpus, mel, number, workers, display) for number in range(count)]


def _open_variant(corpus: Corpus, mel: MelConfig, number: int, workers: int, display: Display) -> Variant:
    corpus = open_augmented(corpus, mel, number, display)
    index = corpus.folder / f"variant_{number}.json"
    target = index.with_suffix(".u8")
    size = corpus.frames * mel.n_mels
    if not index.is_file() or not target.is_file() or target.stat().st_size != size:
        rng = np.random.default_rng(number)
        settings = [draw_degradation(rng) for _ in corpus.clips]
        record = json.dumps([asdict(each) for each in settings]).encode()
        # Another version draws other settings and changes, and must not go on with what this one began.
        drawn = record + json.dumps([vars(clip) for clip in corpus.clips]).encode()
        partial = target.with_suffix(f".{hashlib.sha256(drawn).hexdigest()[:8]}.part")
        _encode(corpus, mel, settings, partial, f"encoding variant {number}", workers, display)
        partial.replace(target)
        with whole_file(index) as out:
            out.write(record)
    pixels = np.memmap(target, np.uint8, mode="r", shape=(corpus.frames, mel.n_mels))
    return Variant(corpus, pixels, tuple(map(_parse_degradation, json.loads(index.read_text()))))


def _encode(
    corpus: Corpus,
    mel: MelConfig,
    settings: list[Degradation],
    partial: Path,
    title: str,
    workers: int,
    display: Display,
) -> None:
    """Write all clips' pixels, continuing where an interrupted run stopped."""
    with partial.open("ab") as out:
        here = out.tell() // mel.n_mels
        done = sum(clip.first_frame + clip.frames <= here for clip in corpus.clips)
        total = len(corpus.clips)
        out.truncate((corpus.clips[done].first_frame if done < total else corpus.frames) * mel.n_mels)
        received = _received(corpus, mel, settings, done, workers)
        for pixels in display.each(received, title, "clips", total, done):
            out.write(pixels)
        settle(out)


def _parse_degradation(values: dict[str, Any]) -> Degradation:
    return Degradation(values["gain_db"], TileConfig(**values["tile"]), EncoderConfig(**values["encoder"]))


def _received(corpus: Corpus, mel: MelConfig, settings: list[Degradation], first: int, workers: int) -> Iterator[bytes]:
    """The pixels ``[frames, n_mels]`` of each clip from number ``first`` on, in order."""
    jobs = ((corpus.audio(corpus.clips[clip]), settings[clip], mel) for clip in range(first, len(corpus.clips)))
    if workers <= 1:
        yield from map(_receive_clip, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_leave_signals_to_parent) as pool:
        yield from pool.imap(_receive_clip, jobs, chunksize=8)


def _leave_signals_to_parent() -> None:
    """Ignore SIGINT: Ctrl-C reaches every process of a terminal, and the parent ends its workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _receive_clip(job: tuple[FloatArray, Degradation, MelConfig]) -> bytes:
    audio, settings, mel = job
    louder = audio * np.float32(10 ** (settings.gain_db / 20))
    pixels, _ = through_tiles(log_mel(louder, mel), settings.tile, settings.encoder)
    return np.ascontiguousarray(pixels.T).tobytes()
