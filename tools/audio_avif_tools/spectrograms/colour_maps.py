"""Convert values of 0 to 1 to colours and back: gray, or any colour map of matplotlib.

When colours are read, they are projected on the line that the map draws through the colour cube, so the losses of JPEG,
WebP and AVIF have little effect.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from audio_avif.errors import FileError
from audio_avif.optional import import_optional
from audio_avif.types import FloatArray, Pixels

GRAYS = ("gray", "gray_r")
USUAL = ("viridis", "magma", "inferno", "plasma", "cividis", "turbo", "jet", "hot", "coolwarm", "afmhot")
"""The colour maps that ``guess`` tries besides gray."""

MAX_RESIDUAL = 30.0
"""Maximum root mean square distance, of 255, of a picture from its colour map; JPEG stays well below."""

HINT = (
    "it may be a photograph or have axes around it: crop it to the spectrogram with --crop, or name its map with "
    "--colour"
)
_SURELY_GRAY = 6.0
_CHROMA_WEIGHT = 0.25
_SQUARE = 8  # pixels over which colours are averaged for a comparison: lossy codecs keep no finer colours
_SAMPLED_PIXELS = 1 << 15
_STRIP_COLUMNS = 2 * _SQUARE
_MIN_STRIPS = 8
_BLOCK_COLOURS = 4096
_BLOCK_PIXELS = 1 << 19


@lru_cache(maxsize=32)
def colours_of(name: str) -> FloatArray:
    """Return the map's colours ``[steps, 3]``, 0 to 255, from the lowest value to the highest.

    Raises MissingPackage where matplotlib is missing, ValueError where it has no such map.
    """
    if name in GRAYS:
        ramp = np.repeat(np.arange(256, dtype=np.float32)[:, None], 3, axis=1)
        return ramp if name == "gray" else ramp[::-1]
    colormaps = import_optional("matplotlib", f"the colour map {name}", "plot").colormaps
    if name not in colormaps:
        raise ValueError(f"matplotlib has no colour map {name!r:.40}; it has, among others, {', '.join(USUAL)}")
    chosen = colormaps[name]
    return np.asarray(chosen(np.arange(chosen.N))[:, :3] * 255, np.float32)


def to_colours(shares: FloatArray, name: str) -> Pixels:
    """Colour ``[rows, columns]``, 0 to 1 -> ``[rows, columns, 3] uint8``. Raises as ``colours_of``."""
    colours = np.rint(colours_of(name)).astype(np.uint8)
    return colours[np.rint(np.clip(shares, 0, 1) * (len(colours) - 1)).astype(np.intp)]


def from_colours(pixels: Pixels, name: str) -> tuple[FloatArray, float]:
    """Return the values ``[rows, columns]`` of colours ``[rows, columns, 3] uint8``, and their distance from the map.

    The distance is a root mean square over squares of pixels, of 255. Raises as ``colours_of``.
    """
    line = colours_of(name)
    width = max(1, _BLOCK_PIXELS // max(1, pixels.shape[0]) // _SQUARE) * _SQUARE
    blocks = [pixels[:, at : at + width] for at in range(0, pixels.shape[1], width)]
    is_there = np.zeros(1 << 24, np.bool_)
    for block in blocks:
        is_there[_packed(block)] = True
    colours = np.flatnonzero(is_there)
    share_of = np.empty(1 << 24, np.float32)
    share_of[colours] = _project(np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1), line)
    shares = np.empty(pixels.shape[:2], np.float32)
    squares, count = 0.0, 0
    for number, block in enumerate(blocks):
        found = share_of[_packed(block)]
        shares[:, number * width : (number + 1) * width] = found
        off = (_square_means(_blend(line, found) - block) ** 2).sum(axis=2)
        squares, count = squares + float(off.sum()), count + off.size
    return shares, float(np.sqrt(squares / max(1, count)))


def _packed(pixels: Pixels) -> npt.NDArray[np.uint32]:
    wide = pixels.astype(np.uint32)
    return np.asarray(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2], np.uint32)


def _blend(line: FloatArray, shares: FloatArray) -> FloatArray:
    """The colours ``[..., 3]`` at ``shares`` of the way along the line."""
    position = shares * (len(line) - 1)
    below = np.minimum(position.astype(np.intp), len(line) - 2)
    share = (position - below)[..., None]
    return np.asarray(line[below] * (1 - share) + line[below + 1] * share, np.float32)


def _square_means(misses: FloatArray) -> FloatArray:
    """Means ``[rows / 8, columns / 8, 3]`` of ``[rows, columns, 3]``; incomplete squares at the edges are ignored."""
    height, width = (min(_SQUARE, size) for size in misses.shape[:2])
    rows, columns = misses.shape[0] // height, misses.shape[1] // width
    whole = misses[: rows * height, : columns * width].reshape(rows, height, columns, width, 3)
    return np.asarray(whole.mean(axis=(1, 3)), np.float32)


def guess(pixels: Pixels) -> str:
    """Return the map that fits ``[rows, columns, 3] uint8`` best, gray or one of ``USUAL``; its direction is unknown.

    Raises FileError where none fits, AudioAvifError where the picture is coloured and matplotlib is missing.
    """
    rows, columns = pixels.shape[:2]
    strips = max(_MIN_STRIPS, _SAMPLED_PIXELS // (rows * _STRIP_COLUMNS))
    starts = np.unique(np.linspace(0, max(0, columns - _STRIP_COLUMNS), strips).astype(int))
    sample = np.concatenate([pixels[:, at : at + _STRIP_COLUMNS] for at in starts], axis=1)
    residuals = {"gray": from_colours(sample, "gray")[1]}
    if residuals["gray"] < _SURELY_GRAY and not _has_colour(sample):
        return "gray"
    residuals |= {name: from_colours(sample, name)[1] for name in USUAL}
    best = min(residuals, key=residuals.__getitem__)
    if residuals[best] > MAX_RESIDUAL:
        raise FileError(
            f"no colour map fits the picture's colours: the nearest, {best}, is off by {residuals[best]:.0f} of 255; "
            f"{HINT}"
        )
    return best


def _has_colour(pixels: Pixels) -> bool:
    """Whether more than a few pixels are far from gray."""
    spread = np.ptp(pixels.astype(np.int16), axis=2)
    return bool((spread > 64).mean() > 1e-3)


def _project(colours: npt.NDArray[np.int64], line: FloatArray) -> FloatArray:
    """Project ``[colours, 3]`` on the line through ``[steps, 3]``; return the places along it, 0 to 1.

    The distance weighs brightness in full and colour by a quarter, because lossy codecs keep colour worse.
    """
    to_ycc = _LUMA_CHROMA * np.array([1, _CHROMA_WEIGHT, _CHROMA_WEIGHT], np.float32)
    points, ends = colours.astype(np.float32) @ to_ycc, line @ to_ycc
    starts, runs = ends[:-1], np.diff(ends, axis=0)
    lengths = np.maximum((runs**2).sum(axis=1), np.float32(1e-6))
    along_starts, start_squares = (starts * runs).sum(axis=1), (starts**2).sum(axis=1)
    shares = np.empty(len(points), np.float32)
    for at in range(0, len(points), _BLOCK_COLOURS):
        block = points[at : at + _BLOCK_COLOURS]
        along = block @ runs.T - along_starts  # the offset from each start along its run, times the run's length
        steps = np.clip(along / lengths, 0, 1)
        squares = start_squares - 2 * block @ starts.T - 2 * steps * along + steps**2 * lengths
        nearest = squares.argmin(axis=1)
        shares[at : at + len(block)] = (nearest + steps[np.arange(len(block)), nearest]) / len(runs)
    return shares


# Columns: luma, blue and red difference of ITU-R BT.601, as JPEG has them.
_LUMA_CHROMA = np.array([[0.299, -0.168736, 0.5], [0.587, -0.331264, -0.418688], [0.114, 0.5, -0.081312]], np.float32)
