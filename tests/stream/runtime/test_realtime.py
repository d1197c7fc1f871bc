"""Threads get real-time priority where the system grants it, and run as before where it does not."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext, suppress

import pytest

from audio_avif_stream.runtime import realtime

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="Linux schedules so")


def scheduling_while(is_realtime: bool, is_normal: bool = False) -> int:
    """The policy of a thread that another one begins."""
    found: list[int] = []

    def inner() -> None:
        if is_normal:
            realtime.normal_priority()
        found.append(os.sched_getscheduler(0))

    def outer() -> None:
        with realtime.realtime_priority() if is_realtime else nullcontext():
            thread = threading.Thread(target=inner)
            thread.start()
            thread.join()
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=outer)
    thread.start()
    thread.join()
    assert found[1] == os.sched_getscheduler(0), "it does not run as before"
    return found[0]


def may_be_realtime() -> bool:
    """Whether the system grants it, asked in a thread that ends: root in a container may lack the capability."""
    granted: list[None] = []

    def ask() -> None:
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
            granted.append(None)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    return bool(granted)


def test_a_realtime_thread_runs_before_others_where_the_system_permits_it() -> None:
    usual = os.sched_getscheduler(0)
    assert scheduling_while(False) == usual
    assert scheduling_while(True) == (os.SCHED_RR if may_be_realtime() else usual)
    assert scheduling_while(True, is_normal=True) == os.SCHED_OTHER


def test_where_it_is_refused_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert scheduling_while(True) == os.sched_getscheduler(0)
