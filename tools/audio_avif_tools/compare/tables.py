"""The tables of ``audio-avif compare``: formats at equal rates, and their differences from the first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from audio_avif.metrics import SCORES
from audio_avif_tools.compare.jobs import SCORED, Point, Variant, rate, values_of
from audio_avif_tools.shared.pages import table

RATES_KBPS = (3.0, 6.0, 12.0)
VALUES = ("error, dB, all", "error, dB, heard", *(SCORES[key].title for key in SCORED))
_DECIMALS = (2, 2, *(SCORES[key].decimals for key in SCORED))
_RATES = ("minimum kbps, files", "minimum kbps, payload")
_AT = " / ".join(f"{kbps:g}" for kbps in RATES_KBPS)

Doubles = npt.NDArray[np.float64]


def at_rate(points: Sequence[Point], kbps: float, size: str) -> Doubles:
    """Return the ``values_of`` one recording at a rate, interpolated over the logarithm of the rate between qualities.

    NaN outside the rates of its points.
    """
    ordered = sorted(points, key=lambda point: rate(point, size))
    rates = np.log([rate(point, size) for point in ordered])
    values = np.array([values_of(point) for point in ordered], np.float64)
    wanted = np.log(kbps)
    if not rates[0] <= wanted <= rates[-1]:
        return np.full(values.shape[1], np.nan)
    return np.array([np.interp(wanted, rates, column) for column in values.T])


def _recordings(points: Sequence[Point], variant: Variant) -> list[list[Point]]:
    groups: dict[str, list[Point]] = {}
    for point in points:
        if point.variant == variant:
            groups.setdefault(point.recording, []).append(point)
    return list(groups.values())


def _at_rates(points: Sequence[Point], variant: Variant, size: str) -> Doubles:
    """``[recordings, rates, values]``."""
    groups = _recordings(points, variant)
    return np.array([[at_rate(group, kbps, size) for kbps in RATES_KBPS] for group in groups])


def rate_for_error(points: Sequence[Point], heard_error_db: float, size: str) -> float:
    """Return the rate at which one recording in one variant has that error; NaN where no rate has it.

    Qualities with more error than a lower rate are ignored.
    """
    better: list[Point] = []
    for point in sorted(points, key=lambda point: rate(point, size)):
        if not better or point.heard_error_db < better[-1].heard_error_db:
            better.append(point)
    if not better[-1].heard_error_db <= heard_error_db <= better[0].heard_error_db:
        return np.nan
    falling = [-point.heard_error_db for point in better]
    return float(np.exp(np.interp(-heard_error_db, falling, np.log([rate(point, size) for point in better]))))


def _times_the_rate(points: Sequence[Point], variant: Variant, first: Variant, size: str) -> Doubles:
    """The mean factor on RATES_KBPS that the variant needs for the same heard error as the first."""
    targets = _at_rates(points, first, size)[:, :, 1]
    needed = [
        [rate_for_error(group, error_db, size) for error_db in errors_db]
        for group, errors_db in zip(_recordings(points, variant), targets, strict=True)
    ]
    return np.asarray(np.mean(np.array(needed) / RATES_KBPS, axis=0), np.float64)


def _min_kbps(points: Sequence[Point], variant: Variant, size: str) -> float:
    """The mean rate at the lowest quality."""
    mine = [point for point in points if point.variant == variant]
    min_quality = min(point.quality for point in mine)
    return float(np.mean([rate(point, size) for point in mine if point.quality == min_quality]))


def cell(value: float, decimals: int, sign: str = "") -> str:
    """A cell of a table: a dash for NaN."""
    return "-" if np.isnan(value) else f"{value:{sign}.{decimals}f}"


def means(values: Sequence[Sequence[float]] | Doubles) -> Doubles:
    """Means over the first axis of the values that are not NaN; NaN where there are none."""
    counted = np.asarray(values, np.float64)
    counts = np.isfinite(counted).sum(axis=0)
    return np.where(counts, np.nansum(counted, axis=0) / np.maximum(1, counts), np.nan)


def matched(points: Sequence[Point], variants: Sequence[Variant], size: str) -> str:
    """Return a table of the variants' means over the recordings at RATES_KBPS; a dash where a recording lacks a rate.

    Its last column is the factor on the rate that each variant needs for the same heard error as the first.
    """
    rows = []
    for variant in variants:
        found = _at_rates(points, variant, size)
        is_reached = np.isfinite(found[:, :, :1]).all(axis=0)
        levels = np.where(is_reached, means(found), np.nan).T  # [values, rates]
        told = [[cell(value, decimals) for value in line] for line, decimals in zip(levels, _DECIMALS, strict=True)]
        min_rates = [f"{_min_kbps(points, variant, each):.2f}" for each in ("file", "payload")]
        times = " / ".join(cell(value, 2) for value in _times_the_rate(points, variant, variants[0], size))
        rows.append([variant.name, *min_rates, *map(" / ".join, told), times])
    rates = f"At {_AT} kbps of {'whole files' if size == 'file' else 'payload'}, means over the recordings:"
    return f"{rates}\n\n{table(['', *_RATES, *VALUES, f'rate for the error of {variants[0].name}'], rows)}"


def beside_first(points: Sequence[Point], variants: Sequence[Variant], size: str) -> str:
    """Return a table of each variant's difference from the first at equal rates, with its standard error."""
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
