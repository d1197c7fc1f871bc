"""Listens: which session a connection belongs to, and what becomes of one that does what it must not."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from audio_avif.edge import console
from audio_avif.errors import AudioAvifError, ConnectionFailed, DeviceError, FileError, Refusal, RemoteProtocolError
from audio_avif.link.messages import (
    CLOSE_BUSY,
    CLOSE_PROTOCOL_ERROR,
    CLOSE_UNSUPPORTED,
    DEFAULT_PORT,
    SUBPROTOCOL,
    Hello,
)
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif_stream.receiving.session import Session, Stage
from audio_avif_stream.runtime.interrupts import on_interrupt
from audio_avif_stream.serving.admission import CLOSE_S, Entrance, address_of
from audio_avif_stream.serving.connections import (
    PENDING_CONNECTIONS,
    WRITE_LIMIT_BYTES,
    Connection,
    bind_failure,
    close_reason,
    is_local,
    outward_name,
)
from audio_avif_stream.serving.security import kept_token, new_token

if TYPE_CHECKING:
    from audio_avif_stream.receiving.web_view import Window

log = logging.getLogger(__name__)

_HURRY_S = 1.0  # how long after Ctrl-C each step towards the end may take


@dataclass(frozen=True)
class BindAddress:
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
        self._is_closing = False
        self._streams = earlier_streams
        self._current: Session | None = None
        self._newest: Session | None = None
        self._playing: set[asyncio.Task[None]] = set()

    def figures(self) -> dict[str, Any] | None:
        """Those of the stream that plays, or of the last one; any thread may ask."""
        return None if self._newest is None else self._newest.figures

    async def handle(self, entrance: Entrance, connection: ServerConnection) -> None:
        """Serve one connection to its end."""
        line = Connection(connection, self.stage.limits)
        try:
            await self._attend(line, entrance)
        except ConnectionClosed:
            return
        except (RemoteProtocolError, Refusal) as error:
            code = error.code if isinstance(error, Refusal) else CLOSE_PROTOCOL_ERROR
            if code != CloseCode.GOING_AWAY:
                self.stage.complaints.tell(f"close {code}", f"{address_of(connection)} was refused: {error}")
            await line.close(code, close_reason(error))
        except Exception as error:  # a fault of this connection is no reason to stop listening to others
            log.debug("a connection failed", exc_info=True)
            self.stage.complaints.tell("failure", f"serving {address_of(connection)} failed: {error}")
            await line.close(CloseCode.INTERNAL_ERROR, "the receiver failed")

    async def _attend(self, line: Connection, entrance: Entrance) -> None:
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
        if self._is_closing:
            raise Refusal(CloseCode.GOING_AWAY, "the receiver was closed")
        vocoder, before = self.stage.vocoder, self._current
        if hello.mel != vocoder.mel:
            reason = f"the stream's mel is {hello.mel}; vocoder {vocoder.name} here needs {vocoder.mel}"
            raise Refusal(CLOSE_UNSUPPORTED, reason)
        if before is not None and not before.is_deserted:
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
            self._is_closing = self._is_closing or self._is_once
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
        """Let nobody in any more; play what has come of the stream that plays, if any, unless that takes long."""
        self._is_closing = True
        session = self._current
        if session is None:
            return
        session.leave()
        for more_urgent in (session.hurry, session.abandon):
            with suppress(TimeoutError):
                await asyncio.wait_for(session.is_over.wait(), _HURRY_S)
                return
            more_urgent()


async def listen(receiver: Receiver, address: BindAddress, window: Window | None = None) -> None:
    """Accept streams until interrupted, or until the first is over where the receiver plays but one.

    A ``window`` shows them to browsers. Raises ConnectionFailed where a port cannot be had, and what made playing fail.
    """
    on_interrupt(receiver.finished.set)
    stage = receiver.stage
    try:
        entrance = Entrance(stage.limits, address.token, stage.complaints)
        listening = entrance.listening_socket(address.host, address.port)
        if entrance.token is None and not address.is_open and not is_local(listening):
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
            write_limit=WRITE_LIMIT_BYTES,
            open_timeout=stage.limits.handshake_s + 1,  # the entrance comes first, and tells
            ping_timeout=None,  # a file that is held back does not let pongs through; the session looks after itself
            close_timeout=CLOSE_S,
            backlog=PENDING_CONNECTIONS,
        )
    except OSError as error:
        raise ConnectionFailed(bind_failure(error, address.host, address.port)) from error
    async with server:
        _announce(address, entrance.token, listening)
        if window is not None:
            await window.open(address.host, entrance.token, address.token is None, address.tls)
        await receiver.finished.wait()
        entrance.close()
        await receiver.close()
        if window is not None:
            await window.close()
    stage.complaints.close()
    if receiver.error is not None:
        raise receiver.error


def _announce(address: BindAddress, token: str | None, listening: socket.socket) -> None:
    """Print what to type at the other end."""
    is_own = is_local(listening)
    where = "from this machine (--host 0.0.0.0 lets others in)" if is_own else "from the other machine"
    shown = None if token is None else token if address.token is None else '"$AUDIO_AVIF_TOKEN"'
    line = send_line(address.host, listening.getsockname()[1], address.tls is not None, shown)
    console.tell(f"listening; send {where} with:\n  {line}")
    if not is_own and address.tls is None:
        log.warning(
            "what is said travels in clear%s; use --tls-cert and --tls-key on networks you do not trust",
            "" if token is None else ", and so does the token",
        )


def send_line(host: str, port: int, is_tls: bool = False, token: str | None = None) -> str:
    """The command that reaches a receiver bound to ``host:port``; the token is as a shell takes it."""
    name = outward_name(host)
    token_option = "" if token is None else f" --token {token}"
    is_usual = port == DEFAULT_PORT
    if is_tls:
        bracketed = f"[{name}]" if ":" in name else name
        return f"audio-avif-send --host wss://{bracketed}{'' if is_usual else f':{port}'}{token_option}"
    return f"audio-avif-send --host {name}{'' if is_usual else f' --port {port}'}{token_option}"
