"""Rooms: one stream each, its publisher, and its listeners; without sockets or a clock.

A room takes messages from a `Publication` and offers them to its sinks. A `Listener` is a sink with a bounded queue:
one that falls behind loses its own oldest tiles, and nobody waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from audio_avif.errors import PeerRefused
from audio_avif.link.counters import Counters
from audio_avif.link.hello import Hello
from audio_avif.link.messages import CLOSE_BUSY, Bye, Gap, Ping, Place
from audio_avif.link.packets import MediaPacket
from audio_avif.link.takeover import DISPLACED, RESUMED, Tenure, Verdict

KEEP_S = 1.0
"""How much of the stream a late listener gets at once, and how much is queued for a slow one."""

_MAX_KEPT = 64  # messages; the narrowest tiles come 31 times a second


class Kind(IntEnum):
    """The kind of a message, by which a queue treats it."""

    HELLO = 1
    MEDIA = 2
    PING = 3
    BYE = 4
    PLACE = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as all sinks of a room share it: its bytes, and the frame that is written for each of them.

    ``place`` is that of a packet, or the one that the message tells.
    """

    kind: Kind
    data: bytes
    frame: bytes
    at_s: float
    place: Place | None = None


@dataclass
class Traffic:
    """Counts of the messages of all rooms."""

    received_messages: int = 0
    sent_messages: int = 0
    sent_bytes: int = 0
    dropped_messages: int = 0


def place_after(before: Place | None, place: Place | None) -> Place | None:
    """The place of a packet where a listener, whose newest packet lies at ``before``, would not find it; else None."""
    counters = Counters() if before is None else Counters(before.sequence, before.first_frame)
    is_known = place is None or counters.reaches(place.sequence, place.first_frame)
    return None if is_known else place


class Sink(Protocol):
    """An object that a room gives its messages to."""

    def greet(self, entries: list[Entry]) -> None:
        """Take what a late listener needs: the hello, the newest ping, the last second."""
        ...

    def offer(self, entry: Entry, now_s: float) -> None:
        """Take one message, or leave it out; never wait."""
        ...


@dataclass
class _Waiting:
    entry: Entry
    missed: int = 0  # how many were dropped between the one before and this


class Listener:
    """A sink that writes at once while its way is clear, and else queues about a second.

    ``pause`` and ``resume`` say whether it is clear; ``write`` may call ``pause``. Of what waits the oldest tiles are
    dropped first, never a hello or a bye, and told as one Gap before the next message, with the place of a packet.
    """

    def __init__(self, write: Callable[[bytes], None], framed: Callable[[bytes], bytes], traffic: Traffic) -> None:
        self.blocked_s: float | None = None
        """Since when nothing could be written."""
        self._write = write
        self._framed = framed
        self._traffic = traffic
        self._is_clear = True
        self._waiting: deque[_Waiting] = deque()
        self._place: Place | None = None  # of the newest packet written

    @property
    def waiting(self) -> int:
        """How many messages wait."""
        return len(self._waiting)

    def greet(self, entries: list[Entry]) -> None:
        """Write all in one go."""
        if entries:
            self._send(b"".join(entry.frame for entry in entries), len(entries))
            self._place = next((entry.place for entry in reversed(entries) if entry.place is not None), None)

    def offer(self, entry: Entry, now_s: float) -> None:
        """Write a message, or let it wait; pings are of no use later and do not wait."""
        if self._is_clear:
            self._pass_on(entry)
        elif entry.kind is not Kind.PING:
            if entry.kind is Kind.HELLO:
                self._forget_unbegun()
            self._waiting.append(_Waiting(entry))
            self._drop_old(now_s)

    def say(self, frame: bytes) -> None:
        """Write a frame for this listener alone, unless messages wait."""
        if self._is_clear:
            self._send(frame)

    def pause(self, now_s: float) -> None:
        """Record that written bytes wait to be sent."""
        self._is_clear = False
        self.blocked_s = now_s

    def resume(self) -> None:
        """Record that all bytes were sent, and write what waits."""
        self._is_clear = True
        self.blocked_s = None
        while self._waiting and self._is_clear:
            first = self._waiting[0]
            if first.missed:
                self._send(self._framed(Gap(first.missed).to_bytes()))
                first.missed = 0
            elif (place := place_after(self._place, first.entry.place)) is not None:
                self._place = place
                self._send(self._framed(place.to_bytes()))
            else:
                self._pass_on(self._waiting.popleft().entry)

    def _pass_on(self, entry: Entry) -> None:
        if entry.place is not None:
            self._place = entry.place
        self._send(entry.frame)

    def _send(self, frame: bytes, messages: int = 1) -> None:
        self._traffic.sent_messages += messages
        self._traffic.sent_bytes += len(frame)
        self._write(frame)

    def _forget_unbegun(self) -> None:
        """Drop what waits of earlier streams, except the end of the one that this listener was told of."""
        kept: deque[_Waiting] = deque()
        for waiting in self._waiting:
            if waiting.entry.kind is Kind.HELLO:
                break
            kept.append(waiting)
            if waiting.entry.kind is Kind.BYE:
                break
        self._waiting = kept

    def _drop_old(self, now_s: float) -> None:
        """Drop old tiles, but never the newest message."""
        at = 0
        while at < len(self._waiting) - 1:
            waiting = self._waiting[at]
            is_old = now_s - waiting.entry.at_s > KEEP_S or len(self._waiting) > _MAX_KEPT
            if waiting.entry.kind is not Kind.MEDIA:
                at += 1
            elif is_old:
                self._waiting[at + 1].missed += waiting.missed + 1
                del self._waiting[at]
                self._traffic.dropped_messages += 1
            else:
                return


@dataclass
class _Stream:
    """What a room knows of the stream in it."""

    tenure: Tenure
    first: Entry
    received: int = -1
    ping: Entry | None = None
    place: Place | None = None
    bye: Entry | None = None
    recent: deque[Entry] = field(default_factory=lambda: deque(maxlen=_MAX_KEPT))

    @property
    def keep_s(self) -> float:
        """How far back a late listener is told; a wide tile is not left out for its width."""
        hello = self.tenure.hello
        return max(KEEP_S, 1.5 * hello.tile.frames * hello.mel.frame_s)

    def trim(self, now_s: float) -> None:
        """Forget messages that are too old for a late listener."""
        while self.recent and now_s - self.recent[0].at_s > self.keep_s:
            self.recent.popleft()


class Publication:
    """A publisher's hold on its room, until its connection ends or another one takes over."""

    def __init__(self, room: Room, stream: _Stream, on_replaced: Callable[[int, str], None]) -> None:
        self.on_replaced = on_replaced
        self._room = room
        self._stream = stream

    @property
    def received(self) -> int:
        """The highest sequence number that has come, -1 before the first."""
        return self._stream.received

    def silent_s(self, now_s: float) -> float:
        """For how long nothing has come."""
        return self._stream.tenure.silent_s(now_s)

    def judge(self, session: str, now_s: float) -> Verdict:
        """What another publisher may do here, one of this session."""
        return self._stream.tenure.judge(session, now_s)

    def greeting(self, now_s: float) -> list[Entry]:
        """What a late listener must know of this stream."""
        return self._room.greeting(now_s)

    def take(self, message: MediaPacket | Place | Ping | Bye, data: bytes, now_s: float) -> None:
        """Give a message, parsed and as it came, to all who listen. Raises RemoteProtocolError for one out of place."""
        stream, room = self._stream, self._room
        if room.publication is not self:
            return
        stream.tenure.hear(now_s)
        if stream.tenure.has_bye:
            return  # its sender was not told, and says the end again
        if isinstance(message, Bye):
            stream.tenure.has_bye = True
            stream.bye = room.entry(Kind.BYE, data, now_s)
            room.forward(stream.bye, now_s)
        elif isinstance(message, Ping):
            stream.ping = room.entry(Kind.PING, data, now_s)
            room.forward(stream.ping, now_s)
        elif isinstance(message, Place):
            stream.place = message
            room.forward(room.entry(Kind.PLACE, data, now_s, message), now_s)
        else:
            stream.place = Place(message.sequence, message.first_frame)
            entry = room.entry(Kind.MEDIA, data, now_s, stream.place)
            stream.received = max(stream.received, message.sequence)
            stream.recent.append(entry)
            stream.trim(now_s)
            room.forward(entry, now_s)

    def leave(self, now_s: float) -> None:
        """The connection has ended; the stream may go on over another."""
        if self._room.publication is self:
            self._room.publication = None
            self._stream.tenure.break_off(now_s)


class Room:
    """One stream at a time, and those who listen to it; ``framed`` makes of a message what is written to each."""

    def __init__(self, name: str, framed: Callable[[bytes], bytes], traffic: Traffic) -> None:
        self.name = name
        self.sinks: dict[Sink, None] = {}
        self.publication: Publication | None = None
        self._framed = framed
        self._traffic = traffic
        self._stream: _Stream | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the room has no stream, publisher or sink."""
        return not self.sinks and self._stream is None and self.publication is None

    def entry(self, kind: Kind, data: bytes, now_s: float, place: Place | None = None) -> Entry:
        """A message as it is given to sinks."""
        return Entry(kind, data, self._framed(data), now_s, place)

    def begin(
        self,
        hello: Hello,
        data: bytes,
        now_s: float,
        on_replaced: Callable[[int, str], None],
        received: int = -1,
    ) -> Publication:
        """Take a publisher's hello: begin a new stream, or resume the one that is here.

        ``on_replaced`` is called with a close code and a reason once another takes over; ``received`` is what of the
        stream has come elsewhere. Raises PeerRefused while another publishes, RemoteProtocolError for settings that
        changed within a session.
        """
        stream, before = self._stream, self.publication
        verdict = Verdict.BEGIN if stream is None else stream.tenure.judge(hello.session, now_s)
        if verdict is Verdict.WAIT:
            raise PeerRefused(CLOSE_BUSY, f"room {self.name} has another publisher; try again later")
        is_new = stream is None or verdict is Verdict.BEGIN
        if stream is None or is_new:
            stream = self._stream = _Stream(Tenure(hello, now_s), self.entry(Kind.HELLO, data, now_s))
        else:
            stream.tenure.require_same_settings(hello)
        stream.tenure.connect(now_s)
        stream.received = max(stream.received, received)
        self.publication = Publication(self, stream, on_replaced)
        if before is not None:
            before.on_replaced(*(DISPLACED if is_new else RESUMED))
        if is_new:
            self.forward(stream.first, now_s)
        return self.publication

    def join(self, sink: Sink, now_s: float, unfinished: str = "") -> None:
        """Add a sink, and greet it with the stream that is here.

        ``unfinished`` is the session of which the sink has yet to hear the end: it is told an end that it missed.
        """
        self.sinks[sink] = None
        stream = self._stream
        if stream is not None and stream.bye is not None and stream.tenure.hello.session == unfinished:
            sink.greet([stream.first, stream.bye])
        else:
            sink.greet(self.greeting(now_s))

    def leave(self, sink: Sink) -> None:
        """Remove a sink."""
        self.sinks.pop(sink, None)

    def greeting(self, now_s: float) -> list[Entry]:
        """The hello of the stream that is here, its newest ping and its last second; nothing where there is none.

        The place of the first packet comes before it, in a stream so long that a listener would not find it.
        """
        stream = self._stream
        if stream is None or stream.tenure.has_bye:
            return []
        stream.trim(now_s)
        place = place_after(None, stream.recent[0].place if stream.recent else stream.place)
        told = [] if place is None else [self.entry(Kind.PLACE, place.to_bytes(), now_s, place)]
        return [stream.first, *told, *([] if stream.ping is None else [stream.ping]), *stream.recent]

    def forward(self, entry: Entry, now_s: float) -> None:
        """Offer a message to all sinks."""
        self._traffic.received_messages += 1
        for sink in self.sinks:
            sink.offer(entry, now_s)

    def forget(self, now_s: float, after_s: float) -> None:
        """Forget a stream whose publisher has been gone for longer than ``after_s``."""
        stream = self._stream
        if stream is not None and stream.tenure.broke_off_s is not None and stream.tenure.lost_s(now_s) > after_s:
            self._stream = None


class Rooms:
    """All rooms by name; a room is made when it is entered, and removed when it is empty."""

    def __init__(self, framed: Callable[[bytes], bytes], resume_s: float, max_rooms: int) -> None:
        self.traffic = Traffic()
        self._framed = framed
        self._resume_s = resume_s
        self.max_rooms = max_rooms
        self._rooms: dict[str, Room] = {}

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self._rooms.values()))

    def __len__(self) -> int:
        return len(self._rooms)

    def enter(self, name: str, now_s: float) -> Room | None:
        """The room of this name, or None where there would be too many."""
        if name not in self._rooms and len(self._rooms) >= self.max_rooms:
            self.tidy(now_s)
        if name not in self._rooms and len(self._rooms) >= self.max_rooms:
            return None
        return self._rooms.setdefault(name, Room(name, self._framed, self.traffic))

    def tidy(self, now_s: float) -> None:
        """Forget streams that were not resumed, and remove empty rooms."""
        for room in self:
            room.forget(now_s, self._resume_s)
            if room.is_empty:
                del self._rooms[room.name]
