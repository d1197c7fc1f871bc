"""PortAudio as sounddevice shows it, with devices that a test plugs in, pulls out and lets run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from audio_avif.types import FloatArray


@dataclass
class FakeDevice:
    """A device of a fake PortAudio: ``is_silent`` opens it without a callback, ``refuses`` does not open it."""

    name: str
    inputs: int = 0
    outputs: int = 0
    rate_hz: int = 16_000
    refuses: bool = False
    is_silent: bool = False
    latency_s: float = 0.016
    low_s: float = 0.0


class FakeStream:
    """An open device; ``run`` calls back."""

    def __init__(
        self, system: FakePortAudio, device: int, callback: Any, finished_callback: Any, **settings: Any
    ) -> None:
        self.device = system.listed[device]
        if self.device.refuses or self.device not in system.devices:
            raise system.PortAudioError("Device unavailable")
        self.settings = settings
        self.latency = self.device.latency_s
        self.active = False
        self.is_closed = False
        self._callback = callback
        self._finished = finished_callback
        self._system = system
        system.streams.append(self)

    @property
    def time(self) -> float:
        """PortAudio's clock."""
        return self._system.now_s

    def start(self) -> None:
        """Be ready to run."""
        self.active = True

    def close(self) -> None:
        """Run no more."""
        self.active, self.is_closed = False, True

    def run(self, captured: FloatArray | None = None, xruns: int = 0) -> FloatArray:
        """Call back once; return what was played, ``[samples, channels]``."""
        if not self.active or self.device.is_silent:
            return np.zeros((0, 1), np.float32)
        size = self.settings["blocksize"]
        block = np.zeros((size, self.settings["channels"]), np.float32)
        if captured is not None:
            block[:] = captured[:size, None]
        now_s = self._system.now_s
        latency_s = self.device.latency_s
        times = SimpleNamespace(
            currentTime=now_s, inputBufferAdcTime=now_s - latency_s, outputBufferDacTime=now_s + latency_s
        )
        status = SimpleNamespace(output_underflow=bool(xruns), input_overflow=bool(xruns))
        self._callback(block, size, times, status)
        return block

    def stop_by_itself(self) -> None:
        """End as where the device is pulled out."""
        self.active = False
        self._finished()


@dataclass
class FakePortAudio:
    """What ``import sounddevice`` gives. ``devices`` are there now; ``listed`` were when it was started last."""

    devices: list[FakeDevice]
    now_s: float = 100.0
    listed: list[FakeDevice] = field(default_factory=list)
    streams: list[FakeStream] = field(default_factory=list)
    starts: int = 0
    PortAudioError: type[Exception] = RuntimeError
    _initialized: int = 0
    host_api: str = "ALSA"

    def __post_init__(self) -> None:
        self._initialize()

    def _initialize(self) -> None:
        self.listed = list(self.devices)
        self.starts += 1
        self._initialized += 1

    def _terminate(self) -> None:
        assert all(stream.is_closed for stream in self.streams), "PortAudio was stopped under an open device"
        self._initialized -= 1

    def _exit_handler(self) -> None:
        """Nothing to close."""

    @property
    def default(self) -> SimpleNamespace:
        """The first device of each direction."""
        return SimpleNamespace(device=(self._first("inputs"), self._first("outputs")))

    def _first(self, direction: str) -> int:
        return next((at for at, device in enumerate(self.listed) if getattr(device, direction)), -1)

    def query_hostapis(self) -> list[dict[str, Any]]:
        """One host API."""
        defaults = self.default.device
        return [{"name": self.host_api, "default_input_device": defaults[0], "default_output_device": defaults[1]}]

    def query_devices(self) -> list[dict[str, Any]]:
        """The devices as sounddevice describes them."""
        return [
            {
                "name": device.name,
                "hostapi": 0,
                "max_input_channels": device.inputs,
                "max_output_channels": device.outputs,
                "default_samplerate": float(device.rate_hz),
                "default_low_input_latency": device.low_s,
                "default_low_output_latency": device.low_s,
            }
            for device in self.listed
        ]

    def InputStream(self, **settings: Any) -> FakeStream:
        """Open an input."""
        return FakeStream(self, **settings)

    OutputStream = InputStream

    def WasapiSettings(self, exclusive: bool) -> tuple[str, bool]:
        """Settings of WASAPI."""
        return "wasapi", exclusive

    def sleep(self, milliseconds: int) -> None:
        """Let open devices run meanwhile."""
        self.pass_time(milliseconds / 1e3)

    def pass_time(self, seconds: float, step_s: float = 0.008, act: Callable[[], object] = lambda: None) -> None:
        """Let all open devices run for so long; ``act`` after each step."""
        for _ in range(max(1, round(seconds / step_s))):
            self.now_s += step_s
            for stream in self.streams:
                stream.run()
            act()

    def pull_out(self, name: str) -> None:
        """Remove a device; what has it open learns of it."""
        self.devices = [device for device in self.devices if device.name != name]
        for stream in self.streams:
            if stream.device.name == name and stream.active:
                stream.stop_by_itself()
