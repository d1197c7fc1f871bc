"""Tiles leave the queue in order and once, every tile is accounted for, and an overfull buffer is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.jitter import DepthWatch, TileQueue
from audio_avif.wire import TilePacket


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


# Depth

TILE_S, FRAME_S = 0.128, 0.016


def test_a_second_of_unused_depth_is_surplus() -> None:
    watch = DepthWatch(TILE_S, FRAME_S)
    surplus = [watch.surplus_frames(0.165) for _ in range(8)]
    assert surplus == [0] * 7 + [10]


def test_after_a_correction_a_new_second_is_watched() -> None:
    watch = DepthWatch(TILE_S, FRAME_S)
    surplus = [watch.surplus_frames(0.165) for _ in range(17)]
    assert [i for i, frames in enumerate(surplus) if frames] == [7, 15]


def test_one_shallow_moment_in_the_second_is_need() -> None:
    watch = DepthWatch(TILE_S, FRAME_S)
    excesses = [0.265] * 4 + [0.005] + [0.265] * 7
    assert not any(watch.surplus_frames(excess) for excess in excesses)
    assert watch.surplus_frames(0.265) == 17


@pytest.mark.parametrize(("excess_s", "surplus"), [(-0.04, 0), (0.0, 0), (0.0079, 0), (0.0081, 1)])
def test_less_than_half_a_frame_is_left_alone(excess_s: float, surplus: int) -> None:
    watch = DepthWatch(TILE_S, FRAME_S)
    assert [watch.surplus_frames(excess_s) for _ in range(8)][-1] == surplus


def test_wide_tiles_need_two_looks() -> None:
    watch = DepthWatch(1.024, FRAME_S)
    assert watch.surplus_frames(0.46) == 0
    assert watch.surplus_frames(0.46) == 29
