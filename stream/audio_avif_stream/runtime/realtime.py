"""Sound is due when it is due: the system is asked to run its threads before others, where it allows that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def hurrying() -> Iterator[None]:
    """Let this thread, and those it starts meanwhile, run before others: the least of Linux's real-time priorities.

    Needs an ``rtprio`` limit (``ulimit -r``) of 1 or more, or root; else, and on other systems, nothing changes.
    """
    if not hasattr(os, "sched_setscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setscheduler(0, *before)


def take_turns() -> None:
    """Let this thread wait like any other: what has no clock would only be in everybody's way."""
    if hasattr(os, "sched_setscheduler"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
