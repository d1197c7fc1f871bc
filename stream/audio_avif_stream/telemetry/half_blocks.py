"""A moving spectrogram in characters: each is a half block, whose two colours are two pixels, one above the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from audio_avif.codec.decoder import Frames
from audio_avif.config import TileConfig
from audio_avif.still.tiles import to_pixels
from audio_avif.types import FloatArray, Pixels

# As in web/src/colours.ts, for the dark theme.
STOPS = ("#0c0e13", "#1d1a3f", "#4a2366", "#8a2f6d", "#cc4a5c", "#f2884f", "#fbc770", "#fdf6d0")
GAMMA = 1.6

COLUMN_FRAMES = 4
MAX_COLUMNS = 1024

_METER_LOG10 = 3.0  # 60 dB below the top of the value range
_HATCH = (20, 140)  # as on the web page
_CUBE = np.array([0, 95, 135, 175, 215, 255])


class Kind(IntEnum):
    """What a column shows; where its frames differ, the greatest."""

    TILE = 0
    PAUSE = 1
    CONCEALED = 2


_MARKS = {Kind.TILE: " ", Kind.PAUSE: "\x1b[90m·", Kind.CONCEALED: "\x1b[91mx"}


@dataclass(frozen=True)
class Column:
    """``COLUMN_FRAMES`` frames as one column: ``pixels`` ``[n_mels]``, low band last, and ``level`` from 0 to 1."""

    number: int
    pixels: Pixels
    kind: Kind
    level: float


class Columns:
    """Frames of one stream to columns; frames that do not fill one wait for the next ones."""

    def __init__(self, tile: TileConfig, n_mels: int) -> None:
        self._tile = tile
        self._log_mel: FloatArray = np.zeros((n_mels, 0), np.float32)
        self._kinds: NDArray[np.int64] = np.zeros(0, np.int64)
        self._number = 0

    def push(self, frames: Frames) -> list[Column]:
        """Take frames; return the columns that are now full."""
        log_mel, kinds = frames.log_mel, np.zeros(frames.log_mel.shape[1], np.int64)
        kinds[: frames.made_up] = Kind.PAUSE if frames.is_pause else Kind.CONCEALED
        log_mel = np.concatenate([self._log_mel, log_mel], axis=1)
        kinds = np.concatenate([self._kinds, kinds])
        full = kinds.size - kinds.size % COLUMN_FRAMES
        self._log_mel, self._kinds = log_mel[:, full:], kinds[full:]
        pieces = log_mel[:, :full].reshape(len(log_mel), -1, COLUMN_FRAMES)
        pixels = to_pixels(pieces.mean(axis=2), self._tile).T
        levels = np.log10(np.mean(10 ** (2 * pieces), axis=(0, 2))) / 2
        shares = np.clip((levels - self._tile.log10_max) / _METER_LOG10 + 1, 0, 1)
        greatest = kinds[:full].reshape(-1, COLUMN_FRAMES).max(axis=1)
        first, self._number = self._number, self._number + len(pixels)
        return [
            Column(first + i, pixels[i], Kind(int(greatest[i])), float(shares[i])) for i in range(len(pixels))
        ]  # fmt: skip


def colours() -> NDArray[np.uint8]:
    """Return the colours of pixel values, ``[256, 3]``."""
    stops = np.array([[int(stop[at : at + 2], 16) for at in (1, 3, 5)] for stop in STOPS], float)
    places = (np.arange(256) / 255) ** GAMMA * (len(stops) - 1)
    shades = [np.interp(places, np.arange(len(stops)), stops[:, i]) for i in range(3)]
    return np.asarray(np.rint(np.stack(shades, axis=1)), np.uint8)


def nearest_of_256(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the numbers of the terminal's 256 colours nearest to ``[n, 3]``; the first 16, which users change, apart.

    Source: https://invisible-island.net/xterm/ (256colres.h)
    """
    cube = np.stack(np.meshgrid(_CUBE, _CUBE, _CUBE, indexing="ij"), axis=-1).reshape(-1, 3)
    grays = np.repeat(np.arange(8, 239, 10)[:, None], 3, axis=1)
    palette = np.concatenate([cube, grays])
    distances = ((rgb[:, None].astype(int) - palette) ** 2).sum(axis=2)
    return np.asarray(16 + distances.argmin(axis=1), np.int64)


class Pen:
    """The escape codes of characters with two pixels."""

    def __init__(self, is_true_colour: bool) -> None:
        rgb = colours()
        names = [f"2;{r};{g};{b}" for r, g, b in rgb] if is_true_colour else [f"5;{i}" for i in nearest_of_256(rgb)]
        self._uppers = [f"\x1b[38;{name}" for name in names]
        self._lowers = [f";48;{name}m▀" for name in names]

    def cells(self, values: NDArray[np.intp]) -> list[str]:
        """Characters, from the top down, of pixels ``[2 * rows]``."""
        pairs = values.reshape(-1, 2).tolist()
        return [self._uppers[upper] + self._lowers[lower] for upper, lower in pairs]


class Picture:
    """The newest columns in a box of characters, with a row of marks below: ``x`` concealed, ``·`` pause."""

    def __init__(self, pen: Pen) -> None:
        self._pen = pen
        self._columns: deque[Column] = deque(maxlen=MAX_COLUMNS)
        self._top = self._rows = self._width = 0
        self._pool: FloatArray = np.zeros((0, 0), np.float32)

    def place(self, top: int, rows: int, width: int) -> str:
        """Lay the box at a row of the terminal, the first is 1, with the row of marks as its last; draw it whole."""
        self._top, self._rows, self._width = top, rows, width
        return self._draw(width)

    def push(self, columns: Sequence[Column]) -> str:
        """Move the picture to the left by these columns; return only what changes."""
        self._columns.extend(columns)
        return self._draw(min(len(columns), self._width))

    def _draw(self, count: int) -> str:
        """Delete ``count`` characters at the left of each row, and write as many at its right."""
        if not count:
            return ""
        drawn = [self._column(column) for column in list(self._columns)[-count:]]
        at = self._width - len(drawn) + 1
        lines = [f"\x1b[{self._top + row};1H\x1b[0m\x1b[{count}P" for row in range(self._rows)]
        for row, cells in enumerate(zip(*drawn, strict=True)):
            lines[row] += f"\x1b[{self._top + row};{at}H{''.join(cells)}"
        return "".join(lines)

    def _column(self, column: Column) -> list[str]:
        rows = 2 * (self._rows - 1)
        if column.kind is Kind.CONCEALED:
            values = np.where((np.arange(rows) + column.number) % 6 < 2, _HATCH[1], _HATCH[0])
        else:
            if self._pool.shape != (rows, column.pixels.size):
                self._pool = pool(column.pixels.size, rows)
            values = np.rint(self._pool @ column.pixels).astype(np.intp)
        return [*self._pen.cells(values), _MARKS[column.kind]]


def pool(bands: int, rows: int) -> FloatArray:
    """Weights ``[rows, bands]`` that spread bands evenly over rows: each row is the mean of what it covers."""
    edges = np.linspace(0, bands, rows + 1)
    starts, ends = np.arange(bands), np.arange(1, bands + 1)
    covered = np.minimum(edges[1:, None], ends) - np.maximum(edges[:-1, None], starts)
    weights = np.maximum(covered, 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def meter(level: float, width: int) -> str:
    """A bar of ``width`` characters for a level from 0 to 1, in eighths of a character."""
    eighths = round(level * width * 8)
    part = " ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else ""
    return ("█" * (eighths // 8) + part).ljust(width)
