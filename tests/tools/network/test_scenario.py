"""Bytes leave an impaired path when its scenario says, and the same again with the same seed."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from audio_avif_tools.network.scenario import Scenario, Way, disconnects


def way(scenario: Scenario, is_upstream: bool = True) -> Way:
    return Way(scenario, random.Random(scenario.seed), is_upstream)


def test_delay_and_jitter_stay_within_their_bounds_and_keep_the_order() -> None:
    scenario = Scenario("jitter", delay_ms=50, jitter_ms=20)
    path = way(scenario)
    came_s = [0.01 * number for number in range(2000)]
    left_s = [path.leaves_s(at_s, 100) for at_s in came_s]
    assert left_s == sorted(left_s)
    delays_ms = [1e3 * (left - came) for came, left in zip(came_s, left_s, strict=True)]
    assert min(delays_ms) >= 30 - 1e-6 and max(delays_ms) <= 70 + 1e-6
    assert max(delays_ms) > 65
    again = way(scenario)
    assert [again.leaves_s(at_s, 100) for at_s in came_s] == left_s


def test_a_cap_is_one_of_the_wire_and_only_upstream() -> None:
    scenario = Scenario("cap", cap_kbps=8)
    path = way(scenario)
    # 48 bytes and 52 of TCP/IP at 8 kbps take a tenth of a second, and wait for those before them.
    assert [path.leaves_s(0, 48) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.3])
    assert path.leaves_s(10, 48) == pytest.approx(10.1)
    assert path.leaves_s(20, 2 * 1448) == pytest.approx(20 + 3.0)
    assert way(scenario, is_upstream=False).leaves_s(0, 48) == 0


def test_what_comes_into_a_stall_leaves_at_its_end() -> None:
    path = way(Scenario("stall", delay_ms=100, stalls=((5, 2), (10, 1))))
    assert path.leaves_s(4.0, 10) == pytest.approx(4.1)
    assert path.leaves_s(4.95, 10) == pytest.approx(7.0)  # it was under way when the path fell silent
    assert path.leaves_s(5.5, 10) == pytest.approx(7.1)
    assert path.leaves_s(10.5, 10) == pytest.approx(11.1)


def test_disconnects_are_seeded_and_apart() -> None:
    windows = disconnects(30, 10, 2)
    assert windows == disconnects(30, 10, 2) != disconnects(30, 10, 2, seed=1)
    assert len(windows) == 30 and windows[-1][0] < 300
    assert all(later[0] - sum(earlier) > 5 for earlier, later in pairwise(windows))
    assert Scenario("cut", outages=windows).events == windows


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay_ms": 10, "jitter_ms": 20},
        {"cap_kbps": 0},
        {"queue_bytes": 0},
        {"stalls": ((5, 2), (6, 1))},
        {"outages": ((5, 0),)},
    ],
)
def test_impossible_scenarios_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Scenario("wrong", **wrong)  # type: ignore[arg-type]
