"""Relays joined through NATS: a room spans them, published at one and listened to at all; see ``docs/guides/relay.md``.

For a room NAME there are three subjects: on ``media`` the relay with the publisher says every message, ``ask`` is
answered by it with what a late listener must know, and on ``hello`` a relay asks whether it may publish.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from audio_avif.link.rooms import Publication, Room, Rooms
from audio_avif_stream.relay.nats_claims import Claims
from audio_avif_stream.relay.nats_link import NatsLink
from audio_avif_stream.relay.nats_remotes import Remotes


class NatsBridge:
    """Joins this relay's rooms with those of others; while NATS is away each relay goes on by itself."""

    def __init__(self, url: str, rooms: Rooms, resume_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        """``now_s`` is the time by which the rooms go."""
        self.link = NatsLink(url)
        self._rooms = rooms
        self._claims = Claims(self.link, now_s)
        self._remotes = Remotes(self.link, resume_s, now_s)
        self.link.on_reconnected = self._remotes.ask_again

    async def open(self) -> None:
        """Connect. Raises MissingPackage without nats-py, ConnectionFailed where no server answers."""
        await self.link.open()
        await self._remotes.clocks.open()

    async def close(self) -> None:
        """Leave the other relays."""
        await self.link.close()

    def tick(self, now_s: float) -> None:
        """Hear the rooms that somebody listens to, and no others; to be called a few times a second."""
        for room in self._rooms:
            if room.sinks:
                self.want(room)
        self._remotes.tick(now_s)

    def want(self, room: Room) -> None:
        """Somebody listens here to what may be published elsewhere."""
        if room.name not in self._claims:
            self._remotes.follow(room)

    async def claim(self, name: str, session: str) -> int:
        """Claim a room for a publisher here; return the newest tile of its session that has come elsewhere, or -1.

        Raises PeerRefused where somebody publishes there at another relay.
        """
        received = await self._claims.claim(name, session)
        self._remotes.drop(name)
        return received

    def sink_for(self, room: Room) -> None:
        """Let the other relays hear what is published in a claimed room; to be called before its hello is taken."""
        self._claims.sink_for(room)

    async def publish(self, name: str, publication: Publication, hello: bytes) -> None:
        """A publisher's hello was taken: tell the other relays, and answer what they ask."""
        await self._claims.publish(name, publication, hello)

    def unpublish(self, name: str, publication: Publication | None) -> None:
        """A publisher has gone, or was refused after it had claimed the room."""
        self._claims.unpublish(name, publication)
