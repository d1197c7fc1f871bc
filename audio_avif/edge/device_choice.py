"""Which sound device is meant: the list of devices, and what a user chose of them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from audio_avif.edge.device_latency import plausible_latency_s
from audio_avif.edge.portaudio import PORTAUDIO
from audio_avif.errors import DeviceAbsent, DeviceError

_WASAPI = "Windows WASAPI"


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
    host_api: str = ""
    low_input_s: float = 0.0
    low_output_s: float = 0.0

    def channels(self, kind: str) -> int:
        """How many channels it has as ``input`` or ``output``."""
        return self.input_channels if kind == "input" else self.output_channels

    def is_default(self, kind: str) -> bool:
        """Whether it is the system's default ``input`` or ``output``."""
        return self.is_default_input if kind == "input" else self.is_default_output

    def low_latency_s(self, kind: str) -> float:
        """What it calls a low latency as ``input`` or ``output``; 0 where it says nothing plausible."""
        return plausible_latency_s(self.low_input_s if kind == "input" else self.low_output_s, 0.0)


@dataclass(frozen=True)
class DeviceChoice:
    """What a user asks of an input or output device.

    ``name`` is None for the system's default device, ``latency_s`` None for one that follows what the device needs.
    A device that is lost ends the program if it ``ends_when_lost``; one that is missing at first is awaited if it
    ``waits``. ``is_exclusive`` asks Windows for the device without other programs.
    """

    name: str | None = None
    latency_s: float | None = None
    is_exclusive: bool = False
    ends_when_lost: bool = False
    waits: bool = False


def list_devices(is_exclusive: bool = False) -> list[Device]:
    """Return every sound device; those of WASAPI alone, if ``is_exclusive``.

    Raises DeviceError where PortAudio is missing, or WASAPI.
    """
    sd = PORTAUDIO.load()
    with PORTAUDIO.lock:
        entries = list(enumerate(sd.query_devices()))
        apis = sd.query_hostapis() if hasattr(sd, "query_hostapis") else ()
        default_input, default_output = sd.default.device
    wasapi = next((number for number, api in enumerate(apis) if api["name"] == _WASAPI), None)
    if is_exclusive:
        if wasapi is None:
            raise DeviceError("--exclusive needs WASAPI, which only Windows has; leave the option out")
        default_input, default_output = apis[wasapi]["default_input_device"], apis[wasapi]["default_output_device"]
        entries = [(index, entry) for index, entry in entries if entry["hostapi"] == wasapi]
    return [
        Device(
            name=entry["name"],
            index=index,
            input_channels=entry["max_input_channels"],
            output_channels=entry["max_output_channels"],
            default_rate_hz=round(entry["default_samplerate"]),
            is_default_input=index == default_input,
            is_default_output=index == default_output,
            host_api=apis[entry["hostapi"]]["name"] if apis else "",
            low_input_s=entry.get("default_low_input_latency", 0.0),
            low_output_s=entry.get("default_low_output_latency", 0.0),
        )
        for index, entry in entries
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

    Raises DeviceAbsent where there is none, DeviceError where part of a name fits several.
    """
    able = [d for d in devices if d.channels(kind)]
    if device is None:
        found = [d for d in able if d.is_default(kind)]
        if not found:
            raise DeviceAbsent(
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
    raise (DeviceError if found else DeviceAbsent)(f"{problem}; {hint}")
