"""Find the spectrogram in figures: pictures with axes, labels or margins around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from audio_avif.types import Pixels

Mask = npt.NDArray[np.bool_]

_SAME = 24  # of 255: the error of a lossy codec on a background of one colour
_OTHER = 40  # of 255: the minimum difference between a background and a drawing on it
_INK = 100  # of 255: the same for labels, which have more contrast
_BRIGHT = 230
_CORNER_PIXELS = 3
_MARGIN_SHARE = 0.5  # of a line: a line with more background is margin; labels cover less
_SOLID_SHARE = 0.95  # of an edge: a solid edge has more than this without a gap
_EMPTY_SHARE = 0.995  # of a line: a line with more background has no label
_CLEAN = 6  # of 255: the mean difference from the background of a line without labels
_EDGE_PIXELS = 3  # lines over which antialiasing and lossy codecs spread an edge
_MIN_MARGIN = 4
_MIN_PIECES = 3  # letters and marks along an edge
_MIN_SIDE = 16
_PASSES = 3


class Box(NamedTuple):
    """A rectangle of a picture, in pixels from its upper left corner."""

    x: int
    y: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.x},{self.y},{self.width},{self.height}"


@dataclass(frozen=True)
class _Side:
    """The side between an edge of the picture and the rectangle in it; ``ink`` is the colour of labels."""

    is_margin: bool
    ink: npt.NDArray[np.uint8] | None = None


def find_axes(pixels: Pixels, silent_is_bright: bool = False) -> Box | None:
    """Find the spectrogram in ``[rows, columns]`` or ``[rows, columns, 3]``; None where it fills the picture.

    A figure has a rectangle with solid edges on a background of one colour, and labels of one other colour beside two
    perpendicular edges. A bright background needs less evidence, as silence is not bright unless
    ``silent_is_bright``. Digital silence around a sound is not a margin: it has no labels, or its edges are not solid.
    """
    channels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    for colour in _corner_colours(channels):
        distance = _distance(channels, colour)
        is_drawn = distance > _SAME
        rectangle = _rectangle(is_drawn)
        if rectangle is None:
            continue
        is_bright = int(colour.min()) >= _BRIGHT and not silent_is_bright
        sides = _sides(channels, distance, rectangle)
        whole = _grown(rectangle, sides, is_drawn.shape)
        if _is_figure(sides, is_bright) or _is_figure(_sides(channels, distance, whole), is_bright):
            return _largest_part(channels, is_drawn, whole)
    return None


def _corner_colours(pixels: Pixels) -> list[npt.NDArray[np.uint8]]:
    """Return the distinct colours of the corners that have one colour."""
    size = _CORNER_PIXELS
    found: list[npt.NDArray[np.uint8]] = []
    for rows in (slice(size), slice(-size, None)):
        for columns in (slice(size), slice(-size, None)):
            corner = pixels[rows, columns].reshape(-1, pixels.shape[2])
            colour = np.median(corner, axis=0).astype(np.uint8)
            is_even = _distance(corner, colour).max() <= _SAME
            if is_even and all(_distance(colour, other) > _SAME for other in found):
                found.append(colour)
    return found


def _distance(pixels: Pixels, colour: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The largest difference over the channels ``[...] uint8`` between ``[..., channels]`` and a colour."""
    apart = [np.maximum(pixels[..., i], value) - np.minimum(pixels[..., i], value) for i, value in enumerate(colour)]
    return np.asarray(np.maximum.reduce(apart), np.uint8)


def _rectangle(is_drawn: Mask) -> tuple[slice, slice] | None:
    """Rows and columns within the margins; None where they are too few for a spectrogram."""
    height, width = is_drawn.shape
    rows, columns = slice(0, height), slice(0, width)
    for _ in range(_PASSES):
        rows = _within_margins(is_drawn[:, columns].mean(axis=1))
        columns = _within_margins(is_drawn[rows].mean(axis=0))
    is_large = rows.stop - rows.start >= _MIN_SIDE and columns.stop - columns.start >= _MIN_SIDE
    return (rows, columns) if is_large else None


def _within_margins(drawn_shares: npt.NDArray[np.floating]) -> slice:
    """The lines from the first to the last that is not margin; all lines where all are margin."""
    inner = np.flatnonzero(drawn_shares > 1 - _MARGIN_SHARE)
    return slice(int(inner[0]), int(inner[-1]) + 1) if inner.size else slice(0, drawn_shares.size)


def _sides(pixels: Pixels, distance: Pixels, rectangle: tuple[slice, slice]) -> list[_Side]:
    """The left, right, upper and lower side of a rectangle."""
    sides = []
    for lines, across in (rectangle[::-1], rectangle):
        is_upright = lines is rectangle[1]
        band = (distance.T if is_upright else distance)[:, across]
        colours = (pixels.transpose(1, 0, 2) if is_upright else pixels)[:, across]
        is_used = (band[lines] > _SAME).any(axis=0)  # the gap between axes and their colour bar is empty
        first, last = band[lines][:_EDGE_PIXELS, is_used], band[lines][-_EDGE_PIXELS:, is_used]
        sides.append(_side(colours[: lines.start], band[: lines.start], first))
        sides.append(_side(colours[lines.stop :][::-1], band[lines.stop :][::-1], last))
    return sides


def _grown(rectangle: tuple[slice, slice], sides: list[_Side], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Extend the rectangle to the picture's edge where there is no margin: silence may look like the background."""
    left, right, top, bottom = sides
    rows, columns = rectangle
    return (
        slice(rows.start if top.is_margin else 0, rows.stop if bottom.is_margin else shape[0]),
        slice(columns.start if left.is_margin else 0, columns.stop if right.is_margin else shape[1]),
    )


def _side(colours: Pixels, margin: Pixels, edge: Pixels) -> _Side:
    """Judge the lines beside an edge, outermost first, and the first lines within it."""
    if len(margin) < _MIN_MARGIN or (edge > _OTHER).any(axis=0).mean() < _SOLID_SHARE:
        return _Side(is_margin=False)
    is_clean = margin.mean(axis=1) <= _CLEAN
    if not is_clean.any():
        return _Side(is_margin=False)
    is_ink = margin > _INK
    labelled = np.flatnonzero(is_ink.mean(axis=1) > 1 - _EMPTY_SHARE)
    # A sound that crosses the edge, such as a click, leaves no line clean; a single piece is a separate sound.
    is_apart = labelled.size > 0 and bool(is_clean[labelled[0] :].any())
    pieces = np.count_nonzero(np.diff(is_ink.any(axis=0).astype(np.int8), prepend=0) == 1)
    if not is_apart or pieces < _MIN_PIECES:
        return _Side(is_margin=True)
    return _Side(is_margin=True, ink=colours[np.unravel_index(margin.argmax(), margin.shape)])


def _is_figure(sides: list[_Side], is_bright: bool) -> bool:
    left, right, top, bottom = sides
    beside, below = [left, right], [top, bottom]
    has_axes = any(
        one.ink is not None and other.ink is not None and int(_distance(one.ink, other.ink)) <= _OTHER
        for one in beside
        for other in below
    )
    is_bordered = any(side.is_margin for side in beside) and any(side.is_margin for side in below)
    return has_axes or (is_bright and (is_bordered or any(side.ink is not None for side in sides)))


def _largest_part(pixels: Pixels, is_drawn: Mask, rectangle: tuple[slice, slice]) -> Box:
    """The largest axes of the rectangle, without their frame lines; colour bars are ignored."""
    rows, columns = rectangle
    columns = _longest_run(is_drawn[rows, columns].T, columns.start)
    rows = _longest_run(is_drawn[rows, columns], rows.start)
    top, bottom = _frame_lines(pixels[rows, columns]), _frame_lines(pixels[rows, columns][::-1])
    turned = pixels[rows, columns].transpose(1, 0, 2)
    left, right = _frame_lines(turned), _frame_lines(turned[::-1])
    height, width = rows.stop - rows.start, columns.stop - columns.start
    return Box(columns.start + left, rows.start + top, width - left - right, height - top - bottom)


def _longest_run(is_drawn: Mask, first: int) -> slice:
    """The rows of the longest run; a gap as narrow as a line of the plot's grid does not end a run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_drawn.any(axis=1), [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    is_gap = starts[1:] - ends[:-1] >= _MIN_MARGIN
    starts, ends = np.append(starts[:1], starts[1:][is_gap]), np.append(ends[:-1][is_gap], ends[-1:])
    longest = int((ends - starts).argmax())
    return slice(first + int(starts[longest]), first + int(ends[longest]))


def _frame_lines(pixels: Pixels) -> int:
    """The number of leading lines of one colour."""
    lines = pixels[:_EDGE_PIXELS].astype(np.int16)
    is_even = (np.ptp(lines, axis=1) <= _SAME).all(axis=1)
    return int(np.logical_and.accumulate(is_even).sum())
