"""The latency that is asked of a device follows its xruns."""

from __future__ import annotations

import math

import pytest

from audio_avif.edge.device_latency import STEPS_S, LatencySteps, Remembered, low_latency_s, plausible_latency_s


def opened(*arguments: object, **options: object) -> LatencySteps:
    steps = LatencySteps(*arguments, **options)  # type: ignore[arg-type]
    steps.opened(0.0)
    return steps


def quiet_for(steps: LatencySteps, from_s: float, seconds: float) -> float:
    for second in range(round(seconds)):
        steps.push(0, from_s + second + 1)
    return from_s + seconds


def test_it_begins_low_and_rises_a_step_with_two_xruns() -> None:
    steps = opened()
    assert steps.latency_s == 0.010
    steps.push(1, 5.0)
    assert steps.latency_s == 0.010
    steps.push(1, 10.0)
    assert steps.latency_s == 0.016
    steps.push(3, 12.0)
    assert steps.latency_s == 0.024


def test_xruns_far_apart_or_just_after_the_opening_raise_nothing() -> None:
    steps = opened()
    steps.push(5, 0.5)
    for at_s in (10.0, 50.0, 100.0):
        steps.push(1, at_s)
    assert steps.latency_s == 0.010


def test_a_microphone_begins_lower_than_a_loudspeaker_unless_the_device_says_otherwise() -> None:
    for kind, low_s in (("input", 0.005), ("output", 0.010)):
        assert opened(low_s=low_latency_s(kind, 0.0)).latency_s == low_s
        assert opened(low_s=low_latency_s(kind, 0.0087)).latency_s == low_s
        assert opened(low_s=low_latency_s(kind, 0.020)).latency_s == 0.020


def test_it_ends_at_the_highest_step() -> None:
    steps = opened()
    for at_s in range(2, 60):
        steps.push(2, float(at_s))
    assert steps.latency_s == STEPS_S[-1]


def test_a_long_latency_rises_only_with_five_xruns() -> None:
    steps = opened(remembered=Remembered(0.032))
    for at_s in range(2, 26, 6):
        steps.push(1, float(at_s))
    assert steps.latency_s == 0.032
    steps.push(1, 27.0)
    assert steps.latency_s == 0.048


def test_what_the_device_calls_low_is_the_least_that_is_asked_for_and_the_next_step_is_above() -> None:
    steps = opened(low_s=0.030)
    assert steps.latency_s == 0.030
    steps.push(2, 2.0)
    assert steps.latency_s == 0.032
    now_s = quiet_for(steps, 2.0, 7200)
    assert steps.latency_s == 0.030, now_s


def test_ten_minutes_without_an_xrun_lower_it_and_twice_as_long_where_that_was_too_low() -> None:
    steps = opened(remembered=Remembered(0.024))
    now_s = quiet_for(steps, 0.0, 599)
    assert steps.latency_s == 0.024
    now_s = quiet_for(steps, now_s, 2)
    assert steps.latency_s == 0.016
    steps.push(2, now_s + 5)
    assert steps.latency_s == 0.024
    now_s = quiet_for(steps, now_s + 5, 1100)
    assert steps.latency_s == 0.024
    quiet_for(steps, now_s, 150)
    assert steps.latency_s == 0.016


def test_the_quiet_time_counts_over_several_starts() -> None:
    steps = opened(remembered=Remembered(0.048))
    quiet_for(steps, 0.0, 400)
    again = opened(remembered=steps.remembered)
    assert again.latency_s == 0.048
    quiet_for(again, 0.0, 250)
    assert again.latency_s == 0.032


def test_a_latency_that_the_user_chose_stays() -> None:
    steps = opened(0.005, Remembered(0.096), 0.03)
    for at_s in range(2, 60):
        steps.push(5, float(at_s))
    assert steps.latency_s == 0.005


@pytest.mark.parametrize("nonsense", [-0.5, math.nan, math.inf, 3600.0])
def test_nonsense_is_not_believed(nonsense: float) -> None:
    assert plausible_latency_s(nonsense, 0.02) == 0.02
    assert plausible_latency_s(0.3, 0.02) == 0.3
