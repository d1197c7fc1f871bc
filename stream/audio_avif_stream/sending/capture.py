"""Sources of a sender: a microphone, a file or a pipe, as blocks of samples that arrive in time."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Protocol

from audio_avif.config import RATE_HZ
from audio_avif.edge.devices import Microphone, ZeroWatch
from audio_avif.edge.sound_files import read_blocks
from audio_avif.errors import AudioAvifError, FileError
from audio_avif.types import FloatArray

log = logging.getLogger(__name__)

_BLOCK_SAMPLES = 256
_ZERO_WARNING = (
    "the microphone gives exact zeros: it is muted, or this program has no permission to record "
    "(macOS: System Settings, Privacy & Security, Microphone)"
)


@dataclass(frozen=True)
class Block:
    """``samples`` ``[samples] float32`` mono at 16 kHz; the newest of them was captured ``age_s`` ago."""

    samples: FloatArray
    age_s: float


class Source(Protocol):
    """Blocks of sound until the source ends or is closed."""

    def blocks(self) -> AsyncIterator[Block]:
        """Yield the blocks, once. Raises FileError or DeviceError where the source fails."""
        ...

    def close(self) -> None:
        """Close the file or device."""
        ...


class MicrophoneSource:
    """An input device; waits for its callbacks, never polls."""

    def __init__(self, device: str | None) -> None:
        """Open the device. Raises DeviceError."""
        self._loop = asyncio.get_running_loop()
        self._has_data = asyncio.Event()
        self._microphone = Microphone(device, on_data=self._wake)

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._has_data.set)

    async def blocks(self) -> AsyncIterator[Block]:
        """Yield what the device captures; warn of two seconds of exact zeros."""
        zeros = ZeroWatch()
        self._microphone.start()
        while True:
            await self._has_data.wait()
            self._has_data.clear()
            samples, age_s = self._microphone.read()
            if zeros.push(samples):
                log.warning(_ZERO_WARNING)
            if samples.size:
                yield Block(samples, age_s)

    def close(self) -> None:
        """Close the device."""
        self._microphone.close()


class FileSource:
    """A sound file, or raw s16le on standard input for ``-``; paced like a microphone if ``is_paced``."""

    def __init__(self, path: str, is_paced: bool) -> None:
        """Open the file. Raises FileError."""
        self._path = path
        self._is_paced = is_paced
        self._file_blocks = read_blocks(path, _BLOCK_SAMPLES)
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[FloatArray | AudioAvifError | None] = asyncio.Queue()
        self._room = threading.Semaphore(64)

    def _read(self) -> None:
        """Read in a thread: a pipe may give nothing for a long time, and must not hold the event loop or Ctrl-C."""
        for item in _with_end(self._file_blocks):
            self._room.acquire()
            try:
                self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
            except RuntimeError:
                return  # the event loop has closed: nobody reads the file any more

    async def blocks(self) -> AsyncIterator[Block]:
        """Iterate over the file; a paced block comes when a microphone would have given it.

        Raises FileError for a file without sound; a pipe may end before anybody speaks.
        """
        is_empty = self._path != "-"
        threading.Thread(target=self._read, name="file reader", daemon=True).start()
        due_s = self._loop.time()
        while (item := await self._queue.get()) is not None:
            self._room.release()
            if isinstance(item, AudioAvifError):
                raise item
            if self._is_paced:
                # A pipe that pauses starts a new schedule: what follows must not come in a burst.
                due_s = max(due_s, self._loop.time() - 0.1) + item.size / RATE_HZ
                await asyncio.sleep(max(0.0, due_s - self._loop.time()))
            is_empty = False
            yield Block(item, max(0.0, self._loop.time() - due_s) if self._is_paced else 0.0)
        if is_empty:
            raise FileError(f"{self._path} is empty")

    def close(self) -> None:
        """Do nothing: the reading thread is a daemon and ends with the program."""


def _with_end(blocks: Iterator[FloatArray]) -> Iterator[FloatArray | AudioAvifError | None]:
    try:
        yield from blocks
    except AudioAvifError as error:
        yield error
    yield None


def open_source(name: str, device: str | None, is_paced: bool) -> Source:
    """Open ``mic``, ``-`` or a path. Raises FileError or DeviceError."""
    if name == "mic":
        return MicrophoneSource(device)
    return FileSource(name, is_paced)
