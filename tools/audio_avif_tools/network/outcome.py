"""The outcome of a stream on an impaired path: its delay, its recovery, and its intelligibility."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_avif.config import RATE_HZ, MelConfig
from audio_avif.metrics import stoi
from audio_avif.types import FloatArray
from audio_avif_tools.network.alignment import align
from audio_avif_tools.network.impaired_path import Counts
from audio_avif_tools.network.scenario import Window

TILE_FRAMES = 8
TILE_S = TILE_FRAMES * MelConfig().frame_s
PIECE_S = 2.0
_SETTLED_TILES = 5
_BEFORE_S = 5.0
_QUIET = 0.01  # of the rms of the whole: 40 dB below


@dataclass(frozen=True)
class HeardTile:
    """The time at which a tile was first heard, in seconds since the path began, its delay, and its transit.

    ``way_ms`` is the part of the delay between encoder and receiver: waiting to be sent, and the path.
    """

    heard_s: float
    delay_ms: float
    way_ms: float = 0.0

    @property
    def said_s(self) -> float:
        """The time at which the tile was spoken."""
        return self.heard_s - self.delay_ms / 1e3


@dataclass(frozen=True)
class Recovery:
    """The time from the path's return until tiles are heard again, and until the delay is as before; inf for never."""

    heard_again_s: float
    settled_s: float


@dataclass
class Outcome:
    """The record of one stream, or of the streams before and after a restart.

    ``events`` are the times at which the path or a program was absent, ``memory_mb`` is resident memory over time by
    program, ``seconds`` are the receiver's lines of figures, ``heard`` is its sound from the first tile on.
    """

    events: tuple[Window, ...]
    counts: Counts
    said: FloatArray
    heard: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))
    tiles: list[HeardTile] = field(default_factory=list)
    senders: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[dict[str, Any]] = field(default_factory=list)
    memory_mb: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    note: str = ""
    left_open: int = 0

    def sent(self, key: str) -> int:
        """A figure of the sender, summed over its runs."""
        return sum(int(summary.get(key, 0)) for summary in self.senders)

    def received(self, key: str) -> int:
        """A figure of the receiver, summed over its streams."""
        return sum(int(line[key]) for line in self._last_lines())

    def _last_lines(self) -> list[dict[str, Any]]:
        lines = [line for line in self.seconds if line.get("is_final")]
        return lines or self.seconds[-1:]

    def received_after(self, key: str, seconds: float) -> int:
        """What a figure of the receiver has grown by since so much sound was played."""
        settled = next((line for line in self.seconds if line["played_s"] >= seconds), None)
        return 0 if settled is None else int(self.seconds[-1][key]) - int(settled[key])

    def delays_ms(self, after_s: float = 0.0) -> npt.NDArray[np.float64]:
        """The delay of each tile heard after this time."""
        return np.array([tile.delay_ms for tile in self.tiles if tile.heard_s >= after_s])

    def percentile_ms(self, percent: float, after_s: float = 0.0) -> float:
        """A percentile of the delay; inf where nothing was heard."""
        delays = self.delays_ms(after_s)
        return float(np.percentile(delays, percent)) if delays.size else math.inf

    def backlog_ms(self, after_s: float) -> float:
        """The largest transit of a tile minus the smallest; inf where nothing was heard."""
        ways_ms = [tile.way_ms for tile in self.tiles if tile.heard_s >= after_s]
        return max(ways_ms) - min(tile.way_ms for tile in self.tiles) if ways_ms else math.inf

    @property
    def concealed_ms_per_minute(self) -> float:
        """The concealed sound."""
        played_s = sum(line["played_s"] for line in self._last_lines())
        return self.received("concealed_ms") * 60 / played_s if played_s else math.nan

    def recoveries(self) -> list[Recovery]:
        """The recovery after each event."""
        return [self._recovery(at_s, at_s + for_s) for at_s, for_s in self.events]

    def _recovery(self, at_s: float, back_s: float) -> Recovery:
        before = [tile.delay_ms for tile in self.tiles if at_s - _BEFORE_S <= tile.heard_s < at_s]
        limit_ms = median(before) + TILE_S * 1e3 if before else math.inf
        after = [tile for tile in self.tiles if tile.heard_s >= back_s]
        settled = (
            tile.heard_s
            for number, tile in enumerate(after)
            if all(other.delay_ms <= limit_ms for other in after[number : number + _SETTLED_TILES])
        )
        return Recovery(after[0].heard_s - back_s if after else math.inf, next(settled, math.inf) - back_s)

    def longest_gap_s(self, after_s: float) -> float:
        """The longest time between two heard tiles after ``after_s``."""
        times = [after_s, *(tile.heard_s for tile in self.tiles if tile.heard_s >= after_s)]
        return max((later - earlier for earlier, later in pairwise(times)), default=math.inf)

    def growth_mb(self, program: str, settled_s: float) -> float:
        """The growth of a program's memory since ``settled_s``, by medians of ten samples."""
        samples = [megabytes for at_s, megabytes in self.memory_mb.get(program, []) if at_s >= settled_s]
        return median(samples[-10:]) - median(samples[:10]) if samples else math.nan

    def scores(self) -> tuple[float, int]:
        """The mean STOI over pieces of 2 s, and the number of pieces left out because the path was absent."""
        if not self.tiles:
            return math.nan, 0
        began_s = min(tile.said_s for tile in self.tiles)
        gone = []
        for (at_s, for_s), recovery in zip(self.events, self.recoveries(), strict=True):
            gone.append((at_s - TILE_S - began_s - 0.5, at_s + for_s + recovery.heard_again_s - began_s))
        values, left_out = [], 0
        heard, size = align(self.said, self.heard), round(PIECE_S * RATE_HZ)
        loudest = np.sqrt(np.mean(self.said**2))
        for start in range(0, self.said.size - size, size):
            at_s, piece = start / RATE_HZ, self.said[start : start + size]
            if any(at_s < until_s and at_s + PIECE_S > from_s for from_s, until_s in gone):
                left_out += 1
            elif np.sqrt(np.mean(piece**2)) > _QUIET * loudest:
                values.append(stoi(piece, heard[start : start + size]))
        return (float(np.nanmean(values)) if values else math.nan), left_out


def timeline(lives: Sequence[tuple[float, FloatArray]], tiles: Sequence[HeardTile]) -> FloatArray:
    """Join the sound of a receiver's runs ``(start in s of the path, [samples])`` from the first tile on."""
    out = np.zeros(0, np.float32)
    for began_s, sound in lives:
        first_s = next((tile.heard_s for tile in tiles if tile.heard_s >= began_s), None)
        if first_s is not None:
            gap = round((first_s - tiles[0].heard_s) * RATE_HZ) - out.size
            out = np.concatenate([out[: out.size + min(0, gap)], np.zeros(max(0, gap), np.float32), sound])
    return out


def join(lines: Sequence[dict[str, Any]], left_s: Sequence[float | None], summary: dict[str, Any]) -> list[HeardTile]:
    """Return the heard tiles from a sender's trace lines and the times at which their messages left the path."""
    latency_ms = summary.get("vocoder_latency_samples", 0) * 1e3 / RATE_HZ
    tiles = []
    for line, at_s in zip(lines, left_s, strict=True):
        if at_s is not None:
            stages_ms = line["stages_ms"]
            after_ms = sum(stages_ms[stage] for stage in ("buffer", "decode", "vocoder", "playout")) - latency_ms
            tiles.append(HeardTile(at_s + after_ms / 1e3, line["mouth_to_ear_ms"], stages_ms["network"]))
    return tiles
