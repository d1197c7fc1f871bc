"""A seeded crowd of peers that behave like broken and hostile programs."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus
from websockets.typing import Subprotocol

from audio_avif.codec.encoder import Encoder
from audio_avif.link.hello import Hello
from audio_avif.link.messages import SUBPROTOCOL

_PATIENCE_S: Final = 20.0
_STILL_OPEN: Final = f"still open after {_PATIENCE_S:.0f} s"


class Crowd(threading.Thread):
    """Open ``count`` connections to a receiver within ``within_s``; ``endings`` counts how each kind ended.

    ``token`` is the receiver's; some of the peers know it.
    """

    def __init__(self, port: int, token: str, count: int, within_s: float, seed: int = 0) -> None:
        super().__init__(name="crowd", daemon=True)
        self.endings: Counter[tuple[str, str]] = Counter()
        self._port = port
        self._token = token
        self._count = count
        self._within_s = within_s
        self._seed = seed

    def run(self) -> None:
        """Open all connections and wait until each has ended."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        chance = random.Random(f"crowd {self._seed}")
        kinds = list(ATTACKS)
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                at_s = self._within_s * (number + chance.random()) / self._count
                peer = _Peer(self._port, self._token, random.Random(chance.random()))
                group.create_task(self._attack(kinds[number % len(kinds)], peer, at_s))

    async def _attack(self, kind: str, peer: _Peer, at_s: float) -> None:
        await asyncio.sleep(at_s)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                ending = await ATTACKS[kind](peer)
        except TimeoutError:
            ending = _STILL_OPEN
        except ConnectionClosed as closed:
            ending = "cut" if closed.rcvd is None else f"close code {closed.rcvd.code}"
        except InvalidStatus as refused:
            ending = f"HTTP {refused.response.status_code}"
        except (OSError, EOFError, InvalidHandshake, InvalidMessage):
            ending = "cut"
        self.endings[kind, ending] += 1

    @property
    def left_open(self) -> int:
        """The number of connections that the receiver had not ended after 20 s."""
        return sum(number for (_, ending), number in self.endings.items() if ending == _STILL_OPEN)

    def summary(self) -> str:
        """The endings as one line."""
        return ", ".join(f"{kind}: {number} {ending}" for (kind, ending), number in sorted(self.endings.items()))


class _Peer:
    """One hostile connection."""

    def __init__(self, port: int, token: str, chance: random.Random) -> None:
        self.port = port
        self.token = token
        self.chance = chance

    def websocket(self, token: str | None) -> connect:
        """Open a connection with a valid sender's handshake."""
        return connect(
            f"ws://127.0.0.1:{self.port}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={} if token is None else {"Authorization": f"Bearer {token}"},
            compression=None,
            proxy=None,
            close_timeout=2,
            open_timeout=_PATIENCE_S,
        )


async def _until_closed(reader: asyncio.StreamReader) -> str:
    first = await reader.readline()
    while await reader.read(65_536):
        pass
    status = first.split(b" ")[1:2]
    return f"HTTP {status[0].decode('ascii', 'replace')}" if status else "cut"


async def _raw(peer: _Peer, parts: list[bytes], pause_s: float) -> str:
    """Send bytes without a WebSocket library and wait for the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)

    async def write() -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)

    writing = asyncio.create_task(write())
    try:
        return await _until_closed(reader)
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        writer.transport.abort()


async def _garbage(peer: _Peer) -> str:
    return await _raw(peer, [peer.chance.randbytes(peer.chance.randrange(1, 100_000))], 0)


async def _silence(peer: _Peer) -> str:
    return await _raw(peer, [], 0)


async def _slowloris(peer: _Peer) -> str:
    header = b"GET / HTTP/1.1\r\nHost: receiver\r\nX-Slow: " + b"z" * 2000
    return await _raw(peer, [header[at : at + 1] for at in range(len(header))], 0.1)


async def _wrong_token(peer: _Peer) -> str:
    async with peer.websocket(peer.chance.choice([None, "", "wrong", peer.token + "x", peer.token[:-1]])):
        return "accepted"


async def _drain(connection: ClientConnection) -> str:
    while True:
        await connection.recv()


async def _oversized(peer: _Peer) -> str:
    async with peer.websocket(peer.token) as connection:
        await connection.send(bytes(1_000_000))
        return await _drain(connection)


async def _endless(peer: _Peer) -> str:
    """Send a frame that announces 2**62 bytes, and some of them."""
    async with peer.websocket(peer.token) as connection:
        connection.transport.write(b"\x82\xff" + (2**62).to_bytes(8, "big") + peer.chance.randbytes(60_000))
        return await _drain(connection)


async def _flood(peer: _Peer) -> str:
    async with peer.websocket(peer.token) as connection:
        for _ in range(5000):
            await connection.send(b"\x05" + bytes(24))
        return await _drain(connection)


async def _nonsense(peer: _Peer) -> str:
    async with peer.websocket(peer.token) as connection:
        await connection.send(b"\x01" + peer.chance.randbytes(peer.chance.randrange(0, 2000)))
        return await _drain(connection)


async def _second_stream(peer: _Peer) -> str:
    encoder = Encoder()
    hello = Hello(encoder.mel, encoder.tile, encoder.template, peer.chance.randbytes(8).hex())
    async with peer.websocket(peer.token) as connection:
        await connection.send(hello.to_bytes())
        return await _drain(connection)


ATTACKS: Final[dict[str, Callable[[_Peer], Awaitable[str]]]] = {
    "garbage": _garbage,
    "silence": _silence,
    "slowloris": _slowloris,
    "wrong token": _wrong_token,
    "oversized message": _oversized,
    "endless frame": _endless,
    "flood": _flood,
    "nonsense hello": _nonsense,
    "second stream": _second_stream,
}
