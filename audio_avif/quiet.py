"""Silence C libraries that print what they also return."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_c_libraries() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: ALSA, PortAudio and CUDA print what they also return as errors."""
    try:
        saved = os.dup(2)
    except OSError:  # the program has no standard error
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
