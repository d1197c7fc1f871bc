"""When a device is lost, and how often it is looked for."""

from __future__ import annotations

import itertools

from audio_avif.edge.device_life import STALLED_S, DeviceLife, Event


def running(now_s: float = 0.0) -> DeviceLife:
    life = DeviceLife()
    life.opened(now_s)
    assert life.watch(1, False, now_s) is Event.RUNS
    return life


def test_a_device_runs_from_its_first_block_on() -> None:
    life = DeviceLife()
    life.opened(10.0)
    assert life.watch(0, False, 10.5) is Event.NOTHING
    assert life.watch(3, False, 10.6) is Event.RUNS
    assert life.watch(4, False, 10.7) is Event.NOTHING
    assert life.lost_s is None


def test_a_device_that_says_that_it_stopped_is_lost_at_once() -> None:
    life = running()
    assert life.watch(2, True, 5.0) is Event.STOPPED
    assert not life.is_open and life.lost_s == 5.0


def test_a_device_that_says_nothing_is_lost_after_three_seconds() -> None:
    life = running()
    assert life.watch(1, False, STALLED_S) is Event.NOTHING
    assert life.watch(1, False, STALLED_S + 0.1) is Event.STALLED


def test_a_device_that_opens_and_never_calls_back_is_not_back() -> None:
    life = running()
    life.watch(1, True, 1.0)
    life.opened(1.5)
    assert life.watch(0, False, 1.5 + STALLED_S + 0.1) is Event.SILENT
    assert life.lost_s == 1.0


def test_a_lost_device_is_looked_for_at_once_and_then_every_second_and_a_half_at_most() -> None:
    life = running()
    life.watch(1, True, 0.0)
    tries, now_s = [], 0.0
    while now_s < 60:
        now_s += 0.01
        if life.is_due(now_s):
            tries.append(now_s)
            life.failed(now_s)
    gaps = [after - before for before, after in itertools.pairwise(tries)]
    assert tries[0] < 0.25
    assert max(gaps) < 1.6 and len(tries) < 60


def test_a_device_that_came_back_is_looked_for_as_soon_the_next_time() -> None:
    life = running()
    for now_s in range(20):
        life.failed(float(now_s))
    life.opened(20.0)
    assert life.watch(1, False, 20.1) is Event.RUNS
    life.watch(1, True, 30.0)
    assert life.is_due(30.25)
