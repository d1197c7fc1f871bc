"""A receiver that calls: it listens to a room of a relay, and plays what is published as if it had been sent here.

Each stream of the room becomes a line of a `Session`, whose sender seems to be at its other end. When the connection
is lost, the next relay of the list is tried; it says the last second again, of which what is here already is left out.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.frames import CloseCode

from audio_avif.edge import console
from audio_avif.errors import ConnectionFailed, Refusal, Refused, RemoteProtocolError
from audio_avif.link.messages import (
    CLOSE_PROTOCOL_ERROR,
    CLOSE_TOO_MANY_MESSAGES,
    CLOSE_UNAUTHORIZED,
    CLOSE_UNKNOWN_ROOM,
    Bundle,
    Bye,
    Gap,
    Hello,
    NoisePacket,
    Ping,
    Pong,
    TilePacket,
)
from audio_avif.link.protocol import ReceiverProtocol, SenderProtocol
from audio_avif_stream.client.connection import Address, connect
from audio_avif_stream.receiving.receiver import Receiver
from audio_avif_stream.receiving.session import Session
from audio_avif_stream.runtime.awake import AwakeClock
from audio_avif_stream.runtime.interrupts import on_interrupt
from audio_avif_stream.runtime.tasks import cancel, settled, unless
from audio_avif_stream.serving.admission import Complaints
from audio_avif_stream.telemetry.trace import ClockOffset

log = logging.getLogger(__name__)

_CONNECT_S = 5.0
_BACKOFF_S, _LONGEST_BACKOFF_S, _JITTER = 0.1, 5.0, 0.2
_PING_S = 1.0
_SILENT_S = 3.0  # a relay answers pings; a path on which nothing comes back for so long is dead
_WAITING_S = 2.0
_MOST_WAITING = 512  # messages, while the vocoder warms up or the stream before is played to its end
_MEDIA = (TilePacket.TYPE, TilePacket.STILL_TYPE, NoisePacket.TYPE, Bundle.TYPE)
_FINAL = (CLOSE_PROTOCOL_ERROR, CLOSE_TOO_MANY_MESSAGES, CLOSE_UNAUTHORIZED, CLOSE_UNKNOWN_ROOM)


class _StreamLine:
    """What carries one stream of the room: a part of the connection to the relay."""

    is_backed_up = True  # so that nobody speaks to the publisher, who does not hear

    def __init__(self) -> None:
        self.has_ended = False
        self._messages: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._changed = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Take a message of the stream."""
        self._messages.append(message)
        self._changed.set()

    def end(self) -> None:
        """Nothing more comes on this line."""
        self.has_ended = True
        self._changed.set()

    async def recv(self) -> bytes | str:
        """The next message. Raises ConnectionClosed after the last."""
        while not self._messages:
            if self.has_ended:
                raise ConnectionClosedError(None, None)
            self._changed.clear()
            await self._changed.wait()
        return self._messages.popleft()

    async def send(self, message: bytes) -> None:
        """Say nothing: a welcome is for a sender."""

    async def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """The session is over; the connection waits for the next stream."""
        self.end()


@dataclass
class _Stream:
    """A stream of the room as it comes; one that ``is_spoiled`` is not played any more."""

    first: bytes
    hello: Hello
    session: Session
    line: _StreamLine
    newest: int
    carrying: asyncio.Task[None] = field(init=False)
    is_spoiled: bool = False


class Hearing:
    """What is heard in a room, given to the sessions of a receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._stream: _Stream | None = None
        self._ended: _Stream | None = None
        self._complaints = Complaints()
        self._relay_ahead = ClockOffset()

    def reconnected(self) -> None:
        """Another relay speaks, with a clock of its own."""
        self._relay_ahead.restart()

    def pong(self, pong: Pong, now_us: int) -> None:
        """Learn how far the relay's clock is ahead."""
        self._relay_ahead.push(pong, now_us)

    def broke_off(self) -> None:
        """The connection to the relay is lost; the stream may go on over another."""
        if self._stream is not None:
            self._stream.line.end()

    async def take(self, data: bytes) -> None:
        """Take a message of the publisher's, or the relay's word on those that it left out.

        Raises RemoteProtocolError for one of these that makes no sense; tiles are left to the session.
        """
        kind, stream = data[0], self._stream
        if kind == Hello.TYPE:
            await self._begin(data)
        elif kind == Gap.TYPE:
            left_out = Gap.parse(data).messages
            self._complaints.tell("gap", f"the relay left out {left_out} messages, since they did not get through here")
        elif stream is None or stream.is_spoiled:
            return
        elif kind == Ping.TYPE:
            self._ping(stream, Ping.parse(data))
        elif kind == Bye.TYPE:
            stream.line.put(data)
            self._stream, self._ended = None, stream
        elif kind in _MEDIA and (sequence := _sequence_of(data)) > stream.newest:
            if stream.line.has_ended:  # the session had given its publisher up
                await self._begin(stream.first)
            if self._stream is not None:
                self._stream.newest = sequence
                self._stream.line.put(data)

    async def _begin(self, first: bytes) -> None:
        """A stream begins, or goes on over another connection."""
        protocol = ReceiverProtocol()
        hello = protocol.receive(first)
        assert isinstance(hello, Hello)
        before, ended, self._stream, newest = self._stream, self._ended, None, -1
        if ended is not None:
            if hello.session == ended.hello.session:
                return
            await settled(ended.carrying)  # until it is played: its bye may not even have been taken yet
        if before is not None:
            before.line.end()
            await settled(before.carrying)
            if before.session.can_resume(hello):
                newest = before.newest
        try:
            session = self._receiver.session_for(hello)
        except Refusal as error:
            if error.code != CloseCode.GOING_AWAY:
                self._complaints.tell("refusal", f"a stream is not played: {error}")
            return
        self._stream = stream = _Stream(first, hello, session, _StreamLine(), newest)
        stream.carrying = asyncio.create_task(self._carry(stream, protocol))

    async def _carry(self, stream: _Stream, protocol: ReceiverProtocol) -> None:
        try:
            await stream.session.carry(stream.line, stream.first, protocol)
        except (RemoteProtocolError, Refusal) as error:
            stream.is_spoiled = True
            self._complaints.tell("spoiled", f"the rest of a stream is not played: {error}")
        except Exception as error:  # a fault of this stream is no reason to stop listening to others
            log.debug("a stream failed", exc_info=True)
            stream.is_spoiled = True
            self._complaints.tell("failure", f"a stream failed: {error}")

    def close(self) -> None:
        """Tell what is left to tell."""
        self._complaints.close()

    def _ping(self, stream: _Stream, ping: Ping) -> None:
        """Say the publisher's clock by ours, once both ways are known."""
        if self._relay_ahead.round_trip_ms is not None and ping.receiver_ahead_us:
            ahead_us = ping.receiver_ahead_us - self._relay_ahead.ahead_us
            stream.line.put(replace(ping, receiver_ahead_us=ahead_us).to_bytes())


def _sequence_of(data: bytes) -> int:
    """Of a tile, a pause, or a bundle's first part; of a message too short for one, a number that is never played."""
    at = 5 if data[0] == Bundle.TYPE else 1
    return int.from_bytes(data[at : at + 4], "big") if len(data) >= at + 4 else -1


async def listen_to(receiver: Receiver, relays: Sequence[Address], room_name: str) -> None:
    """Play what is published in a room, connected to one of these relays, until interrupted or once is enough.

    Raises ConnectionFailed where none can be reached at first, or one refuses, and what made playing fail.
    """
    on_interrupt(receiver.finished.set)
    hearing = Hearing(receiver)
    try:
        await unless(receiver.finished, _keep_connected(hearing, relays, room_name))
    finally:
        await receiver.close()
        hearing.close()
    if receiver.error is not None:
        raise receiver.error


async def _keep_connected(hearing: Hearing, relays: Sequence[Address], room_name: str) -> None:
    """Raises ConnectionFailed where every relay fails at first, Refused where one says no for good."""
    loop = asyncio.get_running_loop()
    backoff_s, attempts, has_been_connected = _BACKOFF_S, 0, False
    while True:
        relay = relays[attempts % len(relays)]
        attempts += 1
        try:
            connection = await connect(relay, _CONNECT_S)
        except Refused:
            raise
        except ConnectionFailed as failure:
            if not has_been_connected and attempts >= len(relays):
                raise
            log.debug("%s", failure)
        else:
            has_been_connected, connected_s = True, loop.time()
            console.tell(f"(listening to room {room_name} at {relay})")
            hearing.reconnected()
            why = await _listen(hearing, connection, room_name)
            hearing.broke_off()
            if loop.time() - connected_s > _LONGEST_BACKOFF_S:  # else it may be full, and say so at once
                backoff_s = _BACKOFF_S
            elsewhere = "the next relay" if len(relays) > 1 else "it again"
            log.warning("%s; trying %s", why, elsewhere)
        await asyncio.sleep(backoff_s * random.uniform(1 - _JITTER, 1 + _JITTER))
        if attempts % len(relays) == 0:
            backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)


async def _listen(hearing: Hearing, connection: ClientConnection, room_name: str) -> str:
    """Hear a relay until the connection ends; return why. Raises ConnectionFailed where to come back is no use."""
    loop = asyncio.get_running_loop()
    awake = AwakeClock()
    began_s, heard_s = loop.time(), awake.now_s()
    is_told = has_heard = is_taking = False

    async def watch() -> None:
        nonlocal is_told
        while is_taking or awake.now_s() - heard_s <= _SILENT_S:
            await connection.send(Ping(round(loop.time() * 1e6), 0, 0).to_bytes())
            await asyncio.sleep(_PING_S)
            if not (has_heard or is_told) and loop.time() - began_s > _WAITING_S:
                is_told = True
                console.tell(f"(waiting for someone to publish in room {room_name})")
        connection.transport.abort()

    watching = asyncio.create_task(watch())
    protocol = SenderProtocol(is_welcome=True)
    try:
        while True:
            data = await connection.recv()
            now_s, heard_s = loop.time(), awake.now_s()
            if isinstance(data, str) or not data:
                raise RemoteProtocolError("the relay sent what is no message of this protocol")
            if data[0] == Pong.TYPE:
                answer: Any = protocol.receive(data)
                hearing.pong(answer, round(now_s * 1e6))
            else:
                has_heard = is_taking = True  # the stream before may have to be played first; the relay is not at fault
                await hearing.take(data)
                is_taking, heard_s = False, awake.now_s()
    except ConnectionClosed as closed:
        return _how_it_ended(closed)
    except RemoteProtocolError as error:
        return f"the relay does not speak this protocol ({error})"
    finally:
        connection.transport.abort()
        await cancel([watching])


def _how_it_ended(closed: ConnectionClosed) -> str:
    """One sentence's beginning. Raises ConnectionFailed for a relay that said no for good."""
    if closed.rcvd is None:
        return "the connection to the relay was lost"
    reason = "".join(filter(str.isprintable, closed.rcvd.reason)) or f"code {closed.rcvd.code}"
    if closed.rcvd.code in _FINAL:
        raise Refused(f"the relay refused: {reason}")
    return f"the relay ended the connection: {reason}"
