"""A vocoder is too slow where it lastingly takes as long as its sound lasts."""

from __future__ import annotations

import pytest

from audio_avif.vocoders.load import VocoderLoad

TILE_S = 0.128


def found_after_s(took_s: list[float]) -> float | None:
    """How much sound was made when the vocoder was found too slow; None where it never was."""
    load = VocoderLoad()
    for number, each_s in enumerate(took_s, 1):
        if load.push(each_s, TILE_S):
            return number * TILE_S
    return None


@pytest.mark.parametrize(("share", "is_found"), [(0.05, False), (0.8, False), (0.95, True), (3.0, True)])
def test_a_vocoder_that_cannot_keep_up_is_found_within_four_seconds_of_sound(share: float, is_found: bool) -> None:
    found_s = found_after_s([share * TILE_S] * 200)
    assert (found_s is not None and found_s < 4) == is_found


def test_tiles_that_are_slow_in_turns_count_by_their_sum() -> None:
    """A process that runs a tenth of the time makes nine tiles fast, and one ten times too slow."""
    assert found_after_s(([0.01] * 9 + [1.3]) * 10) is not None


@pytest.mark.parametrize("stall_s", [1.0, 60.0])
def test_a_single_stall_is_no_reason(stall_s: float) -> None:
    assert found_after_s([0.01] * 20 + [stall_s] + [0.01] * 200) is None
