"""Grids read cell by cell from an open file."""

from __future__ import annotations

import struct
from typing import IO

from audio_avif.errors import FileError, TileError
from audio_avif.recording.grid import MAX_SIDE
from audio_avif.recording.grid_boxes import GRID, Cell, item_properties
from audio_avif.still.boxes import inspect_still, iter_boxes

_MAX_META_BYTES = 1 << 20
_MAX_CELL_BYTES = 1 << 24
_MAX_PROPERTIES = 16


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
        properties = item_properties(meta, 4, len(meta))
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
            if method != 1 or length != GRID.size or offset + length > idat_end - idat_at:
                raise TileError("the AVIF file's grid has an unsupported layout")
            version, flags, rows, columns, *size = GRID.unpack_from(meta, idat_at + offset)
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
