"""The receiving half of the handshake, over lines that a test feeds."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request

from audio_avif.errors import PeerRefused, RemoteProtocolError
from audio_avif.link.messages import CLOSE_BUSY, CLOSE_PROTOCOL_ERROR, Bye, Welcome
from audio_avif.link.protocol import ReceiverProtocol
from audio_avif_stream.serving.admission import Admission, Complaints
from audio_avif_stream.serving.handshake import receive_hello, refusing, welcome
from audio_avif_stream.serving.security import Limits
from support.stage import hello_of


class FedLine:
    """A line that gives what it was fed, and remembers what it was told."""

    is_backed_up = False
    connection = SimpleNamespace(remote_address=("192.0.2.7", 1))

    def __init__(self, *messages: bytes) -> None:
        self.messages = list(messages)
        self.sent: list[bytes] = []
        self.closed: tuple[int, str] | None = None

    async def recv(self) -> bytes:
        if not self.messages:
            await asyncio.Event().wait()
        return self.messages.pop(0)

    async def send(self, message: bytes) -> None:
        self.sent.append(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = code, reason


def test_a_hello_is_taken_and_welcomed() -> None:
    hello = hello_of(8)
    line = FedLine(hello.to_bytes())

    async def meet() -> None:
        assert await receive_hello(line, ReceiverProtocol(), 60.0) == (hello, hello.to_bytes())
        await welcome(line, "embedded", 768, 41, "audio-avif-relay")

    asyncio.run(meet())
    answer = Welcome.parse(line.sent[0])
    assert (answer.vocoder, answer.vocoder_latency_samples, answer.received) == ("embedded", 768, 41)
    assert answer.agent.startswith("audio-avif-relay/")


@pytest.mark.parametrize(
    ("messages", "reason"),
    [([], r"sent no hello within 0 s \(--handshake-s\)"), ([Bye(0, 0).to_bytes()], "first message is not a hello")],
)
def test_a_late_or_wrong_hello_breaks_the_protocol(messages: list[bytes], reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        asyncio.run(receive_hello(FedLine(*messages), ReceiverProtocol(), 0.0 if not messages else 60.0))


@pytest.mark.parametrize(
    ("error", "closed", "told"),
    [
        (PeerRefused(CLOSE_BUSY, "another stream plays"), (CLOSE_BUSY, "another stream plays"), 1),
        (PeerRefused(1001, "the receiver was closed"), (1001, "the receiver was closed"), 0),
        (RemoteProtocolError("no hello"), (CLOSE_PROTOCOL_ERROR, "no hello"), 1),
        (ZeroDivisionError("a bug"), (1011, "the receiver failed"), 1),
    ],
)
def test_what_goes_wrong_closes_this_connection_with_its_reason(
    error: Exception, closed: tuple[int, str], told: int, caplog: pytest.LogCaptureFixture
) -> None:
    line: Any = FedLine()
    complaints = Complaints()

    async def meet() -> None:
        async with refusing(line, complaints, "receiver"):
            raise error

    asyncio.run(meet())
    assert line.closed == closed and complaints.count == told
    assert ("192.0.2.7" in caplog.text) == bool(told)


@pytest.mark.parametrize(
    ("offered", "is_refused"),
    [
        ("audio-avif.v1", True),
        ("audio-avif.v1, audio-avif.bearer.dG9rZW4", True),
        ("audio-avif.v3", True),
        ("audio-avif.v1, audio-avif.v2", False),
        ("audio-avif.v2", False),
        ("chat", False),
        (None, False),
    ],
)
def test_a_peer_of_another_version_is_refused_in_a_sentence_on_both_sides(
    offered: str | None, is_refused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    connection = SimpleNamespace(remote_address=("192.0.2.7", 1), respond=lambda status, text: (int(status), text))
    admission = Admission(Limits(), None, Complaints())
    request = Request("/", Headers({} if offered is None else {"Sec-WebSocket-Protocol": offered}))
    line: Any = connection

    async def check() -> Any:
        return admission.check_version(line, request)

    answer = asyncio.run(check())
    if not is_refused:
        assert answer is None and not caplog.records
        return
    assert answer == (400, "This server speaks audio-avif.v2.\n")
    version = str(offered)[:13]
    assert caplog.messages == [f"192.0.2.7 speaks {version}; this program speaks audio-avif.v2; refused"]
