"""The tiles that the receiver does not have yet: waiting to be sent, or under way."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from audio_avif.link.packets import MediaPacket

KEEP_S = 0.2
"""Older tiles of a live stream are not worth sending while newer ones wait."""

_WAITING = 8  # of a file
_UNDER_WAY = 64  # of a file; a receiver that plays it in its own time takes no more


@dataclass(frozen=True)
class _Item:
    packet: MediaPacket
    put_s: float


class Outbox:
    """Keeps tiles until their receipt comes. Of a live stream the oldest are dropped; a file waits, and loses none."""

    def __init__(self, is_live: bool, tile_s: float) -> None:
        self.dropped = 0
        self._is_live = is_live
        self._keep_s = max(KEEP_S, 1.5 * tile_s)
        self._waiting: deque[_Item] = deque()
        self._under_way: deque[_Item] = deque()

    @property
    def waiting(self) -> int:
        """How many tiles wait to be sent."""
        return len(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether a tile may be put now."""
        return self._is_live or len(self._waiting) < _WAITING

    def put(self, packet: MediaPacket, now_s: float) -> None:
        """Add a tile."""
        self._waiting.append(_Item(packet, now_s))
        self._drop_old(now_s)

    def take(self, now_s: float) -> MediaPacket | None:
        """The next tile to send, which counts as under way from now on; None if none waits or too many are."""
        self._drop_old(now_s)
        if not self._waiting or (not self._is_live and len(self._under_way) >= _UNDER_WAY):
            return None
        self._under_way.append(self._waiting.popleft())
        return self._under_way[-1].packet

    def received(self, sequence: int) -> None:
        """The receiver has this tile, and all before it."""
        while self._under_way and self._under_way[0].packet.sequence <= sequence:
            self._under_way.popleft()

    def resume(self, received: int, now_s: float) -> int:
        """Resume with a receiver that has all tiles up to ``received``; return how many wait again."""
        self.received(received)
        taken_back = len(self._under_way)
        self._waiting.extendleft(reversed(self._under_way))
        self._under_way.clear()
        self._drop_old(now_s)
        return taken_back

    def _drop_old(self, now_s: float) -> None:
        while self._is_live and len(self._waiting) > 1 and now_s - self._waiting[0].put_s > self._keep_s:
            self._waiting.popleft()
            self.dropped += 1
