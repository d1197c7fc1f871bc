"""A relay's connections: what each asks for, and writing to thousands of them without waiting for any."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State

from audio_avif.errors import PeerRefused
from audio_avif.link.rooms import Listener, Room, Rooms
from audio_avif_stream.relay.room_tokens import Role
from audio_avif_stream.serving.admission import MeteredConnection

_KERNEL_BUFFER_BYTES = 8192  # some tiles; what is more waits where it can be dropped


@dataclass(frozen=True)
class Visit:
    """What a connection asks for; a refused one is told why once it is open.

    ``unfinished`` is the session of which a listener that comes back has yet to hear the end.
    """

    role: Role
    room: str
    unfinished: str = ""
    refusal: PeerRefused | None = None


class RelayConnection(MeteredConnection):
    """A connection that tells its listener when its write buffer is empty."""

    visit: Visit | None = None
    on_lost: Callable[[RelayConnection], None] | None = None
    _listener: Listener | None = None
    _now_s: Callable[[], float] = time.monotonic

    def listen(self, listener: Listener, now_s: Callable[[], float]) -> None:
        """Tell this listener from now on whether any byte waits to be sent."""
        self._listener, self._now_s = listener, now_s
        self.transport.set_write_buffer_limits(1, 0)
        # TLS writes to a transport of its own, which would take 64 KiB before it tells.
        inner = getattr(getattr(self.transport, "_ssl_protocol", None), "_transport", None)
        if inner is not None:
            inner.set_write_buffer_limits(1, 0)
        with suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BUFFER_BYTES
            )

    def leave(self) -> None:
        """Stop telling the listener."""
        self._listener = None

    def write(self, frame: bytes) -> None:
        """Write a complete frame behind what is buffered already."""
        if self.protocol.state is State.OPEN:
            self.transport.write(frame)

    def pause_writing(self) -> None:
        """React to bytes that wait to be sent."""
        super().pause_writing()
        if self._listener is not None:
            self._listener.pause(self._now_s())

    def resume_writing(self) -> None:
        """React to an empty write buffer."""
        super().resume_writing()
        if self._listener is not None:
            self._listener.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """React to the end of the connection."""
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost(self)


def framed(message: bytes) -> bytes:
    """Return a message as a WebSocket frame, which is the same for every listener."""
    return Frame(Opcode.BINARY, message).serialize(mask=False)


def enter_room(rooms: Rooms, name: str, now_s: float) -> Room:
    """The room of this name. Raises PeerRefused where there would be too many rooms."""
    room = rooms.enter(name, now_s)
    if room is None:
        reason = f"the relay has {rooms.max_rooms} rooms already (--max-rooms); try again later"
        raise PeerRefused(CloseCode.TRY_AGAIN_LATER, reason)
    return room
