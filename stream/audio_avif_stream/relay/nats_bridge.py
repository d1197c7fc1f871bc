"""Relays joined through NATS: a room spans them, published at one and listened to at all; see ``docs/guides/relay.md``.

For a room NAME there are three subjects: on ``media`` the relay with the publisher says every message, ``ask`` is
answered by it with what a late listener must know, and on ``hello`` a relay asks whether it may publish. Every message
begins with the eight bytes that name its relay.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import secrets
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from audio_avif.errors import ConnectionFailed, Refusal, RemoteProtocolError
from audio_avif.link.messages import CLOSE_BUSY, CLOSE_REPLACED, Bye, Gap, Hello, MediaPacket, Ping, Pong
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif.link.rooms import SILENT_S, Entry, Kind, Publication, Room, Rooms
from audio_avif_stream.runtime.tasks import cancel
from audio_avif_stream.telemetry.trace import ClockOffset

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

log = logging.getLogger(__name__)

INSTALL = "pip install 'audio-avif[nats]'"
_PREFIX = "audio_avif.v1"
_CONNECT_S = 5.0
_ANSWER_S = 1.0
_RECONNECT_S = 0.5
_ASK_AGAIN_S = 1.0
_MOST_OUTWARD = 1024  # messages that wait for NATS
_MOST_ANSWER_BYTES = 512 * 1024  # a NATS message may have 1 MiB
_BUSY, _FREE = b"\0", b"\1"


@dataclass(eq=False)
class _Outward:
    """A room's sink that gives what is published here to the other relays; they have heard the hello already."""

    say: Callable[[bytes], None]

    def greet(self, entries: list[Entry]) -> None:
        """Nothing: they ask."""

    def offer(self, entry: Entry, now_s: float) -> None:
        """Pass a message on."""
        if entry.kind is not Kind.HELLO:
            self.say(entry.data)


@dataclass(eq=False)
class _Claim:
    """A room that is published here, or is about to be."""

    publication: Publication | None = None
    room: Room | None = None
    sink: _Outward | None = None
    is_lost: bool = False
    subscriptions: list[Subscription] = field(default_factory=list)


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


class NatsBridge:
    """What joins this relay's rooms with those of others; while NATS is away each relay goes on by itself."""

    def __init__(self, url: str, rooms: Rooms, resume_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        """``now_s`` is the time by which the rooms go."""
        self._url = url
        self._now_s = now_s
        self._rooms = rooms
        self._resume_s = resume_s
        self._id = secrets.token_bytes(8)
        self._nats: Client | None = None
        self._claims: dict[str, _Claim] = {}
        self._remotes: dict[str, _Remote] = {}
        self._clocks: dict[bytes, ClockOffset] = {}
        self._outward: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_MOST_OUTWARD)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._last_error = ""

    # ---------------------------------------------------------------------------------------------------- as a whole

    async def open(self) -> None:
        """Connect. Raises ConnectionFailed where nats-py is missing or no server answers."""
        try:
            from nats.aio.client import Client
        except ImportError as error:
            raise ConnectionFailed(f"--nats needs nats-py; install it with: {INSTALL}") from error
        nats = Client()
        options: dict[str, Any] = {
            "name": f"audio-avif-relay {self._id.hex()}",
            "no_echo": True,
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": _RECONNECT_S,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_closed,
        }
        self._is_closing = True  # what fails until then is told below
        try:
            async with asyncio.timeout(_CONNECT_S):
                await nats.connect(self._url, **options)
        except Exception as error:  # nats-py raises many kinds, of which none matters more than another
            with suppress(Exception):
                await nats.close()
            reason = self._last_error or str(error) or "it did not answer"
            raise ConnectionFailed(
                f"cannot connect to NATS ({reason}); is nats-server running there? (--nats)"
            ) from error
        self._is_closing = False
        self._nats = nats
        await self._subscribe(f"{_PREFIX}.relay.{self._id.hex()}.clock", self._on_clock)
        self._start(self._pump())

    async def close(self) -> None:
        """Leave the other relays."""
        self._is_closing = True
        await cancel(list(self._tasks))
        if self._nats is not None:
            with suppress(Exception):
                await self._nats.close()

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def tick(self, now_s: float) -> None:
        """Hear the rooms that somebody listens to, and no others; to be called a few times a second."""
        for room in self._rooms:
            if room.sinks and room.name not in self._claims:
                self.want(room)
        for name, remote in list(self._remotes.items()):
            publication = remote.publication
            if publication is not None and publication.silent_s(now_s) > max(self._resume_s, SILENT_S):
                publication.leave(now_s)
                remote.publication = None
            if not remote.room.sinks:
                self._drop(name, now_s)
                remote.room.forget(now_s, after_s=-1.0)  # what becomes of it is not heard here any more

    async def _pump(self) -> None:
        """Say what is published here, in order; what NATS cannot take now nobody needs later."""
        assert self._nats is not None
        while True:
            subject, data = await self._outward.get()
            if self._nats.is_connected:
                with suppress(Exception):
                    await self._nats.publish(subject, self._id + data)

    def _say(self, subject: str, data: bytes) -> None:
        if self._outward.full():
            self._outward.get_nowait()
        self._outward.put_nowait((subject, data))

    async def _on_error(self, error: Exception) -> None:
        is_system = isinstance(error, OSError) and error.errno is not None
        self._last_error = os.strerror(error.errno) if is_system else str(error) or type(error).__name__
        log.debug("NATS: %s", self._last_error)

    async def _on_disconnected(self) -> None:
        if not self._is_closing:
            log.warning("NATS is away; the listeners here hear only what is published here")

    async def _on_closed(self) -> None:
        if not self._is_closing and self._nats is not None:
            log.warning("NATS does not let this relay in any more (%s); start it again", self._nats.last_error)

    async def _on_reconnected(self) -> None:
        log.warning("NATS is back")
        for remote in self._remotes.values():
            remote.asked_s = float("-inf")
            self._start(self._ask(remote))

    # ------------------------------------------------------------------------------------------------- published here

    async def claim(self, name: str, session: str) -> int:
        """Make sure that nobody publishes in this room elsewhere; return what of this session has come there.

        Raises Refusal where somebody does.
        """
        before = self._claims.get(name)
        if before is not None:
            if before.publication is None:
                raise _busy(name)
            return -1
        claim = self._claims[name] = _Claim()
        subject = _subject(name, "hello")
        try:
            claim.subscriptions += await self._subscribe(subject, functools.partial(self._on_claim, name))
            answer = await self._ask_to_publish(claim, subject, session)
            if claim.is_lost or answer == _BUSY:
                raise _busy(name)
        except BaseException:
            self._release(name, claim)
            raise
        self._drop(name, self._now_s())
        return struct.unpack_from(">q", answer, 1)[0] if answer.startswith(_FREE) and len(answer) == 9 else -1

    async def _ask_to_publish(self, claim: _Claim, subject: str, session: str) -> bytes:
        """What the relay says that publishes there, nothing where there is none.

        A relay that stands still makes way after as long as a publisher would. It is asked again and again meanwhile,
        because one that asked at the same time and yielded says nothing either, and is gone at the second time.
        """
        for _ in range(round(SILENT_S / _ANSWER_S)):
            if claim.is_lost:
                break
            with suppress(TimeoutError):
                return await self._request(subject, session.encode())
        return b""

    def sink_for(self, room: Room) -> None:
        """Let the other relays hear what is published in a room that was claimed; before its hello is taken."""
        claim = self._claims[room.name]
        if claim.sink is None:
            claim.room, claim.sink = room, _Outward(functools.partial(self._say, _subject(room.name, "media")))
            room.sinks[claim.sink] = None

    async def publish(self, name: str, publication: Publication, hello: bytes) -> None:
        """A publisher's hello was taken: tell the other relays, and answer what they ask."""
        claim = self._claims[name]
        claim.publication = publication
        if len(claim.subscriptions) < 2:  # before the hello: who is too late to hear it asks, and is answered
            claim.subscriptions += await self._subscribe(_subject(name, "ask"), functools.partial(self._on_ask, name))
        if self._claims.get(name) is not claim:  # given to another relay meanwhile
            self._unsubscribe(claim.subscriptions)
            return
        self._say(_subject(name, "media"), hello)

    def unpublish(self, name: str, publication: Publication | None) -> None:
        """A publisher has gone, or was not let in after it had claimed the room."""
        claim = self._claims.get(name)
        if claim is not None and claim.publication is publication:
            if claim.room is not None and claim.sink is not None:
                claim.room.sinks.pop(claim.sink, None)
            self._release(name, claim)

    def _release(self, name: str, claim: _Claim) -> None:
        self._claims.pop(name, None)
        self._unsubscribe(claim.subscriptions)

    async def _on_claim(self, name: str, msg: Msg) -> None:
        """Another relay asks whether it may publish in a room of ours."""
        claim, now_s = self._claims.get(name), self._now_s()
        other, session = msg.data[:8], msg.data[8:].decode(errors="replace")
        if claim is None or other == self._id:
            return
        publication = claim.publication
        if publication is None:  # both ask at once: one of the two must yield
            if self._id < other:
                await _respond(msg, _BUSY)
            else:
                claim.is_lost = True
        elif publication.session == session:
            self._give_up(name, publication, CLOSE_REPLACED, "the stream goes on over a newer connection")
            await _respond(msg, _FREE + struct.pack(">q", publication.received))
        elif publication.is_silent(now_s):
            self._give_up(name, publication, CLOSE_BUSY, "another stream has begun here")
            await _respond(msg, _FREE)
        else:
            await _respond(msg, _BUSY)

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
        parts: list[bytes] = []
        room_bytes = _MOST_ANSWER_BYTES
        hello, *others = claim.publication.greeting(self._now_s()) or [None]
        if hello is None:
            return
        for entry in reversed(others):
            room_bytes -= len(entry.data) + 4
            if room_bytes < 0:
                break
            parts.append(struct.pack(">I", len(entry.data)) + entry.data)
        parts.append(struct.pack(">I", len(hello.data)) + hello.data)
        await _respond(msg, self._id + b"".join(reversed(parts)))

    # ---------------------------------------------------------------------------------------------- published elsewhere

    def want(self, room: Room) -> None:
        """Somebody listens here to what may be published elsewhere."""
        if room.name not in self._remotes and room.name not in self._claims:
            remote = self._remotes[room.name] = _Remote(room)
            self._start(self._follow(remote))

    async def _follow(self, remote: _Remote) -> None:
        subject, handler = _subject(remote.room.name, "media"), functools.partial(self._on_media, remote)
        remote.subscriptions += await self._subscribe(subject, handler)
        if self._remotes.get(remote.room.name) is remote:
            await self._ask(remote)
        else:  # dropped meanwhile
            self._unsubscribe(remote.subscriptions)

    async def _ask(self, remote: _Remote) -> None:
        """Ask for the hello and the last second, and take what has come since behind it."""
        now_s = self._now_s()
        if remote.held is not None or now_s - remote.asked_s < _ASK_AGAIN_S:
            return
        remote.asked_s, remote.held = now_s, []
        answer = await self._answer(_subject(remote.room.name, "ask"))
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
        name, now_s = remote.room.name, self._now_s()
        if self._remotes.get(name) is not remote or not data:
            return
        try:
            if data[0] == Hello.TYPE:
                protocol = ReceiverProtocol()
                hello = protocol.receive(data)
                assert isinstance(hello, Hello)
                if remote.publication is not None:  # its relay let the new one in; here it may not seem silent yet
                    remote.publication.leave(now_s)
                    remote.publication = None
                publication = remote.room.begin(hello, data, now_s, lambda code, reason: None)
                remote.publication, remote.protocol, remote.source = publication, protocol, source
            elif remote.publication is None:
                self._start(self._ask(remote))
            elif source == remote.source:
                message = remote.protocol.receive(data)
                if isinstance(message, Ping):
                    self._ping(remote, message, now_s)
                elif isinstance(message, Bye) or (
                    isinstance(message, MediaPacket) and message.sequence > remote.publication.received
                ):
                    remote.publication.take(message, data, now_s)
                else:
                    assert isinstance(message, MediaPacket | Gap)
        except (RemoteProtocolError, Refusal) as error:
            log.debug("room %s: %s", name, error)

    def _drop(self, name: str, now_s: float) -> None:
        """Hear of a room no more."""
        remote = self._remotes.pop(name, None)
        if remote is None:
            return
        if remote.publication is not None:
            remote.publication.leave(now_s)
        self._unsubscribe(remote.subscriptions)

    # ------------------------------------------------------------------------------------------------------ clocks

    def _ping(self, remote: _Remote, ping: Ping, now_s: float) -> None:
        """Say the publisher's clock by this relay's, once it is known."""
        assert remote.publication is not None
        self._start(self._compare(remote.source))
        clock = self._clocks.get(remote.source)
        if clock is None or clock.round_trip_ms is None or not ping.receiver_ahead_us:
            return
        ours = replace(ping, receiver_ahead_us=ping.receiver_ahead_us - clock.ahead_us)
        remote.publication.take(ours, ours.to_bytes(), now_s)

    async def _compare(self, source: bytes) -> None:
        loop = asyncio.get_running_loop()
        sent_us = round(loop.time() * 1e6)
        answer = await self._answer(f"{_PREFIX}.relay.{source.hex()}.clock")
        if len(answer) == 8:
            clock = self._clocks.setdefault(source, ClockOffset())
            clock.push(Pong(sent_us, int.from_bytes(answer, "big")), round(loop.time() * 1e6))
            while len(self._clocks) > 64:
                del self._clocks[next(iter(self._clocks))]

    async def _on_clock(self, msg: Msg) -> None:
        await _respond(msg, round(asyncio.get_running_loop().time() * 1e6).to_bytes(8, "big"))

    # ----------------------------------------------------------------------------------------------- NATS' own words

    async def _subscribe(self, subject: str, handler: Callable[[Msg], Awaitable[None]]) -> list[Subscription]:
        """The subscription; none where NATS has closed for good, and this relay goes on by itself."""
        assert self._nats is not None
        try:
            return [await self._nats.subscribe(subject, cb=handler)]
        except Exception as error:  # as below
            log.debug("NATS: %s: %r", subject, error)
            return []

    def _unsubscribe(self, subscriptions: list[Subscription]) -> None:
        for subscription in subscriptions:
            self._start(_end(subscription))
        subscriptions.clear()

    async def _answer(self, subject: str) -> bytes:
        """The first answer; nothing where there is none."""
        try:
            return await self._request(subject, b"")
        except TimeoutError:
            return b""

    async def _request(self, subject: str, data: bytes) -> bytes:
        """The first answer; nothing where nobody is there. Raises TimeoutError where somebody does not answer."""
        assert self._nats is not None
        try:
            answer = await self._nats.request(subject, self._id + data, timeout=_ANSWER_S)
        except TimeoutError:
            if self._nats.is_connected:
                raise
            return b""
        except Exception as error:  # nobody there, or NATS is away: all the same
            log.debug("NATS: %s: %r", subject, error)
            return b""
        return bytes(answer.data)


def _subject(name: str, kind: str) -> str:
    """A room's subject; its dots would be NATS' separators."""
    return f"{_PREFIX}.room.{name.replace('.', '%2E')}.{kind}"


def _busy(name: str) -> Refusal:
    return Refusal(CLOSE_BUSY, f"somebody else publishes in room {name}; try again later")


async def _respond(msg: Msg, data: bytes) -> None:
    with suppress(Exception):
        await msg.respond(data)


async def _end(subscription: Subscription) -> None:
    with suppress(Exception):
        await subscription.unsubscribe()
