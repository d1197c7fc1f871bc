"""``audio-avif-call`` as a process that listens, and a comparison of what is heard in a call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from audio_avif.types import FloatArray
from support.stream_helpers import RATE_HZ, Process, live_resemblance, running, wait_until

CALL = "audio-avif-call"


@contextmanager
def hosting(*arguments: object, **popen: object) -> Iterator[tuple[Process, list[str]]]:
    """An end that listens, and the command line that it prints for the other."""
    with running(CALL, "--listen", "--host", "127.0.0.1", "--port", 0, *arguments, **popen) as process:
        line = re.compile(r"^  audio-avif-call (.*)$", re.MULTILINE)
        wait_until(lambda: line.search(process.err) is not None or process.popen.poll() is not None, "the line")
        found = line.search(process.err)
        assert found is not None, process.err
        yield process, found[1].split()


def port_in(line: list[str]) -> int:
    """The port of a printed command line."""
    return int(line[line.index("--port") + 1])


def has_heard(output: Path, seconds: float) -> bool:
    """Whether a WAV file holds so much sound."""
    return output.exists() and output.stat().st_size > 44 + 2 * RATE_HZ * seconds


def best_match(said: FloatArray, heard: FloatArray) -> float:
    """How alike a second of what was heard is to the most similar one of what was said again and again."""
    again = np.concatenate([said, said[:RATE_HZ]])
    piece = heard[RATE_HZ // 2 :][:RATE_HZ]
    starts = range(0, said.size, RATE_HZ // 5)
    return max(live_resemblance(piece, again[max(0, at - RATE_HZ // 8) : at + RATE_HZ * 3 // 2]) for at in starts)
