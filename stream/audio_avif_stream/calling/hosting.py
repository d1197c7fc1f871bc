"""``audio-avif-call --listen``: the relay of a call inside one of its ends."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import quote

from audio_avif.edge import console
from audio_avif.link.messages import DEFAULT_PORT
from audio_avif_stream.calling.rooms import DEFAULT_NAME
from audio_avif_stream.client.connection import Address
from audio_avif_stream.relay.announcement import warn_of_clear_text
from audio_avif_stream.relay.server import Relay, RelayConfig
from audio_avif_stream.serving.connections import is_local, outward_name
from audio_avif_stream.serving.security import own_context
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine

_OWN_NAMES = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class CallHost:
    """A relay that other ends of the call connect to, as this end does."""

    def __init__(self, config: RelayConfig, name: str, cert: Path | None) -> None:
        """``cert`` is the certificate of ``config.tls``."""
        self._config = config
        self._name = name
        self._cert = cert
        self._relay = Relay(config, LiveLine(False), JsonLines(None))

    async def open(self) -> Address:
        """Begin to serve, and print what to type at the other end; return this end's way to the relay.

        Raises ConnectionFailed where the port cannot be had.
        """
        listening = await self._relay.open()
        token = self._relay.room_tokens.usual.publish
        self._announce(listening, token)
        host, port = listening.getsockname()[:2]
        return Address(_OWN_NAMES.get(host, host), port, None if self._cert is None else own_context(self._cert), token)

    async def close(self) -> None:
        """Disconnect the other end."""
        await self._relay.close()

    def _announce(self, listening: socket.socket, token: str | None) -> None:
        config, port, is_tls = self._config, listening.getsockname()[1], self._config.tls is not None
        is_made = config.room_tokens.usual.publish is None
        where = "this machine" if is_local(listening) else "the other machine"
        shown = token if token is None or is_made else '"$AUDIO_AVIF_TOKEN"'
        line = call_line(config.host, port, is_tls, shown, self._name)
        link = call_link(config.host, port, is_tls, token if is_made else None, self._name)
        console.tell(f"listening; call from {where} with:\n  {line}\n  {link} in a browser")
        if not is_local(listening) and not is_tls:
            warn_of_clear_text(token is not None)


def call_line(host: str, port: int, is_tls: bool, token: str | None, name: str) -> str:
    """The command that calls a relay bound to ``host:port``; the token is as a shell takes it."""
    outward = outward_name(host)
    bracketed = f"[{outward}]" if ":" in outward else outward
    is_usual = port == DEFAULT_PORT
    if is_tls:
        where = f"wss://{bracketed}{'' if is_usual else f':{port}'}"
    else:
        where = f"{outward}{'' if is_usual else f' --port {port}'}"
    room = "" if name == DEFAULT_NAME else f" --room {name}"
    return f"audio-avif-call {where}{room}" + ("" if token is None else f" --token {token}")


def call_link(host: str, port: int, is_tls: bool, token: str | None, name: str) -> str:
    """The web page that calls it."""
    outward = outward_name(host)
    where = f"{'https' if is_tls else 'http'}://{f'[{outward}]' if ':' in outward else outward}:{port}"
    return f"{where}/call.html#room={name}" + ("" if token is None else f"&token={quote(token, safe='')}")
