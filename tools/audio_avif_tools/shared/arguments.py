"""Argument types that several offline commands share."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from audio_avif.edge import console

ValueRange = Literal["fixed", "auto"] | tuple[float, float]
"""The log10 magnitudes of black and white, or the name of a rule for them."""


def folder(text: str) -> Path:
    """Parse the path of a folder. Raises ArgumentTypeError where there is none."""
    if not Path(text).is_dir():
        raise ArgumentTypeError(f"there is no folder {text}")
    return Path(text)


def integers_in(low: int, high: int) -> Callable[[str], list[int]]:
    """Return a parser of comma-separated integers; argparse shows its name where it raises ValueError."""
    parse_one = console.integer_in(low, high)

    def parse(text: str) -> list[int]:
        return list(dict.fromkeys(map(parse_one, text.split(","))))

    parse.__name__ = f"numbers ({low} to {high}, comma-separated)"
    return parse


def value_range(text: str) -> ValueRange:
    """Parse ``fixed``, ``auto``, or the minimum and maximum log10 magnitude. Raises ValueError."""
    if text == "fixed":
        return "fixed"
    if text == "auto":
        return "auto"
    low, high = map(float, text.split(","))
    if not -20 <= low < high <= 10:
        raise ValueError(f"{low} to {high} is not a range within -20 to 10")
    return low, high


value_range.__name__ = "range (fixed, auto, or MIN,MAX within -20 to 10)"


def crop_box(text: str) -> tuple[int, int, int, int]:
    """Parse ``X,Y,W,H``, a rectangle of a picture in pixels. Raises ValueError."""
    x, y, width, height = map(int, text.split(","))
    if min(x, y) < 0 or min(width, height) < 1:
        raise ValueError(text)
    return x, y, width, height


crop_box.__name__ = "rectangle (X,Y,W,H in pixels)"


def with_ranges_joined(arguments: Sequence[str]) -> list[str]:
    """Join ``--range -5,1`` to ``--range=-5,1``: argparse takes a value that begins with a minus for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--range":
            joined[-1] = f"--range={argument}"
        else:
            joined.append(argument)
    return joined


def processors() -> int:
    """Return the number of processors that this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
