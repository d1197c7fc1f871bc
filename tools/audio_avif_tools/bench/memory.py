"""Resident memory of both programs over a long stream."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.sound_files import WavWriter
from audio_avif.types import FloatArray
from audio_avif_tools.bench.rows import Row
from audio_avif_tools.shared.loopback import run_stream


@contextmanager
def _watch_memory(seen: dict[str, list[tuple[float, float]]]) -> Iterator[None]:
    """Record the resident memory in MB of each stream program once a second."""
    import psutil

    stop = threading.Event()

    def watch() -> None:
        began_s = time.monotonic()
        while not stop.wait(1.0):
            for process in psutil.Process().children():
                try:
                    program = next(
                        (p for p in ("send", "recv") if f"audio_avif_stream.commands.{p}" in process.cmdline()), None
                    )
                    if program is not None:
                        megabytes = process.memory_info().rss / 1e6
                        seen.setdefault(program, []).append((time.monotonic() - began_s, megabytes))
                except psutil.Error:
                    continue

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def bench_memory(model: Path, minutes: float, sound: FloatArray) -> list[Row]:
    """Measure the resident memory of both programs over a long stream with a SpeechT5-size model."""
    seen: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        long = Path(name) / "long.wav"
        with WavWriter(long) as wav:
            for _ in range(max(1, round(minutes * 60 * RATE_HZ / sound.size))):
                wav.write(sound)
        with _watch_memory(seen):
            receive = ["--output", str(Path(name) / "heard.wav"), "--vocoder", str(model)]
            record = run_stream(["--input", str(long)], receive, lambda tile: None)
    rows = []
    for program, limit in (("send", 150), ("recv", 300)):
        settled = [megabytes for at_s, megabytes in seen[program] if at_s > 30] or [m for _, m in seen[program]]
        growth = float(np.mean(settled[-10:]) - np.mean(settled[:10]))
        rows.append(
            Row(f"audio-avif-{program}, maximum MB resident", f"{max(settled):.0f}", f"< {limit}", max(settled) < limit)
        )
        rows.append(
            Row(
                f"audio-avif-{program}, MB grown from 30 s to {minutes:g} min",
                f"{growth:+.1f}",
                "flat (< 5)",
                growth < 5,
            )
        )
    receiver = record.receiver
    rows.append(
        Row(
            "that stream's tiles lost; underruns; ms concealed",
            f"{receiver['lost_tiles']}; {receiver['underruns']}; {receiver['concealed_ms']}",
        )
    )
    return rows
