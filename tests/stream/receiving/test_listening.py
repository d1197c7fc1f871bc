"""A receiver that listens to a relay: what it makes of one that is lost, slow, broken or changes its mind."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from audio_avif.codec.encoder import Encoder
from audio_avif.link.hello import Hello
from audio_avif.link.messages import SUBPROTOCOL, Bye, Gap, Ping, Place, Pong
from audio_avif.link.packets import TilePacket
from audio_avif_stream.client.connection import Address
from audio_avif_stream.receiving import listening as listening_module
from support.stream_helpers import PATIENCE_S, RECEIVER, Process, is_chatter, json_lines, running, speech, wait_until

TILE_S = 0.128
Script = Callable[[ServerConnection], None]


@dataclass(frozen=True)
class Said:
    """A stream as a relay passes it on."""

    hello: Hello
    tiles: list[TilePacket]
    bye: Bye

    @classmethod
    def of(cls, session: str, seconds: float = 1.5) -> Said:
        encoder = Encoder()
        tiles = [tile for tile in encoder.push(speech(seconds)) + encoder.flush() if isinstance(tile, TilePacket)]
        return cls(Hello(encoder.mel, encoder.tile, encoder.template, session), tiles, encoder.bye())


def say(connection: ServerConnection, *messages: Hello | TilePacket | Gap | Bye | Ping | Place) -> None:
    """Say messages, tiles in their own time."""
    for message in messages:
        connection.send(message.to_bytes())
        if isinstance(message, TilePacket):
            time.sleep(TILE_S)


def say_in_one_breath(connection: ServerConnection, *messages: Hello | Bye) -> None:
    """Let messages arrive together, so that the second is there before anything was made of the first."""
    frames = (Frame(Opcode.BINARY, message.to_bytes()) for message in messages)
    connection.socket.sendall(b"".join(frame.serialize(mask=False) for frame in frames))


@contextmanager
def relaying(*scripts: Script) -> Iterator[int]:
    """A relay that does as it is told, one script a connection, and answers pings all the while; its port."""
    waiting = list(scripts)

    def serve_one(connection: ServerConnection) -> None:
        assert connection.request is not None and connection.request.path.partition("?")[0] == "/listen/talk"
        answering = threading.Thread(target=answer, args=(connection,), daemon=True)
        answering.start()
        if waiting:
            waiting.pop(0)(connection)
            answering.join(PATIENCE_S)

    def answer(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):  # the listener has gone
            for data in connection:
                ping = Ping.parse(data if isinstance(data, bytes) else data.encode())
                connection.send(Pong(ping.sent_us, round(time.monotonic() * 1e6)).to_bytes())

    with serve(serve_one, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield port_of(server)
        server.shutdown()


def port_of(server: Server) -> int:
    return int(server.socket.getsockname()[1])


@contextmanager
def listening(folder: Path, ports: Sequence[int], *arguments: object) -> Iterator[Process]:
    where = ",".join(f"ws://127.0.0.1:{port}" for port in ports)
    files = ("--output", folder / "heard.wav", "--stats-json", folder / "stats.jsonl")
    options = ("--connect", where, "--room", "talk", "--vocoder", "griffin-lim")
    with running(RECEIVER, *options, *files, *arguments) as process:
        yield process
        assert "Traceback" not in process.err, process.err


def finals(folder: Path) -> list[dict[str, Any]]:
    return [line for line in json_lines(folder / "stats.jsonl") if line.get("is_final")]


def test_another_relay_says_the_last_second_again_and_nothing_is_played_twice(tmp_path: Path) -> None:
    said = Said.of("one")

    def first(connection: ServerConnection) -> None:
        say(connection, said.hello, *said.tiles[:6])
        connection.socket.shutdown(socket.SHUT_RDWR)

    def second(connection: ServerConnection) -> None:
        say(connection, said.hello, *said.tiles[3:], said.bye)

    with relaying(first) as here, relaying(second) as there, listening(tmp_path, [here, there], "--once") as process:
        assert process.ended().code == 0
        assert "the connection to the relay was lost; trying the next relay" in process.err
    (final,) = finals(tmp_path)
    assert final["received_tiles"] == len(said.tiles) and final["reconnections"] == 1
    assert final["late_tiles"] == final["repeated_tiles"] == final["lost_tiles"] == 0


def test_an_end_that_came_while_the_listener_was_away_is_heard_and_the_last_tiles_count_as_lost(tmp_path: Path) -> None:
    said, asked = Said.of("one"), list[str]()

    def first(connection: ServerConnection) -> None:
        say(connection, said.hello, *said.tiles[:6])
        connection.socket.shutdown(socket.SHUT_RDWR)

    def second(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append(connection.request.path)
        say(connection, said.hello, said.bye)

    with relaying(first, second) as port, listening(tmp_path, [port], "--once") as process:
        assert process.ended().code == 0
        assert "did not come back" not in process.err
    (final,) = finals(tmp_path)
    assert asked == ["/listen/talk?unfinished=one"]
    assert (final["received_tiles"], final["lost_tiles"]) == (6, len(said.tiles) - 6)


def test_another_relay_goes_on_with_a_stream_that_is_a_day_old(tmp_path: Path) -> None:
    said, before = Said.of("one"), 675_000
    tiles = [
        replace(tile, sequence=tile.sequence + before, first_frame=tile.first_frame + 8 * before) for tile in said.tiles
    ]
    bye = Bye(said.bye.tiles + before, said.bye.samples + 8 * 256 * before)

    def from_tile(number: int) -> list[Hello | Place | TilePacket]:
        return [said.hello, Place(tiles[number].sequence, tiles[number].first_frame), *tiles[number:]]

    def first(connection: ServerConnection) -> None:
        say(connection, *from_tile(0)[:8])
        connection.socket.shutdown(socket.SHUT_RDWR)

    def second(connection: ServerConnection) -> None:
        say(connection, *from_tile(3), bye)

    with relaying(first) as here, relaying(second) as there, listening(tmp_path, [here, there], "--once") as process:
        assert process.ended().code == 0
    (final,) = finals(tmp_path)
    assert final["received_tiles"] == len(tiles) and final["reconnections"] == 1
    assert final["late_tiles"] == final["repeated_tiles"] == final["lost_tiles"] == 0


def test_what_the_relay_left_out_is_told_and_counts_as_lost(tmp_path: Path) -> None:
    said = Said.of("one")

    def script(connection: ServerConnection) -> None:
        say(connection, said.hello, *said.tiles[:4], Gap(3), *said.tiles[7:], said.bye)

    with relaying(script) as port, listening(tmp_path, [port], "--once") as process:
        assert process.ended().code == 0
        assert "the relay left out 3 messages that this connection is too slow for" in process.err
    (final,) = finals(tmp_path)
    assert final["lost_tiles"] == 3 and final["refused_connections"] == 0


def test_a_stream_that_begins_without_the_end_of_another_is_played(tmp_path: Path) -> None:
    one, two = Said.of("one"), Said.of("two")

    def script(connection: ServerConnection) -> None:
        say(connection, one.hello, *one.tiles[:5], two.hello, *two.tiles, two.bye)

    with relaying(script) as port, listening(tmp_path, [port]) as process:
        wait_until(lambda: process.err.count("played ") == 2, "the end of both")
    assert [final["received_tiles"] for final in finals(tmp_path)] == [5, len(two.tiles)]


def test_streams_that_follow_one_another_at_once_are_both_played_whole(tmp_path: Path) -> None:
    one, two = Said.of("one"), Said.of("two")

    def script(connection: ServerConnection) -> None:
        say(connection, one.hello, *one.tiles)
        say_in_one_breath(connection, one.bye, two.hello)
        say(connection, *two.tiles, two.bye)

    with relaying(script) as port, listening(tmp_path, [port]) as process:
        wait_until(lambda: process.err.count("played ") == 2, "the end of both")
    assert [final["received_tiles"] for final in finals(tmp_path)] == [len(one.tiles), len(two.tiles)]


def test_who_listens_to_one_stream_leaves_without_a_word_of_the_next(tmp_path: Path) -> None:
    one, two = Said.of("one", 0.5), Said.of("two", 0.5)

    def script(connection: ServerConnection) -> None:
        say(connection, one.hello, *one.tiles)
        say_in_one_breath(connection, one.bye, two.hello)

    with relaying(script) as port, listening(tmp_path, [port], "--once") as process:
        assert process.ended().code == 0
        assert all(is_chatter(line) for line in process.err.splitlines()), process.err
    assert [final["received_tiles"] for final in finals(tmp_path)] == [len(one.tiles)]


@pytest.mark.parametrize(
    "broken", ["text", b"", b"\x08\x00", b"\x01\x01\x00", b"\x41{}"], ids=["text", "empty", "gap", "hello", "welcome"]
)
def test_a_relay_that_speaks_otherwise_is_left_and_tried_again(tmp_path: Path, broken: bytes | str) -> None:
    said = Said.of("one", 0.5)

    def first(connection: ServerConnection) -> None:
        connection.send(broken)

    def second(connection: ServerConnection) -> None:
        say(connection, said.hello, *said.tiles, said.bye)

    scripts = (first, second) if broken != b"\x41{}" else (second,)  # what has no meaning yet is passed over
    with relaying(*scripts) as port, listening(tmp_path, [port], "--once") as process:
        assert process.ended().code == 0
        assert ("the relay does not speak this protocol (" in process.err) == (len(scripts) == 2)
    assert finals(tmp_path)[-1]["received_tiles"] == len(said.tiles)


def test_a_relay_that_lets_nobody_in_is_asked_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is full: it takes the connection and closes it with the reason."""
    waits_s: list[float] = []

    async def wait(seconds: float) -> None:
        waits_s.append(seconds)
        if len(waits_s) == 10:
            raise TimeoutError

    async def found(*_: object) -> object:
        return object()

    async def is_full(*_: object) -> str:
        return "the relay ended the connection: there are 1 listeners here"

    monkeypatch.setattr(listening_module, "connect", found)
    monkeypatch.setattr(listening_module, "_listen", is_full)
    monkeypatch.setattr(asyncio, "sleep", wait)
    with pytest.raises(TimeoutError):
        asyncio.run(listening_module._keep_connected(Mock(), [Address("127.0.0.1")], "talk", None, False))
    assert waits_s[0] < 0.2 and all(wait_s > 3 for wait_s in waits_s[7:])


def test_a_damaged_message_ends_its_stream_alone(tmp_path: Path) -> None:
    one, two = Said.of("one", 0.5), Said.of("two", 0.5)
    damaged = replace(one.tiles[2], frames=60, header=None)

    def script(connection: ServerConnection) -> None:
        say(connection, one.hello, *one.tiles[:2], damaged, *one.tiles[3:], one.bye)
        say(connection, two.hello, *two.tiles, two.bye)

    with relaying(script) as port, listening(tmp_path, [port]) as process:
        wait_until(lambda: process.err.count("played ") == 2, "the end of both")
        assert (
            "the rest of a stream is not played: tile 2 claims more frames than its picture has columns" in process.err
        )
    assert finals(tmp_path)[-1]["received_tiles"] == len(two.tiles)


def test_a_publisher_that_comes_back_after_it_was_given_up_is_heard_again(tmp_path: Path) -> None:
    said = Said.of("one", 2.0)
    is_given_up = threading.Event()

    def first(connection: ServerConnection) -> None:
        say(connection, said.hello, *said.tiles[:4])
        connection.socket.shutdown(socket.SHUT_RDWR)

    def second(connection: ServerConnection) -> None:
        is_given_up.wait(PATIENCE_S)
        say(connection, said.hello, *said.tiles[8:], said.bye)

    with relaying(first, second) as port, listening(tmp_path, [port], "--resume-s", "0.3") as process:
        process.wait_for("the sender did not come back; the sound received so far is played")
        is_given_up.set()
        wait_until(lambda: process.err.count("played ") == 2, "the end of both")
    assert [final["received_tiles"] for final in finals(tmp_path)] == [4, len(said.tiles) - 8]


def test_a_relay_that_says_nothing_any_more_is_left(tmp_path: Path) -> None:
    """Its connection is open, and nothing comes back on it."""
    said = Said.of("one", 0.5)
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        relaying(lambda c: say(c, said.hello, *said.tiles, said.bye)) as port,
    ):
        ports = [deaf.getsockname()[1], port]
        with listening(tmp_path, ports, "--once") as process:
            assert process.ended().code == 0
    assert finals(tmp_path)[-1]["received_tiles"] == len(said.tiles)


def test_a_listener_that_stood_still_itself_does_not_take_its_relay_for_dead(tmp_path: Path) -> None:
    said = Said.of("one", 0.5)
    is_over = threading.Event()

    def script(connection: ServerConnection) -> None:
        is_over.wait(PATIENCE_S)
        say(connection, said.hello, *said.tiles, said.bye)

    with relaying(script) as port, listening(tmp_path, [port], "--once") as process:
        process.wait_for("(listening to room talk at ")
        process.signal(signal.SIGSTOP)
        time.sleep(listening_module._SILENT_S + 0.5)
        process.signal(signal.SIGCONT)
        process.wait_for("(waiting for someone to publish")
        is_over.set()
        assert process.ended().code == 0
        assert "the connection to the relay was lost" not in process.err
    assert finals(tmp_path)[-1]["received_tiles"] == len(said.tiles)
