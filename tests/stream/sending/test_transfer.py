"""What one connection carries of a stream that others carried before."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from audio_avif.codec.encoder import Encoder
from audio_avif.link.hello import Hello
from audio_avif.link.packets import TilePacket
from audio_avif.link.protocol import ReceiverProtocol, SenderProtocol
from audio_avif_stream.sending.outgoing import OutgoingStream
from audio_avif_stream.sending.transfer import Transfer
from audio_avif_stream.telemetry.live_line import JsonLines


def test_a_sender_that_comes_back_late_in_a_stream_tells_its_place_once() -> None:
    stream = OutgoingStream(Encoder(), is_live=True, wants_reports=False)
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        sent.append(data)

    async def transmit(first: int) -> list[TilePacket]:
        """Two tiles over a new connection, as its receiver reads them."""
        sent.clear()
        protocol, connection = SenderProtocol(), SimpleNamespace(send=send)
        hello = protocol.send(stream.hello)
        line: Any = connection
        transfer = Transfer(stream, line, protocol, JsonLines(None), asyncio.Event(), can_come_back=True)
        for number in (first, first + 1):
            await transfer._send(TilePacket(number, 8 * number, 8, b"x"), 0.0)
        receiver = ReceiverProtocol()
        assert isinstance(receiver.receive(hello), Hello)
        heard = [receiver.receive(data) for data in sent]
        return [message for message in heard if isinstance(message, TilePacket)]

    for first, places in ((0, 0), (600, 0), (100_000, 1)):
        tiles = asyncio.run(transmit(first))
        assert [tile.sequence for tile in tiles] == [first, first + 1]
        assert [tile.first_frame for tile in tiles] == [8 * first, 8 * first + 8]
        assert len(sent) == 2 + places
