"""Sound devices at their own rate and channel count outside, 16 kHz mono float32 inside.

The audio callbacks copy and count; everything else happens in ``Microphone.read`` and ``Speaker.write``. Importing this
module loads no sound library.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.device_choice import Device, find_device, list_devices
from audio_avif.edge.device_latency import MAX_LATENCY_S, MAX_PLAUSIBLE_S, plausible_latency_s
from audio_avif.edge.portaudio import PORTAUDIO
from audio_avif.edge.ring import Ring
from audio_avif.errors import DeviceAbsent, DeviceError
from audio_avif.quiet import quiet_c_libraries
from audio_avif.signal.downmix import Downmixer
from audio_avif.signal.resampling import Resampler
from audio_avif.types import FloatArray

BLOCK_S = 0.008
LATENCY_S = 0.032  # what ran without an xrun on a loaded machine; 24 ms lost a block now and then
_SERVER_S = 0.2  # what a sound server may hold beyond the latency that it reports
_STALLED_MS = 3000  # a device that asks for nothing for so long plays no more
_FADE_IN_S = 0.02
_PLAIN_CHANNELS = 8  # devices that claim more are converters (pulse: 32, pipewire: 64), which are happy with stereo


@dataclass(frozen=True)
class DeviceSettings:
    """How a device is opened: the latency to ask for, whether without other programs, and the buffer behind it.

    One that was lost and is heard again fades in.
    """

    latency_s: float = LATENCY_S
    ring_s: float = 2.0
    is_exclusive: bool = False
    fades_in: bool = False


DEFAULT_SETTINGS = DeviceSettings()


class _FadeIn:
    """Raises the first samples of a device from silence."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._done = 0

    def push(self, samples: FloatArray) -> FloatArray:
        """Take the next ``[samples] float32``; return them, raised as far as they have come."""
        if self._done >= self._samples:
            return samples
        gain = np.arange(self._done + 1, self._done + 1 + samples.size, dtype=np.float32) / self._samples
        self._done += samples.size
        return samples * np.minimum(gain, 1.0)


class _Stream:
    """The base of microphone and speaker: finds, opens, starts and closes a device at its own rate."""

    _kind: str

    def __init__(self, device: Device | str | int | None, settings: DeviceSettings) -> None:
        self._settings = settings
        if not isinstance(device, Device):
            device = find_device(device, self._kind, list_devices(settings.is_exclusive))
        self.device: Device = device
        self.rate_hz = self.device.default_rate_hz
        most = self.device.channels(self._kind)
        self.channels = most if most <= _PLAIN_CHANNELS else 2
        self.block_samples = round(min(BLOCK_S, settings.latency_s / 2) * self.rate_hz)
        self.xruns = 0
        """Times the sound system itself lost samples, or lacked them while sound was due."""
        self.blocks = 0
        """Callbacks so far."""
        self.has_stopped = False
        """Whether the device has stopped by itself."""
        self._is_closing = False
        self._gate = threading.Lock()  # held while PortAudio's stream is closed and opened again
        self.device_latency_s = settings.latency_s
        """What the device reports while it runs, or else what PortAudio promised."""
        self.implausible_s: float | None = None
        """A latency that the device reported and cannot have."""
        self._prepare()
        self._connect()
        self._learn_latency(self._stream.latency)

    @property
    def taken_s(self) -> float | None:
        """How much sound an output has taken so far, silence included; None for an input."""
        return None

    @property
    def name(self) -> str:
        """The device's name."""
        return self.device.name

    @property
    def latency_s(self) -> float:
        """What PortAudio promises; what was asked for, where it promises nonsense."""
        return plausible_latency_s(self._stream.latency, self._settings.latency_s)

    def _connect(self) -> None:
        """Open the device. Raises DeviceAbsent where it refuses."""
        sd = PORTAUDIO.load()
        opener = sd.InputStream if self._kind == "input" else sd.OutputStream
        exclusive = {"extra_settings": sd.WasapiSettings(exclusive=True)} if self._settings.is_exclusive else {}
        with PORTAUDIO.lock:
            try:
                with quiet_c_libraries():
                    self._stream = opener(
                        device=self.device.index,
                        samplerate=self.rate_hz,
                        channels=self.channels,
                        dtype="float32",
                        blocksize=self.block_samples,
                        latency=self._settings.latency_s,
                        callback=self._callback,
                        finished_callback=self._on_finished,
                        **exclusive,
                    )
            except sd.PortAudioError as error:
                raise self._refusal(error) from error
            PORTAUDIO.add(self)

    def _prepare(self) -> None:
        raise NotImplementedError

    def _callback(self, block: FloatArray, frames: int, time: Any, status: Any) -> None:
        raise NotImplementedError

    def _on_finished(self) -> None:
        """Record that the callbacks have ended; PortAudio calls this."""
        self.has_stopped = not self._is_closing

    def _check(self) -> None:
        if self.has_stopped:
            raise DeviceError(f"{self._kind} device {self.name!r} has stopped; was it unplugged?")

    def _refusal(self, error: Exception) -> DeviceError:
        reason = (
            str(error.args[0]).removeprefix("Error opening InputStream: ").removeprefix("Error opening OutputStream: ")
        )
        return DeviceAbsent(
            f"{self._kind} device {self.name!r} cannot be used ({reason}); "
            "close other programs that use it, or choose another with --device (see --list-devices)"
        )

    def _learn_latency(self, reported_s: float) -> None:
        """Take what the device reports, unless it is nonsense."""
        self.device_latency_s = plausible_latency_s(reported_s, self.device_latency_s)
        if not -MAX_LATENCY_S < reported_s <= MAX_PLAUSIBLE_S:  # a little less than nothing is an error of timestamps
            self.implausible_s = reported_s

    def start(self) -> None:
        """Start the callbacks. Raises DeviceAbsent where the device refuses."""
        sd = PORTAUDIO.load()
        try:
            with PORTAUDIO.lock, quiet_c_libraries():
                self._stream.start()
        except sd.PortAudioError as error:
            raise self._refusal(error) from error

    def close(self) -> None:
        """Stop at once and close the device, even one that has vanished."""
        with self._gate:
            self._disconnect()
        PORTAUDIO.remove(self)

    def suspend(self) -> None:
        """Close the device while PortAudio starts anew; what waits in the buffer is kept."""
        self._gate.acquire()
        self._disconnect()
        PORTAUDIO.remove(self)

    def resume(self) -> None:
        """Open the device again after ``suspend``; where it is gone, or has changed, it counts as stopped."""
        before = self.device
        try:
            devices = list_devices(self._settings.is_exclusive)
            self.device = find_device(before.name, self._kind, devices)
            is_same = self.device.default_rate_hz == before.default_rate_hz
            if not is_same or self.device.channels(self._kind) != before.channels(self._kind):
                raise DeviceAbsent(f"{self._kind} device {before.name!r} has changed")
            self._is_closing = False
            self._connect()
            self.start()
        except DeviceError:
            self.device, self.has_stopped = before, True
        finally:
            self._gate.release()

    def _disconnect(self) -> None:
        sd = PORTAUDIO.load()
        self._is_closing = True
        with PORTAUDIO.lock, suppress(sd.PortAudioError), quiet_c_libraries():
            self._stream.close()


class Microphone(_Stream):
    """An input device, opened at its own rate and channel count, read as 16 kHz mono.

    ``on_data`` is called from the audio thread after each block, and when the device stops; it must only wake somebody.
    """

    _kind = "input"

    def __init__(
        self,
        device: Device | str | int | None = None,
        *,
        on_data: Callable[[], object] | None = None,
        settings: DeviceSettings = DEFAULT_SETTINGS,
    ) -> None:
        """Open the device. Raises DeviceAbsent where it is missing, busy or refuses, DeviceError for a wrong name."""
        self._on_data = on_data
        super().__init__(device, settings)

    def _prepare(self) -> None:
        self._ring = Ring(round(self._settings.ring_s * self.rate_hz) * self.channels)
        self._fade_in = _FadeIn(round(_FADE_IN_S * RATE_HZ) if self._settings.fades_in else 0)
        self._downmixer = Downmixer(self.channels, self.rate_hz, f"input device {self.name!r}")
        self._resampler = Resampler(self.rate_hz, RATE_HZ)
        self._newest_s = 0.0
        self.dropped_samples = 0
        """Samples of the device that were lost because ``read`` came too late."""

    def _callback(self, block: FloatArray, frames: int, time: Any, status: Any) -> None:
        self.xruns += bool(status.input_overflow)
        self.dropped_samples += frames - self._ring.write(block.reshape(-1)) // self.channels
        self.blocks += 1
        if time.inputBufferAdcTime:  # some host APIs leave it at 0, others forget the block's own length
            self._learn_latency(max(time.currentTime - time.inputBufferAdcTime, frames / self.rate_hz))
            self._newest_s = time.currentTime - self.device_latency_s + frames / self.rate_hz
        if self._on_data is not None:
            self._on_data()

    def _on_finished(self) -> None:
        super()._on_finished()
        if self.has_stopped and self._on_data is not None:
            self._on_data()

    @property
    def waiting_samples(self) -> int:
        """At least how many samples ``read`` has to return; any thread may ask."""
        ready = self._ring.fill // self.channels * RATE_HZ // self.rate_hz
        return ready if self.rate_hz == RATE_HZ else max(0, ready - 1)

    def read(self) -> tuple[FloatArray, float]:
        """Return the samples that came since the last call, ``[samples] float32`` at 16 kHz, and the newest one's age.

        The age counts from the instant the sound was at the microphone, in seconds. Never waits; may return no samples.
        Raises DeviceError where the device has stopped by itself.
        """
        self._check()
        interleaved = np.empty(self._ring.fill // self.channels * self.channels, np.float32)
        newest_s = self._newest_s
        self._ring.read_into(interleaved)
        mono = self._downmixer.push(interleaved.reshape(-1, self.channels))
        age_s = self._age_s(newest_s)
        return self._fade_in.push(self._resampler.push(mono)), age_s + self._resampler.latency_s

    def _age_s(self, newest_s: float) -> float:
        """How long ago that instant of PortAudio's clock was; the device's latency where the clock is not at hand."""
        if not newest_s or not self._gate.acquire(blocking=False):
            return self.device_latency_s
        try:
            return self.device_latency_s if self._is_closing else float(self._stream.time) - newest_s
        finally:
            self._gate.release()

    def __enter__(self) -> Microphone:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Speaker(_Stream):
    """An output device, opened at its own rate and channel count, fed with 16 kHz mono."""

    _kind = "output"

    def __init__(
        self, device: Device | str | int | None = None, *, settings: DeviceSettings = DEFAULT_SETTINGS
    ) -> None:
        """Open the device. Raises DeviceAbsent where it is missing, busy or refuses, DeviceError for a wrong name."""
        super().__init__(device, settings)

    def _prepare(self) -> None:
        self._ring = Ring(round(self._settings.ring_s * self.rate_hz))
        self._fade_in = _FadeIn(round(_FADE_IN_S * RATE_HZ) if self._settings.fades_in else 0)
        self._resampler = Resampler(RATE_HZ, self.rate_hz)
        self._mono: FloatArray = np.zeros(self.block_samples, np.float32)
        self.playing = False
        """Set by the program while sound is due, so that silence in between is not counted as an underrun."""
        self.underruns = 0
        """Times the samples ran out while ``playing``, however long they stayed out."""
        self._was_short = False
        self.dropped_samples = 0
        """Samples at the device's rate that found no room."""
        self.asked_frames = 0
        """Samples that the device has taken, silence included."""
        self._silent_frames = 0  # handed over since the last sound
        self._taken_at_s = 0.0  # when the device took its last block, by PortAudio's clock

    def _callback(self, block: FloatArray, frames: int, time: Any, status: Any) -> None:
        self.xruns += bool(status.output_underflow) and self.playing  # nobody hears silence interrupted
        mono = self._mono[:frames]
        silent_frames, self._silent_frames = self._silent_frames, 0  # 0 until this block is known to be silent
        taken = self._ring.read_into(mono)
        self._silent_frames = 0 if taken else silent_frames + frames
        self.blocks += 1
        self.asked_frames += frames
        is_short = taken < frames and self.playing
        self.underruns += is_short and not self._was_short
        self._was_short = is_short
        block[:] = mono[:, None]
        self._learn_latency(time.outputBufferDacTime - time.currentTime)
        self._taken_at_s = time.currentTime

    def write(self, samples: FloatArray) -> None:
        """Queue ``[samples] float32`` at 16 kHz; what finds no room is dropped and counted. Never waits.

        Raises DeviceError where the device has stopped by itself.
        """
        self._check()
        self._queue(self._resampler.push(self._fade_in.push(np.clip(np.nan_to_num(samples), -1.0, 1.0))))

    def take_over(self, before: Speaker) -> None:
        """Play what waits in the buffer of a closed speaker first: as it is, or silence where the rates differ."""
        waiting: FloatArray = np.zeros(before._ring.fill, np.float32)
        before._ring.read_into(waiting)
        if before.rate_hz != self.rate_hz:
            waiting = np.zeros(round(waiting.size * self.rate_hz / before.rate_hz), np.float32)
        self._queue(self._fade_in.push(waiting))

    def _queue(self, native: FloatArray) -> None:
        self.dropped_samples += native.size - self._ring.write(native)

    @property
    def taken_s(self) -> float | None:
        """How much sound the device has taken so far, silence included."""
        return self.asked_frames / self.rate_hz

    @property
    def waiting_s(self) -> float:
        """Sound that the device has not taken yet, in seconds."""
        return self._ring.fill / self.rate_hz

    @property
    def buffered_s(self) -> float:
        """How long the next sample that is written waits for the device to take it, in seconds."""
        until_block_s = self.block_samples / self.rate_hz - self._since_block_s()
        return self.waiting_s + until_block_s + self._resampler.latency_s

    def _since_block_s(self) -> float:
        """How long ago the device took a block, at most the length of one; 0 where PortAudio's clock is not at hand."""
        taken_at_s = self._taken_at_s
        if not taken_at_s or not self._gate.acquire(blocking=False):
            return 0.0
        try:
            since_s = 0.0 if self._is_closing else float(self._stream.time) - taken_at_s
            return min(max(0.0, since_s), self.block_samples / self.rate_hz)
        finally:
            self._gate.release()

    @property
    def reserve_s(self) -> float:
        """How much of ``buffered_s`` cannot be played: less than a block, and what the resampler keeps."""
        return self.block_samples / self.rate_hz + self._resampler.latency_s

    def close(self, *, drain: bool = False) -> None:
        """Close the device: at once, or after waiting until all that was written has been played."""
        if drain and self._stream.active:
            self.drain()
        super().close()

    def drain(self) -> None:
        """Wait until all that was written has been played; the next samples start a new sound."""
        sd = PORTAUDIO.load()
        self.playing = False
        self._queue(self._resampler.flush())
        stalled_ms = 0
        while self._is_sounding and stalled_ms < _STALLED_MS and not (self.has_stopped or self._is_closing):
            asked_frames = self.asked_frames
            sd.sleep(10)
            stalled_ms = stalled_ms + 10 if self.asked_frames == asked_frames else 0

    @property
    def _is_sounding(self) -> bool:
        """Whether sound may still wait in the buffer or in the device.

        The device plays in order: it has played all sound when it has taken as much silence as it can hold. The time
        that this should take is no measure, because a sound server may be late on a busy machine.
        """
        held_s = max(self.latency_s, self.device_latency_s) + _SERVER_S
        return self._ring.fill > 0 or self._silent_frames < round(held_s * self.rate_hz) + self.block_samples

    def __enter__(self) -> Speaker:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class ZeroWatch:
    """Notices a microphone that gives exact zeros, as macOS does to a program without permission to record."""

    def __init__(self, seconds: float = 2.0, rate_hz: int = RATE_HZ) -> None:
        self._limit_samples = round(seconds * rate_hz)
        self._zeros = 0

    def push(self, samples: FloatArray) -> bool:
        """Take the next samples; return True once when so many seconds of zeros have come, again only after sound."""
        sounding = np.flatnonzero(samples)
        reported = self._zeros >= self._limit_samples
        if sounding.size:
            self._zeros, reported = 0, False
        self._zeros += samples.size if not sounding.size else samples.size - 1 - int(sounding[-1])
        return self._zeros >= self._limit_samples and not reported
