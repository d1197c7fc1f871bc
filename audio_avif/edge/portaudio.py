"""PortAudio's life in this process: who starts it, and how it is started anew to see devices that came or went."""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
from contextlib import suppress
from functools import cache
from typing import Any, Protocol

from audio_avif.errors import DeviceError
from audio_avif.quiet import quiet_c_libraries

# PipeWire reads its buffer size here as samples/rate. PULSE_LATENCY_MSEC is left alone: it overrides the exact buffer
# that ALSA's plugin asks PulseAudio for, and measured with 10 to 30 ms it caused dropouts and up to 100 ms of delay.
_ENVIRONMENT = {"PIPEWIRE_LATENCY": "384/48000"}


@cache
def _silence_alsa() -> None:
    """Keep ALSA from printing each underrun; the programs count them."""
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        # What is called in place of ALSA's printer must take any arguments and do nothing, in any thread, and until
        # the very end of the process, which a function in Python cannot.
        nothing = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p)
        ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler(nothing)


class OpenDevice(Protocol):
    """A device that can be closed for the moment in which PortAudio starts anew."""

    def suspend(self) -> None:
        """Close the device, and keep the sound that waits in its buffer."""
        ...

    def resume(self) -> None:
        """Open the device again; one that cannot be opened counts as stopped."""
        ...


class PortAudio:
    """The one owner of PortAudio in a process: it lists devices once, so only a restart shows others."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Held while devices are listed, opened or closed: PortAudio allows no two of these at a time."""
        self._devices: list[OpenDevice] = []

    def load(self) -> Any:
        """Return sounddevice, whose import starts PortAudio. Raises DeviceError where the library is missing."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            import sounddevice
        except ImportError as error:
            raise DeviceError(f"sounddevice cannot be imported ({error}); reinstall audio-avif") from error
        except OSError as error:
            raise DeviceError(
                "the PortAudio library is missing; install it (Debian and Ubuntu: apt-get install libportaudio2), "
                "or use files instead of devices"
            ) from error
        _silence_alsa()
        return sounddevice

    def add(self, device: OpenDevice) -> None:
        """Count a device as open."""
        with self.lock:
            self._devices.append(device)

    def remove(self, device: OpenDevice) -> None:
        """Count a device as closed."""
        with self.lock, suppress(ValueError):
            self._devices.remove(device)

    @property
    def is_used(self) -> bool:
        """Whether a device is open, which a restart would interrupt for a moment."""
        return bool(self._devices)

    def restart(self) -> None:
        """Start PortAudio anew, so that it lists the devices there are now; open devices go on after a short gap.

        Raises DeviceError where it does not start.
        """
        sounddevice = self.load()
        with self.lock:
            suspended = list(self._devices)
            for device in suspended:
                device.suspend()
            try:
                with quiet_c_libraries():
                    if sounddevice._initialized:
                        sounddevice._terminate()
                    sounddevice._initialize()
            except sounddevice.PortAudioError as error:
                raise DeviceError(f"the sound system does not start ({error})") from error
            finally:
                for device in suspended:
                    device.resume()

    def abandon(self) -> None:
        """Let the process end without PortAudio's own farewell, which would wait for a server that does not answer."""
        atexit.unregister(self.load()._exit_handler)


PORTAUDIO = PortAudio()
