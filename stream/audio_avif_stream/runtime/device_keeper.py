"""Keeps a sound device open: opens it, notices when it is lost, looks for it, and adapts its latency."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from audio_avif.edge.backlog import BacklogWatch
from audio_avif.edge.device_choice import Device, DeviceChoice, find_device, list_devices
from audio_avif.edge.device_latency import LatencySteps, low_latency_s
from audio_avif.edge.device_life import DeviceLife, Event
from audio_avif.edge.devices import DeviceSettings, Microphone, Speaker
from audio_avif.edge.latency_memory import LatencyMemory
from audio_avif.edge.portaudio import PORTAUDIO
from audio_avif.edge.system_default import system_default
from audio_avif.errors import DeviceAbsent, DeviceError

log = logging.getLogger(__name__)

_TICK_S = 0.1
_OPENING_TICK_S = 0.01
_RESTART_BESIDE_TRIES = 8
_MEANWHILE = {"input": "silence is sent", "output": "nothing is heard"}

Kept = TypeVar("Kept", bound=Microphone | Speaker)
_Opened = TypeVar("_Opened", bound=Microphone | Speaker, covariant=True)


class SoundSystem(Protocol[_Opened]):
    """Where the devices of one direction, ``kind`` ``input`` or ``output``, are found and opened."""

    kind: str

    def find(self, name: str | None) -> Device:
        """Return the device of that name, or part of a name; the default one for None. Raises DeviceError."""
        ...

    def open(self, device: Device, latency_s: float, fades_in: bool) -> _Opened:
        """Open a device. Raises DeviceError."""
        ...

    def refresh(self) -> None:
        """List the devices anew. Raises DeviceError."""
        ...

    def default(self) -> object:
        """Return what identifies the system's default device now; None where that is not known."""
        ...


class PortAudioSystem(Generic[Kept]):
    """The devices that PortAudio finds."""

    def __init__(
        self, kind: str, opener: Callable[[Device, DeviceSettings], Kept], ring_s: float, is_exclusive: bool
    ) -> None:
        self.kind = kind
        self._opener = opener
        self._ring_s = ring_s
        self._is_exclusive = is_exclusive
        self._refreshed = 0

    def find(self, name: str | None) -> Device:
        """Return the device of that name, or part of a name; the default one for None."""
        return find_device(name, self.kind, list_devices(self._is_exclusive))

    def open(self, device: Device, latency_s: float, fades_in: bool) -> Kept:
        """Open a device."""
        return self._opener(device, DeviceSettings(latency_s, self._ring_s, self._is_exclusive, fades_in))

    def refresh(self) -> None:
        """Start PortAudio anew, but less often beside another open device, which that interrupts for a moment."""
        self._refreshed += 1
        if not PORTAUDIO.is_used or self._refreshed % _RESTART_BESIDE_TRIES == 0:
            PORTAUDIO.restart()

    def default(self) -> object:
        """Return what identifies the system's default device now; None where that is not known."""
        return system_default(self.kind)


@dataclass(frozen=True)
class DeviceFigures:
    """What ``--stats-json`` shows of a sound device, in the units of its keys."""

    device_latency_ms: float | None = None
    device_asked_ms: float | None = None
    device_xruns: int | None = None
    device_losses: int | None = None


NO_DEVICE = DeviceFigures()
"""Of files and pipes."""


class LearnedLatency:
    """The latency to ask of the device in use, learned from its xruns and kept for the next start."""

    def __init__(self, fixed_s: float | None, memory: LatencyMemory, kind: str) -> None:
        self.steps = LatencySteps(fixed_s)
        self.xruns = 0
        """Those of all devices so far."""
        self._fixed_s = fixed_s
        self._memory = memory
        self._kind = kind
        self._device_xruns = 0

    def choose(self, device: Device) -> float:
        """The latency to ask of a device that is about to be opened."""
        remembered = self._memory.recall(device, self._kind)
        low_s = low_latency_s(self._kind, device.low_latency_s(self._kind))
        self.steps = LatencySteps(self._fixed_s, remembered, low_s)
        return self.steps.latency_s

    def opened(self, now_s: float) -> None:
        """The device has been started; its xruns are counted from 0."""
        self._device_xruns = 0
        self.steps.opened(now_s)

    def watch(self, xruns: int, now_s: float) -> float:
        """Take the device's xruns so far; return the latency that it should have."""
        new_xruns, self._device_xruns = xruns - self._device_xruns, xruns
        self.xruns += new_xruns
        self.steps.push(new_xruns, now_s)
        return self.steps.latency_s

    def keep(self, device: Device) -> None:
        """Keep what was learned about a device, unless the user decided."""
        if self._fixed_s is None:
            self._memory.keep(device, self._kind, self.steps.remembered)


@dataclass
class _Found:
    """The device in use: ``asked_s`` is the latency that was asked of it, ``default`` what the default was then."""

    device: Device
    asked_s: float
    default: object
    backlog: BacklogWatch
    is_doubted: bool = False  # whether its nonsense was told


class DeviceKeeper(Generic[Kept]):
    """The device of one direction through its life.

    Call ``open`` and ``start`` once, ``tick`` each ``tick_s``, ``close`` at the end, all in one thread. Other threads
    read ``device``, which is None while there is none, and ``error``, which is why there will be none any more, and
    set ``is_quiet``. Times are seconds of a clock that stops while the program is suspended.
    """

    def __init__(
        self,
        system: SoundSystem[Kept],
        choice: DeviceChoice,
        memory: LatencyMemory,
        on_change: Callable[[], object] = lambda: None,
    ) -> None:
        """``on_change`` is called as soon as there is a device, or none, or an error."""
        self.device: Kept | None = None
        self.error: DeviceError | None = None
        self.losses = 0
        self.is_quiet = False
        """Whether nobody would hear a short gap now."""
        self.latency = LearnedLatency(choice.latency_s, memory, system.kind)
        self._system = system
        self._choice = choice
        self._life = DeviceLife()
        self._on_change = on_change
        self._open: Kept | None = None  # also one that has not given or taken a block yet
        self._found: _Found | None = None  # the newest device, though it may be lost

    @property
    def kind(self) -> str:
        """``input`` or ``output``."""
        return self._system.kind

    @property
    def tick_s(self) -> float:
        """How soon to call ``tick`` again: at once where a device has just been opened."""
        return _OPENING_TICK_S if self._open is not None and self.device is None else _TICK_S

    @property
    def figures(self) -> DeviceFigures:
        """The figures of the device as it is now; any thread may read them."""
        device, found = self.device, self._found
        return DeviceFigures(
            None if device is None else round(1e3 * device.device_latency_s, 1),
            None if found is None else round(1e3 * found.asked_s, 1),
            self.latency.xruns,
            self.losses,
        )

    def open(self, now_s: float) -> None:
        """Open the device, or begin to wait for it. Raises DeviceError where it is not awaited."""
        kind, name = self.kind, self._choice.name
        try:
            found = self._system.find(name)
            self._open_device(found, self.latency.choose(found), fades_in=False)
        except DeviceAbsent as error:
            if not self._choice.waits:
                raise
            self._life.failed(now_s)
            log.debug("%s", error)
            what = f"no default {kind} device yet" if name is None else f"no usable {kind} device {name!r} yet"
            log.warning("there is %s; %s until it is there (--wait-device)", what, _MEANWHILE[kind])
        self._show(self._open)

    def start(self, now_s: float) -> None:
        """Start the device. Raises DeviceError where it refuses."""
        if self._open is not None:
            self._start_device(self._open, now_s)

    def tick(self, now_s: float) -> None:
        """Look after the device, or look for it."""
        device, lost_s = self._open, self._life.lost_s
        if self.error is not None:
            return
        if device is None:
            if self._life.is_due(now_s):
                self._look(now_s)
            return
        event = self._life.watch(device.blocks, device.has_stopped, now_s)
        if event.is_loss:
            self._lose(device, event, lost_s is not None, now_s)
        elif event is Event.RUNS and lost_s is not None:
            self._show(device)
            log.warning("%s device %r is used after %.1f s without one", self.kind, device.name, now_s - lost_s)
        elif self.device is not None:
            self._adapt(device, now_s)

    def close(self) -> None:
        """Close the device, and keep what was learned about it."""
        device, self._open = self._open, None
        self._show(None)
        if device is not None:
            self.latency.keep(device.device)
            device.close()

    def _open_device(self, device: Device, asked_s: float, fades_in: bool) -> Kept:
        self._open = opened = self._system.open(device, asked_s, fades_in)
        self._found = _Found(device, asked_s, self._system.default(), BacklogWatch(0.0))
        return opened

    def _start_device(self, device: Kept, now_s: float) -> None:
        assert self._found is not None
        device.start()
        self._found.backlog = BacklogWatch(now_s)
        self._life.opened(now_s)
        self.latency.opened(now_s)

    def _look(self, now_s: float) -> bool:
        """Try to open a missing device; it counts as back when it takes or gives its first block."""
        try:
            self._system.refresh()
            found = self._find_again()
            self._start_device(self._open_device(found, self.latency.choose(found), fades_in=True), now_s)
        except DeviceError as error:
            log.debug("%s", error)
            self._drop()
            self._life.failed(now_s)
        return self._open is not None

    def _find_again(self) -> Device:
        """Find the device that was used, by its whole name: part of it may fit another one now."""
        if self._choice.name is None or self._found is None:
            return self._system.find(self._choice.name)
        name = self._found.device.name
        found = self._system.find(name)
        if found.name != name:
            raise DeviceAbsent(f"there is no {self.kind} device {name!r}")
        return found

    def _lose(self, device: Kept, event: Event, is_told: bool, now_s: float) -> None:
        kind, ends = self.kind, self._choice.ends_when_lost
        if not (ends or is_told):
            self.losses += 1
            log.warning("%s device %r %s; %s until it is back", kind, device.name, event.value, _MEANWHILE[kind])
        self._show(None)
        self.latency.keep(device.device)
        self._drop()  # which lasts where the sound system hangs
        if ends and (is_told or not self._look(now_s)):  # one that only stopped and can be opened again is not lost
            reason = "has stopped; was it unplugged?" if event is Event.STOPPED else event.value
            self.fail(DeviceError(f"{kind} device {device.name!r} {reason}"))

    def fail(self, error: DeviceError) -> None:
        """Give the device up for good."""
        self.error = error
        self._show(None)

    def _show(self, device: Kept | None) -> None:
        self.device = device
        self._on_change()

    def _drop(self) -> None:
        device, self._open = self._open, None
        if device is not None:
            device.close()

    def _adapt(self, device: Kept, now_s: float) -> None:
        """Open the device again where the default is another one, where sound has piled up, or for another latency.

        Less latency can wait until nobody hears the gap.
        """
        found, default = self._found, self._system.default()
        assert found is not None
        self._doubt(device, found)
        wanted_s = self.latency.watch(device.xruns, now_s)
        backlog_s = found.backlog.push(device.taken_s, device.device_latency_s, now_s)
        if self._choice.name is None and default != found.default:
            self._reopen(None, wanted_s, now_s)
            if self.device is not None:
                log.warning("%s device %r is used now: the default has changed", self.kind, self.device.name)
        elif backlog_s:
            log.warning(
                "%s device %r: %.0f ms of sound had piled up on the way; it was opened again to leave them out",
                self.kind, device.name, 1e3 * backlog_s,
            )  # fmt: skip
            self._reopen(found.device, wanted_s, now_s)
        elif wanted_s > found.asked_s or (wanted_s < found.asked_s and self.is_quiet):
            self._reopen(found.device, wanted_s, now_s)

    def _doubt(self, device: Kept, found: _Found) -> None:
        if device.implausible_s is not None and not found.is_doubted:
            found.is_doubted = True
            log.warning(
                "%s device %r reports a latency of %g s, which cannot be; %.0f ms are assumed",
                self.kind, device.name, device.implausible_s, 1e3 * device.device_latency_s,
            )  # fmt: skip

    def _reopen(self, found: Device | None, wanted_s: float, now_s: float) -> None:
        """Close the device and open ``found``, or what is the default device now."""
        if self._open is not None:
            self.latency.keep(self._open.device)
        self._drop()
        try:
            if found is None:
                self._system.refresh()
                found = self._system.find(None)
                wanted_s = self.latency.choose(found)
            self._start_device(self._open_device(found, wanted_s, fades_in=False), now_s)
            self._show(self._open)
        except DeviceError as error:
            self._show(None)
            self._drop()
            self._life.failed(now_s)
            self.losses += 1
            log.warning("%s; %s until it is back", error, _MEANWHILE[self.kind])
