"""Find the WebSocket frames in a client's bytes, and the packets in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from audio_avif.config import MAX_REDUNDANCY
from audio_avif.link.packets import Bundle, short_counters

# In these lie the counters of any packet.
_NEEDED_BYTES: Final = Bundle.HEAD_BYTES + MAX_REDUNDANCY * Bundle.COPY_HEAD_BYTES + 5


@dataclass(frozen=True)
class Piece:
    """Bytes that belong together: a frame or a piece of one.

    ``sequence`` is that of the tile or pause that begins here, as its message carries it: without the upper bits.
    """

    data: bytes
    is_start: bool = False
    sequence: int | None = None


class ClientFrames:
    """Find the frames in the bytes of a WebSocket client (RFC 6455, 5.2); hold back at most a frame's header."""

    def __init__(self) -> None:
        self._is_handshake = True
        self._tail = b""
        self._held = b""
        self._body_bytes = 0

    def push(self, data: bytes) -> list[Piece]:
        """Split bytes at the beginning of each frame."""
        pieces = []
        if self._is_handshake:
            seen = self._tail + data
            end = seen.find(b"\r\n\r\n")
            if end < 0:
                self._tail = seen[-3:]
                return [Piece(data)]
            end += 4 - len(self._tail)
            self._is_handshake = False
            pieces.append(Piece(data[:end]))
            data = data[end:]
        while data:
            if self._body_bytes:
                pieces.append(Piece(data[: self._body_bytes]))
                self._body_bytes -= len(pieces[-1].data)
                data = data[len(pieces[-1].data) :]
                continue
            self._held += data
            if (needed := self._header_and_body()) is None:
                break
            header_bytes, body_bytes = needed
            whole, data = self._held[: header_bytes + body_bytes], self._held[header_bytes + body_bytes :]
            self._held = b""
            self._body_bytes = header_bytes + body_bytes - len(whole)
            pieces.append(Piece(whole, True, _sequence(whole, header_bytes)))
        return pieces

    def rest(self) -> bytes:
        """Return the bytes held back, for a stream that ends within a header."""
        held, self._held = self._held, b""
        return held

    def _header_and_body(self) -> tuple[int, int] | None:
        """The sizes of header and body, once the header is complete and the body's first bytes show its kind."""
        held = self._held
        if len(held) < 2:
            return None
        body_bytes, at = held[1] & 0x7F, 2
        if body_bytes >= 126:
            extended_bytes = 2 if body_bytes == 126 else 8
            at += extended_bytes
            if len(held) < at:
                return None
            body_bytes = int.from_bytes(held[2:at], "big")
        header_bytes = at + (4 if held[1] & 0x80 else 0)
        return None if len(held) < header_bytes + min(body_bytes, _NEEDED_BYTES) else (header_bytes, body_bytes)


def _sequence(frame: bytes, header_bytes: int) -> int | None:
    """The sequence number of a tile or pause; None for any other frame."""
    if frame[0] & 0x0F != 2 or not frame[1] & 0x80:
        return None
    mask, masked = frame[header_bytes - 4 : header_bytes], frame[header_bytes : header_bytes + _NEEDED_BYTES]
    body = bytes(byte ^ mask[number % 4] for number, byte in enumerate(masked))
    counters = short_counters(body)
    return None if counters is None else counters[0]
