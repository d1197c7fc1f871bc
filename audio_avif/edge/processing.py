"""Microphone processing: WebRTC's, from the package livekit, behind a canceller of our own for the echo."""

from __future__ import annotations

import logging
import threading
from typing import Any

import numpy as np

from audio_avif.config import RATE_HZ, ProcessingConfig
from audio_avif.optional import import_optional
from audio_avif.signal.echo import EchoCanceller
from audio_avif.signal.timeline import Timeline
from audio_avif.types import FloatArray

FRAME_SAMPLES = RATE_HZ // 100  # what WebRTC takes
_ECHO_SAMPLES, _NOISE_SAMPLES = 128, 96  # by which WebRTC's filters delay
_PATH_FRAMES = 25  # a quarter of a second: latencies that devices report wrongly, and a room
_LEAD_S = 0.02
_TOLERANCE_S = 0.02
_REFERENCE_S = 8.0  # more than an output buffers
_FULL_SCALE = 32767


class EchoReference:
    """What the speaker plays, by the time at which it is heard; one thread may write while another reads.

    It is read a little ahead, because an echo can be found after its cause only, and devices report their latency a
    little wrongly. A latency that changes moves what is read along with it.
    """

    def __init__(self) -> None:
        self._timeline = Timeline(round(_REFERENCE_S * RATE_HZ), round(_TOLERANCE_S * RATE_HZ))
        self._lock = threading.Lock()

    def write(self, samples: FloatArray, heard_s: float) -> None:
        """Take ``[samples] float32`` at 16 kHz, the first of which is heard then; later times than now are usual."""
        with self._lock:
            self._timeline.write(samples, round(heard_s * RATE_HZ))

    def read(self, samples: int, captured_s: float) -> FloatArray:
        """Return ``[samples] float32``: what was played when the microphone captured a block that began then."""
        with self._lock:
            return self._timeline.read(samples, round((captured_s + _LEAD_S) * RATE_HZ))


class MicrophoneProcessor:
    """Removes echo and noise and levels the loudness, frame by frame of 10 ms, of ``[samples] float32`` at 16 kHz.

    The sound keeps its place: the n-th sample that comes out is the n-th that went in, and all come out.
    """

    def __init__(self, config: ProcessingConfig) -> None:
        """Load the native library. Raises MissingPackage."""
        self._rtc = import_optional("livekit.rtc", "microphone processing", "talk")
        logging.getLogger("livekit").setLevel(logging.WARNING)
        self._config = config
        self.latency_samples = _ECHO_SAMPLES * config.echo + _NOISE_SAMPLES * config.noise
        """The delay of the filters; waiting for whole frames adds less than one."""
        self._canceller = EchoCanceller(FRAME_SAMPLES, _PATH_FRAMES)
        self.reset()

    def reset(self) -> None:
        """Forget all sound, and what was learned."""
        config = self._config
        self._module: Any = self._rtc.AudioProcessingModule(
            echo_cancellation=config.echo,
            noise_suppression=config.noise,
            high_pass_filter=bool(config),
            auto_gain_control=config.gain,
        )
        if config.echo:
            self._module.set_stream_delay_ms(round(1e3 * _LEAD_S))
        self._canceller.reset()
        self._pending: FloatArray = np.zeros((2, 0), np.float32)
        self._early_samples = self.latency_samples
        self.waiting_samples = 0
        """How many samples went in and have not come out."""

    def missing_samples(self, ready: int) -> int:
        """How many samples must go in before so many come out."""
        pending = self._pending.shape[1]
        frames = -(-(ready + self.latency_samples + pending - self.waiting_samples) // FRAME_SAMPLES)
        return int(frames * FRAME_SAMPLES - pending)

    def push(self, near: FloatArray, far: FloatArray | None = None) -> FloatArray:
        """Take the next samples of the microphone, and what was played meanwhile; return those that are ready.

        Raises ValueError for a ``far`` of another length, or without one where it is needed for the echo.
        """
        if far is None and not self._config.echo:
            far = np.zeros_like(near)
        if far is None or near.ndim != 1 or far.shape != near.shape:
            raise ValueError("echo needs as many samples of the far end as of the microphone")
        pending = np.concatenate([self._pending, np.clip(np.nan_to_num(np.stack([near, far])), -1, 1)], axis=1)
        whole = pending.shape[1] // FRAME_SAMPLES * FRAME_SAMPLES
        frames = [self._process(*pending[:, at : at + FRAME_SAMPLES]) for at in range(0, whole, FRAME_SAMPLES)]
        self._pending = pending[:, whole:]
        processed = np.concatenate([np.zeros(0, np.float32), *frames])
        ready = processed[self._early_samples :]
        self._early_samples -= processed.size - ready.size
        self.waiting_samples += near.size - ready.size
        return ready

    def flush(self) -> FloatArray:
        """Return the samples that wait; then ``reset``."""
        waiting = self.waiting_samples
        silence: FloatArray = np.zeros(self.latency_samples + FRAME_SAMPLES, np.float32)
        tail = self.push(silence, silence)[:waiting]
        self.reset()
        return tail

    def _process(self, near: FloatArray, far: FloatArray) -> FloatArray:
        """Return a frame as the filters give it, late by ``latency_samples``."""
        if self._config.echo:
            near = self._canceller.process(near, far)
            self._module.process_reverse_stream(self._frame(far))
        frame = self._frame(near)
        self._module.process_stream(frame)
        return np.asarray(frame.data, np.float32) / np.float32(_FULL_SCALE)

    def _frame(self, samples: FloatArray) -> Any:
        data = np.rint(samples * _FULL_SCALE).astype(np.int16).tobytes()
        return self._rtc.AudioFrame(bytearray(data), RATE_HZ, 1, FRAME_SAMPLES)
