"""Which device is the system's default now, which PortAudio says only when it is started anew.

On Linux the sound server itself moves a stream to another default device, so there is nothing to ask for.
"""

from __future__ import annotations

import ctypes
import sys
import uuid

if sys.platform == "darwin":
    _DEFAULT_INPUT, _DEFAULT_OUTPUT, _GLOBAL_SCOPE = 0x64496E20, 0x644F7574, 0x676C6F62

    class _Address(ctypes.Structure):
        _fields_ = (("selector", ctypes.c_uint32), ("scope", ctypes.c_uint32), ("element", ctypes.c_uint32))

    def system_default(kind: str) -> object:
        """Return what identifies the default ``input`` or ``output`` device; None where that is not known.

        Source: AudioHardware.h, kAudioHardwarePropertyDefaultInputDevice and ...DefaultOutputDevice.
        """
        try:
            core_audio = ctypes.CDLL("/System/Library/Frameworks/CoreAudio.framework/CoreAudio")
        except OSError:
            return None
        address = _Address(_DEFAULT_INPUT if kind == "input" else _DEFAULT_OUTPUT, _GLOBAL_SCOPE, 0)
        device, size = ctypes.c_uint32(0), ctypes.c_uint32(4)
        failed = core_audio.AudioObjectGetPropertyData(
            ctypes.c_uint32(1), ctypes.byref(address), 0, None, ctypes.byref(size), ctypes.byref(device)
        )
        return None if failed else device.value

elif sys.platform == "win32":
    _ENUMERATOR_CLASS = uuid.UUID("BCDE0395-E52F-467C-8E3D-C4579291692E").bytes_le
    _ENUMERATOR = uuid.UUID("A95664D2-9614-4F35-A746-DE8DB63617E6").bytes_le
    _RELEASE, _GET_DEFAULT_ENDPOINT, _GET_ID = 2, 4, 5  # places in the tables of mmdeviceapi.h
    _ALL_CONTEXTS = 23

    def _call(this: ctypes.c_void_p, method: int, *arguments: object) -> None:
        """Call a COM method by its place in the object's table. Raises OSError where it fails."""
        table = ctypes.cast(this, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))).contents
        prototype = ctypes.WINFUNCTYPE(ctypes.HRESULT, ctypes.c_void_p, *(ctypes.c_void_p for _ in arguments))
        prototype(table[method])(this, *arguments)

    def system_default(kind: str) -> object:
        """Return what identifies the default ``input`` or ``output`` device; None where that is not known."""
        ole32 = ctypes.OleDLL("ole32")
        enumerator, device, name = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_wchar_p()
        try:
            ctypes.WinDLL("ole32").CoInitializeEx(None, 0)
            ole32.CoCreateInstance(_ENUMERATOR_CLASS, None, _ALL_CONTEXTS, _ENUMERATOR, ctypes.byref(enumerator))
            _call(enumerator, _GET_DEFAULT_ENDPOINT, int(kind == "input"), 0, ctypes.addressof(device))
            _call(device, _GET_ID, ctypes.addressof(name))
            found = name.value
            ctypes.WinDLL("ole32").CoTaskMemFree(name)
        except OSError:
            return None
        finally:
            for each in (device, enumerator):
                if each:
                    ctypes.WINFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)(
                        ctypes.cast(each, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))).contents[_RELEASE]
                    )(each)
        return found

else:

    def system_default(kind: str) -> object:
        """Return what identifies the default ``input`` or ``output`` device; None where that is not known."""
        return None
