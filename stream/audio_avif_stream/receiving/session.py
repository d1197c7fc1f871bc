"""One stream at the receiver, which outlives the connections that carry it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from audio_avif.errors import AudioAvifError, PeerRefused
from audio_avif.link.hello import Hello
from audio_avif.link.messages import CLOSE_TOO_MANY_MESSAGES, Bye, Ping, Pong, Receipt, Report
from audio_avif.link.packets import MediaPacket
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif.link.takeover import DISPLACED, Tenure, Verdict
from audio_avif_stream.receiving.carriage import Carriage
from audio_avif_stream.receiving.playout import Player, Playout, open_decoder
from audio_avif_stream.receiving.receiver_stats import FigureDisplay, ReceiverStats
from audio_avif_stream.receiving.stage import Stage
from audio_avif_stream.runtime.awake import AwakeClock
from audio_avif_stream.serving.admission import too_many_messages
from audio_avif_stream.serving.connections import Line, say
from audio_avif_stream.serving.handshake import welcome
from audio_avif_stream.serving.security import MessageAllowance

log = logging.getLogger(__name__)

_GONE_S = 20.0  # a live sender, which pings every second, has lost its way
_BACKLOG_TILES = 64
_TICK_S = 0.1


class Session:
    """One stream: its player, its figures, and the line that carries it now, if any."""

    def __init__(self, hello: Hello, stage: Stage, number: int) -> None:
        self.player: Player | None = None
        self.error: Exception | None = None
        self.is_over = asyncio.Event()
        self.carriage = Carriage(stage.recorder)
        self._stage = stage
        self._number = number
        stats = ReceiverStats(hello)
        self._display = FigureDisplay(stats, stage.live_line, stage.stats_json, time.monotonic())
        self._awake = AwakeClock(time.monotonic)
        now_s = self._awake.now_s()
        self._tenure = Tenure(hello, now_s, plays_out=True, broke_off_s=now_s)
        self._is_open = asyncio.Event()
        self._is_played = asyncio.Event()

    @property
    def hello(self) -> Hello:
        """The stream's first message."""
        return self._tenure.hello

    @property
    def figures(self) -> dict[str, Any] | None:
        """The newest figures; any thread may read them."""
        return self._display.latest

    @property
    def _stats(self) -> ReceiverStats:
        return self._display.stats

    @property
    def _is_ending(self) -> bool:
        return self._tenure.has_bye or self._tenure.is_given_up

    def judge(self, hello: Hello) -> Verdict:
        """Decide what the sender of this hello may do. Raises RemoteProtocolError where it changes the settings."""
        now_s = self._awake.now_s()
        if not self._is_open.is_set():  # while the vocoder warms up, the sender waits for its welcome
            self._tenure.hear(now_s)
        verdict = self._tenure.judge(hello.session, now_s)
        if verdict is Verdict.RESUME:
            self._tenure.require_same_settings(hello)
        return verdict

    def make_way(self) -> None:
        """Give way to another stream: play no more than the output already has."""
        self.carriage.farewell = DISPLACED
        self.end(None)
        self.hurry()

    def leave(self) -> None:
        """End because the receiver closes: play what has come."""
        self.carriage.farewell = (int(CloseCode.GOING_AWAY), "the receiver was closed")
        self.end(None)

    def hurry(self) -> None:
        """Play no more than the output already has."""
        if self.player is not None:
            self.player.stop()

    def abandon(self) -> None:
        """Stop at once, without waiting for the output."""
        self._is_played.set()

    def end(self, bye: Bye | None) -> None:
        """End the stream: what has come is played; the second call does nothing."""
        if self._is_ending:
            return
        self._tenure.has_bye, self._tenure.is_given_up = bye is not None, bye is None
        self.carriage.stop_recording(time.monotonic())
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
            self.carriage.farewell = (int(CloseCode.INTERNAL_ERROR), "the receiver could not play the stream")
        try:
            self._display.close()
            if self.player is not None:
                self._display.conclude(self._figures(self.player))
        except (AudioAvifError, OSError) as error:
            self.error = self.error or error
        finally:
            self._is_open.set()
            self.is_over.set()

    async def part(self) -> None:
        """Close the line, and tell the sender how the stream ended."""
        await self.carriage.part()

    async def carry(self, line: Line, first: bytes, protocol: ReceiverProtocol) -> None:
        """Receive over this line until it ends, or until all has been played after a bye.

        Raises RemoteProtocolError or PeerRefused for a peer that breaks the rules; that ends the stream.
        """
        assert protocol.hello is not None
        carriage, awake_s = self.carriage, self._awake.now_s()
        if carriage.lines:
            log.warning("the sender is back after %.1f s", self._tenure.silent_s(awake_s))
            self._stats.reconnections += 1
        carriage.take_over(line, first, protocol.hello.report, time.monotonic())
        self._tenure.connect(awake_s)
        try:
            await self._is_open.wait()
            if self.player is not None and carriage.line is line:
                latency_samples = self.player.decoder.vocoder_latency_samples
                await welcome(line, self._stage.vocoder.name, latency_samples, self._stats.newest_sequence)
                await self._receive(line, protocol)
            if carriage.line is line:
                await self.is_over.wait()
                await line.close(*carriage.farewell)
            else:  # to return closes a connection with code 1000, unless it was told why before
                await carriage.closings.wait()
        except ConnectionClosed:
            if carriage.line is line:
                self._wait_for_sender()
        except Exception:
            if carriage.line is line:
                self.end(None)
                self._lose_line()
            raise
        finally:
            carriage.record_end(line, time.monotonic())

    async def _receive(self, line: Line, protocol: ReceiverProtocol) -> None:
        allowance = MessageAllowance(self._stage.limits.messages_per_s)
        while not self._tenure.is_given_up:
            data = await line.recv()
            if self.carriage.line is not line:
                return
            now_s = time.monotonic()
            self._tenure.hear(self._awake.now_s())
            if isinstance(data, bytes):
                self.carriage.record(data, now_s)
            message = protocol.receive(data)
            is_media = isinstance(message, MediaPacket)
            if (self.hello.live or not is_media) and not allowance.take(now_s):
                raise PeerRefused(CLOSE_TOO_MANY_MESSAGES, too_many_messages(self._stage.limits))
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
        self.player.push(message, now_s)
        while not self.hello.live and self.player.backlog > _BACKLOG_TILES and not self._is_played.is_set():
            await asyncio.sleep(0.01)  # the sender's socket fills, and it waits
            self._tenure.hear(self._awake.now_s())

    def _wait_for_sender(self) -> None:
        """React to the loss of the line: wait for the sender, or end the stream."""
        if not self._is_ending:
            if self._stage.resume_s > 0:
                log.warning("connection lost; waiting %g s for the sender (--resume-s)", self._stage.resume_s)
            else:
                log.warning("connection lost; the sound received so far is played")
                self.end(None)
        self._lose_line()  # only now: the end of a stream is recorded as that of its line

    def _lose_line(self) -> None:
        self.carriage.line = None
        self._tenure.break_off(self._awake.now_s())

    async def _open(self, before: Session | None) -> None:
        stage, hello = self._stage, self.hello
        decoder, relief = await asyncio.to_thread(open_decoder, hello, stage.vocoder, stage.playout, time.monotonic)
        while before is not None and not before.is_over.is_set() and not self._is_played.is_set():
            await _wait(before.is_over, _TICK_S)
        if self._is_ending:
            self._is_played.set()
            return
        loop = asyncio.get_running_loop()
        playout = Playout(
            decoder,
            relief,
            stage.output,
            stage.records_of(hello, self._number),
            on_report=lambda report: _from_thread(loop, self._on_report, report),
        )
        self.player = Player(playout, on_done=lambda: _from_thread(loop, self._is_played.set))
        self._tenure.hear(self._awake.now_s())  # while the vocoder warmed up, the sender waited
        self._is_open.set()

    async def _tick(self, now_s: float) -> None:
        """Send reports, show the figures, and give up a sender that has gone."""
        assert self.player is not None
        await self.carriage.send_reports()
        self._display.show(self._figures(self.player), now_s)
        awake_s = self._awake.now_s()
        if self._is_ending:
            return
        line = self.carriage.line
        if line is not None and self.hello.live and self._tenure.silent_s(awake_s) > _GONE_S:
            self.carriage.closings.close(line, CloseCode.GOING_AWAY, "no more messages came")
            self._wait_for_sender()
        elif line is None and self._tenure.lost_s(awake_s) > self._stage.resume_s:
            log.warning("the sender did not come back; the sound received so far is played")
            self.end(None)

    def _on_report(self, report: Report) -> None:
        self._stats.report(report)
        self.carriage.report(report)

    def _figures(self, player: Player) -> dict[str, Any]:
        is_connected = self.carriage.line is not None
        return self._stats.figures(player, is_connected=is_connected, refused_connections=self._stage.complaints.count)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)


def _from_thread(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: object) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback, *args)
