"""Tiles in the order they are played: sorts what arrives, drops what is repeated or too late, and watches the depth."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from audio_avif.wire import TilePacket


@dataclass
class TileCounts:
    """What became of a stream's tiles."""

    received: int = 0
    repeated: int = 0
    late: int = 0
    lost: int = 0
    damaged: int = 0
    skipped: int = 0


class TileQueue:
    """Holds tiles until it is their turn; at most ``capacity`` of them, the oldest making room."""

    def __init__(self, capacity: int = 128) -> None:
        self._capacity = capacity
        self._tiles: dict[int, TilePacket] = {}
        self._next_sequence: int | None = None
        self.counts = TileCounts()

    def __len__(self) -> int:
        return len(self._tiles)

    def push(self, tile: TilePacket) -> None:
        """Take a tile as it arrives; the first one sets where the stream begins."""
        if self._next_sequence is None:
            self._next_sequence = tile.sequence
        if tile.sequence in self._tiles:
            self.counts.repeated += 1
        elif tile.sequence < self._next_sequence:
            self.counts.late += 1
        else:
            self.counts.received += 1
            self._tiles[tile.sequence] = tile
            if len(self._tiles) > self._capacity:
                self.skip_to(sorted(self._tiles)[1])

    def pop(self) -> TilePacket | None:
        """The next tile in order, if it is here."""
        if self._next_sequence is None or self._next_sequence not in self._tiles:
            return None
        self._next_sequence += 1
        return self._tiles.pop(self._next_sequence - 1)

    def give_up_missing(self) -> int:
        """Stop waiting for the tiles before the oldest that is here; return how many are lost."""
        if not self._tiles or self._next_sequence is None:
            return 0
        missing = min(self._tiles) - self._next_sequence
        self.counts.lost += missing
        self._next_sequence += missing
        return missing

    def skip_to(self, sequence: int) -> None:
        """Drop the tiles before this one: their time has passed."""
        passed = [number for number in self._tiles if number < sequence]
        for number in passed:
            del self._tiles[number]
        if self._next_sequence is not None and sequence > self._next_sequence:
            self.counts.skipped += len(passed)
            self.counts.lost += sequence - self._next_sequence - len(passed)
            self._next_sequence = sequence

    def keep_newest(self, count: int) -> bool:
        """Drop all but the ``count`` newest tiles; return whether any were dropped."""
        if len(self._tiles) <= count:
            return False
        numbers = sorted(self._tiles)
        self.skip_to(numbers[-count] if count else numbers[-1] + 1)
        return True

    def end(self, tiles: int) -> None:
        """The stream had so many tiles; those at its end that never came are lost."""
        newest = max(self._tiles, default=(self._next_sequence or 0) - 1)
        self.counts.lost += max(0, tiles - 1 - newest)


class DepthWatch:
    """Finds how many frames of the playout buffer are more than needed, from its depth whenever a tile arrives.

    The least depth of the last second is the slack that no jitter has used; what of it exceeds the depth aimed at is
    delay for nothing.
    """

    def __init__(self, tile_s: float, frame_s: float) -> None:
        self._frame_s = frame_s
        self._excesses: deque[float] = deque(maxlen=max(2, round(1.0 / tile_s)))

    def surplus_frames(self, excess_s: float) -> int:
        """Take how much deeper than aimed at the buffer is as a tile arrives; return how many frames to omit."""
        self._excesses.append(excess_s)
        if len(self._excesses) < (self._excesses.maxlen or 0):
            return 0
        surplus = int(min(self._excesses) / self._frame_s + 0.5)
        if surplus < 1:
            return 0
        self._excesses.clear()
        return surplus
