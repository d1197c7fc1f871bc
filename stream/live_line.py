"""One line on standard error that follows a running stream, and the same figures as JSON lines."""

from __future__ import annotations

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from audio_avif.errors import FileError

log = logging.getLogger(__name__)


class LiveLine:
    """Redraws one line in a terminal; elsewhere prints it at most once a second, so that logs stay readable."""

    def __init__(self, is_shown: bool) -> None:
        self.is_shown = is_shown
        self._is_terminal = sys.stderr.isatty()
        self._printed_s = float("-inf")
        self._live: Any = None

    def update(self, text: str, now_s: float) -> None:
        """Show this text from now on."""
        if not self.is_shown:
            return
        if not self._is_terminal:
            if now_s - self._printed_s >= 1.0:
                self._printed_s = now_s
                print(text, file=sys.stderr, flush=True)
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def close(self) -> None:
        """Take the line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None


class JsonLines:
    """Writes one JSON object a line to a file, or to standard output for ``-``."""

    def __init__(self, target: str | None) -> None:
        """Open the file. Raises FileError where that is not possible."""
        self._name = "standard output" if target == "-" else target
        self._file: IO[str] | None = None
        if target == "-":
            self._file = sys.stdout
        elif target is not None:
            try:
                self._file = Path(target).open("w", encoding="utf-8")  # noqa: SIM115 - closed by close()
            except OSError as error:
                raise FileError(f"{target} cannot be written: {error.strerror}") from error

    def __bool__(self) -> bool:
        return self._file is not None

    def write(self, values: dict[str, Any]) -> None:
        """Append one object; what cannot be written is reported once, and the stream goes on."""
        if self._file is None:
            return
        try:
            print(json.dumps(values), file=self._file, flush=True)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._name, error.strerror)
            self._close()

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None and file is not sys.stdout:
            with suppress(OSError):
                file.close()
