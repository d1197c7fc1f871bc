"""A relay's connections: what each has come for, and writing to thousands of them without waiting for one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from websockets.frames import Frame, Opcode
from websockets.protocol import State

from audio_avif.errors import Refusal
from audio_avif.link.rooms import Listener
from audio_avif_stream.relay.room_tokens import Role
from audio_avif_stream.serving.admission import MeteredConnection

_KERNEL_BUFFER_BYTES = 8192  # some tiles; what is more waits where it can be dropped


@dataclass(frozen=True)
class Visit:
    """What a connection has come for; one that is refused learns why once it is open."""

    role: Role
    room: str
    refusal: Refusal | None = None


class RelayConnection(MeteredConnection):
    """A connection that tells its listener when what was written has left."""

    visit: Visit | None = None
    on_lost: Callable[[RelayConnection], None] | None = None
    _listener: Listener | None = None
    _now_s: Callable[[], float] = time.monotonic

    def listen(self, listener: Listener, now_s: Callable[[], float]) -> None:
        """Let a listener know when its way is clear, from the first byte that waits to none."""
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
        """Tell no listener any more."""
        self._listener = None

    def write(self, frame: bytes) -> None:
        """Write a whole frame, made elsewhere, behind what is there already."""
        if self.protocol.state is State.OPEN:
            self.transport.write(frame)

    def pause_writing(self) -> None:
        """Something waits to leave."""
        super().pause_writing()
        if self._listener is not None:
            self._listener.pause(self._now_s())

    def resume_writing(self) -> None:
        """Nothing waits any more."""
        super().resume_writing()
        if self._listener is not None:
            self._listener.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        if self.on_lost is not None:
            self.on_lost(self)


def framed(message: bytes) -> bytes:
    """A message as a server writes it, which is the same for every listener."""
    return Frame(Opcode.BINARY, message).serialize(mask=False)
