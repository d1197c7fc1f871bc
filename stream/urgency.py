"""Sound is due when it is due: the system is asked to run its threads before others, where it allows that."""

from __future__ import annotations

import os
from contextlib import suppress


def hurry() -> None:
    """Let this thread, and those it starts from now on, run before others: the least of Linux's real-time priorities.

    Needs an ``rtprio`` limit (``ulimit -r``) of 1 or more, or root; else, and on other systems, nothing changes.
    """
    if hasattr(os, "sched_setscheduler"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))


def take_turns() -> None:
    """Let this thread wait like any other: what has no clock would only be in everybody's way."""
    if hasattr(os, "sched_setscheduler"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
