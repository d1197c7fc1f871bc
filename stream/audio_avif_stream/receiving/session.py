"""A stream as the receiver has it: it outlives the connections that carry it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from audio_avif import __version__
from audio_avif.codec.decoder import WARM_UP_TILES, warm_up
from audio_avif.codec.playout import PlayoutConfig
from audio_avif.edge import console
from audio_avif.errors import AudioAvifError, Refusal, RemoteProtocolError
from audio_avif.link.messages import (
    CLOSE_BUSY,
    CLOSE_REPLACED,
    CLOSE_TOO_MANY_MESSAGES,
    Bye,
    Hello,
    MediaPacket,
    Ping,
    Pong,
    Receipt,
    Report,
    Welcome,
)
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif.vocoders.protocol import Vocoder, VocoderStream
from audio_avif.vocoders.streaming import open_stream
from audio_avif_stream.receiving.outputs import Output
from audio_avif_stream.receiving.playout import Player
from audio_avif_stream.receiving.receiver_stats import ReceiverStats, conclusion
from audio_avif_stream.receiving.saving import Saver
from audio_avif_stream.receiving.stream_recording import Recorder
from audio_avif_stream.runtime.awake import AwakeClock
from audio_avif_stream.serving.admission import Complaints, too_many_messages
from audio_avif_stream.serving.connections import Line, say
from audio_avif_stream.serving.security import Limits, MessageAllowance
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine

if TYPE_CHECKING:
    from audio_avif_stream.receiving.web_view import Window

log = logging.getLogger(__name__)

SILENT_S = 3.0
"""A sender that has not been heard for so long makes way for another."""

_GONE_S = 20.0  # a live sender, which pings every second, has lost its way
_BACKLOG_TILES = 64
_HELD_REPORTS = 256
_TICK_S = 0.1
_AGENT = f"audio-avif/{__version__}"


@dataclass(frozen=True)
class Stage:
    """Where the streams of one receiver are played, what is kept and told of them, and what is asked of their peers.

    ``resume_s`` is how long a stream whose connection broke off waits for its sender.
    """

    vocoder: Vocoder
    output: Output
    playout: PlayoutConfig
    live_line: LiveLine
    stats_json: JsonLines
    save_tiles: Path | None = None
    recorder: Recorder | Window = field(default_factory=lambda: Recorder(None))
    complaints: Complaints = field(default_factory=Complaints)
    limits: Limits = field(default_factory=Limits)
    resume_s: float = 60.0
    saver: Saver = field(default_factory=lambda: Saver(None))


class Session:
    """One stream: its player, its figures, and the line that carries it now, if any."""

    def __init__(self, hello: Hello, stage: Stage, number: int) -> None:
        self.hello = hello
        self.player: Player | None = None
        self.bye: Bye | None = None
        self.error: Exception | None = None
        self.figures: dict[str, Any] | None = None
        self.is_over = asyncio.Event()
        self._stage = stage
        self._recorder: Recorder | Window = stage.recorder
        self._number = number
        self._stats = ReceiverStats(hello, stage.vocoder.name)
        self._received = -1
        self._vocoder_stream: VocoderStream | None = None
        self._line: Line | None = None
        self._lines = 0
        self._told_s = time.monotonic()
        self._awake = AwakeClock(time.monotonic)
        self._heard_s = self._broke_off_s = self._awake.now_s()
        self._is_ending = False
        self._farewell = (int(CloseCode.NORMAL_CLOSURE), "")
        self._is_open = asyncio.Event()
        self._is_played = asyncio.Event()
        self._reports: deque[Report] = deque(maxlen=_HELD_REPORTS)
        self._wants_reports = hello.report
        self._closings: set[asyncio.Task[None]] = set()

    def can_resume(self, hello: Hello) -> bool:
        """Whether this hello is of the sender of this stream, come back. Raises RemoteProtocolError for a wrong one."""
        if hello.session != self.hello.session or (self._is_ending and self.bye is None):
            return False
        settings = (hello.mel, hello.tile, hello.template, hello.live)
        if settings != (self.hello.mel, self.hello.tile, self.hello.template, self.hello.live):
            raise RemoteProtocolError("a stream that goes on cannot change its settings; begin another session")
        return True

    @property
    def is_deserted(self) -> bool:
        """Whether another stream may take the place of this one: its sender is gone, or silent for SILENT_S."""
        is_silent = self._is_open.is_set() and self._awake.now_s() - self._heard_s > SILENT_S
        return self.bye is None and (self._line is None or is_silent)

    def make_way(self) -> None:
        """Another stream begins: play no more than the output has already."""
        self._farewell = (CLOSE_BUSY, "another stream has begun here")
        self.end(None)
        self.hurry()

    def leave(self) -> None:
        """The receiver ends: play what has come."""
        self._farewell = (int(CloseCode.GOING_AWAY), "the receiver was closed")
        self.end(None)

    def hurry(self) -> None:
        """Play no more than the output has already."""
        if self.player is not None:
            self.player.stop()

    def abandon(self) -> None:
        """Do not even wait for the output."""
        self._is_played.set()

    def end(self, bye: Bye | None) -> None:
        """No more will come; the second call does nothing."""
        if self._is_ending:
            return
        self._is_ending = True
        self.bye = bye
        if self._line is not None:
            self._recorder.closed(time.monotonic())
        self._recorder = Recorder(None)  # the next stream's may begin before this one's connection is closed
        if self.player is not None:
            self.player.end(bye)

    async def run(self, before: Session | None) -> None:
        """Play the stream to its end, once the one before it is over; what went wrong is in ``error``."""
        try:
            await self._open(before)
            while not self._is_played.is_set():
                await _wait(self._is_played, _TICK_S)
                await self._tick(time.monotonic())
            self.error = None if self.player is None else self.player.error
        except Exception as error:  # a fault of this stream is no reason to stop listening to others
            log.debug("a stream failed", exc_info=True)
            self.error = error
        if self.error is not None:
            self.end(None)
            self._farewell = (int(CloseCode.INTERNAL_ERROR), "the receiver could not play the stream")
        try:
            self._stage.live_line.close()
            self._conclude()
        except (AudioAvifError, OSError) as error:
            self.error = self.error or error
        finally:
            self._is_open.set()
            self.is_over.set()

    async def part(self) -> None:
        """Close what carries the stream, and let the sender know how it ended."""
        line, self._line = self._line, None
        if line is not None:
            await line.close(*self._farewell)
        if self._closings:
            await asyncio.wait(self._closings)

    async def carry(self, line: Line, first: bytes, protocol: ReceiverProtocol) -> None:
        """Receive over this line until it ends, or until all has been played after a bye.

        Raises RemoteProtocolError or Refusal for a peer that does what it must not; that ends the stream.
        """
        assert protocol.hello is not None
        now_s = time.monotonic()
        if self._lines:
            log.warning("the sender is back after %.1f s", self._awake.now_s() - self._heard_s)
            self._stats.reconnections += 1
        if self._line is not None:
            self._recorder.closed(now_s)
            self._close_beside(self._line, CLOSE_REPLACED, "the stream goes on over a newer connection")
        self._recorder.opened(now_s)
        self._recorder.message(first, now_s)
        self._lines += 1
        self._line, self._heard_s, self._wants_reports = line, self._awake.now_s(), protocol.hello.report
        try:
            await self._is_open.wait()
            if self._vocoder_stream is not None and self._line is line:
                latency_samples = self._vocoder_stream.latency_samples
                welcome = Welcome(self._stage.vocoder.name, latency_samples, _AGENT, self._received)
                await line.send(welcome.to_bytes())
                await self._receive(line, protocol)
            if self._line is line:
                await self.is_over.wait()
                await line.close(*self._farewell)
            elif self._closings:  # to return closes a connection with code 1000, unless it was told why before
                await asyncio.wait(self._closings)
        except ConnectionClosed:
            if self._line is line:
                self._wait_for_sender()
        except Exception:
            if self._line is line:
                self.end(None)
                self._line = None
            raise
        finally:
            if self._line is line or self._line is None:
                self._recorder.closed(time.monotonic())

    async def _receive(self, line: Line, protocol: ReceiverProtocol) -> None:
        allowance = MessageAllowance(self._stage.limits.messages_per_s)
        while not self._is_ending or self.bye is not None:
            data = await line.recv()
            if self._line is not line:
                return
            now_s, self._heard_s = time.monotonic(), self._awake.now_s()
            if isinstance(data, bytes):
                self._recorder.message(data, now_s)
            message = protocol.receive(data)
            is_media = isinstance(message, MediaPacket)
            if (self.hello.live or not is_media) and not allowance.take(now_s):
                raise Refusal(CLOSE_TOO_MANY_MESSAGES, too_many_messages(self._stage.limits))
            if isinstance(message, MediaPacket):
                await self._take(message, len(data), now_s)
                await say(line, Receipt(message.sequence))
            elif isinstance(message, Ping):
                self._stats.ping(message, len(data))
                await say(line, Pong(message.sent_us, round(now_s * 1e6)))
            elif isinstance(message, Bye):
                self.end(message)
                return

    async def _take(self, message: MediaPacket, message_bytes: int, now_s: float) -> None:
        if self.player is None or self._is_ending:
            return
        self._stats.media(message, message_bytes)
        self._received = max(self._received, message.sequence)
        self.player.push(message, now_s)
        while not self.hello.live and self.player.backlog > _BACKLOG_TILES and not self._is_played.is_set():
            await asyncio.sleep(0.01)  # the sender's socket fills, and it waits
            self._heard_s = self._awake.now_s()

    def _wait_for_sender(self) -> None:
        """Nothing carries the stream any more."""
        self._broke_off_s = self._awake.now_s()
        if not self._is_ending:
            if self._stage.resume_s > 0:
                log.warning("the connection broke off; waiting %g s for its sender (--resume-s)", self._stage.resume_s)
            else:
                log.warning("the connection broke off; what had come is played")
                self.end(None)
        self._line = None  # only now: the end of a stream is recorded as that of its line

    def _close_beside(self, line: Line, code: int, reason: str) -> None:
        """Close without waiting for a peer that may be gone."""
        closing = asyncio.create_task(line.close(code, reason))
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)

    async def _open(self, before: Session | None) -> None:
        stage, hello = self._stage, self.hello
        vocoder_stream = open_stream(stage.vocoder)
        await asyncio.to_thread(warm_up, hello, vocoder_stream)
        warm_s = time.monotonic()
        await asyncio.to_thread(warm_up, hello, vocoder_stream)
        processing_s = (time.monotonic() - warm_s) / WARM_UP_TILES
        while before is not None and not before.is_over.is_set() and not self._is_played.is_set():
            await _wait(before.is_over, _TICK_S)
        if self._is_ending:
            self._is_played.set()
            return
        loop = asyncio.get_running_loop()
        self._vocoder_stream = vocoder_stream
        self.player = Player(
            hello,
            vocoder_stream,
            stage.output,
            stage.playout,
            processing_s,
            on_report=lambda report: _from_thread(loop, self._on_report, report),
            on_done=lambda: _from_thread(loop, self._is_played.set),
            save_tiles=stage.save_tiles,
            stream_number=self._number,
            saver=stage.saver,
        )
        self._heard_s = self._awake.now_s()  # while the vocoder warmed up, the sender waited
        self._is_open.set()

    async def _tick(self, now_s: float) -> None:
        """Send reports, redraw the live line, and see to a sender that has gone."""
        while self._reports and self._line is not None and not self._line.is_backed_up:
            await say(self._line, self._reports.popleft())
        self.figures = figures = self._figures()
        self._stage.live_line.update(self._stats.live_text(figures), now_s)
        if now_s >= self._told_s + 1:
            self._told_s = now_s
            self._stage.stats_json.write(figures)
        awake_s = self._awake.now_s()
        if self._is_ending:
            return
        if self._line is not None and self.hello.live and awake_s - self._heard_s > _GONE_S:
            self._close_beside(self._line, CloseCode.GOING_AWAY, "nothing came any more")
            self._wait_for_sender()
        elif self._line is None and awake_s - self._broke_off_s > self._stage.resume_s:
            log.warning("the sender did not come back; what had come is played")
            self.end(None)

    def _on_report(self, report: Report) -> None:
        self._stats.report(report)
        if self._wants_reports:
            self._reports.append(report)

    def _figures(self) -> dict[str, Any]:
        """What ``--stats-json`` shows; rates are means over the stream so far."""
        assert self.player is not None
        refused = self._stage.complaints.count
        return self._stats.figures(self.player, is_connected=self._line is not None, refused_connections=refused)

    def _conclude(self) -> None:
        if self.player is None:
            return
        self.figures = self._figures()
        self._stage.stats_json.write({**self.figures, "is_final": True})
        console.tell(conclusion(self.figures))


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)


def _from_thread(loop: asyncio.AbstractEventLoop, callback: Any, *args: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback, *args)
