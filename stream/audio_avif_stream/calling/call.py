"""One end of a call: it sends in one room of a relay and plays what is sent in the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from audio_avif.edge import console
from audio_avif.errors import RefusedForGood
from audio_avif_stream.calling.rooms import rooms_of
from audio_avif_stream.client.connection import Address
from audio_avif_stream.client.greeting import ReceiverBusy
from audio_avif_stream.receiving.listening import listen_to
from audio_avif_stream.receiving.receiver import Receiver
from audio_avif_stream.runtime.tasks import unless
from audio_avif_stream.sending.sender import Sender


class Call:
    """A sender and a receiver; ``make_sender`` makes one for the address of the direction that is tried.

    An end that ``is_host`` comes first, and leaves the first direction to the end that calls, which tries that first.
    """

    def __init__(
        self,
        name: str,
        relay: Address,
        receiver: Receiver,
        make_sender: Callable[[Address], Sender],
        is_host: bool = False,
    ) -> None:
        self.receiver = receiver
        self.sender: Sender | None = None
        """The newest one."""
        self.is_hung_up = False
        """Whether the user has ended the call."""
        self._name = name
        self._relay = relay
        self._make_sender = make_sender
        self._rooms = rooms_of(name)[::-1] if is_host else rooms_of(name)
        self._is_over = asyncio.Event()

    def hang_up(self) -> None:
        """End the call, as the user wants; the other end is told."""
        self.is_hung_up = True
        self._end()

    def _end(self) -> None:
        self._is_over.set()
        self.receiver.finished.set()
        if self.sender is not None:
            self.sender.stop.set()

    async def run(self) -> None:
        """Take the direction that is free, and call until either end hangs up for good.

        An end whose input is over only listens; it hangs up when the other end has left. Raises ConnectionFailed where
        the relay cannot be reached, refuses, or does not come back, RefusedForGood where the call is full, and what
        made sending or playing fail.
        """
        if (other_room := await unless(self._is_over, self._take_direction())) is None:
            return
        for end in await asyncio.gather(self._send(), self._play(other_room), return_exceptions=True):
            if isinstance(end, BaseException):
                raise end

    async def _take_direction(self) -> str:
        """Begin to send in the room that is free; return the other."""
        first, second = self._rooms
        for room, other in ((first, second), (second, first)):
            self.sender = self._make_sender(replace(self._relay, path=f"/publish/{room}"))
            try:
                await self.sender.begin()
            except ReceiverBusy:
                continue
            return other
        raise RefusedForGood(f"call {self._name} is full: two ends are in it; wait until one hangs up, or give --room")

    async def _send(self) -> None:
        assert self.sender is not None
        try:
            await self.sender.run()
        except BaseException:
            self._end()
            raise
        if not self._is_over.is_set():
            self.receiver.is_once = True
            if not self.receiver.is_playing:
                self._end()

    async def _play(self, room: str) -> None:
        try:
            relay = replace(self._relay, path=f"/listen/{room}")
            await listen_to(self.receiver, [relay], room, "the other end", has_been_connected=True)
        finally:
            self._end()


class Presence:
    """Says when the other end comes and when it leaves."""

    def __init__(self) -> None:
        self.is_here = False

    def update(self, is_playing: bool) -> None:
        """Take whether there is a stream of the other end now."""
        if is_playing != self.is_here:
            self.is_here = is_playing
            console.tell(f"(the other end {'is here' if is_playing else 'has left'})")
