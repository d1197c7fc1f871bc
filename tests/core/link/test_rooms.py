"""Rooms without sockets and clock: who publishes, what a late or slow listener gets, and that nobody waits for him."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_avif.errors import FileError, PeerRefused, RemoteProtocolError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import CLOSE_BUSY, CLOSE_REPLACED, Bye, Gap, Ping, Place
from audio_avif.link.packets import TilePacket
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif.link.rooms import KEEP_S, Listener, Publication, Room, Rooms, Traffic
from audio_avif_stream.relay.room_tokens import (
    BEARER_SUBPROTOCOL,
    RoomTokens,
    Tokens,
    has_key,
    is_room_name,
    read_rooms,
)
from support.golden import golden_messages

TILE_S = 0.128


def framed(message: bytes) -> bytes:
    """One message a frame."""
    return message


def a_hello(session: str = "first", **changes: object) -> Hello:
    hello = golden_messages()["hello"]
    assert isinstance(hello, Hello)
    return replace(hello, session=session, **changes)


def tile(sequence: int) -> TilePacket:
    return TilePacket(sequence, 8 * sequence, 8, b"picture %d" % sequence)


def split_messages(data: bytes) -> list[bytes]:
    """Messages that stand behind their lengths."""
    if not data:
        return []
    end = 2 + int.from_bytes(data[:2], "big")
    return [data[2:end], *split_messages(data[end:])]


@dataclass
class Way:
    """A listener's connection, which takes what is written or, while it is ``narrow``, keeps the first that comes."""

    traffic: Traffic = field(default_factory=Traffic)
    heard: list[bytes] = field(default_factory=list)
    narrow: bool = False
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self.listener = Listener(self.write, framed, self.traffic)

    def write(self, frame: bytes) -> None:
        assert self.listener._is_clear, "something was written behind what waits already"
        self.heard.append(frame)
        if self.narrow:
            self.listener.pause(self.now_s)

    def kinds(self) -> list[int]:
        return [frame[0] for frame in self.heard]

    def numbers(self) -> list[int]:
        """Sequence numbers as a listener finds them, after each hello anew; a gap is as many -1."""
        numbers: list[int] = []
        protocol = ReceiverProtocol()
        for frame in self.heard:
            protocol = ReceiverProtocol() if frame[0] == Hello.TYPE else protocol
            message = protocol.receive(frame)
            if isinstance(message, TilePacket):
                numbers.append(message.sequence)
            elif isinstance(message, Gap):
                numbers += [-1] * message.messages
        return numbers


@dataclass
class Stage:
    """A room, its publication, and a clock."""

    rooms: Rooms = field(default_factory=lambda: Rooms(framed, 60.0, 3))
    now_s: float = 100.0
    farewells: list[tuple[int, str]] = field(default_factory=list)

    def room(self) -> Room:
        room = self.rooms.enter("demo", self.now_s)
        assert room is not None
        return room

    def publish(self, hello: Hello) -> Publication:
        return self.room().begin(
            hello, hello.to_bytes(), self.now_s, lambda code, reason: self.farewells.append((code, reason))
        )

    def tiles(self, publication: Publication, *sequences: int, apart_s: float = TILE_S) -> None:
        for sequence in sequences:
            self.now_s += apart_s
            publication.take(tile(sequence), tile(sequence).to_bytes(), self.now_s)

    def listen(self, way: Way | None = None, unfinished: str = "") -> Way:
        way = way or Way()
        self.room().join(way.listener, self.now_s, unfinished)
        return way


def test_what_is_published_reaches_all_as_it_came() -> None:
    stage = Stage()
    early = [stage.listen() for _ in range(3)]
    publication = stage.publish(a_hello())
    stage.tiles(publication, 0, 1)
    ping, bye = Ping(1, 2, 3), Bye(2, 4096)
    publication.take(ping, ping.to_bytes(), stage.now_s)
    publication.take(bye, bye.to_bytes(), stage.now_s)
    said = [message.to_bytes() for message in (a_hello(), tile(0), tile(1), ping, bye)]
    assert [way.heard for way in early] == [said] * 3


def test_a_late_listener_is_told_hello_clock_and_the_last_second_at_once() -> None:
    stage = Stage()
    publication = stage.publish(a_hello())
    ping = Ping(1, 2, 3)
    publication.take(ping, ping.to_bytes(), stage.now_s)
    stage.tiles(publication, *range(40))
    late = stage.listen()
    assert len(late.heard) == 1, "it is written in one go"
    recent = range(40 - int(KEEP_S / TILE_S) - 1, 40)
    assert late.heard[0] == b"".join(message.to_bytes() for message in (a_hello(), ping, *map(tile, recent)))


def test_a_wide_tile_is_not_left_out_for_its_width() -> None:
    stage = Stage()
    publication = stage.publish(a_hello(tile=replace(a_hello().tile, frames=64)))
    stage.tiles(publication, 0, 1, apart_s=1.024)
    stage.now_s += 1.0
    assert tile(1).to_bytes() in stage.listen().heard[0]


def test_a_flood_within_a_second_is_not_kept_whole() -> None:
    stage = Stage()
    stage.tiles(stage.publish(a_hello()), *range(500), apart_s=0.001)
    assert stage.listen().heard[0] == b"".join(
        message.to_bytes() for message in (a_hello(), *map(tile, range(436, 500)))
    )


def test_after_the_bye_a_late_listener_waits_for_the_next_stream() -> None:
    stage = Stage()
    publication = stage.publish(a_hello())
    stage.tiles(publication, 0)
    publication.take(Bye(1, 2048), Bye(1, 2048).to_bytes(), stage.now_s)
    publication.leave(stage.now_s)
    late = stage.listen()
    assert late.heard == []
    stage.publish(a_hello("second"))
    assert late.heard == [a_hello("second").to_bytes()]


def test_a_listener_that_missed_the_bye_of_its_stream_is_told_it() -> None:
    stage, bye = Stage(), Bye(1, 2048).to_bytes()
    publication = stage.publish(a_hello())
    stage.tiles(publication, 0)
    publication.take(Bye(1, 2048), bye, stage.now_s)
    publication.leave(stage.now_s)
    assert stage.listen(unfinished="first").heard == [a_hello().to_bytes() + bye]
    assert stage.listen(unfinished="another").heard == []
    stage.publish(a_hello("second"))
    assert stage.listen(unfinished="first").heard == [a_hello("second").to_bytes()]


def test_a_second_publisher_is_refused_until_the_first_is_gone_or_silent() -> None:
    stage = Stage()
    stage.publish(a_hello())
    stage.now_s += 2.9
    with pytest.raises(PeerRefused, match="room demo has another publisher") as refused:
        stage.publish(a_hello("second"))
    assert refused.value.code == CLOSE_BUSY and stage.farewells == []
    stage.now_s += 0.2
    second = stage.publish(a_hello("second"))
    assert stage.farewells == [(CLOSE_BUSY, "another stream has started here")]
    second.leave(stage.now_s)
    stage.publish(a_hello("third"))


def test_a_publisher_that_comes_back_goes_on_and_is_told_what_is_here() -> None:
    stage = Stage()
    way = stage.listen()
    first = stage.publish(a_hello())
    stage.tiles(first, 0, 1, 2)
    first.leave(stage.now_s)
    again = stage.publish(a_hello())
    assert again.received == 2
    stage.tiles(again, 3)
    assert way.kinds() == [Hello.TYPE] + [TilePacket.TYPE] * 4
    # And where its old connection still seems alive:
    stage.publish(a_hello())
    assert stage.farewells == [(CLOSE_REPLACED, "the stream continues on a newer connection")]
    stage.tiles(again, 4)
    assert way.numbers() == [0, 1, 2, 3]


def test_a_publisher_that_comes_back_before_its_first_tile_is_not_announced_again() -> None:
    stage = Stage()
    way = stage.listen()
    stage.publish(a_hello()).leave(stage.now_s)
    stage.tiles(stage.publish(a_hello()), 0)
    assert way.kinds() == [Hello.TYPE, TilePacket.TYPE]


def test_a_publisher_that_comes_back_with_other_settings_is_refused() -> None:
    stage = Stage()
    stage.publish(a_hello()).leave(stage.now_s)
    with pytest.raises(RemoteProtocolError, match="cannot change its settings"):
        stage.publish(a_hello(tile=replace(a_hello().tile, log10_max=2.0)))


def test_a_publisher_whose_farewell_was_lost_may_say_it_again_and_nobody_hears_it_twice() -> None:
    stage = Stage()
    way = stage.listen()
    bye = Bye(1, 2048)
    for _ in range(2):
        publication = stage.publish(a_hello())
        if publication.received < 0:
            stage.tiles(publication, 0)
        publication.take(bye, bye.to_bytes(), stage.now_s)
        publication.leave(stage.now_s)
        assert publication.received == 0
    assert way.kinds() == [Hello.TYPE, TilePacket.TYPE, Bye.TYPE]


def test_a_stream_that_nobody_resumes_and_rooms_where_nobody_is_are_forgotten() -> None:
    stage = Stage()
    stage.publish(a_hello()).leave(stage.now_s)
    stage.now_s += 59
    stage.rooms.tidy(stage.now_s)
    assert len(stage.rooms) == 1 and stage.room().greeting(stage.now_s)
    stage.now_s += 2
    stage.rooms.tidy(stage.now_s)
    assert len(stage.rooms) == 0


def test_there_are_only_so_many_rooms_and_empty_ones_make_way() -> None:
    rooms = Rooms(framed, 60.0, 2)
    for name in ("a", "b"):
        room = rooms.enter(name, 0.0)
        assert room is not None
        room.join(Way().listener, 0.0)
    assert rooms.enter("c", 0.0) is None and rooms.enter("a", 0.0) is not None
    room.sinks.clear()
    assert rooms.enter("c", 0.0) is not None


# Slow listeners


def test_a_slow_listener_loses_its_oldest_tiles_is_told_so_and_delays_nobody() -> None:
    stage = Stage()
    slow, quick = Way(narrow=True), Way()
    stage.listen(slow)
    stage.listen(quick)
    publication = stage.publish(a_hello())
    slow.narrow = False  # what comes next is taken whenever its way is clear again
    stage.tiles(publication, *range(40))
    assert quick.numbers() == list(range(40))
    assert slow.heard == [a_hello().to_bytes()] and slow.listener.blocked_s == 0.0
    kept = slow.listener.waiting
    assert kept == int(KEEP_S / TILE_S) + 1
    slow.listener.resume()
    assert slow.kinds()[1] == Gap.TYPE
    assert slow.numbers() == [-1] * (40 - kept) + list(range(40 - kept, 40))
    assert slow.traffic.dropped_messages == 40 - kept and slow.listener.blocked_s is None
    stage.tiles(publication, 40)
    assert slow.numbers()[-1] == 40


def test_a_late_listener_of_a_long_stream_finds_its_packets() -> None:
    """An hour of 8-frame tiles: more than the short counters tell."""
    stage = Stage(Rooms(lambda message: len(message).to_bytes(2, "big") + message, 60.0, 3))
    early = stage.listen()
    publication = stage.publish(a_hello())
    publication.take(Place(28_125, 225_000), Place(28_125, 225_000).to_bytes(), stage.now_s)
    late = stage.listen()
    stage.tiles(publication, *range(28_125, 28_131))
    later = stage.listen()
    stage.tiles(publication, 28_131)
    for way in (early, late, later):
        way.heard = split_messages(b"".join(way.heard))
        assert way.numbers() == list(range(28_125, 28_132))
        assert way.kinds()[:2] == [Hello.TYPE, Place.TYPE]


def test_a_listener_that_reads_nothing_for_long_finds_the_packets_after_that() -> None:
    stage = Stage()
    slow = stage.listen(Way(narrow=True))
    publication = stage.publish(a_hello())
    stage.tiles(publication, 0)
    stage.tiles(publication, 9_000, 9_001)
    slow.narrow = False
    slow.listener.resume()
    stage.now_s += 2.0
    stage.tiles(publication, 9_002)
    assert [number for number in slow.numbers() if number >= 0] == [0, 9_000, 9_001, 9_002]
    assert slow.kinds().count(Place.TYPE) == 1


def test_hello_and_bye_are_never_dropped_and_pings_do_not_wait() -> None:
    stage = Stage()
    slow = stage.listen(Way(narrow=True))
    first = stage.publish(a_hello())
    stage.tiles(first, *range(20))
    first.take(Ping(1, 2, 3), Ping(1, 2, 3).to_bytes(), stage.now_s)
    first.take(Bye(20, 1), Bye(20, 1).to_bytes(), stage.now_s)
    first.leave(stage.now_s)
    for name in ("unheard of", "last"):
        publication = stage.publish(a_hello(name))
        stage.tiles(publication, 0, 1, 2)
        publication.take(Bye(3, 1), Bye(3, 1).to_bytes(), stage.now_s)
        publication.leave(stage.now_s)
    slow.narrow = False
    slow.listener.resume()
    tiles = slow.kinds().count(TilePacket.TYPE)
    order = [kind for kind in slow.kinds() if kind not in (TilePacket.TYPE, Gap.TYPE)]
    assert order == [Hello.TYPE, Bye.TYPE, Hello.TYPE, Bye.TYPE]
    assert [Hello.parse(frame).session for frame in slow.heard if frame[0] == Hello.TYPE] == ["first", "last"]
    assert slow.numbers()[-3:] == [0, 1, 2] and tiles < 20


def test_a_way_that_takes_one_message_at_a_time_keeps_the_order() -> None:
    stage = Stage()
    slow = stage.listen(Way(narrow=True))
    publication = stage.publish(a_hello())
    stage.tiles(publication, *range(5))
    for _ in range(5):
        slow.listener.resume()
    assert slow.numbers() == [0, 1, 2, 3, 4]


@given(steps=st.lists(st.sampled_from(["tile", "wait", "narrow", "wide", "resume"]), max_size=120))
def test_whatever_happens_every_tile_is_heard_or_counted_in_order(steps: list[str]) -> None:
    stage = Stage()
    way = stage.listen()
    publication = stage.publish(a_hello())
    said = 0
    for step in steps:
        if step == "tile":
            stage.tiles(publication, said, apart_s=0.01)
            said += 1
        elif step == "wait":
            stage.now_s += 0.4
        elif step == "resume":
            way.listener.resume()
        else:
            way.narrow = step == "narrow"
        assert way.listener.waiting <= 64
    way.narrow = False
    way.listener.resume()
    numbers = way.numbers()
    assert len(numbers) == said
    assert all(number in (-1, place) for place, number in enumerate(numbers))


# Names and tokens


@pytest.mark.parametrize("name", ["demo", "A.b_c-9", "x" * 64, "..."])
def test_names_of_rooms(name: str) -> None:
    assert is_room_name(name) and RoomTokens().keys(name) == Tokens()


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "ä", ".", "..", "a\n", "%41"])
def test_names_that_are_none(name: str) -> None:
    assert not is_room_name(name) and RoomTokens().keys(name) is None


def test_a_file_names_the_rooms_and_their_tokens(tmp_path: Path) -> None:
    file = tmp_path / "rooms.toml"
    file.write_text('[rooms.talk]\npublish = "p"\nlisten = "l"\n[rooms.radio]\npublish = "q"\n[rooms."a.b"]\n')
    doors = RoomTokens(Tokens("never", "used"), read_rooms(file))
    assert doors.keys("talk") == Tokens("p", "l")
    assert doors.keys("radio") == Tokens("q", None)
    assert doors.keys("a.b") == Tokens()
    assert doors.keys("other") is None
    assert "'p'" not in repr(doors)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no rooms"),
        ("[rooms]", "has no rooms"),
        ("rooms = 3", "has no rooms"),
        ("[room.a]", "has no rooms"),
        ("[rooms.a", "is not valid TOML"),
        ("[rooms.'a b']", "'a b' is not a room name"),
        ("[rooms]\na = 1", "room a may have only publish = and listen ="),
        ("[rooms.a]\nspeak = 'x'", "room a may have only publish = and listen ="),
        ("[rooms.a]\nlisten = 3", "listen of room a is not a token"),
        ("[rooms.a]\npublish = 'two words'", "publish of room a is not a token"),
        ("\xff", "is not valid TOML"),
    ],
)
def test_a_file_of_rooms_that_does_not_serve_is_told(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "rooms.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(FileError, match=told):
        read_rooms(file)
    with pytest.raises(FileError, match="cannot be read"):
        read_rooms(tmp_path / "absent.toml")


def test_a_token_is_shown_in_a_header_or_a_subprotocol() -> None:
    token = "käse?>"  # its base64 has - and _ where the usual one has + and /
    packed = "a8Okc2U_Pg"
    assert has_key("abc", ["Bearer abc"], [])
    assert has_key(token, [], ["audio-avif.v2", BEARER_SUBPROTOCOL + packed])
    assert has_key(token, ["Bearer wrong"], [BEARER_SUBPROTOCOL + packed])
    for wrong in ("", packed + "=A", packed[:-1], packed + "!", "YWJj"):
        assert not has_key(token, [], [BEARER_SUBPROTOCOL + wrong])
    assert not has_key(token, [], [BEARER_SUBPROTOCOL + packed] * 2)
    assert not has_key(token, [], [packed, "audio-avif.v2"])
