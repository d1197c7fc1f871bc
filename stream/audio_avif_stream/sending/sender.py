"""One stream from a source to a receiver, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from audio_avif import __version__
from audio_avif.codec.encoder import Encoder
from audio_avif.edge import console
from audio_avif.errors import ConnectionFailed, Refused, RemoteProtocolError
from audio_avif.link.congestion import Congestion
from audio_avif.link.messages import (
    CLOSE_BUSY,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_REPLACED,
    CLOSE_TOO_MANY_MESSAGES,
    CLOSE_UNAUTHORIZED,
    CLOSE_UNKNOWN_ROOM,
    CLOSE_UNSUPPORTED,
    Hello,
    MediaPacket,
    Ping,
    Pong,
    Receipt,
    Report,
    Welcome,
    wire_bytes,
)
from audio_avif.link.outbox import Outbox
from audio_avif.link.protocol import SenderProtocol
from audio_avif_stream.runtime.awake import AwakeClock
from audio_avif_stream.runtime.tasks import cancel, settled, unless
from audio_avif_stream.sending.capture import Source
from audio_avif_stream.sending.sender_stats import SenderStats, Telling, conclusion
from audio_avif_stream.telemetry.trace import ClockOffset, Trace

log = logging.getLogger(__name__)

_CONNECT_S = 10.0
_WELCOME_S = 30.0
_RECONNECT_S = 1.5  # for each attempt, or three times what the first one took
_BACKOFF_S, _LONGEST_BACKOFF_S, _JITTER = 0.1, 1.0, 0.2
_PING_S = 1.0
_SILENT_S = 5.0  # a path on which nothing comes back for so long is dead
_LONG_SILENT_S = 60.0  # but a receiver that plays a file in its own time may be paused
_WATCH_S = 0.1
_PROBE_TICKS = 3  # held back for less, tiles wait for a narrow path, which a ping would only make narrower
_FAREWELL_S = 10.0
_HURRY_S = 1.0  # what remains of each step of the farewell after Ctrl-C
_GIVE_UP_S = 5.0  # until the last tiles must be sent after Ctrl-C
_PING_BYTES = wire_bytes(len(Ping(0, 0, 0).to_bytes()))
_AGENT = f"audio-avif/{__version__}"

# After these nothing is gained by coming back.
_FINAL = {
    CLOSE_PROTOCOL_ERROR,
    CLOSE_UNSUPPORTED,
    CLOSE_REPLACED,
    CLOSE_TOO_MANY_MESSAGES,
    CLOSE_UNAUTHORIZED,
    CLOSE_UNKNOWN_ROOM,
    CloseCode.MESSAGE_TOO_BIG,
    CloseCode.INTERNAL_ERROR,
}
_NOT_TOLD = "the receiver takes nothing now and was not told that the stream is over"
_KEEPALIVE_FAILED = "keepalive ping timeout"  # websockets closes with INTERNAL_ERROR then, though the path was at fault


class _Broken(Exception):
    """The connection is of no use any more; another may be."""


class _GaveUp(Exception):
    """The user has waited long enough for the end."""


class _Busy(ConnectionFailed):
    """Another stream plays at the receiver."""


@dataclass(frozen=True)
class StreamConfig:
    """What kind of stream this is: a live one drops what is late, and how long a broken connection is tried again."""

    is_live: bool = True
    reconnect_s: float = 600.0

    def __post_init__(self) -> None:
        if not self.reconnect_s >= 0:
            raise ValueError(f"reconnecting is tried for 0 s or more, not {self.reconnect_s}")


class Sender:
    """One stream from a source to a receiver; ``connect`` takes seconds of patience and gives a connection."""

    def __init__(
        self,
        encoder: Encoder,
        source: Source,
        connect: Callable[[float], Awaitable[ClientConnection]],
        config: StreamConfig,
        telling: Telling,
    ) -> None:
        self.stop = asyncio.Event()
        self.latest: dict[str, Any] | None = None
        """The figures as of a moment ago, for another thread to read."""
        self._encoder = encoder
        self._source = source
        self._connect = connect
        self._config = config
        self._telling = telling
        self._hello = Hello(
            encoder.mel,
            encoder.tile,
            encoder.template,
            secrets.token_hex(8),
            config.is_live,
            config.is_live and telling.wants_reports,
            _AGENT,
        )
        self._clock = ClockOffset()
        self._trace = Trace(encoder.mel.rate_hz, self._clock)
        self._tile_s = encoder.tile.frames * encoder.mel.frame_s
        self._outbox = Outbox(config.is_live, self._tile_s)
        self._congestion = Congestion()
        self._stats = SenderStats(encoder, self._outbox, self._congestion, self._clock)
        self._changed = asyncio.Event()  # the outbox, or what the path takes
        self._captured_s: float | None = None  # when the source ended
        self._sample_zero_s = 0.0
        self._protocol = SenderProtocol()
        self._has_said_bye = False
        self._is_answered = asyncio.Event()  # the newest ping
        self._awake = AwakeClock()
        self._heard_s = self._awake.now_s()
        self._connected_in_s = 0.0

    async def run(self) -> None:
        """Greet, send the source to its end or until ``stop`` is set, say bye, and wait until all has been played.

        A connection that breaks is replaced by another. Raises ConnectionFailed where the receiver cannot be reached at
        first, refuses, or does not come back; FileError or DeviceError where the source breaks.
        """
        connection = await unless(self.stop, self._open(_CONNECT_S, _WELCOME_S))
        if connection is None:
            return
        beside = [asyncio.create_task(work) for work in (self._produce(), self._tell())]
        try:
            while (why := await self._carry(connection, beside[0])) is not None:
                connection.transport.abort()
                if (found := await self._come_back(why)) is None:
                    return
                connection = found
            await connection.close()
        except _GaveUp:
            log.warning(_NOT_TOLD)
        finally:
            self._stats.is_connected = False
            connection.transport.abort()
            await cancel(beside)
            self._telling.live_line.close()
            self._conclude()

    # ----------------------------------------------------------------------------------------------- the connections

    async def _open(self, connect_s: float, welcome_s: float) -> ClientConnection:
        """Connect and exchange hello and welcome. Raises ConnectionFailed, Refused for good, _Busy for now."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        connection = await self._connect(connect_s)
        self._connected_in_s = self._connected_in_s or loop.time() - began_s
        protocol = SenderProtocol()
        try:
            await connection.send(protocol.send(self._hello))
            async with asyncio.timeout(welcome_s):
                welcome = protocol.receive(await connection.recv())
        except BaseException as error:
            connection.transport.abort()
            if isinstance(error, ConnectionClosed):
                raise self._refusal(error) from error
            if isinstance(error, TimeoutError):
                reason = "the receiver did not answer the hello; is its vocoder still loading?"
                raise ConnectionFailed(reason) from error
            if isinstance(error, RemoteProtocolError):
                raise Refused(f"the receiver does not speak this protocol: {error}") from error
            raise
        assert isinstance(welcome, Welcome)
        now_s = loop.time()
        self._protocol, self._stats.is_connected, self._has_said_bye = protocol, True, False
        self._heard_s = self._awake.now_s()
        self._stats.vocoder = welcome.vocoder
        self._stats.vocoder_latency_samples = self._trace.vocoder_latency_samples = welcome.vocoder_latency_samples
        self._clock.restart()
        self._congestion.reset(now_s)
        self._stats.tiles -= self._outbox.resume(welcome.received, now_s)
        return connection

    def _refusal(self, closed: ConnectionClosed) -> ConnectionFailed:
        code = closed.rcvd.code if closed.rcvd is not None else None
        kind = _Busy if code == CLOSE_BUSY else Refused if code in _FINAL else ConnectionFailed
        return kind(self._how_it_ended(closed))

    async def _come_back(self, why: str) -> ClientConnection | None:
        """Connect again; None where the user has had enough. Raises ConnectionFailed where it is too late or no use."""
        loop = asyncio.get_running_loop()
        self._stats.is_connected = False
        if not self._config.reconnect_s:
            raise ConnectionFailed(f"{why}; start again when the receiver is back")
        log.warning("%s; trying to come back for %g s (--reconnect-s)", why, self._config.reconnect_s)
        broke_s, dropped = loop.time(), self._outbox.dropped
        trying = asyncio.create_task(self._keep_trying(broke_s))
        try:
            await unless(self.stop, settled(trying))
            await asyncio.wait({trying}, timeout=_HURRY_S)
            if not trying.done():
                log.warning(_NOT_TOLD)
                return None
            connection = trying.result()
        finally:
            await cancel([trying])
        self._stats.reconnections += 1
        lost = self._outbox.dropped - dropped
        log.warning("back after %.1f s; %d tiles dropped meanwhile", loop.time() - broke_s, lost)
        return connection

    async def _keep_trying(self, broke_s: float) -> ClientConnection:
        """Each attempt is short, since a path that is back carries nothing for the one that was begun before."""
        loop = asyncio.get_running_loop()
        patience_s = max(_RECONNECT_S, 3 * self._connected_in_s)
        backoff_s, is_told_busy = _BACKOFF_S, False
        while True:
            next_s = loop.time() + backoff_s * random.uniform(1 - _JITTER, 1 + _JITTER)
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
            try:
                return await self._open(patience_s, _SILENT_S)
            except Refused:
                raise
            except ConnectionFailed as failure:
                if isinstance(failure, _Busy) and not is_told_busy:
                    is_told_busy = True
                    log.warning("another stream plays at the receiver; trying until it is over")
                next_s = max(next_s, loop.time())
                if next_s > self._deadline_s(broke_s):
                    reason = f"the receiver did not come back within {loop.time() - broke_s:.0f} s: {failure}"
                    raise ConnectionFailed(reason) from failure
            await asyncio.sleep(next_s - loop.time())

    def _deadline_s(self, broke_s: float) -> float:
        """Until when a connection is tried: for no more than the farewell once a live stream has come to its end."""
        deadline_s = broke_s + self._config.reconnect_s
        if self._config.is_live and self._captured_s is not None:
            deadline_s = min(deadline_s, max(broke_s, self._captured_s) + _FAREWELL_S)
        return deadline_s

    async def _carry(self, connection: ClientConnection, producing: asyncio.Task[None]) -> str | None:
        """Carry the stream until all has been played, which gives None, or until the connection breaks: why.

        Raises ConnectionFailed where it is no use to come back.
        """
        sending = asyncio.create_task(self._transmit(connection))
        beside = [asyncio.create_task(work(connection)) for work in (self._listen, self._ping, self._watch)]
        try:
            pending = {sending, *beside, producing}
            while not sending.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            await self._part(beside)
            return None
        except _Broken as broken:
            return str(broken)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd is not None else None
            if code == CloseCode.NORMAL_CLOSURE and self._has_said_bye:
                return None
            reason = closed.rcvd.reason if closed.rcvd is not None else ""
            if code in _FINAL and reason != _KEEPALIVE_FAILED:
                raise ConnectionFailed(self._how_it_ended(closed)) from closed
            return self._how_it_ended(closed)
        finally:
            await cancel([sending, *beside])

    async def _part(self, beside: list[asyncio.Task[None]]) -> None:
        """Wait until the receiver closes the connection; after Ctrl-C not for long."""
        ended = asyncio.wait(beside, timeout=self._patience_s(), return_when=asyncio.FIRST_COMPLETED)
        await unless(self.stop, ended)
        if self.stop.is_set():
            await asyncio.wait(beside, timeout=_HURRY_S, return_when=asyncio.FIRST_COMPLETED)
        for task in beside:
            if task.done():
                task.result()

    def _patience_s(self) -> float:
        """How long the receiver may take to play what it has: a file sent at once is played in its own time."""
        played_later_s = 0.0 if self._config.is_live else self._encoder.samples / self._encoder.mel.rate_hz
        return _FAREWELL_S + played_later_s

    def _how_it_ended(self, closed: ConnectionClosed) -> str:
        reason = "" if closed.rcvd is None else "".join(filter(str.isprintable, closed.rcvd.reason))
        if closed.rcvd is not None and closed.rcvd.code == CloseCode.INTERNAL_ERROR:
            reason = reason or "it failed"
        if reason:
            return f"the receiver {'ended' if self._stats.is_connected else 'refused'} the stream: {reason}"
        if not self._stats.is_connected:
            return "the receiver hung up before the stream began; try again"
        return f"the connection was lost after {self._stats.tiles} tiles"

    # ------------------------------------------------------------------------------- what goes on beside one another

    async def _produce(self) -> None:
        """Source to outbox."""
        loop = asyncio.get_running_loop()
        self._sample_zero_s = loop.time()  # until the first block says it better
        stopped = asyncio.create_task(self.stop.wait())
        blocks = aiter(self._source.blocks())
        try:
            while True:
                block = asyncio.ensure_future(anext(blocks, None))
                await asyncio.wait({block, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not block.done():
                    block.cancel()
                    break
                if (captured := block.result()) is None:
                    break
                arrived_s = loop.time()
                samples_after = self._encoder.samples + captured.samples.size
                self._sample_zero_s = arrived_s - captured.age_s - samples_after / self._encoder.mel.rate_hz
                self._trace.captured(samples_after, arrived_s, captured.age_s)
                self._limit_rate(arrived_s)
                for packet in await asyncio.to_thread(self._encoder.push, captured.samples):
                    await self._enqueue(packet, arrived_s)
            for packet in await asyncio.to_thread(self._encoder.flush):
                await self._enqueue(packet, loop.time())
        finally:
            stopped.cancel()
            self._captured_s = loop.time()
            self._changed.set()

    def _limit_rate(self, now_s: float) -> None:
        """Let the encoder take what the path carries, less what carries its payloads."""
        limit_kbps = self._stats.limit_kbps = self._congestion.limit_kbps(now_s) if self._config.is_live else None
        if limit_kbps is not None:
            limit_kbps -= 8e-3 * (self._stats.overhead_bytes / self._tile_s + _PING_BYTES / _PING_S)
            limit_kbps = max(limit_kbps, 0.1)
        self._encoder.rate.limit_kbps = limit_kbps

    async def _enqueue(self, packet: MediaPacket, cut_s: float) -> None:
        loop = asyncio.get_running_loop()
        size = wire_bytes(len(packet.to_bytes()))
        self._trace.sent(packet.sequence, cut_s, loop.time(), packet.payload_bytes, size)
        while not self._outbox.has_room:
            self._changed.clear()
            await self._changed.wait()
        self._outbox.put(packet, loop.time())
        self._changed.set()

    async def _transmit(self, connection: ClientConnection) -> None:
        """Outbox to socket, and the bye at last."""
        loop = asyncio.get_running_loop()
        while True:
            now_s = loop.time()
            may_send = not self._config.is_live or self._congestion.may_send(now_s)
            if may_send and (packet := self._outbox.take(now_s)) is not None:
                self._changed.set()  # there is room for another
                await self._send(connection, packet, now_s)
            elif self._captured_s is not None and not self._outbox.waiting:
                break
            else:
                self._changed.clear()
                await self._changed.wait()
        self._has_said_bye = True
        await connection.send(self._protocol.send(self._encoder.bye()))

    async def _send(self, connection: ClientConnection, packet: MediaPacket, now_s: float) -> None:
        message = self._protocol.send(packet)
        size = wire_bytes(len(message))
        self._congestion.sent(packet.sequence, size, now_s)
        self._stats.sent(packet, size)
        await connection.send(message)

    async def _ping(self, connection: ClientConnection) -> None:
        """Tell the receiver our clock, five times quickly and then once a second; after the bye ask if it is there."""
        loop = asyncio.get_running_loop()
        pings = 0
        while True:
            now_s = loop.time()
            if self._has_said_bye:
                asyncio.ensure_future(await connection.ping()).add_done_callback(self._on_sign_of_life)
            else:
                ping = Ping(round(now_s * 1e6), round(self._sample_zero_s * 1e6), self._clock.ahead_us)
                message = self._protocol.send(ping)
                self._congestion.sent(-ping.sent_us, wire_bytes(len(message)), now_s)
                self._stats.rates.control(wire_bytes(len(message)))
                self._is_answered.clear()
                await connection.send(message)
            pings += 1
            await self._rest(_PING_S if pings > 5 else 0.1)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PING_S):  # Python 3.11's wait_for may swallow a cancellation
                    await self._is_answered.wait()

    async def _rest(self, seconds: float) -> None:
        """Until the next ping, or until tiles are held back: its pong tells whether what they wait for is lost."""
        loop = asyncio.get_running_loop()
        until_s, held_ticks = loop.time() + seconds, 0
        while (left_s := until_s - loop.time()) > 0 and held_ticks < _PROBE_TICKS:
            await asyncio.sleep(min(left_s, _WATCH_S))
            is_held = self._outbox.waiting and not self._congestion.may_send(loop.time())
            held_ticks = held_ticks + 1 if is_held else 0

    def _on_sign_of_life(self, answered: asyncio.Future[float]) -> None:
        if not answered.cancelled() and answered.exception() is None:
            self._heard_s = self._awake.now_s()

    async def _listen(self, connection: ClientConnection) -> None:
        """Receipts, pongs and reports, until the receiver closes the connection as it does when all has been played.

        Raises ConnectionClosed then.
        """
        loop = asyncio.get_running_loop()
        while True:
            data = await connection.recv()
            now_s, self._heard_s = loop.time(), self._awake.now_s()
            try:
                message = self._protocol.receive(data)
            except RemoteProtocolError as error:
                raise Refused(f"the receiver does not speak this protocol: {error}") from error
            if isinstance(message, Receipt):
                self._congestion.received(message.sequence, now_s)
                self._outbox.received(message.sequence)
                self._changed.set()
            elif isinstance(message, Pong):
                self._congestion.received(-message.ping_sent_us, now_s)
                self._clock.push(message, round(now_s * 1e6))
                self._is_answered.set()
                self._changed.set()
            elif isinstance(message, Report) and (line := self._trace.join(message)) is not None:
                self._stats.delay_ms = line["mouth_to_ear_ms"]
                self._telling.trace.write(line)

    async def _watch(self, connection: ClientConnection) -> None:
        """Raises _Broken where the path is dead, or may be since this machine slept; _GaveUp some time after Ctrl-C."""
        loop = asyncio.get_running_loop()
        can_come_back = self._config.reconnect_s > 0
        silent_s = _SILENT_S if self._config.is_live and can_come_back else _LONG_SILENT_S
        stopped_s: float | None = None
        while True:
            before_s = time.time()  # the event loop's clock may stand still while a laptop sleeps
            await asyncio.sleep(_WATCH_S)
            if (slept_s := time.time() - before_s) > _SILENT_S and can_come_back:
                raise _Broken(f"this machine slept for {slept_s:.0f} s")
            if self.stop.is_set() and not self._has_said_bye:
                stopped_s = stopped_s or loop.time()
                if loop.time() - stopped_s > _GIVE_UP_S:
                    raise _GaveUp
            if self._awake.now_s() - self._heard_s > silent_s:
                raise _Broken(f"nothing came from the receiver for {silent_s:.0f} s")

    # -------------------------------------------------------------------------------------------------- what is told

    async def _tell(self) -> None:
        """Ten times a second the live line, once a second a line of JSON."""
        loop = asyncio.get_running_loop()
        ticks = 0
        while True:
            self.latest = self._stats.figures()
            if self._stats.tiles:
                self._telling.live_line.update(self._stats.live_text(self.latest), loop.time())
            ticks += 1
            if ticks % 10 == 0:
                self._telling.stats_json.write(self.latest)
            await asyncio.sleep(_WATCH_S)

    def _conclude(self) -> None:
        if not self._stats.tiles:
            return
        figures = self._stats.figures()
        self._telling.trace.write({"summary": figures})
        self._telling.stats_json.write({**figures, "is_final": True})
        console.tell(conclusion(figures))
