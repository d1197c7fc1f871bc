"""What lost tiles cost, by the rule that conceals them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, groupby

import numpy as np
import numpy.typing as npt

from audio_avif.codec.concealment import decay, interpolate, over_noise
from audio_avif.codec.noise import FloorTracker, NoiseSource
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.metrics import pesq_wb, stoi
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.tiles import from_pixels, to_pixels
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.streaming import open_stream

_MEL, _TILE = MelConfig(), TileConfig()

# Rules for gaps: up to that many lost tiles are interpolated when the next one arrives, longer gaps fade into noise.
_RULES = {"fade into noise": 0, "of up to 2 tiles interpolated": 2, "of up to 4": 4, "all": 1000}
_LOSS = 0.05
_BURST_TILES = 3
LOSS_HEADER = ("loss", "gaps", "tiles lost", "STOI", "worst clip", "PESQ")


def lost_tiles(tiles: int, mean_burst_tiles: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return which tiles are lost ``[tiles]``: 5 % of them, in bursts of that mean length (Gilbert 1960)."""
    random = np.random.default_rng(seed)
    if mean_burst_tiles == 1:
        return random.random(tiles) < _LOSS
    lost = np.zeros(tiles, bool)
    is_bad = False
    for at in range(tiles):
        share = 1 - 1 / mean_burst_tiles if is_bad else _LOSS / (1 - _LOSS) / mean_burst_tiles
        lost[at] = is_bad = random.random() < share
    return lost


def through_avif(samples: FloatArray) -> list[FloatArray]:
    """Return the decoded tiles of a recording, each ``[n_mels, tile_frames]``."""
    frames = log_mel(samples, _MEL)
    tiles = (frames[:, at : at + _TILE.frames] for at in range(0, frames.shape[1] - _TILE.frames + 1, _TILE.frames))
    stills = (encode_still(to_pixels(tile, _TILE), EncoderConfig()) for tile in tiles)
    return [from_pixels(decode_still(still, _TILE.frames, _MEL.n_mels), _TILE) for still in stills]


def fill(tiles: Sequence[FloatArray], lost: npt.NDArray[np.bool_], interpolated_tiles: int) -> FloatArray:
    """Return the frames ``[n_mels, frames]`` with the lost tiles concealed."""
    tracker, source = FloorTracker(_MEL), NoiseSource(_MEL)
    heard: list[FloatArray] = []
    before = tracker.floor
    for is_lost, numbers in groupby(range(len(tiles)), lambda at: bool(lost[at])):
        run = list(numbers)
        frames, after = len(run) * _TILE.frames, run[-1] + 1
        if not is_lost:
            heard += (tiles[at] for at in run)
            tracker.push(np.concatenate(heard[-len(run) :], axis=1))
            before = heard[-1][:, -1]
        elif after < len(tiles) and len(run) <= interpolated_tiles:
            heard.append(interpolate(before, tiles[after][:, 0], frames))
        else:
            noise = source.frames(tracker.floor, frames)
            heard.append(over_noise(decay(before, tracker.floor, frames, _MEL.frame_s), tracker.floor, noise))
    return np.concatenate(heard, axis=1)


def measure_losses(clips: Sequence[FloatArray], vocoder: Vocoder) -> Iterator[list[str]]:
    """Yield the rows of the table of losses."""
    pictures = [through_avif(clip) for clip in clips]
    ends = np.cumsum([len(tiles) for tiles in pictures])
    patterns = {"none": np.zeros(ends[-1], bool)}
    patterns |= {
        name: next(lost for seed in count() if abs((lost := lost_tiles(ends[-1], burst, seed)).mean() - _LOSS) < 0.002)
        for name, burst in (("at random", 1), ("bursts, 3 tiles on average", _BURST_TILES))
    }
    for loss, pattern in patterns.items():
        lost_of_clips = np.split(pattern, ends[:-1])
        for rule, interpolated_tiles in _RULES.items():
            scores = []
            for clip, tiles, holes in zip(clips, pictures, lost_of_clips, strict=True):
                stream = open_stream(vocoder)
                sound = np.concatenate([stream.push(fill(tiles, holes, interpolated_tiles)), stream.flush()])
                scores.append([score(clip[: sound.size], sound[: clip.size]) for score in (stoi, pesq_wb)])
            (mean_stoi, mean_pesq), worst = np.nanmean(scores, axis=0), np.nanmin(scores, axis=0)[0]
            share = f"{100 * pattern.mean():.1f} %"
            yield [loss, rule, share, f"{mean_stoi:.3f}", f"{worst:.3f}", f"{mean_pesq:.2f}"]
            if loss == "none":
                break
