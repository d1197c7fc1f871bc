"""The programs ask for punctual threads where the system grants them, and live without where it does not."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext, suppress

import pytest

from audio_avif_stream.runtime import realtime as urgency

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="Linux schedules so")


def scheduling_while(is_hurrying: bool, takes_turns: bool = False) -> int:
    """The policy of a thread that another one begins."""
    found: list[int] = []

    def inner() -> None:
        if takes_turns:
            urgency.take_turns()
        found.append(os.sched_getscheduler(0))

    def outer() -> None:
        with urgency.hurrying() if is_hurrying else nullcontext():
            thread = threading.Thread(target=inner)
            thread.start()
            thread.join()
        found.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=outer)
    thread.start()
    thread.join()
    assert found[1] == os.sched_getscheduler(0), "it does not run as before"
    return found[0]


def may_hurry() -> bool:
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


def test_who_hurries_runs_before_others_if_the_system_lets_it() -> None:
    usual = os.sched_getscheduler(0)
    assert scheduling_while(False) == usual
    assert scheduling_while(True) == (os.SCHED_RR if may_hurry() else usual)
    assert scheduling_while(True, takes_turns=True) == os.SCHED_OTHER


def test_where_it_is_refused_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert scheduling_while(True) == os.sched_getscheduler(0)
