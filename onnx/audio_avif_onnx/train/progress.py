"""Long work in sight, and stopped between two pieces of it."""

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
    """Work was stopped between two items; unlike after any other KeyboardInterrupt, nothing is half done."""


class Display:
    """A bar on a terminal; elsewhere a line when work begins, one every half minute and one at its end.

    This is also where work is stopped: ``show`` raises Stopped once ``stopped`` says so. A loop that shows itself is
    interrupted between two items, never amid one.
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
        """Say how far the work under way is; ``share`` is 0 to 1 where the end is known."""
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
        """A line that stays."""
        self.close()
        print(text, file=sys.stderr, flush=True)

    def each(self, items: Iterable[Item], title: str, unit: str, total: int, done: int = 0) -> Iterator[Item]:
        """Pass items on and show how many of ``total`` are behind, ``done`` of them from before."""
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
        """The work is done: take the bar away; what follows begins anew."""
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
    """``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min"


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM has come, in place of dying of it; a second one interrupts at once."""
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
