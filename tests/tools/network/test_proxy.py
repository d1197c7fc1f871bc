"""The impairment proxy does what its scenario says to connections over real sockets."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import pytest
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from audio_avif.link.packets import TilePacket
from audio_avif_tools.network.proxy import Proxy, relaying
from audio_avif_tools.network.scenario import Loss, Scenario
from support.stream_helpers import wait_until

PATIENCE_S = 60.0
HANDSHAKE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def tile(sequence: int, payload: bytes = bytes(50)) -> TilePacket:
    return TilePacket(sequence, 8 * sequence, 8, payload)


def frame(body: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    return Frame(opcode, body).serialize(mask=True)


@contextmanager
def server(serve_one: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that serves each connection in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def echo(connection: socket.socket) -> None:
    with connection, suppress(ConnectionError):
        while data := connection.recv(65_536):
            connection.sendall(data)


def dial(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return data


def test_bytes_come_back_in_order_after_both_ways_delay() -> None:
    scenario = Scenario("delay", delay_ms=40, jitter_ms=10)
    with server(echo) as port, relaying(scenario, port) as proxy, dial(proxy.port) as connection:
        sent = bytes(random.Random(1).randbytes(200_000))
        began_s = time.monotonic()
        connection.sendall(b"x")
        assert receive(connection, 1) == b"x"
        assert time.monotonic() - began_s >= 0.06 - 1e-3
        threading.Thread(target=connection.sendall, args=(sent,), daemon=True).start()
        assert receive(connection, len(sent)) == sent
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert proxy.counts.connections == 1 and proxy.counts.passed_bytes == len(sent) + 1


def test_a_client_that_fills_the_queue_has_to_wait() -> None:
    """The queue is bounded: what a capped path has not carried yet waits at the client in the end."""
    scenario = Scenario("cap", cap_kbps=1, queue_bytes=1000)
    with server(echo) as port, relaying(scenario, port) as proxy, dial(proxy.port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        connection.settimeout(0.3)
        taken = 0
        with pytest.raises(TimeoutError):
            while taken < 50_000_000:
                taken += connection.send(bytes(10_000))


def test_a_stall_keeps_the_connection_and_loses_nothing() -> None:
    scenario = Scenario("stall", stalls=((0.2, 0.5),))
    with server(echo) as port, relaying(scenario, port) as proxy, dial(proxy.port) as connection:
        connection.sendall(b"a")
        assert receive(connection, 1) == b"a"
        assert proxy.began_s is not None
        time.sleep(max(0.0, proxy.began_s + 0.3 - time.monotonic()))
        connection.sendall(b"b")
        assert receive(connection, 1) == b"b"
        assert time.monotonic() - proxy.began_s >= 0.7


def test_an_outage_cuts_what_is_open_and_refuses_what_comes_until_the_path_is_back() -> None:
    scenario = Scenario("outage", outages=((0.4, 1.2),))
    with server(echo) as port, relaying(scenario, port) as proxy:
        with dial(proxy.port) as connection:
            connection.sendall(b"a")
            with pytest.raises(ConnectionResetError):
                assert receive(connection, 1) == b"a"
                connection.recv(1)
        refused, deadline_s = 0, time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            try:
                with dial(proxy.port) as connection:
                    connection.sendall(b"b")
                    if receive(connection, 1) == b"b":
                        break
            except OSError:
                pass
            refused += 1
            time.sleep(0.02)
        assert proxy.began_s is not None and time.monotonic() - proxy.began_s >= 1.6
    assert (proxy.counts.cut_connections, proxy.counts.connections) == (1, 2)
    assert proxy.counts.refused_connections == refused > 0


def test_a_freeze_holds_what_is_open_for_good_and_lets_new_connections_through_after_it() -> None:
    with server(echo) as port, relaying(Scenario("freeze"), port) as proxy, dial(proxy.port) as before:
        before.sendall(b"a")
        assert receive(before, 1) == b"a"
        proxy.freeze(0.3)
        wait_until(lambda: proxy.counts.frozen_connections == 1, "the freeze")
        with dial(proxy.port) as meanwhile:
            meanwhile.sendall(b"b")
            wait_until(lambda: proxy.counts.frozen_connections == 2, "the second connection")
            wait_until(lambda: is_echoed(proxy.port), "the path's return")
            for frozen in (before, meanwhile):
                frozen.sendall(b"c")
                frozen.settimeout(0.3)
                with pytest.raises(TimeoutError):  # neither answered nor closed
                    frozen.recv(1)


def is_echoed(port: int) -> bool:
    """Whether a new connection carries anything."""
    with dial(port) as connection, suppress(TimeoutError):
        connection.sendall(b"d")
        connection.settimeout(0.3)
        return connection.recv(1) == b"d"
    return False


def test_a_proxy_without_a_target_resets_and_ends_with_its_block() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with relaying(Scenario("nobody"), port) as proxy, pytest.raises(ConnectionError), dial(proxy.port) as connection:
        connection.recv(1)
    with pytest.raises(OSError):
        dial(proxy.port)
    assert not any(thread.name == "proxy" for thread in threading.enumerate())


def heard_through(scenario: Scenario, messages: list[bytes]) -> tuple[list[bytes], Proxy]:
    """What a WebSocket server gets of a client's messages."""
    heard: list[bytes] = []
    over = threading.Event()

    def listen(connection: ServerConnection) -> None:
        heard.extend(message for message in connection if isinstance(message, bytes))
        over.set()

    with ExitStack() as stack:
        listening = stack.enter_context(serve(listen, "127.0.0.1", 0, compression=None))
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        proxy = stack.enter_context(relaying(scenario, listening.socket.getsockname()[1]))
        with connect(f"ws://127.0.0.1:{proxy.port}", compression=None, proxy=None) as client:
            for message in messages:
                client.send(message)
        assert over.wait(PATIENCE_S)
    return heard, proxy


def test_messages_are_lost_by_the_seed_and_all_others_arrive_in_order() -> None:
    messages = [b"\x01hello", *(tile(number, bytes(1 + number)).to_bytes() for number in range(300)), b"\x05ping"]
    scenario = Scenario("loss", loss=Loss.bursts(0.2, 3))
    heard, proxy = heard_through(scenario, messages)
    assert heard == [message for message in messages if message in heard]
    assert heard[0] == messages[0] and heard[-1] == messages[-1]
    counts = proxy.counts
    assert counts.passed_messages == len(heard) - 2 == len(counts.left_s)
    assert counts.dropped_messages == 300 - counts.passed_messages
    assert 20 < counts.dropped_messages < 120
    assert list(counts.left_s) == [int.from_bytes(message[1:3], "big") for message in heard[1:-1]]
    assert heard_through(scenario, messages)[0] == heard
    assert heard_through(replace(scenario, seed=1), messages)[0] != heard
