"""``audio-avif-recv --web``: what the receiver plays is shown to browsers, and to nobody without the token."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import urllib.request
from dataclasses import replace

import pytest
from websockets.exceptions import InvalidStatus

from audio_avif.link.hello import Hello
from audio_avif.link.messages import CLOSE_UNAUTHORIZED, Bye, Ping
from audio_avif_stream.commands import recv
from audio_avif_stream.receiving.stream_recording import Recorder
from audio_avif_stream.receiving.web_view import WebView
from support.golden import golden_messages
from support.relay import Ear, bearer, settle, without_session
from support.stream_helpers import PATIENCE_S, RECEIVER, Peer, Process, receiving, run, wait_until

TOKEN = "correct-horse"


def address_of(process: Process) -> str:
    """Where the receiver says that its page is."""
    told = re.compile(r"^\(watch and hear it in a browser: (http://\S+)\)$", re.MULTILINE)
    wait_until(lambda: told.search(process.err) is not None, "the page's address")
    found = told.search(process.err)
    assert found is not None
    return found[1]


def port_of(address: str) -> int:
    return int(address.partition("/#")[0].rpartition(":")[2])


def test_a_live_stream_is_shown_as_it_came_and_the_page_is_served() -> None:
    with receiving("--output", "-", "--web", 0) as (process, port):
        address = address_of(process)
        assert address.endswith("/#room=live")
        with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        with Ear(port_of(address), "live") as ear:
            for _ in range(2):
                with Peer(port) as peer:
                    peer.greet(live=True)
                    peer.send(*peer.tiles, Ping(1, 2, 3).to_bytes(), peer.bye)
                    peer.closed_with()
                heard = ear.hear_until(Bye.TYPE)
                assert without_session(heard[0]) == replace(peer.hello, session="", live=True)
                said = [tile.to_bytes() for tile in peer.tiles]
                assert heard[1:] == [*said, Ping(1, 2, 3).to_bytes(), peer.bye.to_bytes()]
            process.signal(signal.SIGTERM)
            assert ear.closed_with() == (1001, "the relay was closed")
            assert process.ended().code == 0


def test_a_stream_that_goes_on_over_another_connection_goes_on_here_too() -> None:
    with receiving("--output", "-", "--web", 0) as (process, port), Ear(port_of(address_of(process)), "live") as ear:
        with Peer(port) as peer:
            peer.hello = replace(peer.hello, live=True)
            peer.greet()
            peer.send(*peer.tiles[:3])
            peer.wait_for_receipt(2)
            peer.cut()
            with peer.anew() as back:
                assert back.greet().received == 2
                back.send(*back.tiles[3:], back.bye)
                back.closed_with()
        heard = ear.hear_until(Bye.TYPE)
        assert heard[0][0] == Hello.TYPE and heard[1:-1] == [tile.to_bytes() for tile in peer.tiles]


def test_a_file_that_is_sent_at_once_is_not_shown_and_what_breaks_the_protocol_ends_there() -> None:
    with receiving("--output", "-", "--web", 0) as (process, port), Ear(port_of(address_of(process)), "live") as ear:
        with Peer(port) as peer:
            peer.greet(live=False)
            peer.send(*peer.tiles, peer.bye)
            assert peer.closed_with() == (1000, "")
        with Peer(port) as peer:
            peer.greet(live=True)
            peer.send(peer.tiles[0], b"\x7f")
            assert peer.closed_with()[0] == 4000
        assert ear.hear()[0] == Hello.TYPE
        assert ear.hear() == peer.tiles[0].to_bytes()
        settle(ear)


def test_a_stream_that_comes_back_otherwise_is_not_shown_and_plays_on() -> None:
    hello = golden_messages()["hello"]
    assert isinstance(hello, Hello)
    other = replace(hello, tile=replace(hello.tile, log10_max=2.0))

    async def show() -> None:
        window = WebView(Recorder(None), 0, 60.0)
        await window.open("127.0.0.1", None, True, None)
        for said in (hello, other):
            window.opened(1.0)
            window.message(said.to_bytes(), 1.0)
            window.message(Ping(1, 2, 3).to_bytes(), 1.0)
            window.closed(1.0)
        await window.close()

    asyncio.run(show())


def test_the_page_asks_for_the_receivers_token_and_nobody_publishes_there() -> None:
    environment = {**os.environ, "AUDIO_AVIF_TOKEN": TOKEN}
    with receiving("--output", "-", "--web", 0, env=environment) as (process, _):
        address = address_of(process)
        assert TOKEN not in process.err
        port = port_of(address)
        with pytest.raises(InvalidStatus, match="401"), Ear(port, "live"):
            pass
        page = {"origin": f"http://127.0.0.1:{port}"}
        with Ear(port, "live", bearer("wrong"), **page) as ear:
            assert ear.closed_with()[0] == CLOSE_UNAUTHORIZED
        with Ear(port, "live", bearer(TOKEN), **page) as ear:
            settle(ear)
        for token in (None, TOKEN):
            with pytest.raises(InvalidStatus, match="401"), Peer(port, token=token, path="/publish/live"):
                pass


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run(RECEIVER, "--port", 0, "--vocoder", "griffin-lim", "--output", "-", "--web", port)
    told = f"port {port} is in use; stop the program that holds it or choose another with --web"
    assert ended.sentence(RECEIVER) == told


def test_a_recording_or_another_relays_room_has_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--replay", "a.rec", "--web"], ["--connect", "ws://a", "--room", "a", "--web", "1"]):
        with pytest.raises(SystemExit, match="2"):
            recv.main(arguments)
        assert "--web cannot be combined with " in capsys.readouterr().err
