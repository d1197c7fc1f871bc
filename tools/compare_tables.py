"""``audio-avif compare``'s tables: formats at equal rates, and each beside the first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from audio_avif.metrics import SCORES
from audio_avif.tools.compare_jobs import SCORED, Point, Variant, rate, values_of
from audio_avif.tools.rate import table

RATES_KBPS = (3.0, 6.0, 12.0)
VALUES = ("error, dB, all", "error, dB, heard", *(SCORES[key].title for key in SCORED))
_DECIMALS = (2, 2, *(SCORES[key].decimals for key in SCORED))
_AT = " / ".join(f"{kbps:g}" for kbps in RATES_KBPS)

Doubles = npt.NDArray[np.float64]


def at_rate(points: Sequence[Point], kbps: float, size: str) -> Doubles:
    """What one recording has at a rate, as ``values_of`` lists it; NaN where none of its points has less or more.

    Between two qualities, along the logarithm of the rate.
    """
    ordered = sorted(points, key=lambda point: rate(point, size))
    rates = np.log([rate(point, size) for point in ordered])
    values = np.array([values_of(point) for point in ordered], np.float64)
    wanted = np.log(kbps)
    if not rates[0] <= wanted <= rates[-1]:
        return np.full(values.shape[1], np.nan)
    return np.array([np.interp(wanted, rates, column) for column in values.T])


def _at_rates(points: Sequence[Point], variant: Variant, size: str) -> Doubles:
    """``[recordings, rates, values]``."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        if point.variant == variant:
            groups.setdefault(point.recording, []).append(point)
    return np.array([[at_rate(group, kbps, size) for kbps in RATES_KBPS] for group in groups.values()])


def _least_kbps(points: Sequence[Point], variant: Variant, size: str) -> float:
    """The mean rate at the least quality."""
    mine = [point for point in points if point.variant == variant]
    least = min(point.quality for point in mine)
    return float(np.mean([rate(point, size) for point in mine if point.quality == least]))


def cell(value: float, decimals: int, sign: str = "") -> str:
    """A cell of a table: a dash for NaN."""
    return "-" if np.isnan(value) else f"{value:{sign}.{decimals}f}"


def means(values: Sequence[Sequence[float]] | Doubles) -> Doubles:
    """Means over the first axis, of what is not NaN; NaN where nothing is."""
    counted = np.asarray(values, np.float64)
    counts = np.isfinite(counted).sum(axis=0)
    return np.where(counts, np.nansum(counted, axis=0) / np.maximum(1, counts), np.nan)


def matched(points: Sequence[Point], variants: Sequence[Variant], size: str) -> str:
    """All variants at RATES_KBPS, means over the recordings; a dash where not every recording has that rate."""
    rows = []
    for variant in variants:
        found = _at_rates(points, variant, size)
        is_reached = np.isfinite(found[:, :, :1]).all(axis=0)
        levels = np.where(is_reached, means(found), np.nan).T  # [values, rates]
        told = [[cell(value, decimals) for value in line] for line, decimals in zip(levels, _DECIMALS, strict=True)]
        leasts = [f"{_least_kbps(points, variant, each):.2f}" for each in ("file", "payload")]
        rows.append([variant.name, *leasts, *map(" / ".join, told)])
    rates = f"At {_AT} kbps of {'whole files' if size == 'file' else 'payload'}, means over the recordings:"
    return f"{rates}\n\n{table(['', 'least kbps, files', 'least kbps, payload', *VALUES], rows)}"


def beside_first(points: Sequence[Point], variants: Sequence[Variant], size: str) -> str:
    """How far each variant differs from the first at equal rate, with one standard error over the recordings."""
    first = _at_rates(points, variants[0], size)
    rows = []
    for variant in variants[1:]:
        differences = _at_rates(points, variant, size) - first
        for number, kbps in enumerate(RATES_KBPS):
            at = differences[:, number]
            is_reached = np.isfinite(at[:, 0]).all()
            cells = map(_difference, at.T, _DECIMALS) if is_reached else "-" * len(VALUES)
            rows.append([f"{variant.name}, {kbps:g} kbps", *cells])
    return table([f"beside {variants[0].name}", *VALUES], rows)


def _difference(values: Doubles, decimals: int) -> str:
    values = values[np.isfinite(values)]
    mean = cell(float(values.mean()) if values.size else np.nan, decimals + 1, "+")
    if values.size < 2:
        return mean
    return f"{mean} ± {values.std(ddof=1) / np.sqrt(values.size):.{decimals + 1}f}"
