"""Measure the mouth-to-ear delay with sound: chirps recorded at the sender's microphone and the receiver's speaker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from audio_avif.config import RATE_HZ
from audio_avif.edge.devices import Microphone, Speaker
from audio_avif.errors import AudioAvifError, DeviceError
from audio_avif.link.messages import DEFAULT_PORT
from audio_avif.types import FloatArray
from audio_avif_tools.shared.loopback import Program, StreamRecord, run_stream
from audio_avif_tools.shared.signals import CHIRP_SAMPLES, chirp, chirp_starts, chirp_train, correlation, envelope

_SHORTEST_S, _LONGEST_S = 0.04, 1.5
_POLL_S = 0.01
_BLOCK_SAMPLES = RATE_HZ // 100
_REACH_BLOCKS = 5  # devices whose rates differ by 160 parts per million are this far apart after five minutes
_RATE_PARTS = 20
_SHORTEST_WITH_RATE_S = 20.0  # the times of a shorter recording do not tell its rate to some parts per million


@dataclass(frozen=True)
class Recording:
    """Samples as a device counts them, and when each was recorded: its rate may differ a little from 16 kHz."""

    samples: FloatArray
    start_s: float
    rate_hz: float = RATE_HZ

    @classmethod
    def timed(cls, samples: FloatArray, counts: Sequence[int], times_s: Sequence[float]) -> Recording:
        """``times_s`` is when that many of the samples had been recorded."""
        late_s = np.asarray(times_s) - np.asarray(counts) / RATE_HZ
        if len(counts) < _RATE_PARTS or samples.size < _SHORTEST_WITH_RATE_S * RATE_HZ:
            return cls(samples, float(np.median(late_s)))
        middles = [float(np.mean(part)) for part in np.array_split(counts, _RATE_PARTS)]
        medians_s = [float(np.median(part)) for part in np.array_split(late_s, _RATE_PARTS)]
        later_per_sample_s, start_s = np.polyfit(middles, medians_s, 1)
        return cls(samples, float(start_s), float(1 / (1 / RATE_HZ + later_per_sample_s)))

    def time_s(self, sample: int) -> float:
        """When a sample was recorded."""
        return self.start_s + sample / self.rate_hz

    def sample(self, time_s: float) -> int:
        """The sample that was recorded then."""
        return round((time_s - self.start_s) * self.rate_hz)


class Recorder:
    """Records from a microphone, by the clock of this process."""

    def __init__(self, device: str | None) -> None:
        self._microphone = Microphone(device)
        self._parts: list[FloatArray] = []
        self._samples = 0
        self._counts: list[int] = []
        self._times_s: list[float] = []

    def start(self) -> None:
        """Start recording."""
        self._microphone.start()

    def poll(self) -> None:
        """Read the samples captured so far; call this often."""
        samples, age_s = self._microphone.read()
        if samples.size:
            self._parts.append(samples)
            self._samples += samples.size
            self._counts.append(self._samples)
            self._times_s.append(time.monotonic() - age_s)

    def close(self) -> Recording:
        """Stop; return what was recorded. Raises DeviceError where that is nothing."""
        self._microphone.close()
        if not self._parts:
            raise DeviceError("a microphone delivered no sound; choose another with --send-device or --record-device")
        return Recording.timed(np.concatenate(self._parts), self._counts, self._times_s)


@dataclass(frozen=True)
class Loop:
    """The devices of a measurement, each None for the default one, and the receiver's address where it runs elsewhere.

    The chirps are played on ``play`` into the sender's microphone ``send``; ``receive`` is the receiver's loudspeaker,
    and ``record`` a microphone near it.
    """

    seconds: int
    play: str | None = None
    send: str | None = None
    receive: str | None = None
    record: str | None = None
    host: str | None = None
    port: int = DEFAULT_PORT

    @property
    def has_one_microphone(self) -> bool:
        """Whether one device records both the chirps and the receiver."""
        return self.record == self.send


def record_chirps(play: Sequence[str | None], record: Sequence[str | None], seconds: float) -> list[Recording]:
    """Play the chirps on all devices ``play`` at once and record from all devices ``record``. Raises DeviceError."""
    signal = chirp_train(seconds)
    recorders = [Recorder(device) for device in record]
    with ExitStack() as stack:
        speakers = [stack.enter_context(Speaker(device)) for device in play]
        for recorder in recorders:
            recorder.start()
        written = [0] * len(speakers)
        quiet_until_s = time.monotonic() + seconds + _LONGEST_S
        while time.monotonic() < quiet_until_s:
            for number, speaker in enumerate(speakers):
                if speaker.buffered_s < 0.2 and written[number] < signal.size:
                    speaker.write(signal[written[number] : written[number] + RATE_HZ // 10])
                    written[number] += RATE_HZ // 10
            for recorder in recorders:
                recorder.poll()
            time.sleep(_POLL_S)
    return [recorder.close() for recorder in recorders]


class ChirpRun(threading.Thread):
    """Play and record the chirps in a thread of its own; interrupt the sender at the end."""

    def __init__(self, loop: Loop) -> None:
        super().__init__(name="chirps", daemon=True)
        self.is_streaming = threading.Event()
        self.sender: Program | None = None
        self.heard: list[Recording] = []
        self.error: AudioAvifError | None = None
        self._loop = loop

    def begin(self, sender: Program) -> None:
        """Start the thread for this sender."""
        self.sender = sender
        self.start()

    def run(self) -> None:
        """Wait for the stream, play and record the chirps, and interrupt the sender."""
        assert self.sender is not None
        loop = self._loop
        try:
            while not self.is_streaming.wait(0.1):
                if self.sender.process.poll() is not None:
                    return
            record = [loop.send] if loop.has_one_microphone else [loop.send, loop.record]
            self.heard = record_chirps([loop.play], record, loop.seconds)
        except AudioAvifError as error:
            self.error = error
        finally:
            self.sender.stop()


def measure_acoustic(
    loop: Loop, send: list[str], receive: list[str], on_tile: Callable[[dict[str, Any]], None]
) -> tuple[StreamRecord, list[float]]:
    """Play chirps while sender and receiver run; return the stream's record and the delay of each chirp in ms.

    The reference is a recording from the sender's own microphone device, so the delays of this tool's devices cancel.
    Raises DeviceError, or AudioAvifError where the chirps are not found in the recordings.
    """
    chirps = ChirpRun(loop)

    def notice(tile: dict[str, Any]) -> None:
        chirps.is_streaming.set()
        on_tile(tile)

    send = [*send, "--input", "mic", *_device(loop.send)]
    if loop.host is None:
        record = run_stream(
            send, ["--output", "speaker", *_device(loop.receive), *receive], notice, on_sending=chirps.begin
        )
    else:
        record = run_stream(
            ["--host", loop.host, "--port", str(loop.port), *send], None, notice, on_sending=chirps.begin
        )
    chirps.join()
    if chirps.error is not None:
        raise chirps.error
    return record, find_delays_ms(chirps.heard[0], chirps.heard[-1], loop.seconds, loop.has_one_microphone)


def _device(name: str | None) -> list[str]:
    return [] if name is None else ["--device", name]


def find_delays_ms(mouth: Recording, ear: Recording, seconds: float, has_one_microphone: bool) -> list[float]:
    """Return the delay of each chirp between two recordings in ms.

    The codec keeps a chirp's envelope but not its phase, so the chirps are found by matched filter at the mouth, and by
    their envelope at the ear. Raises AudioAvifError where they are not found.
    """
    starts = _find_chirps(mouth.samples, seconds)
    pattern, heard = envelope(mouth.samples), envelope(ear.samples)
    low, high = round(_SHORTEST_S * RATE_HZ), round(_LONGEST_S * RATE_HZ)
    if has_one_microphone:  # exclude the chirps themselves from the search for their echo
        for start in starts:
            heard[max(0, start - CHIRP_SAMPLES) : start + 2 * CHIRP_SAMPLES] = 0
    middle = mouth.samples.size // 2
    lead = ear.sample(mouth.time_s(middle)) - middle
    whole = low + int(np.argmax(_match(pattern, heard, lead, low, high)))
    reach = round(0.15 * RATE_HZ)
    delays_ms = []
    for start in starts:
        begin = max(0, start - CHIRP_SAMPLES)
        chirp_pattern = pattern[begin : start + 2 * CHIRP_SAMPLES]
        at = ear.sample(mouth.time_s(begin))
        score = _match(chirp_pattern, heard, at, max(low, whole - reach), whole + reach)
        if score.size and score.max() > 0.5:
            delays_ms.append((max(low, whole - reach) + int(np.argmax(score))) * 1e3 / ear.rate_hz)
    if len(delays_ms) < max(1, len(starts) // 2):
        raise AudioAvifError(
            f"only {len(delays_ms)} of {len(starts)} chirps came back; turn the volume up, or choose other devices "
            "with --play-device, --send-device, --receive-device and --record-device"
        )
    return delays_ms


def _find_chirps(samples: FloatArray, seconds: float) -> list[int]:
    """The starts of the chirps that were recorded whole, by a microphone whose rate may differ from the speaker's."""
    likeness = np.abs(correlation(chirp(), samples))
    blocks = likeness[: samples.size // _BLOCK_SAMPLES * _BLOCK_SAMPLES].reshape(-1, _BLOCK_SAMPLES).max(axis=1)
    nearby = sliding_window_view(np.pad(blocks, _REACH_BLOCKS), 2 * _REACH_BLOCKS + 1).max(axis=1)
    expected = np.asarray(chirp_starts(seconds)) // _BLOCK_SAMPLES
    train = np.zeros(expected[-1] + 1, np.float32)
    train[expected] = 1
    played = int(np.argmax(correlation(train, nearby.astype(np.float32))))
    reach = 2 * _REACH_BLOCKS * _BLOCK_SAMPLES
    starts = []
    for start in (played + expected) * _BLOCK_SAMPLES:
        if start + 2 * CHIRP_SAMPLES < samples.size:
            begin = max(0, start - reach)
            starts.append(begin + int(np.argmax(likeness[begin : start + reach])))
    return starts


def _match(pattern: FloatArray, heard: FloatArray, at: int, low: int, high: int) -> npt.NDArray[np.float64]:
    """Normalised correlation of the pattern with the recording at offsets ``at + low`` to ``at + high``."""
    begin, end = at + low, min(at + high + pattern.size, heard.size)
    if begin < 0 or end - begin < pattern.size:
        window = np.zeros(max(0, high + pattern.size - low), np.float32)
        part = heard[max(0, begin) : max(0, end)]
        window[max(0, -begin) : max(0, -begin) + part.size] = part[: max(0, window.size - max(0, -begin))]
    else:
        window = heard[begin:end]
    running = np.concatenate([[0.0], np.cumsum(window.astype(np.float64) ** 2), np.zeros(pattern.size)])
    running[window.size + 1 :] = running[window.size]
    energy = running[pattern.size : pattern.size + window.size] - running[: window.size]
    scores: npt.NDArray[np.float64] = correlation(pattern, window) / np.sqrt(
        np.maximum(energy * float(np.sum(pattern**2)), 1e-12)
    )
    return scores[: high - low]
