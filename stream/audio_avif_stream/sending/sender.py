"""One stream from a source to a receiver, over as many connections as it takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection

from audio_avif.codec.encoder import Encoder
from audio_avif.edge import console
from audio_avif.errors import ConnectionFailed
from audio_avif_stream.client.greeting import ReceiverBusy, greet
from audio_avif_stream.client.reconnecting import Backoff, keep_trying
from audio_avif_stream.runtime.tasks import cancel, settled, unless
from audio_avif_stream.sending import transfer
from audio_avif_stream.sending.capture import Source
from audio_avif_stream.sending.outgoing import OutgoingStream
from audio_avif_stream.sending.production import Producer
from audio_avif_stream.sending.sender_stats import FigureOutputs, conclusion
from audio_avif_stream.sending.transfer import HURRY_S, SILENT_S, GaveUp, Transfer

log = logging.getLogger(__name__)

_CONNECT_S = 10.0
_WELCOME_S = 30.0
_RECONNECT_S = 1.5  # for each attempt, or three times what the first one took
_MAX_BACKOFF_S = 1.0
_TELL_S = 0.1
_NOT_TOLD = "the receiver stopped reading; it could not be told that the stream has ended"


@dataclass(frozen=True)
class StreamConfig:
    """What kind of stream this is: a live one drops what is late, and how long a broken connection is tried again."""

    is_live: bool = True
    reconnect_s: float = 600.0

    def __post_init__(self) -> None:
        if not self.reconnect_s >= 0:
            raise ValueError(f"reconnect_s must be 0 or more, not {self.reconnect_s}")


class Sender:
    """One stream from a source to a receiver; ``connect(timeout_s)`` opens a connection."""

    def __init__(
        self,
        encoder: Encoder,
        source: Source,
        connect: Callable[[float], Awaitable[ClientConnection]],
        config: StreamConfig,
        telling: FigureOutputs,
    ) -> None:
        self.stop = asyncio.Event()
        self.latest: dict[str, Any] | None = None
        """The figures as of a moment ago, for another thread to read."""
        self._stream = OutgoingStream(encoder, config.is_live, telling.wants_reports)
        self._stream.stats.device = lambda: source.device
        self._producer = Producer(self._stream, source, self.stop)
        self._connect = connect
        self._config = config
        self._outputs = telling
        self._connected_in_s = 0.0
        self._begun: Transfer | None = None

    async def begin(self) -> bool:
        """Connect and greet; return whether the stream has begun, which it has not where ``stop`` is set first.

        Raises ConnectionFailed where the receiver cannot be reached or refuses, ReceiverBusy while it plays another
        stream.
        """
        self._begun = await unless(self.stop, self._open(_CONNECT_S, _WELCOME_S))
        return self._begun is not None

    async def run(self) -> None:
        """Send the source to its end or until ``stop`` is set, say bye, and wait until all has been played.

        The stream begins here unless it has begun, and a connection that breaks is replaced by another. Raises
        ConnectionFailed as ``begin`` does or where the receiver does not come back; FileError or DeviceError where the
        source breaks.
        """
        if self._begun is None and not await self.begin():
            return
        current = self._begun
        assert current is not None
        producing = asyncio.create_task(self._producer.run())
        telling = asyncio.create_task(self._tell())
        try:
            while (why := await current.run(producing)) is not None:
                current.connection.transport.abort()
                if (found := await self._come_back(why)) is None:
                    return
                current = found
            await current.connection.close()
        except GaveUp:
            log.warning(_NOT_TOLD)
        finally:
            self._stream.stats.is_connected = False
            current.connection.transport.abort()
            await cancel([producing, telling])
            self._outputs.live_line.close()
            self._conclude()

    async def _open(self, connect_s: float, welcome_s: float) -> Transfer:
        """Connect, and exchange hello and welcome. Raises ConnectionFailed, ReceiverBusy or RefusedForGood."""
        loop, stream = asyncio.get_running_loop(), self._stream
        began_s = loop.time()
        connection = await self._connect(connect_s)
        self._connected_in_s = self._connected_in_s or loop.time() - began_s
        protocol, welcome = await greet(connection, stream.hello, welcome_s)
        stream.resume(welcome, loop.time())
        can_come_back = self._config.reconnect_s > 0
        return Transfer(stream, connection, protocol, self._outputs.trace, self.stop, can_come_back)

    async def _come_back(self, why: str) -> Transfer | None:
        """Connect again; None where the user interrupts. Raises ConnectionFailed where that fails for too long."""
        loop, stats, outbox = asyncio.get_running_loop(), self._stream.stats, self._stream.outbox
        stats.is_connected = False
        if not self._config.reconnect_s:
            raise ConnectionFailed(f"{why}; start again when the receiver is back")
        log.warning("%s; reconnecting for up to %g s (--reconnect-s)", why, self._config.reconnect_s)
        broke_s, dropped = loop.time(), outbox.dropped
        trying = asyncio.create_task(self._keep_trying(broke_s))
        try:
            await unless(self.stop, settled(trying))
            await asyncio.wait({trying}, timeout=HURRY_S)
            if not trying.done():
                log.warning(_NOT_TOLD)
                return None
            found = trying.result()
        finally:
            await cancel([trying])
        stats.reconnections += 1
        log.warning(
            "reconnected after %.1f s; %d tiles dropped meanwhile", loop.time() - broke_s, outbox.dropped - dropped
        )
        return found

    async def _keep_trying(self, broke_s: float) -> Transfer:
        """Try until the deadline; each attempt is short, since a path that is back carries nothing for an old one."""
        loop = asyncio.get_running_loop()
        patience_s = max(_RECONNECT_S, 3 * self._connected_in_s)
        is_told_busy = False

        def on_failure(failure: ConnectionFailed, next_s: float) -> None:
            nonlocal is_told_busy
            if isinstance(failure, ReceiverBusy) and not is_told_busy:
                is_told_busy = True
                log.warning("the receiver plays another stream; trying again until that has ended")
            if next_s > self._deadline_s(broke_s):
                reason = f"the receiver did not come back within {loop.time() - broke_s:.0f} s: {failure}"
                raise ConnectionFailed(reason) from failure

        return await keep_trying(lambda: self._open(patience_s, SILENT_S), Backoff(_MAX_BACKOFF_S), on_failure)

    def _deadline_s(self, broke_s: float) -> float:
        """Until when a connection is tried: for no more than the farewell once a live stream has come to its end."""
        deadline_s = broke_s + self._config.reconnect_s
        if self._config.is_live and self._stream.captured_s is not None:
            deadline_s = min(deadline_s, max(broke_s, self._stream.captured_s) + transfer.FAREWELL_S)
        return deadline_s

    async def _tell(self) -> None:
        """Ten times a second the live line, once a second a line of JSON."""
        loop, stats = asyncio.get_running_loop(), self._stream.stats
        ticks = 0
        while True:
            self.latest = stats.figures()
            if stats.tiles:
                self._outputs.live_line.update(stats.live_text(self.latest), loop.time())
            ticks += 1
            if ticks % 10 == 0:
                self._outputs.stats_json.write(self.latest)
            await asyncio.sleep(_TELL_S)

    def _conclude(self) -> None:
        if not self._stream.stats.tiles:
            return
        figures = self.latest = self._stream.stats.figures()
        self._outputs.trace.write({"summary": figures})
        self._outputs.stats_json.write({**figures, "is_final": True})
        console.tell(conclusion(figures))
