"""Helpers of all commands: exit codes, signals, logging, and argument types."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from audio_avif.errors import AudioAvifError

INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def run(program: str, body: Callable[[], None]) -> int:
    """Run a command's body and return its exit code: 0, 1 after a failure told in one sentence, 130 after Ctrl-C.

    Where the reader of the output goes away, the command ends silently, as in a shell.
    """
    try:
        body()
    except AudioAvifError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains again when it flushes
        return 1
    return 0


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt as Ctrl-C does, for a command that must clean up."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def interrupted_once() -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM raise KeyboardInterrupt, for a command whose threads finish their current work.

    Later ones are ignored until the program has ended, or they would interrupt the cleaning up. Not for commands that
    run an event loop, which handles signals itself.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        for signal_number in before:
            signal.signal(signal_number, signal.SIG_IGN)
        before.clear()
        signal.default_int_handler(number, frame)

    before = {signal.SIGTERM: signal.getsignal(signal.SIGTERM), signal.SIGINT: signal.getsignal(signal.SIGINT)}
    if before[signal.SIGINT] is not signal.default_int_handler:  # a shell ignores it in what runs in the background
        del before[signal.SIGINT]
    for signal_number in before:
        signal.signal(signal_number, interrupt)
    try:
        yield
    finally:
        for signal_number, handler in before.items():
            signal.signal(signal_number, handler)


def tell(text: str) -> None:
    """Print a line on standard error; a closed standard error does not stop the program."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


class _Teller(logging.Handler):
    """Tells each record: above a live line, which replaces ``sys.stderr`` while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(self.format(record))


def log_to_stderr(program: str) -> None:
    """Let warnings reach the user as lines that name the program."""
    _shield_stderr()
    logging.basicConfig(level=logging.WARNING, format=f"{program}: %(message)s", handlers=[_Teller()])
    # A peer that is no WebSocket is this program's to report, without a traceback.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)


def _shield_stderr() -> None:
    """Give the program's own lines a descriptor of their own: number 2 is silenced while a sound system is called."""
    with suppress(OSError, ValueError, AttributeError):
        if sys.stderr.fileno() == 2:
            # Without a buffer: what a closed terminal does not take must not be tried again when the program ends.
            raw = os.fdopen(os.dup(2), "wb", 0)
            sys.stderr = io.TextIOWrapper(raw, sys.stderr.encoding, sys.stderr.errors, write_through=True)


def port(text: str) -> int:
    """Parse a TCP port. Raises ValueError, as argparse wants it."""
    return int(_checked(int(text), 0, 65_535))


def milliseconds(text: str) -> float:
    """Parse a duration of up to ten seconds. Raises ValueError."""
    return _checked(float(text), 0, 10_000)


def integer_in(low: int, high: int) -> Callable[[str], int]:
    """A parser of integers from ``low`` to ``high``; argparse shows its name where it raises ValueError."""

    def parse(text: str) -> int:
        return int(_checked(int(text), low, high))

    parse.__name__ = f"number ({low} to {high})"
    return parse


def _checked(value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise ValueError(f"{value} is not within {low} to {high}")
    return value
