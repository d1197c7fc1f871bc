"""Ctrl-C and SIGTERM in a running event loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable


def on_interrupt(callback: Callable[[], object]) -> None:
    """Call back within the running loop, instead of ending the program, whenever it is interrupted."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, callback)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))
