"""Rooms that are listened to here and published at another relay."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from audio_avif.errors import PeerRefused, RemoteProtocolError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Gap, Ping, Pong
from audio_avif.link.packets import MediaPacket
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif.link.rooms import Publication, Room
from audio_avif.link.takeover import SILENT_S
from audio_avif_stream.relay.nats_link import NatsLink, relay_subject, respond, room_subject
from audio_avif_stream.telemetry.trace import ClockOffset

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

log = logging.getLogger(__name__)

_ASK_AGAIN_S = 1.0
_MAX_CLOCKS = 64


class RelayClocks:
    """How far the clocks of other relays are ahead of this one's."""

    def __init__(self, link: NatsLink) -> None:
        self._link = link
        self._clocks: dict[bytes, ClockOffset] = {}

    async def open(self) -> None:
        """Answer the other relays' questions for this clock."""
        await self._link.subscribe(relay_subject(self._link.relay_id, "clock"), self._on_clock)

    def translate(self, ping: Ping, relay: bytes) -> Ping | None:
        """Say the publisher's clock by this relay's; None until it is known. Each call compares the clocks again."""
        self._link.start(self._compare(relay))
        clock = self._clocks.get(relay)
        if clock is None or clock.round_trip_ms is None or not ping.receiver_ahead_us:
            return None
        return replace(ping, receiver_ahead_us=ping.receiver_ahead_us - clock.ahead_us)

    async def _compare(self, relay: bytes) -> None:
        loop = asyncio.get_running_loop()
        sent_us = round(loop.time() * 1e6)
        answer = await self._link.ask(relay_subject(relay, "clock"))
        if len(answer) == 8:
            clock = self._clocks.setdefault(relay, ClockOffset())
            clock.push(Pong(sent_us, int.from_bytes(answer, "big")), round(loop.time() * 1e6))
            while len(self._clocks) > _MAX_CLOCKS:
                del self._clocks[next(iter(self._clocks))]

    async def _on_clock(self, msg: Msg) -> None:
        await respond(msg, round(asyncio.get_running_loop().time() * 1e6).to_bytes(8, "big"))


@dataclass(eq=False)
class _Remote:
    """A room that is listened to here and published elsewhere, or nowhere yet."""

    room: Room
    publication: Publication | None = None
    protocol: ReceiverProtocol = field(default_factory=ReceiverProtocol)
    source: bytes = b""
    held: list[Msg] | None = None  # what comes while an answer is waited for
    asked_s: float = float("-inf")
    subscriptions: list[Subscription] = field(default_factory=list)


class Remotes:
    """Follows rooms of other relays, and publishes in this relay's rooms what comes of them."""

    def __init__(self, link: NatsLink, resume_s: float, now_s: Callable[[], float]) -> None:
        self.clocks = RelayClocks(link)
        self._link = link
        self._resume_s = resume_s
        self._now_s = now_s
        self._remotes: dict[str, _Remote] = {}

    def follow(self, room: Room) -> None:
        """Listen to what is published in a room elsewhere."""
        if room.name not in self._remotes:
            remote = self._remotes[room.name] = _Remote(room)
            self._link.start(self._subscribe(remote))

    def drop(self, name: str) -> None:
        """Listen to a room no more."""
        remote = self._remotes.pop(name, None)
        if remote is None:
            return
        if remote.publication is not None:
            remote.publication.leave(self._now_s())
        self._link.unsubscribe(remote.subscriptions)

    def tick(self, now_s: float) -> None:
        """Give up streams that have gone silent, and rooms that nobody listens to."""
        for name, remote in list(self._remotes.items()):
            publication = remote.publication
            if publication is not None and publication.silent_s(now_s) > max(self._resume_s, SILENT_S):
                publication.leave(now_s)
                remote.publication = None
            if not remote.room.sinks:
                self.drop(name)
                remote.room.forget(now_s, after_s=-1.0)  # what becomes of it is not heard here any more

    def ask_again(self) -> None:
        """Ask for the stream of every room: messages may have been missed."""
        for remote in self._remotes.values():
            remote.asked_s = float("-inf")
            self._link.start(self._ask(remote))

    async def _subscribe(self, remote: _Remote) -> None:
        subject, handler = room_subject(remote.room.name, "media"), functools.partial(self._on_media, remote)
        remote.subscriptions += await self._link.subscribe(subject, handler)
        if self._remotes.get(remote.room.name) is remote:
            await self._ask(remote)
        else:  # dropped meanwhile
            self._link.unsubscribe(remote.subscriptions)

    async def _ask(self, remote: _Remote) -> None:
        """Ask for the hello and the last second, and take what has come since behind it."""
        now_s = self._now_s()
        if remote.held is not None or now_s - remote.asked_s < _ASK_AGAIN_S:
            return
        remote.asked_s, remote.held = now_s, []
        answer = await self._link.ask(room_subject(remote.room.name, "ask"))
        source, at = answer[:8], 8
        while at + 4 <= len(answer):
            size = int.from_bytes(answer[at : at + 4], "big")
            self._take(remote, source, answer[at + 4 : at + 4 + size])
            at += 4 + size
        held, remote.held = remote.held, None
        for msg in held:
            self._take(remote, msg.data[:8], msg.data[8:])

    async def _on_media(self, remote: _Remote, msg: Msg) -> None:
        if remote.held is not None:
            remote.held.append(msg)
        else:
            self._take(remote, msg.data[:8], msg.data[8:])

    def _take(self, remote: _Remote, source: bytes, data: bytes) -> None:
        """Take a message of another relay's, as if its publisher were here; what makes no sense is left out."""
        name = remote.room.name
        if self._remotes.get(name) is not remote or not data:
            return
        try:
            if data[0] == Hello.TYPE:
                self._begin(remote, source, data)
            elif remote.publication is None:
                self._link.start(self._ask(remote))
            elif source == remote.source:
                self._pass_on(remote, remote.publication, data)
        except (RemoteProtocolError, PeerRefused) as error:
            log.debug("room %s: %s", name, error)

    def _begin(self, remote: _Remote, source: bytes, data: bytes) -> None:
        now_s, protocol = self._now_s(), ReceiverProtocol()
        hello = protocol.receive(data)
        assert isinstance(hello, Hello)
        if remote.publication is not None:  # its relay let the new one in; here it may not seem silent yet
            remote.publication.leave(now_s)
            remote.publication = None
        publication = remote.room.begin(hello, data, now_s, lambda code, reason: None)
        remote.publication, remote.protocol, remote.source = publication, protocol, source

    def _pass_on(self, remote: _Remote, publication: Publication, data: bytes) -> None:
        message, now_s = remote.protocol.receive(data), self._now_s()
        if isinstance(message, Hello | Gap):
            return
        if isinstance(message, Ping):
            if (ours := self.clocks.translate(message, remote.source)) is not None:
                publication.take(ours, ours.to_bytes(), now_s)
        elif not isinstance(message, MediaPacket) or message.sequence > publication.received:
            publication.take(message, data, now_s)
