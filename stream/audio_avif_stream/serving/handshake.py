"""The receiving half of the handshake, and the end of a connection whose peer breaks the rules."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from audio_avif import __version__
from audio_avif.errors import PeerRefused, RemoteProtocolError
from audio_avif.link.hello import Hello
from audio_avif.link.messages import CLOSE_PROTOCOL_ERROR, Welcome
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif_stream.serving.admission import Complaints, address_of
from audio_avif_stream.serving.connections import Connection, Line, close_reason

log = logging.getLogger(__name__)


async def receive_hello(line: Line, protocol: ReceiverProtocol, limit_s: float) -> tuple[Hello, bytes]:
    """Wait for the hello; return it parsed and as it came. Raises RemoteProtocolError for a wrong or late one."""
    try:
        async with asyncio.timeout(limit_s):
            first = await line.recv()
    except TimeoutError as error:
        raise RemoteProtocolError(f"the peer sent no hello within {limit_s:g} s (--handshake-s)") from error
    hello = protocol.receive(first)
    assert isinstance(hello, Hello) and isinstance(first, bytes)
    return hello, first


async def welcome(
    line: Line, vocoder: str, vocoder_latency_samples: int, received: int, program: str = "audio-avif"
) -> None:
    """Accept the hello: tell the sender which vocoder will speak, and the newest tile that is here already."""
    await line.send(Welcome(vocoder, vocoder_latency_samples, f"{program}/{__version__}", received).to_bytes())


@asynccontextmanager
async def refusing(line: Connection, complaints: Complaints, program: str) -> AsyncIterator[None]:
    """Serve one connection in here: a peer that is refused is told why, and so is the user of this program.

    Any other error closes this connection alone.
    """
    try:
        yield
    except ConnectionClosed:
        return
    except (RemoteProtocolError, PeerRefused) as error:
        code = error.code if isinstance(error, PeerRefused) else CLOSE_PROTOCOL_ERROR
        if code != CloseCode.GOING_AWAY:
            complaints.tell(f"close {code}", f"{address_of(line.connection)} was refused: {error}")
        await line.close(code, close_reason(error))
    except Exception as error:  # a fault of this connection is no reason to leave the others
        log.debug("a connection failed", exc_info=True)
        complaints.tell("failure", f"serving {address_of(line.connection)} failed: {error}")
        await line.close(CloseCode.INTERNAL_ERROR, f"the {program} failed")
