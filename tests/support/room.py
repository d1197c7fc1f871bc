"""A server that plays one stream to whoever listens, in the time it took to say, and serves the page."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from audio_avif.codec.encoder import Encoder
from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.link.hello import Hello
from audio_avif.link.messages import SUBPROTOCOL, Ping, Pong
from audio_avif.link.packets import MediaPacket
from audio_avif.types import FloatArray
from audio_avif_stream.serving.web_pages import page

NO_ROOM = (4006, "there is no such room")


class Stream:
    """Sound as messages, each with the time at which it is sent."""

    def __init__(self, samples: FloatArray, tile_frames: int = 8, dtx: bool = False, session: str = "a") -> None:
        encoder = Encoder(MelConfig(), TileConfig(frames=tile_frames), EncoderConfig(dtx=dtx))
        self.hello = Hello(encoder.mel, encoder.tile, encoder.template, session, agent="test/1")
        self.packets: list[MediaPacket] = []
        self.due_s: list[float] = []
        step = encoder.mel.hop_samples
        for start in range(0, samples.size, step):
            self._add(encoder.push(samples[start : start + step]), min(samples.size, start + step) / 16_000)
        self._add(encoder.flush(), samples.size / 16_000)
        self.bye = encoder.bye()

    def _add(self, packets: Sequence[MediaPacket], due_s: float) -> None:
        self.packets += packets
        self.due_s += [due_s] * len(packets)


class Room:
    """What the listeners of ``/listen/demo`` get; ``play`` may be called again for another stream."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.token: str | None = None
        self.lost: set[int] = set()
        self.is_closed_to_strangers = False
        self.rewrite: Callable[[str, bytes], bytes | None] = lambda path, body: body
        self._listeners: list[ServerConnection] = []
        self._lock = threading.Lock()

    def listen(self, connection: ServerConnection) -> None:
        """Serve one listener until it leaves."""
        assert connection.request is not None
        if connection.request.path.partition("?")[0] != "/listen/demo":
            connection.close(*NO_ROOM)
            return
        offered = connection.request.headers.get("Sec-WebSocket-Protocol", "")
        if self.token is not None and bearer(self.token) not in [each.strip() for each in offered.split(",")]:
            connection.close(4005, "the token is missing or wrong")
            return
        with self._lock:
            self._listeners.append(connection)
        for message in connection:
            assert isinstance(message, bytes)
            ping = Ping(*_ping_fields(message))
            connection.send(Pong(ping.sent_us, _now_us()).to_bytes())

    @property
    def listeners(self) -> int:
        """How many are connected."""
        return len(self._listeners)

    def send(self, data: bytes) -> None:
        """Say it to every listener that has not left."""
        for connection in list(self._listeners):
            with suppress(ConnectionClosed):
                connection.send(data)

    def drop(self, code: int = 1011, reason: str = "") -> None:
        """Close all connections."""
        while self._listeners:
            self._listeners.pop().close(code, reason)

    def play(self, stream: Stream, bye: bool = True, stop: Callable[[], bool] = lambda: False) -> None:
        """Send the stream in real time."""
        start_us = _now_us()
        self.send(stream.hello.to_bytes())
        self.send(Ping(start_us, start_us, 1).to_bytes())  # this clock is the publisher's too: 1 us ahead, so known
        for packet, due_s in zip(stream.packets, stream.due_s, strict=True):
            time.sleep(max(0.0, due_s - (_now_us() - start_us) / 1e6))
            if stop():
                return
            if packet.sequence not in self.lost:
                self.send(packet.to_bytes())
        if bye:
            self.send(stream.bye.to_bytes())


def bearer(token: str) -> str:
    """A token as the subprotocol in which browsers say it."""
    return "audio-avif.bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def _ping_fields(message: bytes) -> tuple[int, int, int]:
    assert message[0] == Ping.TYPE and len(message) == 25
    return (
        int.from_bytes(message[1:9], "big"),
        int.from_bytes(message[9:17], "big", signed=True),
        int.from_bytes(message[17:25], "big", signed=True),
    )


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _answer(room: Room | None, connection: ServerConnection, request: Request) -> Response | None:
    if request.headers.get("Upgrade") is not None:
        refusal = connection.respond(HTTPStatus.FORBIDDEN, "another origin\n")
        return refusal if room is not None and room.is_closed_to_strangers else None
    found = page(request.path)
    body = None if found is None or room is None else room.rewrite(request.path, found.body)
    if found is None or body is None:
        status = HTTPStatus.OK if request.path == "/health" else HTTPStatus.NOT_FOUND
        return connection.respond(status, f"{status.phrase}\n")
    headers = Headers(found.headers)
    headers["Content-Type"] = found.content_type
    headers["Content-Length"] = str(len(body))
    headers["Connection"] = "close"
    return Response(found.status, "OK", headers, body)


class Site:
    """A server's address, and the room that is there."""

    def __init__(self) -> None:
        self.room: Room | None = None
        self.server: Server = serve(
            self._listen,
            "127.0.0.1",
            0,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            process_request=lambda connection, request: _answer(self.room, connection, request),
            compression=None,
        )

    @contextmanager
    def open_room(self) -> Iterator[Room]:
        """A new room; at its end, pages are told that it is no more, and leave the next one alone."""
        self.room = Room(f"http://127.0.0.1:{self.server.socket.getsockname()[1]}")
        try:
            yield self.room
        finally:
            room, self.room = self.room, None
            room.drop(*NO_ROOM)

    def _listen(self, connection: ServerConnection) -> None:
        if self.room is None:
            connection.close(*NO_ROOM)
        else:
            self.room.listen(connection)


@contextmanager
def open_site() -> Iterator[Site]:
    """The server, on a free port of loopback."""
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        thread.join()
