"""What the buffer needs because a machine's threads and output are not punctual."""

from __future__ import annotations

import json
from typing import Any

import pytest

from audio_avif.codec.machine_watch import OutputState, Steadiness
from support.paths import DATA

TILE_S = 0.032
WAKES_S = 0.0025
"""How much later than asked a thread may wake."""


def watched(
    count: int,
    *,
    block_s: float = 0.0,
    reserve_s: float = 0.0,
    slow: int = -1,
    early: int = -1,
    silence: tuple[int, float] = (0, 0.0),
    underruns: int = 0,
) -> Steadiness:
    """A watch after so many tiles, each made in 4 ms, tile ``slow`` in 14 ms.

    The output takes blocks, and needs ``reserve_s``. At tile ``early`` it has taken 10 ms more than it should have; it
    took nothing for ``silence[1]`` s before tile ``silence[0]``, with so many ``underruns``.
    """
    watch = Steadiness()
    for number in range(count):
        now_s = 100 + number * TILE_S
        is_later = number >= silence[0]
        taken_s = now_s - 100 - is_later * silence[1] + (number == early) * 0.01
        if block_s:
            taken_s = taken_s // block_s * block_s
        written_s = 0.05 + number * TILE_S
        output = OutputState(written_s, written_s - taken_s, reserve_s, device_s=0.0, underruns=is_later * underruns)
        watch.push(now_s, output, 0.014 if number == slow else 0.004, late_s=0.0)
    return watch


def alone_s(watch: Steadiness) -> float | None:
    return None if watch.unsteady is None else watch.unsteady.alone_s


def test_nothing_is_said_within_the_first_half_second() -> None:
    assert alone_s(watched(16)) is None
    assert alone_s(watched(18)) == pytest.approx(WAKES_S)
    assert alone_s(watched(18, reserve_s=0.008)) == pytest.approx(0.008 + WAKES_S)


def test_an_output_that_tells_only_whole_blocks_needs_half_of_one_more() -> None:
    assert alone_s(watched(100, block_s=0.01)) == pytest.approx(WAKES_S + 0.005, abs=0.003)


@pytest.mark.parametrize("what", [{"early": 700}, {"silence": (700, 0.01), "underruns": 1}, {"slow": 700}], ids=str)
def test_an_early_output_an_underrun_and_a_slow_tile_count_at_once_and_for_ten_seconds(what: dict[str, Any]) -> None:
    def needed_s(count: int) -> float | None:
        return alone_s(watched(count, **what))

    assert needed_s(700) == pytest.approx(WAKES_S)
    assert [needed_s(706), needed_s(1000)] == pytest.approx([WAKES_S + 0.01] * 2)
    assert needed_s(1020) == pytest.approx(WAKES_S)


def test_after_a_silence_the_value_stays_until_half_a_second_is_known() -> None:
    watch = watched(100, block_s=0.01)
    watch.reset()
    watch.push(200.0, OutputState(0.0, 0.0, 0.0, 0.0, 0), 0.004, 0.0)
    assert alone_s(watch) == pytest.approx(WAKES_S + 0.005, abs=0.003)


@pytest.mark.parametrize("case", json.loads((DATA / "steadiness.json").read_text()), ids=lambda case: case["about"])
def test_tiles_need_what_the_vectors_say_that_the_page_follows_too(case: dict[str, Any]) -> None:
    watch, later = Steadiness(), case.get("later_ms", {"from_tile": 0, "by": 0})
    for number in range(100):
        now_s = number * TILE_S
        sooner_s, longer_s, late_s = (case["tiles_ms"].get(str(number), [0, 0, 0])[i] / 1e3 for i in range(3))
        later_s = later["by"] / 1e3 if number >= later["from_tile"] else 0.0
        output = OutputState(now_s, 0.05 - sooner_s + later_s, reserve_s=0.0, device_s=0.0, underruns=0)
        watch.push(now_s, output, 0.004 + longer_s, late_s)
    assert watch.unsteady is not None
    assert watch.unsteady.alone_s - WAKES_S == pytest.approx(case["alone_ms"] / 1e3)
    assert watch.unsteady.beyond_latest_s == pytest.approx(case["beyond_latest_ms"] / 1e3)
