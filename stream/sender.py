"""One stream from a source to a receiver: encodes tiles, sends them, and follows what becomes of them."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import sys
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidHandshake, InvalidMessage, InvalidURI
from websockets.typing import Subprotocol

from audio_avif import __version__
from audio_avif.codec import Encoder
from audio_avif.errors import ConnectionFailed, RemoteProtocolError
from audio_avif.stream.capture import Source
from audio_avif.stream.live_line import JsonLines, LiveLine, RateMeter
from audio_avif.stream.trace import ClockOffset, Trace
from audio_avif.wire import (
    MAX_MESSAGE_BYTES,
    SUBPROTOCOL,
    Hello,
    Ping,
    Pong,
    Report,
    SenderProtocol,
    TilePacket,
    Welcome,
    wire_bytes,
)

log = logging.getLogger(__name__)
_T = TypeVar("_T")

_QUEUE_S = 1.0
_PING_S = 1.0
_WELCOME_S = 30.0
_CONNECT_S = 10.0
_FAREWELL_S = 10.0
_HURRY_S = 1.0  # what remains of the farewell after Ctrl-C
_AGENT = f"audio-avif/{__version__}"


class TileOutbox:
    """Encoded tiles that wait for the socket. Of a live stream the oldest is dropped when it is full; a file waits."""

    def __init__(self, capacity: int, is_live: bool) -> None:
        self._tiles: deque[TilePacket] = deque()
        self._capacity = capacity
        self._is_live = is_live
        self._is_closed = False
        self._changed = asyncio.Condition()
        self.dropped = 0

    async def put(self, tile: TilePacket) -> None:
        """Add a tile."""
        async with self._changed:
            if self._is_live and len(self._tiles) >= self._capacity:
                self._tiles.popleft()
                self.dropped += 1
            await self._changed.wait_for(lambda: len(self._tiles) < self._capacity or self._is_closed)
            self._tiles.append(tile)
            self._changed.notify_all()

    async def get(self) -> TilePacket | None:
        """Wait for the next tile; None after ``close``, once all are taken."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._tiles or self._is_closed)
            tile = self._tiles.popleft() if self._tiles else None
            self._changed.notify_all()
            return tile

    async def close(self) -> None:
        """No more tiles will be put."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()


class Sender:
    """One stream from a source to a receiver."""

    def __init__(self, encoder: Encoder, source: Source, is_live: bool, trace: JsonLines, live_line: LiveLine) -> None:
        self.stop = asyncio.Event()
        self._encoder = encoder
        self._source = source
        self._is_live = is_live
        self._trace_lines = trace
        self._live_line = live_line
        self._protocol = SenderProtocol()
        self._clock = ClockOffset()
        self._trace = Trace(encoder.mel.rate_hz, self._clock)
        self._tile_s = encoder.tile.frames * encoder.mel.frame_s
        self._outbox = TileOutbox(max(2, round(_QUEUE_S / self._tile_s)), is_live)
        self._sample_zero_s = 0.0
        self._rates = RateMeter()
        self._tiles_sent = 0
        self._vocoder = ""
        self._delay_ms: float | None = None

    async def run(self, connection: ClientConnection) -> None:
        """Greet, send the source to its end or until ``stop`` is set, say bye, and wait until all has been played.

        Raises ConnectionFailed where the receiver refuses or vanishes, FileError or DeviceError where the source
        breaks.
        """
        try:
            if not await self._greet(connection):
                return
            sending = [asyncio.create_task(work) for work in (self._produce(), self._transmit(connection))]
            beside = [asyncio.create_task(work) for work in (self._listen(connection), self._ping(connection))]
            try:
                await self._first_failure_or_all(sending, beside[0])
                beside[1].cancel()
                await connection.send(self._protocol.send(self._encoder.bye()))
                await self._part(beside[0])
            finally:
                for task in (*sending, *beside):
                    task.cancel()
                await asyncio.gather(*sending, *beside, return_exceptions=True)
        except ConnectionClosed as closed:
            raise ConnectionFailed(self._how_it_ended(closed)) from closed
        finally:
            self._live_line.close()
            self._conclude()

    async def _greet(self, connection: ClientConnection) -> bool:
        """Exchange hello and welcome; False where ``stop`` is set before."""
        encoder = self._encoder
        hello = Hello(
            encoder.mel,
            encoder.tile,
            encoder.template,
            secrets.token_hex(8),
            self._is_live,
            self._is_live and (bool(self._trace_lines) or self._live_line.is_shown),
            _AGENT,
        )
        await connection.send(self._protocol.send(hello))
        try:
            answer = await unless(self.stop, asyncio.wait_for(connection.recv(), _WELCOME_S))
            if answer is None:
                return False
            welcome = self._protocol.receive(answer)
        except TimeoutError as error:
            raise ConnectionFailed("the receiver did not answer the hello; is its vocoder still loading?") from error
        except RemoteProtocolError as error:
            raise ConnectionFailed(f"the receiver does not speak this protocol: {error}") from error
        assert isinstance(welcome, Welcome)
        self._vocoder = welcome.vocoder
        self._trace.vocoder_latency_samples = welcome.vocoder_latency_samples
        return True

    async def _first_failure_or_all(self, sending: list[asyncio.Task[None]], listening: asyncio.Task[None]) -> None:
        """Wait until all is sent; a connection that ends before that is a failure."""
        pending: set[asyncio.Task[None]] = {*sending, listening}
        while not all(task.done() for task in sending):
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        for task in sending:
            task.result()

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
                for tile in await asyncio.to_thread(self._encoder.push, captured.samples):
                    await self._enqueue(tile, arrived_s)
            for tile in await asyncio.to_thread(self._encoder.flush):
                await self._enqueue(tile, loop.time())
        finally:
            stopped.cancel()
            await self._outbox.close()

    async def _enqueue(self, tile: TilePacket, cut_s: float) -> None:
        size = wire_bytes(TilePacket.HEADER_BYTES + len(tile.payload))
        self._trace.sent(tile.sequence, cut_s, asyncio.get_running_loop().time(), len(tile.payload), size)
        await self._outbox.put(tile)

    async def _transmit(self, connection: ClientConnection) -> None:
        """Outbox to socket."""
        while (tile := await self._outbox.get()) is not None:
            message = self._protocol.send(tile)
            await connection.send(message)
            self._tiles_sent += 1
            self._rates.tile(len(tile.payload), wire_bytes(len(message)), self._tile_s)
            self._live_line.update(self._live_text(), asyncio.get_running_loop().time())

    async def _ping(self, connection: ClientConnection) -> None:
        """Tell the receiver our clock, five times quickly and then once a second."""
        loop = asyncio.get_running_loop()
        pings = 0
        while True:
            ping = Ping(round(loop.time() * 1e6), round(self._sample_zero_s * 1e6), self._clock.ahead_us)
            message = self._protocol.send(ping)
            await connection.send(message)
            self._rates.control(wire_bytes(len(message)))
            pings += 1
            await asyncio.sleep(_PING_S if pings > 5 else 0.1)

    async def _listen(self, connection: ClientConnection) -> None:
        """Pongs and reports, until the receiver closes the connection as it does when all has been played.

        Raises ConnectionClosed then.
        """
        while True:
            data = await connection.recv()
            try:
                message = self._protocol.receive(data)
            except RemoteProtocolError as error:
                raise ConnectionFailed(f"the receiver does not speak this protocol: {error}") from error
            if isinstance(message, Pong):
                self._clock.push(message, round(asyncio.get_running_loop().time() * 1e6))
            elif isinstance(message, Report) and (line := self._trace.join(message)) is not None:
                self._delay_ms = line["mouth_to_ear_ms"]
                self._trace_lines.write(line)

    async def _part(self, listening: asyncio.Task[None]) -> None:
        """Wait until the receiver closes the connection; after Ctrl-C not for long."""
        with suppress(ConnectionClosedOK):
            await unless(self.stop, asyncio.wait({listening}, timeout=self._patience_s()))
            if self.stop.is_set():
                await asyncio.wait({listening}, timeout=_HURRY_S)
            if listening.done():
                listening.result()

    def _patience_s(self) -> float:
        """How long the receiver may take to play what it has: a file sent at once is played in its own time."""
        played_later_s = 0.0 if self._is_live else self._encoder.samples / self._encoder.mel.rate_hz
        return _FAREWELL_S + played_later_s

    def _how_it_ended(self, closed: Any) -> str:
        if closed.rcvd is not None and closed.rcvd.reason:
            did = "ended" if self._protocol.is_welcome else "refused"
            reason = "".join(character for character in closed.rcvd.reason if character.isprintable())
            return f"the receiver {did} the stream: {reason}"
        return f"the connection was lost after {self._tiles_sent} tiles; start again when the receiver is back"

    def figures(self) -> dict[str, Any]:
        """What the stream has cost so far; rates are means over the sound sent."""
        encoder = self._encoder
        codec_kbps, wire_kbps = self._rates.mean_kbps()
        return {
            "codec_kbps": round(codec_kbps, 3),
            "wire_kbps": round(wire_kbps, 3),
            "tile_frames": encoder.tile.frames,
            "sent_tiles": self._tiles_sent,
            "dropped_tiles": self._outbox.dropped,
            "whole_stills": encoder.whole_stills,
            "round_trip_ms": self._clock.round_trip_ms,
            "vocoder": self._vocoder,
            "vocoder_latency_samples": self._trace.vocoder_latency_samples,
        }

    def _live_text(self) -> str:
        codec_kbps, wire_kbps = self._rates.recent_kbps()
        delay = "" if self._delay_ms is None else f"  delay {self._delay_ms:3.0f} ms"
        return (
            f"{self._encoder.samples / self._encoder.mel.rate_hz:7.1f} s  codec {codec_kbps:4.1f} "
            f"wire {wire_kbps:4.1f} kbps  dropped {self._outbox.dropped}{delay}"
        )

    def _conclude(self) -> None:
        if not self._tiles_sent:
            return
        figures = self.figures()
        self._trace_lines.write({"summary": figures})
        text = (
            "sent {sent_tiles} tiles: codec {codec_kbps:.2f} kbps, wire {wire_kbps:.2f} kbps, {dropped_tiles} dropped"
        )
        if figures["whole_stills"]:
            text += ", {whole_stills} whole stills"
        print(text.format(**figures), file=sys.stderr, flush=True)


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, _T]) -> _T | None:
    """Do the work and return its result; where ``stop`` is set first, cancel it and return None."""
    doing, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return doing.result() if doing.done() else None
    finally:
        for task in (doing, stopped):
            task.cancel()
        await asyncio.gather(doing, stopped, return_exceptions=True)


async def connect(host: str, port: int) -> ClientConnection:
    """Raises ConnectionFailed with one sentence for each way in which a peer can be no receiver."""
    if host.count(":") == 1:
        raise ConnectionFailed(f"{host!r} is not a host; give the port with --port")
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        connection = await connect_websocket(
            f"ws://{where}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            write_limit=4096,
            open_timeout=_CONNECT_S,
            close_timeout=2,
            proxy=None,
        )
    except TimeoutError as error:
        raise ConnectionFailed(
            f"{where} does not answer; is the host right, and does a firewall let the port through?"
        ) from error
    except (InvalidURI, ValueError) as error:
        raise ConnectionFailed(f"{where} is not an address; --host takes a name or an IP address") from error
    except InvalidMessage as error:
        raise ConnectionFailed(f"what listens on {where} is no WebSocket server; is the port right?") from error
    except InvalidHandshake as error:
        raise ConnectionFailed(
            f"what listens on {where} is no audio-avif receiver of this version ({error})"
        ) from error
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise ConnectionFailed(f"there is no host {host!r}; is the name right?") from error
        reason = os.strerror(error.errno) if error.errno else "it cannot be reached"
        raise ConnectionFailed(f"cannot connect to {where} ({reason}); is audio-avif-recv running there?") from error
    if connection.subprotocol != SUBPROTOCOL:
        await connection.close()
        raise ConnectionFailed(f"what listens on {where} is no audio-avif receiver of this version (no {SUBPROTOCOL})")
    return connection
