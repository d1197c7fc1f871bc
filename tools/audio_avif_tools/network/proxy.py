"""A TCP relay on loopback that imitates bad networks by seeded and named scenarios."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from audio_avif.link.counters import extended
from audio_avif_tools.network.client_frames import ClientFrames, Piece
from audio_avif_tools.network.scenario import Scenario, Way

_READ_BYTES: Final = 65_536
_START_S: Final = 10.0


@dataclass
class Counts:
    """The counts of a proxy; messages are tiles and pauses from client to server."""

    connections: int = 0
    refused_connections: int = 0
    cut_connections: int = 0
    frozen_connections: int = 0
    passed_bytes: int = 0
    passed_messages: int = 0
    dropped_messages: int = 0
    longest_wait_ms: float = 0.0
    """The largest delay of bytes from client to server beyond the path's own delay."""
    newest_sequence: int = 0
    left_s: dict[int, float] = field(default_factory=dict)
    """The event loop's time at which each message last left for the server, by sequence number."""


class Proxy:
    """Relay 127.0.0.1:``port`` to a port of this machine during the ``async with`` block."""

    def __init__(self, scenario: Scenario, target_port: int) -> None:
        self.scenario = scenario
        self.counts = Counts()
        self.port = 0
        self.began_s: float | None = None
        """The event loop's time of the first connection."""
        self._target_port = target_port
        self._chances = {
            name: random.Random(f"{scenario.name} {scenario.seed} {name}") for name in ("up", "down", "loss")
        }
        self._is_in_burst = False
        self._outages = 0  # that last
        self._freezes = 0  # that last
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Proxy:
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_READ_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in self._links:
            link.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def now_s(self) -> float:
        """Seconds since the first connection."""
        return 0.0 if self.began_s is None else asyncio.get_running_loop().time() - self.began_s

    def interrupt(self, for_s: float) -> None:
        """Begin an outage besides those of the scenario; any thread may call this."""
        assert self._loop is not None, "only while the async with block runs"
        self._loop.call_soon_threadsafe(lambda: self._start(self._be_down(for_s)))

    def freeze(self, for_s: float) -> None:
        """Begin a freeze; any thread may call this.

        Connections that are open, or are opened meanwhile, stay open but carry nothing from then on, even after the
        freeze, as where a laptop has changed networks or a NAT has dropped them.
        """
        assert self._loop is not None, "only while the async with block runs"
        self._loop.call_soon_threadsafe(lambda: self._start(self._be_frozen(for_s)))

    @property
    def is_frozen(self) -> bool:
        """Whether the path is frozen."""
        return self._freezes > 0

    def is_lost(self) -> bool:
        """Whether the next message is lost."""
        loss = self.scenario.loss
        if loss is None:
            return False
        turns = self._chances["loss"].random() < (loss.leave if self._is_in_burst else loss.enter)
        self._is_in_burst ^= turns
        return self._is_in_burst

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.began_s is None:
            self.began_s = asyncio.get_running_loop().time()
            self._start(self._follow_outages())
        if self._outages:
            self.counts.refused_connections += 1
            _reset(writer)
            return
        self.counts.connections += 1
        self._start(self._hold(writer) if self.is_frozen else self._relay(reader, writer))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow_outages(self) -> None:
        for at_s, for_s in self.scenario.outages:
            await asyncio.sleep(at_s - self.now_s())
            await self._be_down(at_s + for_s - self.now_s())

    async def _be_down(self, for_s: float) -> None:
        self._outages += 1
        self.counts.cut_connections += len(self._links)
        for link in self._links:
            link.cut()
        await asyncio.sleep(for_s)
        self._outages -= 1

    async def _be_frozen(self, for_s: float) -> None:
        self._freezes += 1
        for link in self._links:
            self.counts.frozen_connections += link.freeze()
        await asyncio.sleep(for_s)
        self._freezes -= 1

    async def _hold(self, *writers: asyncio.StreamWriter) -> None:
        """Keep a connection open that carries nothing, until the proxy ends."""
        self.counts.frozen_connections += 1
        try:
            await asyncio.Event().wait()
        finally:
            for writer in writers:
                _reset(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_server = await asyncio.open_connection("127.0.0.1", self._target_port, limit=_READ_BYTES)
        except OSError:
            _reset(writer)
            return
        if self._outages:  # a freeze has begun since it was accepted
            self.counts.cut_connections += 1
            _reset(to_server[1])
            _reset(writer)
            return
        if self.is_frozen:
            await self._hold(writer, to_server[1])
        link = _Link(self, (reader, writer), to_server)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)

    def way(self, is_upstream: bool) -> Way:
        """One direction of a new connection."""
        return Way(self.scenario, self._chances["up" if is_upstream else "down"], is_upstream)


_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One relayed connection."""

    def __init__(self, proxy: Proxy, client: _Ends, server: _Ends) -> None:
        self._proxy = proxy
        self._writers = (client[1], server[1])
        self._frames = ClientFrames()
        self._is_dropping = False
        self._is_frozen = False
        self._is_cut = asyncio.Event()
        up, down = _Queue(proxy.scenario.queue_bytes), _Queue(proxy.scenario.queue_bytes)
        self._tasks = [
            asyncio.ensure_future(work)
            for work in (
                self._take(client[0], up, proxy.way(True), self._message_pieces),
                self._take(server[0], down, proxy.way(False), lambda data: [Piece(data)]),
                self._give(up, server[1], is_upstream=True),
                self._give(down, client[1], is_upstream=False),
            )
        ]

    async def run(self) -> None:
        """Relay until both ends have closed, or one breaks."""
        try:
            await asyncio.gather(*self._tasks)
            for writer in self._writers:
                writer.close()
        except (OSError, asyncio.CancelledError):
            if self._is_frozen:
                await self._is_cut.wait()
            self.cut()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset the connection at both ends; bytes in flight are lost."""
        self._is_cut.set()
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            _reset(writer)

    def freeze(self) -> bool:
        """Stop relaying and leave both ends open; return whether it relayed until now."""
        was_frozen, self._is_frozen = self._is_frozen, True
        for task in self._tasks:
            task.cancel()
        return not was_frozen

    def _message_pieces(self, data: bytes) -> list[Piece]:
        """Return the pieces of a client's bytes that are relayed."""
        kept = []
        for piece in self._frames.push(data) if data else [Piece(self._frames.rest())]:
            if piece.is_start:
                self._is_dropping = piece.sequence is not None and self._proxy.is_lost()
                self._proxy.counts.dropped_messages += self._is_dropping
            if not self._is_dropping:
                kept.append(piece)
        return kept

    async def _take(
        self, reader: asyncio.StreamReader, into: _Queue, way: Way, cut: Callable[[bytes], list[Piece]]
    ) -> None:
        """Read bytes as they arrive while the queue has room."""
        while True:
            data = await reader.read(_READ_BYTES)
            now_s = self._proxy.now_s()
            for piece in cut(data):
                if piece.data:
                    await into.has_room()
                    into.put(piece, now_s, way.leaves_s(self._proxy.now_s(), len(piece.data)))
            if not data:
                into.put(None, now_s, now_s)
                return

    async def _give(self, queue: _Queue, writer: asyncio.StreamWriter, is_upstream: bool) -> None:
        """Write each piece at its time."""
        proxy, counts = self._proxy, self._proxy.counts
        while True:
            piece, came_s, leaves_s = await queue.get()
            if piece is None:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            if (wait_s := leaves_s - proxy.now_s()) > 0:
                await asyncio.sleep(wait_s)
            writer.write(piece.data)
            await writer.drain()
            if not is_upstream:
                continue
            counts.passed_bytes += len(piece.data)
            counts.longest_wait_ms = max(
                counts.longest_wait_ms, 1e3 * (proxy.now_s() - came_s) - proxy.scenario.delay_ms
            )
            if piece.sequence is not None:
                counts.passed_messages += 1
                counts.newest_sequence = extended(piece.sequence, counts.newest_sequence)
                counts.left_s[counts.newest_sequence] = asyncio.get_running_loop().time()


class _Queue:
    """The pieces in flight with their times of arrival and departure, limited in bytes."""

    def __init__(self, capacity_bytes: int) -> None:
        self._items: deque[tuple[Piece | None, float, float]] = deque()
        self._capacity_bytes = capacity_bytes
        self._queued_bytes = 0
        self._changed = asyncio.Event()

    async def has_room(self) -> None:
        """Wait until the queue is not full."""
        await self._until(lambda: self._queued_bytes < self._capacity_bytes)

    def put(self, piece: Piece | None, came_s: float, leaves_s: float) -> None:
        """Add a piece, or the end of the stream."""
        self._items.append((piece, came_s, leaves_s))
        self._queued_bytes += 0 if piece is None else len(piece.data)
        self._changed.set()

    async def get(self) -> tuple[Piece | None, float, float]:
        """Wait for the next piece."""
        await self._until(lambda: bool(self._items))
        item = self._items.popleft()
        self._queued_bytes -= 0 if item[0] is None else len(item[0].data)
        self._changed.set()
        return item

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by a reset instead of a close, as a router that has lost its state does."""
    with suppress(OSError):
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def relaying(scenario: Scenario, target_port: int) -> Iterator[Proxy]:
    """A proxy with an event loop in a thread of its own; its times are those of ``time.monotonic``."""
    proxy = Proxy(scenario, target_port)
    loop = asyncio.new_event_loop()
    over = asyncio.Event()
    is_up = threading.Event()

    async def relay() -> None:
        async with proxy:
            is_up.set()
            await over.wait()

    def work() -> None:
        try:
            loop.run_until_complete(relay())
        finally:
            loop.close()
            is_up.set()

    thread = threading.Thread(target=work, name="proxy", daemon=True)
    thread.start()
    is_up.wait(_START_S)
    if not proxy.port:
        raise RuntimeError("the proxy did not start")
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(_START_S)
