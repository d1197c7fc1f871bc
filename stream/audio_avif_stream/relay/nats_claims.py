"""Rooms that are published at this relay: no other relay publishes there, and all may listen."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from audio_avif.errors import PeerRefused
from audio_avif.link.messages import CLOSE_BUSY
from audio_avif.link.rooms import Entry, Kind, Publication, Room
from audio_avif.link.takeover import DISPLACED, RESUMED, SILENT_S, Verdict
from audio_avif_stream.relay.nats_link import ANSWER_S, NatsLink, respond, room_subject

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

_MAX_ANSWER_BYTES = 512 * 1024  # a NATS message may have 1 MiB
_BUSY, _FREE = b"\0", b"\1"


@dataclass(eq=False)
class _Outward:
    """A room's sink that gives what is published here to the other relays; they have heard the hello already."""

    publish: Callable[[bytes], None]

    def greet(self, entries: list[Entry]) -> None:
        """Nothing: they ask."""

    def offer(self, entry: Entry, now_s: float) -> None:
        """Pass a message on."""
        if entry.kind is not Kind.HELLO:
            self.publish(entry.data)


@dataclass(eq=False)
class _Claim:
    """A room that is published here, or is about to be."""

    publication: Publication | None = None
    room: Room | None = None
    sink: _Outward | None = None
    is_lost: bool = False
    subscriptions: list[Subscription] = field(default_factory=list)


class Claims:
    """The rooms that this relay has claimed for its own publishers."""

    def __init__(self, link: NatsLink, now_s: Callable[[], float]) -> None:
        self._link = link
        self._now_s = now_s
        self._claims: dict[str, _Claim] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._claims

    async def claim(self, name: str, session: str) -> int:
        """Claim a room for the publisher of a session; return the newest tile of it that has come at another relay.

        Returns -1 where nothing has. Raises PeerRefused where somebody else publishes there.
        """
        before = self._claims.get(name)
        if before is not None:
            if before.publication is None:
                raise _busy(name)
            return -1
        claim = self._claims[name] = _Claim()
        subject = room_subject(name, "hello")
        try:
            claim.subscriptions += await self._link.subscribe(subject, functools.partial(self._on_claim, name))
            answer = await self._ask_to_publish(claim, subject, session)
            if claim.is_lost or answer == _BUSY:
                raise _busy(name)
        except BaseException:
            self._release(name, claim)
            raise
        return struct.unpack_from(">q", answer, 1)[0] if answer.startswith(_FREE) and len(answer) == 9 else -1

    async def _ask_to_publish(self, claim: _Claim, subject: str, session: str) -> bytes:
        """Return the answer of the relay that publishes there, nothing where there is none.

        A relay that stands still makes way after as long as a publisher would. It is asked again and again meanwhile,
        because one that asked at the same time and yielded says nothing either, and is gone at the second time.
        """
        for _ in range(round(SILENT_S / ANSWER_S)):
            if claim.is_lost:
                break
            with suppress(TimeoutError):
                return await self._link.request(subject, session.encode())
        return b""

    def sink_for(self, room: Room) -> None:
        """Let the other relays hear what is published in a claimed room; to be called before its hello is taken."""
        claim = self._claims[room.name]
        if claim.sink is None:
            subject = room_subject(room.name, "media")
            claim.room, claim.sink = room, _Outward(functools.partial(self._link.publish, subject))
            room.sinks[claim.sink] = None

    async def publish(self, name: str, publication: Publication, hello: bytes) -> None:
        """A publisher's hello was taken: tell the other relays, and answer what they ask."""
        claim = self._claims[name]
        claim.publication = publication
        if len(claim.subscriptions) < 2:  # before the hello: a relay that is too late to hear it asks, and is answered
            subject, handler = room_subject(name, "ask"), functools.partial(self._on_ask, name)
            claim.subscriptions += await self._link.subscribe(subject, handler)
        if self._claims.get(name) is not claim:  # given to another relay meanwhile
            self._link.unsubscribe(claim.subscriptions)
            return
        self._link.publish(room_subject(name, "media"), hello)

    def unpublish(self, name: str, publication: Publication | None) -> None:
        """A publisher has gone, or was refused after it had claimed the room."""
        claim = self._claims.get(name)
        if claim is not None and claim.publication is publication:
            if claim.room is not None and claim.sink is not None:
                claim.room.sinks.pop(claim.sink, None)
            self._release(name, claim)

    def _release(self, name: str, claim: _Claim) -> None:
        self._claims.pop(name, None)
        self._link.unsubscribe(claim.subscriptions)

    async def _on_claim(self, name: str, msg: Msg) -> None:
        """Another relay asks whether it may publish in a room of ours."""
        claim = self._claims.get(name)
        other, session = msg.data[:8], msg.data[8:].decode(errors="replace")
        if claim is None or other == self._link.relay_id:
            return
        publication = claim.publication
        if publication is None:  # both ask at once: one of the two must yield
            if self._link.relay_id < other:
                await respond(msg, _BUSY)
            else:
                claim.is_lost = True
            return
        match publication.judge(session, self._now_s()):
            case Verdict.RESUME:
                self._give_up(name, publication, *RESUMED)
                await respond(msg, _FREE + struct.pack(">q", publication.received))
            case Verdict.BEGIN:
                self._give_up(name, publication, *DISPLACED)
                await respond(msg, _FREE)
            case Verdict.WAIT:
                await respond(msg, _BUSY)

    def _give_up(self, name: str, publication: Publication, code: int, reason: str) -> None:
        """The room is another relay's now, however long it takes to close this connection."""
        publication.on_replaced(code, reason)
        publication.leave(self._now_s())
        self.unpublish(name, publication)

    async def _on_ask(self, name: str, msg: Msg) -> None:
        """Another relay has its first listener."""
        claim = self._claims.get(name)
        if claim is None or claim.publication is None:
            return
        entries = claim.publication.greeting(self._now_s())
        if entries:
            await respond(msg, self._link.relay_id + _greeting_bytes(entries))


def _greeting_bytes(entries: list[Entry]) -> bytes:
    """The messages of a greeting, each behind its length: of the packets as many of the newest as an answer holds."""
    parts: list[bytes] = []
    room_bytes = _MAX_ANSWER_BYTES
    for entry in reversed(entries):
        room_bytes -= len(entry.data) + 4
        if room_bytes >= 0 or entry.kind is not Kind.MEDIA:
            parts.append(struct.pack(">I", len(entry.data)) + entry.data)
    return b"".join(reversed(parts))


def _busy(name: str) -> PeerRefused:
    return PeerRefused(CLOSE_BUSY, f"room {name} has another publisher; try again later")
