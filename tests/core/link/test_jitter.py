"""Tiles leave the queue in order and once, every tile is accounted for, and an overfull buffer is noticed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.link.jitter import ArrivalWatch, DepthWatch, TileQueue
from audio_avif.link.packets import Bundle, TilePacket


def tile(sequence: int) -> TilePacket:
    return TilePacket(sequence, sequence * 8, 8, b"x")


def queue_of(*sequences: int, capacity: int = 128) -> TileQueue:
    queue = TileQueue(capacity)
    for sequence in sequences:
        queue.push(tile(sequence))
    return queue


def drain(queue: TileQueue) -> list[int]:
    """What can be popped now."""
    out = []
    while (popped := queue.pop()) is not None:
        out.append(popped.sequence)
    return out


def test_in_order() -> None:
    queue = queue_of(0, 1, 2)
    assert len(queue) == 3
    assert drain(queue) == [0, 1, 2]
    assert queue.pop() is None
    assert (queue.counts.received, queue.counts.lost) == (3, 0)


def test_sorts_what_comes_out_of_order() -> None:
    queue = queue_of(0, 3, 2)
    assert drain(queue) == [0]
    queue.push(tile(1))
    assert drain(queue) == [1, 2, 3]
    assert queue.counts.lost == queue.counts.late == 0


def test_a_repeated_tile_is_dropped_before_its_turn_and_after() -> None:
    queue = queue_of(0, 1, 1)
    assert (queue.counts.repeated, queue.counts.late) == (1, 0)
    assert drain(queue) == [0, 1]
    queue.push(tile(1))
    assert (queue.counts.received, queue.counts.late, len(queue)) == (2, 1, 0)


def test_a_missing_tile_is_waited_for_until_given_up() -> None:
    queue = queue_of(0, 4, 5)
    assert drain(queue) == [0]
    assert queue.give_up_missing() == 3
    assert drain(queue) == [4, 5]
    assert queue.counts.lost == 3
    assert queue.give_up_missing() == 0
    queue.push(tile(2))
    assert (queue.counts.late, drain(queue)) == (1, [])


def test_nothing_is_given_up_when_nothing_is_missing() -> None:
    assert TileQueue().give_up_missing() == 0
    queue = queue_of(0, 1)
    assert queue.give_up_missing() == 0
    assert drain(queue) == [0, 1]


def test_a_stream_may_begin_anywhere() -> None:
    queue = queue_of(40, 41)
    assert drain(queue) == [40, 41]
    assert queue.counts.lost == 0


def test_a_backlog_is_skipped_to_the_newest() -> None:
    queue = queue_of(0, 1, 2, 4, 5, 6)
    assert not queue.keep_newest(6)
    assert queue.keep_newest(2)
    assert drain(queue) == [5, 6]
    assert (queue.counts.skipped, queue.counts.lost) == (4, 1)


def test_beyond_capacity_the_oldest_makes_room() -> None:
    queue = queue_of(0, 1, 2, 3, 4, capacity=3)
    assert len(queue) == 3
    assert drain(queue) == [2, 3, 4]
    assert (queue.counts.received, queue.counts.skipped) == (5, 2)


def test_tiles_lost_at_the_end_are_counted() -> None:
    queue = queue_of(0, 1)
    drain(queue)
    queue.end(5)
    assert queue.counts.lost == 3


def test_tiles_that_wait_at_the_end_are_not_lost() -> None:
    queue = queue_of(0, 1, 3)
    queue.end(4)
    assert queue.counts.lost == 0
    assert drain(queue) == [0, 1]
    assert queue.give_up_missing() == 1
    assert drain(queue) == [3]
    assert queue.counts.lost == 1


def test_a_stream_of_which_nothing_came_is_lost_whole() -> None:
    queue = TileQueue()
    queue.end(5)
    assert queue.counts.lost == 5


def test_a_bye_that_counts_too_few_loses_nothing() -> None:
    queue = queue_of(0, 1, 2)
    queue.end(1)
    assert queue.counts.lost == 0


@given(
    arrivals=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    acts=st.lists(st.sampled_from(["pop", "give up", "keep", "wait"]), max_size=60),
)
def test_every_tile_is_counted_once_whatever_happens(arrivals: list[int], acts: list[str]) -> None:
    queue, played = TileQueue(capacity=8), []
    for i, sequence in enumerate(arrivals):
        queue.push(tile(sequence))
        act = acts[i] if i < len(acts) else "wait"
        if act == "pop":
            played += drain(queue)
        elif act == "give up":
            queue.give_up_missing()
        elif act == "keep":
            queue.keep_newest(2)
    queue.end(31)
    while len(queue):
        queue.give_up_missing()
        played += drain(queue)
    counts = queue.counts
    assert played == sorted(set(played))
    assert counts.received + counts.repeated + counts.late == len(arrivals)
    assert counts.received == len(played) + counts.skipped
    assert counts.received + counts.lost == 31 - arrivals[0]


def test_a_copy_stands_in_for_a_tile_that_did_not_come() -> None:
    queue = queue_of(0)
    queue.push(Bundle(tile(3), (tile(2), tile(1))))
    assert drain(queue) == [0, 1, 2, 3]
    assert (queue.counts.received, queue.counts.recovered, queue.counts.lost) == (2, 2, 0)


def test_the_tile_itself_is_taken_before_its_copy() -> None:
    queue = queue_of(0)
    queue.push(Bundle(tile(2), (replace(tile(1), payload=b"worse"),)))
    queue.push(tile(1))
    queue.pop()
    assert queue.pop() == tile(1)
    assert queue.counts.recovered == 0


def test_what_has_no_copy_is_given_up() -> None:
    queue = queue_of(0)
    queue.push(Bundle(tile(5), (tile(4), tile(3))))
    assert drain(queue) == [0]
    assert queue.give_up_missing() == 2
    assert drain(queue) == [3, 4, 5]


def test_copies_of_any_number_do_not_fill_the_memory() -> None:
    queue = TileQueue(capacity=4)
    for sequence in range(1000, 10, -10):
        queue.push(Bundle(tile(2000), (tile(sequence + 1), tile(sequence))))
    assert len(queue._copies) <= 4


# Arrivals

TILE_S, FRAME_S = 0.128, 0.016


def watch_of(*lateness_s: float, frame_s: float = FRAME_S) -> ArrivalWatch:
    """A watch that has seen tiles come so late."""
    watch = ArrivalWatch(frame_s)
    for number, late_s in enumerate(lateness_s):
        watch.push(number * 8, 1000 + number * TILE_S + late_s)
    return watch


def test_before_20_tiles_the_latest_counts() -> None:
    assert watch_of().lateness_s == watch_of(0.5).lateness_s == 0
    assert watch_of(0.0, 0.03, 0.0, 0.01).lateness_s == pytest.approx(0.03)


def test_then_the_95th_percentile_of_ten_seconds() -> None:
    lateness_s = [0.001 * (k % 20) for k in range(160)]
    watch = watch_of(*lateness_s)
    assert watch.lateness_s == pytest.approx(np.percentile(lateness_s, 95), abs=0.001)
    assert watch.latest_s == pytest.approx(0.019, rel=0.07)  # and somewhat more: the next may be later
    assert watch.latest_s > 0.0195
    assert watch_of(*[0.5, 0.4, 0.3, 0.2, 0.1] * 4, *[0.0] * 100).lateness_s == pytest.approx(0)


@pytest.mark.parametrize("tile_frames", [2, 4, 8])
def test_a_start_that_was_late_is_soon_forgotten(tile_frames: int) -> None:
    """For 1.2 s all tiles come late, as from a sender that loads its libraries."""
    watch = ArrivalWatch(FRAME_S)
    for number in range(round(4.0 / tile_frames / FRAME_S)):
        due_s = number * tile_frames * FRAME_S
        watch.push(number * tile_frames, due_s + max(0.0, 0.6 - 0.5 * due_s))
    assert watch.lateness_s == pytest.approx(0, abs=1e-6) and watch.latest_s == pytest.approx(0, abs=1e-6)


def test_of_few_tiles_the_latest_is_not_known() -> None:
    assert watch_of(*[0.0] * 9).latest_s == math.inf
    assert watch_of(*[0.0] * 10, 0.3, *[0.0] * 9).latest_s == pytest.approx(0.3 * (1 + 5 / 20))


def test_a_stall_is_one_late_tile_however_many_it_holds_back() -> None:
    due_s = [k * TILE_S for k in range(100)]
    stalled = [max(0.0, 8.0 - at_s) if at_s > 6.0 else 0.0 for at_s in due_s]
    assert max(stalled) > 1.9
    assert watch_of(*stalled).lateness_s == pytest.approx(0)


def test_a_stall_that_comes_every_second_counts() -> None:
    due_s = [k * TILE_S for k in range(100)]
    stalled = [0.2 - at_s % 1 if at_s % 1 < 0.2 else 0.0 for at_s in due_s]
    assert watch_of(*stalled).lateness_s > 0.12


def test_clocks_that_drift_are_no_lateness() -> None:
    watch = ArrivalWatch(FRAME_S)
    for number in range(10_000):
        watch.push(number * 8, number * TILE_S * (1 + 300e-6))
    assert watch.lateness_s < 0.004


def test_a_clock_that_jumps_back_is_begun_with_anew() -> None:
    watch = watch_of(*[0.0] * 50)
    for number in range(50, 60):
        watch.push(number * 8, 500 + number * TILE_S)
    assert (watch.base_s, watch.lateness_s) == (pytest.approx(500), pytest.approx(0))


# Depth


def test_the_usual_depth_is_the_median_of_a_second() -> None:
    watch = DepthWatch(TILE_S)
    assert [round(watch.push(depth_s), 3) for depth_s in (0.1, 0.3, 0.1, 0.1, 0.0)] == [0.1, 0.2, 0.1, 0.1, 0.1]
    for _ in range(8):
        watch.push(0.2)
    assert watch.push(0.9) == pytest.approx(0.2)


def test_what_was_changed_on_purpose_is_known_at_once() -> None:
    watch = DepthWatch(TILE_S)
    for _ in range(8):
        watch.push(0.2)
    watch.adjust(-0.016)
    assert watch.push(0.184) == pytest.approx(0.184)
    watch.reset()
    assert watch.push(0.05) == pytest.approx(0.05)
