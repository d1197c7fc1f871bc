"""The state of one impaired path: its clock, its losses, and what has passed."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from audio_avif.link.counters import extended
from audio_avif_tools.network.client_frames import Piece
from audio_avif_tools.network.scenario import Scenario, Way


@dataclass
class Counts:
    """The counts of a proxy; messages are tiles and pauses from client to server."""

    connections: int = 0
    refused_connections: int = 0
    cut_connections: int = 0
    frozen_connections: int = 0
    passed_bytes: int = 0
    passed_messages: int = 0
    dropped_messages: int = 0
    longest_wait_ms: float = 0.0
    """The largest delay of bytes from client to server beyond the path's own delay."""
    newest_sequence: int = 0
    left_s: dict[int, float] = field(default_factory=dict)
    """The event loop's time at which each message last left for the server, by sequence number."""


class ImpairedPath:
    """What all connections over one path share; its time begins with the first connection."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.counts = Counts()
        self.began_s: float | None = None
        """The event loop's time of the first connection."""
        self._chances = {
            name: random.Random(f"{scenario.name} {scenario.seed} {name}") for name in ("up", "down", "loss")
        }
        self._is_in_burst = False

    def begin(self) -> bool:
        """Start the path's clock; return whether it stood still until now."""
        if self.began_s is not None:
            return False
        self.began_s = asyncio.get_running_loop().time()
        return True

    def now_s(self) -> float:
        """Seconds since the first connection."""
        return 0.0 if self.began_s is None else asyncio.get_running_loop().time() - self.began_s

    def way(self, is_upstream: bool) -> Way:
        """One direction of a new connection."""
        return Way(self.scenario, self._chances["up" if is_upstream else "down"], is_upstream)

    def loses_next(self) -> bool:
        """Whether the next message is lost, which is counted."""
        loss = self.scenario.loss
        if loss is None:
            return False
        turns = self._chances["loss"].random() < (loss.leave if self._is_in_burst else loss.enter)
        self._is_in_burst ^= turns
        self.counts.dropped_messages += self._is_in_burst
        return self._is_in_burst

    def passed(self, piece: Piece, came_s: float) -> None:
        """Count a piece from the client that has left for the server."""
        counts = self.counts
        counts.passed_bytes += len(piece.data)
        counts.longest_wait_ms = max(counts.longest_wait_ms, 1e3 * (self.now_s() - came_s) - self.scenario.delay_ms)
        if piece.sequence is not None:
            counts.passed_messages += 1
            counts.newest_sequence = extended(piece.sequence, counts.newest_sequence)
            counts.left_s[counts.newest_sequence] = asyncio.get_running_loop().time()
