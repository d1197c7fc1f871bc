"""A relay's connection to NATS: its identity there, subscriptions, requests, and messages on their way out."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from audio_avif.errors import ConnectionFailed
from audio_avif.optional import import_optional
from audio_avif_stream.runtime.tasks import cancel

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

log = logging.getLogger(__name__)

ANSWER_S = 1.0
"""How long an answer of another relay is waited for."""

_PREFIX = "audio_avif.v2"
_CONNECT_S = 5.0
_RECONNECT_S = 0.5
_MAX_OUTWARD = 1024  # messages that wait for NATS


def room_subject(name: str, kind: str) -> str:
    """A room's subject; its dots would be NATS' separators."""
    return f"{_PREFIX}.room.{name.replace('.', '%2E')}.{kind}"


def relay_subject(relay: bytes, kind: str) -> str:
    """The subject of one relay."""
    return f"{_PREFIX}.relay.{relay.hex()}.{kind}"


class NatsLink:
    """The connection to NATS; every message begins with the eight bytes of ``relay_id``, which name this relay."""

    def __init__(self, url: str) -> None:
        self.relay_id = secrets.token_bytes(8)
        self.on_reconnected: Callable[[], None] = lambda: None
        self._url = url
        self._client: Client | None = None
        self._outward: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(_MAX_OUTWARD)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._last_error = ""

    async def open(self) -> None:
        """Connect. Raises MissingPackage without nats-py, ConnectionFailed where no server answers."""
        client: Client = import_optional("nats.aio.client", "--nats", "nats").Client()
        options: dict[str, Any] = {
            "name": f"audio-avif-relay {self.relay_id.hex()}",
            "no_echo": True,
            "allow_reconnect": True,
            "max_reconnect_attempts": -1,
            "reconnect_time_wait": _RECONNECT_S,
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_closed,
        }
        self._is_closing = True  # what fails until then is told below
        try:
            async with asyncio.timeout(_CONNECT_S):
                await client.connect(self._url, **options)
        except Exception as error:  # nats-py raises many kinds, of which none matters more than another
            with suppress(Exception):
                await client.close()
            reason = self._last_error or str(error) or "it did not answer"
            raise ConnectionFailed(
                f"cannot connect to NATS ({reason}); is nats-server running there? (--nats)"
            ) from error
        self._is_closing = False
        self._client = client
        self.start(self._pump())

    async def close(self) -> None:
        """Disconnect, and end all that ``start`` started."""
        self._is_closing = True
        await cancel(list(self._tasks))
        if self._client is not None:
            with suppress(Exception):
                await self._client.close()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work that nobody waits for, until the link is closed."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def publish(self, subject: str, data: bytes) -> None:
        """Send a message soon, in order; while NATS is away it is dropped."""
        if self._outward.full():
            self._outward.get_nowait()
        self._outward.put_nowait((subject, data))

    async def _pump(self) -> None:
        assert self._client is not None
        while True:
            subject, data = await self._outward.get()
            if self._client.is_connected:
                with suppress(Exception):
                    await self._client.publish(subject, self.relay_id + data)

    async def subscribe(self, subject: str, handler: Callable[[Msg], Awaitable[None]]) -> list[Subscription]:
        """Return the subscription; none where NATS has closed for good, and this relay goes on by itself."""
        assert self._client is not None
        try:
            return [await self._client.subscribe(subject, cb=handler)]
        except Exception as error:  # as in open
            log.debug("NATS: %s: %r", subject, error)
            return []

    def unsubscribe(self, subscriptions: list[Subscription]) -> None:
        """End subscriptions, and empty the list."""
        for subscription in subscriptions:
            self.start(_end(subscription))
        subscriptions.clear()

    async def request(self, subject: str, data: bytes) -> bytes:
        """Return the first answer; nothing where nobody is there. Raises TimeoutError where a relay does not answer."""
        assert self._client is not None
        try:
            answer = await self._client.request(subject, self.relay_id + data, timeout=ANSWER_S)
        except TimeoutError:
            if self._client.is_connected:
                raise
            return b""
        except Exception as error:  # nobody there, or NATS is away: all the same
            log.debug("NATS: %s: %r", subject, error)
            return b""
        return bytes(answer.data)

    async def ask(self, subject: str) -> bytes:
        """Return the first answer; nothing where there is none in time."""
        try:
            return await self.request(subject, b"")
        except TimeoutError:
            return b""

    async def _on_error(self, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno is not None:
            self._last_error = os.strerror(error.errno)
        else:
            self._last_error = str(error) or type(error).__name__
        log.debug("NATS: %s", self._last_error)

    async def _on_disconnected(self) -> None:
        if not self._is_closing:
            log.warning("NATS connection lost; listeners on this relay hear only local publishers until it is back")

    async def _on_closed(self) -> None:
        if not self._is_closing and self._client is not None:
            log.warning("NATS rejects this relay (%s); restart the relay", self._client.last_error)

    async def _on_reconnected(self) -> None:
        log.warning("NATS is back")
        self.on_reconnected()


async def respond(msg: Msg, data: bytes) -> None:
    """Answer a request, if that is still possible."""
    with suppress(Exception):
        await msg.respond(data)


async def _end(subscription: Subscription) -> None:
    with suppress(Exception):
        await subscription.unsubscribe()
