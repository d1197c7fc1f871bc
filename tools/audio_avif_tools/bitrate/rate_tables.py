"""The tables of ``--bitrate``: how well it keeps its rate, what that costs, and the best value range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from audio_avif.metrics import SCORES
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from audio_avif.vocoders.registry import DEFAULT, load_vocoder
from audio_avif_tools.bitrate.coding import SCORED, Coded, Coder, FixedRange, RangePerTile, mel_errors_db, scores_of

TARGETS_KBPS = (2.0, 3.0, 4.4, 6.0, 8.0, 12.0, 16.0, 20.0, 24.0)
FIXED_QUALITIES = (*range(0, 98, 2), 98, 99, 100)
RANGES = ((-11.0, 4.0), (-8.0, 2.0), (-5.5, 1.0), (-4.5, 1.0))
ACCURACY_HEADER = (
    "frames",
    "asked, kbps",
    "mean, kbps",
    "worst, %",
    "p95, %",
    "within 5 %, %",
    "mean quality",
    "p95 of steps",
    "greatest steps",
    "trials per tile",
)
COST_HEADER = (
    "asked, kbps",
    "error, dB, all",
    "error, dB, heard",
    "cost, dB, all",
    "cost, dB, heard",
    "p95, all",
    "p95, heard",
    "worst, all",
    "worst, heard",
)
RANGE_HEADER = ("range, log10", "asked, kbps", "mean, kbps", "error, dB, all", "error, dB, heard")


def accuracy_rows(mels: Sequence[FloatArray], tile_frames: int) -> list[list[str]]:
    """Return the deviations from each target rate with tiles of one width."""
    rows = []
    coder = Coder(tile_frames)
    for kbps in TARGETS_KBPS:
        runs = [coder.controlled(frames, kbps, decodes=False) for frames in mels]
        off = np.abs(np.concatenate([run.window_kbps() for run in runs]) / kbps - 1) * 100
        changes = np.concatenate([np.diff(run.qualities) for run in runs])
        rows.append(
            [
                str(tile_frames),
                f"{kbps:g}",
                f"{np.mean([run.kbps for run in runs]):.2f}",
                f"{off.max():.1f}",
                f"{np.percentile(off, 95):.1f}",
                f"{np.mean(off <= 5) * 100:.1f}",
                f"{np.mean(np.concatenate([run.qualities for run in runs])):.0f}",
                f"{np.percentile(np.abs(changes), 95):.0f}",
                f"{changes.max():+.0f} / {changes.min():+.0f}",
                f"{np.mean([run.trials for run in runs]):.2f}",
            ]
        )
    return rows


def cost_rows(mels: Sequence[FloatArray], tile_frames: int) -> list[list[str]]:
    """Return the cost of a steady rate in mel error against the best fixed quality of the same bytes per clip."""
    coder = Coder(tile_frames)
    curves = []
    for frames in mels:
        runs = [coder.fixed(frames, quality) for quality in FIXED_QUALITIES]
        errors = np.array([mel_errors_db(frames, run.log_mel) for run in runs])
        # Skip a higher quality with more error, and a lower one with more bytes.
        curves.append((np.maximum.accumulate([run.kbps for run in runs]), np.minimum.accumulate(errors, axis=0)))
    rows = []
    for kbps in TARGETS_KBPS:
        errors_db, best_db = [], []
        for frames, (rates, errors) in zip(mels, curves, strict=True):
            run = coder.controlled(frames, kbps)
            errors_db.append(mel_errors_db(frames, run.log_mel))
            best_db.append([np.interp(run.kbps, rates, errors[:, kind]) for kind in (0, 1)])
        cost_db = np.array(errors_db) - np.array(best_db)
        rows.append(
            [
                f"{kbps:g}",
                *(f"{value:.2f}" for value in np.mean(errors_db, axis=0)),
                *(f"{value:+.3f}" for value in cost_db.mean(axis=0)),
                *(f"{value:+.2f}" for value in np.percentile(cost_db, 95, axis=0)),
                *(f"{value:+.2f}" for value in cost_db.max(axis=0)),
            ]
        )
    return rows


def range_rows(
    mels: Sequence[FloatArray], scored: Sequence[FloatArray], kbps: float, tile_frames: int
) -> tuple[list[list[str]], npt.NDArray[np.float64]]:
    """Compare value ranges at one rate: mel error of all clips, scores of some.

    Also return the standard error of each score's difference from the first range's ``[ranges - 1, scores]``.
    """
    vocoder = load_vocoder(device="cpu", name=DEFAULT)
    rows, scores_by_range = [], []
    for limits in (*RANGES, None):

        def coded(frames: FloatArray, limits: tuple[float, float] | None = limits) -> Coded:
            values = RangePerTile() if limits is None else FixedRange(*limits)
            return Coder(tile_frames, values).controlled(frames, kbps)

        runs = [coded(frames) for frames in mels]
        errors = [mel_errors_db(frames, run.log_mel) for frames, run in zip(mels, runs, strict=True)]
        scores = [scores_of(sound, coded(log_mel(sound)).log_mel, vocoder) for sound in scored]
        scores_by_range.append(np.array(scores, np.float64))
        rows.append(
            [
                RangePerTile.name if limits is None else FixedRange(*limits).name,
                f"{kbps:g}",
                f"{np.mean([run.kbps for run in runs]):.2f}",
                *(f"{value:.2f}" for value in np.mean(errors, axis=0)),
                *(
                    f"{value:.{SCORES[key].decimals}f}"
                    for key, value in zip(SCORED, np.nanmean(scores, axis=0), strict=True)
                ),
            ]
        )
    differences = np.array(scores_by_range[1:]) - scores_by_range[0]
    return rows, np.nanstd(differences, axis=1, ddof=1) / np.sqrt(len(scored))
