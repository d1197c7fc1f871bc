"""Howling is told once, and speech or loud music is none."""

from __future__ import annotations

import pytest

from audio_avif.signal.howling import LASTS_S, HowlingWatch

QUIET_DB, SPEECH_DB, HOWL_DB = -60.0, -20.0, -2.0


def told(levels: list[tuple[float, float, float]]) -> int:
    """How often howling is told of pieces, each with both levels and a length in s, in steps of 100 ms."""
    watch, now_s, times = HowlingWatch(), 0.0, 0
    for said_db, heard_db, seconds in levels:
        for _ in range(round(10 * seconds)):
            now_s += 0.1
            times += watch.push(said_db, heard_db, now_s)
    return times


SPEECH = (SPEECH_DB, QUIET_DB, 3.0)
HOWL = (HOWL_DB, HOWL_DB, LASTS_S + 1)


@pytest.mark.parametrize(
    ("levels", "times"),
    [
        ([SPEECH, HOWL], 1),
        ([SPEECH, HOWL, HOWL, HOWL], 1),
        ([SPEECH, HOWL, SPEECH, HOWL], 2),
        ([SPEECH, (HOWL_DB, SPEECH_DB, 5.0)], 0),
        ([SPEECH, (HOWL_DB, HOWL_DB, LASTS_S / 2), SPEECH], 0),
        ([HOWL, HOWL, HOWL], 0),
        ([(SPEECH_DB, SPEECH_DB, 60.0)], 0),
    ],
    ids=["rises", "goes on", "returns", "one direction", "short", "always loud", "both speak"],
)
def test_only_a_loudness_that_rises_in_both_directions_and_stays_is_howling(
    levels: list[tuple[float, float, float]], times: int
) -> None:
    assert told(levels) == times
