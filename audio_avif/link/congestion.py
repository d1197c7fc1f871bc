"""The rate that the path to the receiver carries, estimated from how long receipts take.

Delay-based control after Google Congestion Control (Carlucci et al., Analysis and Design of the Google Congestion
Control for WebRTC, MMSys 2016) and LEDBAT (RFC 6817); the limit rises again as CUBIC's window does (RFC 9438).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

QUEUE_S = 0.1
"""A message that waits longer than this behind the one before shows that the path carries less than is sent."""
HOLD_S = 0.15
"""Nothing is sent while the messages under way are later than this, or will be."""

_BASE_WINDOW_S = 30.0
_UNKNOWN_PATH_S = 1.0  # how much later than at once the first receipt may come before more is held back
_STALL_S = 1.0  # a message that takes so long was held up; only the next ones tell what the path carries
_ASKED_WINDOW_S = 10.0
_BACK_OFF = 0.85  # Carlucci et al., 3.3
_PLATEAU = 0.95  # of what was carried: where the limit rises slowest
_CUBIC = 0.008  # RFC 9438's C, relative to the plateau: 2.4 s from 0.85 up to it, twice as much after 5 s more
_MAX_STEP_S = 0.2  # a pause says nothing about the path


@dataclass(frozen=True)
class _Message:
    wire_bytes: int
    sent_s: float


class _RateLimit:
    """A rate that falls below what the path carried, and rises again as CUBIC's window does (RFC 9438)."""

    def __init__(self) -> None:
        self.kbps: float | None = None
        """None while nothing limits the stream."""
        self._plateau_kbps = 0.0
        self._asked_kbps = 0.0
        self._clear_s = 0.0
        self._way_s = 0.0  # from the fall to the plateau

    def fall(self, carried_kbps: float, asked_kbps: float) -> None:
        """Fall below the rate that the path carried while the stream asked for ``asked_kbps``."""
        self._clear_s = 0.0
        if self.kbps is None:
            self._asked_kbps = max(self._asked_kbps, asked_kbps)
        self._plateau_kbps = _PLATEAU * carried_kbps
        self.kbps = min(self.kbps or float("inf"), _BACK_OFF * carried_kbps)
        self._way_s = ((1 - self.kbps / self._plateau_kbps) / _CUBIC) ** (1 / 3)

    def rise(self, step_s: float) -> None:
        """Rise after ``step_s`` without a queue; the limit ends above the rate that the stream asked for."""
        if self.kbps is None:
            return
        self._clear_s += step_s
        self.kbps = self._plateau_kbps * (1 + _CUBIC * (self._clear_s - self._way_s) ** 3)
        if self.kbps > self._asked_kbps:
            self.kbps = None


class Congestion:
    """Follows the messages of one stream from ``sent`` to ``received``, and says how much more the path takes.

    A slow path needs long for each message, which is no congestion: what counts is how long a message waits for the one
    before it. Times are seconds of any clock that never jumps.
    """

    def __init__(self) -> None:
        self.queue_s = 0.0
        """How long the newest message known of waited behind others, as of the latest call."""
        self._under_way: dict[int, _Message] = {}
        self._history: deque[_Message] = deque()
        self._round_trips: deque[tuple[float, float]] = deque()  # (when, seconds), ascending: the first is the least
        self._round_trip_s = 0.0
        self._busy: deque[tuple[float, int]] = deque(maxlen=9)  # (when, bytes) received since the path was last idle
        self._busy_since_s = 0.0
        self._limit = _RateLimit()
        self._fell_s = float("-inf")
        self._received_s = 0.0

    def reset(self, now_s: float) -> None:
        """A new connection: nothing is under way, and its round trip is unknown. What the path carried is kept."""
        self.queue_s = 0.0
        self._under_way.clear()
        self._round_trips.clear()
        self._busy.clear()
        self._received_s = now_s

    def sent(self, number: int, wire_bytes: int, now_s: float) -> None:
        """A message goes out, under a number that no other has."""
        message = _Message(wire_bytes, now_s)
        if not self._busy and not self._under_way:
            self._busy_since_s = now_s
        self._under_way[number] = message
        self._history.append(message)
        while self._history[0].sent_s < now_s - _ASKED_WINDOW_S:
            self._history.popleft()

    def received(self, number: int, now_s: float) -> None:
        """Record the receipt of a message, or the answer to it; ignore one that is not under way.

        Receipts come in order: an earlier message without one was lost, or its receipt was.
        """
        if number not in self._under_way:
            return
        while (first := next(iter(self._under_way))) != number:
            del self._under_way[first]
        message = self._under_way.pop(number)
        self._round_trip_s = now_s - message.sent_s
        while self._round_trips and self._round_trips[-1][1] >= self._round_trip_s:
            self._round_trips.pop()
        self._round_trips.append((now_s, self._round_trip_s))
        while self._round_trips[0][0] < now_s - _BASE_WINDOW_S:
            self._round_trips.popleft()
        self._busy.append((now_s, message.wire_bytes))
        oldest = next(iter(self._under_way.values()), None)
        waited_s = 0.0 if oldest is None else now_s - oldest.sent_s - self._base_s
        self.queue_s = max(0.0, waited_s)
        if waited_s <= 0.0:
            self._busy.clear()
            self._busy_since_s = now_s if oldest is None else oldest.sent_s
        self._rise(now_s)

    @property
    def _base_s(self) -> float:
        """The path's own round trip: the smallest of the last half minute."""
        return self._round_trips[0][1] if self._round_trips else _UNKNOWN_PATH_S

    def may_send(self, now_s: float) -> bool:
        """Whether one more message would not have to queue on the path."""
        if not self._under_way:
            return True
        oldest = next(iter(self._under_way.values()))
        if now_s - oldest.sent_s - self._base_s > HOLD_S:
            return False
        carried_kbps = self._carried_kbps() if self.queue_s > QUEUE_S / 2 else None
        under_way_bits = 8 * sum(message.wire_bytes for message in self._under_way.values())
        return carried_kbps is None or under_way_bits * 1e-3 / carried_kbps <= self._base_s + HOLD_S

    def limit_kbps(self, now_s: float) -> float | None:
        """The wire rate that the path carries without a queue; None while it carries all that is sent."""
        waiting = list(self._under_way.values())[1:2]  # behind the one that is being carried
        self.queue_s = max([self.queue_s, *(now_s - message.sent_s - self._base_s for message in waiting)])
        carried_kbps = self._carried_kbps()
        if self.queue_s > QUEUE_S and carried_kbps is not None and now_s - self._fell_s >= self._round_trip_s:
            self._fell_s = now_s
            self._limit.fall(carried_kbps, self._max_sent_kbps(now_s))
        return self._limit.kbps

    def _carried_kbps(self) -> float | None:
        """The rate received since messages began to queue; None while they do not."""
        if not self._busy:
            return None
        if len(self._busy) < 3:
            elapsed_s = self._busy[-1][0] - self._busy_since_s - self._base_s
            received = list(self._busy)
            if elapsed_s > _STALL_S:
                return None
        else:
            elapsed_s = self._busy[-1][0] - self._busy[0][0]
            received = list(self._busy)[1:]
        return 8e-3 * sum(size for _, size in received) / max(elapsed_s, 1e-3)

    def _max_sent_kbps(self, now_s: float) -> float:
        """The highest rate sent within any recent second: what the stream needs."""
        max_bytes = in_window = 0
        start = 0
        messages = list(self._history)
        for message in messages:
            in_window += message.wire_bytes
            while messages[start].sent_s <= message.sent_s - 1.0:
                in_window -= messages[start].wire_bytes
                start += 1
            max_bytes = max(max_bytes, in_window)
        return max_bytes * 8e-3 / min(1.0, now_s - messages[0].sent_s)

    def _rise(self, now_s: float) -> None:
        step_s = min(now_s - self._received_s, _MAX_STEP_S)
        self._received_s = now_s
        if self.queue_s <= QUEUE_S / 2:
            self._limit.rise(step_s)
