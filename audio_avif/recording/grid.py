"""A recording of any length as one AVIF grid of equally sized cells.

A cell is an AVIF still of ten seconds. A recording of one cell is that still; a longer one is a ``grid`` item (ISO/IEC
23008-12, 6.6.2.3.2) over all of them, six to a row, so that viewers show one picture whose rows are minutes. Cells are
written and read one by one, and nothing here decodes pixels.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import IO

from audio_avif.errors import FileError, TileError
from audio_avif.still.boxes import inspect_still, iter_boxes

CELLS_PER_ROW = 6
MAX_SIDE = 16_384
"""Maximum width and height of a grid in pixels: libavif and browsers refuse much larger pictures."""

_MAX_WIDER = 4  # rows of four minutes, on grids of which as many as fit would be too tall
_MAX_META_BYTES = 1 << 20
_MAX_CELL_BYTES = 1 << 24
_MAX_PROPERTIES = 16
_COPY_BYTES = 1 << 16
_GRID = struct.Struct(">BBBBII")  # version, flags, rows - 1, columns - 1, width, height
_FTYP = struct.pack(">I4s4sI4s4s4s", 28, b"ftyp", b"avif", 0, b"avif", b"mif1", b"miaf")
_HANDLER = b"\0\0\0\0pict" + bytes(13)


@dataclass(frozen=True)
class Cell:
    """One picture of a grid: its size, the properties that a decoder needs (``pixi``, ``av1C``, ``colr``), its bits."""

    width: int
    height: int
    properties: bytes
    coded: bytes

    @classmethod
    def of(cls, still: bytes) -> Cell:
        """Take a cell from an AVIF still. Raises TileError where it is not one picture and nothing else."""
        layout = inspect_still(still)
        (meta_at, meta_end) = next((at, end) for kind, at, end in iter_boxes(still, 0, len(still)) if kind == b"meta")
        properties = b"".join(
            still[at - 8 : end]
            for kind, at, end in _item_properties(still, meta_at + 4, meta_end)
            if kind in (b"pixi", b"av1C", b"colr")
        )
        coded = still[layout.mdat_size_at + 8 :]
        return cls(layout.width, layout.height, properties, coded)

    def still(self) -> bytes:
        """The cell as an AVIF file of its own."""
        head = _head(self, 1, 1, self.width, self.height, [len(self.coded)], b"")
        return head + _box(b"mdat", self.coded)

    def is_like(self, other: Cell) -> bool:
        """Whether both may be cells of one grid."""
        return (self.width, self.height, self.properties) == (other.width, other.height, other.properties)


def _item_properties(data: bytes, start: int, end: int) -> list[tuple[bytes, int, int]]:
    iprp = [(at, stop) for kind, at, stop in iter_boxes(data, start, end) if kind == b"iprp"]
    ipco = [(at, stop) for box in iprp for kind, at, stop in iter_boxes(data, *box) if kind == b"ipco"]
    return [prop for box in ipco for prop in iter_boxes(data, *box)]


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
        file.write(_head(self._first, rows, columns, shown, rows * self._first.height, lengths, exif))
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


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full_box(kind: bytes, body: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags) + body)


def _head(cell: Cell, rows: int, columns: int, width: int, height: int, lengths: Sequence[int], exif: bytes) -> bytes:
    """The ``ftyp`` and ``meta`` boxes of a grid; the cells' bits follow in one ``mdat``.

    Items are the cells from 1 on, then the grid where there are several, then Exif; the small ones lie in ``idat``.
    """
    cells = len(lengths)
    grid_id = cells + 1 if cells > 1 else 0
    exif_id = cells + (2 if grid_id else 1) if exif else 0
    primary = grid_id or 1
    grid = _GRID.pack(0, 1, rows - 1, columns - 1, width, height) if grid_id else b""
    exif_item = struct.pack(">I", 0) + exif if exif else b""

    def info(item: int, kind: bytes, flags: int = 0) -> bytes:
        return _full_box(b"infe", struct.pack(">HH4sB", item, 0, kind, 0), 2, flags)

    items = [info(i + 1, b"av01", 1 if grid_id else 0) for i in range(cells)]  # 1: not shown on its own
    items += [info(grid_id, b"grid")] if grid_id else []
    items += [info(exif_id, b"Exif", 1)] if exif_id else []

    references = b""
    if grid_id:
        references += _box(b"dimg", struct.pack(f">HH{cells}H", grid_id, cells, *range(1, cells + 1)))
    if exif_id:
        references += _box(b"cdsc", struct.pack(">HHH", exif_id, 1, primary))

    # ispe of a cell, of the grid, then the cells' own properties; av1C is essential, and no property of a grid.
    inner = [
        (kind, cell.properties[at - 8 : end]) for kind, at, end in iter_boxes(cell.properties, 0, len(cell.properties))
    ]
    sizes = [(cell.width, cell.height), *([(width, height)] if grid_id else [])]
    ispe = [_full_box(b"ispe", struct.pack(">II", *size)) for size in sizes]
    numbered = [(i + len(ispe) + 1, kind) for i, (kind, _) in enumerate(inner)]
    of_cell = bytes([1, *(number | (0x80 if kind == b"av1C" else 0) for number, kind in numbered)])
    of_grid = bytes([2, *(number for number, kind in numbered if kind != b"av1C")])
    associations = [struct.pack(">HB", i + 1, len(of_cell)) + of_cell for i in range(cells)]
    associations += [struct.pack(">HB", grid_id, len(of_grid)) + of_grid] if grid_id else []
    properties = _box(b"ipco", b"".join([*ispe, *(box for _, box in inner)]))
    properties += _full_box(b"ipma", struct.pack(">I", len(associations)) + b"".join(associations))

    has_idat = bool(grid or exif_item)

    def location(item: int, method: int, offset: int, length: int) -> bytes:
        methods = struct.pack(">H", method) if has_idat else b""  # version 0 knows no idat
        return struct.pack(">H", item) + methods + struct.pack(">HHII", 0, 1, offset, length)

    def meta(mdat_at: int) -> bytes:
        locations, offset = [], mdat_at
        for i, length in enumerate(lengths):
            locations.append(location(i + 1, 0, offset, length))
            offset += length
        locations += [location(grid_id, 1, 0, len(grid))] if grid_id else []
        locations += [location(exif_id, 1, len(grid), len(exif_item))] if exif_id else []
        body = _full_box(b"hdlr", _HANDLER)
        body += _full_box(b"pitm", struct.pack(">H", primary))
        body += _full_box(b"iloc", struct.pack(">HH", 0x4400, len(locations)) + b"".join(locations), int(has_idat))
        body += _full_box(b"iinf", struct.pack(">H", len(items)) + b"".join(items))
        body += _full_box(b"iref", references) if references else b""
        body += _box(b"iprp", properties)
        body += _box(b"idat", grid + exif_item) if has_idat else b""
        return _full_box(b"meta", body)

    return _FTYP + meta(len(_FTYP) + len(meta(0)) + 8)


class GridReader:
    """Reads the grids of ``GridWriter``, and other AVIF files of one picture, cell by cell from an open file.

    Raises FileError for a file that is no AVIF or is damaged, TileError for an AVIF that is laid out otherwise.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        try:
            self._read()
        except (IndexError, struct.error) as error:
            raise FileError("the AVIF file is truncated or damaged") from error

    def _read(self) -> None:
        self._file.seek(0)
        kind, body = self._top_box(_MAX_META_BYTES)
        if kind != b"ftyp" or body[:4] != b"avif":
            raise FileError("not an AVIF picture")
        kind, meta = self._top_box(_MAX_META_BYTES)
        if kind != b"meta":
            raise TileError("the AVIF file has no meta box after ftyp")
        boxes = {kind: (at, end) for kind, at, end in iter_boxes(meta, 4, len(meta))}
        if not {b"pitm", b"iloc", b"iinf", b"iprp"} <= set(boxes):
            raise TileError("the AVIF file lacks a pitm, iloc, iinf or iprp box")
        kinds = self._item_kinds(meta, *boxes[b"iinf"])
        extents = self._extents(meta, *boxes[b"iloc"])
        idat_at, idat_end = boxes.get(b"idat", (0, 0))
        (primary,) = struct.unpack_from(">H", meta, boxes[b"pitm"][0] + 4)
        properties = _item_properties(meta, 4, len(meta))
        if len(properties) > _MAX_PROPERTIES:
            raise TileError("the AVIF file's picture has too many properties")
        if not {kind for kind, _, _ in properties} <= {b"ispe", b"pixi", b"av1C", b"colr"}:
            raise TileError("the AVIF file's picture is turned, cropped or transparent")
        self._properties = b"".join(meta[at - 8 : end] for kind, at, end in properties if kind != b"ispe")
        sizes = [struct.unpack_from(">II", meta, at + 4) for kind, at, _ in properties if kind == b"ispe"]
        if not sizes:
            raise TileError("the AVIF file declares no size")

        self.cell_width, self.cell_height = sizes[0]
        self.width, self.height = sizes[-1]
        cells = sorted(item for item, kind in kinds.items() if kind == b"av01")
        self.rows = self.columns = 1
        if kinds.get(primary) == b"grid" and len(sizes) == 2:
            method, offset, length = extents.get(primary, (0, 0, 0))
            if method != 1 or length != _GRID.size or offset + length > idat_end - idat_at:
                raise TileError("the AVIF file's grid has an unsupported layout")
            version, flags, rows, columns, *size = _GRID.unpack_from(meta, idat_at + offset)
            self.rows, self.columns = rows + 1, columns + 1
            if (version, flags, *size) != (0, 1, self.width, self.height) or self.rows * self.columns != len(cells):
                raise TileError("the AVIF file's grid has an unsupported layout")
        elif kinds.get(primary) != b"av01" or len(cells) != 1:
            raise TileError("the AVIF file holds neither one picture nor a grid")
        widths = range((self.columns - 1) * self.cell_width + 1, min(MAX_SIDE, self.columns * self.cell_width) + 1)
        if self.width not in widths or self.height != self.rows * self.cell_height or self.height > MAX_SIDE:
            raise TileError(f"the AVIF file's cells do not fill a grid of {self.width}x{self.height} pixels")
        if any(item not in extents or extents[item][0] != 0 for item in cells):
            raise TileError("the AVIF file's cells have an unsupported layout")
        self._cells = [extents[item][1:] for item in cells]
        self.exif = b""
        for item, kind in kinds.items():
            if kind == b"Exif" and item in extents:
                self.exif = self._small_item(meta, extents[item], idat_at, idat_end)[4:]

    @property
    def cells(self) -> int:
        """Number of cells, blank ones at the end included."""
        return len(self._cells)

    def cell(self, index: int) -> bytes:
        """The still of one cell; its header agrees with the grid's.

        Raises FileError where the file is truncated, TileError where the header disagrees.
        """
        offset, length = self._cells[index]
        if length > _MAX_CELL_BYTES:
            raise TileError("a cell of the AVIF file is too large")
        self._file.seek(offset)
        coded = self._file.read(length)
        if len(coded) < length:
            raise FileError("the AVIF file is truncated")
        cell = Cell(self.cell_width, self.cell_height, self._properties, coded)
        still = cell.still()
        inspect_still(still)
        return still

    def _top_box(self, max_bytes: int) -> tuple[bytes, bytes]:
        size, kind = struct.unpack(">I4s", self._file.read(8))
        if not 8 <= size <= max_bytes:
            raise FileError("not an AVIF picture")
        body = self._file.read(size - 8)
        if len(body) < size - 8:
            raise FileError("the AVIF file is truncated")
        return kind, body

    def _small_item(self, meta: bytes, extent: tuple[int, int, int], idat_at: int, idat_end: int) -> bytes:
        method, offset, length = extent
        if length > _MAX_META_BYTES:
            raise TileError("the AVIF file's Exif block is too long")
        if method == 1:
            return meta[idat_at + offset : min(idat_end, idat_at + offset + length)]
        self._file.seek(offset)
        return self._file.read(length)

    @staticmethod
    def _item_kinds(meta: bytes, at: int, end: int) -> dict[int, bytes]:
        kinds = {}
        for kind, item_at, _ in iter_boxes(meta, at + 6, end):
            if kind != b"infe" or meta[item_at] != 2:
                raise TileError("the AVIF file has an unsupported item description")
            item, _, item_kind = struct.unpack_from(">HH4s", meta, item_at + 4)
            kinds[item] = item_kind
        return kinds

    @staticmethod
    def _extents(meta: bytes, at: int, end: int) -> dict[int, tuple[int, int, int]]:
        """Item -> (construction method, offset, length); every item in one piece."""
        version, sizes, count = meta[at], *struct.unpack_from(">HH", meta, at + 4)
        if version > 1 or sizes != 0x4400:
            raise TileError("the AVIF file has an unsupported iloc box")
        at += 8
        extents = {}
        for _ in range(count):
            if version:
                item, method, _, pieces, offset, length = struct.unpack_from(">HHHHII", meta, at)
            else:
                item, _, pieces, offset, length = struct.unpack_from(">HHHII", meta, at)
                method = 0
            at += 16 if version else 14
            if at > end:
                raise FileError("the AVIF file is truncated or damaged")
            if pieces != 1:
                raise TileError("the AVIF file's items are in several pieces")
            extents[item] = (method, offset, length)
        return extents
