"""Relays that meet at a real NATS server: a room spans them, and one of them may die."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import pytest
from websockets.exceptions import ConnectionClosed

from audio_avif.errors import MissingPackage, PeerRefused
from audio_avif.link.hello import Hello
from audio_avif.link.messages import CLOSE_BUSY, CLOSE_REPLACED, Bye, Gap, Ping
from audio_avif.link.packets import TilePacket
from audio_avif.link.rooms import KEEP_S, Rooms
from audio_avif.link.takeover import SILENT_S
from audio_avif_stream.relay.nats_bridge import NatsBridge
from audio_avif_stream.relay.nats_claims import _BUSY
from audio_avif_stream.relay.server import Relay, RelayConfig
from audio_avif_stream.serving.admission import CLOSE_S
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine
from support.relay import COMMAND, Ear, Speaker, latest, port_of, settle, without_session
from support.stream_helpers import (
    PATIENCE_S,
    RECEIVER,
    SENDER,
    Process,
    json_lines,
    run,
    running,
    speech,
    wait_until,
    write_wav,
)
from support.timing import best_of_attempts, in_time

nats = pytest.importorskip("nats", reason="nats-py is not installed")
TILE_S = 0.128
SERVER = shutil.which("nats-server") or "/usr/sbin/nats-server"
needs_server = pytest.mark.skipif(not Path(SERVER).exists(), reason="nats-server is not installed")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@contextmanager
def nats_server(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A NATS server on loopback."""
    command = [SERVER, "--addr", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "the NATS server")
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def joined(url: str, count: int, *arguments: object) -> Iterator[list[tuple[Process, int]]]:
    """So many relays that meet there, and their ports."""
    with ExitStack() as stack:
        options = ("--port", 0, "--no-web", "--nats", url, *arguments)
        processes = [stack.enter_context(running(COMMAND, *options)) for _ in range(count)]
        yield [(process, port_of(process)) for process in processes]
        for process in processes:
            assert "Traceback" not in process.err, process.err


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    port = free_port()
    with nats_server(port):
        yield f"nats://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def three(url: str) -> Iterator[list[tuple[Process, int]]]:
    with joined(url, 3) as relays:
        yield relays


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    return f"a.{request.node.name}"[:64]


def another_room() -> str:
    """A room of a repeated test, whose first attempt may still be heard in the room before."""
    return f"a.{secrets.token_hex(8)}"


def first_heard(ear: Ear, peer: Speaker) -> bytes:
    """The first message of a stream, whose publisher goes on: a relay that got no answer asks again as it hears him."""
    heard: list[bytes] = []

    def is_heard() -> bool:
        peer.send(Ping(1, 1, 1).to_bytes())
        with suppress(TimeoutError):
            message = ear.socket.recv(0.2)
            assert isinstance(message, bytes)
            heard.append(message)
        return bool(heard)

    wait_until(is_heard, "a message")
    return heard[0]


def settle_on(ear: Ear, peer: Speaker) -> None:
    """Wait until this listener's relay hears this publisher; what came before is passed over."""
    began_us = round(time.monotonic() * 1e6)  # there may be earlier pings on their way

    def is_heard() -> bool:
        peer.send(Ping(round(time.monotonic() * 1e6), 1, 1).to_bytes())
        with suppress(TimeoutError):
            while True:
                message = ear.socket.recv(0.2)
                assert isinstance(message, bytes)
                if message[0] == Ping.TYPE and Ping.parse(message).sent_us >= began_us:
                    return True
        return False

    wait_until(is_heard, "what is said at the other relay")


def hear_on(ear: Ear, *expected: TilePacket | Bye) -> None:
    """The next messages but pings are these."""
    for message in expected:
        while (heard := ear.hear())[0] == Ping.TYPE:
            pass
        assert heard == message.to_bytes()


@needs_server
def test_what_is_published_at_one_relay_is_heard_at_all(three: list[tuple[Process, int]], room: str) -> None:
    ports = [port for _, port in three]
    with ExitStack() as stack:
        ears = [stack.enter_context(Ear(port, room)) for port in ports[:2]]
        for ear in ears:
            settle(ear)
        peer = stack.enter_context(Speaker(ports[0], room, 2.0))
        peer.greet()
        for ear in ears:
            assert without_session(first_heard(ear, peer)) == replace(peer.hello, session="")
        began_s = time.monotonic()
        peer.send(*peer.tiles[:12])
        for ear in ears:
            hear_on(ear, *peer.tiles[:12])
        late = stack.enter_context(Ear(ports[2], room))
        assert first_heard(late, peer)[0] == Hello.TYPE
        took_s = time.monotonic() - began_s
        peer.send(*peer.tiles[12:], peer.bye)
        assert peer.closed_with() == (1000, "")
        for ear in ears:
            hear_on(ear, *peer.tiles[12:], peer.bye)
        said = [message.to_bytes() for message in (*peer.tiles, peer.bye)]
        heard = [message for message in late.hear_until(Bye.TYPE) if message[0] != Ping.TYPE]
        # On a machine that stood still meanwhile, some of them are not of the last second any more.
        assert heard == (said if took_s < KEEP_S else said[-len(heard) :]) and len(heard) >= 5
        with Speaker(ports[2], room) as other:
            other.greet()
            for ear in ears:
                assert without_session(first_heard(ear, other)) == replace(other.hello, session="")


@needs_server
def test_a_publisher_at_another_relay_is_refused_until_the_first_has_gone(
    three: list[tuple[Process, int]], room: str
) -> None:
    ports = [port for _, port in three]
    with Speaker(ports[0], room) as first, Speaker(ports[1], room) as second:
        first.greet()
        second.send(second.hello)
        assert second.closed_with() == (CLOSE_BUSY, f"room {room} has another publisher; try again later")
        first.send(first.tiles[0], first.bye)
        assert first.closed_with()[0] == 1000
    with Speaker(ports[1], room) as second:
        assert second.greet().received == -1


@needs_server
def test_a_publisher_comes_back_at_another_relay_and_nobody_notices(
    three: list[tuple[Process, int]], room: str
) -> None:
    ports = [port for _, port in three]
    with ExitStack() as stack:
        ears = [stack.enter_context(Ear(port, room)) for port in ports]
        first = stack.enter_context(Speaker(ports[0], room, 2.0))
        first.greet()
        first.send(*first.tiles[:5])
        first.wait_for_receipt(4)
        for ear in ears:
            assert first_heard(ear, first)[0] == Hello.TYPE
            hear_on(ear, *first.tiles[:5])
        first._address = first._address.replace(str(ports[0]), str(ports[1]))
        with first.anew() as back:
            assert back.greet().received == 4
            assert first.closed_with() == (CLOSE_REPLACED, "the stream continues on a newer connection")
            settle_on(ears[0], back)  # the first relay listens to the second
            back.send(*back.tiles[5:], back.bye)
            for ear in ears:
                hear_on(ear, *back.tiles[5:], back.bye)


@needs_server
@best_of_attempts
def test_a_publisher_whose_old_path_is_dead_is_heard_at_the_relay_it_left_and_by_those_who_come_late(
    three: list[tuple[Process, int]],
) -> None:
    ports, room = [port for _, port in three], another_room()
    with ExitStack() as stack:
        ear = stack.enter_context(Ear(ports[0], room))
        settle(ear)
        first = stack.enter_context(Speaker(ports[0], room, 2.0))
        first.greet()
        assert first_heard(ear, first)[0] == Hello.TYPE
        first._address = first._address.replace(str(ports[0]), str(ports[1]))
        with first.socket.protocol_mutex, first.anew() as back:  # nobody answers the close on the old path
            assert back.greet().received == -1
            moved_s = time.monotonic()
            with Ear(ports[2], room) as late:
                assert first_heard(late, back)[0] == Hello.TYPE
            settle_on(ear, back)
            took_s = time.monotonic() - moved_s
            in_time(took_s < 0.9 * CLOSE_S, took_s)


@needs_server
@pytest.mark.parametrize("where", [0, 1], ids=["at the same relay", "at another"])
def test_a_publisher_that_was_cut_off_and_begins_anew_is_heard_everywhere(
    three: list[tuple[Process, int]], room: str, where: int
) -> None:
    ports = [port for _, port in three]
    with ExitStack() as stack:
        ears = [stack.enter_context(Ear(port, room)) for port in ports]
        for ear in ears:
            settle(ear)
        with Speaker(ports[0], room) as first:
            first.greet()
            first.send(first.tiles[0])
            for ear in ears:
                assert first_heard(ear, first)[0] == Hello.TYPE
                hear_on(ear, first.tiles[0])
            first.cut()
        wait_until(lambda: let_in(stack, ports[where], room, ears), "another stream")


def let_in(stack: ExitStack, port: int, room: str, ears: list[Ear]) -> bool:
    """Begin a stream, unless the one before is still there, and look whether all hear it from its beginning."""
    peer = stack.enter_context(Speaker(port, room))
    try:
        peer.greet()
    except ConnectionClosed:
        return False
    peer.send(*peer.tiles)
    for ear in ears:
        while (heard := ear.hear())[0] == Ping.TYPE:
            pass
        assert without_session(heard) == replace(peer.hello, session="")
        hear_on(ear, *peer.tiles)
    return True


@needs_server
@best_of_attempts
def test_a_stream_of_few_messages_is_heard_whole_where_none_is_waited_for(url: str) -> None:
    room = another_room()
    with joined(url, 2, "--resume-s", 0) as ((_, first), (_, second)), Ear(second, room) as ear:
        settle(ear)
        with Speaker(first, room) as peer:
            peer.greet()
            assert first_heard(ear, peer)[0] == Hello.TYPE
            heard: list[bytes] = []
            for tile in peer.tiles[:3]:
                time.sleep(0.7)  # more than a relay's tick
                peer.send(tile)
                while tile.to_bytes() not in heard:
                    heard.append(ear.hear())
            # A publisher may be silent for 3 s, and a machine that stands still makes it so.
            in_time([message[0] for message in heard].count(Hello.TYPE) == 0, heard)


@needs_server
def test_many_that_want_to_publish_at_once_are_at_most_one(three: list[tuple[Process, int]], room: str) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(Speaker(port, room)) for _, port in three]
        for peer in peers:
            peer.send(peer.hello)
        let_in = 0
        for peer in peers:
            try:
                let_in += isinstance(peer.socket.recv(PATIENCE_S), bytes)
            except ConnectionClosed as closed:
                assert closed.rcvd is not None and closed.rcvd.code == CLOSE_BUSY
        assert let_in == 1


@needs_server
@pytest.mark.slow
@best_of_attempts
def test_a_relay_dies_under_load_and_its_listeners_go_on_at_another(tmp_path: Path, url: str) -> None:
    room = another_room()
    stats, sent = tmp_path / "stats.jsonl", tmp_path / "sent.jsonl"
    with joined(url, 3) as relays, ExitStack() as stack:
        (_, first), (dying, second), (_, third) = relays
        others = [stack.enter_context(Ear(third, room)) for _ in range(20)]
        for ear in [stack.enter_context(Ear(second, room)) for _ in range(20)]:
            settle(ear)
        where = f"ws://127.0.0.1:{second},ws://127.0.0.1:{third}"
        # A buffer that outlasts a stall of this machine: what is lost and repeated is judged, not what is late.
        options = ("--vocoder", "griffin-lim", "--once", "--output", tmp_path / "heard.wav", "--buffer-ms", 1500)
        with running(RECEIVER, "--connect", where, "--room", room, *options, "--stats-json", stats) as receiver:
            receiver.wait_for("(listening to room")
            said = write_wav(tmp_path / "said.wav", speech(6.0))
            to = ("--host", "127.0.0.1", "--port", first, "--room", room, "--input", said)
            with running(SENDER, *to, "--stats-json", sent) as sender:
                wait_until(lambda: latest(stats).get("received_tiles", 0) > 8, "a second of the stream")
                dying.signal(signal.SIGKILL)
                receiver.wait_for("the connection to the relay was lost; trying the next relay")
                assert sender.ended().code == 0
                assert receiver.ended().code == 0
                assert "reconn" not in sender.err and "reconnecting for up to" not in sender.err
        for ear in others:
            assert Gap.TYPE not in {message[0] for message in ear.hear_until(Bye.TYPE)}
    final, summary = json_lines(stats)[-1], json_lines(sent)[-1]
    away = re.search(r"the sender is back after (\S+) s", receiver.err)
    assert away is not None, receiver.err
    # Nothing is lost if it is back within the second that a relay keeps, and a sender drops tiles of a busy machine.
    missed_tiles = max(0.0, float(away[1]) - 0.9 * KEEP_S) / TILE_S
    assert final["lost_tiles"] <= 1 + missed_tiles + summary["dropped_tiles"]
    assert final["repeated_tiles"] == 0
    in_time(final["late_tiles"] == 0, final)
    in_time(final["reconnections"] == 1, final)
    assert final["delay_ms"] is not None and final["delay_ms"] > 0
    in_time(final["delay_ms"] < 4000, final)


@needs_server
@pytest.mark.slow
def test_the_relay_of_the_publisher_dies_and_it_comes_back_at_another(url: str, room: str) -> None:
    with joined(url, 2) as ((dying, first), (_, second)), Ear(second, room) as ear:
        settle(ear)
        with Speaker(first, room, 2.0) as peer:
            peer.greet()
            peer.send(*peer.tiles[:4])
            assert first_heard(ear, peer)[0] == Hello.TYPE
            hear_on(ear, *peer.tiles[:4])
            dying.signal(signal.SIGKILL)
            peer._address = peer._address.replace(str(first), str(second))
            with peer.anew() as back:
                assert back.greet().received == 3
                back.send(*back.tiles[4:], back.bye)
                hear_on(ear, *back.tiles[4:], back.bye)


@needs_server
@pytest.mark.slow
def test_without_nats_each_relay_goes_on_and_they_meet_again(room: str) -> None:
    port = free_port()
    with ExitStack() as stack:
        server = stack.enter_context(ExitStack())
        server.enter_context(nats_server(port))
        (here, first), (there, second) = stack.enter_context(joined(f"nats://127.0.0.1:{port}", 2))
        near, far = stack.enter_context(Ear(first, room)), stack.enter_context(Ear(second, room))
        peer = stack.enter_context(Speaker(first, room, 2.0))
        peer.greet()
        peer.send(*peer.tiles[:3])
        for ear in (near, far):
            assert first_heard(ear, peer)[0] == Hello.TYPE
            hear_on(ear, *peer.tiles[:3])
        server.close()
        here.wait_for("NATS connection lost; listeners on this relay hear only local publishers until it is back")
        peer.send(*peer.tiles[3:6])
        hear_on(near, *peer.tiles[3:6])
        stack.enter_context(nats_server(port))
        for process in (here, there):
            process.wait_for("NATS is back")
        settle_on(far, peer)
        peer.send(*peer.tiles[6:9])
        hear_on(near, *peer.tiles[6:9])
        hear_on(far, *peer.tiles[6:9])


class Slow:
    """A client to whom an answer comes at the third time, if it comes."""

    def __init__(self, is_connected: bool = True, is_answered: bool = True) -> None:
        self.is_connected, self.is_answered = is_connected, is_answered
        self.asked = 0

    async def subscribe(self, subject: str, cb: object) -> AsyncMock:
        return AsyncMock()

    async def request(self, subject: str, data: bytes, timeout: float) -> Mock:
        self.asked += 1
        if self.asked < 3 or not self.is_answered:
            raise nats.errors.TimeoutError
        return Mock(data=_BUSY)


async def claimed(client: Slow) -> int:
    """Claim a room, with this client."""
    bridge = NatsBridge("nats://nowhere", Rooms(bytes, 60.0, 1), 60.0)
    bridge.link._client = client  # type: ignore[assignment]
    return await bridge.claim("talk", "one")


def test_a_relay_that_stands_still_for_a_moment_keeps_its_room() -> None:
    with pytest.raises(PeerRefused, match="room talk has another publisher"):
        asyncio.run(claimed(Slow()))


@pytest.mark.parametrize(
    ("client", "asked"),
    [(Slow(is_answered=False), SILENT_S), (Slow(is_connected=False), 1)],
    ids=["a relay that stands still for longer", "NATS is away"],
)
def test_a_room_is_free_where_nobody_answers(client: Slow, asked: float) -> None:
    assert asyncio.run(claimed(client)) == -1 and client.asked == asked  # once a second


class Alone:
    """A client whom nobody answers, and whom NATS may have sent away; ``on_request`` happens while it asks."""

    is_connected = False

    def __init__(self, is_closed: bool, on_request: Callable[[], None]) -> None:
        self._is_closed = is_closed
        self._on_request = on_request

    async def subscribe(self, subject: str, cb: object) -> AsyncMock:
        if self._is_closed:
            raise ConnectionError("closed")
        return AsyncMock()

    async def request(self, subject: str, data: bytes, timeout: float) -> None:
        self._on_request()
        raise ConnectionError("nobody answers")

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_room_that_is_forgotten_while_the_others_are_asked_is_published_and_left_again(is_closed: bool) -> None:

    async def publish() -> None:
        relay = Relay(RelayConfig(port=0, nats_url="nats://nowhere", resume_s=0.0), LiveLine(False), JsonLines(None))
        assert relay._bridge is not None
        relay._bridge.open = partial(asyncio.sleep, 0)  # type: ignore[method-assign]
        relay._bridge.link._client = Alone(is_closed, lambda: relay.rooms.tidy(0.0))  # type: ignore[assignment]
        port = (await relay.open()).getsockname()[1]
        try:
            await asyncio.to_thread(speak, port)
            async with asyncio.timeout(PATIENCE_S):
                while len(relay.rooms):
                    await asyncio.sleep(0.01)
        finally:
            await relay.close()

    def speak(port: int) -> None:
        for _ in range(2):
            with Speaker(port, "talk") as peer:
                peer.greet()
                peer.send(peer.tiles[0], peer.bye)
                assert peer.closed_with() == (1000, "")

    asyncio.run(publish())


def test_a_nats_server_that_is_not_there_is_told() -> None:
    ended = run(COMMAND, "--port", 0, "--nats", f"nats://127.0.0.1:{free_port()}")
    sentence = ended.sentence(COMMAND)
    assert sentence.startswith("cannot connect to NATS (") and sentence.endswith(
        "is nats-server running there? (--nats)"
    )


def test_without_nats_py_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    with pytest.raises(MissingPackage, match=r"pip install 'audio-avif\[nats\]'"):
        asyncio.run(NatsBridge("nats://nowhere", Rooms(bytes, 60.0, 1), 60.0).open())
