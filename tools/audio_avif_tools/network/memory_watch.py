"""The memory of running programs over time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from audio_avif_tools.shared.loopback import Program


@contextmanager
def watching_memory(
    memory_mb: dict[str, list[tuple[float, float]]], programs: Callable[[], Mapping[str, Program]]
) -> Iterator[None]:
    """Record the resident memory of each program once a second, with the time since the start."""
    import psutil

    over = threading.Event()
    began_s = time.monotonic()

    def watch() -> None:
        while not over.wait(1.0):
            for name, program in programs().items():
                try:
                    megabytes = psutil.Process(program.process.pid).memory_info().rss / 1e6
                except psutil.Error:
                    continue
                memory_mb.setdefault(name, []).append((time.monotonic() - began_s, megabytes))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
