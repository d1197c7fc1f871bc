"""The receiver as a server: it accepts connections and gives each to the session that it belongs to."""

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
from websockets.frames import CloseCode
from websockets.typing import Subprotocol

from audio_avif.edge import console
from audio_avif.errors import AudioAvifError, ConnectionFailed, DeviceError, FileError, PeerRefused
from audio_avif.link.hello import Hello
from audio_avif.link.messages import CLOSE_BUSY, CLOSE_UNSUPPORTED, DEFAULT_PORT, SUBPROTOCOL
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif.link.takeover import Verdict
from audio_avif_stream.receiving.session import Session
from audio_avif_stream.receiving.stage import Stage
from audio_avif_stream.runtime.interrupts import on_interrupt
from audio_avif_stream.runtime.readiness import notify_ready
from audio_avif_stream.serving.admission import CLOSE_S, Admission
from audio_avif_stream.serving.connections import (
    PENDING_CONNECTIONS,
    WRITE_LIMIT_BYTES,
    Connection,
    bind_failure,
    is_local,
    outward_name,
)
from audio_avif_stream.serving.handshake import receive_hello, refusing
from audio_avif_stream.serving.security import kept_token, new_token

if TYPE_CHECKING:
    from audio_avif_stream.receiving.web_view import WebView

log = logging.getLogger(__name__)

_HURRY_S = 1.0  # how long after Ctrl-C each step towards the end may take


@dataclass(frozen=True)
class BindAddress:
    """Where a receiver listens, and the token and TLS that senders need.

    Without a token one is made where other machines can connect, unless ``is_open``, and kept in ``token_file``.
    """

    host: str
    port: int
    token: str | None = field(default=None, repr=False)
    is_open: bool = False
    tls: ssl.SSLContext | None = None
    token_file: Path | None = None


class Receiver:
    """Plays one stream at a time; connections of other streams are refused meanwhile."""

    def __init__(self, stage: Stage, is_once: bool = False, earlier_streams: int = 0) -> None:
        self.stage = stage
        self.finished = asyncio.Event()
        self.error: AudioAvifError | None = None
        self.is_once = is_once
        """Whether the receiver is finished when a stream is over."""
        self._is_closing = False
        self._streams = earlier_streams
        self._current: Session | None = None
        self._newest: Session | None = None
        self._playing: set[asyncio.Task[None]] = set()

    @property
    def is_playing(self) -> bool:
        """Whether there is a stream now."""
        return self._current is not None

    def figures(self) -> dict[str, Any] | None:
        """Return the figures of the stream that plays, or of the last one; any thread may call this."""
        return None if self._newest is None else self._newest.figures

    async def handle(self, admission: Admission, connection: ServerConnection) -> None:
        """Serve one connection to its end."""
        line = Connection(connection, self.stage.limits)
        async with refusing(line, self.stage.complaints, "receiver"):
            protocol = ReceiverProtocol()
            hello, first = await receive_hello(line, protocol, self.stage.limits.handshake_s)
            session = self.session_for(hello)
            admission.admit(line.connection)
            await session.carry(line, first, protocol)

    def session_for(self, hello: Hello) -> Session:
        """Return the session that this hello resumes, or a new one. Raises PeerRefused or RemoteProtocolError."""
        for session in (self._current, self._newest):
            if session is not None and session.judge(hello) is Verdict.RESUME:
                return session
        if self._is_closing:
            raise PeerRefused(CloseCode.GOING_AWAY, "the receiver was closed")
        vocoder, before = self.stage.vocoder, self._current
        if hello.mel != vocoder.mel:
            reason = f"the stream's mel is {hello.mel}; vocoder {vocoder.name} here needs {vocoder.mel}"
            raise PeerRefused(CLOSE_UNSUPPORTED, reason)
        if before is not None and before.judge(hello) is not Verdict.BEGIN:
            raise PeerRefused(CLOSE_BUSY, "another stream is playing here; try again when it is over")
        self._streams += 1
        session = self._current = self._newest = Session(hello, self.stage, self._streams)
        if before is not None:
            log.warning("another sender has started a stream; the earlier stream has ended")
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
            self._is_closing = self._is_closing or self.is_once
        await session.part()
        error = session.error
        if isinstance(error, FileError | DeviceError) or (error is not None and self.is_once):
            self.error = error if isinstance(error, AudioAvifError) else AudioAvifError(f"the receiver failed: {error}")
            self.finished.set()
        elif error is not None:
            log.warning("a stream could not be played: %s", error)
        if is_current and self.is_once:
            self.finished.set()

    async def close(self) -> None:
        """Refuse new streams, and play what has come of the current one, unless that takes long."""
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


async def listen(receiver: Receiver, address: BindAddress, web_view: WebView | None = None) -> None:
    """Accept streams until interrupted, or until the first is over where the receiver plays but one.

    A ``web_view`` shows them to browsers. Raises ConnectionFailed where it cannot listen, and what made playing fail.
    """
    on_interrupt(receiver.finished.set)
    stage = receiver.stage
    try:
        admission = Admission(stage.limits, address.token, stage.complaints)
        listening = admission.listening_socket(address.host, address.port)
        if admission.token is None and not address.is_open and not is_local(listening):
            admission.token = new_token() if address.token_file is None else kept_token(address.token_file)
        server = await serve(
            functools.partial(receiver.handle, admission),
            sock=listening,
            ssl=address.tls,
            create_connection=admission.connection,  # type: ignore[arg-type]  # a factory serves
            process_request=admission.check,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            origins=[None],  # a page in a browser names its origin; programs do not
            compression=None,
            max_size=stage.limits.message_bytes,
            write_limit=WRITE_LIMIT_BYTES,
            open_timeout=stage.limits.handshake_s + 1,  # the admission closes slow connections before, with a warning
            ping_timeout=None,  # a file that is held back does not let pongs through; the session looks after itself
            close_timeout=CLOSE_S,
            backlog=PENDING_CONNECTIONS,
        )
    except OSError as error:
        raise ConnectionFailed(bind_failure(error, address.host, address.port)) from error
    async with server:
        _announce(address, admission.token, listening)
        if web_view is not None:
            await web_view.open(address.host, admission.token, address.token is None, address.tls)
        notify_ready()
        await receiver.finished.wait()
        admission.close()
        await receiver.close()
        if web_view is not None:
            await web_view.close()
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
            "the connection is not encrypted%s; use --tls-cert and --tls-key on networks you do not trust",
            "" if token is None else ", and neither is the token",
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
