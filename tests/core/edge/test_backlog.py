"""Sound that piles up on its way to the device is noticed; a sound card that drifts is not taken for that."""

from __future__ import annotations

import pytest

from audio_avif.edge.backlog import BacklogWatch


def first_backlog(hours: float, ahead_s_per_s: float, growth_s_per_s: float) -> tuple[float, float] | None:
    """When a backlog is noticed, and how long it is."""
    watch = BacklogWatch(0.0)
    for second in range(round(3600 * hours)):
        watch.push(second - 0.5, 0.02, second - 0.5)
        taken_s, latency_s = second * (1 + ahead_s_per_s), 0.02 + second * growth_s_per_s
        latency_s += 0.3 if second % 7 == 3 else 0.0  # a scheduler's delay
        if backlog_s := watch.push(taken_s, latency_s, float(second)):
            return float(second), backlog_s
    return None


@pytest.mark.parametrize("drift", [-300e-6, 0.0, 300e-6])
def test_hours_with_a_drifting_sound_card_pile_nothing_up(drift: float) -> None:
    assert first_backlog(12, drift, 0.0) is None


def test_a_latency_that_grows_over_hours_is_a_backlog() -> None:
    found = first_backlog(5, 0.0, 20e-6)
    assert found is not None
    at_s, backlog_s = found
    assert at_s == pytest.approx(0.15 / 20e-6, rel=0.01) and backlog_s == pytest.approx(0.15, abs=0.01)


def test_an_output_that_takes_more_than_it_can_play_has_a_backlog_though_it_reports_none() -> None:
    found = first_backlog(1, 2e-3, 0.0)
    assert found is not None and found[0] < 200


def test_a_clock_that_left_out_a_part_of_a_step_is_no_backlog() -> None:
    watch, now_s = BacklogWatch(0.0), 0.0
    for second in range(600):
        now_s = second * 0.5
        left_out_s = 5.0 if second >= 100 else 0.0
        step_s = 0.5 if second >= 100 else 0.0  # the step itself looks like a second
        assert not watch.push(now_s + step_s + left_out_s, 0.02, now_s + step_s)


def test_an_input_has_no_taken_sound() -> None:
    watch = BacklogWatch(0.0)
    assert not any(watch.push(None, 0.02, float(second)) for second in range(100))
    assert any(watch.push(None, 0.4, float(second)) for second in range(100, 120))
