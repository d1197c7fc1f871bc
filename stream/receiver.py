"""Listens: which session a connection belongs to, and what becomes of one that does what it must not."""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import logging
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from audio_avif import console
from audio_avif.errors import AudioAvifError, ConnectionFailed, DeviceError, FileError, RemoteProtocolError
from audio_avif.stream.admission import CLOSE_S, Entrance, address_of
from audio_avif.stream.interrupts import on_interrupt
from audio_avif.stream.security import Limits, kept_token, new_token
from audio_avif.stream.session import Refusal, Session, Stage
from audio_avif.wire import (
    CLOSE_BUSY,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_TOO_MANY_MESSAGES,
    CLOSE_UNSUPPORTED,
    DEFAULT_PORT,
    SUBPROTOCOL,
    Hello,
    ReceiverProtocol,
)

log = logging.getLogger(__name__)

_HURRY_S = 1.0  # how long after Ctrl-C each step towards the end may take
_WRITE_LIMIT_BYTES = 4096
_PENDING_CONNECTIONS = 128
_FAULTS = (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA, CloseCode.MESSAGE_TOO_BIG, CLOSE_TOO_MANY_MESSAGES)


@dataclass(frozen=True)
class Address:
    """Where a receiver listens, the token and the TLS it is met with.

    Without a token one is made where other machines can connect, unless ``is_open``, and kept in ``token_file``.
    """

    host: str
    port: int
    token: str | None = field(default=None, repr=False)
    is_open: bool = False
    tls: ssl.SSLContext | None = None
    token_file: Path | None = None


class Receiver:
    """Plays one stream at a time: the connections of its session carry it, others are refused while it lasts."""

    def __init__(self, stage: Stage, is_once: bool = False, earlier_streams: int = 0) -> None:
        self.stage = stage
        self.finished = asyncio.Event()
        self.error: AudioAvifError | None = None
        self._is_once = is_once
        self._streams = earlier_streams
        self._current: Session | None = None
        self._newest: Session | None = None
        self._playing: set[asyncio.Task[None]] = set()

    def figures(self) -> dict[str, Any] | None:
        """Those of the stream that plays, or of the last one; any thread may ask."""
        return None if self._newest is None else self._newest.figures

    async def handle(self, entrance: Entrance, connection: ServerConnection) -> None:
        """Serve one connection to its end."""
        line = _Connection(connection, self.stage.limits)
        try:
            await self._attend(line, entrance)
        except ConnectionClosed:
            return
        except (RemoteProtocolError, Refusal) as error:
            code = error.code if isinstance(error, Refusal) else CLOSE_PROTOCOL_ERROR
            self.stage.complaints.tell(f"close {code}", f"{address_of(connection)} was refused: {error}")
            await line.close(code, _close_reason(error))
        except Exception as error:  # a fault of this connection is no reason to stop listening to others
            log.debug("a connection failed", exc_info=True)
            self.stage.complaints.tell("failure", f"serving {address_of(connection)} failed: {error}")
            await line.close(CloseCode.INTERNAL_ERROR, "the receiver failed")

    async def _attend(self, line: _Connection, entrance: Entrance) -> None:
        limit_s = self.stage.limits.handshake_s
        protocol = ReceiverProtocol()
        try:
            async with asyncio.timeout(limit_s):
                first = await line.recv()
        except TimeoutError as error:
            raise RemoteProtocolError(f"the peer did not say hello within {limit_s:g} s (--handshake-s)") from error
        hello = protocol.receive(first)
        assert isinstance(hello, Hello) and isinstance(first, bytes)
        session = self.session_for(hello)
        entrance.admit(line.connection)
        await session.carry(line, first, protocol)

    def session_for(self, hello: Hello) -> Session:
        """The session that this hello goes on with, or a new one. Raises Refusal or RemoteProtocolError."""
        for session in (self._current, self._newest):
            if session is not None and session.can_resume(hello):
                return session
        vocoder, before = self.stage.vocoder, self._current
        if hello.mel != vocoder.mel:
            reason = f"the stream's mel is {hello.mel}; vocoder {vocoder.name} here needs {vocoder.mel}"
            raise Refusal(CLOSE_UNSUPPORTED, reason)
        if before is not None and not before.is_deserted(time.monotonic()):
            raise Refusal(CLOSE_BUSY, "another stream is playing here; try again when it is over")
        self._streams += 1
        session = self._current = self._newest = Session(hello, self.stage, self._streams)
        if before is not None:
            log.warning("another sender begins; the stream of the one before is over")
            before.make_way()
        task = asyncio.create_task(self._play(session, before))
        self._playing.add(task)
        task.add_done_callback(self._playing.discard)
        return session

    async def _play(self, session: Session, before: Session | None) -> None:
        await session.run(before)
        is_current = self._current is session
        if is_current:
            self._current = None
        await session.part()
        error = session.error
        if isinstance(error, FileError | DeviceError) or (error is not None and self._is_once):
            self.error = error if isinstance(error, AudioAvifError) else AudioAvifError(f"the receiver failed: {error}")
            self.finished.set()
        elif error is not None:
            log.warning("a stream could not be played: %s", error)
        if is_current and self._is_once:
            self.finished.set()

    async def close(self) -> None:
        """Stop listening to the stream that plays, if any, and play what has come of it, unless that takes long."""
        session = self._current
        if session is None:
            return
        session.leave()
        for more_urgent in (session.hurry, session.abandon):
            with suppress(TimeoutError):
                await asyncio.wait_for(session.is_over.wait(), _HURRY_S)
                return
            more_urgent()


class _Connection:
    """A WebSocket connection as a session's line."""

    def __init__(self, connection: ServerConnection, limits: Limits) -> None:
        self.connection = connection
        self._limits = limits

    @property
    def is_backed_up(self) -> bool:
        """Whether so much waits to be sent that one more message might have to wait for it."""
        return self.connection.transport.get_write_buffer_size() > _WRITE_LIMIT_BYTES // 4

    async def recv(self) -> bytes | str:
        """The next message. Raises ConnectionClosed after the last, Refusal for what websockets itself refuses."""
        with self._telling_faults():
            return await self.connection.recv()

    async def send(self, message: bytes) -> None:
        """Raises as ``recv``, where nobody listens any more."""
        with self._telling_faults():
            await self.connection.send(message)

    @contextmanager
    def _telling_faults(self) -> Iterator[None]:
        try:
            yield
        except ConnectionClosed as closed:
            if closed.sent is None or closed.rcvd_then_sent or closed.sent.code not in _FAULTS:
                raise
            reason = f"it broke the WebSocket protocol ({closed.sent.reason or closed.sent.code})"
            if closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                reason = f"it sent a message of more than {self._limits.message_bytes} bytes (--max-message-bytes)"
            elif closed.sent.code == CLOSE_TOO_MANY_MESSAGES:
                reason = closed.sent.reason
            raise Refusal(closed.sent.code, reason) from closed

    async def close(self, code: int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """End it; a peer that does not answer is cut off."""
        await self.connection.close(code, reason)


def _close_reason(error: Exception) -> str:
    """A WebSocket close reason holds 123 bytes (RFC 6455, 5.5)."""
    return str(error).encode()[:123].decode(errors="ignore")


async def listen(receiver: Receiver, address: Address) -> None:
    """Accept streams until interrupted, or until the first is over where the receiver plays but one.

    Raises ConnectionFailed where the port cannot be had, and what made playing fail.
    """
    on_interrupt(receiver.finished.set)
    stage = receiver.stage
    try:
        entrance = Entrance(stage.limits, address.token, stage.complaints)
        listening = entrance.listening_socket(address.host, address.port)
        if entrance.token is None and not address.is_open and not _is_local(listening):
            entrance.token = new_token() if address.token_file is None else kept_token(address.token_file)
        server = await serve(
            functools.partial(receiver.handle, entrance),
            sock=listening,
            ssl=address.tls,
            create_connection=entrance.connection,  # type: ignore[arg-type]  # a factory serves
            process_request=entrance.check,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            origins=[None],  # a page in a browser names its origin; programs do not
            compression=None,
            max_size=stage.limits.message_bytes,
            write_limit=_WRITE_LIMIT_BYTES,
            open_timeout=stage.limits.handshake_s + 1,  # the entrance comes first, and tells
            ping_timeout=None,  # a file that is held back does not let pongs through; the session looks after itself
            close_timeout=CLOSE_S,
            backlog=_PENDING_CONNECTIONS,
        )
    except OSError as error:
        raise ConnectionFailed(_bind_failure(error, address.host, address.port)) from error
    async with server:
        _announce(address, entrance.token, listening)
        await receiver.finished.wait()
        entrance.close()
        await receiver.close()
    stage.complaints.close()
    if receiver.error is not None:
        raise receiver.error


def _announce(address: Address, token: str | None, listening: socket.socket) -> None:
    """Print what to type at the other end."""
    is_local = _is_local(listening)
    where = "from this machine (--host 0.0.0.0 lets others in)" if is_local else "from the other machine"
    shown = None if token is None else token if address.token is None else '"$AUDIO_AVIF_TOKEN"'
    line = send_line(address.host, listening.getsockname()[1], address.tls is not None, shown)
    console.tell(f"listening; send {where} with:\n  {line}")
    if not is_local and address.tls is None:
        log.warning(
            "what is said travels in clear%s; use --tls-cert and --tls-key on networks you do not trust",
            "" if token is None else ", and so does the token",
        )


def _is_local(listening: socket.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0]).is_loopback


def _bind_failure(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; stop the program that holds it or choose another with --port"
    return f"cannot listen on {host}:{port} ({error.strerror or error}); --host must be an address of this machine"


def send_line(host: str, port: int, is_tls: bool = False, token: str | None = None) -> str:
    """The command that reaches a receiver bound to ``host:port``; the token is as a shell takes it."""
    outward = {"0.0.0.0": (socket.AF_INET, "192.0.2.1"), "::": (socket.AF_INET6, "2001:db8::1")}
    name = _own_address(*outward[host]) if host in outward else host
    token_option = "" if token is None else f" --token {token}"
    is_usual = port == DEFAULT_PORT
    if is_tls:
        bracketed = f"[{name}]" if ":" in name else name
        return f"audio-avif-send --host wss://{bracketed}{'' if is_usual else f':{port}'}{token_option}"
    return f"audio-avif-send --host {name}{'' if is_usual else f' --port {port}'}{token_option}"


def _own_address(family: socket.AddressFamily, elsewhere: str) -> str:
    """The address of the interface that leads outward; connecting a datagram socket sends nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((elsewhere, 9))
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
