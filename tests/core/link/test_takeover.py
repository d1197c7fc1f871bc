"""Who may take over a stream's place, by a clock that the test moves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audio_avif.errors import RemoteProtocolError
from audio_avif.link.takeover import SILENT_S, Tenure, Verdict
from support.stage import hello_of

HELLO = replace(hello_of(8), session="one")
HEARD_S = 100.0


def tenure(**changes: object) -> Tenure:
    return Tenure(HELLO, HEARD_S, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("silent_s", [0.0, SILENT_S, SILENT_S + 1, 1000.0])
@pytest.mark.parametrize("plays_out", [False, True])
def test_the_sender_of_the_stream_may_always_come_back(silent_s: float, plays_out: bool) -> None:
    held = tenure(plays_out=plays_out)
    assert held.judge("one", HEARD_S + silent_s) is Verdict.RESUME
    held.break_off(HEARD_S)
    assert held.judge("one", HEARD_S + silent_s) is Verdict.RESUME
    held.has_bye = True
    assert held.judge("one", HEARD_S + silent_s) is Verdict.RESUME


def test_another_sender_waits_until_this_one_has_been_silent() -> None:
    held = tenure()
    assert held.judge("two", HEARD_S + SILENT_S) is Verdict.WAIT
    assert held.judge("two", HEARD_S + SILENT_S + 0.01) is Verdict.BEGIN
    held.hear(HEARD_S + SILENT_S)
    assert held.judge("two", HEARD_S + SILENT_S + 0.01) is Verdict.WAIT


def test_a_lost_connection_frees_the_place_at_once_and_a_new_one_takes_it_again() -> None:
    held = tenure()
    held.break_off(HEARD_S + 1)
    assert held.judge("two", HEARD_S + 1) is Verdict.BEGIN and held.lost_s(HEARD_S + 5) == 4
    held.connect(HEARD_S + 5)
    assert held.judge("two", HEARD_S + 5) is Verdict.WAIT and held.lost_s(HEARD_S + 6) == 0


@pytest.mark.parametrize(("plays_out", "verdict"), [(False, Verdict.BEGIN), (True, Verdict.WAIT)])
def test_after_its_bye_a_stream_keeps_its_place_only_where_it_is_played_out(plays_out: bool, verdict: Verdict) -> None:
    held = tenure(plays_out=plays_out, has_bye=True)
    assert held.judge("two", HEARD_S) is verdict
    held.break_off(HEARD_S)
    assert held.judge("two", HEARD_S + 1000) is verdict


def test_a_stream_that_was_given_up_is_not_gone_on_with() -> None:
    held = tenure(is_given_up=True)
    assert held.judge("one", HEARD_S) is Verdict.WAIT
    held.break_off(HEARD_S)
    assert held.judge("one", HEARD_S) is Verdict.BEGIN


@pytest.mark.parametrize("changed", [{"live": False}, {"tile": replace(HELLO.tile, frames=16)}])
def test_a_stream_that_goes_on_keeps_its_settings(changed: dict[str, object]) -> None:
    held = tenure()
    held.require_same_settings(replace(HELLO, report=True, agent="another"))
    with pytest.raises(RemoteProtocolError, match="cannot change its settings"):
        held.require_same_settings(replace(HELLO, **changed))  # type: ignore[arg-type]
