"""The impairments of a path: delay, jitter, a cap, stalls, outages and loss, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

Window = tuple[float, float]
"""A start in seconds since the first connection, and a length in seconds."""

_SEGMENT_BYTES: Final = 1448  # what one Ethernet frame carries of a TCP stream with timestamps
_IP_TCP_BYTES: Final = 52


@dataclass(frozen=True)
class Loss:
    """Messages lost in bursts: ``enter`` is the probability that a message begins a burst, ``leave`` that one ends it.

    The simple Gilbert model (1960): all messages of a burst are lost, and its mean length is 1 / leave.
    """

    enter: float
    leave: float

    def __post_init__(self) -> None:
        if not (0 <= self.enter <= 1 and 0 < self.leave <= 1):
            raise ValueError(f"probabilities lie within 0 and 1, not {self.enter} and {self.leave}")

    @classmethod
    def independent(cls, share: float) -> Loss:
        """Independent losses."""
        return cls(share, 1 - share)

    @classmethod
    def bursts(cls, share: float, mean_messages: float) -> Loss:
        """Bursts of this mean length that lose this share of all messages."""
        leave = 1 / mean_messages
        return cls(leave * share / (1 - share), leave)


@dataclass(frozen=True)
class Scenario:
    """The impairments of a path.

    Each direction draws ``delay_ms`` plus or minus ``jitter_ms``. ``cap_kbps`` limits each connection from client to
    server and counts 52 bytes of TCP and IP with each message or segment. ``queue_bytes`` is the bottleneck's buffer;
    a client that fills it has to wait. During ``stalls`` connections live but carry nothing; ``outages`` cut them, and
    none is accepted until the path is back. ``loss`` drops tiles and pauses of a WebSocket client.
    """

    name: str
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    cap_kbps: float | None = None
    queue_bytes: int = 65_536
    stalls: tuple[Window, ...] = ()
    outages: tuple[Window, ...] = ()
    loss: Loss | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_ms <= self.delay_ms:
            raise ValueError(f"the jitter must lie within 0 and the delay, not {self.jitter_ms} of {self.delay_ms} ms")
        if self.cap_kbps is not None and self.cap_kbps <= 0:
            raise ValueError(f"the cap must be positive, not {self.cap_kbps} kbps")
        if self.queue_bytes < 1:
            raise ValueError(f"the queue must hold a byte, not {self.queue_bytes}")
        for windows in (self.stalls, self.outages):
            ends_s = 0.0
            for at_s, for_s in windows:
                if at_s < ends_s or for_s <= 0:
                    raise ValueError(f"stalls and outages must be in order and last, not {windows}")
                ends_s = at_s + for_s

    @property
    def events(self) -> tuple[Window, ...]:
        """Stalls and outages ordered by time."""
        return tuple(sorted(self.stalls + self.outages))


def disconnects(count: int, every_s: float, longest_s: float, seed: int = 0) -> tuple[Window, ...]:
    """``count`` outages of 0.1 s to ``longest_s``, each at a random time in the middle of its ``every_s``."""
    chance = random.Random(f"disconnects {seed}")
    windows = []
    for number in range(count):
        for_s = chance.uniform(0.1, longest_s)
        windows.append((every_s * (number + chance.uniform(0.3, 0.5)), for_s))
    return tuple(windows)


class Way:
    """One direction of one connection: computes when incoming bytes leave, in seconds since the path began."""

    def __init__(self, scenario: Scenario, chance: random.Random, is_upstream: bool) -> None:
        self._scenario = scenario
        self._chance = chance
        self._cap_kbps = scenario.cap_kbps if is_upstream else None
        self._line_is_free_s = 0.0
        self._last_left_s = 0.0

    def leaves_s(self, now_s: float, size_bytes: int) -> float:
        """Return when the last of ``size_bytes`` that arrive at ``now_s`` leave; never before earlier bytes."""
        left_s = self._after_stalls(now_s)
        if self._cap_kbps is not None:
            wire_bytes = size_bytes + _IP_TCP_BYTES * -(-size_bytes // _SEGMENT_BYTES)
            left_s = max(left_s, self._line_is_free_s) + wire_bytes * 8e-3 / self._cap_kbps
            self._line_is_free_s = left_s
        jitter_ms = self._chance.uniform(-self._scenario.jitter_ms, self._scenario.jitter_ms)
        left_s = self._after_stalls(left_s + (self._scenario.delay_ms + jitter_ms) / 1e3)
        self._last_left_s = max(self._last_left_s, left_s)
        return self._last_left_s

    def _after_stalls(self, now_s: float) -> float:
        for at_s, for_s in self._scenario.stalls:
            if at_s <= now_s < at_s + for_s:
                now_s = at_s + for_s
        return now_s
