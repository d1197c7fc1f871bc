"""Arguments that several of the offline commands take."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from audio_avif.edge import console


def integers_in(low: int, high: int) -> Callable[[str], list[int]]:
    """A parser of integers with commas between; argparse shows its name where it raises ValueError."""
    parse_one = console.integer_in(low, high)

    def parse(text: str) -> list[int]:
        return list(dict.fromkeys(map(parse_one, text.split(","))))

    parse.__name__ = f"numbers ({low} to {high}, with commas between)"
    return parse


def value_range(text: str) -> str | tuple[float, float]:
    """Parse ``fixed``, ``auto``, or the least and the greatest log10 magnitude. Raises ValueError."""
    if text in ("fixed", "auto"):
        return text
    low, high = map(float, text.split(","))
    if not -20 <= low < high <= 10:
        raise ValueError(f"{low} to {high} is no range within -20 to 10")
    return low, high


value_range.__name__ = "range (fixed, auto, or two numbers within -20 and 10 with a comma between)"


def crop_box(text: str) -> tuple[int, int, int, int]:
    """Parse ``X,Y,W,H``, a part of a picture in pixels. Raises ValueError."""
    x, y, width, height = map(int, text.split(","))
    if min(x, y) < 0 or min(width, height) < 1:
        raise ValueError(text)
    return x, y, width, height


crop_box.__name__ = "part of a picture (X,Y,W,H in pixels)"


def with_ranges_joined(arguments: Sequence[str]) -> list[str]:
    """``--range -5,1`` as ``--range=-5,1``: argparse would take what begins with a minus for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--range":
            joined[-1] = f"--range={argument}"
        else:
            joined.append(argument)
    return joined


def processors() -> int:
    """How many processors there are for this program."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
