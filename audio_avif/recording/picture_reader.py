"""Pictures of sound to log-mel frames, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import IO

from audio_avif.errors import FileError, TileError
from audio_avif.recording.foreign_pictures import open_foreign, read_log_mel, read_saved_again
from audio_avif.recording.grid_reader import GridReader
from audio_avif.recording.layout import CELL_FRAMES, PictureInfo, from_pixels
from audio_avif.recording.metadata import from_exif, require_size
from audio_avif.still.avif import decode_picture
from audio_avif.still.boxes import inspect_still
from audio_avif.types import AnyPixels, FloatArray


class PictureReader:
    """Reads a picture of sound cell by cell.

    Without ``info`` the picture must carry its settings and have the size that they promise; another program may have
    saved it again in another format. With ``info`` the settings are taken as given, and the picture may come from
    anywhere; its width says how long it is.

    Raises FileError where the file is no such picture.
    """

    def __init__(self, file: IO[bytes], info: PictureInfo | None = None) -> None:
        self._grid: GridReader | None = None
        self._whole: AnyPixels | None = None
        if info is not None:
            self._whole = read_log_mel(open_foreign(file), info)
            self.frames = self._whole.shape[1]
            samples = max(1, (self.frames - 1) * info.mel.hop_samples)
            self.info = replace(info, samples=samples, side_cells="", depth=8)
            return
        if (as_written := _open_grid(file)) is not None:
            self._grid, self.info = as_written
        else:
            self._whole, self.info = read_saved_again(open_foreign(file))
        self.frames = self.info.frames

    def log_mels(self) -> Iterator[FloatArray]:
        """Yield the recording's frames in pieces ``[channels, n_mels, frames]``. Raises FileError where damaged."""
        if self._whole is not None:
            for at in range(0, self.frames, CELL_FRAMES):
                is_side = self.info.is_side(at // CELL_FRAMES)
                yield from_pixels(self._whole[:, at : at + CELL_FRAMES], self.info, is_side)
            return
        assert self._grid is not None
        width, is_gray = self._grid.cell_width, self.info.layout == "stacked"
        for index in range(-(-self.frames // width)):
            try:
                still = self._grid.cell(index)
                pixels = decode_picture(still, width, self._grid.cell_height, self.info.depth, is_gray)
            except TileError as error:
                raise FileError(
                    f"the picture is damaged after {index * width * self.info.mel.frame_s:.0f} s"
                ) from error
            yield from_pixels(pixels, self.info, self.info.is_side(index))[:, :, : self.frames - index * width]


def _open_grid(file: IO[bytes]) -> tuple[GridReader, PictureInfo] | None:
    """A picture whose file is as ``write_picture`` made it, or None.

    Raises FileError for one that is truncated or whose size is not the one that its settings promise.
    """
    file.seek(0)
    if file.read(12)[4:] != b"ftypavif":
        return None
    try:
        grid = GridReader(file)
        info = from_exif(grid.exif)
        if info is None:
            return None
        require_size(info, grid.width, grid.height)
        first = inspect_still(grid.cell(0))
    except TileError:
        return None
    written = (info.depth, info.layout == "stacked", min(info.frames, CELL_FRAMES))
    return (grid, info) if (first.bit_depth, first.monochrome, grid.cell_width) == written else None
