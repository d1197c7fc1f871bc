"""Chooses the quality of each tile so that a stream has the requested rate; see docs/design/rate-control.md."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from itertools import islice

import numpy as np

from audio_avif.config import EncoderConfig

WINDOW_S = 2.0
"""The mean rate over this time is kept near the target."""
MAX_STEP = 14
"""Quality rises by no more from one tile to the next (wider ones than STEP_S: by no more per STEP_S), and falls by no
more unless the window would overflow or the path is congested."""
STEP_S = 0.128

SLACK = 0.03
"""The share by which a window may hold too much or too little."""
STEADY_S = 1.3
"""Over this time the steady quality follows those chosen."""
LIMIT_SHARE = 0.95
"""Of a limit this much is aimed at, so that what deviates stays below it."""

_MEMORY_S = 0.05 * WINDOW_S  # beyond this, too much or too little is forgotten: to make good for it would be heard
_CORRECTION_S = 0.7  # in which the correction alone would make good for a surplus
_SOON_S = 0.5
_MIN_KBPS = 0.1  # of any target: a limit may be zero
_START_QUALITY = 56
_START_SLACK = 0.1  # of a tile's time, for the first one
_MAX_TRIALS = 6

# How an average tile of speech grows with quality, to a tenth or so; it only says what to try next.
_QUALITIES = np.arange(101.0)
_LOG_SIZES = 0.033 * _QUALITIES + 0.03 * np.maximum(0, _QUALITIES - 95)


def _scaled(quality: float, factor: float) -> float:
    """The quality at which an average tile takes ``factor`` times the bytes, or the last there is on the way."""
    log_size = np.interp(quality, _QUALITIES, _LOG_SIZES) + math.log(max(factor, 1e-6))
    return float(np.interp(log_size, _LOG_SIZES, _QUALITIES))


class RateControl:
    """Chooses the qualities of one stream, whose tiles last ``tile_s`` each.

    Bytes are counted as the time that they last at the target rate. A tile is tried at the steady quality, a slow mean
    of those chosen, corrected for what has been spent ahead of the sound; only where the last two seconds would so hold
    too much or too little, a quality near it is found with which they do not.
    """

    def __init__(self, config: EncoderConfig, tile_s: float) -> None:
        self._config = config
        self._tile_s = tile_s
        self._max_step = round(MAX_STEP * max(1.0, tile_s / STEP_S))
        self.limit_kbps: float | None = None
        """What a congested path carries, set from outside; None while it is clear."""
        self.quality = config.quality
        """Of the last tile."""
        self._forget()

    def _forget(self) -> None:
        self._target_kbps: float | None = None  # of the last tile
        self._steady_quality = 0.0
        self._tiles = 0
        self._copies_bytes = 0  # since the last tile
        self._ahead_s = 0.0
        tiles = round(WINDOW_S / self._tile_s)
        self._excess_s = deque([0.0] * tiles, maxlen=tiles)  # what each tile in the window took beyond its own time

    def encode(self, encode_at: Callable[[int], bytes]) -> bytes:
        """Return a tile's payload at the quality chosen; ``encode_at(quality)`` makes one and is called a few times."""
        target_kbps = self._wanted_kbps()
        if target_kbps is None:
            self._forget()
            self.quality = min(self._config.quality, self.quality + self._max_step)
            return encode_at(self.quality)

        payloads: dict[int, bytes] = {}
        copies_bytes, self._copies_bytes = self._copies_bytes, 0  # as many will ride along with this tile

        def lasts_s(quality: int) -> float:
            payloads[quality] = encode_at(quality)
            return _lasts_s(len(payloads[quality]) + copies_bytes, target_kbps)

        first, slack_s = float(self.quality), _START_SLACK * self._tile_s
        if self._target_kbps is not None:
            self._steady_quality = _scaled(self._steady_quality, target_kbps / self._target_kbps)
            first = _scaled(self._steady_quality, math.exp(-self._surplus_s() / _CORRECTION_S))
            slack_s = SLACK * WINDOW_S
        elif self._config.bitrate_kbps is not None:
            first = _START_QUALITY
        room_s = self._tile_s - (sum(self._excess_s) - self._excess_s[0])
        self.quality = _fitting(lasts_s, first, *self._bounds(target_kbps), room_s - slack_s, room_s + slack_s)
        self._target_kbps = target_kbps
        self._tiles += 1
        self._steady_quality += (self.quality - self._steady_quality) * max(self._tile_s / STEADY_S, 1 / self._tiles)
        payload = payloads[self.quality]
        self._excess_s.append(0.0)
        self._account(_lasts_s(len(payload), target_kbps) - self._tile_s)
        return payload

    def spend(self, payload_bytes: int, duration_s: float = 0.0) -> None:
        """Count bytes not chosen here: copies that ride along with the last tile, or a pause of that duration.

        What a pause saves is not spent later.
        """
        if self._target_kbps is None:
            return
        self._copies_bytes = 0 if duration_s else self._copies_bytes + payload_bytes
        excess_s = _lasts_s(payload_bytes, self._target_kbps) - duration_s
        self._account(max(0.0, excess_s))

    def _account(self, excess_s: float) -> None:
        """Charge the newest tile with what was spent beyond its time."""
        self._ahead_s = _clipped(self._ahead_s + excess_s)
        before_s = sum(self._excess_s)
        self._excess_s[-1] += _clipped(before_s + excess_s) - before_s

    def _surplus_s(self) -> float:
        """What has been spent ahead of the sound, and half of what of it will still be in the window a little later."""
        soon = round(_SOON_S / self._tile_s)
        return self._ahead_s + sum(islice(self._excess_s, soon, None)) / 2

    def _wanted_kbps(self) -> float | None:
        wanted = [] if self._config.bitrate_kbps is None else [self._config.bitrate_kbps]
        if self.limit_kbps is not None:
            wanted.append(max(_MIN_KBPS, LIMIT_SHARE * self.limit_kbps))
        return min(wanted, default=None)

    def _bounds(self, target_kbps: float) -> tuple[int, int]:
        """The minimum and maximum quality for this tile."""
        low, high = self.quality - self._max_step, self.quality + self._max_step
        bitrate_kbps = self._config.bitrate_kbps
        if bitrate_kbps is None:
            return 0, min(self._config.quality, high)
        if self._target_kbps is None:
            return 0, 100
        return 0 if target_kbps < bitrate_kbps else max(0, low), min(100, high)


def _clipped(excess_s: float) -> float:
    return min(_MEMORY_S, max(-_MEMORY_S, excess_s))


def _lasts_s(payload_bytes: int, kbps: float) -> float:
    return payload_bytes / (125 * kbps)


def _fitting(lasts_s: Callable[[int], float], first: float, low: int, high: int, min_s: float, max_s: float) -> int:
    """A quality near ``first`` whose tile lasts ``min_s`` to ``max_s``, else the one that comes closest.

    From ``low`` to ``high``, and below where even ``low`` is too large.
    """
    misses_s: dict[int, float] = {}
    quality = round(first)
    lowest = 0
    while max(low, lowest) <= high and len(misses_s) < _MAX_TRIALS:
        quality = min(high, max(low, lowest, quality))
        size_s = lasts_s(quality)
        if min_s <= size_s <= max_s:
            return quality
        misses_s[quality] = max(min_s - size_s, size_s - max_s)
        if size_s < min_s:
            lowest, quality = quality + 1, math.ceil(_scaled(quality, min_s / size_s))
        else:
            low = low if quality > low else 0
            high, quality = quality - 1, math.floor(_scaled(quality, max_s / size_s))
    return min(misses_s, key=lambda quality: misses_s[quality])
