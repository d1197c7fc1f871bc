"""Each stream as it was heard, saved as an AVIF picture that ``audio-avif`` plays and browsers show."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from audio_avif.edge import console
from audio_avif.edge.sound_files import require_writable
from audio_avif.errors import FileError
from audio_avif.link.hello import Hello
from audio_avif.recording.grid import GridWriter, max_cells
from audio_avif.recording.layout import CELL_FRAMES
from audio_avif.recording.picture_encoder import FileConfig, PictureEncoder, encode_cell, write_picture
from audio_avif.types import FloatArray
from audio_avif_stream.runtime.realtime import normal_priority

log = logging.getLogger(__name__)

_SUFFIX = ".avif"
_MAX_WAITING = 2048  # a minute of the narrowest tiles
_LOSSLESS = 100


class Saver:
    """Keeps the frames of one stream after another, compressed by a thread of its own; without a path it does nothing.

    ``begin``, ``push`` and ``end`` belong to whoever plays, and never wait for the disk, unless the stream has no clock
    or the saver ``is_patient``.
    """

    def __init__(self, path: str | Path | None, is_patient: bool = False) -> None:
        """Start the thread. Raises FileError for a path that cannot be written or does not end in .avif."""
        self._path = None if path is None else Path(path)
        self._is_patient = is_patient
        self._is_open = False
        self._is_waited_for = False
        self._has_fallen_behind = False
        self._room = threading.Semaphore(_MAX_WAITING)
        self._inbox: SimpleQueue[Hello | FloatArray | _End | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        if self._path is None:
            return
        if self._path.suffix.lower() != _SUFFIX:
            raise FileError(f"streams are saved as AVIF pictures; {self._path} must end in {_SUFFIX}")
        require_writable(next(_free_names(self._path)))
        self._thread = threading.Thread(target=self._run, args=[self._path], name="saving", daemon=True)
        self._thread.start()

    def begin(self, hello: Hello) -> None:
        """Begin a stream."""
        if self._thread is None:
            return
        self._is_open = True
        self._is_waited_for = self._is_patient or not hello.live
        self._has_fallen_behind = False
        self._inbox.put(hello)

    def push(self, log_mel: FloatArray) -> None:
        """Keep ``[n_mels, frames]`` as it is spoken."""
        if not self._is_open:
            return
        if self._room.acquire(blocking=self._is_waited_for):
            self._inbox.put(log_mel)
        elif not self._has_fallen_behind:
            self._has_fallen_behind = True
            log.warning("this machine is too slow for --save; parts of the stream are missing in its picture")

    def end(self, samples: int) -> None:
        """End the stream, which had so many samples; the second call does nothing."""
        if self._is_open:
            self._is_open = False
            self._inbox.put(_End(samples))

    def close(self) -> None:
        """Write what there is, and return when it is written; closing twice is fine."""
        self._is_open = False
        thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(None)
            thread.join()

    def __enter__(self) -> Saver:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _run(self, path: Path) -> None:
        normal_priority()
        picture: _Picture | None = None
        while True:
            item = self._inbox.get()
            if isinstance(item, Hello):
                if picture is not None:
                    picture.write(None)
                picture = _Picture(item, path)
            elif item is None or isinstance(item, _End):
                if picture is not None:
                    picture.write(None if item is None else item.samples)
                picture = None
                if item is None:
                    return
            else:
                self._room.release()
                if picture is not None:
                    picture.push(item)


@dataclass(frozen=True)
class _End:
    samples: int


class _Picture:
    """A stream's picture, and the next one where it is full. A failure is logged once, and ends the saving."""

    def __init__(self, hello: Hello, path: Path) -> None:
        self._hello = hello
        self._path = path
        self._grid: _Grid | None = None
        self._earlier_samples = 0
        self._has_failed = False

    def push(self, log_mel: FloatArray) -> None:
        """Take ``[n_mels, frames]``."""
        while log_mel.shape[1] and not self._has_failed:
            try:
                self._grid = self._grid or _Grid(self._hello)
                fitting = log_mel[:, : self._grid.room_frames]
                self._grid.push(fitting)
            except Exception as error:  # whatever it is, the stream is played on
                self._break_off(error)
                self.write(None)
                return
            log_mel = log_mel[:, fitting.shape[1] :]
            if not self._grid.room_frames:
                self.write(None)

    def _break_off(self, error: Exception) -> None:
        log.warning("%s; the rest of the stream is not saved", error)
        self._has_failed = True
        if self._grid is not None:
            self._grid.is_broken = True

    def write(self, samples: int | None) -> None:
        """Write what has come. ``samples`` is how long the stream was, or None for as long as its frames are."""
        grid = self._grid
        if grid is None:
            return
        with grid:
            try:
                grid.end(None if samples is None else samples - self._earlier_samples)
            except Exception as error:
                self._break_off(error)
                grid.end(None)
            self._earlier_samples += grid.frames * self._hello.mel.hop_samples
            self._grid = None
            if not grid.frames:
                return
            try:
                path = _write_new(self._path, grid)
            except Exception as error:
                log.warning("the picture of the stream is not saved: %s", error)
                self._has_failed = True
                return
        console.tell(f"saved {grid.seconds:.1f} s as {path}")


class _Grid:
    """Frames of a stream that become one AVIF grid."""

    def __init__(self, hello: Hello) -> None:
        self.frames = 0
        tile = hello.tile
        self._config = FileConfig(_LOSSLESS, log10_min=tile.log10_min, log10_max=tile.log10_max)
        self._encoder = PictureEncoder(self._config, channels=1, mel=hello.mel)
        self._max_frames = max_cells(CELL_FRAMES, hello.mel.n_mels) * CELL_FRAMES
        self._cells = GridWriter()
        self.is_broken = False

    @property
    def room_frames(self) -> int:
        """How many more frames fit."""
        return self._max_frames - self.frames

    @property
    def seconds(self) -> float:
        """How long the sound is, at the end."""
        return self._encoder.info.samples / self._encoder.info.mel.rate_hz

    def push(self, log_mel: FloatArray) -> None:
        """Take ``[n_mels, frames]``. Raises FileError where the temporary folder is full."""
        for cell in self._encoder.push_frames(log_mel[None]):
            self._cells.add(encode_cell(cell, self._config))
        self.frames += log_mel.shape[1]

    def end(self, samples: int | None) -> None:
        """No more frames come; their number says within a hop how many samples there can be.

        Of a grid that ``is_broken`` the cells are left that were whole before. Raises as ``push``.
        """
        if self.is_broken:
            self.frames = self._cells.cells * CELL_FRAMES
        elif self.frames:
            for cell in self._encoder.flush():
                self._cells.add(encode_cell(cell, self._config))
        hop_samples = self._encoder.info.mel.hop_samples
        max_samples = max(0, self.frames * hop_samples - 1)
        fitting = max_samples if samples is None else min(max(samples, max_samples + 1 - hop_samples), max_samples)
        self._encoder.info = replace(self._encoder.info, samples=fitting)

    def write(self, file: IO[bytes]) -> None:
        """Write the picture."""
        write_picture(self._cells, self._encoder, self._config, file)

    def __enter__(self) -> _Grid:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._cells.close()


def _free_names(path: Path) -> Iterator[Path]:
    """Yield FILE.avif, FILE-2.avif and so on, without those that exist."""
    for number in count(1):
        name = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not os.path.lexists(name):
            yield name


def _write_new(path: Path, grid: _Grid) -> Path:
    """Write the grid under the next free name, and return that. Raises FileError."""
    for name in _free_names(path):
        part = name.with_name(f"{name.name}.part")
        try:
            with suppress(FileExistsError):  # another receiver is writing that one
                if _write_beside(part, name, grid):
                    return name
        except OSError as error:
            raise FileError(f"{name} cannot be written: {error.strerror or error}") from error
    raise AssertionError("names never end")


def _write_beside(part: Path, name: Path, grid: _Grid) -> bool:
    """Whether the grid was written, and no other file came before it."""
    with part.open("xb") as file:
        try:
            if os.path.lexists(name):
                return False
            grid.write(file)
            file.close()
            part.rename(name)
            return True
        finally:
            part.unlink(missing_ok=True)
