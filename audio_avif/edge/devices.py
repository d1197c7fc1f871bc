"""Sound devices at their own rate and channel count outside, 16 kHz mono float32 inside.

The audio callbacks copy and count; everything else happens in ``Microphone.read`` and ``Speaker.write``. Importing this
module loads no sound library.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from audio_avif.config import RATE_HZ
from audio_avif.edge.ring import Ring
from audio_avif.errors import DeviceError
from audio_avif.quiet import quiet_c_libraries
from audio_avif.signal.downmix import Downmixer
from audio_avif.signal.resampling import Resampler
from audio_avif.types import FloatArray

BLOCK_S = 0.008
LATENCY_S = 0.032  # what ran without an xrun on a loaded machine; 24 ms lost a block now and then
_SERVER_S = 0.2  # what a sound server may hold beyond the latency that it reports
_STALLED_MS = 3000  # a device that asks for nothing for so long plays no more
_PLAIN_CHANNELS = 8  # devices that claim more are converters (pulse: 32, pipewire: 64), which are happy with stereo


@dataclass(frozen=True)
class Device:
    """A sound device as PortAudio names it."""

    name: str
    index: int
    input_channels: int
    output_channels: int
    default_rate_hz: int
    is_default_input: bool
    is_default_output: bool


def list_devices() -> list[Device]:
    """Return every sound device. Raises DeviceError where PortAudio is missing."""
    sd = _sounddevice()
    default_input, default_output = sd.default.device
    return [
        Device(
            name=entry["name"],
            index=index,
            input_channels=entry["max_input_channels"],
            output_channels=entry["max_output_channels"],
            default_rate_hz=round(entry["default_samplerate"]),
            is_default_input=index == default_input,
            is_default_output=index == default_output,
        )
        for index, entry in enumerate(sd.query_devices())
    ]


def format_devices(devices: list[Device]) -> str:
    """Return the table that ``--list-devices`` prints."""
    if not devices:
        return "no sound device found"
    width = max(len(device.name) for device in devices)
    lines = [f"{'':>4}  {'device':<{width}}  in  out  rate Hz"]
    for device in devices:
        roles = [
            role for role, is_it in (("input", device.is_default_input), ("output", device.is_default_output)) if is_it
        ]
        mark = f"  default {' and '.join(roles)}" if roles else ""
        channels = f"{device.input_channels:>2}  {device.output_channels:>3}"
        lines.append(f"{device.index:>4}  {device.name:<{width}}  {channels}  {device.default_rate_hz:>7}{mark}")
    return "\n".join(lines)


def find_device(device: str | int | None, kind: str, devices: list[Device]) -> Device:
    """Return the ``kind`` ("input" or "output") device with that name, part of a name or number; None is the default.

    Raises DeviceError where there is none, or where part of a name fits several.
    """
    able = [d for d in devices if (d.input_channels if kind == "input" else d.output_channels)]
    if device is None:
        found = [d for d in able if (d.is_default_input if kind == "input" else d.is_default_output)]
        if not found:
            raise DeviceError(
                f"there is no default {kind} device; connect one, choose one with --device (see --list-devices), "
                f"or use a file: --{kind} FILE"
            )
        return found[0]
    wanted = str(device)
    if wanted.isdecimal():
        found = [d for d in able if d.index == int(wanted)]
    else:
        # The same name can stand under several host APIs; PortAudio lists the preferred one first.
        found = [d for d in able if d.name == wanted][:1]
        found = found or [d for d in able if wanted.casefold() in d.name.casefold()]
    if len({d.name for d in found}) == 1:
        return found[0]
    names = list(dict.fromkeys(d.name for d in found)) or difflib.get_close_matches(
        wanted, [d.name for d in able], cutoff=0.4
    )
    problem = f"{kind} device {wanted!r} fits several devices" if found else f"there is no {kind} device {wanted!r}"
    hint = f"did you mean {' or '.join(repr(name) for name in names)}?" if names else "--list-devices shows them all"
    raise DeviceError(f"{problem}; {hint}")


def _sounddevice() -> Any:
    """Import sounddevice, which starts PortAudio. Raises DeviceError where the library is missing."""
    try:
        import sounddevice
    except ImportError as error:
        raise DeviceError(f"sounddevice cannot be imported ({error}); reinstall audio-avif") from error
    except OSError as error:
        raise DeviceError(
            "the PortAudio library is missing; install it (Debian and Ubuntu: apt-get install libportaudio2), "
            "or use files instead of devices"
        ) from error
    return sounddevice


class _Stream:
    """The base of microphone and speaker: finds, opens, starts and closes a device at its own rate."""

    _kind: str

    def __init__(self, device: str | int | None, latency_s: float) -> None:
        sd = _sounddevice()
        found = find_device(device, self._kind, list_devices())
        self.name = found.name
        self.rate_hz = found.default_rate_hz
        most = found.input_channels if self._kind == "input" else found.output_channels
        self.channels = most if most <= _PLAIN_CHANNELS else 2
        self.block_samples = round(BLOCK_S * self.rate_hz)
        self.xruns = 0
        """Times the sound system itself lost or lacked samples."""
        self._is_closing = False
        self._has_vanished = False
        self._prepare()
        opener = sd.InputStream if self._kind == "input" else sd.OutputStream
        try:
            with quiet_c_libraries():
                self._stream = opener(
                    device=found.index,
                    samplerate=self.rate_hz,
                    channels=self.channels,
                    dtype="float32",
                    blocksize=self.block_samples,
                    latency=latency_s,
                    callback=self._callback,
                    finished_callback=self._on_finished,
                )
        except sd.PortAudioError as error:
            raise self._refusal(error) from error
        self.latency_s: float = self._stream.latency
        """What PortAudio promises; ``device_latency_s`` is what the device reports while it runs."""
        self.device_latency_s: float = self.latency_s

    def _prepare(self) -> None:
        raise NotImplementedError

    def _callback(self, block: FloatArray, frames: int, time: Any, status: Any) -> None:
        raise NotImplementedError

    def _on_finished(self) -> None:
        """Record that the callbacks have ended; PortAudio calls this."""
        self._has_vanished = not self._is_closing

    def _check(self) -> None:
        if self._has_vanished:
            raise DeviceError(f"{self._kind} device {self.name!r} has stopped; was it unplugged?")

    def _refusal(self, error: Exception) -> DeviceError:
        reason = (
            str(error.args[0]).removeprefix("Error opening InputStream: ").removeprefix("Error opening OutputStream: ")
        )
        return DeviceError(
            f"{self._kind} device {self.name!r} cannot be used ({reason}); "
            "close other programs that use it, or choose another with --device (see --list-devices)"
        )

    def start(self) -> None:
        """Start the callbacks. Raises DeviceError where the device refuses."""
        import sounddevice as sd

        try:
            with quiet_c_libraries():
                self._stream.start()
        except sd.PortAudioError as error:
            raise self._refusal(error) from error

    def close(self) -> None:
        """Stop at once and close the device, even one that has vanished."""
        import sounddevice as sd

        self._is_closing = True
        with suppress(sd.PortAudioError), quiet_c_libraries():
            self._stream.close()


class Microphone(_Stream):
    """An input device, opened at its own rate and channel count, read as 16 kHz mono.

    ``on_data`` is called from the audio thread after each block, and when the device stops; it must only wake somebody.
    """

    _kind = "input"

    def __init__(
        self,
        device: str | int | None = None,
        *,
        on_data: Callable[[], object] | None = None,
        latency_s: float = LATENCY_S,
        ring_s: float = 2.0,
    ) -> None:
        """Open the device. Raises DeviceError where it is unknown, busy or refuses."""
        self._on_data = on_data
        self._ring_s = ring_s
        super().__init__(device, latency_s)

    def _prepare(self) -> None:
        self._ring = Ring(round(self._ring_s * self.rate_hz) * self.channels)
        self._downmixer = Downmixer(self.channels, self.rate_hz, f"input device {self.name!r}")
        self._resampler = Resampler(self.rate_hz, RATE_HZ)
        self._newest_s = 0.0
        self.dropped_samples = 0
        """Samples of the device that were lost because ``read`` came too late."""

    def _callback(self, block: FloatArray, frames: int, time: Any, status: Any) -> None:
        self.xruns += bool(status.input_overflow)
        self.dropped_samples += frames - self._ring.write(block.reshape(-1)) // self.channels
        if time.inputBufferAdcTime:  # some host APIs leave it at 0, others forget the block's own length
            self.device_latency_s = max(time.currentTime - time.inputBufferAdcTime, frames / self.rate_hz)
            self._newest_s = time.currentTime - self.device_latency_s + frames / self.rate_hz
        if self._on_data is not None:
            self._on_data()

    def _on_finished(self) -> None:
        super()._on_finished()
        if self._has_vanished and self._on_data is not None:
            self._on_data()

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
        age_s = self._stream.time - newest_s if newest_s else self.latency_s
        return self._resampler.push(mono), age_s + self._resampler.latency_s

    def __enter__(self) -> Microphone:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class Speaker(_Stream):
    """An output device, opened at its own rate and channel count, fed with 16 kHz mono."""

    _kind = "output"

    def __init__(self, device: str | int | None = None, *, latency_s: float = LATENCY_S, ring_s: float = 2.0) -> None:
        """Open the device. Raises DeviceError where it is unknown, busy or refuses."""
        self._ring_s = ring_s
        super().__init__(device, latency_s)

    def _prepare(self) -> None:
        self._ring = Ring(round(self._ring_s * self.rate_hz))
        self._resampler = Resampler(RATE_HZ, self.rate_hz)
        self._mono: FloatArray = np.zeros(self.block_samples, np.float32)
        self.playing = False
        """Set by the program while sound is due, so that silence in between is not counted as an underrun."""
        self.underruns = 0
        """Times the samples ran out while ``playing``, however long they stayed out."""
        self._was_short = False
        self.dropped_samples = 0
        """Samples at the device's rate that found no room."""
        self._asked_frames = 0
        self._silent_frames = 0  # handed over since the last sound

    def _callback(self, block: FloatArray, frames: int, time: Any, status: Any) -> None:
        self.xruns += bool(status.output_underflow)
        mono = self._mono[:frames]
        silent_frames, self._silent_frames = self._silent_frames, 0  # 0 until this block is known to be silent
        taken = self._ring.read_into(mono)
        self._silent_frames = 0 if taken else silent_frames + frames
        self._asked_frames += frames
        is_short = taken < frames and self.playing
        self.underruns += is_short and not self._was_short
        self._was_short = is_short
        block[:] = mono[:, None]
        self.device_latency_s = time.outputBufferDacTime - time.currentTime

    def write(self, samples: FloatArray) -> None:
        """Queue ``[samples] float32`` at 16 kHz; what finds no room is dropped and counted. Never waits.

        Raises DeviceError where the device has stopped by itself.
        """
        self._check()
        self._queue(self._resampler.push(np.clip(np.nan_to_num(samples), -1.0, 1.0)))

    def _queue(self, native: FloatArray) -> None:
        self.dropped_samples += native.size - self._ring.write(native)

    @property
    def buffered_s(self) -> float:
        """Sound written but not yet taken by the device, in seconds."""
        return self._ring.fill / self.rate_hz + self._resampler.latency_s

    def close(self, *, drain: bool = False) -> None:
        """Close the device: at once, or after waiting until all that was written has been played."""
        if drain and self._stream.active:
            self.drain()
        super().close()

    def drain(self) -> None:
        """Wait until all that was written has been played; the next samples start a new sound."""
        import sounddevice as sd

        self.playing = False
        self._queue(self._resampler.flush())
        stalled_ms = 0
        while self._is_sounding and stalled_ms < _STALLED_MS and not self._has_vanished:
            asked_frames = self._asked_frames
            sd.sleep(10)
            stalled_ms = stalled_ms + 10 if self._asked_frames == asked_frames else 0

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
