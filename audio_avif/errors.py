"""Every error a user of audio-avif can meet; each message is one sentence that says what happened and what to do.

::

    AudioAvifError
    ├── FileError         a file or stream of sound that cannot be read or written
    ├── DeviceError       a sound device that cannot be used
    │   └── DeviceAbsent          it is missing, busy or refuses, and may not do so later
    ├── ModelError        a model that is missing, damaged or made for another mel definition
    ├── MissingPackage    an optional package that is not installed
    ├── TileError         a picture that is not the tile that was promised
    ├── ProtocolError     a wire message that breaks the protocol
    │   ├── LocalProtocolError    this side misused the protocol: a bug here
    │   └── RemoteProtocolError   the peer misused it: refuse the message, keep the program
    ├── ConnectionFailed  a peer that cannot be reached, refuses or vanished
    │   └── RefusedForGood        the peer refused this side, and would refuse it again
    └── PeerRefused       this side refuses the peer, with a close code

A caller's mistake in the Python API is a ``ValueError`` or ``TypeError`` instead.
"""

from __future__ import annotations


class AudioAvifError(Exception):
    """Base of all errors raised on purpose by this package."""


class FileError(AudioAvifError):
    """A file or stream of sound cannot be read or written."""


class DeviceError(AudioAvifError):
    """A sound device cannot be used."""


class DeviceAbsent(DeviceError):
    """A sound device is missing, busy or refuses the format; it may be there later."""


class ModelError(AudioAvifError):
    """A model is missing, damaged or made for another mel definition."""


class MissingPackage(AudioAvifError):
    """An optional package is not installed."""


class TileError(AudioAvifError):
    """A picture is not the tile that was promised; the stream goes on without it."""


class ProtocolError(AudioAvifError):
    """A wire message breaks the protocol of ``docs/reference/wire.md``."""


class LocalProtocolError(ProtocolError):
    """This side tried to send something the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something the protocol does not allow."""


class ConnectionFailed(AudioAvifError):
    """A peer cannot be reached, refuses the stream or vanished."""


class RefusedForGood(ConnectionFailed):
    """The peer refused this side, or this side's own rules forbid the peer; another attempt would fail alike."""


class PeerRefused(AudioAvifError):
    """This side refuses what the peer asks for; ``code`` is the WebSocket close code that tells the peer why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
