"""Recordings: a stream's messages with their arrival times in one file; see ``docs/reference/file-formats.md``."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import IO

from audio_avif.edge.sound_files import require_writable
from audio_avif.errors import FileError
from audio_avif.link.messages import MAX_MESSAGE_BYTES

log = logging.getLogger(__name__)

MAGIC = b"audio-avif recording\n"
VERSION = 2
"""Of the file, and of the wire protocol whose messages it holds."""
_RECORD = struct.Struct(">BQI")
_MAX_US = 2**53  # up to here seconds in floating point hold every microsecond


class Kind(IntEnum):
    """The kind of a record."""

    BEGAN = 1
    MESSAGE = 2
    ENDED = 3


@dataclass(frozen=True)
class Event:
    """A record: what came at ``at_s`` of the receiver's clock; only a message has ``data``."""

    kind: Kind
    at_s: float
    data: bytes = b""


class Recorder:
    """Records the connections that play, one after another; without a path it does nothing.

    ``now_s`` is of the clock of the receiver's pongs; a time before that of the last record is taken for the same.
    """

    def __init__(self, path: str | Path | None) -> None:
        """Prepare; a recording that is there already is kept until a stream comes.

        Raises FileError for a file that cannot be written, or that is there and no recording.
        """
        self._path = path
        self._file: IO[bytes] | None = None
        self._has_begun = False
        self._at_us = 0
        if path is not None:
            _require_recording_or_nothing(path)
            require_writable(path)

    def __bool__(self) -> bool:
        return self._path is not None

    def opened(self, now_s: float) -> None:
        """Record the beginning of a connection, whose messages follow, the hello first."""
        if self._path is not None and not self._has_begun:
            self._has_begun = True
            try:
                self._file = Path(self._path).open("wb")  # noqa: SIM115 - closed by close()
            except OSError as error:
                self._fail(error)
            self._write(MAGIC + bytes([VERSION]))
        self._append(Kind.BEGAN, now_s)

    def message(self, data: bytes, now_s: float) -> None:
        """Record a message as it came, before it is parsed."""
        self._append(Kind.MESSAGE, now_s, data)

    def closed(self, now_s: float) -> None:
        """Record the end of a connection; the stream may go on over another."""
        self._append(Kind.ENDED, now_s)

    def _append(self, kind: Kind, now_s: float, data: bytes = b"") -> None:
        if len(data) > MAX_MESSAGE_BYTES:
            return
        self._at_us = max(self._at_us, round(now_s * 1e6))
        self._write(_RECORD.pack(kind, self._at_us, len(data)) + data)

    def _write(self, data: bytes) -> None:
        """Write through to the file: what has come is there even if this program is killed."""
        if self._file is None:
            return
        try:
            self._file.write(data)
            self._file.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Log the failure once and stop recording; the stream goes on."""
        log.warning("%s cannot be written (%s); the rest is not recorded", self._path, error.strerror or error)
        self.close()

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _require_recording_or_nothing(path: str | Path) -> None:
    """Raise FileError where the path is a file that is no recording, which must not be overwritten."""
    if not Path(path).is_file() or not os.path.getsize(path):
        return
    try:
        with Path(path).open("rb") as file:
            is_recording = MAGIC.startswith(file.read(len(MAGIC)))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    if not is_recording:
        raise FileError(f"{path} exists and is not a recording; give --record another name")


def read_recording(path: str | Path) -> Iterator[Event]:
    """Open a recording; iterate over what it holds. One that was cut short ends early, with a warning.

    Raises FileError at once for a file that is none, and while iterating where it is damaged.
    """
    try:
        file = Path(path).open("rb")  # noqa: SIM115 - closed by _events
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror or error}") from error
    head = file.read(len(MAGIC) + 1)
    if head == MAGIC + bytes([VERSION]):
        return _events(path, file)
    file.close()
    if len(head) <= len(MAGIC) and MAGIC.startswith(head):
        raise FileError(f"{path} ends before its first record; nothing was recorded")
    if head.startswith(MAGIC):
        raise FileError(f"{path} is a recording of version {head[-1]}; this program reads version {VERSION}")
    raise FileError(f"{path} is not a recording of audio-avif-recv --record")


def _events(path: str | Path, file: IO[bytes]) -> Iterator[Event]:
    last_us = 0
    with file:
        while head := file.read(_RECORD.size):
            where = f"{path} is damaged at byte {file.tell() - len(head)}"
            if len(head) < _RECORD.size:
                break
            kind, at_us, size = _RECORD.unpack(head)
            if kind not in list(Kind):
                raise FileError(f"{where}: a record has the unknown kind {kind}")
            if size > (MAX_MESSAGE_BYTES if kind == Kind.MESSAGE else 0):
                raise FileError(f"{where}: a record of {size} bytes is too long for its kind")
            if not last_us <= at_us <= _MAX_US:
                raise FileError(f"{where}: the times run backwards or are out of range")
            last_us = at_us
            data = file.read(size)
            if len(data) < size:
                break
            yield Event(Kind(kind), at_us / 1e6, data)
        else:
            return
        log.warning("%s is truncated: its last record is incomplete and is left out", path)
