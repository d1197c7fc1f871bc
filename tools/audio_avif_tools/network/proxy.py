"""A TCP relay on loopback that imitates bad networks by seeded and named scenarios."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from audio_avif_tools.network.impaired_path import Counts, ImpairedPath
from audio_avif_tools.network.proxy_link import READ_BYTES, Link, reset
from audio_avif_tools.network.scenario import Scenario

_START_S: Final = 10.0


class Proxy:
    """Relay 127.0.0.1:``port`` to a port of this machine during the ``async with`` block."""

    def __init__(self, scenario: Scenario, target_port: int) -> None:
        self.port = 0
        self._path = ImpairedPath(scenario)
        self._target_port = target_port
        self._outages = 0  # that last
        self._freezes = 0  # that last
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Proxy:
        self._loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=READ_BYTES)
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

    @property
    def scenario(self) -> Scenario:
        """The impairments of the path."""
        return self._path.scenario

    @property
    def counts(self) -> Counts:
        """What has passed so far."""
        return self._path.counts

    @property
    def began_s(self) -> float | None:
        """The event loop's time of the first connection."""
        return self._path.began_s

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

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._path.begin():
            self._start(self._follow_outages())
        if self._outages:
            self.counts.refused_connections += 1
            reset(writer)
            return
        self.counts.connections += 1
        self._start(self._hold(writer) if self.is_frozen else self._relay(reader, writer))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow_outages(self) -> None:
        for at_s, for_s in self.scenario.outages:
            await asyncio.sleep(at_s - self._path.now_s())
            await self._be_down(at_s + for_s - self._path.now_s())

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
                reset(writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            to_server = await asyncio.open_connection("127.0.0.1", self._target_port, limit=READ_BYTES)
        except OSError:
            reset(writer)
            return
        if self._outages:  # a freeze has begun since it was accepted
            self.counts.cut_connections += 1
            reset(to_server[1])
            reset(writer)
            return
        if self.is_frozen:
            await self._hold(writer, to_server[1])
        link = Link(self._path, (reader, writer), to_server)
        self._links.add(link)
        try:
            await link.run()
        finally:
            self._links.discard(link)


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
