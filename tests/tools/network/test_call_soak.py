"""The long call over impaired paths: what it asks of the paths, how it counts tiles, and a short one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio_avif.config import RATE_HZ
from audio_avif_tools.network.call_soak import _TEXT, accounted_for, checks, rows, run_call, scenarios
from audio_avif_tools.network.impaired_path import Counts
from audio_avif_tools.network.outcome import HeardTile, Outcome
from audio_avif_tools.network.reliability_page import CALL, PATHS, update, verdict
from audio_avif_tools.network.scenario import Loss, Scenario
from audio_avif_tools.shared.signals import demo_clip


@pytest.mark.parametrize(("minutes", "periods"), [(1, 3), (3, 3), (6, 3), (30, 15)])
def test_both_paths_are_cut_in_every_period_and_stall_in_turn(minutes: int, periods: int) -> None:
    paths = scenarios(60.0 * minutes)
    assert [len(path.outages) for path in paths] == [periods, periods]
    assert sum(len(path.stalls) for path in paths) == periods
    assert not set(paths[0].stalls) & set(paths[1].stalls)
    for path in paths:
        assert all(sum(window) < 60 * minutes for window in path.events)
        ends_s = [sum(window) for window in path.events]
        assert all(end_s < at_s for end_s, (at_s, _) in zip(ends_s, path.events[1:], strict=False))


def outcome(newest: int = 99, **heard: int) -> Outcome:
    line: dict[str, Any] = {"received_tiles": 90, "lost_tiles": 8, "recovered_tiles": 2, "late_tiles": 1}
    line |= {"concealed_ms": 100, "played_s": 60.0, **heard}
    tiles = [HeardTile(at_s, 900.0 if 32 <= at_s < 34 else 200.0) for at_s in range(60)]
    sent = {"reconnections": 3, "dropped_tiles": 5}
    return Outcome(
        ((30.0, 2.0),),
        Counts(newest_sequence=newest, dropped_messages=3),
        np.zeros(0, np.float32),
        tiles=tiles,
        senders=[sent],
        seconds=[line],
        memory_mb={"relay": [(at_s, 50.0) for at_s in range(60)]},
    )


def test_a_tile_that_nobody_counts_is_lost_silently() -> None:
    assert accounted_for(outcome()) == (100, 100)
    assert [verdict([check]) for check in checks([outcome(), outcome()], 3, 60.0)] == ["yes"] * 4
    late_start = outcome(received_tiles=80)
    late_start.counts.left_s = dict.fromkeys(range(10, 100), 0.0)
    assert accounted_for(late_start) == (90, 90)  # nobody can miss what the path lost before the first tile
    silent, *others = checks([outcome(), outcome(received_tiles=89)], 3, 60.0)
    assert (silent.measured, silent.is_met) == ("0; 1", False)
    assert all(check.is_met for check in others)
    assert checks([outcome(), outcome()], 3, 60.0)[2].measured == "2.0; 2.0"


def test_a_reconnection_that_fails_and_a_delay_that_stays_are_told() -> None:
    stuck = outcome()
    stuck.tiles = [HeardTile(at_s, 200.0 if at_s < 30 else 900.0) for at_s in range(60)]
    found = checks([outcome(), stuck], 4, 60.0)
    assert [check.is_met for check in found] == [True, False, False, True]
    assert math.isinf(stuck.recoveries()[0].settled_s) and found[2].measured == "2.0; never"


def test_the_table_stands_in_a_section_of_its_own(tmp_path: Path) -> None:
    page = tmp_path / "reliability.md"
    update(PATHS, {"first": ["1"] * 6}, ["first"], [], "a clip", {}, page)
    found = checks([outcome(), outcome()], 3, 60.0)
    table = rows([outcome(), outcome()], 1, found)
    update(CALL, table, list(table), [_TEXT], "a clip", {}, page)
    text = page.read_text()
    assert (
        "|tiles received / lost|90 / 8 of 100; 90 / 8 of 100||" in text and "|no tile lost silently|0; 0|yes|" in text
    )
    assert "make soak CALL=1" in text and "|first|1|" in text


@pytest.mark.slow
def test_a_short_call_loses_no_tile_silently() -> None:
    paths = (
        Scenario("first", delay_ms=20, jitter_ms=10, outages=((2.5, 0.4),), loss=Loss.independent(0.05)),
        Scenario("second", delay_ms=20, jitter_ms=10, stalls=((4.5, 0.8),), loss=Loss.independent(0.05)),
    )
    outcomes = run_call(10.0, np.resize(demo_clip(), 10 * RATE_HZ), paths)
    for found in outcomes:
        cut, told = accounted_for(found)
        assert cut > 100 and told >= cut
        assert found.received("lost_tiles") >= found.counts.dropped_messages > 0
    assert [found.sent("reconnections") for found in outcomes] == [1, 0]
