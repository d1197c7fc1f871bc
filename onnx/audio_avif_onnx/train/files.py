"""Write files whole or not at all, and lock folders."""

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
    """Write a temporary file and move it to ``path`` once it is on the disk; after an error it is deleted."""
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
    """Flush a file to the disk."""
    out.flush()
    os.fsync(out.fileno())


@contextmanager
def alone_in(folder: Path, wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Lock a folder against other runs; the lock ends with the process.

    ``wait`` is called repeatedly until the other run has ended; without it, raises FileError where there is one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+b") as handle:
        while not try_lock(handle):
            if wait is None:
                raise FileError(f"another run uses {folder}; wait for its end or give another --out")
            wait()
            time.sleep(_ASK_AGAIN_S)
        yield
