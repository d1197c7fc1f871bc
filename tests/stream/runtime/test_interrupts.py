"""Signals that end a program."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from audio_avif_stream.runtime.interrupts import on_interrupt


@pytest.mark.parametrize(("before", "calls"), [(signal.SIG_DFL, 1), (signal.SIG_IGN, 0)])
def test_a_closed_terminal_interrupts_unless_nohup_ignores_it(before: signal.Handlers, calls: int) -> None:
    called = []

    async def hang_up() -> None:
        on_interrupt(lambda: called.append(1))
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.01)

    kept = signal.signal(signal.SIGHUP, before)
    try:
        asyncio.run(hang_up())
    finally:
        signal.signal(signal.SIGHUP, kept)
    assert len(called) == calls
