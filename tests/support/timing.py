"""Judgements of wall-clock time, which a busy machine may spoil: the test is repeated, and the best attempt counts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

_Test = TypeVar("_Test", bound=Callable[..., None])

ATTEMPTS = 6


class Late(AssertionError):
    """Something took longer than it may on a machine that has time for it."""


def in_time(is_so: bool, figures: object = "") -> None:
    """Assert what only a machine with time to spare keeps. Raises Late with the figures where it does not hold."""
    if not is_so:
        raise Late(f"too late: {figures}")


def best_of_attempts(test: _Test) -> _Test:
    """Run a test again after ``Late``, each time with an empty ``tmp_path``; any other failure counts at once.

    A busy machine makes one attempt late, a fault makes all of them late.
    """

    @functools.wraps(test)
    def attempts(**fixtures: Any) -> None:
        folder: Path | None = fixtures.get("tmp_path")
        for attempt in range(1, ATTEMPTS + 1):
            if folder is not None:
                fixtures["tmp_path"] = folder / f"attempt-{attempt}"
                fixtures["tmp_path"].mkdir()
            try:
                return test(**fixtures)
            except Late:
                if attempt == ATTEMPTS:
                    raise

    return attempts  # type: ignore[return-value]
