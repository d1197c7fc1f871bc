"""Ctrl-C, SIGTERM and the loss of the terminal in a running event loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def on_interrupt(callback: Callable[[], object]) -> None:
    """Call back within the running loop, instead of ending the program, whenever it is interrupted."""
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:  # nohup lets it be ignored
        numbers.append(hangup)
    for number in numbers:
        try:
            loop.add_signal_handler(number, callback)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))
