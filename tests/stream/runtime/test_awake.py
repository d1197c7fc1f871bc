"""Whoever stood still itself does not take its peers for silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from audio_avif.codec.encoder import Encoder
from audio_avif.link.hello import Hello
from audio_avif.link.protocol import SenderProtocol
from audio_avif.link.rooms import Listener
from audio_avif.link.takeover import SILENT_S, Verdict
from audio_avif_stream.receiving import session as session_module
from audio_avif_stream.receiving.session import Session
from audio_avif_stream.relay import server as relay_server
from audio_avif_stream.relay.server import Relay, RelayConfig
from audio_avif_stream.runtime.awake import AwakeClock
from audio_avif_stream.sending import transfer as transfer_module
from audio_avif_stream.sending.outgoing import OutgoingStream
from audio_avif_stream.sending.transfer import Transfer
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine


class Time:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def run(self, seconds: float, look: Callable[[], object]) -> None:
        """Let time pass while a program looks ten times a second."""
        for _ in range(round(10 * seconds)):
            self.now_s += 0.1
            look()


def test_a_clock_that_is_read_late_counts_one_second_of_it() -> None:
    time = Time()
    clock = AwakeClock(time)
    assert clock.now_s() == 1000.0
    time.now_s += 0.5
    assert clock.now_s() == 1000.5
    time.now_s += 3600.0
    assert clock.now_s() == clock.now_s() == 1001.5


def test_a_sender_that_stood_still_for_almost_as_long_as_a_dead_path_stays_connected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time, ticks = Time(), 0
    steps_s = [0.1] * 9 + [4.8]

    async def sleep(_: float) -> None:
        nonlocal ticks
        time.now_s += steps_s[ticks] if ticks < len(steps_s) else 0.1
        ticks += 1

    async def watch() -> None:
        monkeypatch.setattr(transfer_module, "AwakeClock", lambda: AwakeClock(time))
        monkeypatch.setattr(transfer_module, "time", SimpleNamespace(time=time))
        monkeypatch.setattr(asyncio, "sleep", sleep)
        stream = OutgoingStream(Encoder(), is_live=True, wants_reports=False)
        transfer = Transfer(stream, Mock(), SenderProtocol(), JsonLines(None), asyncio.Event(), can_come_back=True)
        await transfer._watch()

    with pytest.raises(transfer_module.ConnectionBroke, match="no message came from the receiver for 5 s"):
        asyncio.run(watch())
    assert ticks > len(steps_s) + 30  # five seconds of its own time, of which the standstill was one


def test_a_receiver_that_stood_still_does_not_give_its_sender_up(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    monkeypatch.setattr(session_module, "time", SimpleNamespace(monotonic=time))
    encoder = Encoder()
    hello = Hello(encoder.mel, encoder.tile, encoder.template, "one")
    session = Session(hello, Mock(), 1)
    session._tenure.connect(time.now_s)
    session._is_open.set()

    def look() -> Verdict:
        return session.judge(replace(hello, session="another"))

    time.run(SILENT_S - 1.5, look)
    time.now_s += 60.0
    assert look() is Verdict.WAIT
    time.run(1.0, look)
    assert look() is Verdict.BEGIN


def test_a_relay_that_stood_still_does_not_cut_its_listeners_off(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()

    async def serve() -> None:
        relay = Relay(RelayConfig(), LiveLine(False), JsonLines(None))
        looked = asyncio.Semaphore(0)
        monkeypatch.setattr(relay.rooms, "tidy", lambda now_s: looked.release())
        connection = Mock(remote_address=("127.0.0.1", 1))
        listener = relay._listeners.connected[connection] = Listener(Mock(), bytes, relay.rooms.traffic)
        listener.pause(relay.now_s())
        ticking = asyncio.create_task(relay._tick())
        for step_s in (1.0, 60.0, *[1.0] * 7):
            time.now_s += step_s
            await looked.acquire()
            await looked.acquire()  # one whole look has come after the step
        connection.transport.abort.assert_not_called()
        for _ in range(3):
            time.now_s += 1.0
            await looked.acquire()
            await looked.acquire()
        connection.transport.abort.assert_called()
        ticking.cancel()

    monkeypatch.setattr(relay_server, "_TICK_S", 0.001)
    monkeypatch.setattr(relay_server, "AwakeClock", lambda: AwakeClock(time))
    asyncio.run(serve())
