"""Plays streams: accepts connections one at a time, feeds a player, and tells both ends what becomes of the tiles."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from audio_avif import __version__
from audio_avif.codec import WARM_UP_TILES, PlayoutConfig, warm_up
from audio_avif.errors import AudioAvifError, ConnectionFailed, RemoteProtocolError
from audio_avif.stream.interrupts import on_interrupt
from audio_avif.stream.live_line import JsonLines, LiveLine, RateMeter
from audio_avif.stream.outputs import Output
from audio_avif.stream.playout import Player
from audio_avif.synthesis import open_stream
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.wire import (
    CLOSE_BUSY,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_UNSUPPORTED,
    DEFAULT_PORT,
    MAX_MESSAGE_BYTES,
    SUBPROTOCOL,
    Bye,
    Hello,
    Message,
    Ping,
    Pong,
    ReceiverProtocol,
    Report,
    TilePacket,
    Welcome,
    wire_bytes,
)

log = logging.getLogger(__name__)

_HELLO_S = 10.0
_BACKLOG_TILES = 64
_HURRY_S = 1.0  # how long after Ctrl-C each step towards the end may take
_REPORT_QUEUE = 256
_CLOSE_INTERNAL_ERROR = 1011  # RFC 6455, 7.4.1
_AGENT = f"audio-avif/{__version__}"


@dataclass
class StreamStats:
    """What has been received of one stream."""

    rates: RateMeter = field(default_factory=RateMeter)
    whole_stills: int = 0
    delay_s: float | None = None


@dataclass
class Receiver:
    """Plays one stream at a time and refuses others while it does."""

    vocoder: Vocoder
    output: Output
    playout: PlayoutConfig
    live_line: LiveLine
    stats_json: JsonLines
    is_once: bool = False
    save_tiles: Path | None = None
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    error: AudioAvifError | None = None
    streams: int = 0
    _current: _Stream | None = None

    async def handle(self, connection: ServerConnection) -> None:
        """Serve one connection to its end."""
        stream = _Stream(self, connection)
        try:
            await stream.receive()
            await stream.play_out()
            await stream.close()
        except _Refusal as refusal:
            await connection.close(refusal.code, _close_reason(refusal))
            log.warning("a stream was refused: %s", refusal)
        except RemoteProtocolError as error:
            await connection.close(CLOSE_PROTOCOL_ERROR, _close_reason(error))
            log.warning("a stream was refused: %s", error)
        except Exception as error:  # whatever it is, the user is told, and the next stream has a clean start
            self.error = error if isinstance(error, AudioAvifError) else AudioAvifError(f"the receiver failed: {error}")
            await connection.close(_CLOSE_INTERNAL_ERROR, "the receiver failed")
            self.finished.set()
        finally:
            try:
                await stream.play_out()
            finally:
                self._release(stream)

    def take(self, stream: _Stream) -> None:
        """Let this stream play. Raises _Refusal while another one does."""
        if self._current is not None:
            raise _Refusal(CLOSE_BUSY, "another stream is playing here; try again when it is over")
        self._current = stream

    def _release(self, stream: _Stream) -> None:
        if self._current is not stream:
            return
        self._current = None
        if stream.player is not None:
            self.error = self.error or stream.player.error
            if self.is_once or self.error is not None:
                self.finished.set()

    async def close(self) -> None:
        """Stop listening to the stream that plays, if any, and play what has come of it, unless that takes long."""
        stream = self._current
        if stream is None or stream.player is None:
            return
        stream.player.end(None)
        for more_urgent in (stream.player.stop, stream.is_done.set):
            with suppress(TimeoutError):
                await asyncio.wait_for(stream.is_done.wait(), _HURRY_S)
                return
            more_urgent()


class _Refusal(AudioAvifError):
    """The stream is well formed but will not be played here; ``code`` is the WebSocket close code that says why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def _close_reason(error: Exception) -> str:
    """A WebSocket close reason holds 123 bytes (RFC 6455, 5.5)."""
    return str(error).encode()[:123].decode(errors="ignore")


class _Stream:
    """One connection: its protocol state, its player and its figures."""

    def __init__(self, receiver: Receiver, connection: ServerConnection) -> None:
        self.player: Player | None = None
        self.is_done = asyncio.Event()
        self._receiver = receiver
        self._connection = connection
        self._protocol = ReceiverProtocol()
        self._reports: asyncio.Queue[Report] = asyncio.Queue(_REPORT_QUEUE)
        self._stats = StreamStats()
        self._clock_offset_s: tuple[float, float] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._bye: Bye | None = None

    async def receive(self) -> None:
        """Receive until the bye or the end of the connection. Raises RemoteProtocolError or _Refusal."""
        self._watcher = asyncio.create_task(self._watch())
        try:
            async with asyncio.timeout(_HELLO_S) as patience:
                async for data in self._connection:
                    patience.reschedule(None)
                    message = self._protocol.receive(data)
                    await self._react(message, len(data))
                    if isinstance(message, Bye):
                        self._bye = message
                        return
        except TimeoutError as error:
            raise RemoteProtocolError("the peer did not say hello in time") from error
        except ConnectionClosed:
            pass
        if self.player is not None and not self.is_done.is_set():
            log.warning("the connection broke off; what had come is played")

    async def play_out(self) -> None:
        """Play what has come, to its end; the second call does nothing."""
        if self._watcher is None:
            return
        if self.player is not None:
            self.player.end(self._bye)
            await self.is_done.wait()
            await self._send_reports()
        self._watcher.cancel()
        (failure,) = await asyncio.gather(self._watcher, return_exceptions=True)
        if isinstance(failure, Exception):
            log.warning("the stream's figures ended early: %s", failure)
        self._watcher = None
        self._receiver.live_line.close()
        self._conclude()

    async def close(self) -> None:
        """Close the connection and let the sender know whether all was played."""
        if self.player is not None and self.player.error is not None:
            await self._connection.close(_CLOSE_INTERNAL_ERROR, "its output has failed")
        else:
            await self._connection.close()

    async def _react(self, message: Message, message_bytes: int) -> None:
        now_s = time.monotonic()
        if isinstance(message, Hello):
            await self._begin(message)
        elif isinstance(message, TilePacket) and self.player is not None and self._protocol.hello is not None:
            hello = self._protocol.hello
            self._stats.rates.tile(len(message.payload), wire_bytes(message_bytes), self.player.decoder.tile_s)
            self._stats.whole_stills += message.is_whole_still
            self.player.push(message, now_s)
            while not hello.live and self.player.backlog > _BACKLOG_TILES and not self.is_done.is_set():
                await asyncio.sleep(0.01)  # the sender's socket fills, and it waits
        elif isinstance(message, Ping):
            self._stats.rates.control(wire_bytes(message_bytes))
            self._clock_offset_s = (message.sample_zero_us / 1e6, message.receiver_ahead_us / 1e6)
            await self._connection.send(Pong(message.sent_us, round(now_s * 1e6)).to_bytes())

    async def _begin(self, hello: Hello) -> None:
        receiver = self._receiver
        receiver.take(self)
        vocoder = receiver.vocoder
        if hello.mel != vocoder.mel:
            reason = f"the stream's mel is {hello.mel}; vocoder {vocoder.name} here needs {vocoder.mel}"
            raise _Refusal(CLOSE_UNSUPPORTED, reason)
        stream = open_stream(vocoder)
        await asyncio.to_thread(warm_up, hello, stream)
        warm_s = time.monotonic()
        await asyncio.to_thread(warm_up, hello, stream)
        processing_s = (time.monotonic() - warm_s) / WARM_UP_TILES
        loop = asyncio.get_running_loop()
        receiver.streams += 1
        self.player = Player(
            hello,
            stream,
            receiver.output,
            receiver.playout,
            processing_s,
            on_report=lambda report: _from_thread(loop, self._on_report, report),
            on_done=lambda: _from_thread(loop, self.is_done.set),
            save_tiles=receiver.save_tiles,
            stream_number=receiver.streams,
        )
        await self._connection.send(Welcome(vocoder.name, stream.latency_samples, _AGENT).to_bytes())

    def _on_report(self, report: Report) -> None:
        hello = self._protocol.hello
        assert hello is not None
        played_us = report.received_us + report.wait_us + report.decode_us + report.vocoder_us + report.buffer_us
        played_s = (played_us + report.device_us) / 1e6
        if hello.live and self._clock_offset_s is not None:
            sample_zero_s, receiver_ahead_s = self._clock_offset_s
            spoken_s = sample_zero_s + receiver_ahead_s + report.first_sample / hello.mel.rate_hz
            self._stats.delay_s = played_s - spoken_s
        if hello.report and not self._reports.full():
            self._reports.put_nowait(report)

    async def _send_reports(self) -> None:
        try:
            while not self._reports.empty():
                await self._connection.send(self._reports.get_nowait().to_bytes())
        except ConnectionClosed:
            return

    async def _watch(self) -> None:
        """Ten times a second: send reports and redraw the live line; once a second: a line of JSON."""
        ticks = 0
        while True:
            await asyncio.sleep(0.1)
            await self._send_reports()
            if self.player is not None:
                if self.player.error is not None:
                    await self.close()
                    return
                figures = self.figures()
                text = live_text(figures, *self._stats.rates.recent_kbps())
                self._receiver.live_line.update(text, time.monotonic())
                ticks += 1
                if ticks % 10 == 0:
                    self._receiver.stats_json.write(figures)

    def figures(self) -> dict[str, Any]:
        """What ``--stats-json`` shows; rates are means over the stream so far."""
        assert self.player is not None and self._protocol.hello is not None
        stats, counts, hello = self._stats, self.player.decoder.counts, self._protocol.hello
        codec_kbps, wire_kbps = stats.rates.mean_kbps()
        return {
            "codec_kbps": round(codec_kbps, 3),
            "wire_kbps": round(wire_kbps, 3),
            "buffer_ms": round(self.player.output.buffered_s * 1e3, 1),
            "delay_ms": None if stats.delay_s is None else round(stats.delay_s * 1e3, 1),
            "received_tiles": counts.received,
            "lost_tiles": counts.lost + counts.damaged,
            "late_tiles": counts.late,
            "repeated_tiles": counts.repeated,
            "skipped_tiles": counts.skipped,
            "concealed_tiles": -(-self.player.decoder.concealed_frames // hello.tile.frames),
            "concealed_ms": round(self.player.decoder.concealed_frames * hello.mel.frame_s * 1e3),
            "underruns": self.player.output.underruns,
            "whole_stills": stats.whole_stills,
            "played_s": round(self.player.played_samples / hello.mel.rate_hz, 3),
            "vocoder": self._receiver.vocoder.name,
        }

    def _conclude(self) -> None:
        if self.player is None:
            return
        figures = self.figures()
        self._receiver.stats_json.write({**figures, "is_final": True})
        print(
            "played {played_s:.1f} s: codec {codec_kbps:.2f} kbps, wire {wire_kbps:.2f} kbps, {lost_tiles} tiles lost, "
            "{concealed_ms} ms concealed, {underruns} underruns".format(**figures),
            file=sys.stderr,
            flush=True,
        )


def _from_thread(loop: asyncio.AbstractEventLoop, callback: Any, *args: Any) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback, *args)


def live_text(figures: dict[str, Any], codec_kbps: float, wire_kbps: float) -> str:
    """The line of ``--stats``, which fits into 80 columns."""
    delay = "  ?" if figures["delay_ms"] is None else f"{figures['delay_ms']:3.0f}"
    return (
        f"codec {codec_kbps:4.1f} wire {wire_kbps:4.1f} kbps buffer {figures['buffer_ms']:3.0f} delay {delay} ms "
        f"lost {figures['lost_tiles']} concealed {figures['concealed_tiles']} xruns {figures['underruns']}"
    )


async def listen(receiver: Receiver, host: str, port: int) -> None:
    """Accept streams on ``host:port`` until interrupted, or until the first is over if ``is_once``.

    Raises ConnectionFailed where the port cannot be had, and what made playing fail.
    """
    on_interrupt(receiver.finished.set)
    try:
        server = await serve(
            receiver.handle,
            host,
            port,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            origins=[None],  # a page in a browser names its origin; programs do not
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            write_limit=4096,
            close_timeout=2,
        )
    except OSError as error:
        raise ConnectionFailed(_bind_failure(error, host, port)) from error
    async with server:
        bound = server.sockets[0].getsockname()[1]
        where = "from this machine (--host 0.0.0.0 lets others in)" if _is_loopback(host) else "from the other machine"
        print(f"listening; send {where} with:\n  {send_line(host, bound)}", file=sys.stderr, flush=True)
        await receiver.finished.wait()
        await receiver.close()
    if receiver.error is not None:
        raise receiver.error


def _bind_failure(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; stop the program that holds it or choose another with --port"
    return f"cannot listen on {host}:{port} ({error.strerror or error}); --host must be an address of this machine"


def _is_loopback(host: str) -> bool:
    return host in ("127.0.0.1", "localhost", "::1")


def send_line(host: str, port: int) -> str:
    """The command that reaches a receiver bound to ``host:port``."""
    port_option = "" if port == DEFAULT_PORT else f" --port {port}"
    outward = {"0.0.0.0": (socket.AF_INET, "192.0.2.1"), "::": (socket.AF_INET6, "2001:db8::1")}
    return f"audio-avif-send --host {_own_address(*outward[host]) if host in outward else host}{port_option}"


def _own_address(family: socket.AddressFamily, elsewhere: str) -> str:
    """The address of the interface that leads outward; connecting a datagram socket sends nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
