"""The rate and error of a candidate over qualities, and rates compared at equal error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio_avif_tools.bitrate.candidates import Candidate

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """The result of a candidate at one tile width: kbps and heard mel error ``[qualities]``, and seconds per tile.

    It has no rates where libavif refuses the candidate, or where its stills equal those of today's options.
    """

    candidate: Candidate
    tile_frames: int
    kbps: Doubles
    errors_db: Doubles
    tile_s: float = 0.0
    is_refused: bool = False


def kbps_for_error(curve: Curve, errors_db: Doubles) -> Doubles:
    """Return the rates at which a curve has these errors, interpolated over their logarithm; NaN beyond its ends."""
    # Skip a quality with no less error than a lower one: it is not the best at its rate.
    is_best = np.concatenate([[True], curve.errors_db[1:] < np.minimum.accumulate(curve.errors_db)[:-1]])
    best_db, kbps = curve.errors_db[is_best], curve.kbps[is_best]
    found = np.exp(np.interp(-errors_db, -best_db, np.log(kbps)))
    return np.where((errors_db <= best_db[0]) & (errors_db >= best_db[-1]), found, np.nan)


def change_percent(first: Curve, other: Curve) -> float:
    """Return the extra rate of ``other`` over ``first`` at equal error, geometric mean over the qualities of ``first``.

    NaN where ``other`` has none of those errors.
    """
    ratios = kbps_for_error(other, first.errors_db) / first.kbps
    known = ratios[np.isfinite(ratios)]
    return 100 * float(np.expm1(np.log(known).mean())) if known.size else np.nan
