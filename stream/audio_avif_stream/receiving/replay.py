"""Plays a recording through the code of a live stream: in real time, or as fast as this machine can."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from audio_avif.errors import FileError, ModelError, RemoteProtocolError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Bye, Ping, SenderMessage
from audio_avif.link.packets import MediaPacket
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif_stream.receiving.playout import Playout, open_decoder
from audio_avif_stream.receiving.receiver_stats import FigureDisplay, ReceiverStats
from audio_avif_stream.receiving.stage import Stage
from audio_avif_stream.receiving.stream_recording import Event, Kind, read_recording

log = logging.getLogger(__name__)

_TICK_S = 0.1


class ReplayClock(Protocol):
    """The clock of a recording: the time that the receiver's clock showed then."""

    is_virtual: bool

    def __call__(self) -> float:
        """Return the time."""
        ...

    def move_to(self, now_s: float) -> None:
        """Return when it is that time, at once where it is past."""
        ...


class VirtualClock:
    """A clock that advances only when it is moved."""

    is_virtual = True

    def __init__(self) -> None:
        self._now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self._now_s

    def move_to(self, now_s: float) -> None:
        """Advance to that time at once."""
        self._now_s = max(self._now_s, now_s)


class PacedClock:
    """A clock that runs with this machine's; the first time it is moved to is now."""

    is_virtual = False

    def __init__(self) -> None:
        self._ahead_s: float | None = None

    def __call__(self) -> float:
        """Return the time."""
        return time.monotonic() + (self._ahead_s or 0.0)

    def move_to(self, now_s: float) -> None:
        """Wait until then."""
        if self._ahead_s is None:
            self._ahead_s = now_s - time.monotonic()
        time.sleep(max(0.0, now_s - self()))


def replay_clock(speed: str, targets: Sequence[str]) -> ReplayClock:
    """The clock by which outputs and playout run at ``real`` or ``full`` speed.

    Raises FileError for a speaker at full speed.
    """
    if speed == "real":
        return PacedClock()
    if "speaker" in targets:
        raise FileError("a speaker cannot play at full speed; use --output FILE.wav, or --replay-speed real")
    return VirtualClock()


@dataclass(frozen=True)
class _Step:
    """A message of the stream that plays, or None where the stream ended without a bye; and when."""

    at_s: float
    message: SenderMessage | None
    message_bytes: int = 0


def _steps(events: Iterator[Event], resume_s: float) -> Iterator[_Step]:
    """Yield one stream after the other, from hello to bye or lost connection; a repeated hello resumes it."""
    protocol = ReceiverProtocol()
    session: str | None = None
    ended_s: float | None = None
    at_s = 0.0
    for event in events:
        at_s = event.at_s
        if session is not None and ended_s is not None and at_s > ended_s + resume_s:
            session = None
            yield _Step(ended_s + resume_s, None)
        ended_s = at_s if event.kind is Kind.ENDED else None
        if event.kind is Kind.BEGAN:
            protocol = ReceiverProtocol()
        if event.kind is not Kind.MESSAGE:
            continue
        try:
            message = protocol.receive(event.data)
        except RemoteProtocolError as error:
            log.warning("the recorded sender broke the protocol here: %s", error)
            continue
        if isinstance(message, Hello):
            if session not in (None, message.session):
                yield _Step(at_s, None)
            session = message.session
        if session is not None:
            yield _Step(at_s, message, len(event.data))
        if isinstance(message, Bye):
            session = None
    if session is not None:
        yield _Step(at_s, None)


def replay(path: str | Path, stage: Stage, clock: ReplayClock, first_stream: int = 1) -> None:
    """Play a recording by a clock that is also the output's.

    In virtual time a machine is infinitely fast, and what is played is the same on every run. Raises FileError for a
    file that is no recording, ModelError for a stream that the vocoder cannot speak, and what the output raises.
    """
    stream: _Stream | None = None
    streams = first_stream - 1
    for step in _steps(read_recording(path), stage.resume_s):
        if stream is not None:
            stream.play_until(step.at_s)
        clock.move_to(step.at_s)
        if isinstance(step.message, Hello):
            if stream is not None:
                stream.stats.reconnections += 1
                continue
            streams += 1
            stream = _Stream(step.message, stage, clock, streams)
        elif stream is not None and (step.message is None or isinstance(step.message, Bye)):
            stream.finish(step.message)
            stream = None
        elif stream is not None:
            stream.take(step)


class _Stream:
    """One stream of the recording."""

    def __init__(self, hello: Hello, stage: Stage, clock: ReplayClock, number: int) -> None:
        vocoder = stage.vocoder
        if hello.mel != vocoder.mel:
            raise ModelError(f"the stream's mel is {hello.mel}; vocoder {vocoder.name} needs {vocoder.mel}")
        self.stats = ReceiverStats(hello)
        self._clock = clock
        self._playout = Playout(
            *open_decoder(hello, vocoder, stage.playout, None if clock.is_virtual else clock),
            stage.output,
            stage.records_of(hello, number),
            clock=clock,
            on_report=self.stats.report,
        )
        self._playout.begin()
        self._shown_s = clock()
        self._display = FigureDisplay(self.stats, stage.live_line, stage.stats_json, self._shown_s)

    def play_until(self, at_s: float) -> None:
        """Advance the time, with concealment where no packets come."""
        while (wait_s := self._playout.wait_s()) is not None and (due_s := self._clock() + wait_s) < at_s:
            self._clock.move_to(due_s)
            self._speak()

    def take(self, step: _Step) -> None:
        """Take a message now."""
        if isinstance(step.message, MediaPacket):
            self.stats.media(step.message, step.message_bytes)
            self._playout.arrive(step.message, step.at_s)
            self._speak()
        elif isinstance(step.message, Ping):
            self.stats.ping(step.message, step.message_bytes)

    def finish(self, bye: Bye | None) -> None:
        """End the stream, and play what is here."""
        self._playout.decoder.end(bye)
        self._speak()
        self._playout.finish()
        self._display.close()
        self._display.conclude(self.stats.figures(self._playout, is_connected=False))

    def _speak(self) -> None:
        while self._playout.advance():
            pass
        now_s = self._clock()
        if now_s >= self._shown_s + _TICK_S:
            self._shown_s = now_s
            self._display.show(self.stats.figures(self._playout), now_s)
