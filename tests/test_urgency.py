"""The programs ask for punctual threads where the system grants them, and live without where it does not."""

from __future__ import annotations

import os
import threading

import pytest

from audio_avif.stream import urgency

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setscheduler"), reason="Linux schedules so")


def scheduling_after(*asks: str) -> int:
    """The policy of a thread that was begun by one that has asked so."""
    found: list[int] = []

    def ask() -> None:
        for name in asks:
            getattr(urgency, name)()
        inner = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
        inner.start()
        inner.join()

    outer = threading.Thread(target=ask)
    outer.start()
    outer.join()
    return found[0]


def may_hurry() -> bool:
    import resource

    return os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_RTPRIO)[0] != 0


def test_who_hurries_runs_before_others_if_the_system_lets_it() -> None:
    assert scheduling_after("hurry") == (os.SCHED_RR if may_hurry() else os.SCHED_OTHER)
    assert scheduling_after("hurry", "take_turns") == os.SCHED_OTHER
    assert os.sched_getscheduler(0) == os.SCHED_OTHER  # this thread has asked for nothing


def test_where_it_is_refused_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert scheduling_after("hurry") == os.SCHED_OTHER
