"""What the proof of reliability measures is true, and short versions of it hold: real programs on impaired paths."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio_avif.config import RATE_HZ
from audio_avif.metrics import stoi
from audio_avif.types import FloatArray
from audio_avif_tools.network.alignment import align
from audio_avif_tools.network.impaired_path import Counts
from audio_avif_tools.network.outcome import HeardTile, Outcome, join, timeline
from audio_avif_tools.network.reliability_page import PATHS, SOAK, Check, update, verdict
from audio_avif_tools.network.scenario import Loss, Scenario, Window
from audio_avif_tools.network.trial_run import run_trial
from audio_avif_tools.network.trials import TOKEN, TRIALS, Trial
from audio_avif_tools.shared.signals import demo_clip
from support.timing import best_of_attempts, in_time


def outcome(tiles: list[HeardTile], events: tuple[Window, ...] = (), **more: Any) -> Outcome:
    return Outcome(events, Counts(), demo_clip(), tiles=tiles, **more)


# What is measured.


def test_what_was_heard_is_put_where_it_was_said() -> None:
    said = demo_clip()[: 9 * RATE_HZ]
    slow = [said[at : at + 1760] for at in range(5 * RATE_HZ, 6 * RATE_HZ, 1600)]
    # A second is lost, then all is 0.3 s late, a second takes a tenth longer, and the rest is in time again.
    parts = [said[: 2 * RATE_HZ], np.zeros(round(1.3 * RATE_HZ)), said[3 * RATE_HZ : 5 * RATE_HZ], *slow]
    heard = np.concatenate([*parts, said[round(6.4 * RATE_HZ) :]]).astype(np.float32)
    aligned = align(said, heard)
    for at_s, least in ((0.5, 0.95), (3.5, 0.95), (5.0, 0.8), (7.0, 0.95)):
        piece = slice(round(at_s * RATE_HZ), round((at_s + 1) * RATE_HZ))
        assert stoi(said[piece], aligned[piece]) > least, at_s
    lost = slice(2 * RATE_HZ, 3 * RATE_HZ)
    assert stoi(said[lost], aligned[lost]) < 0.6
    assert stoi(said, align(said, heard[::-1].copy())) < 0.6
    assert not align(said, np.zeros(0, np.float32)).any()


def test_a_receivers_lives_are_put_where_they_were_heard() -> None:
    tiles = [HeardTile(at_s, 250) for at_s in (0.5, 0.6, 3.5, 3.6)]
    ones = np.ones(RATE_HZ, np.float32)
    sound = timeline([(0.0, ones), (2.0, 2 * ones), (5.0, ones)], tiles)
    assert sound.size == 4 * RATE_HZ
    assert [sound[round(at_s * RATE_HZ)] for at_s in (0.5, 1.5, 2.9, 3.1)] == [1, 0, 0, 2]


def test_recovery_is_when_tiles_are_heard_again_and_when_their_delay_is_as_before() -> None:
    late = [HeardTile(5.6, 900), HeardTile(5.7, 250), *(HeardTile(5.8 + number / 8, 600) for number in range(8))]
    steady = (
        [HeardTile(number / 8, 250) for number in range(24)],
        [HeardTile(7 + number / 8, 377) for number in range(9)],
    )
    found = outcome([*steady[0], *late, *steady[1]], ((3.0, 2.0), (8.5, 1.0)))
    first, never = found.recoveries()
    assert first.heard_again_s == pytest.approx(0.6)
    assert first.settled_s == pytest.approx(2.0)  # one tile in time among late ones is none
    assert (never.heard_again_s, never.settled_s) == (math.inf, math.inf)
    assert found.longest_gap_s(0.0) == pytest.approx(5.6 - 23 / 8)
    assert found.percentile_ms(100) == 900


def test_a_backlog_is_how_much_longer_than_the_fastest_a_tile_was_on_its_way() -> None:
    found = outcome([HeardTile(1, 250, 40), HeardTile(2, 700, 440), HeardTile(3, 800, 90)])
    assert (found.backlog_ms(0), found.backlog_ms(2.5), found.backlog_ms(4)) == (400, 50, math.inf)


def test_a_stream_of_which_nothing_was_heard_meets_nothing() -> None:
    silent = outcome([], ((3.0, 2.0),), senders=[{}])
    for key in ("jitter", "stall", "loss", "cut-30"):
        assert verdict(TRIALS[key].checks(silent)) == "**no**", key


def test_pieces_said_while_the_path_was_gone_are_left_out_of_the_score() -> None:
    said = demo_clip()
    tiles = [HeardTile(0.25 + number / 8, 250) for number in range(80) if not 3 < number / 8 < 5]
    heard = np.where((np.arange(said.size) > 3 * RATE_HZ) & (np.arange(said.size) < 5 * RATE_HZ), 0, said)
    score, left_out = outcome(tiles, ((3.0, 2.0),), heard=heard.astype(np.float32)).scores()
    assert score > 0.95 and 1 <= left_out <= 3
    assert outcome(tiles, heard=heard.astype(np.float32)).scores()[0] < score - 0.1


def test_when_a_tile_is_heard_follows_from_when_it_left_the_path() -> None:
    stages_ms = {"network": 30.0, "buffer": 40.0, "decode": 1.0, "vocoder": 48.0 + 5.0, "playout": 10.0}
    line = {"sequence": 3, "stages_ms": stages_ms, "mouth_to_ear_ms": 250.0}
    (tile,) = join([line, line], [2.0, None], {"vocoder_latency_samples": 768})
    assert tile == HeardTile(pytest.approx(2.056), 250.0, 30.0)


def test_figures_add_up_over_the_lives_of_the_programs() -> None:
    lines = [
        {"played_s": 1.0, "concealed_ms": 100},
        {"played_s": 2.5, "concealed_ms": 200},
        {"played_s": 30.0, "concealed_ms": 260, "is_final": True},
    ]
    found = outcome([], senders=[{"sent_tiles": 4}, {"sent_tiles": 5}], seconds=lines)
    assert found.sent("sent_tiles") == 9
    assert found.received_after("concealed_ms", 2) == 60
    assert found.concealed_ms_per_minute == 520


def test_a_shorter_trial_leaves_out_what_comes_later() -> None:
    short = TRIALS["disconnects"].lasting(35)
    assert 2 <= len(short.scenario.outages) <= 3
    assert TRIALS["hostile"].lasting(15).hostile == 50
    assert TRIALS["quiet"].lasting(1000) == TRIALS["quiet"]


def test_the_page_keeps_the_rows_and_sections_that_were_not_measured_again(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "reliability.md"
    order = ["first", "second", "third"]
    checks = [Check("delay <= 3 s", "2", True), Check("no loss", "7", False)]
    assert (verdict(checks), verdict(checks[:1]), verdict([])) == ("**no**", "yes", "")
    update(PATHS, {"third": ["3"] * 6}, order, ["About the table."], "a clip", {}, page)
    update(SOAK, {"memory": ["7", "yes"]}, ["memory"], [], "a clip", {}, page)
    update(PATHS, {"first": ["1"] * 6}, order, ["About the table."], "a clip", {"first": "first.png"}, page)
    update(PATHS, {"third": ["4"] * 6}, order, ["About the table."], "a clip", {"first": "first.png"}, page)
    text = page.read_text()
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    assert rows[1:3] == ["|first|1|1|1|1|1|1|", "|third|4|4|4|4|4|4|"]
    assert rows[-1] == "|memory|7|yes|"
    assert text.count("## ") == 2 and text.count("About the table.") == 1 and "first.png" not in text
    assert "cores" in text and "make impair" in text and "make soak" in text


# Short versions of the proof. The bounds are looser than the required ones in docs/measurements/reliability.md.


def on(scenario: Scenario, seconds: float, **more: Any) -> Outcome:
    """What became of a stream."""
    trial = Trial("test", "test", scenario, seconds, lambda outcome: [], **more)
    return run_trial(trial, speech(seconds))


def speech(seconds: float) -> FloatArray:
    return np.resize(demo_clip(), round(seconds * RATE_HZ))


@pytest.mark.slow
@best_of_attempts
def test_a_jittered_path_is_heard_in_time_and_whole() -> None:
    found = on(Scenario("jitter", delay_ms=50, jitter_ms=20), 7)
    in_time(150 < found.percentile_ms(50) < 500, found.tiles)
    in_time(found.percentile_ms(95) < 700, found.tiles)
    assert found.received("lost_tiles") <= found.sent("dropped_tiles")
    in_time(found.received_after("concealed_ms", 2) < 500, found.tiles)
    in_time(found.scores()[0] > 0.75, found.scores())


@pytest.mark.slow
@best_of_attempts
def test_a_stall_leaves_no_delay_behind_and_every_tile_is_accounted_for() -> None:
    found = on(Scenario("stall", stalls=((3, 1.5),)), 9)
    (recovery,) = found.recoveries()
    in_time(recovery.heard_again_s < 3 and recovery.settled_s < 5, found.tiles)
    told = sum(found.received(key) for key in ("received_tiles", "late_tiles", "repeated_tiles", "lost_tiles"))
    assert found.sent("sent_tiles") <= told
    in_time(found.longest_gap_s(6.5) < 2, found.tiles)


@pytest.mark.slow
@best_of_attempts
def test_a_stream_goes_on_after_its_connection_was_cut_twice() -> None:
    found = on(Scenario("cut", outages=((2.5, 0.5), (5.5, 0.8))), 11)
    assert found.counts.cut_connections == 2
    assert found.sent("reconnections") == 2 and found.received("reconnections") == 2
    in_time(all(recovery.heard_again_s < 4 for recovery in found.recoveries()), found.recoveries())
    assert len({line["session"] for line in found.seconds}) == 1
    in_time(found.scores()[0] > 0.7, found.scores())


@pytest.mark.slow
@best_of_attempts
def test_lost_messages_are_counted_and_their_copies_played() -> None:
    found = on(Scenario("loss", loss=Loss.independent(0.12)), 8, send=("--redundancy", "1"))
    assert found.counts.dropped_messages > 2
    assert found.received("recovered_tiles") > 0
    assert found.received("recovered_tiles") + found.received("lost_tiles") >= found.counts.dropped_messages - 1
    in_time(found.scores()[0] > 0.75, found.scores())


@pytest.mark.slow
@best_of_attempts
def test_hostile_connections_do_nothing_to_a_stream_beside_them() -> None:
    options = ("--token", TOKEN)
    receive = (*options, "--handshake-s", "3")
    found = on(Scenario("hostile"), 8, hostile=27, send=options, receive=receive)
    assert "wrong token: 3 HTTP 401" in found.note
    in_time(found.left_open == 0, found.note)
    assert found.received("lost_tiles") <= found.sent("dropped_tiles")
    assert found.sent("reconnections") == 0
    in_time(found.received_after("concealed_ms", 2) < 500, found.tiles)
    in_time(found.scores()[0] > 0.75, found.scores())
