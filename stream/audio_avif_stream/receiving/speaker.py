"""The speaker as an output of the receiver, whose device comes and goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.device_choice import Device, DeviceChoice
from audio_avif.edge.devices import DeviceSettings, Speaker
from audio_avif.edge.latency_memory import LatencyMemory
from audio_avif.errors import DeviceError
from audio_avif.types import FloatArray
from audio_avif_stream.receiving.clocked import Clocked
from audio_avif_stream.runtime.device_keeper import DeviceFigures, DeviceKeeper, PortAudioSystem
from audio_avif_stream.runtime.device_thread import DeviceThread

_RING_S = 4.0  # the widest tile, the buffer's growth and copies last a second each; what is caught up with comes on top


class _Absence(Clocked):
    """Takes sound in time and plays none of it, while a device is away."""

    def _put(self, samples: FloatArray) -> None:
        pass

    def _put_gap(self, seconds: float) -> None:
        pass


class SpeakerOutput:
    """An output device, kept open for as long as the receiver runs; while it is away, sound is dropped in time."""

    def __init__(self, thread: DeviceThread[Speaker], clock: Callable[[], float] = time.monotonic) -> None:
        """Start the device that was opened. Raises DeviceError."""
        self._thread = thread
        self._keeper = thread.keeper
        self._speaker: Speaker | None = None
        self._changing = threading.Lock()  # figures are read by another thread than the one that plays
        self._absence = _Absence(clock)
        self._underruns = 0  # of the devices before this one
        self._is_live = True
        self._keeper.is_quiet = True
        try:
            thread.start()
        except DeviceError:
            thread.close()
            raise

    @property
    def underruns(self) -> int:
        """How often a device found too little sound."""
        return self._underruns + (0 if self._speaker is None else self._speaker.underruns)

    @property
    def device_latency_s(self) -> float:
        """The device's own latency, after a sample has left the buffer."""
        return 0.0 if self._speaker is None else self._speaker.device_latency_s

    @property
    def reserve_s(self) -> float:
        """How much of ``buffered_s`` the device cannot play until more is written."""
        return 0.0 if self._speaker is None else self._speaker.reserve_s

    @property
    def device(self) -> DeviceFigures:
        """The device's figures."""
        return self._keeper.figures

    @property
    def buffered_s(self) -> float:
        """Sound written but not yet taken by the device."""
        speaker = self._present()
        return self._absence.buffered_s if speaker is None else speaker.buffered_s

    def begin(self, is_live: bool) -> None:
        """Begin a stream."""
        self._is_live = is_live
        self._absence.begin(True)

    def write(self, samples: FloatArray) -> None:
        """Queue samples; those of a stream that is not live wait for room, and for a device."""
        for part in np.array_split(samples, -(-samples.size // RATE_HZ) or 1):
            speaker = self._present()
            while not self._is_live and (speaker is None or speaker.buffered_s > 0.5):
                time.sleep(0.05)
                speaker = self._present()
            if speaker is None:
                self._absence.write(part)
            else:
                self._give(speaker, part)
        if self._speaker is not None:
            self._speaker.playing = self._speaker.playing or bool(samples.size)
        self._keeper.is_quiet = False

    def silence(self, seconds: float) -> None:
        """Queue silence."""
        if (speaker := self._present()) is None:
            self._absence.silence(seconds)
        else:
            self._give(speaker, np.zeros(round(seconds * RATE_HZ), np.float32))

    def rest(self) -> None:
        """Count no underrun until more is written."""
        self._absence.rest()
        if (speaker := self._present()) is not None:
            speaker.playing = False
        self._keeper.is_quiet = True

    def end(self) -> None:
        """Wait until the buffer has been played."""
        while (speaker := self._present()) is not None:
            speaker.drain()
            if self._keeper.device is speaker:  # else the rest waits in the one that was opened meanwhile
                break
        self._keeper.is_quiet = True

    def close(self, has_failed: bool = False) -> None:
        """Close the device."""
        self._thread.close()

    def _present(self) -> Speaker | None:
        """The device there is now; what waited to be played goes over to it. Raises DeviceError where all is over."""
        if self._keeper.error is not None:
            raise self._keeper.error
        with self._changing:
            before, speaker = self._speaker, self._keeper.device
            if speaker is before:
                return speaker
            if before is not None:
                self._underruns += before.underruns
            if speaker is None:
                assert before is not None
                self._absence.begin(True)
                self._absence.silence(before.waiting_s)
            elif before is not None:
                speaker.take_over(before)
                speaker.playing = before.playing
            else:
                self._give(speaker, np.zeros(round(self._absence.buffered_s * RATE_HZ), np.float32))
            self._speaker = speaker
            return speaker

    def _give(self, speaker: Speaker, samples: FloatArray) -> None:
        """Write to a device; what one takes that has just stopped is lost with it."""
        with suppress(DeviceError):
            speaker.write(samples)


def open_speaker(choice: DeviceChoice, target_s: float) -> SpeakerOutput:
    """Open and start an output device, with room for a playout buffer of ``target_s``. Raises DeviceError."""

    def opener(device: Device, settings: DeviceSettings) -> Speaker:
        return Speaker(device, settings=settings)

    system = PortAudioSystem("output", opener, target_s + _RING_S, choice.is_exclusive)
    return SpeakerOutput(DeviceThread(DeviceKeeper(system, choice, LatencyMemory())))
