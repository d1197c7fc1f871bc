"""The relay as a process: rooms over real sockets, who may come in, and peers that do what no proper program would."""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import trustme
from websockets.exceptions import ConnectionClosed, InvalidStatus

from audio_avif.link.hello import Hello
from audio_avif.link.messages import (
    CLOSE_BUSY,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_REPLACED,
    CLOSE_TOO_MANY_MESSAGES,
    CLOSE_UNAUTHORIZED,
    CLOSE_UNKNOWN_ROOM,
    CLOSE_UNSUPPORTED,
    SUBPROTOCOL,
    Bye,
    Gap,
    Ping,
    Pong,
)
from audio_avif.link.packets import TilePacket
from audio_avif.link.rooms import KEEP_S
from audio_avif_stream.commands import recv, relay, send
from audio_avif_stream.relay.server import Relay, RelayConfig
from audio_avif_stream.telemetry.figures import RELAY
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine
from support.relay import COMMAND, Ear, Speaker, bearer, latest, port_of, relaying, settle, without_session
from support.stream_helpers import (
    CLIP,
    PATIENCE_S,
    RATE_HZ,
    RECEIVER,
    SENDER,
    Process,
    json_lines,
    live_resemblance,
    missed_s,
    open_files,
    read_wav,
    run,
    running,
    speech,
    wait_until,
    write_wav,
)
from support.timing import best_of_attempts, in_time

TRY_AGAIN_LATER = 1013


@pytest.fixture(scope="module")
def usual() -> Iterator[tuple[Process, int]]:
    """A relay with the usual settings, for the tests that leave it as it was; each has a room of its own."""
    with relaying() as pair:
        yield pair


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W", "-", request.node.name)[:64]


# -------------------------------------------------------------------------------------------------- what is passed on


def test_a_stream_reaches_all_listeners_byte_for_byte_and_they_stay_for_the_next(
    usual: tuple[Process, int], room: str
) -> None:
    _, port = usual
    with Ear(port, room) as early, Ear(port, room) as other:
        settle(early), settle(other)
        for _ in range(2):
            with Speaker(port, room) as peer:
                welcome = peer.greet()
                assert (welcome.vocoder, welcome.vocoder_latency_samples, welcome.received) == ("relay", 0, -1)
                peer.send(*peer.tiles, Ping(5, 6, 7).to_bytes(), peer.bye)
                assert peer.closed_with() == (1000, "")
            for ear in (early, other):
                heard = ear.hear_until(Bye.TYPE)
                assert without_session(heard[0]) == replace(peer.hello, session="")
                said = [*(tile.to_bytes() for tile in peer.tiles), Ping(5, 6, 7).to_bytes(), peer.bye.to_bytes()]
                assert heard[1:] == said


def test_every_tile_and_ping_is_answered(usual: tuple[Process, int], room: str) -> None:
    _, port = usual
    with Speaker(port, room) as peer:
        peer.greet()
        peer.send(*peer.tiles)
        peer.wait_for_receipt(len(peer.tiles) - 1)
        peer.send(Ping(12, 0, 0).to_bytes())
        pong = peer.socket.recv(PATIENCE_S)
        assert isinstance(pong, bytes) and Pong.parse(pong).ping_sent_us == 12


def test_a_late_listener_gets_hello_and_last_second_at_once(usual: tuple[Process, int], room: str) -> None:
    _, port = usual
    with Speaker(port, room, 2.0) as peer:
        peer.greet()
        began_s = time.monotonic()
        peer.send(*peer.tiles)
        peer.wait_for_receipt(len(peer.tiles) - 1)
        with Ear(port, room) as late:
            hello, *heard = settle(late)
            took_s = time.monotonic() - began_s
        said = [tile.to_bytes() for tile in peer.tiles]
        assert hello[0] == Hello.TYPE
        # On a machine that stood still meanwhile, some of them are not of the last second any more.
        assert heard == (said if took_s < KEEP_S else said[len(said) - len(heard) :])


def test_a_listener_that_was_away_when_its_stream_ended_is_told_the_end(usual: tuple[Process, int], room: str) -> None:
    _, port = usual
    with Speaker(port, room) as peer:
        peer.greet()
        with Ear(port, room) as ear:
            session = Hello.parse(ear.hear()).session
        peer.send(*peer.tiles, peer.bye)
        assert peer.closed_with() == (1000, "")
    with Ear(port, f"{room}?unfinished={session}") as back:
        assert [message[0] for message in back.hear_until(Bye.TYPE)] == [Hello.TYPE, Bye.TYPE]
    with Ear(port, f"{room}?unfinished=another") as other:
        assert settle(other) == []


def test_listeners_do_not_learn_the_name_with_which_a_publisher_comes_back(
    usual: tuple[Process, int], room: str
) -> None:
    _, port = usual
    with Ear(port, room) as ear, Speaker(port, room) as peer:
        peer.greet()
        told = Hello.parse(ear.hear())
        assert told.session != peer.hello.session and len(told.session) == 16
        peer.hello = replace(peer.hello, session=told.session)
        with peer.anew() as thief:
            thief.send(thief.hello)
            assert thief.closed_with()[0] == CLOSE_BUSY


def test_a_publisher_comes_back_and_its_listeners_hear_nothing_of_it(usual: tuple[Process, int], room: str) -> None:
    _, port = usual
    with Ear(port, room) as ear, Speaker(port, room) as peer:
        peer.greet()
        peer.send(*peer.tiles[:3])
        peer.wait_for_receipt(2)
        peer.cut()
        with peer.anew() as back:
            assert back.greet().received == 2
            with back.anew() as again:  # while the old connection seems alive
                assert again.greet().received == 2
                assert back.closed_with() == (CLOSE_REPLACED, "the stream continues on a newer connection")
                again.send(*again.tiles[3:], again.bye)
                assert again.closed_with()[0] == 1000
        heard = ear.hear_until(Bye.TYPE)
        assert heard[0][0] == Hello.TYPE
        assert heard[1:] == [*(tile.to_bytes() for tile in peer.tiles), peer.bye.to_bytes()]


def test_a_publisher_that_stops_without_a_bye_is_forgotten_and_its_listeners_stay(room: str) -> None:
    with relaying("--resume-s", 0.2) as (_, port), Ear(port, room) as ear:
        with Speaker(port, room) as peer:
            peer.greet()
            peer.send(peer.tiles[0])
            peer.wait_for_receipt(0)
            peer.cut()
        assert ear.hear()[0] == Hello.TYPE

        def is_forgotten() -> bool:
            with Ear(port, room) as late:
                late.socket.send(Ping(1, 0, 0).to_bytes())
                return late.hear()[0] == Pong.TYPE

        wait_until(is_forgotten, "the end of the stream")
        with Speaker(port, room) as other:
            assert other.greet().received == -1
            heard = ear.hear_until(Hello.TYPE)
            assert heard[:-1] == [peer.tiles[0].to_bytes()]


def test_a_second_publisher_is_refused_with_the_reason(usual: tuple[Process, int], room: str) -> None:
    process, port = usual
    with Speaker(port, room) as first, Speaker(port, room) as second:
        first.greet()
        second.send(second.hello)
        assert second.closed_with() == (CLOSE_BUSY, f"room {room} has another publisher; try again later")
        first.send(*first.tiles, first.bye)
        assert first.closed_with() == (1000, "")
    process.wait_for("127.0.0.1 was refused: room ")


# -------------------------------------------------------------------------------------------------- who may come in


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, int]]:
    file = tmp_path_factory.mktemp("relay") / "rooms.toml"
    file.write_text('[rooms.talk]\npublish = "speak"\nlisten = "hear"\n[rooms.radio]\npublish = "speak"\n')
    with relaying("--rooms", file) as pair:
        yield pair


@pytest.mark.parametrize("token", [None, "wrong", "hear"])
def test_a_program_without_the_rooms_token_gets_401(guarded: tuple[Process, int], token: str | None) -> None:
    _, port = guarded
    with pytest.raises(InvalidStatus, match="401") as refused, Speaker(port, "talk", token=token):
        pass
    assert refused.value.response.headers["WWW-Authenticate"] == "Bearer"
    if token != "hear":
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with pytest.raises(InvalidStatus, match="401"), Ear(port, "talk", additional_headers=headers):
            pass


def test_a_page_learns_by_a_close_code_and_shows_its_token_as_a_subprotocol(guarded: tuple[Process, int]) -> None:
    _, port = guarded
    page = {"origin": f"http://127.0.0.1:{port}"}
    for subprotocols in ([], [bearer("wrong")]):
        with Ear(port, "talk", *subprotocols, **page) as ear:
            assert ear.closed_with() == (CLOSE_UNAUTHORIZED, "room talk requires a token to listen")
    with Ear(port, "talk", bearer("hear"), **page) as ear:
        assert ear.socket.subprotocol == SUBPROTOCOL
        settle(ear)


def test_each_rooms_token_opens_it_and_a_room_may_be_open_to_all_ears(guarded: tuple[Process, int]) -> None:
    _, port = guarded
    with Speaker(port, "radio", token="speak") as peer, Ear(port, "radio") as ear:
        peer.greet()
        assert ear.hear()[0] == Hello.TYPE
    with Ear(port, "talk", additional_headers={"Authorization": "Bearer hear"}) as ear:
        settle(ear)


@pytest.mark.parametrize("name", ["cellar", "a%20b", "x" * 65, "..", "talk/", ""])
def test_a_room_that_is_not_there_is_told_so(guarded: tuple[Process, int], name: str) -> None:
    _, port = guarded
    with Ear(port, name) as ear:
        assert ear.closed_with() == (CLOSE_UNKNOWN_ROOM, f"this relay has no room {name[:64]!r}")
    with Speaker(port, name) as peer:
        assert peer.closed_with()[0] == CLOSE_UNKNOWN_ROOM


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1:1", "http://[", ""])
def test_pages_of_other_servers_get_403(usual: tuple[Process, int], room: str, origin: str) -> None:
    process, port = usual
    with pytest.raises(InvalidStatus, match="403"), Ear(port, room, additional_headers={"Origin": origin}):
        pass
    reason = "came from a web page of another server (--allow-origin); refused"
    wait_until(lambda: reason in process.err, "the warning")


def test_a_name_of_a_strangers_that_leads_here_makes_no_page_ours(usual: tuple[Process, int], room: str) -> None:
    _, port = usual
    request = (
        f"GET /listen/{room} HTTP/1.1\r\nHost: evil.example:{port}\r\nOrigin: http://evil.example:{port}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 403")


def test_pages_of_servers_that_were_named_may_come(room: str) -> None:
    with relaying("--allow-origin", "https://radio.example/", "--allow-origin", "http://b.example") as (_, port):
        for origin in ("https://radio.example", "http://b.example", f"http://127.0.0.1:{port}"):
            with Ear(port, room, origin=origin) as ear:
                settle(ear)
    with relaying("--allow-origin", "*") as (_, port), Ear(port, room, origin="https://any.example") as ear:
        settle(ear)


def test_where_others_can_come_a_token_to_publish_is_made_and_kept(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    tokens = []
    for _ in range(2):
        with relaying("--host", "0.0.0.0", env=environment) as (process, port):
            line = re.search(r"audio-avif-send --host \S+ --port \d+ --room NAME --token (\w{22})\n", process.err)
            assert line is not None, process.err
            tokens.append(line[1])
            process.wait_for("the connection is not encrypted, and neither are tokens; use --tls-cert")
            process.wait_for("anyone who can connect may listen; require a token with --listen-token")
            with pytest.raises(InvalidStatus, match="401"), Speaker(port, "demo"):
                pass
            with Speaker(port, "demo", token=line[1]) as peer, Ear(port, "demo") as ear:
                peer.greet()
                assert ear.hear()[0] == Hello.TYPE
    assert tokens[0] == tokens[1]
    with relaying("--host", "0.0.0.0", "--no-token") as (process, port), Speaker(port, "demo") as peer:
        assert "--token" not in process.err.splitlines()[1]
        peer.greet()


@dataclass(frozen=True)
class Tls:
    """The options of a relay with a certificate, and what trusts it."""

    options: tuple[object, ...]
    ca: Path
    trusting: ssl.SSLContext


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    cert, key, ca = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    trusting = ssl.create_default_context(cafile=ca)
    # The client below reads and writes in two threads, and loses its request to a ticket of TLS 1.3 now and then.
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    return Tls(("--tls-cert", cert, "--tls-key", key), ca, trusting)


def test_publishers_and_listeners_come_by_tls(tmp_path: Path, room: str, tls: Tls) -> None:
    ca, trusting = tls.ca, tls.trusting
    said = write_wav(tmp_path / "said.wav", speech(2.0))
    stats, sent = tmp_path / "stats.jsonl", tmp_path / "sent.jsonl"
    with relaying(*tls.options) as (_, port):
        with Ear(port, room, ssl=trusting) as ear, Speaker(port, room, tls=trusting) as peer:
            peer.greet()
            peer.send(*peer.tiles, peer.bye)
            assert len(ear.hear_until(Bye.TYPE)) == len(peer.tiles) + 2
        heard = tmp_path / "heard.wav"
        to = ("--connect", f"wss://127.0.0.1:{port}", "--ca", ca, "--room", room)
        figures = ("--buffer-ms", 500, "--stats-json", stats)
        with running(RECEIVER, *to, "--vocoder", "griffin-lim", "--once", "--output", heard, *figures) as receiver:
            receiver.wait_for("(listening to room")
            options = ("--host", f"wss://127.0.0.1:{port}", "--ca", ca, "--room", room, "--input", said)
            assert run(SENDER, *options, "--stats-json", sent).code == 0
            assert receiver.ended().code == 0
    final, summary = json_lines(stats)[-1], json_lines(sent)[-1]
    assert final["received_tiles"] == summary["sent_tiles"]
    # A busy machine leaves some sound out to be in time again; the figures tell how much, in whole milliseconds.
    left_out_s = (final["shortened_ms"] + 1) / 1e3 + 0.128 * (final["skipped_tiles"] + final["lost_tiles"])
    assert read_wav(heard).size >= (2.0 - left_out_s) * RATE_HZ


# --------------------------------------------------------------------------------------------------- peers at fault


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ("text", CLOSE_PROTOCOL_ERROR, "a listener may send only pings"),
        (b"", CLOSE_PROTOCOL_ERROR, "a listener may send only pings"),
        (b"\x02\0\0\0\0\0\0\0\0\x08x", CLOSE_PROTOCOL_ERROR, "a listener may send only pings"),
        (b"\x05\0", CLOSE_PROTOCOL_ERROR, "a message of type 0x05 is truncated: 2 of at least 25 bytes"),
        (bytes(65_537), 1009, "frame with 65537 bytes exceeds limit of 65536 bytes"),
    ],
)
def test_a_listener_that_says_anything_but_pings_is_closed(
    usual: tuple[Process, int], room: str, message: bytes | str, code: int, reason: str
) -> None:
    _, port = usual
    with Ear(port, room) as ear:
        ear.socket.send(message)
        assert ear.closed_with() == (code, reason)


def test_a_listener_that_floods_with_pings_is_closed(usual: tuple[Process, int], room: str) -> None:
    _, port = usual
    with Ear(port, room) as ear:
        try:
            for _ in range(1000):
                ear.socket.send(Ping(1, 0, 0).to_bytes())
        except ConnectionClosed:
            pass
        assert ear.closed_with() == (CLOSE_TOO_MANY_MESSAGES, "it sent more than 5 pings per second")


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ("text", CLOSE_PROTOCOL_ERROR, "the peer sent a text message; this protocol is binary"),
        (b"\x7f", CLOSE_PROTOCOL_ERROR, "the peer sent a message of unknown type 0x7f"),
        (b"\x02\0", CLOSE_PROTOCOL_ERROR, "a message of type 0x02 is truncated: 2 of at least 5 bytes"),
        (Gap(3).to_bytes(), CLOSE_PROTOCOL_ERROR, "the peer sent a gap, which only a relay may send"),
        (bytes(65_537), 1009, "frame with 65537 bytes exceeds limit of 65536 bytes"),
    ],
)
def test_a_publisher_that_breaks_the_protocol_is_closed_and_its_listeners_stay(
    usual: tuple[Process, int], room: str, message: bytes | str, code: int, reason: str
) -> None:
    _, port = usual
    with Ear(port, room) as ear:
        with Speaker(port, room) as peer:
            peer.greet()
            peer.send(message)
            assert peer.closed_with() == (code, reason)
        assert ear.hear()[0] == Hello.TYPE
        with Speaker(port, room) as peer:
            peer.greet()
            assert ear.hear()[0] == Hello.TYPE


def test_a_publisher_must_say_a_hello_in_time(room: str) -> None:
    # As long again is what the HTTP request may take, on a machine that stands still now and then.
    with relaying("--handshake-s", 4) as (_, port), Speaker(port, room) as peer:
        assert peer.closed_with() == (CLOSE_PROTOCOL_ERROR, "the peer sent no hello within 4 s (--handshake-s)")


def test_a_publisher_must_say_a_hello_of_a_live_stream_first(usual: tuple[Process, int], room: str) -> None:
    _, port = usual
    with Speaker(port, room) as peer:
        peer.send(peer.tiles[0])
        assert peer.closed_with() == (CLOSE_PROTOCOL_ERROR, "the peer's first message is not a hello")
    with Speaker(port, room) as peer:
        peer.send(replace(peer.hello, live=False))
        reason = "a relay carries live streams only; send without --no-realtime"
        assert peer.closed_with() == (CLOSE_UNSUPPORTED, reason)


def test_a_publisher_that_sends_too_many_messages_is_closed(room: str) -> None:
    with relaying("--max-messages-per-second", 20) as (_, port), Speaker(port, room) as peer:
        peer.greet()
        try:
            for number in range(2000):
                peer.send(replace(peer.tiles[0], sequence=number))
        except ConnectionClosed:
            pass
        assert peer.closed_with()[0] == CLOSE_TOO_MANY_MESSAGES


def test_garbage_in_place_of_a_request_harms_nobody(usual: tuple[Process, int], room: str) -> None:
    _, port = usual
    with Ear(port, room) as ear:
        for data in (b"\x16\x03\x01\x02\0\x01", b"GET", os.urandom(500), b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 5000):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                try:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65_536):
                        pass
                except ConnectionError:
                    pass
        settle(ear)


def deaf_listener(port: int, room: str, trusting: ssl.SSLContext | None = None) -> socket.socket:
    """A listener that never reads, with as little room in its kernel as there can be."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    connection.connect(("127.0.0.1", port))
    if trusting is not None:
        connection = trusting.wrap_socket(connection, server_hostname="127.0.0.1")
    connection.sendall(
        f"GET /listen/{room} HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
    )
    return connection


def speak_loudly(peer: Speaker, ear: Ear, count: int, seconds: float) -> None:
    """Tiles of 20 kB, each heard by a good listener before the next is sent."""
    payload = bytes(20_000)  # in which no gap can be seen that was none
    for number in range(count):
        message = TilePacket(number, 8 * number, 8, payload)
        peer.send(message)
        while (heard := ear.hear())[0] == Hello.TYPE:
            pass
        assert heard == message.to_bytes()
        peer.wait_for_receipt(number)
        time.sleep(seconds / count)


@pytest.mark.parametrize("is_tls", [False, True])
def test_a_listener_that_does_not_read_delays_nobody_and_is_told_what_it_missed(
    tmp_path: Path, room: str, tls: Tls, is_tls: bool
) -> None:
    stats = tmp_path / "stats.jsonl"
    trusting = tls.trusting if is_tls else None
    count = 30
    with (
        relaying("--stall-s", 60, "--stats-json", stats, *(tls.options if is_tls else ())) as (process, port),
        Ear(port, room, ssl=trusting) as ear,
        Speaker(port, room, tls=trusting) as peer,
        deaf_listener(port, room, trusting) as deaf,
    ):
        peer.greet()
        speak_loudly(peer, ear, count, 1.5)
        deaf.settimeout(PATIENCE_S)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        data = b""
        last = TilePacket(count - 1, 8 * (count - 1), 8, b"").to_bytes()
        while last not in data:
            more = deaf.recv(1 << 20)
            assert more, "the relay hung up"
            data += more
        gaps = [Gap.parse(found) for found in re.findall(rb"\x82\x05(\x08....)", data, re.DOTALL)]
        heard = [number for number in range(count) if TilePacket(number, 8 * number, 8, b"").to_bytes() in data]
        assert len(gaps) == 1 and gaps[0].messages == count - len(heard) > 0
        before = next(number for number in range(count) if number not in heard)
        assert heard == [*range(before), *range(before + gaps[0].messages, count)]
        process.signal(signal.SIGTERM)
        assert process.ended().code == 0
        final = json_lines(stats)[-1]
        assert final["dropped_messages"] == gaps[0].messages and final["stalled_listeners"] == 0


def test_a_listener_that_never_reads_is_cut_off(room: str) -> None:
    with (
        relaying("--stall-s", 0.5) as (process, port),
        Ear(port, room) as ear,
        Speaker(port, room) as peer,
        deaf_listener(port, room) as deaf,
    ):
        peer.greet()
        speak_loudly(peer, ear, 12, 1.5)
        process.wait_for("127.0.0.1 read nothing for 0.5 s (--stall-s); disconnected")
        deaf.settimeout(PATIENCE_S)
        with pytest.raises(ConnectionError):
            while deaf.recv(1 << 20):
                pass
            raise ConnectionError  # cut off with an end of the data, or with a reset
        settle(ear)


def test_a_relay_that_cannot_look_after_its_rooms_any_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run_one() -> None:
        one = Relay(RelayConfig(port=0), LiveLine(False), JsonLines(None))
        monkeypatch.setattr(one.rooms, "tidy", Mock(side_effect=ZeroDivisionError))
        await one.run()

    with pytest.raises(ZeroDivisionError):
        asyncio.run(run_one())


def test_there_are_only_so_many_listeners_and_rooms() -> None:
    with relaying("--max-listeners", 2, "--max-rooms", 2) as (_, port), ExitStack() as stack:
        first, _ = (stack.enter_context(Ear(port, name)) for name in ("a", "b"))
        settle(first)
        with Ear(port, "a") as third:
            reason = "the relay has 2 listeners already (--max-listeners); try again later"
            assert third.closed_with() == (TRY_AGAIN_LATER, reason)
        with Speaker(port, "c") as peer:
            peer.send(peer.hello)
            assert peer.closed_with() == (
                TRY_AGAIN_LATER,
                "the relay has 2 rooms already (--max-rooms); try again later",
            )


def test_connections_are_given_back(usual: tuple[Process, int], room: str) -> None:
    process, port = usual
    with Ear(port, room) as ear:
        settle(ear)
        before = open_files(process.pid)
        speaker = Speaker(port, room)
        for number in range(20):
            with Ear(port, room), speaker.anew() as peer:
                peer.greet(session=f"by hand {number}")
                peer.send(peer.tiles[0], peer.bye)
                peer.closed_with()
        wait_until(lambda: open_files(process.pid) <= before, "the end of the connections")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_relay_that_is_stopped_under_load_says_goodbye(room: str, number: signal.Signals) -> None:
    with relaying() as (process, port), ExitStack() as stack:
        ears = [stack.enter_context(Ear(port, room)) for _ in range(30)]
        peer = stack.enter_context(Speaker(port, room))
        peer.greet()
        for sequence in range(60):
            peer.send(replace(peer.tiles[0], sequence=sequence, first_frame=8 * sequence))
        process.signal(number)
        assert peer.closed_with() == (1001, "the relay was closed")
        assert [ear.closed_with() for ear in ears] == [(1001, "the relay was closed")] * 30
        assert process.ended().code == 0


# ------------------------------------------------------------------------------------------------------- as programs


def test_health_and_nothing_else(usual: tuple[Process, int]) -> None:
    _, port = usual
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=PATIENCE_S) as answer:
        assert (answer.status, answer.read()) == (200, b"ok\n")
    for path in ("", "/", "/../etc/passwd", "/publish", "/health/x"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE_S)


@pytest.mark.slow
def test_a_browser_gets_the_page_and_its_largest_file_whole_though_it_reads_slowly() -> None:
    model = resources.files("audio_avif_onnx.models").joinpath("embedded.onnx").read_bytes()
    with running(COMMAND, "--port", 0) as process:
        port = port_of(process)
        process.wait_for(f"  http://127.0.0.1:{port}/ in a browser")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE_S) as answer:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Content-Length"] == str(len(answer.read()))
        with socket.socket() as browser:
            browser.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            browser.connect(("127.0.0.1", port))
            browser.sendall(b"GET /models/embedded.onnx HTTP/1.1\r\nHost: here\r\n\r\n")
            began_s, got = time.monotonic(), b""
            while data := browser.recv(65_536):
                got += data
                time.sleep(max(0.0, began_s + 3.0 * len(got) / len(model) - time.monotonic()))
        assert got.partition(b"\r\n\r\n")[2] == model


def test_a_sender_without_a_room_is_told_what_is_missing(usual: tuple[Process, int]) -> None:
    _, port = usual
    ended = run(SENDER, "--host", "127.0.0.1", "--port", port, "--input", CLIP)
    assert ended.sentence(SENDER) == f"127.0.0.1:{port} is a relay; give a room with --room"


def test_a_sender_or_listener_that_may_not_come_in_says_why(guarded: tuple[Process, int]) -> None:
    _, port = guarded
    to = ("--host", "127.0.0.1", "--port", port, "--input", CLIP)
    assert (
        "requires a token; give with --token the one that audio-avif-relay prints"
        in run(SENDER, *to, "--room", "talk").err
    )
    refused = run(SENDER, *to, "--room", "cellar").sentence(SENDER)
    assert refused == "the receiver refused the stream: this relay has no room 'cellar'"
    listen = ("--connect", f"ws://127.0.0.1:{port}", "--vocoder", "griffin-lim", "--output", "-")
    assert "requires a token" in run(RECEIVER, *listen, "--room", "talk").sentence(RECEIVER)
    assert "rejects this token" in run(RECEIVER, *listen, "--room", "talk", "--token", "no").sentence(RECEIVER)
    ended = run(RECEIVER, *listen, "--room", "cellar")
    assert ended.sentence(RECEIVER) == "the relay refused: this relay has no room 'cellar'"


def test_a_port_that_is_taken_and_a_relay_that_is_not_there_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(COMMAND, "--port", port)
        assert ended.sentence(COMMAND).startswith(f"port {port} is in use;")
    relays = f"ws://127.0.0.1:{port},ws://127.0.0.1:{port}"
    ended = run(RECEIVER, "--connect", relays, "--room", "a", "--vocoder", "griffin-lim", "--output", "-")
    assert "is audio-avif-relay running there?" in ended.sentence(RECEIVER)


@pytest.mark.slow
@best_of_attempts
def test_what_a_listener_plays_is_what_was_said_and_the_next_stream_too(tmp_path: Path, room: str) -> None:
    said, heard, stats = speech(3.0), tmp_path / "heard.wav", tmp_path / "stats.jsonl"
    file = write_wav(tmp_path / "said.wav", said)
    with relaying() as (_, port):
        to = ("--connect", f"ws://127.0.0.1:{port}", "--room", room, "--vocoder", "griffin-lim")
        sent: list[dict[str, Any]] = []
        with running(RECEIVER, *to, "--output", heard, "--stats-json", stats, "--buffer-ms", 500) as receiver:
            receiver.wait_for(f"(waiting for someone to publish in room {room})")
            for streams in (1, 2):
                send_to = ("--host", "127.0.0.1", "--port", port, "--room", room, "--input", file)
                assert run(SENDER, *send_to, "--stats-json", tmp_path / "sent.jsonl").code == 0
                sent.append(latest(tmp_path / "sent.jsonl"))
                wait_until(lambda n=streams: receiver.err.count("played ") == n, "the end of the stream")
            receiver.signal(signal.SIGINT)
            assert receiver.ended().code == 0
    lines = json_lines(stats)
    finals = [line for line in lines if line.get("is_final")]
    if "the connection to the relay was lost" not in receiver.err:  # as where the relay stands still for seconds
        assert [line["received_tiles"] for line in finals] == [summary["sent_tiles"] for summary in sent]
        # A sender drops tiles where the machine stands still, and nobody else does.
        assert all(line["lost_tiles"] <= summary["dropped_tiles"] for line, summary in zip(finals, sent, strict=True))
    for final in finals:
        delays_ms = [line["delay_ms"] for line in lines if line["session"] == final["session"] and line["delay_ms"]]
        assert min(delays_ms) > 40
        in_time(statistics.median(delays_ms) < 2000, delays_ms)
    likeness = live_resemblance(said, read_wav(heard), missed_s(finals[0]))
    in_time(likeness > 0.8, likeness)


@pytest.mark.slow
@best_of_attempts
def test_a_listener_comes_back_to_a_relay_that_was_started_again_and_plays_no_tile_twice(
    tmp_path: Path, room: str
) -> None:
    heard, stats, sent = tmp_path / "heard.wav", tmp_path / "stats.jsonl", tmp_path / "sent.jsonl"
    said = write_wav(tmp_path / "said.wav", speech(20.0))
    with relaying() as (process, port):
        to = ("--connect", f"ws://127.0.0.1:{port}", "--room", room, "--vocoder", "griffin-lim", "--once")
        # A buffer that outlasts a stall of this machine: what is lost and repeated is judged, not what is late.
        with running(RECEIVER, *to, "--output", heard, "--stats-json", stats, "--buffer-ms", 1500) as receiver:
            receiver.wait_for("(listening to room")
            send_to = ("--host", "127.0.0.1", "--port", port, "--room", room, "--input", said)
            with running(SENDER, *send_to, "--stats-json", sent) as sender:
                wait_until(lambda: latest(stats).get("received_tiles", 0) > 8, "a second of the stream")
                process.signal(signal.SIGTERM)
                assert process.ended().code == 0
                with running(COMMAND, "--port", port, "--no-web"):
                    assert sender.ended().code == 0
                    assert receiver.ended().code == 0
            receiver.wait_for("the relay ended the connection: the relay was closed; trying it again")
    final, summary = json_lines(stats)[-1], json_lines(sent)[-1]
    assert final["repeated_tiles"] == 0
    in_time(final["late_tiles"] == 0, final)
    away = re.search(r"the sender is back after (\S+) s", receiver.err)  # which a busy machine makes long
    assert away is not None, receiver.err
    assert final["reconnections"] >= 1
    in_time(final["lost_tiles"] <= max(12, float(away[1]) / 0.128, summary["dropped_tiles"] + 4), (final, summary))
    told = final["received_tiles"] + final["lost_tiles"]
    assert told >= summary["sent_tiles"] + summary["dropped_tiles"] - 3


def test_the_figures_are_those_of_the_table(tmp_path: Path, room: str) -> None:
    stats = tmp_path / "stats.jsonl"
    with relaying("--stats", "--stats-json", stats) as (process, port):
        with Ear(port, room) as ear, Speaker(port, room) as peer:
            peer.greet()
            peer.send(*peer.tiles)
            ear.hear_until(peer.tiles[0].kind)
            wait_until(lambda: latest(stats).get("listeners") == latest(stats).get("publishers") == 1, "the figures")
            assert list(latest(stats)) == list(RELAY)
            process.wait_for("rooms 1 publishers 1 listeners 1 out ")
            with pytest.raises(InvalidStatus, match="403"), Ear(port, room, origin="https://elsewhere.example"):
                pass
        process.signal(signal.SIGTERM)
        assert process.ended().code == 0
    final = json_lines(stats)[-1]
    assert final["is_final"] and final["listeners"] == 0 and final["refused_connections"] == 1
    assert final["sent_messages"] == len(peer.tiles) + 1 == final["received_messages"]


# ---------------------------------------------------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tls-cert", "a.pem"], "--tls-cert and --tls-key go together"),
        (["--rooms", "a.toml", "--publish-token", "x"], "--publish-token applies to all rooms"),
        (["--rooms", "a.toml", "--listen-token", "x"], "--listen-token applies to all rooms"),
        (["--rooms", "a.toml", "--no-token"], "--no-token applies to all rooms"),
        (["--publish-token", "x", "--no-token"], "exclude each other"),
        (["--listen-token", "two words"], "visible ASCII"),
        (["--max-rooms", "0"], "--max-rooms"),
        (["--stall-s", "0"], "--stall-s"),
    ],
)
def test_wrong_use_of_the_relay(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        relay.main(arguments)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--connect", "ws://a"], "--connect needs --room NAME"),
        (["--connect", "ws://a", "--room", "a b"], "--connect needs --room NAME"),
        (["--connect", "http://a", "--room", "a"], "'http://a' is not a receiver's address"),
        (["--connect", "ws://a,", "--room", "a"], "an address between two commas is empty"),
        (["--connect", "ws://a", "--room", "a", "--port", "1"], "--port cannot be combined with --connect"),
        (["--connect", "ws://a", "--room", "a", "--host", "b"], "--host cannot be combined with --connect"),
        (
            ["--connect", "ws://a", "--room", "a", "--tls-cert", "b", "--tls-key", "c"],
            "--tls-cert cannot be combined with --connect",
        ),
        (["--connect", "ws://a", "--room", "a", "--replay", "b"], "--replay cannot be combined with --connect"),
        (["--connect", "ws://a", "--room", "a", "--ca", "b"], "--ca needs a relay with TLS"),
        (["--room", "a"], "--room and --ca need --connect"),
    ],
)
def test_wrong_use_of_a_listener(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        recv.main(arguments)
    assert told in capsys.readouterr().err


def test_a_sender_checks_the_rooms_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        send.main(["--host", "a", "--room", "no/room"])
    assert "--room: 'no/room' is not a room name; use 1 to 64 ASCII letters" in capsys.readouterr().err


def test_a_file_of_rooms_that_does_not_serve_ends_the_relay(tmp_path: Path) -> None:
    assert "cannot be read" in run(COMMAND, "--rooms", tmp_path / "absent.toml").sentence(COMMAND)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(select, "epoll"), reason="the load generator needs Linux")
def test_the_load_generator_hears_every_message_and_says_what_it_took(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    options = ("--listeners", "12", "--processes", "2", "--seconds", "2", "--json", str(result))
    done = subprocess.run(
        [sys.executable, "-m", "audio_avif_tools.network.relay_load", *options],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "12 listeners, 16 messages each in 2 s: every listener got every message" in done.stdout
    found = json.loads(result.read_text())
    assert (found["wrong_listeners"], found["gaps"]) == (0, 0)
    assert 0 < found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"] <= found["most_ms"]
    assert 0 < found["cpu_share"] < 1 and 1 < found["wire_kbps"] < 100
