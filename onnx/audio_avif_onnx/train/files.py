"""Files that a full disk, a kill or a second run cannot leave half written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from audio_avif.edge.locks import try_lock
from audio_avif.errors import FileError

_ASK_AGAIN_S = 0.2


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside its place and move it there, once all of it is on the disk; else nothing is left of it."""
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as out:
            yield out
            settle(out)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def settle(out: IO[bytes]) -> None:
    """Have the disk hold what was written."""
    out.flush()
    os.fsync(out.fileno())


@contextmanager
def alone_in(folder: Path, wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Be the only program that works in a folder; the lock goes with the program, however it ends.

    ``wait`` is called again and again until the other one has left; without it, raises FileError where there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+b") as handle:
        while not try_lock(handle):
            if wait is None:
                raise FileError(f"another run is at work in {folder}; wait for its end or give another --out")
            wait()
            time.sleep(_ASK_AGAIN_S)
        yield
