"""The frames of a WebSocket client and the packets in them are found in its bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from audio_avif.link.messages import Bye
from audio_avif.link.packets import Bundle, PausePacket, TilePacket
from audio_avif_tools.network.client_frames import ClientFrames

HANDSHAKE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def tile(sequence: int, payload: bytes = bytes(50)) -> TilePacket:
    return TilePacket(sequence, 8 * sequence, 8, payload)


def frame(body: bytes, opcode: Opcode = Opcode.BINARY) -> bytes:
    return Frame(opcode, body).serialize(mask=True)


@given(st.lists(st.integers(1, 400), max_size=30))
def test_frames_are_found_however_their_bytes_come(cuts: list[int]) -> None:
    bodies = [
        b"\x01hello" * 40,
        tile(7).to_bytes(),
        TilePacket(8, 64, 8, bytes(300), is_whole_still=True).to_bytes(),
        PausePacket(9, 72, 8, bytes(8)).to_bytes(),
        Bundle(tile(260), (tile(10, bytes(9)),)).to_bytes(),
        Bundle(PausePacket(12, 96, 8, bytes(8)), (tile(11),)).to_bytes(),
        Bye(13, 99).to_bytes(),
    ]
    frames = [frame(body) for body in bodies]
    frames[1:1] = [frame(b"", Opcode.PING), frame(b"\x02text", Opcode.TEXT), frame(bytes(70_000))]
    sent = HANDSHAKE + b"".join(frames)
    finder, pieces, at = ClientFrames(), [], 0
    for size in [*cuts, len(sent)]:
        pieces += finder.push(sent[at : at + size])
        at += size
    assert b"".join(piece.data for piece in pieces) + finder.rest() == sent
    assert [piece.sequence for piece in pieces if piece.sequence is not None] == [7, 8, 9, 260, 12]
    assert sum(piece.is_start for piece in pieces) == len(frames)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_what_is_no_websocket_passes_unchanged(data: bytes, size: int) -> None:
    for start in (b"", HANDSHAKE):
        finder, passed = ClientFrames(), b""
        for at in range(0, len(start + data), size):
            passed += b"".join(piece.data for piece in finder.push((start + data)[at : at + size]))
        assert passed + finder.rest() == start + data
