"""Show the progress of long work, and stop it between two items."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

Item = TypeVar("Item")

_LINE_EVERY_S = 30.0


class Stopped(KeyboardInterrupt):
    """Work was stopped between two items: unlike with other KeyboardInterrupts, no item is half done."""


class Display:
    """A progress bar on a terminal; elsewhere a line at the start, every half minute and at the end.

    ``show`` raises Stopped once ``stopped`` returns True, so a loop that shows its progress is interrupted
    between two items.
    """

    def __init__(
        self, stopped: Callable[[], bool] = lambda: False, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._stopped = stopped
        self._clock_s = clock_s
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._printed_s = -_LINE_EVERY_S
        self._began: tuple[float, float] | None = None

    def show(self, text: str, share: float | None = None) -> None:
        """Show progress; ``share`` is 0 to 1 where the end is known. Raises Stopped."""
        if self._stopped():
            self.close()
            raise Stopped
        now_s = self._clock_s()
        if share is not None:
            self._began = self._began or (now_s, share)
            text += self._left(now_s, share)
        if sys.stderr.isatty():
            self._draw(text, share)
        elif now_s - self._printed_s >= _LINE_EVERY_S:
            self._printed_s = now_s
            print(text, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self.close()
        print(text, file=sys.stderr, flush=True)

    def each(self, items: Iterable[Item], title: str, unit: str, total: int, done: int = 0) -> Iterator[Item]:
        """Yield items and show how many of ``total`` are done, counting ``done`` earlier ones."""
        self.close()
        self.show(f"{title}: {done} of {total} {unit}", done / total)
        for item in items:
            yield item
            done += 1
            if done == total:
                self._printed_s = -_LINE_EVERY_S
            self.show(f"{title}: {done} of {total} {unit}", done / total)
        self.close()

    def close(self) -> None:
        """Remove the bar at the end of the work."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._began = None
        self._printed_s = -_LINE_EVERY_S

    def _left(self, now_s: float, share: float) -> str:
        assert self._began is not None
        began_s, first_share = self._began
        if not first_share < share < 1:
            return ""
        return f"  {duration((now_s - began_s) * (1 - share) / (share - first_share))} left"

    def _draw(self, text: str, share: float | None) -> None:
        if self._bar is None:
            columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4)
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        self._bar.update(self._task, description=text, completed=share or 0.0, total=None if share is None else 1.0)


def duration(seconds: float) -> str:
    """Format a duration: ``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether SIGINT or SIGTERM has come; a second signal interrupts at once."""
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
