"""Outputs of a receiver: a speaker, a WAV file or a pipe, behind one protocol."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.device_choice import DeviceChoice
from audio_avif.edge.sound_files import WavWriter, require_writable, to_s16le
from audio_avif.errors import AudioAvifError, FileError
from audio_avif.types import FloatArray
from audio_avif_stream.receiving.clocked import Clocked
from audio_avif_stream.receiving.speaker import open_speaker
from audio_avif_stream.runtime.device_keeper import DeviceFigures


class Output(Protocol):
    """An output for 16 kHz mono sound. ``begin`` and ``end`` enclose each stream; only one thread may use it."""

    @property
    def underruns(self) -> int:
        """How often sound was due and none was buffered."""
        ...

    @property
    def device_latency_s(self) -> float:
        """The device's own latency, after a sample has left the buffer."""
        ...

    @property
    def reserve_s(self) -> float:
        """How much of ``buffered_s`` the output cannot play until more is written."""
        ...

    @property
    def device(self) -> DeviceFigures:
        """The figures of the device, if there is one."""
        ...

    @property
    def buffered_s(self) -> float:
        """Sound written but not yet played."""
        ...

    def begin(self, is_live: bool) -> None:
        """Begin a stream; a live one is played against the clock."""
        ...

    def write(self, samples: FloatArray) -> None:
        """Queue ``[samples] float32``."""
        ...

    def silence(self, seconds: float) -> None:
        """Play silence of this length before the next samples."""
        ...

    def rest(self) -> None:
        """Expect no sound until more is written: an empty buffer is no underrun until then."""
        ...

    def end(self) -> None:
        """End the stream: return when all of it has been played."""
        ...

    def close(self, has_failed: bool = False) -> None:
        """Close the file or device; after a failure remove a file that this output made and no stream used."""
        ...


class WavOutput(Clocked):
    """A WAV file that holds what a listener would have heard, gaps included."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Make the file; one that is there already is left alone until a stream comes. Raises FileError."""
        super().__init__(clock)
        self._path = path
        require_writable(path)
        self._is_new = not Path(path).exists()
        self._file = WavWriter(path) if self._is_new else None
        self._has_begun = False

    def begin(self, is_live: bool) -> None:
        """The first stream begins the file, those that follow are added to it."""
        super().begin(is_live)
        self._has_begun = True
        if self._file is None:
            self._file = WavWriter(self._path)

    def _put(self, samples: FloatArray) -> None:
        assert self._file is not None
        self._file.write(samples)

    def _put_gap(self, seconds: float) -> None:
        left = round(seconds * RATE_HZ)
        while left > 0:  # in parts: a pause may have lasted for hours
            self._put(np.zeros(min(left, RATE_HZ), np.float32))
            left -= RATE_HZ

    def close(self, has_failed: bool = False) -> None:
        """Finish the file, or remove it."""
        if self._file is not None:
            self._file.close()
        if has_failed and self._is_new and not self._has_begun:
            Path(self._path).unlink(missing_ok=True)


class PipeOutput(Clocked):
    """Raw s16le on standard output, without gaps: the program that plays it runs out by itself."""

    def _put(self, samples: FloatArray) -> None:
        try:
            # Not through the buffer of sys.stdout: the interpreter aborts at its end if a thread still waits in there.
            data = to_s16le(samples)
            while data:
                data = data[os.write(sys.stdout.fileno(), data) :]
        except BrokenPipeError as error:
            raise FileError("the program that reads the sound has closed its pipe") from error

    def _put_gap(self, seconds: float) -> None:
        pass

    def close(self, has_failed: bool = False) -> None:
        """Leave standard output open."""


class TeeOutput:
    """Several outputs at once; the first keeps the time, so that a file beside a speaker follows the speaker."""

    def __init__(self, outputs: list[Output]) -> None:
        self._first = outputs[0]
        self._outputs = outputs

    @property
    def underruns(self) -> int:
        """Underruns of the first output."""
        return self._first.underruns

    @property
    def device_latency_s(self) -> float:
        """That of the first output."""
        return self._first.device_latency_s

    @property
    def reserve_s(self) -> float:
        """The reserve of the first output."""
        return self._first.reserve_s

    @property
    def device(self) -> DeviceFigures:
        """That of the first output."""
        return self._first.device

    @property
    def buffered_s(self) -> float:
        """That of the first output."""
        return self._first.buffered_s

    def begin(self, is_live: bool) -> None:
        """Begin a stream; only the first output runs by the clock."""
        for output in self._outputs:
            output.begin(is_live and output is self._first)

    def write(self, samples: FloatArray) -> None:
        """Queue samples in each."""
        for output in self._outputs:
            output.write(samples)

    def silence(self, seconds: float) -> None:
        """Play silence in each."""
        for output in self._outputs:
            output.silence(seconds)

    def rest(self) -> None:
        """Expect no sound in any."""
        for output in self._outputs:
            output.rest()

    def end(self) -> None:
        """Return when each has played all of it."""
        for output in self._outputs:
            output.end()

    def close(self, has_failed: bool = False) -> None:
        """Close all outputs."""
        for output in self._outputs:
            output.close(has_failed)


class TappedOutput(TeeOutput):
    """An output that tells ``on_sound(samples, heard_s)`` what is heard when, by ``clock``; for echo cancellation."""

    def __init__(
        self, output: Output, on_sound: Callable[[FloatArray, float], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__([output])
        self._on_sound = on_sound
        self._clock = clock

    def write(self, samples: FloatArray) -> None:
        """Tell when these are heard, and queue them."""
        self._tell(samples)
        super().write(samples)

    def silence(self, seconds: float) -> None:
        """Play silence; of a long one the beginning is told, and where the next samples are heard tells the rest."""
        self._tell(np.zeros(round(min(seconds, 1.0) * RATE_HZ), np.float32))
        super().silence(seconds)

    def _tell(self, samples: FloatArray) -> None:
        self._on_sound(samples, self._clock() + self.buffered_s + self.device_latency_s)


def open_output(
    targets: Sequence[str], device: DeviceChoice, target_s: float, clock: Callable[[], float] = time.monotonic
) -> Output:
    """Open each of ``speaker``, ``-`` or WAV paths, with room for a playout buffer of ``target_s``.

    ``clock`` is what files and pipes go by. Raises DeviceError or FileError, leaving nothing open.
    """
    outputs: list[Output] = []
    try:
        for target in targets:
            outputs.append(_open_one(target, device, target_s, clock))
    except AudioAvifError:
        for output in outputs:
            output.close(has_failed=True)
        raise
    return outputs[0] if len(outputs) == 1 else TeeOutput(outputs)


def _open_one(target: str, device: DeviceChoice, target_s: float, clock: Callable[[], float]) -> Output:
    if target == "speaker":
        return open_speaker(device, target_s)
    if target == "-":
        return PipeOutput(clock)
    if not target.lower().endswith(".wav"):
        raise FileError(f"the output {target!r} is neither speaker nor - nor a .wav file")
    return WavOutput(target, clock)
