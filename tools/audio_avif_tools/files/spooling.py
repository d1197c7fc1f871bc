"""Sounds from pipes, kept as temporary files because they are read more than once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from audio_avif.errors import AudioAvifError, FileError

STANDARD_INPUT = Path("-")
MAX_BYTES = 4 << 30
_PIECE_BYTES = 1 << 20


@contextmanager
def pipes_as_files(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Give the paths, with a temporary file in the place of each pipe and of ``-``.

    Errors name what the user has named. Raises FileError where a pipe cannot be read or gives too much.
    """
    pipes = [path for path in dict.fromkeys(paths) if _is_pipe(path)]
    if not pipes:
        yield list(paths)
        return
    with TemporaryDirectory(prefix="audio-avif-") as folder:
        copies = {path: _copy_of(path, Path(folder) / str(number)) for number, path in enumerate(pipes)}
        try:
            yield [copies.get(path, path) for path in paths]
        except AudioAvifError as error:
            told = str(error)
            for path, copy in copies.items():
                told = told.replace(str(copy), _shown(path))
            raise type(error)(told) from error


def _is_pipe(path: Path) -> bool:
    return path == STANDARD_INPUT or (os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path))


def _shown(path: Path) -> str:
    return "standard input" if path == STANDARD_INPUT else str(path)


def _copy_of(path: Path, folder: Path) -> Path:
    """Read a pipe to its end into a file of its name in a new folder."""
    folder.mkdir()
    copy = folder / ("stdin" if path == STANDARD_INPUT else path.name)
    try:
        with _opened(path) as pipe, copy.open("wb") as file:
            while piece := pipe.read(_PIECE_BYTES):
                if file.tell() + len(piece) > MAX_BYTES:
                    raise FileError(f"{_shown(path)} gives more than {MAX_BYTES >> 30} GiB; save it as a file first")
                file.write(piece)
    except OSError as error:
        raise FileError(
            f"{_shown(path)} cannot be copied to {folder.parent}: {error.strerror or error}; save it as a file first"
        ) from error
    return copy


def _opened(path: Path) -> IO[bytes]:
    if path != STANDARD_INPUT:
        return path.open("rb")
    if sys.stdin is None or sys.stdin.isatty():
        raise FileError("standard input is no pipe and no file; give it a sound file, or name one")
    return open(sys.stdin.fileno(), "rb", closefd=False)
