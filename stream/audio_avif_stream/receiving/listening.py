"""A receiver that connects to a relay: it plays the streams of a room as if their senders were connected to it.

Each stream of the room becomes a line of a `Session`. When the connection is lost, the next relay of the list is tried;
it repeats the last second, and messages that are here already are left out.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.frames import CloseCode

from audio_avif.edge import console
from audio_avif.errors import ConnectionFailed, PeerRefused, RefusedForGood, RemoteProtocolError
from audio_avif.link.counters import Counters
from audio_avif.link.hello import Hello
from audio_avif.link.messages import (
    CLOSE_PROTOCOL_ERROR,
    CLOSE_TOO_MANY_MESSAGES,
    CLOSE_UNAUTHORIZED,
    CLOSE_UNKNOWN_ROOM,
    UNFINISHED,
    Bye,
    Gap,
    Ping,
    Place,
    Pong,
)
from audio_avif.link.packets import short_counters
from audio_avif.link.protocol import ReceiverProtocol, SenderProtocol
from audio_avif.link.takeover import Verdict
from audio_avif_stream.client.connection import Address, connect
from audio_avif_stream.client.greeting import close_code, close_text
from audio_avif_stream.client.reconnecting import Backoff, keep_trying
from audio_avif_stream.receiving.receiver import Receiver
from audio_avif_stream.receiving.session import Session
from audio_avif_stream.runtime.awake import AwakeClock
from audio_avif_stream.runtime.readiness import notify_ready
from audio_avif_stream.runtime.tasks import cancel, settled, unless
from audio_avif_stream.serving.admission import Complaints
from audio_avif_stream.telemetry.trace import ClockOffset

log = logging.getLogger(__name__)

_CONNECT_S = 5.0
_MAX_BACKOFF_S = 5.0
_PING_S = 1.0
_SILENT_S = 3.0  # a relay answers pings; a path on which nothing comes back for so long is dead
_WAITING_S = 2.0
_MAX_WAITING = 512  # messages, while the vocoder warms up or the stream before is played to its end
_FINAL = (CLOSE_PROTOCOL_ERROR, CLOSE_TOO_MANY_MESSAGES, CLOSE_UNAUTHORIZED, CLOSE_UNKNOWN_ROOM)


class _StreamLine:
    """The line of one stream: its share of the connection to the relay."""

    is_backed_up = True  # so that no receipts are sent: the publisher does not get them

    def __init__(self) -> None:
        self.has_ended = False
        self._messages: deque[bytes] = deque(maxlen=_MAX_WAITING)
        self._changed = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Take a message of the stream."""
        self._messages.append(message)
        self._changed.set()

    def end(self) -> None:
        """End the line: no more messages come."""
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
        """Drop the message: a welcome is for a sender."""

    async def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """End the line of a session that is over; the connection waits for the next stream."""
        self.end()


@dataclass
class _Stream:
    """A stream of the room; the rest of one that ``is_spoiled`` is not played."""

    first: bytes
    hello: Hello
    session: Session
    line: _StreamLine
    newest: int
    counters: Counters = field(default_factory=Counters)
    carrying: asyncio.Task[None] = field(init=False)
    is_spoiled: bool = False


class RoomStreams:
    """Gives the streams of a room to the sessions of a receiver."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._stream: _Stream | None = None
        self._ended: _Stream | None = None
        self._complaints = Complaints()
        self._relay_ahead = ClockOffset()

    @property
    def unfinished(self) -> str:
        """The session of which the end is still to come, "" where there is none."""
        stream = self._stream
        if stream is None or stream.session.judge(stream.hello) is not Verdict.RESUME:
            return ""
        return stream.hello.session

    def reconnected(self) -> None:
        """Forget the clock of the relay before: this one has its own."""
        self._relay_ahead.restart()

    def pong(self, pong: Pong, now_us: int) -> None:
        """Learn how far the relay's clock is ahead."""
        self._relay_ahead.push(pong, now_us)

    def broke_off(self) -> None:
        """The connection to the relay is lost; the stream may go on over another."""
        if self._stream is not None:
            self._stream.line.end()

    async def take(self, data: bytes) -> None:
        """Take a message of the publisher, or a gap from the relay.

        Raises RemoteProtocolError for a malformed one; packets are checked by the session.
        """
        kind, stream = data[0], self._stream
        if kind == Hello.TYPE:
            await self._begin(data)
        elif kind == Gap.TYPE:
            left_out = Gap.parse(data).messages
            self._complaints.tell("gap", f"the relay left out {left_out} messages that this connection is too slow for")
        elif stream is None or stream.is_spoiled:
            return
        elif kind == Ping.TYPE:
            self._ping(stream, Ping.parse(data))
        elif kind == Bye.TYPE:
            stream.line.put(data)
            self._stream, self._ended = None, stream
        elif kind == Place.TYPE:
            place = Place.parse(data)
            stream.counters.move_to(place.sequence, place.first_frame)
            stream.line.put(data)
        elif (short := short_counters(data)) is not None:
            await self._packet(stream, data, *stream.counters.extend(*short))

    async def _packet(self, stream: _Stream, data: bytes, sequence: int, first_frame: int) -> None:
        """Give a packet to the stream's session, unless it is here already."""
        stream.counters.advance(sequence, first_frame)
        if sequence <= stream.newest:
            return
        if stream.line.has_ended:  # the session had given its publisher up
            await self._begin(stream.first)
            if self._stream is not None:
                self._stream.counters = stream.counters
                self._stream.line.put(Place(sequence, first_frame).to_bytes())
        if self._stream is not None:
            self._stream.newest = sequence
            self._stream.line.put(data)

    async def _begin(self, first: bytes) -> None:
        """Begin a stream, or resume it over another connection."""
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
            if before.session.judge(hello) is Verdict.RESUME:
                newest = before.newest
        try:
            session = self._receiver.session_for(hello)
        except PeerRefused as error:
            if error.code != CloseCode.GOING_AWAY:
                self._complaints.tell("refusal", f"a stream is not played: {error}")
            return
        self._stream = stream = _Stream(first, hello, session, _StreamLine(), newest)
        stream.carrying = asyncio.create_task(self._carry(stream, protocol))

    async def _carry(self, stream: _Stream, protocol: ReceiverProtocol) -> None:
        try:
            await stream.session.carry(stream.line, stream.first, protocol)
        except (RemoteProtocolError, PeerRefused) as error:
            stream.is_spoiled = True
            self._complaints.tell("spoiled", f"the rest of a stream is not played: {error}")
        except Exception as error:  # a fault of this stream is no reason to stop listening to others
            log.debug("a stream failed", exc_info=True)
            stream.is_spoiled = True
            self._complaints.tell("failure", f"a stream failed: {error}")

    def close(self) -> None:
        """Log the warnings that were held back."""
        self._complaints.close()

    def _ping(self, stream: _Stream, ping: Ping) -> None:
        """Translate the publisher's clock to this receiver's, once both offsets are known."""
        if self._relay_ahead.round_trip_ms is not None and ping.receiver_ahead_us:
            ahead_us = ping.receiver_ahead_us - self._relay_ahead.ahead_us
            stream.line.put(replace(ping, receiver_ahead_us=ahead_us).to_bytes())


async def listen_to(
    receiver: Receiver,
    relays: Sequence[Address],
    room_name: str,
    awaited: str | None = None,
    has_been_connected: bool = False,
) -> None:
    """Play what is published in a room, connected to one of these relays, until the receiver is finished.

    ``awaited`` names whoever has not come yet (default: someone to publish in the room). Where another connection
    ``has_been_connected`` to a relay already, a first attempt that fails is repeated like any other.

    Raises ConnectionFailed where none can be reached at first, or one refuses, and what made playing fail.
    """
    streams = RoomStreams(receiver)
    try:
        await unless(receiver.finished, _keep_connected(streams, relays, room_name, awaited, has_been_connected))
    finally:
        await receiver.close()
        streams.close()
    if receiver.error is not None:
        raise receiver.error


async def _keep_connected(
    streams: RoomStreams, relays: Sequence[Address], room_name: str, awaited: str | None, has_been_connected: bool
) -> None:
    """Stay connected to one of the relays.

    Raises ConnectionFailed where every relay fails before there has been a connection, RefusedForGood where one
    refuses.
    """
    loop = asyncio.get_running_loop()
    backoff = Backoff(_MAX_BACKOFF_S, attempts=len(relays))
    turns = itertools.cycle(relays)
    failures = 0
    awaited = awaited or f"someone to publish in room {room_name}"

    async def attempt() -> tuple[Address, ClientConnection]:
        relay = next(turns)
        unfinished = streams.unfinished
        query = f"?{urlencode({UNFINISHED: unfinished})}" if unfinished else ""
        return relay, await connect(replace(relay, path=relay.path + query), _CONNECT_S)

    def on_failure(failure: ConnectionFailed, next_s: float) -> None:
        nonlocal failures
        failures += 1
        if not has_been_connected and failures >= len(relays):
            raise failure
        log.debug("%s", failure)

    while True:
        relay, connection = await keep_trying(attempt, backoff, on_failure)
        has_been_connected, connected_s = True, loop.time()
        console.tell(f"(listening to room {room_name} at {relay})")
        notify_ready()
        streams.reconnected()
        why = await _listen(streams, connection, awaited)
        streams.broke_off()
        if loop.time() - connected_s > _MAX_BACKOFF_S:  # else it may be full, and say so at once
            backoff.reset()
        log.warning("%s; trying %s", why, "the next relay" if len(relays) > 1 else "it again")
        await asyncio.sleep(backoff.next_s())


async def _listen(streams: RoomStreams, connection: ClientConnection, awaited: str) -> str:
    """Receive from a relay until the connection ends; return why. Raises RefusedForGood where the relay refuses."""
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
                console.tell(f"(waiting for {awaited})")
        connection.transport.abort()

    watching = asyncio.create_task(watch())
    protocol = SenderProtocol(is_welcome=True)
    try:
        while True:
            data = await connection.recv()
            now_s, heard_s = loop.time(), awake.now_s()
            if isinstance(data, str) or not data:
                raise RemoteProtocolError("the relay sent a message that this protocol does not have")
            if data[0] == Pong.TYPE:
                answer: Any = protocol.receive(data)
                streams.pong(answer, round(now_s * 1e6))
            else:
                has_heard = is_taking = True  # the stream before may have to be played first; the relay is not at fault
                await streams.take(data)
                is_taking, heard_s = False, awake.now_s()
    except ConnectionClosed as closed:
        return _how_it_ended(closed)
    except RemoteProtocolError as error:
        return f"the relay does not speak this protocol ({error})"
    finally:
        connection.transport.abort()
        await cancel([watching])


def _how_it_ended(closed: ConnectionClosed) -> str:
    """Say how the connection ended. Raises RefusedForGood where the relay would refuse again."""
    if (code := close_code(closed)) is None:
        return "the connection to the relay was lost"
    reason = close_text(closed) or f"code {code}"
    if code in _FINAL:
        raise RefusedForGood(f"the relay refused: {reason}")
    return f"the relay ended the connection: {reason}"
