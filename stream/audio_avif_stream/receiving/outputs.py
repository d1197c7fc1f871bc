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
from audio_avif.edge.devices import Speaker
from audio_avif.edge.sound_files import WavWriter, require_writable, to_s16le
from audio_avif.errors import AudioAvifError, FileError
from audio_avif.types import FloatArray

_RING_S = 4.0  # the widest tile, the buffer's growth and copies last a second each; what is caught up with comes on top


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


class SpeakerOutput:
    """An output device, open for as long as the receiver runs."""

    def __init__(self, device: str | None, target_s: float) -> None:
        self._speaker = Speaker(device, ring_s=target_s + _RING_S)
        self._speaker.start()
        self._is_live = True

    @property
    def underruns(self) -> int:
        """How often the device found too little sound."""
        return self._speaker.underruns

    @property
    def device_latency_s(self) -> float:
        """The device's own latency, after a sample has left the buffer."""
        return self._speaker.device_latency_s

    @property
    def buffered_s(self) -> float:
        """Sound written but not yet taken by the device."""
        return self._speaker.buffered_s

    def begin(self, is_live: bool) -> None:
        """Begin a stream."""
        self._is_live = is_live

    def write(self, samples: FloatArray) -> None:
        """Queue samples; those of a stream that is not live wait for room."""
        for part in np.array_split(samples, -(-samples.size // RATE_HZ) or 1):
            while not self._is_live and self.buffered_s > 0.5:
                time.sleep(0.05)
            self._speaker.write(part)
        self._speaker.playing = self._speaker.playing or bool(samples.size)

    def silence(self, seconds: float) -> None:
        """Queue silence."""
        self._speaker.write(np.zeros(round(seconds * RATE_HZ), np.float32))

    def rest(self) -> None:
        """Count no underrun until more is written."""
        self._speaker.playing = False

    def end(self) -> None:
        """Wait until the buffer has been played."""
        self._speaker.drain()

    def close(self, has_failed: bool = False) -> None:
        """Close the device."""
        self._speaker.close()


class _Clocked:
    """An output that takes sound at once, and behaves as if a device played it by the clock."""

    device_latency_s = 0.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.underruns = 0
        self._clock = clock
        self._is_live = True
        self._is_resting = False
        self._written_until_s: float | None = None

    @property
    def buffered_s(self) -> float:
        """How long the written sound lasts beyond now."""
        if self._written_until_s is None or not self._is_live:
            return 0.0
        return max(0.0, self._written_until_s - self._clock())

    def begin(self, is_live: bool) -> None:
        """Begin a stream; its clock starts with the first sound."""
        self._is_live = is_live
        self._is_resting = False
        self._written_until_s = None

    def write(self, samples: FloatArray) -> None:
        """Write samples; time that passed without any becomes a gap and counts as an underrun."""
        if not samples.size:
            return
        self._written_until_s = self._until_s() + samples.size / RATE_HZ
        self._put(samples)

    def silence(self, seconds: float) -> None:
        """Before the first sound, start the clock later; after it, play silence."""
        has_begun = self._written_until_s is not None
        self._written_until_s = self._until_s() + seconds
        if has_begun:
            self._put_gap(seconds)

    def _until_s(self) -> float:
        """When what is written next is played; closes the gap where that should have been earlier."""
        now_s = self._clock()
        until_s = now_s if self._written_until_s is None else self._written_until_s
        is_resting, self._is_resting = self._is_resting, False
        if self._is_live and now_s > until_s:
            self.underruns += not is_resting
            self._put_gap(now_s - until_s)
            return now_s
        return until_s

    def rest(self) -> None:
        """Count no underrun for the gap that follows."""
        self._is_resting = True

    def end(self) -> None:
        """End the stream; a file needs no time to be played."""

    def _put(self, samples: FloatArray) -> None:
        raise NotImplementedError

    def _put_gap(self, seconds: float) -> None:
        raise NotImplementedError


class WavOutput(_Clocked):
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


class PipeOutput(_Clocked):
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


def open_output(
    targets: Sequence[str], device: str | None, target_s: float, clock: Callable[[], float] = time.monotonic
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


def _open_one(target: str, device: str | None, target_s: float, clock: Callable[[], float]) -> Output:
    if target == "speaker":
        return SpeakerOutput(device, target_s)
    if target == "-":
        return PipeOutput(clock)
    if not target.lower().endswith(".wav"):
        raise FileError(f"the output {target!r} is neither speaker nor - nor a .wav file")
    return WavOutput(target, clock)
