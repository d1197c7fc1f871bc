"""Which device is meant, and what is said where it is not to be had; no device is opened."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from audio_avif.edge.device_choice import Device, find_device, format_devices, list_devices
from audio_avif.edge.devices import ZeroWatch
from audio_avif.errors import DeviceError


def device(name: str, index: int, inputs: int = 0, outputs: int = 0, default: bool = False) -> Device:
    return Device(name, index, inputs, outputs, 48_000, default and bool(inputs), default and bool(outputs))


DEVICES = [
    device("USB Headset", 0, inputs=1),
    device("USB Headset", 1, outputs=2),
    device("Built-in Microphone", 2, inputs=2, default=True),
    device("Built-in Speakers", 3, outputs=2, default=True),
    device("USB Camera", 4, inputs=1),
    device("USB Headset", 5, inputs=1),  # the same one under another host API
]


@pytest.mark.parametrize(
    ("wanted", "kind", "index"),
    [
        (None, "input", 2),
        (None, "output", 3),
        ("USB Headset", "input", 0),
        ("USB Headset", "output", 1),
        ("headset", "input", 0),
        ("4", "input", 4),
        (4, "input", 4),
    ],
)
def test_a_device_is_found_by_name_part_of_a_name_or_number(wanted: str | int | None, kind: str, index: int) -> None:
    assert find_device(wanted, kind, DEVICES).index == index


@pytest.mark.parametrize(
    ("wanted", "kind", "sentence"),
    [
        ("usb", "input", "input device 'usb' fits several devices; did you mean 'USB Headset' or 'USB Camera'?"),
        (
            "Built-in Mircophone",
            "input",
            "there is no input device 'Built-in Mircophone'; did you mean 'Built-in Microphone'?",
        ),
        ("hdmi", "output", "there is no output device 'hdmi'; --list-devices shows them all"),
        (9, "input", "there is no input device '9'; --list-devices shows them all"),
    ],
)
def test_a_device_that_is_not_found_is_told_with_what_to_do(wanted: str | int, kind: str, sentence: str) -> None:
    with pytest.raises(DeviceError) as caught:
        find_device(wanted, kind, DEVICES)
    assert str(caught.value) == sentence


def test_no_default_device_is_told() -> None:
    with pytest.raises(DeviceError, match="there is no default input device"):
        find_device(None, "input", [])


def test_the_table_names_every_device_and_marks_the_defaults() -> None:
    lines = format_devices(DEVICES).splitlines()
    assert len(lines) == 1 + len(DEVICES)
    assert lines[3].split() == ["2", "Built-in", "Microphone", "2", "0", "48000", "default", "input"]
    assert format_devices([]) == "no sound device found"


def test_a_missing_portaudio_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(DeviceError, match="apt-get install libportaudio2"):
        list_devices()


def test_importing_these_modules_loads_no_sound_library() -> None:
    program = (
        "import sys, audio_avif.edge.devices, audio_avif.edge.sound_files; "
        "print({'sounddevice', 'soundfile', 'soxr', 'asyncio', 'socket'}"
        " & (set(sys.modules) - set(sys.argv[1:])))"
    )
    numpy_loads = subprocess.run(
        [sys.executable, "-c", "import sys, numpy; print(*sys.modules)"], capture_output=True, text=True, check=True
    ).stdout.split()
    shown = subprocess.run([sys.executable, "-c", program, *numpy_loads], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


@pytest.mark.parametrize("block_samples", [1, 7, 160, 5000])
def test_two_seconds_of_exact_zeros_are_reported_once_until_sound_comes(block_samples: int) -> None:
    watch = ZeroWatch(seconds=2.0, rate_hz=1000)
    signal = np.concatenate([np.zeros(1990), [1e-9], np.zeros(5000), [0.1], np.zeros(1990), [0.1], np.zeros(2010)])
    blocks = [signal[i : i + block_samples].astype(np.float32) for i in range(0, signal.size, block_samples)]
    reports = [index for index, block in enumerate(blocks) if watch.push(block)]
    assert len(reports) == 2
    assert reports[0] == (1991 + 2000 - 1) // block_samples
