"""A relay's listeners: each hears its room, may ping, and is cut off if it reads nothing for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from websockets.frames import CloseCode

from audio_avif.errors import PeerRefused, RemoteProtocolError
from audio_avif.link.messages import CLOSE_TOO_MANY_MESSAGES, Ping, Pong
from audio_avif.link.rooms import Listener, Room, Rooms
from audio_avif_stream.relay.peers import RelayConnection, Visit, enter_room, framed
from audio_avif_stream.serving.admission import Admission, address_of
from audio_avif_stream.serving.connections import Connection
from audio_avif_stream.serving.security import MessageAllowance

_PINGS_PER_S = 5  # of a listener, over four seconds


class Listeners:
    """Serves listeners, ``max_listeners`` at most; ``on_joined`` is told of the room of each."""

    def __init__(
        self,
        rooms: Rooms,
        admission: Admission,
        max_listeners: int,
        now_s: Callable[[], float],
        on_joined: Callable[[Room], None],
    ) -> None:
        self.stalled = 0
        """How many were cut off."""
        self.connected: dict[RelayConnection, Listener] = {}
        self._rooms = rooms
        self._admission = admission
        self._max_listeners = max_listeners
        self._now_s = now_s
        self._on_joined = on_joined

    @property
    def slow(self) -> int:
        """How many have yet to take what was written to them."""
        return sum(listener.blocked_s is not None for listener in self.connected.values())

    async def serve(self, line: Connection, visit: Visit) -> None:
        """Serve one listener. Raises PeerRefused or RemoteProtocolError for one that breaks the rules."""
        connection = line.connection
        assert isinstance(connection, RelayConnection)
        if len(self.connected) >= self._max_listeners:
            reason = f"the relay has {self._max_listeners} listeners already (--max-listeners); try again later"
            raise PeerRefused(CloseCode.TRY_AGAIN_LATER, reason)
        room = enter_room(self._rooms, visit.room, self._now_s())
        self._admission.admit(connection)
        listener = Listener(connection.write, framed, self._rooms.traffic)
        connection.listen(listener, self._now_s)
        self.connected[connection] = listener
        try:
            room.join(listener, self._now_s(), visit.unfinished)
            self._on_joined(room)
            await _answer_pings(line, listener)
        finally:
            connection.leave()
            del self.connected[connection]
            room.leave(listener)

    def cut_off_stalled(self, now_s: float, stall_s: float) -> None:
        """Cut off those that have read nothing for ``stall_s``."""
        for connection, listener in list(self.connected.items()):
            if listener.blocked_s is not None and now_s - listener.blocked_s > stall_s:
                self.stalled += 1
                self._admission.complaints.tell(
                    "stalled", f"{address_of(connection)} read nothing for {stall_s:g} s (--stall-s); disconnected"
                )
                connection.transport.abort()


async def _answer_pings(line: Connection, listener: Listener) -> None:
    loop, allowance = asyncio.get_running_loop(), MessageAllowance(_PINGS_PER_S)
    while True:
        data = await line.recv()
        if not isinstance(data, bytes) or data[:1] != bytes([Ping.TYPE]):
            raise RemoteProtocolError("a listener may send only pings")
        ping, now_s = Ping.parse(data), loop.time()
        if not allowance.take(now_s):
            raise PeerRefused(CLOSE_TOO_MANY_MESSAGES, f"it sent more than {_PINGS_PER_S} pings per second")
        listener.say(framed(Pong(ping.sent_us, round(now_s * 1e6)).to_bytes()))
