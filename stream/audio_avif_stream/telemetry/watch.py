"""``--watch``: the live spectrogram of a stream in the lower rows of the terminal.

The upper rows stay an ordinary terminal, in which the program's lines scroll: a scroll region keeps them apart, so
that nothing that is written to standard error tears the picture.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import select
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from audio_avif.codec.decoder import Frames
from audio_avif.link.hello import Hello
from audio_avif_stream.runtime.tasks import cancel
from audio_avif_stream.telemetry.half_blocks import MAX_COLUMNS, Column, Columns, Pen, Picture, meter

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_PICTURE_S = 1 / 16
_MAX_FRAMES_WAITING = 64
_MIN_ROWS, _MIN_WIDTH = 9, 20
_TEXT_WIDTH = 80
_PATIENCE_S = 0.05
_WHOLE = "\x1b[0m\x1b[J\x1b7\x1b[r\x1b8\x1b[?25h"  # what is below the cursor is erased, and all rows scroll


def open_watch() -> Watch | None:
    """Return a picture for the terminal on standard error; None, with a warning, where there is none that shows it."""
    try:
        if os.environ.get("TERM", "dumb") == "dumb" or sys.stderr.encoding.lower() != "utf-8":
            raise OSError
        # A descriptor of its own that never blocks: a stopped terminal does not hold the stream up.
        descriptor = os.open(os.ttyname(sys.stderr.fileno()), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except (OSError, AttributeError):  # Windows has no ttyname
        log.warning("--watch needs a terminal with UTF-8 on standard error; the line of --stats is shown instead")
        return None
    is_true_colour = os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit")
    return Watch(Screen(descriptor), Pen(is_true_colour))


class Screen:
    """A terminal whose lower rows are drawn on, while lines scroll in the ``upper_rows``, None while it is too small.

    Every write keeps the cursor where the lines are.
    """

    def __init__(self, descriptor: int) -> None:
        self.width = 0
        self.height = 0
        self.upper_rows: int | None = None
        self._descriptor = descriptor
        self._waiting = b""

    def fit(self) -> bool:
        """Divide the terminal anew where its size has changed; return whether it has. Raises OSError."""
        width, height = os.get_terminal_size(self._descriptor)
        if (width, height) == (self.width, self.height):
            return False
        self.width, self.height = width, height
        self.upper_rows = None if height < _MIN_ROWS or width < _MIN_WIDTH else max(3, height // 5)
        self._queue(_WHOLE)
        if self.upper_rows is not None:  # the lines that are there move up
            lower_rows = height - self.upper_rows
            self._queue("\n" * lower_rows + f"\x1b7\x1b[1;{self.upper_rows}r\x1b8\x1b[{lower_rows}A\x1b[?25l")
        return True

    def write(self, text: str) -> None:
        """Draw text that places itself, all at once. Raises OSError."""
        if text:
            self._queue(f"\x1b[?2026h\x1b7{text}\x1b8\x1b[?2026l")

    def flush(self, patience_s: float = 0.0) -> bool:
        """Return whether the terminal has taken all that was written. Raises OSError."""
        while self._waiting and select.select([], [self._descriptor], [], patience_s)[1]:
            with suppress(BlockingIOError):
                self._waiting = self._waiting[os.write(self._descriptor, self._waiting) :]
        return not self._waiting

    def close(self) -> None:
        """Give the whole terminal back, without the picture."""
        with suppress(OSError):
            self._queue(_WHOLE)
        os.close(self._descriptor)

    def _queue(self, text: str) -> None:
        self._waiting += text.encode()
        self.flush(_PATIENCE_S)  # a whole picture is more than a terminal takes at once


class Watch:
    """The picture of the stream that plays, a level meter, and a line of text as a ``LiveLine`` shows."""

    def __init__(self, screen: Screen, pen: Pen) -> None:
        self._screen = screen
        self._picture = Picture(pen)
        self._spoken: deque[tuple[Columns, Frames]] = deque(maxlen=_MAX_FRAMES_WAITING)
        self._waiting: deque[Column] = deque(maxlen=MAX_COLUMNS)
        self._tile_s = 1.0
        self._level = 0.0
        self._text: str | None = None
        self._shown = ""

    def begin(self, hello: Hello) -> Callable[[Frames], None]:
        """Begin a stream; what is returned takes the frames that are spoken, from any thread."""
        columns = Columns(hello.tile, hello.mel.n_mels)
        self._tile_s = hello.tile.frames * hello.mel.frame_s
        return lambda frames: self._spoken.append((columns, frames))

    def update(self, text: str, now_s: float) -> None:
        """Show this text below the picture."""
        self._text = text

    def close(self) -> None:
        """Show that a stream has ended."""
        self._text = None

    async def beside(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Draw while ``work`` is done, and return its result; then the terminal is as before."""
        drawing = asyncio.create_task(self._keep_drawing())
        try:
            return await work
        finally:
            await cancel([drawing])

    async def _keep_drawing(self) -> None:
        try:
            while True:
                self.draw(_PICTURE_S)
                await asyncio.sleep(_PICTURE_S)
        except OSError as error:
            log.debug("the terminal is gone: %s", error)
        except Exception as error:  # the stream goes on without a picture
            log.warning("the picture of --watch has failed: %s", error)
        finally:
            self._screen.close()

    def draw(self, passed_s: float) -> None:
        """Draw what has changed in the time that passed, unless the terminal is still busy. Raises OSError."""
        screen = self._screen
        self._take()
        if not screen.flush():
            return
        text = ""
        if screen.fit():
            self._shown = ""
            if screen.upper_rows is not None:
                text = self._picture.place(screen.upper_rows + 1, screen.height - screen.upper_rows - 1, screen.width)
        text += self._picture.push(self._due(passed_s))
        if screen.upper_rows is not None:
            screen.write(text + self._status())

    def _take(self) -> None:
        while self._spoken:
            columns, frames = self._spoken.popleft()
            self._waiting.extend(columns.push(frames))

    def _due(self, passed_s: float) -> list[Column]:
        """Take the columns that are due, so that those of a tile, which come at once, are shown one by one."""
        share = 1 - math.exp(-passed_s / self._tile_s)
        columns = [self._waiting.popleft() for _ in range(math.ceil(len(self._waiting) * share))]
        if columns:
            self._level = columns[-1].level
        return columns

    def _status(self) -> str:
        level, text = (0.0, "no stream") if self._text is None else (self._level, self._text)
        width = self._screen.width
        meter_width = max(3, min(10, width - _TEXT_WIDTH))
        text = f"{meter(level, meter_width)}▏{text}"[:width].ljust(width)
        if text == self._shown:
            return ""
        self._shown = text
        return f"\x1b[{self._screen.height};1H\x1b[0m{text}"
