"""Connections to a receiver or a relay: addresses, and one sentence for each way in which connecting can fail."""

from __future__ import annotations

import os
import socket
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

from audio_avif.errors import ConnectionFailed, RefusedForGood
from audio_avif.link.messages import DEFAULT_PORT, MAX_MESSAGE_BYTES, SUBPROTOCOL
from audio_avif_stream.serving.security import explain_tls_failure

CONNECT_S = 10.0


@dataclass(frozen=True)
class Address:
    """Where a receiver or a relay listens, and what it asks of those who come.

    ``host`` is a name or an address, ``tls`` what verifies who listens there, or None for a connection in clear,
    ``path`` what is wanted of a relay: ``/publish/ROOM`` or ``/listen/ROOM``.
    """

    host: str
    port: int = DEFAULT_PORT
    tls: ssl.SSLContext | None = None
    token: str | None = field(default=None, repr=False)
    path: str = ""
    server: str = ""
    """What may listen there, in place of a receiver, or of a relay where there is a path."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL for the WebSocket client."""
        return f"{'ws' if self.tls is None else 'wss'}://{self}{self.path}"

    @property
    def program(self) -> str:
        """The program that should listen there."""
        return self.server or ("audio-avif-relay" if self.path else "audio-avif-recv")


@dataclass(frozen=True)
class Host:
    """The value of ``--host``: a host, whether to connect by TLS, and the port if it is given."""

    name: str
    is_secure: bool = False
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> Host:
        """Take a name, an address, or ``ws://`` or ``wss://`` before one of them. Raises ValueError with a sentence."""
        if "://" not in text:
            return cls(text)
        wrong = f"{text!r} is not a receiver's address; give NAME, ws://NAME or wss://NAME, each with or without :PORT"
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError:
            raise ValueError(wrong) from None
        extras = parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password
        if parts.scheme not in ("ws", "wss") or not host or extras:
            raise ValueError(wrong)
        return cls(host, parts.scheme == "wss", port)


async def connect(address: Address, within_s: float = CONNECT_S) -> ClientConnection:
    """Open a connection.

    Raises ConnectionFailed with one sentence for each way in which this can fail, and RefusedForGood where another
    attempt would fail alike.
    """
    if address.host.count(":") == 1:
        raise RefusedForGood(f"{address.host!r} is not a host; give the port with --port")
    headers = {} if address.token is None else {"Authorization": f"Bearer {address.token}"}
    try:
        connection = await connect_websocket(
            address.url,
            ssl=address.tls,
            additional_headers=headers,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=MAX_MESSAGE_BYTES,
            write_limit=4096,
            open_timeout=within_s,
            close_timeout=2,
            ping_interval=None,  # the callers watch the path themselves
            proxy=None,
        )
    except TimeoutError as error:
        raise ConnectionFailed(
            f"{address} does not answer; check the host, and that no firewall blocks the port"
        ) from error
    except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError) as error:
        if address.tls is None:
            raise ConnectionFailed(f"{address} closed the connection; is {address.program} running there?") from error
        kind = RefusedForGood if isinstance(error, ssl.SSLCertVerificationError) else ConnectionFailed
        raise kind(explain_tls_failure(error, str(address), address.program)) from error
    except (InvalidURI, ValueError) as error:
        raise RefusedForGood(f"{address} is not an address; --host takes a name or an IP address") from error
    except InvalidMessage as error:
        or_tls = f" (for TLS give wss://{address})" if address.tls is None else ""
        raise ConnectionFailed(f"{address} is not a WebSocket server; check the port{or_tls}") from error
    except InvalidStatus as error:
        raise _refusal(address, error) from error
    except InvalidHandshake as error:
        raise ConnectionFailed(_is_no_receiver(address, str(error))) from error
    except OSError as error:
        if isinstance(error, socket.gaierror):
            raise ConnectionFailed(f"there is no host {address.host!r}; check the name") from error
        reason = os.strerror(error.errno) if error.errno else "it cannot be reached"
        raise ConnectionFailed(
            f"cannot connect to {address} ({reason}); is {address.program} running there?"
        ) from error
    if connection.subprotocol != SUBPROTOCOL:
        await connection.close()
        raise ConnectionFailed(_is_no_receiver(address, f"no {SUBPROTOCOL}"))
    return connection


def _refusal(address: Address, answer: InvalidStatus) -> ConnectionFailed:
    """The error for an answer of HTTP in place of a WebSocket."""
    match answer.response.status_code:
        case 401:
            verb = "requires a token" if address.token is None else "rejects this token"
            return RefusedForGood(f"{address} {verb}; give with --token the one that {address.program} prints there")
        case 404 if not address.path:
            return RefusedForGood(f"{address} is a relay; give a room with --room")
        case 404:
            return ConnectionFailed(f"{address} has no rooms; is {address.program} running there?")
        case 400:
            return ConnectionFailed(_is_no_receiver(address, f"it does not speak {SUBPROTOCOL}"))
        case _:
            return ConnectionFailed(_is_no_receiver(address, str(answer)))


def _is_no_receiver(address: Address, why: str) -> str:
    kind = "relay" if address.path else "receiver"
    return f"{address} is not an audio-avif {kind} of this version ({why})"
