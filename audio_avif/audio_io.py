"""Sound devices and sound files: any rate and channel count outside, 16 kHz mono float32 inside.

The audio callbacks copy and count; everything else happens in ``Microphone.read`` and ``Speaker.write``. Importing this
module loads no sound library.
"""

from __future__ import annotations

import difflib
import math
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from audio_avif.console import quiet_c_libraries
from audio_avif.errors import DeviceError, FileError
from audio_avif.ring import FloatArray, Ring

RATE_HZ = 16_000
BLOCK_S = 0.008
LATENCY_S = 0.032  # what ran without an xrun on a loaded machine; 24 ms lost a block now and then
_PLAIN_CHANNELS = 8  # devices that claim more are converters (pulse: 32, pipewire: 64), which are happy with stereo
_WAV_HEADER_BYTES = 44
_WAV_BYTES_MAX = 2**32 - 64


# ---------------------------------------------------------------------------------------------------------- resampling


class Resampler:
    """Streaming polyphase resampler with a delay of 3 ms, for live sound.

    Flat to 95 % of the lower Nyquist frequency, 80 dB down from 105 %: with 16 kHz inside, aliases stay above the
    7600 Hz where the mel bands end. libsoxr's streams are cleaner, but hand out their samples in lumps 36 ms apart.
    Source: Kaiser-windowed sinc, Oppenheim and Schafer, Discrete-Time Signal Processing, 7.6.
    """

    def __init__(self, in_rate_hz: int, out_rate_hz: int) -> None:
        if in_rate_hz < 1 or out_rate_hz < 1:
            raise ValueError(f"rates must be positive, not {in_rate_hz} and {out_rate_hz}")
        common = math.gcd(in_rate_hz, out_rate_hz)
        self._phases, self._step = out_rate_hz // common, in_rate_hz // common
        lower_hz = min(in_rate_hz, out_rate_hz)
        self._taps = _polyphase_taps(self._phases, lower_hz / in_rate_hz)
        self._ahead = 0 if self._phases == self._step else self._taps.shape[1] // 2
        self.latency_s = self._ahead / in_rate_hz
        """How long after its own instant a sample comes out."""
        self.reset()

    def reset(self) -> None:
        """Forget the past; the next sample is the first."""
        self._pending: FloatArray = np.zeros(max(0, self._ahead - 1), np.float32)
        self._pushed = 0  # input samples so far
        self._made = 0  # output samples so far
        self._first = -self._pending.size  # position of self._pending[0] in the input

    def push(self, samples: FloatArray) -> FloatArray:
        """Take ``[samples] float32`` at the first rate; return those at the second that have their lookahead."""
        if not self._ahead:
            return samples
        self._pending = np.concatenate([self._pending, samples])
        self._pushed += samples.size
        return self._emit(-(-(self._pushed - self._ahead) * self._phases // self._step))

    def flush(self) -> FloatArray:
        """Return the samples held back, so that ``ceil(pushed * out / in)`` have come out; then ``reset``."""
        total = -(-self._pushed * self._phases // self._step)
        self._pending = np.concatenate([self._pending, np.zeros(self._ahead, np.float32)])
        tail = self._emit(total)
        self.reset()
        return tail

    def _emit(self, until: int) -> FloatArray:
        if until <= self._made:
            return np.zeros(0, np.float32)
        position = np.arange(self._made, until) * self._step
        start = position // self._phases - self._ahead + 1 - self._first
        windows = np.lib.stride_tricks.sliding_window_view(self._pending, self._taps.shape[1])[start]
        out: FloatArray = np.einsum("ij,ij->i", windows, self._taps[position % self._phases])
        self._made = until
        dropped = until * self._step // self._phases - self._ahead + 1 - self._first
        self._pending = self._pending[dropped:]
        self._first += dropped
        return out


def _polyphase_taps(phases: int, bandwidth: float) -> FloatArray:
    """Return ``[phases, taps] float32``: row p interpolates p/phases of a sample after the middle, gain 1 at 0 Hz.

    ``bandwidth`` is the kept part of the input's band, 1 where the output has the higher rate.
    """
    stop_db, transition = 80.0, 0.1 * bandwidth / 2  # in cycles per input sample
    half = math.ceil((stop_db - 7.95) / (14.36 * transition) / 2)
    beta = 0.1102 * (stop_db - 8.7)
    offset = np.arange(1 - half, half + 1) - np.arange(phases)[:, None] / phases
    window = np.i0(beta * np.sqrt(np.clip(1 - (offset / half) ** 2, 0, 1)))
    taps = window * np.sinc(offset * bandwidth)
    return np.asarray(taps / taps.sum(axis=1, keepdims=True), np.float32)


# ------------------------------------------------------------------------------------------------------------- devices


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
                f"there is no default {kind} device; connect one, or choose one of --list-devices with --device"
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
            "or use files in place of devices"
        ) from error
    return sounddevice


class _Stream:
    """What microphone and speaker share: finding, opening, starting and closing a device at its own rate."""

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
        """PortAudio calls this when the callbacks end, whoever ended them."""
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
            "close the programs that hold it, or choose another of --list-devices"
        )

    def start(self) -> None:
        """Let the callbacks run. Raises DeviceError where the device refuses."""
        import sounddevice as sd

        try:
            with quiet_c_libraries():
                self._stream.start()
        except sd.PortAudioError as error:
            raise self._refusal(error) from error

    def close(self) -> None:
        """Stop at once and give the device back; a device that has vanished is closed all the same."""
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
        mono = interleaved.reshape(-1, self.channels).mean(axis=1, dtype=np.float32)
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

    def _callback(self, block: FloatArray, frames: int, time: Any, status: Any) -> None:
        self.xruns += bool(status.output_underflow)
        mono = self._mono[:frames]
        is_short = self._ring.read_into(mono) < frames and self.playing
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
        """Give the device back: at once, or after waiting until all that was written has been played."""
        if drain and self._stream.active:
            self.drain()
        super().close()

    def drain(self) -> None:
        """Wait until all that was written has been played; what is written next begins anew."""
        import sounddevice as sd

        self.playing = False
        self._queue(self._resampler.flush())
        patience_ms = round(1000 * (self._ring.fill / self.rate_hz + 1.0))
        while (
            self._ring.fill and patience_ms > 0 and not self._has_vanished
        ):  # a device that stalls does not hold the program for ever
            sd.sleep(10)
            patience_ms -= 10
        sd.sleep(round(1000 * max(0.0, self.device_latency_s)) + round(1000 * BLOCK_S))

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


# --------------------------------------------------------------------------------------------------------------- files


def read_blocks(path: str | Path, block_samples: int, rate_hz: int = RATE_HZ) -> Iterator[FloatArray]:
    """Open a sound file of any rate and channel count; iterate over ``[block_samples] float32``, mono at ``rate_hz``.

    The last block may be shorter; memory does not grow with the file. ``-`` is standard input, raw s16le mono at that
    rate.
    Raises FileError at once where the file cannot be read, and while iterating where it is damaged.
    """
    if block_samples < 1:
        raise ValueError(f"a block holds at least one sample, not {block_samples}")
    if str(path) == "-":
        # A thread that waits in a buffered read holds its lock, on which the interpreter aborts when the program ends.
        if sys.stdin is None:
            raise FileError("there is no standard input to read from")
        return _raw_blocks(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), block_samples)
    return _reblock(_file_chunks(path, _open_sound(path), rate_hz), block_samples)


def read_audio(path: str | Path, rate_hz: int = RATE_HZ) -> FloatArray:
    """Read a whole sound file as ``[samples] float32``, mono at ``rate_hz``. Raises FileError."""
    return np.concatenate([np.zeros(0, np.float32), *_file_chunks(path, _open_sound(path), rate_hz)])


def _open_sound(path: str | Path) -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise FileError(f"soundfile cannot be loaded ({error}); reinstall audio-avif") from error
    if not Path(path).is_file():
        raise FileError(f"{path} is a folder" if Path(path).is_dir() else f"there is no sound file {path}")

    class Sequential(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no types
        def seekable(self) -> bool:
            """Say no: soundfile seeks after every read of a file that can, which tears holes into MP3."""
            return False

    try:
        return Sequential(str(path))
    except (soundfile.SoundFileError, TypeError, OSError) as error:  # TypeError: raw data without a header
        raise FileError(f"{path} is not a sound file that can be read; WAV, FLAC, OGG and MP3 can be") from error


def _file_chunks(path: str | Path, sound: Any, rate_hz: int) -> Iterator[FloatArray]:
    """Yield the file's samples, mono at ``rate_hz``, in pieces of any size; close it at the end."""
    import soundfile
    import soxr

    resampler = (
        None if sound.samplerate == rate_hz else soxr.ResampleStream(sound.samplerate, rate_hz, 1, dtype="float32")
    )
    with sound:
        while True:
            try:
                frames = sound.read(16_384, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise FileError(f"{path} is damaged after {sound.tell() / sound.samplerate:.1f} s") from error
            mono = np.nan_to_num(frames.mean(axis=1, dtype=np.float32))
            at_end = not frames.size
            yield mono if resampler is None else resampler.resample_chunk(mono, last=at_end)
            if at_end:
                return


def _reblock(chunks: Iterator[FloatArray], block_samples: int) -> Iterator[FloatArray]:
    pending = np.zeros(0, np.float32)
    for chunk in chunks:
        pending = np.concatenate([pending, chunk])
        whole = pending.size - pending.size % block_samples
        yield from pending[:whole].reshape(-1, block_samples)
        pending = pending[whole:]
    if pending.size:
        yield pending


def _raw_blocks(stream: IO[bytes], block_samples: int) -> Iterator[FloatArray]:
    pending = b""
    while data := stream.read(2 * block_samples - len(pending)):  # a raw stream gives what there is
        pending += data
        if len(pending) == 2 * block_samples:
            yield from_s16le(pending)
            pending = b""
    if len(pending) > 1:
        yield from_s16le(pending)


def to_s16le(samples: FloatArray) -> bytes:
    """Convert ``[samples] float32`` in -1..1 to raw 16-bit little-endian; what is louder is clipped."""
    clipped = np.clip(np.nan_to_num(samples), np.float32(-1.0), np.float32(32767 / 32768))
    pcm: npt.NDArray[np.int16] = np.rint(clipped * np.float32(32768)).astype("<i2")
    return pcm.tobytes()


def from_s16le(data: bytes) -> FloatArray:
    """Convert raw 16-bit little-endian to ``[samples] float32``; half a sample at the end is left out."""
    whole = np.frombuffer(data, "<i2", count=len(data) // 2)
    return whole.astype(np.float32) / np.float32(32768)


def _wav_header(rate_hz: int, data_bytes: int) -> bytes:
    """The RIFF header of 16-bit mono PCM. Source: Microsoft and IBM, Multimedia Programming Interface 1.0, 1991."""
    size = _WAV_HEADER_BYTES - 8 + data_bytes
    pcm_format = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + pcm_format + struct.pack("<4sI", b"data", data_bytes)


def require_writable(path: str | Path) -> None:
    """Raises FileError where a file could not be written; changes nothing."""
    existed = Path(path).exists()
    try:
        with Path(path).open("ab"):
            pass
        if not existed:
            Path(path).unlink()
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}") from error


class WavWriter:
    """A 16-bit mono WAV file that is complete after every ``write``.

    It is written in place, with its header brought up to date each time: a recording can be played while it grows, and
    survives a program that is killed.
    """

    def __init__(self, path: str | Path, rate_hz: int = RATE_HZ) -> None:
        """Create or replace the file. Raises FileError where that is not possible."""
        self._path = path
        self._rate_hz = rate_hz
        self._data_bytes = 0
        try:
            self._file = Path(path).open("wb")  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise self._failure(error) from error
        self.write(np.zeros(0, np.float32))

    def write(self, samples: FloatArray) -> None:
        """Append ``[samples] float32``. Raises FileError where the disk or the format (4 GiB) is full."""
        data = to_s16le(samples)
        if self._data_bytes + len(data) > _WAV_BYTES_MAX:
            raise FileError(f"{self._path} is full: a WAV file holds 4 GiB")
        try:
            self._file.seek(_WAV_HEADER_BYTES + self._data_bytes)
            self._file.write(data)
            self._data_bytes += len(data)
            self._file.seek(0)
            self._file.write(_wav_header(self._rate_hz, self._data_bytes))
            self._file.flush()
        except OSError as error:
            self.close()
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        with suppress(OSError):
            self._file.close()

    def _failure(self, error: OSError) -> FileError:
        return FileError(f"{self._path} cannot be written: {error.strerror or error}")

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
