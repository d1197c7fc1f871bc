"""Grids: cells in, one AVIF file out that any viewer shows, and the same cells back; damage is told."""

from __future__ import annotations

import errno
import io
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from audio_avif.config import EncoderConfig
from audio_avif.errors import FileError, TileError
from audio_avif.recording import grid as grid_module
from audio_avif.recording.grid import CELLS_PER_ROW, MAX_SIDE, GridWriter, max_cells
from audio_avif.recording.grid_boxes import Cell
from audio_avif.recording.grid_reader import GridReader
from audio_avif.still.avif import decode_picture, encode_still
from audio_avif.still.boxes import inspect_still, iter_boxes
from support.stills import FAST, saved

WIDTH, HEIGHT = 64, 72  # a grid needs cells of 64 pixels at least (MIAF, ISO/IEC 23000-22, 7.3.11.4.2)
LOSSLESS = EncoderConfig(100, 10)


def exif_block(text: str) -> bytes:
    """A TIFF block with an image description."""
    exif = Image.Exif()
    exif[0x010E] = text
    return exif.tobytes().removeprefix(b"Exif\0\0")


@lru_cache
def cell_pixels(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture that is like no other: flat, with a ramp whose place tells the number."""
    pixels = np.full((height, width), 10 + 15 * number % 200, np.uint8)
    pixels[number % height] = np.linspace(0, 255, width).astype(np.uint8)
    return pixels


@lru_cache
def still(number: int, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """That picture as a still, compressed without loss."""
    return encode_still(cell_pixels(number, width, height), LOSSLESS)


@lru_cache
def grid_of(cells: int, width: int | None = None, exif: bytes = b"") -> bytes:
    """A grid of so many cells, filled with the first one."""
    out = io.BytesIO()
    with GridWriter() as writer:
        for number in range(cells):
            writer.add(still(number))
        assert writer.cells == cells
        if writer.missing_cells():
            writer.fill(still(0))
        writer.write(out, min(cells, CELLS_PER_ROW) * WIDTH if width is None else width, exif)
    return out.getvalue()


def read(data: bytes) -> list[np.ndarray]:
    """All cells of a grid as pixels."""
    reader = GridReader(io.BytesIO(data))
    size = reader.cell_width, reader.cell_height
    return [decode_picture(reader.cell(i), *size, 8, is_gray=True) for i in range(reader.cells)]


@pytest.mark.parametrize(
    ("cells", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (6, 1, 6), (7, 2, 6), (12, 2, 6), (13, 3, 6)]
)
def test_cells_come_back_as_they_were_and_viewers_show_them_in_their_places(
    cells: int, rows: int, columns: int
) -> None:
    data = grid_of(cells, exif=exif_block("what it is"))
    reader = GridReader(io.BytesIO(data))
    assert (reader.rows, reader.columns, reader.cells) == (rows, columns, rows * columns)
    assert (reader.width, reader.height) == (columns * WIDTH, rows * HEIGHT)
    wanted = [cell_pixels(number if number < cells else 0) for number in range(rows * columns)]
    np.testing.assert_array_equal(read(data), wanted)

    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "AVIF" and image.size == (columns * WIDTH, rows * HEIGHT)
        assert image.getexif()[0x010E] == "what it is"
        shown = np.asarray(image.convert("L"))
    for number, pixels in enumerate(wanted):
        row, column = divmod(number, columns)
        found = shown[row * HEIGHT :, column * WIDTH :][:HEIGHT, :WIDTH]
        np.testing.assert_array_equal(found, pixels, err_msg=f"cell {number}")


def test_a_row_that_ends_within_a_cell_is_shown_to_there() -> None:
    data = grid_of(3, width=2 * WIDTH + 7)
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (2 * WIDTH + 7, HEIGHT)
        np.testing.assert_array_equal(np.asarray(image.convert("L"))[:, 2 * WIDTH :], cell_pixels(2)[:, :7])
    np.testing.assert_array_equal(read(data)[2], cell_pixels(2))


def test_a_grid_of_one_cell_is_that_still() -> None:
    data = grid_of(1)
    assert inspect_still(data).frame_body_at > 0
    assert Cell.of(data).coded == Cell.of(still(0)).coded


def test_colour_pictures_make_grids_too() -> None:
    colours = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    out = io.BytesIO()
    with GridWriter() as writer:
        for pixels in (colours, colours[:, ::-1]):
            writer.add(encode_still(np.ascontiguousarray(pixels), LOSSLESS))
        writer.write(out, 2 * WIDTH)
    with Image.open(out) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    reader = GridReader(out)
    for i in (0, 1):
        alone = decode_picture(reader.cell(i), WIDTH, HEIGHT, 8, is_gray=False)
        np.testing.assert_array_equal(shown[:, i * WIDTH :][:, :WIDTH], alone)


@pytest.mark.parametrize(
    ("width", "height", "most"),
    [
        (625, 80, 4 * 6 * 204),
        (625, 320, 4 * 6 * 51),
        (1000, 80, 2 * 6 * 204),
        (8, 8, 4 * 6 * 256),
        (MAX_SIDE, 80, 0),
    ],
)
def test_a_grid_keeps_within_what_browsers_show(width: int, height: int, most: int) -> None:
    assert max_cells(width, height) == most
    if most:
        rows, columns = grid_module._rows_and_columns(most, height)
        assert rows * columns == most and rows * height <= MAX_SIDE and columns * width <= MAX_SIDE


def test_rows_become_wider_where_a_grid_would_be_too_tall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_module, "MAX_SIDE", 12 * WIDTH)
    most = max_cells(WIDTH, HEIGHT)
    assert most == 2 * 6 * (12 * WIDTH // HEIGHT) == 120
    with GridWriter() as writer:
        for number in range(61):
            writer.add(still(number % 7))
        assert writer.missing_cells() == 11
        writer.fill(still(0))
        writer.write(out := io.BytesIO(), 12 * WIDTH)
        reader = GridReader(out)
        assert (reader.columns, reader.rows) == (12, 6)
        for number in range(61, 120):
            writer.add(still(number % 7))
        with pytest.raises(FileError, match="a picture holds at most 120 cells"):
            writer.add(still(0))
        writer.write(out := io.BytesIO(), 12 * WIDTH)
    with Image.open(out) as image:
        assert image.size == (12 * WIDTH, 10 * HEIGHT)


@pytest.mark.parametrize(
    "other",
    [
        still(0, WIDTH + 1),
        still(0, WIDTH, HEIGHT + 1),
        saved(Image.new("RGB", (WIDTH, HEIGHT)), subsampling="4:4:4"),
        saved(Image.new("L", (WIDTH, HEIGHT)), subsampling="4:0:0", range="limited"),
    ],
    ids=["width", "height", "colour", "range"],
)
def test_cells_that_differ_are_refused(other: bytes) -> None:
    with GridWriter() as writer:
        writer.add(still(0))
        for take in (writer.add, writer.fill):
            with pytest.raises(TileError, match="of the same size and kind"):
                take(other)
        assert writer.cells == 1


def test_what_is_no_still_is_refused() -> None:
    with GridWriter() as writer:
        for data in (b"", b"RIFF", grid_of(2), saved(Image.new("L", (WIDTH, HEIGHT)), "PNG")):
            with pytest.raises(TileError):
                writer.add(data)
        assert writer.cells == writer.missing_cells() == 0
        with pytest.raises(ValueError, match="last row of the grid is not full"):
            writer.write(io.BytesIO(), WIDTH)


def test_a_grid_is_not_written_with_holes_or_at_another_width() -> None:
    with GridWriter() as writer:
        for number in range(7):
            writer.add(still(number))
        assert writer.missing_cells() == 5
        with pytest.raises(ValueError, match="last row of the grid is not full"):
            writer.write(io.BytesIO(), 6 * WIDTH)
    for width in (WIDTH, 2 * WIDTH + 1, 0):
        with pytest.raises(ValueError, match=f"a row of 2 cells does not end at {width} pixels"):
            grid_of(2, width=width)


class FullDisk(io.BytesIO):
    """A temporary file that takes so many bytes and, as a disk does, a part of what is too much."""

    room = 0

    def write(self, data: Any) -> int:
        taken = min(len(data), self.room - self.tell())
        if taken <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data[:taken])


def test_a_full_disk_leaves_the_cells_before_it_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_module.tempfile, "TemporaryFile", lambda buffering: FullDisk())
    FullDisk.room = sum(len(Cell.of(still(number)).coded) for number in range(3)) + 9
    with GridWriter() as writer:
        for number in range(3):
            writer.add(still(number))
        for _ in range(2):
            with pytest.raises(FileError, match="the temporary folder is full: No space left on device"):
                writer.add(still(3))
        writer.write(out := io.BytesIO(), 3 * WIDTH)
    np.testing.assert_array_equal(read(out.getvalue()), [cell_pixels(number) for number in range(3)])


def outcome(data: bytes) -> str:
    """What becomes of damaged bytes: anything but cells of the promised size or one of two errors fails the test."""
    try:
        reader = GridReader(io.BytesIO(data))
        assert 0 < reader.width <= MAX_SIDE and 0 < reader.height <= MAX_SIDE
        assert reader.cells == reader.rows * reader.columns
        for i in range(reader.cells):
            layout = inspect_still(reader.cell(i))
            assert (layout.width, layout.height) == (reader.cell_width, reader.cell_height)
    except (FileError, TileError) as error:
        assert str(error).isprintable() and len(str(error)) < 300
        return type(error).__name__
    return "cells"


def boundaries(data: bytes, start: int, end: int) -> Iterator[int]:
    """Where the boxes of a grid begin and end, those within others too."""
    inside = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"iinf": 6, b"iref": 4}
    for kind, at, stop in iter_boxes(data, start, end):
        yield from (at - 8, at, stop)
        if kind in inside:
            yield from boundaries(data, at + inside[kind], stop)


@pytest.mark.parametrize("cells", [1, 2, 7])
def test_a_grid_cut_short_anywhere_is_told(cells: int) -> None:
    data = grid_of(cells, exif=exif_block("x"))
    ends = set(boundaries(data, 0, len(data)))
    assert len(ends) > 20
    for end in ends | set(range(0, len(data), 7)):
        assert outcome(data[:end]) == ("cells" if end == len(data) else "FileError"), end


def changed(data: bytes, what: bytes, at: int, fields: str, *values: int) -> bytes:
    """The bytes with these numbers so many bytes behind the last place where a word stands."""
    out = bytearray(data)
    struct.pack_into(fields, out, data.rindex(what) + at, *values)
    return bytes(out)


WHOLE = grid_of(7, exif=exif_block("x"))
GRID = struct.pack(">BBBBII", 0, 1, 1, 5, 6 * WIDTH, 2 * HEIGHT)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (changed(WHOLE, GRID, 2, ">B", 2), "grid has an unsupported layout"),
        (changed(WHOLE, GRID, 4, ">II", 2**31, 2**31), "grid has an unsupported layout"),
        (
            changed(changed(WHOLE, GRID, 8, ">I", 10**6), b"ispe", 12, ">I", 10**6),
            "do not fill a grid of 384x1000000",
        ),
        (
            WHOLE.replace(struct.pack(">II", WIDTH, HEIGHT), struct.pack(">II", 16_384, 16_384)),
            "do not fill a grid",
        ),
        (changed(WHOLE, b"pitm", 8, ">H", 77), "neither one picture nor a grid"),
        (WHOLE.replace(b"pixi", b"irot"), "turned, cropped"),
        (WHOLE.replace(b"ispe", b"pixi"), "declares no size"),
        (WHOLE.replace(b"iprp", b"free"), "lacks a pitm, iloc, iinf or iprp box"),
        (WHOLE.replace(b"infe", b"free"), "unsupported item description"),
        (changed(WHOLE, b"iloc", 8, ">H", 0x4440), "unsupported iloc box"),
        (changed(WHOLE, b"iloc", 4, ">B", 2), "unsupported iloc box"),
        (changed(WHOLE, b"iloc", 12 + 6, ">H", 2), "in several pieces"),
        (changed(WHOLE, b"iloc", 12 + 2, ">H", 1), "cells have an unsupported layout"),
        (changed(WHOLE, b"iloc", 12, ">H", 99), "cells have an unsupported layout"),
        (changed(WHOLE, b"iloc", 12 + 12 * 16, ">H", 99), "grid has an unsupported layout"),
        (saved(Image.new("RGBA", (9, 9))), "turned, cropped or transparent|neither one picture"),
    ],
)
def test_other_layouts_are_refused_at_once(data: bytes, complaint: str) -> None:
    with pytest.raises(TileError, match=complaint):
        GridReader(io.BytesIO(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RIFF\x24\0\0\0WAVEfmt ",
        saved(Image.new("L", (9, 9)), "PNG"),
        WHOLE.replace(b"ftypavif", b"ftypavis"),
        struct.pack(">I4s", 2**31, b"ftyp") + bytes(50),
        WHOLE[:28] + struct.pack(">I4s", 2**31, b"meta") + WHOLE[36:],
        changed(WHOLE, b"iloc", 10, ">H", 65_535),
    ],
    ids=["empty", "WAV", "PNG", "sequence", "long ftyp", "long meta", "items"],
)
def test_what_is_no_grid_is_a_file_error(data: bytes) -> None:
    with pytest.raises(FileError):
        GridReader(io.BytesIO(data))


def test_a_cell_that_is_not_what_was_promised_is_told_when_it_is_asked_for() -> None:
    data = grid_of(3)
    first = Cell.of(still(0)).coded
    other = Cell.of(still(0, WIDTH - 1)).coded
    reader = GridReader(io.BytesIO(data.replace(first, other.ljust(len(first), b"\0")[: len(first)])))
    with pytest.raises(TileError):
        reader.cell(0)
    assert inspect_still(reader.cell(1)).width == WIDTH


def test_many_properties_are_refused() -> None:
    ipco = next(at for at in boundaries(WHOLE, 0, len(WHOLE)) if WHOLE[at + 4 : at + 8] == b"ipco")
    (size,) = struct.unpack_from(">I", WHOLE, ipco)
    box = struct.pack(">I4sI", 12, b"pixi", 0)
    meta = bytearray(WHOLE[28 : WHOLE.rindex(b"mdat") - 4])
    at = ipco - 28
    meta[at + size : at + size] = box * 300
    for place, grown in ((0, len(meta)), (at - 8, struct.unpack_from(">I", meta, at - 8)[0] + 3600), (at, size + 3600)):
        struct.pack_into(">I", meta, place, grown)
    with pytest.raises(TileError, match="too many properties"):
        GridReader(io.BytesIO(WHOLE[:28] + meta + WHOLE[WHOLE.rindex(b"mdat") - 4 :]))


@given(st.data())
def test_damage_never_ends_in_another_error(data: st.DataObject) -> None:
    whole = bytearray(grid_of(data.draw(st.sampled_from([1, 2, 7])), exif=exif_block("x")))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        change = data.draw(st.binary(min_size=1, max_size=4))
        whole[at : at + len(change)] = change
    outcome(bytes(whole))


def test_a_foreign_still_is_a_grid_of_one_cell() -> None:
    foreign = saved(Image.fromarray(cell_pixels(1)), subsampling="4:0:0", exif=b"Exif\0\0" + exif_block("a photograph"))
    reader = GridReader(io.BytesIO(foreign))
    assert (reader.cells, reader.width, reader.height) == (1, WIDTH, HEIGHT)
    exif = Image.Exif()
    exif.load(b"Exif\0\0" + reader.exif)
    assert exif[0x010E] == "a photograph"
    assert encode_still(cell_pixels(1), FAST)  # the same kind of file
