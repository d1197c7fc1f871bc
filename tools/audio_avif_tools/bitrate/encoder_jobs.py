"""The jobs of the search for encoder options: a candidate's rates and errors, and its scores after the vocoder."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from audio_avif.config import MAX_TILE_FRAMES, EncoderConfig, TileConfig
from audio_avif.signal.features import log_mel
from audio_avif.still.tiles import to_pixels
from audio_avif.types import FloatArray, Pixels
from audio_avif.vocoders.registry import DEFAULT, load_vocoder
from audio_avif_tools.bitrate.candidates import TODAY, Candidate
from audio_avif_tools.bitrate.coding import Coder, mel_errors_db, scores_of
from audio_avif_tools.bitrate.curves import Curve, Doubles
from audio_avif_tools.quality.jobs import Clip, sound_of

QUALITIES = (20, 36, 52, 68, 84)


@lru_cache(maxsize=1)
def _mels(clips: tuple[Clip, ...]) -> list[FloatArray]:
    return [log_mel(sound_of(clip)) for clip in clips]


@dataclass(frozen=True)
class CurveJob:
    """A job: one candidate at one tile width over all clips and QUALITIES."""

    clips: tuple[Clip, ...]
    candidate: Candidate
    tile_frames: int

    def run(self) -> Curve:
        """Measure, unless the candidate is refused or changes nothing."""
        spent_s = 0.0

        def encode(pixels: Pixels, config: EncoderConfig) -> bytes:
            nonlocal spent_s
            began_s = time.process_time()
            still = self.candidate.encode(pixels, config)
            spent_s += time.process_time() - began_s
            return still

        mels, nothing = _mels(self.clips), np.zeros(0)
        try:
            coder = Coder(self.tile_frames, encode=encode)
        except ValueError:
            return Curve(self.candidate, self.tile_frames, nothing, nothing, is_refused=True)
        if self.candidate.options != TODAY.options and self._makes_todays_stills():
            return Curve(self.candidate, self.tile_frames, nothing, nothing)
        kbps, errors_db, tiles = [], [], 0
        for quality in QUALITIES:
            runs = [coder.fixed(frames, quality) for frames in mels]
            sizes = np.concatenate([run.sizes_bytes for run in runs])
            kbps.append(sizes.mean() / (125 * coder.tile_s))
            errors_db.append(
                np.mean([mel_errors_db(frames, run.log_mel)[1] for frames, run in zip(mels, runs, strict=True)])
            )
            tiles += sizes.size
        return Curve(self.candidate, self.tile_frames, np.array(kbps), np.array(errors_db), spent_s / tiles)

    def _makes_todays_stills(self) -> bool:
        tried = _tried(self.clips, self.tile_frames)
        return all(self.candidate.encode(*given) == still for given, still in tried)


@lru_cache(maxsize=1)
def _tried(clips: tuple[Clip, ...], tile_frames: int) -> list[tuple[tuple[Pixels, EncoderConfig], bytes]]:
    """Return a second from the middle of a clip as tiles, at a few qualities, and their stills with today's options."""
    frames = _mels(clips)[0]
    start = max(0, frames.shape[1] // 2 - MAX_TILE_FRAMES)
    tiles = [
        to_pixels(frames[:, at : at + tile_frames], TileConfig(tile_frames))
        for at in range(start, start + MAX_TILE_FRAMES - tile_frames + 1, tile_frames)
    ]
    given = [(tile, EncoderConfig(quality)) for tile in tiles for quality in QUALITIES[::2]]
    return [(each, TODAY.encode(*each)) for each in given]


@dataclass(frozen=True)
class Scores:
    """The scores of a candidate's 8-frame tiles at one rate after the vocoder: SCORED ``[clips, scores]``."""

    candidate: Candidate
    asked_kbps: float
    kbps: float
    scores: Doubles


@dataclass(frozen=True)
class ScoreJob:
    """A job: one candidate at one rate over some clips, decoded with the default vocoder."""

    clips: tuple[Clip, ...]
    candidate: Candidate
    kbps: float

    def run(self) -> Scores:
        """Decode and score. Raises AudioAvifError where a score's package is missing."""
        coder, vocoder = Coder(8, encode=self.candidate.encode), load_vocoder(device="cpu", name=DEFAULT)
        rates, scores = [], []
        for clip, frames in zip(self.clips, _mels(self.clips), strict=True):
            coded = coder.controlled(frames, self.kbps)
            rates.append(coded.kbps)
            scores.append(scores_of(sound_of(clip)[: coded.log_mel.shape[1] * 256], coded.log_mel, vocoder))
        return Scores(self.candidate, self.kbps, float(np.mean(rates)), np.array(scores, np.float64))
