"""One connection over an impaired path: bytes are read, wait for their time, and are written."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from audio_avif_tools.network.client_frames import ClientFrames, Piece
from audio_avif_tools.network.impaired_path import ImpairedPath
from audio_avif_tools.network.scenario import Way

READ_BYTES: Final = 65_536
"""The most that is read from a connection at once."""

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Link:
    """One relayed connection."""

    def __init__(self, path: ImpairedPath, client: Ends, server: Ends) -> None:
        self._path = path
        self._writers = (client[1], server[1])
        self._frames = ClientFrames()
        self._is_dropping = False
        self._is_frozen = False
        self._is_cut = asyncio.Event()
        up, down = _Queue(path.scenario.queue_bytes), _Queue(path.scenario.queue_bytes)
        self._tasks = [
            asyncio.ensure_future(work)
            for work in (
                self._take(client[0], up, path.way(True), self._message_pieces),
                self._take(server[0], down, path.way(False), lambda data: [Piece(data)]),
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
            reset(writer)

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
                self._is_dropping = piece.sequence is not None and self._path.loses_next()
            if not self._is_dropping:
                kept.append(piece)
        return kept

    async def _take(
        self, reader: asyncio.StreamReader, into: _Queue, way: Way, cut: Callable[[bytes], list[Piece]]
    ) -> None:
        """Read bytes as they arrive while the queue has room."""
        while True:
            data = await reader.read(READ_BYTES)
            now_s = self._path.now_s()
            for piece in cut(data):
                if piece.data:
                    await into.has_room()
                    into.put(piece, now_s, way.leaves_s(self._path.now_s(), len(piece.data)))
            if not data:
                into.put(None, now_s, now_s)
                return

    async def _give(self, queue: _Queue, writer: asyncio.StreamWriter, is_upstream: bool) -> None:
        """Write each piece at its time."""
        while True:
            piece, came_s, leaves_s = await queue.get()
            if piece is None:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            if (wait_s := leaves_s - self._path.now_s()) > 0:
                await asyncio.sleep(wait_s)
            writer.write(piece.data)
            await writer.drain()
            if is_upstream:
                self._path.passed(piece, came_s)


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


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection by a reset instead of a close, as a router that has lost its state does."""
    with suppress(OSError):
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
