"""Sources of a sender: a microphone, a file or a pipe, as blocks of samples that arrive in time."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.device_choice import Device, DeviceChoice
from audio_avif.edge.devices import DeviceSettings, Microphone, ZeroWatch
from audio_avif.edge.latency_memory import LatencyMemory
from audio_avif.edge.sound_files import read_blocks
from audio_avif.errors import AudioAvifError, DeviceError, FileError
from audio_avif.types import FloatArray
from audio_avif_stream.runtime.device_keeper import NO_DEVICE, DeviceFigures, DeviceKeeper, PortAudioSystem
from audio_avif_stream.runtime.device_thread import DeviceThread
from audio_avif_stream.sending.continuity import Continuity

log = logging.getLogger(__name__)

_BLOCK_SAMPLES = 256
_RING_S = 2.0
_SILENT_BLOCK_S = 0.032
_MAX_MISSING_SAMPLES = RATE_HZ // 50  # so that little is left to process when a tile is complete
_LOUD = 0.01  # -40 dB of full scale: below it and for so long, a gap is not heard
_QUIET_S = 0.5
_ZERO_WARNING = (
    "the microphone gives exact zeros: it is muted, or this program has no permission to record "
    "(macOS: System Settings, Privacy & Security, Microphone)"
)


@dataclass(frozen=True)
class Block:
    """``samples`` ``[samples] float32`` mono at 16 kHz; the newest of them was captured ``age_s`` ago."""

    samples: FloatArray
    age_s: float


def nothing_missing() -> int:
    """Ask for each block as soon as it is there."""
    return 0


class Source(Protocol):
    """Blocks of sound until the source ends or is closed."""

    def blocks(self, missing: Callable[[], int] = nothing_missing) -> AsyncIterator[Block]:
        """Yield the blocks, once. Raises FileError or DeviceError where the source fails.

        ``missing()`` tells how many more samples the caller needs. A source may hold back fewer than that, so that it
        wakes the program less often.
        """
        ...

    @property
    def device(self) -> DeviceFigures:
        """The figures of the device, if there is one."""
        ...

    def close(self) -> None:
        """Close the file or device."""
        ...


class MicrophoneSource:
    """An input device; waits for its callbacks, and gives silence while it is away."""

    def __init__(self, choice: DeviceChoice) -> None:
        """Open the device. Raises DeviceError."""
        self._loop = asyncio.get_running_loop()
        self._has_data = asyncio.Event()
        system = PortAudioSystem("input", self._open, _RING_S, choice.is_exclusive)
        self._keeper = DeviceKeeper(system, choice, LatencyMemory(), self._wake)
        self._thread = DeviceThread(self._keeper)
        self._joined: Microphone | None = None  # the device whose sound is in place
        self._missing_samples = 1
        self._heard_s = 0.0

    def _open(self, device: Device, settings: DeviceSettings) -> Microphone:
        return Microphone(device, on_data=self._on_data, settings=settings)

    def _on_data(self) -> None:
        if self._is_worth_reading():
            self._wake()

    def _is_worth_reading(self) -> bool:
        microphone = self._keeper.device
        if microphone is None or microphone.has_stopped:
            return True
        return microphone.waiting_samples >= self._missing_samples

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._has_data.set)

    async def blocks(self, missing: Callable[[], int] = nothing_missing) -> AsyncIterator[Block]:
        """Yield what the device captures, or silence; warn of two seconds of exact zeros from a device."""
        zeros = ZeroWatch()
        await asyncio.to_thread(self._thread.start)
        continuity = Continuity(self._loop.time())
        while True:
            self._missing_samples = min(max(missing(), 1), _MAX_MISSING_SAMPLES)
            if self._keeper.device is not None and self._is_worth_reading():  # it came before the line above
                self._has_data.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if self._keeper.device is not None else _SILENT_BLOCK_S):
                    await self._has_data.wait()
            self._has_data.clear()
            if self._keeper.error is not None:
                raise self._keeper.error
            samples = self._read(continuity, zeros)
            if samples.size:
                yield Block(samples, continuity.age_s)

    def _read(self, continuity: Continuity, zeros: ZeroWatch) -> FloatArray:
        microphone, now_s = self._keeper.device, self._loop.time()
        if microphone is None:
            return continuity.silence(now_s)
        try:
            samples, age_s = microphone.read()
        except DeviceError:  # the keeper learns of it within a tick
            return continuity.silence(now_s)
        if zeros.push(samples):
            log.warning(_ZERO_WARNING)
        if not samples.size:
            return samples
        if float(np.abs(samples).max()) > _LOUD:
            self._heard_s = now_s
        self._keeper.is_quiet = now_s - self._heard_s > _QUIET_S
        if microphone is self._joined:
            continuity.follow(now_s, age_s)
            return samples
        self._joined = microphone
        return continuity.join(samples, now_s, age_s)

    @property
    def device(self) -> DeviceFigures:
        """The device's figures."""
        return self._keeper.figures

    def close(self) -> None:
        """Close the device."""
        self._thread.close()


class FileSource:
    """A sound file, or raw s16le on standard input for ``-``; paced like a microphone if ``is_paced``."""

    device = NO_DEVICE

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

    async def blocks(self, missing: Callable[[], int] = nothing_missing) -> AsyncIterator[Block]:
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


def open_source(name: str, device: DeviceChoice, is_paced: bool) -> Source:
    """Open ``mic``, ``-`` or a path. Raises FileError or DeviceError."""
    if name == "mic":
        return MicrophoneSource(device)
    return FileSource(name, is_paced)
