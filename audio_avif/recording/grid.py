"""A recording of any length as one AVIF grid of equally sized cells.

A cell is an AVIF still of ten seconds. A recording of one cell is that still; a longer one is a ``grid`` item (ISO/IEC
23008-12, 6.6.2.3.2) over all of them, six to a row, so that viewers show one picture whose rows are minutes. Cells are
written one by one, and nothing here decodes pixels.
"""

from __future__ import annotations

import struct
import tempfile
from dataclasses import replace
from typing import IO

from audio_avif.errors import FileError, TileError
from audio_avif.recording.grid_boxes import Cell, GridShape, grid_head

CELLS_PER_ROW = 6
MAX_SIDE = 16_384
"""Maximum width and height of a grid in pixels: libavif and browsers refuse much larger pictures."""

_MAX_WIDER = 4  # rows of four minutes, on grids of which as many as fit would be too tall
_COPY_BYTES = 1 << 16


def max_cells(cell_width: int, cell_height: int) -> int:
    """Maximum number of cells of that size in a grid."""
    widest = max((n for n in range(1, _MAX_WIDER + 1) if n * CELLS_PER_ROW * cell_width <= MAX_SIDE), default=0)
    return widest * CELLS_PER_ROW * _max_rows(cell_height)


def _max_rows(cell_height: int) -> int:
    return min(256, MAX_SIDE // cell_height)


def _rows_and_columns(cells: int, cell_height: int) -> tuple[int, int]:
    if cells <= CELLS_PER_ROW:
        return 1, cells
    columns = CELLS_PER_ROW
    while -(-cells // columns) > _max_rows(cell_height):
        columns += CELLS_PER_ROW
    return -(-cells // columns), columns


def grid_size(columns: int, cell_width: int, cell_height: int) -> tuple[int, int]:
    """Width and height in pixels of the grid that shows ``columns`` columns of pixels, in cells of that size."""
    rows, cells_per_row = _rows_and_columns(-(-columns // cell_width), cell_height)
    return (columns if rows == 1 else cells_per_row * cell_width), rows * cell_height


class GridWriter:
    """Collects cells in a temporary file and writes the grid at the end; memory does not grow with the pictures."""

    def __init__(self) -> None:
        self._spool: IO[bytes] = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by close()
        self._first: Cell | None = None
        self._filling: Cell | None = None
        self._lengths: list[int] = []
        self._spooled_bytes = 0

    @property
    def cells(self) -> int:
        """Cells added so far."""
        return len(self._lengths)

    def add(self, still: bytes) -> None:
        """Add the next cell, an AVIF still like the ones before.

        Raises TileError for one that differs in size or kind, FileError where the grid or the disk is full: then the
        grid is as it was before.
        """
        cell = self._of_one_kind(still)
        if self.cells and self.cells >= max_cells(cell.width, cell.height):
            raise FileError(f"a picture holds at most {self.cells} cells; split the recording")
        try:
            self._spool.seek(self._spooled_bytes)
            left = memoryview(cell.coded)
            while left:
                left = left[self._spool.write(left) :]
        except OSError as error:
            raise FileError(f"the temporary folder is full: {error.strerror or error}") from error
        self._first = self._first or replace(cell, coded=b"")
        self._spooled_bytes += len(cell.coded)
        self._lengths.append(len(cell.coded))

    def fill(self, still: bytes) -> None:
        """Let this cell fill the last row where it is not full. Raises TileError as ``add`` does."""
        self._filling = self._of_one_kind(still)

    def _of_one_kind(self, still: bytes) -> Cell:
        cell = Cell.of(still)
        if self._first is not None and not cell.is_like(self._first):
            raise TileError("the cells of a grid must be of the same size and kind")
        return cell

    def missing_cells(self) -> int:
        """Number of cells that the last row lacks."""
        if self._first is None:
            return 0
        rows, columns = _rows_and_columns(self.cells, self._first.height)
        return rows * columns - self.cells

    def write(self, file: IO[bytes], width: int, exif: bytes = b"") -> None:
        """Write the grid to ``file``. The first row shows ``width`` pixels of its cells where it is the only one.

        ``exif`` is a TIFF block. Raises ValueError where the last row is not full or no cell was added.
        """
        missing = self.missing_cells()
        if self._first is None or (missing and self._filling is None):
            raise ValueError("the last row of the grid is not full")
        filling = b"" if self._filling is None else self._filling.coded
        lengths = [*self._lengths, *[len(filling)] * missing]
        rows, columns = _rows_and_columns(len(lengths), self._first.height)
        shown = width if rows == 1 else columns * self._first.width
        if not (columns - 1) * self._first.width < shown <= columns * self._first.width:
            raise ValueError(f"a row of {columns} cells does not end at {width} pixels")
        shape = GridShape(rows, columns, shown, rows * self._first.height)
        file.write(grid_head(self._first, shape, lengths, exif))
        file.write(struct.pack(">I4s", 8 + sum(lengths), b"mdat"))
        self._spool.seek(0)
        left = self._spooled_bytes
        while left:
            part = self._spool.read(min(left, _COPY_BYTES))
            file.write(part)
            left -= len(part)
        file.write(filling * missing)

    def close(self) -> None:
        """Forget the cells."""
        self._spool.close()

    def __enter__(self) -> GridWriter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
