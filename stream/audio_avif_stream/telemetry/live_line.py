"""One line on standard error that follows a running stream, and the same figures as JSON lines."""

from __future__ import annotations

import json
import logging
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from audio_avif.edge import console
from audio_avif.errors import FileError

log = logging.getLogger(__name__)


_RATE_WINDOW_S = 2.0


class RateMeter:
    """The bit rate of a stream: over its whole length, and over its last two seconds."""

    def __init__(self) -> None:
        self._payload_bytes = 0
        self._wire_bytes = 0
        self._sound_s = 0.0
        self._past: deque[tuple[float, int, int]] = deque([(0.0, 0, 0)])

    def tile(self, payload_bytes: int, wire_bytes: int, sound_s: float) -> None:
        """Count a tile that lasts ``sound_s``."""
        self._payload_bytes += payload_bytes
        self._wire_bytes += wire_bytes
        self._sound_s += sound_s
        if self._past[-1][0] == self._sound_s and len(self._past) > 1:
            self._past.pop()  # what repeats a tile adds no time
        self._past.append((self._sound_s, self._payload_bytes, self._wire_bytes))
        while self._past[1][0] <= self._sound_s - _RATE_WINDOW_S:
            self._past.popleft()

    def control(self, wire_bytes: int) -> None:
        """Count a message that is no tile."""
        self._wire_bytes += wire_bytes

    def mean_kbps(self) -> tuple[float, float]:
        """Codec and wire rate over all tiles so far."""
        sound_s = self._sound_s or 1.0
        return self._payload_bytes * 8e-3 / sound_s, self._wire_bytes * 8e-3 / sound_s

    def recent_kbps(self) -> tuple[float, float]:
        """Codec and wire rate over the last two seconds of sound."""
        began_s, payload_bytes, wire_bytes = self._past[0]
        sound_s = self._sound_s - began_s or 1.0
        return (self._payload_bytes - payload_bytes) * 8e-3 / sound_s, (self._wire_bytes - wire_bytes) * 8e-3 / sound_s


class TextLine(Protocol):
    """Where a line of text follows a stream."""

    def update(self, text: str, now_s: float) -> None:
        """Show this text."""
        ...

    def close(self) -> None:
        """Remove the text: the stream is over."""
        ...


class LiveLine:
    """Redraws one line in a terminal; elsewhere prints it at most once a second, so that logs stay readable."""

    def __init__(self, is_shown: bool) -> None:
        self.is_shown = is_shown
        self._is_terminal = sys.stderr.isatty()
        self._printed_s = float("-inf")
        self._live: Any = None

    def update(self, text: str, now_s: float) -> None:
        """Show this text."""
        if not self.is_shown:
            return
        if not self._is_terminal:
            if now_s - self._printed_s >= 1.0:
                self._printed_s = now_s
                console.tell(text)
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        with suppress(OSError):  # a closed terminal does not stop the program
            if self._live is None:
                self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def close(self) -> None:
        """Remove the line."""
        live, self._live = self._live, None
        if live is not None:
            with suppress(OSError):
                live.stop()


class JsonLines:
    """Writes one JSON object a line to a file, or to standard output for ``-``.

    The first line replaces the file's contents. A program that fails before that leaves the file as it was.
    """

    def __init__(self, target: str | None) -> None:
        """Open the file. Raises FileError where that is not possible."""
        self._name = "standard output" if target == "-" else target
        self._file: IO[str] | None = None
        self._path = None if target is None or target == "-" else Path(target)
        self._is_new = self._path is not None and not self._path.exists()
        self._has_begun = False
        if target == "-":
            self._file = sys.stdout
        elif self._path is not None:
            try:
                self._file = self._path.open("a", encoding="utf-8")
            except OSError as error:
                raise FileError(f"{target} cannot be written: {error.strerror}") from error

    def __bool__(self) -> bool:
        return self._file is not None

    def write(self, values: dict[str, Any]) -> None:
        """Append one object; a failure is logged once, and the stream goes on."""
        if self._file is None:
            return
        try:
            self._begin(self._file)
            print(json.dumps(values), file=self._file, flush=True)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._name, error.strerror)
            self._close()

    def _begin(self, file: IO[str]) -> None:
        if not self._has_begun and self._path is not None and self._path.is_file():  # neither a pipe nor a device
            file.truncate(0)
        self._has_begun = True

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()
        if kind is not None and self._is_new and not self._has_begun and self._path is not None:
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None and file is not sys.stdout:
            with suppress(OSError):
                file.close()
