"""Single keys of the terminal on standard input, for as long as a program wants them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|O.|.)?")  # an arrow or function key, or one with Alt (ECMA-48, 5.4)


def has_keys() -> bool:
    """Whether keys can be read: standard input is a terminal, and this program is in its foreground."""
    try:
        return os.name == "posix" and sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


@contextmanager
def keys(on_key: Callable[[str], object]) -> Iterator[None]:
    """Call back in the running loop for each key within the block; the terminal is as before when it is left.

    Where there are no keys, nothing happens.
    """
    if not has_keys():
        yield
        return
    import termios
    import tty

    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def begin() -> None:  # again after Ctrl-Z: the shell has changed the terminal meanwhile
        with suppress(termios.error):
            tty.setcbreak(descriptor)

    def read() -> None:
        try:
            text = os.read(descriptor, 64).decode(errors="ignore")
        except OSError:
            text = ""
        if not text:  # the terminal is closed
            loop.remove_reader(descriptor)
        for key in _SEQUENCE.sub("", text):
            on_key(key)

    begin()
    loop.add_signal_handler(signal.SIGCONT, begin)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        loop.remove_signal_handler(signal.SIGCONT)
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
