"""What the buffer needs because a machine's threads and output are not punctual."""

from __future__ import annotations

import pytest

from audio_avif.codec.machine_watch import Steadiness

TILE_S = 0.032
WAKES_S = 0.001
"""How much later than asked a thread wakes."""


def watched(
    count: int, *, block_s: float = 0.0, reserve_s: float = 0.0, gap: tuple[int, float] = (0, 0.0), slow: int = -1
) -> Steadiness:
    """A watch after so many tiles, each made in 4 ms, tile ``slow`` in 14 ms.

    The output takes blocks, and needs ``reserve_s``; it played silence of ``gap[1]`` s before tile ``gap[0]``.
    """
    watch, silence_s = Steadiness(), 0.0
    for number in range(count):
        silence_s = gap[1] if number >= gap[0] else 0.0
        now_s = 100 + number * TILE_S
        taken_s = now_s - 100 - silence_s
        if block_s:
            taken_s = taken_s // block_s * block_s
        written_s = 0.05 + number * TILE_S
        watch.push(now_s, written_s, written_s - taken_s, reserve_s, 0.014 if number == slow else 0.004)
    return watch


def test_nothing_is_said_within_the_first_second() -> None:
    assert watched(30).unsteady_s is None
    assert watched(40).unsteady_s == pytest.approx(WAKES_S)
    assert watched(40, reserve_s=0.008).unsteady_s == pytest.approx(0.008 + WAKES_S)


def test_an_output_that_tells_only_whole_blocks_needs_half_of_one_more() -> None:
    assert watched(100, block_s=0.01).unsteady_s == pytest.approx(WAKES_S + 0.005, abs=0.003)


@pytest.mark.parametrize("what", ["gap", "slow"])
def test_a_gap_or_a_slow_tile_counts_at_once_and_for_ten_seconds(what: str) -> None:
    def needed_s(count: int) -> float | None:
        return watched(count, gap=(700, 0.01)).unsteady_s if what == "gap" else watched(count, slow=700).unsteady_s

    assert needed_s(700) == pytest.approx(WAKES_S)
    assert [needed_s(706), needed_s(1000)] == pytest.approx([WAKES_S + 0.01] * 2)
    assert needed_s(1020) == pytest.approx(WAKES_S)


def test_after_a_silence_the_value_stays_until_a_second_is_known() -> None:
    watch = watched(100, block_s=0.01)
    watch.reset()
    watch.push(200.0, 0.0, 0.0, 0.0, 0.004)
    assert watch.unsteady_s == pytest.approx(WAKES_S + 0.005, abs=0.003)
