"""The sender follows what the path carries: a model of a path with a queue, in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from audio_avif.link.congestion import Congestion
from audio_avif.link.messages import wire_bytes
from audio_avif.link.outbox import Outbox
from audio_avif.link.packets import TilePacket

OVERHEAD_BYTES = wire_bytes(5)
BLOCK, PING, RECEIPT = range(3)
BLOCK_S = 0.016
PING_BYTES = wire_bytes(25)
NEVER_S = float("inf")


@dataclass
class Path:
    """First in, first out, at so many kbps and with so much delay each way; between two times it carries nothing.

    Like TCP it neither loses nor reorders; ``jitter_s`` is by how much more than ``delay_s`` it delays at most.
    """

    kbps: Callable[[float], float] = lambda now_s: 1000.0
    delay_s: float = 0.01
    jitter_s: float = 0.0
    stalls: tuple[float, float] = (NEVER_S, NEVER_S)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    free_s: float = 0.0
    arrived_s: float = 0.0
    returned_s: float = 0.0

    def carry(self, size: int, now_s: float) -> tuple[float, float]:
        """When a message sent now arrives, and when its receipt is back."""
        begin_s = max(now_s, self.free_s)
        while size > 0:  # in steps of a millisecond, since the rate may change
            step = self.kbps(begin_s) / 8 if not self.stalls[0] <= begin_s < self.stalls[1] else 0.0
            size -= step
            begin_s += 1e-3
        self.free_s = begin_s
        self.arrived_s = max(self.arrived_s, begin_s + self._way_s())
        back_s = self.arrived_s + self._way_s()
        if self.stalls[0] <= back_s < self.stalls[1]:
            back_s = self.stalls[1]
        self.returned_s = max(self.returned_s, back_s)
        return self.arrived_s, self.returned_s

    def _way_s(self) -> float:
        return self.delay_s + self.jitter_s * self.random.uniform()


@dataclass
class Run:
    """What became of a stream: for each tile that arrived when it was cut, its delay, and the limits over time."""

    arrivals: list[tuple[float, float]] = field(default_factory=list)
    limits: list[tuple[float, float | None]] = field(default_factory=list)
    dropped: int = 0
    sent_bytes: list[tuple[float, int]] = field(default_factory=list)

    def delays_s(self, from_s: float = 0.0, to_s: float = NEVER_S) -> list[float]:
        return [delay_s for cut_s, delay_s in self.arrivals if from_s <= cut_s < to_s]

    def codec_kbps(self, from_s: float, to_s: float) -> float:
        payloads = [size - OVERHEAD_BYTES for sent_s, size in self.sent_bytes if from_s <= sent_s < to_s]
        return 8e-3 * sum(payloads) / (to_s - from_s)


def stream(path: Path, seconds: float, codec_kbps: float = 12.0, tile_s: float = 0.128, min_kbps: float = 1.0) -> Run:
    """Send tiles of a steady rate, or of less where the congestion control says so, as the sender does."""
    congestion, outbox, run = Congestion(), Outbox(is_live=True, tile_s=tile_s), Run()
    congestion.reset(0.0)
    cut_s: dict[int, float] = {}
    blocks_per_tile = round(tile_s / BLOCK_S)
    events = [(BLOCK_S * (block + 1), BLOCK, block) for block in range(round(seconds / BLOCK_S))]
    events.append((0.0, PING, 0))
    heapq.heapify(events)
    while events:
        now_s, kind, number = heapq.heappop(events)
        if kind == PING:
            congestion.sent(-number - 1, PING_BYTES, now_s)
            answered_s = path.carry(PING_BYTES, now_s)[1]
            heapq.heappush(events, (answered_s, RECEIPT, -number - 1))
            if now_s < seconds:
                heapq.heappush(events, (max(answered_s, now_s + (0.1 if number < 5 else 1.0)), PING, number + 1))
        elif kind == RECEIPT:
            congestion.received(number, now_s)
            outbox.received(number)
        else:
            limit_kbps = congestion.limit_kbps(now_s)
            run.limits.append((now_s, limit_kbps))
            if number % blocks_per_tile == blocks_per_tile - 1:
                room_kbps = (
                    NEVER_S if limit_kbps is None else limit_kbps - 8e-3 * (OVERHEAD_BYTES / tile_s + PING_BYTES)
                )
                size = round(max(min_kbps, min(codec_kbps, room_kbps)) * tile_s / 8e-3)
                cut_s[number] = now_s
                outbox.put(TilePacket(number, number, 8, bytes(size)), now_s)
        while congestion.may_send(now_s) and (tile := outbox.take(now_s)) is not None:
            size = wire_bytes(len(tile.to_bytes()))
            congestion.sent(tile.sequence, size, now_s)
            arrived_s, returned_s = path.carry(size, now_s)
            run.sent_bytes.append((now_s, size))
            run.arrivals.append((cut_s[tile.sequence], arrived_s - cut_s[tile.sequence]))
            heapq.heappush(events, (returned_s, RECEIPT, tile.sequence))
    run.dropped = outbox.dropped
    return run


# --------------------------------------------------------------------------------------------- a path that is narrow


def test_a_free_path_is_never_limited() -> None:
    run = stream(Path(), 60)
    assert all(limit is None for _, limit in run.limits)
    assert run.dropped == 0 and max(run.delays_s()) < 0.02


@pytest.mark.parametrize("begins_s", [0.0, 10.03])
def test_8_of_12_kbps_lower_the_quality_and_leave_no_backlog(begins_s: float) -> None:
    run = stream(Path(kbps=lambda now_s: 8.0 if now_s >= begins_s else 1000.0), 60)
    settled_s = begins_s + 3
    assert max(run.delays_s(begins_s, settled_s)) < (0.5 if begins_s else 0.8)
    assert max(run.delays_s(settled_s)) < 0.5
    # 8 kbps are 3.1 of tiles: the rest carries messages and pings. Where the path is known to be free, little is lost.
    assert run.codec_kbps(settled_s, 60) > 0.8 * 3.1
    assert run.dropped <= (4 if begins_s else 12)


def test_a_narrow_path_that_widens_gets_the_quality_back_within_10_s() -> None:
    run = stream(Path(kbps=lambda now_s: 8.0 if 10 <= now_s < 40 else 1000.0), 60)
    assert run.codec_kbps(30, 40) < 5
    assert run.codec_kbps(50, 59) > 0.95 * 12
    assert run.limits[-1][1] is None
    assert max(run.delays_s(41)) < 0.3


def test_a_limit_keeps_close_below_what_the_path_carries() -> None:
    run = stream(Path(kbps=lambda now_s: 12.0), 60)
    limits = [limit for now_s, limit in run.limits if now_s > 5 and limit is not None]
    assert min(limits) > 0.6 * 12 and max(limits) < 1.3 * 12


def test_what_cannot_be_carried_at_any_quality_is_dropped_oldest_first() -> None:
    """Two-frame tiles cost 17 kbps before the first byte of a picture."""
    run = stream(Path(kbps=lambda now_s: 12.0), 30, tile_s=0.032)
    assert run.dropped > 100
    assert len(run.arrivals) + run.dropped == pytest.approx(30 / 0.032, abs=1)
    assert max(run.delays_s()) < 0.6


# --------------------------------------------------------------------------------- a path that is only slow or unsteady


@pytest.mark.parametrize("tile_s", [0.032, 0.064, 0.128, 0.256])
@pytest.mark.parametrize("delay_s", [0.03, 0.3])
def test_delay_and_jitter_of_20_ms_are_no_congestion(tile_s: float, delay_s: float) -> None:
    run = stream(Path(delay_s=delay_s, jitter_s=0.04), 60, tile_s=tile_s)
    assert all(limit is None for _, limit in run.limits)
    assert run.dropped == 0
    assert max(run.delays_s()) < delay_s + 0.08


def test_a_slow_path_that_keeps_up_is_no_congestion() -> None:
    """Each message takes nearly as long as its tile lasts, yet none waits for another."""
    run = stream(Path(kbps=lambda now_s: 19.0), 60)
    assert run.dropped == 0
    assert run.codec_kbps(5, 60) > 0.9 * 12


# ---------------------------------------------------------------------------------------------------------- a stall


def test_a_stall_leaves_little_that_is_old() -> None:
    run = stream(Path(stalls=(10.05, 12.05)), 30)
    assert all(limit is None for _, limit in run.limits)
    assert len([delay_s for delay_s in run.delays_s(10, 12.1) if delay_s > 0.5]) <= 2
    assert max(run.delays_s(12.05)) < 0.02
    assert run.dropped == pytest.approx(2 / 0.128, abs=5)


def test_a_new_connection_begins_anew_and_remembers_what_the_path_carried() -> None:
    congestion = Congestion()
    for number in range(20):
        congestion.sent(number, 200, 0.128 * number)
    for number in range(8):
        congestion.received(number, 0.2 * (number + 1) + 0.01)
        congestion.limit_kbps(0.2 * (number + 1) + 0.01)
    limit_kbps = congestion.limit_kbps(1.7)
    assert limit_kbps == pytest.approx(0.85 * 8.0, rel=0.1)
    assert congestion.queue_s > 0.3 and not congestion.may_send(1.7)
    congestion.reset(5.0)
    assert congestion.may_send(5.0) and congestion.queue_s == 0.0
    assert congestion.limit_kbps(5.0) == limit_kbps


def test_a_receipt_of_something_unknown_is_no_news() -> None:
    congestion = Congestion()
    congestion.received(7, 1.0)
    assert congestion.limit_kbps(1.0) is None and congestion.may_send(1.0)


def test_what_a_relay_drops_holds_nothing_back() -> None:
    congestion = Congestion()
    for number in range(100):
        now_s = 0.128 * number
        assert congestion.may_send(now_s)
        congestion.sent(number, 100, now_s)
        if number % 7:
            congestion.received(number, now_s + 0.05)
    assert congestion.queue_s == 0.0 and congestion.limit_kbps(now_s + 0.1) is None


# --------------------------------------------------------------------------------------------------------- the outbox


def tile(number: int) -> TilePacket:
    return TilePacket(number, 8 * number, 8, b"picture")


def taken(outbox: Outbox, now_s: float) -> list[int]:
    found = []
    while (packet := outbox.take(now_s)) is not None:
        found.append(packet.sequence)
    return found


def test_of_a_live_stream_the_newest_are_kept_and_the_others_counted() -> None:
    outbox = Outbox(is_live=True, tile_s=0.128)
    for number in range(100):
        assert outbox.has_room
        outbox.put(tile(number), 0.128 * number)
    assert outbox.waiting == 2 and outbox.dropped == 98
    assert taken(outbox, 0.128 * 99) == [98, 99]


def test_the_newest_tile_is_kept_however_old() -> None:
    outbox = Outbox(is_live=True, tile_s=1.024)
    outbox.put(tile(0), 0.0)
    assert taken(outbox, 100.0) == [0]


def test_what_has_no_receipt_is_sent_again_and_nothing_else() -> None:
    outbox = Outbox(is_live=False, tile_s=0.128)
    for number in range(6):
        outbox.put(tile(number), 0.0)
    assert taken(outbox, 0.0) == [0, 1, 2, 3, 4, 5]
    outbox.received(1)
    assert outbox.resume(3, 100.0) == 2
    assert taken(outbox, 100.0) == [4, 5]
    assert outbox.resume(-1, 100.0) == 2  # a receiver that knows nothing of it; what has its receipt was played
    assert taken(outbox, 100.0) == [4, 5]
    assert outbox.dropped == 0


def test_of_a_live_stream_only_what_is_fresh_is_sent_again() -> None:
    outbox = Outbox(is_live=True, tile_s=0.128)
    for number in range(4):
        outbox.put(tile(number), 0.128 * number)
        taken(outbox, 0.128 * number)
    assert outbox.resume(-1, 0.4) == 4
    assert taken(outbox, 0.4) == [2, 3]
    assert outbox.dropped == 2


def test_a_file_waits_for_receipts() -> None:
    outbox = Outbox(is_live=False, tile_s=0.128)
    sent = 0
    while outbox.has_room:
        outbox.put(tile(sent), 0.0)
        sent += len(taken(outbox, 0.0))
    assert 16 < sent < 200
    outbox.received(sent - 1)
    assert outbox.take(0.0) is not None and outbox.has_room
