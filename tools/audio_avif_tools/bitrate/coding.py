"""Encode clips as tiles at a rate or a quality, with any value range, and measure the mel error and scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from audio_avif.codec.rate_control import WINDOW_S, RateControl
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.metrics import SCORES
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.frame_headers import make_template
from audio_avif.still.template import StillTemplate
from audio_avif.still.tiles import from_pixels, to_pixels
from audio_avif.types import FloatArray
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.streaming import open_stream

SCORED = ("pesq_wb", "stoi", "dnsmos")
_HEARD_DB = 60.0
_MEL = MelConfig()


@dataclass(frozen=True)
class Coded:
    """A clip as tiles: the bytes and quality of each, the decoded ``[n_mels, frames]``, and trials per tile."""

    tile_s: float
    sizes_bytes: FloatArray
    qualities: FloatArray
    log_mel: FloatArray
    trials: float

    @property
    def kbps(self) -> float:
        """The mean rate."""
        return float(self.sizes_bytes.mean()) / (125 * self.tile_s)

    def window_kbps(self) -> FloatArray:
        """The mean rate of every window of WINDOW_S, in whole tiles ``[windows]``."""
        tiles = round(WINDOW_S / self.tile_s)
        if self.sizes_bytes.size < tiles:
            return np.zeros(0, np.float32)
        sums = np.convolve(self.sizes_bytes, np.ones(tiles, np.float32), "valid")
        return (sums / (125 * tiles * self.tile_s)).astype(np.float32)


class FixedRange:
    """The same value range for all tiles."""

    bytes_per_tile = 0

    def __init__(self, log10_min: float, log10_max: float) -> None:
        self.name = f"{log10_min:g} .. {log10_max:g}"
        self._limits = log10_min, log10_max

    def of(self, frames: FloatArray) -> TileConfig:
        """The format of the tile that shows ``[n_mels, tile_frames]``."""
        return TileConfig(frames.shape[1], *self._limits)


class RangePerTile:
    """Each tile's own minimum and maximum in two bytes, kept while they fit the next tile nearly as well."""

    name = "per tile, 2 bytes"
    bytes_per_tile = 2
    _LOG10_MIN, _STEPS, _KEPT_UNTIL = -11.0, 17.0, 1.25
    _SILENT = -5.5

    def __init__(self) -> None:
        self._low = self._high = 0

    def of(self, frames: FloatArray) -> TileConfig:
        """The format of the tile that shows ``[n_mels, tile_frames]``."""
        low = int(np.floor((max(self._SILENT, float(frames.min())) - self._LOG10_MIN) * self._STEPS))
        high = max(low + 1, int(np.ceil((float(frames.max()) - self._LOG10_MIN) * self._STEPS)))
        if not (self._low <= low and high <= self._high and self._high - self._low <= self._KEPT_UNTIL * (high - low)):
            self._low, self._high = low, high
        return TileConfig(
            frames.shape[1], self._LOG10_MIN + self._low / self._STEPS, self._LOG10_MIN + self._high / self._STEPS
        )


Range = FixedRange | RangePerTile


class Coder:
    """Encode clips with tiles of one width and one kind of value range, as a stream sends them.

    ``encode`` replaces ``encode_still``; the bodies of its stills count whole.
    """

    def __init__(
        self, tile_frames: int, values: Range | None = None, encode: Callable[..., bytes] | None = None
    ) -> None:
        self.tile_frames = tile_frames
        self.tile_s = tile_frames * _MEL.frame_s
        self._values = values or FixedRange(TileConfig().log10_min, TileConfig().log10_max)
        self._encode = encode or encode_still
        self._template = make_template(_MEL.n_mels, tile_frames, EncoderConfig.speed, 100)
        if encode is not None:
            blank = np.zeros((_MEL.n_mels, tile_frames), np.uint8)
            self._template = StillTemplate.of(encode(blank, EncoderConfig()))

    def _tiles(self, frames: FloatArray) -> Iterator[FloatArray]:
        """Cut into whole tiles only: a padded last tile would count as longer than its sound."""
        for start in range(0, frames.shape[1] - self.tile_frames + 1, self.tile_frames):
            yield frames[:, start : start + self.tile_frames]

    def controlled(
        self, frames: FloatArray, kbps: float, decodes: bool = True, limits: dict[int, float | None] | None = None
    ) -> Coded:
        """Encode ``[n_mels, frames]`` at a bitrate; ``limits`` are the path's rates from those tiles on."""
        control = RateControl(EncoderConfig(bitrate_kbps=kbps), self.tile_s)
        sizes, qualities, decoded, trials = [], [], [], 0
        for number, tile in enumerate(self._tiles(frames)):
            if limits and number in limits:
                control.limit_kbps = limits[number]
            values = self._values.of(tile)
            pixels = to_pixels(tile, values)
            stills: dict[int, bytes] = {}

            def encode_at(quality: int, pixels: np.ndarray = pixels, stills: dict[int, bytes] = stills) -> bytes:
                stills[quality] = self._encode(pixels, EncoderConfig(quality=quality))
                return self.payload(stills[quality])

            sizes.append(len(control.encode(encode_at)))
            qualities.append(control.quality)
            trials += len(stills)
            if decodes:
                still = stills[control.quality]
                decoded.append(from_pixels(decode_still(still, self.tile_frames, _MEL.n_mels), values))
        return self._coded(sizes, qualities, decoded, trials)

    def fixed(self, frames: FloatArray, quality: int) -> Coded:
        """Encode ``[n_mels, frames]`` at one quality."""
        sizes, decoded = [], []
        for tile in self._tiles(frames):
            values = self._values.of(tile)
            still = self._encode(to_pixels(tile, values), EncoderConfig(quality=quality))
            sizes.append(len(self.payload(still)))
            decoded.append(from_pixels(decode_still(still, self.tile_frames, _MEL.n_mels), values))
        return self._coded(sizes, [quality] * len(sizes), decoded, len(sizes))

    def payload(self, still: bytes) -> bytes:
        frame_body = self._template.strip(still)
        payload = still if frame_body is None else self._template.shorten(frame_body)[1]
        return bytes(self._values.bytes_per_tile) + payload

    def _coded(self, sizes: list[int], qualities: list[int], decoded: list[FloatArray], trials: int) -> Coded:
        joined = np.concatenate(decoded, axis=1) if decoded else np.zeros((_MEL.n_mels, 0), np.float32)
        per_tile = trials / max(1, len(sizes))
        return Coded(self.tile_s, np.asarray(sizes, np.float32), np.asarray(qualities, np.float32), joined, per_tile)


def mel_errors_db(original: FloatArray, coded: FloatArray) -> tuple[float, float]:
    """RMS difference of two log10 mels ``[n_mels, frames]`` in dB: of all values, and of the audible ones.

    For the second, both are raised to at least 60 dB below the original's peak.
    """
    original = original[:, : coded.shape[1]]
    heard = original.max() - np.float32(_HEARD_DB / 20)
    return _rms_db(coded - original), _rms_db(np.maximum(coded, heard) - np.maximum(original, heard))


def _rms_db(log10_difference: FloatArray) -> float:
    return 20 * float(np.sqrt(np.mean(np.square(log10_difference, dtype=np.float64))))


def scores_of(sound: FloatArray, coded: FloatArray, vocoder: Vocoder) -> list[float]:
    """SCORED of ``[samples]`` against what the vocoder speaks of its coded log-mel ``[n_mels, frames]``."""
    stream = open_stream(vocoder)
    heard = np.concatenate([stream.push(coded), stream.flush()])
    length = min(sound.size, heard.size)
    return [SCORES[key](sound[:length], heard[:length]) for key in SCORED]
