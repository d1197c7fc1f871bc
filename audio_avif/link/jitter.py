"""Tiles in playing order, and the buffer depth that their arrivals require."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from statistics import median

from audio_avif.link.packets import Bundle, MediaPacket, PausePacket, TilePacket


@dataclass
class TileCounts:
    """Counts of a stream's tiles and pauses by what happened to them."""

    received: int = 0
    repeated: int = 0
    late: int = 0
    lost: int = 0
    recovered: int = 0
    damaged: int = 0
    skipped: int = 0


class TileQueue:
    """Holds tiles until it is their turn; at most ``capacity`` of them, the oldest making room.

    Copies of tiles stand in for those that never came.
    """

    def __init__(self, capacity: int = 128) -> None:
        self._capacity = capacity
        self._tiles: dict[int, TilePacket | PausePacket] = {}
        self._copies: dict[int, TilePacket] = {}
        self._next_sequence: int | None = None
        self.counts = TileCounts()

    def __len__(self) -> int:
        return len(self._tiles)

    def push(self, packet: MediaPacket) -> None:
        """Take a packet; the first tile sets where the stream begins."""
        tile = packet.tile if isinstance(packet, Bundle) else packet
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
        if isinstance(packet, Bundle):
            self._copies |= {copy.sequence: copy for copy in packet.copies if copy.sequence >= self._next_sequence}
            for number in sorted(self._copies)[: -self._capacity]:
                del self._copies[number]

    def pop(self) -> TilePacket | PausePacket | None:
        """The next tile in order, or a copy of it, if it is here."""
        sequence = self._next_sequence
        if sequence is None:
            return None
        copy = self._copies.pop(sequence, None)
        tile = self._tiles.pop(sequence, None)
        if tile is None and copy is not None:
            self.counts.recovered += 1
            tile = copy
        if tile is not None:
            self._next_sequence = sequence + 1
        return tile

    def give_up_missing(self) -> int:
        """Stop waiting for the tiles before the oldest that is here; return how many are lost."""
        if not self._tiles or self._next_sequence is None:
            return 0
        missing = min([*self._tiles, *self._copies]) - self._next_sequence
        self.counts.lost += missing
        self._next_sequence += missing
        return missing

    def skip_to(self, sequence: int) -> None:
        """Drop the tiles before this one: their time has passed."""
        passed = [number for number in self._tiles if number < sequence]
        for number in passed:
            del self._tiles[number]
        self._copies = {number: copy for number, copy in self._copies.items() if number >= sequence}
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
        """End the stream, which had so many tiles; those at its end that never came are lost."""
        newest = max(self._tiles, default=(self._next_sequence or 0) - 1)
        self.counts.lost += max(0, tiles - 1 - newest)


_WINDOW_S = 10.0
_FIRST_WINDOW_S = 1.0
_WINDOW_TILES = 20  # fewer tell no 95th percentile
_KNOWN_TILES = 10
_LATER_PERCENT = 5
# Of n latenesses spread evenly over a range, the greatest falls short of its end by more than 5/n once in e^5 times.
_LATER_THAN_LATEST = 5.0
_MAX_TILES = 512  # an honest stream has no more in its window
_CLOCK_JUMP_S = 1.0


def recent_s(age_s: float) -> float:
    """How much of its past a stream of this age is judged by: ten seconds; of a young one, whose start may have been
    disturbed, the later half."""
    return min(_WINDOW_S, max(_FIRST_WINDOW_S, age_s / 2))


class ArrivalWatch:
    """Follows how late tiles come: the 95th percentile over ``recent_s`` says what the buffer must hold.

    A tile's transit is its arrival less its place in the stream, by two clocks that need not agree; its lateness is
    its transit less the smallest transit in the window, so drifting clocks do no harm. Tiles that a stall has held back
    arrive in one burst, of which the first alone counts: one stall is one late arrival, and does not open the buffer
    for seconds. After Ramjee et al. 1994 and the delay histogram of WebRTC's NetEq.

    ``base_s`` is the smallest transit of the window, ``lateness_s`` the 95th percentile of the lateness, or the
    greatest while there are fewer than 20 arrivals; both are 0 before the first. ``latest_s`` is how late the next may
    come: the greatest of n latenesses and 5/n of it, infinite while there are fewer than 10 arrivals.
    """

    def __init__(self, frame_s: float) -> None:
        self._frame_s = frame_s
        self._arrivals: deque[tuple[float, float, bool]] = deque()  # arrival, transit, counts?
        self._transits_s: list[float] = []  # of all arrivals, sorted
        self._counted_s: list[float] = []  # of those that count, sorted
        self.reset()

    def reset(self) -> None:
        """Forget the arrivals: the next tile comes by another path, or after a long break."""
        self._arrivals.clear()
        self._transits_s.clear()
        self._counted_s.clear()
        self._last: tuple[float, int] | None = None
        self._began_s: float | None = None
        self.base_s = self.lateness_s = 0.0
        self.latest_s = math.inf

    def push(self, first_frame: int, now_s: float) -> None:
        """Record the arrival of a tile."""
        transit_s = now_s - first_frame * self._frame_s
        if self._arrivals and transit_s < self.base_s - _CLOCK_JUMP_S:
            self.reset()  # one of the clocks has jumped: nothing comes so early
        counts = False
        if self._last is not None:
            last_s, last_frame = self._last
            counts = now_s - last_s >= 0.5 * (first_frame - last_frame) * self._frame_s
        self._last = (now_s, first_frame)
        self._began_s = now_s if self._began_s is None else self._began_s
        self._remember(now_s, transit_s, counts)
        self._forget_before(now_s - recent_s(now_s - self._began_s))
        self.base_s, counted, arrivals = self._transits_s[0], self._counted_s, len(self._arrivals)
        later = arrivals * _LATER_PERCENT // 100
        self.lateness_s = counted[max(0, len(counted) - 1 - later)] - self.base_s if counted else 0.0
        is_known = counted and arrivals >= _KNOWN_TILES
        beyond = 1 + _LATER_THAN_LATEST / arrivals
        self.latest_s = (counted[-1] - self.base_s) * beyond if is_known else math.inf

    def _remember(self, now_s: float, transit_s: float, counts: bool) -> None:
        self._arrivals.append((now_s, transit_s, counts))
        insort(self._transits_s, transit_s)
        if counts:
            insort(self._counted_s, transit_s)

    def _forget_before(self, earliest_s: float) -> None:
        """Forget older arrivals, except the last that a percentile needs, and more than an honest stream has."""
        while (count := len(self._arrivals)) > _WINDOW_TILES:
            arrival_s, transit_s, counts = self._arrivals[0]
            if arrival_s >= earliest_s and count <= _MAX_TILES:
                break
            self._arrivals.popleft()
            del self._transits_s[bisect_left(self._transits_s, transit_s)]
            if counts:
                del self._counted_s[bisect_left(self._counted_s, transit_s)]


_WATCH_S = 1.0


class DepthWatch:
    """Finds how much deeper or shallower than needed the playout buffer is, from its depth at each tile.

    The median of the last second keeps the grain of audio callbacks out of it.
    """

    def __init__(self, tile_s: float) -> None:
        self._depths_s: deque[float] = deque(maxlen=max(3, round(_WATCH_S / tile_s)))

    def reset(self) -> None:
        """Forget what was before a discontinuity."""
        self._depths_s.clear()

    def push(self, depth_s: float) -> float:
        """Take the depth that a tile on time would have found; return the usual one."""
        self._depths_s.append(depth_s)
        return median(self._depths_s)

    def adjust(self, change_s: float) -> None:
        """Record that the buffer was made so much deeper on purpose."""
        for i in range(len(self._depths_s)):
            self._depths_s[i] += change_s
