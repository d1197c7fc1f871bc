"""A relay's publishers: each connection's messages go into its room."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256

from audio_avif.errors import PeerRefused, RemoteProtocolError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import CLOSE_TOO_MANY_MESSAGES, CLOSE_UNSUPPORTED, Gap, Ping, Pong, Receipt
from audio_avif.link.packets import MediaPacket
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif.link.rooms import Publication, Rooms
from audio_avif_stream.relay.nats_bridge import NatsBridge
from audio_avif_stream.relay.peers import Visit, enter_room
from audio_avif_stream.serving.admission import Admission, too_many_messages
from audio_avif_stream.serving.connections import Closings, Connection, say
from audio_avif_stream.serving.handshake import receive_hello, welcome
from audio_avif_stream.serving.security import MessageAllowance


class Publishers:
    """Serves publishers: hello, then messages into the room until the bye or the end of the connection."""

    def __init__(
        self, rooms: Rooms, bridge: NatsBridge | None, admission: Admission, now_s: Callable[[], float]
    ) -> None:
        self.count = 0
        self._rooms = rooms
        self._bridge = bridge
        self._admission = admission
        self._now_s = now_s
        self._closings = Closings()

    async def serve(self, line: Connection, visit: Visit) -> None:
        """Serve one publisher. Raises PeerRefused or RemoteProtocolError for one that breaks the rules."""
        limits, protocol, name = self._admission.limits, ReceiverProtocol(), visit.room
        hello, _ = await receive_hello(line, protocol, limits.handshake_s)
        if not hello.live:
            raise PeerRefused(CLOSE_UNSUPPORTED, "a relay carries live streams only; send without --no-realtime")
        publication = await self._begin(name, public_hello(hello), functools.partial(self._closings.close, line))
        self._admission.admit(line.connection)
        self.count += 1
        try:
            await welcome(line, "relay", 0, publication.received, "audio-avif-relay")
            await self._receive(line, protocol, publication)
        finally:
            self.count -= 1
            publication.leave(self._now_s())
            if self._bridge is not None:
                self._bridge.unpublish(name, publication)
        await line.close()

    async def _receive(self, line: Connection, protocol: ReceiverProtocol, publication: Publication) -> None:
        loop, limits = asyncio.get_running_loop(), self._admission.limits
        allowance = MessageAllowance(limits.messages_per_s)
        while not protocol.is_over:
            data = await line.recv()
            now_s = loop.time()
            message = protocol.receive(data)
            if not allowance.take(now_s):
                raise PeerRefused(CLOSE_TOO_MANY_MESSAGES, too_many_messages(limits))
            assert isinstance(data, bytes) and not isinstance(message, Hello)
            if isinstance(message, Gap):
                raise RemoteProtocolError("the peer sent a gap, which only a relay may send")
            if isinstance(message, Ping):
                await say(line, Pong(message.sent_us, round(now_s * 1e6)))
            elif isinstance(message, MediaPacket):
                await say(line, Receipt(message.sequence))
            publication.take(message, data, self._now_s())

    async def _begin(self, name: str, hello: Hello, on_replaced: Callable[[int, str], None]) -> Publication:
        """Begin to publish, here and at the other relays. Raises PeerRefused or RemoteProtocolError."""
        data, bridge = hello.to_bytes(), self._bridge
        if bridge is None:
            now_s = self._now_s()
            return enter_room(self._rooms, name, now_s).begin(hello, data, now_s, on_replaced)
        received = await bridge.claim(name, hello.session)
        try:
            now_s = self._now_s()
            room = enter_room(self._rooms, name, now_s)  # the one before may have been forgotten meanwhile
            bridge.sink_for(room)
            publication = room.begin(hello, data, now_s, on_replaced, received)
        except BaseException:
            bridge.unpublish(name, None)
            raise
        await bridge.publish(name, publication, data)
        return publication


def public_hello(hello: Hello) -> Hello:
    """A hello as listeners are told it: with another name than the one by which its publisher comes back."""
    return replace(hello, session=sha256(hello.session.encode()).hexdigest()[:16], report=False)
