"""A judgement of time is repeated, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.timing import ATTEMPTS, Late, best_of_attempts, in_time


@pytest.mark.parametrize("late_attempts", [0, 1, ATTEMPTS - 1])
def test_one_attempt_in_time_is_enough_and_each_has_an_empty_folder(tmp_path: Path, late_attempts: int) -> None:
    attempts: list[Path] = []

    @best_of_attempts
    def judge(tmp_path: Path) -> None:
        assert not list(tmp_path.iterdir())
        (tmp_path / "left").touch()
        attempts.append(tmp_path)
        in_time(len(attempts) > late_attempts)

    judge(tmp_path=tmp_path)
    assert len(set(attempts)) == late_attempts + 1


def test_what_is_late_every_time_fails_with_its_figures() -> None:
    attempts: list[None] = []

    @best_of_attempts
    def judge() -> None:
        attempts.append(None)
        in_time(False, "2 s")

    with pytest.raises(Late, match="too late: 2 s"):
        judge()
    assert len(attempts) == ATTEMPTS


def test_any_other_failure_counts_at_once() -> None:
    attempts: list[None] = []

    @best_of_attempts
    def judge() -> None:
        attempts.append(None)
        raise AssertionError("wrong")

    with pytest.raises(AssertionError, match="wrong"):
        judge()
    assert len(attempts) == 1


def test_hypothesis_judges_no_time() -> None:
    assert settings.default is not None and settings.default.deadline is None
    assert HealthCheck.too_slow in settings.default.suppress_health_check
