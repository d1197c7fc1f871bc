"""Request real-time scheduling for the audio threads where the operating system permits it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def realtime_priority() -> Iterator[None]:
    """Run this thread, and those it starts meanwhile, at the lowest of Linux's real-time priorities.

    Needs an ``rtprio`` limit (``ulimit -r``) of 1 or more, or root; otherwise, and on other systems, nothing changes.
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


def normal_priority() -> None:
    """Run this thread at normal priority: work without a deadline must not delay the audio threads."""
    if hasattr(os, "sched_setscheduler"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
