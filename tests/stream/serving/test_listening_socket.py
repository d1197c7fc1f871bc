"""The socket on which receiver and relay listen."""

from __future__ import annotations

import asyncio
import socket

import pytest

from audio_avif_stream.serving.admission import Admission, Complaints
from audio_avif_stream.serving.security import Limits


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_no_message_waits_until_an_earlier_one_is_acknowledged(host: str) -> None:
    if host == "::1" and not has_ipv6():
        pytest.skip("this machine has no IPv6")

    async def is_sent_at_once() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listening = Admission(Limits(), None, Complaints()).listening_socket(host, 0)
        async with await asyncio.start_server(serve, sock=listening):
            _, writer = await asyncio.open_connection(host, listening.getsockname()[1])
            writer.close()
            return await accepted

    assert asyncio.run(is_sent_at_once())
