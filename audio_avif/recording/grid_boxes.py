"""The boxes of a grid (ISO/IEC 23008-12 and 14496-12): those of one cell, and those before the cells of a file."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from audio_avif.still.boxes import inspect_still, iter_boxes

GRID = struct.Struct(">BBBBII")  # version, flags, rows - 1, columns - 1, width, height
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
            for kind, at, end in item_properties(still, meta_at + 4, meta_end)
            if kind in (b"pixi", b"av1C", b"colr")
        )
        coded = still[layout.mdat_size_at + 8 :]
        return cls(layout.width, layout.height, properties, coded)

    def still(self) -> bytes:
        """The cell as an AVIF file of its own."""
        shape = GridShape(1, 1, self.width, self.height)
        return grid_head(self, shape, [len(self.coded)], b"") + _box(b"mdat", self.coded)

    def is_like(self, other: Cell) -> bool:
        """Whether both may be cells of one grid."""
        return (self.width, self.height, self.properties) == (other.width, other.height, other.properties)


def item_properties(data: bytes, start: int, end: int) -> list[tuple[bytes, int, int]]:
    """The properties of a file's items, as (kind, start, end) of their contents in ``data``."""
    iprp = [(at, stop) for kind, at, stop in iter_boxes(data, start, end) if kind == b"iprp"]
    ipco = [(at, stop) for box in iprp for kind, at, stop in iter_boxes(data, *box) if kind == b"ipco"]
    return [prop for box in ipco for prop in iter_boxes(data, *box)]


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full_box(kind: bytes, body: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24 | flags) + body)


@dataclass(frozen=True)
class GridShape:
    """How cells lie in a picture, and its size in pixels."""

    rows: int
    columns: int
    width: int
    height: int


@dataclass(frozen=True)
class _Items:
    """The numbers of a file's items: the cells from 1 on, then the grid where there are several, then Exif.

    The number of one that is missing is 0.
    """

    cells: int
    has_exif: bool

    @property
    def grid_id(self) -> int:
        return self.cells + 1 if self.cells > 1 else 0

    @property
    def exif_id(self) -> int:
        return max(self.cells, self.grid_id) + 1 if self.has_exif else 0

    @property
    def primary_id(self) -> int:
        return self.grid_id or 1


def grid_head(cell: Cell, shape: GridShape, lengths: Sequence[int], exif: bytes) -> bytes:
    """The ``ftyp`` and ``meta`` boxes of a grid of cells that are like ``cell``; their bits follow in one ``mdat``.

    The grid's and the Exif item lie in ``idat``.
    """
    items = _Items(len(lengths), bool(exif))
    small: dict[int, bytes] = {}
    if items.grid_id:
        small[items.grid_id] = GRID.pack(0, 1, shape.rows - 1, shape.columns - 1, shape.width, shape.height)
    if items.exif_id:
        small[items.exif_id] = struct.pack(">I", 0) + exif
    before = _full_box(b"hdlr", _HANDLER) + _full_box(b"pitm", struct.pack(">H", items.primary_id))
    after = _infos(items) + _references(items) + _properties(cell, shape, items)
    after += _box(b"idat", b"".join(small.values())) if small else b""

    def meta(mdat_at: int) -> bytes:
        return _full_box(b"meta", before + _locations(lengths, small, mdat_at) + after)

    return _FTYP + meta(len(_FTYP) + len(meta(0)) + 8)


def _locations(lengths: Sequence[int], small: Mapping[int, bytes], mdat_at: int) -> bytes:
    """The ``iloc`` box: cells one after the other from ``mdat_at`` on, small items likewise in ``idat``."""
    version = int(bool(small))  # 0 knows no idat

    def location(item: int, method: int, offset: int, length: int) -> bytes:
        methods = struct.pack(">H", method) if version else b""
        return struct.pack(">H", item) + methods + struct.pack(">HHII", 0, 1, offset, length)

    locations, offset = [], mdat_at
    for item, length in enumerate(lengths, 1):
        locations.append(location(item, 0, offset, length))
        offset += length
    offset = 0
    for item, content in small.items():
        locations.append(location(item, 1, offset, len(content)))
        offset += len(content)
    return _full_box(b"iloc", struct.pack(">HH", 0x4400, len(locations)) + b"".join(locations), version)


def _infos(items: _Items) -> bytes:
    """The ``iinf`` box: what each item is. The cells of a grid and Exif are not shown on their own."""

    def info(item: int, kind: bytes, is_hidden: bool) -> bytes:
        return _full_box(b"infe", struct.pack(">HH4sB", item, 0, kind, 0), 2, int(is_hidden))

    infos = [info(item, b"av01", bool(items.grid_id)) for item in range(1, items.cells + 1)]
    infos += [info(items.grid_id, b"grid", False)] if items.grid_id else []
    infos += [info(items.exif_id, b"Exif", True)] if items.exif_id else []
    return _full_box(b"iinf", struct.pack(">H", len(infos)) + b"".join(infos))


def _references(items: _Items) -> bytes:
    """The ``iref`` box: the grid consists of the cells, and Exif describes the picture."""
    references, cells = b"", items.cells
    if items.grid_id:
        references += _box(b"dimg", struct.pack(f">HH{cells}H", items.grid_id, cells, *range(1, cells + 1)))
    if items.exif_id:
        references += _box(b"cdsc", struct.pack(">HHH", items.exif_id, 1, items.primary_id))
    return _full_box(b"iref", references) if references else b""


def _properties(cell: Cell, shape: GridShape, items: _Items) -> bytes:
    """The ``iprp`` box: ``ispe`` of a cell and of the grid, then the cells' own properties.

    ``av1C`` is essential, and no property of a grid.
    """
    sizes = [(cell.width, cell.height), *([(shape.width, shape.height)] if items.grid_id else [])]
    boxes = [_full_box(b"ispe", struct.pack(">II", *size)) for size in sizes]
    numbered = []
    for kind, at, end in iter_boxes(cell.properties, 0, len(cell.properties)):
        boxes.append(cell.properties[at - 8 : end])
        numbered.append((len(boxes), kind))
    of_cell = bytes([1, *(number | (0x80 if kind == b"av1C" else 0) for number, kind in numbered)])
    of_grid = bytes([2, *(number for number, kind in numbered if kind != b"av1C")])
    associations = [struct.pack(">HB", item, len(of_cell)) + of_cell for item in range(1, items.cells + 1)]
    associations += [struct.pack(">HB", items.grid_id, len(of_grid)) + of_grid] if items.grid_id else []
    counted = struct.pack(">I", len(associations)) + b"".join(associations)
    return _box(b"iprp", _box(b"ipco", b"".join(boxes)) + _full_box(b"ipma", counted))
