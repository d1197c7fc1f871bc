"""``audio-avif-recv --web``: a small relay inside the receiver shows the stream that plays to browsers."""

from __future__ import annotations

import secrets
import ssl
from urllib.parse import quote

from audio_avif.edge import console
from audio_avif.errors import RemoteProtocolError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import Bye, Gap
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif.link.rooms import Publication
from audio_avif_stream.receiving.stream_recording import Recorder
from audio_avif_stream.relay.publishers import public_hello
from audio_avif_stream.relay.room_tokens import RoomTokens, Tokens
from audio_avif_stream.relay.server import Relay, RelayConfig
from audio_avif_stream.serving.connections import outward_name
from audio_avif_stream.serving.security import Limits
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine

_ROOM = "live"
_MAX_LISTENERS = 50


class WebView:
    """A session's recorder that also publishes the messages of the stream to web pages.

    Only live streams are shown. Nobody else can publish there: the token to publish is random and never shown.
    """

    def __init__(self, recorder: Recorder, port: int, resume_s: float) -> None:
        self._recorder = recorder
        self._port = port
        self._resume_s = resume_s
        self._relay: Relay | None = None
        self._protocol = ReceiverProtocol()
        self._publication: Publication | None = None

    async def open(self, host: str, token: str | None, is_told: bool, tls: ssl.SSLContext | None) -> None:
        """Serve the web page to those who have the token, and print its address, with the token where it ``is_told``.

        Raises ConnectionFailed where the port cannot be had.
        """
        keys = Tokens(secrets.token_urlsafe(), token)
        config = RelayConfig(
            host,
            self._port,
            port_option="--web",
            tls=tls,
            room_tokens=RoomTokens(rooms={_ROOM: keys}),
            limits=Limits(connections=64),
            max_listeners=_MAX_LISTENERS,
            resume_s=self._resume_s,
        )
        relay = Relay(config, LiveLine(False), JsonLines(None))
        port = (await relay.open()).getsockname()[1]
        self._relay = relay
        name = outward_name(host)
        where = f"{'http' if tls is None else 'https'}://{f'[{name}]' if ':' in name else name}:{port}"
        shown = f"&token={quote(token)}" if token is not None and is_told else ""
        console.tell(f"(watch and hear it in a browser: {where}/#room={_ROOM}{shown})")

    async def close(self) -> None:
        """Disconnect the browsers."""
        if self._relay is not None:
            await self._relay.close()

    def opened(self, now_s: float) -> None:
        """A connection begins to carry the stream."""
        self._recorder.opened(now_s)
        self._protocol = ReceiverProtocol()

    def message(self, data: bytes, now_s: float) -> None:
        """Publish a message as it came; the session ends a stream that breaks the protocol."""
        self._recorder.message(data, now_s)
        if self._relay is None:
            return
        try:
            message = self._protocol.receive(data)
            if isinstance(message, Hello):
                self._begin(self._relay, message)
        except RemoteProtocolError:
            return
        if self._publication is not None and not isinstance(message, Hello | Gap):
            self._publication.take(message, data, self._relay.now_s())
            if isinstance(message, Bye):
                self._leave()

    def closed(self, now_s: float) -> None:
        """The connection has ended."""
        self._recorder.closed(now_s)
        self._leave()

    def _begin(self, relay: Relay, hello: Hello) -> None:
        self._leave()
        now_s = relay.now_s()
        room = relay.rooms.enter(_ROOM, now_s)
        if hello.live and room is not None:
            public = public_hello(hello)
            self._publication = room.begin(public, public.to_bytes(), now_s, lambda code, reason: None)

    def _leave(self) -> None:
        if self._publication is not None and self._relay is not None:
            self._publication.leave(self._relay.now_s())
            self._publication = None
