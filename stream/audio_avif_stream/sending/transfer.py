"""One connection that carries a stream: packets and pings out, receipts and reports back."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from audio_avif.errors import ConnectionFailed, RefusedForGood, RemoteProtocolError
from audio_avif.link.messages import Ping, Pong, Receipt, Report, wire_bytes
from audio_avif.link.packets import MediaPacket
from audio_avif.link.protocol import SenderProtocol
from audio_avif_stream.client.greeting import close_code, close_text, is_final
from audio_avif_stream.runtime.awake import AwakeClock
from audio_avif_stream.runtime.tasks import cancel, unless
from audio_avif_stream.sending.outgoing import OutgoingStream
from audio_avif_stream.sending.production import PING_S
from audio_avif_stream.telemetry.live_line import JsonLines

FAREWELL_S = 10.0
"""How long a live stream's end may take, from the last sample to the receiver's close."""
HURRY_S = 1.0
"""What remains of each step of the farewell after Ctrl-C."""
SILENT_S = 5.0
"""A path on which nothing comes back for so long is dead."""

_LONG_SILENT_S = 60.0  # but a receiver that plays a file in its own time may be paused
_GIVE_UP_S = 5.0  # until the last tiles must be sent after Ctrl-C
_WATCH_S = 0.1
_PROBE_TICKS = 3  # held back for less, tiles wait for a narrow path, which a ping would only make narrower
_FIRST_PINGS = 5  # come quickly, to learn the receiver's clock
_FIRST_PING_S = 0.1


class ConnectionBroke(Exception):
    """The connection carries nothing any more; another one may."""


class GaveUp(Exception):
    """The user interrupted the program, and the rest of the stream could not be sent in time."""


class Transfer:
    """Carries a stream over one connection, after hello and welcome."""

    def __init__(
        self,
        stream: OutgoingStream,
        connection: ClientConnection,
        protocol: SenderProtocol,
        trace_lines: JsonLines,
        stop: asyncio.Event,
        can_come_back: bool,
    ) -> None:
        self.connection = connection
        self._stream = stream
        self._protocol = protocol
        self._trace_lines = trace_lines
        self._stop = stop
        self._can_come_back = can_come_back
        self._has_said_bye = False
        self._is_answered = asyncio.Event()  # the newest ping
        self._awake = AwakeClock()
        self._heard_s = self._awake.now_s()

    async def run(self, producing: asyncio.Task[None]) -> str | None:
        """Carry the stream until all has been played, which gives None, or until the connection breaks: why.

        Raises ConnectionFailed where another connection would end the same way, GaveUp some time after Ctrl-C, and what
        ``producing`` raises.
        """
        sending = asyncio.create_task(self._transmit())
        beside = [asyncio.create_task(work()) for work in (self._listen, self._ping, self._watch)]
        try:
            pending = {sending, *beside, producing}
            while not sending.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            await self._part(beside)
            return None
        except ConnectionBroke as broke:
            return str(broke)
        except ConnectionClosed as closed:
            if close_code(closed) == CloseCode.NORMAL_CLOSURE and self._has_said_bye:
                return None
            why = self._how_it_ended(closed)
            if is_final(closed):
                raise ConnectionFailed(why) from closed
            return why
        finally:
            await cancel([sending, *beside])

    async def _part(self, beside: list[asyncio.Task[None]]) -> None:
        """Wait until the receiver closes the connection; after Ctrl-C not for long."""
        ended = asyncio.wait(beside, timeout=self._patience_s(), return_when=asyncio.FIRST_COMPLETED)
        await unless(self._stop, ended)
        if self._stop.is_set():
            await asyncio.wait(beside, timeout=HURRY_S, return_when=asyncio.FIRST_COMPLETED)
        for task in beside:
            if task.done():
                task.result()

    def _patience_s(self) -> float:
        """How long the receiver may take to play what it has: a file sent at once is played in its own time."""
        encoder = self._stream.encoder
        played_later_s = 0.0 if self._stream.is_live else encoder.samples / encoder.mel.rate_hz
        return FAREWELL_S + played_later_s

    def _how_it_ended(self, closed: ConnectionClosed) -> str:
        if reason := close_text(closed):
            return f"the receiver ended the stream: {reason}"
        return f"the connection was lost after {self._stream.stats.tiles} tiles"

    async def _transmit(self) -> None:
        """Send what the outbox gives, and the bye at last."""
        loop, stream = asyncio.get_running_loop(), self._stream
        while True:
            now_s = loop.time()
            may_send = not stream.is_live or stream.congestion.may_send(now_s)
            if may_send and (packet := stream.outbox.take(now_s)) is not None:
                stream.wake()  # there is room for another
                await self._send(packet, now_s)
            elif stream.captured_s is not None and not stream.outbox.waiting:
                break
            else:
                await stream.wait_for_change()
        self._has_said_bye = True
        await self.connection.send(self._protocol.send(stream.encoder.bye()))

    async def _send(self, packet: MediaPacket, now_s: float) -> None:
        if (place := self._protocol.place_before(packet)) is not None:
            message = self._protocol.send(place)
            self._stream.stats.rates.control(wire_bytes(len(message)))
            await self.connection.send(message)
        message = self._protocol.send(packet)
        size = wire_bytes(len(message))
        self._stream.congestion.sent(packet.sequence, size, now_s)
        self._stream.stats.sent(packet, size)
        await self.connection.send(message)

    async def _ping(self) -> None:
        """Tell the receiver this clock, quickly at first and then once a second; after the bye probe the path alone."""
        loop, stream = asyncio.get_running_loop(), self._stream
        pings = 0
        while True:
            now_s = loop.time()
            if self._has_said_bye:
                asyncio.ensure_future(await self.connection.ping()).add_done_callback(self._on_sign_of_life)
            else:
                ping = Ping(round(now_s * 1e6), round(stream.sample_zero_s * 1e6), stream.clock.ahead_us)
                message = self._protocol.send(ping)
                stream.congestion.sent(-ping.sent_us, wire_bytes(len(message)), now_s)
                stream.stats.rates.control(wire_bytes(len(message)))
                self._is_answered.clear()
                await self.connection.send(message)
            pings += 1
            await self._rest(PING_S if pings > _FIRST_PINGS else _FIRST_PING_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(PING_S):  # Python 3.11's wait_for may swallow a cancellation
                    await self._is_answered.wait()

    async def _rest(self, seconds: float) -> None:
        """Wait for the next ping, or until tiles are held back: its pong tells whether what they wait for is lost."""
        loop, stream = asyncio.get_running_loop(), self._stream
        until_s, held_ticks = loop.time() + seconds, 0
        while (left_s := until_s - loop.time()) > 0 and held_ticks < _PROBE_TICKS:
            await asyncio.sleep(min(left_s, _WATCH_S))
            is_held = stream.outbox.waiting and not stream.congestion.may_send(loop.time())
            held_ticks = held_ticks + 1 if is_held else 0

    def _on_sign_of_life(self, answered: asyncio.Future[float]) -> None:
        if not answered.cancelled() and answered.exception() is None:
            self._heard_s = self._awake.now_s()

    async def _listen(self) -> None:
        """Take receipts, pongs and reports. Raises ConnectionClosed when the receiver closes the connection."""
        loop, stream = asyncio.get_running_loop(), self._stream
        while True:
            data = await self.connection.recv()
            now_s, self._heard_s = loop.time(), self._awake.now_s()
            try:
                message = self._protocol.receive(data)
            except RemoteProtocolError as error:
                raise RefusedForGood(f"the receiver does not speak this protocol: {error}") from error
            if isinstance(message, Receipt):
                stream.congestion.received(message.sequence, now_s)
                stream.outbox.received(message.sequence)
                stream.wake()
            elif isinstance(message, Pong):
                stream.congestion.received(-message.ping_sent_us, now_s)
                stream.clock.push(message, round(now_s * 1e6))
                self._is_answered.set()
                stream.wake()
            elif isinstance(message, Report) and (line := stream.trace.join(message)) is not None:
                stream.stats.delay_ms = line["mouth_to_ear_ms"]
                self._trace_lines.write(line)

    async def _watch(self) -> None:
        """Raise ConnectionBroke when the path is dead, or may be since this machine slept; GaveUp after Ctrl-C."""
        loop = asyncio.get_running_loop()
        silent_s = SILENT_S if self._stream.is_live and self._can_come_back else _LONG_SILENT_S
        stopped_s: float | None = None
        while True:
            before_s = time.time()  # the event loop's clock may stand still while a laptop sleeps
            await asyncio.sleep(_WATCH_S)
            if (slept_s := time.time() - before_s) > SILENT_S and self._can_come_back:
                raise ConnectionBroke(f"this machine slept for {slept_s:.0f} s")
            if self._stop.is_set() and not self._has_said_bye:
                stopped_s = stopped_s or loop.time()
                if loop.time() - stopped_s > _GIVE_UP_S:
                    raise GaveUp
            if self._awake.now_s() - self._heard_s > silent_s:
                raise ConnectionBroke(f"no message came from the receiver for {silent_s:.0f} s")
