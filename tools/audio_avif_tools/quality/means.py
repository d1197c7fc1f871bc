"""Means of the scores over clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from audio_avif.metrics import SCORES
from audio_avif_tools.quality.rows import Row
from audio_avif_tools.quality.systems import System

Rate = Literal["payload_kbps", "wire_kbps"]


@dataclass(frozen=True)
class Mean:
    """The means of a system at one setting over all clips; ``counts`` is the number of clips with each score."""

    system: System
    payload_kbps: float
    wire_kbps: float
    scores: dict[str, float]
    counts: dict[str, int]

    def kbps(self, rate: Rate) -> float:
        """The payload's rate or the wire's, 0 where nothing is sent."""
        return self.payload_kbps if rate == "payload_kbps" else self.wire_kbps


def _is_scored(row: Row, key: str) -> bool:
    return not math.isnan(row.scores.get(key, math.nan))


def means_of(rows: Sequence[Row], systems: Sequence[System]) -> list[Mean]:
    """Return the means of each system that has rows, in the order of the systems."""
    means = []
    for system in systems:
        mine = [row for row in rows if (row.system, row.setting) == (system.name, system.setting)]
        if not mine:
            continue
        answers = {key: [row.scores[key] for row in mine if _is_scored(row, key)] for key in SCORES}
        means.append(
            Mean(
                system,
                float(np.mean([row.payload_kbps for row in mine])),
                float(np.mean([row.wire_kbps for row in mine])),
                {key: float(np.mean(values)) for key, values in answers.items() if values},
                {key: len(values) for key, values in answers.items()},
            )
        )
    return means
