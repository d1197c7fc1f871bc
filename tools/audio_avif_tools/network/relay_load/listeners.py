"""Thousands of cheap listeners in a few processes: raw sockets, whose messages are only timed and counted."""

from __future__ import annotations

import select
import socket
import struct
import time
from array import array
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe

from audio_avif.errors import AudioAvifError, ConnectionFailed
from audio_avif.link.counters import extended
from audio_avif.link.messages import SUBPROTOCOL, Bye, Gap
from audio_avif.link.packets import short_counters
from audio_avif_tools.network.relay_load.publisher import ROOM

START_S = 60.0
"""All listeners connect within this time."""

_CONNECTING_AT_ONCE = 64
_TCP_IP_BYTES = 52
_SO_TIMESTAMPNS, _MAX_TOLD_BYTES = 35, 64  # of Linux's asm-generic/socket.h; the socket module has no name for it
_NAP_S = 0.001  # listeners elsewhere would not make the relay's kernel wake one of them for each message


@dataclass
class Heard:
    """The messages that the listeners of one process have read, all listeners mixed."""

    sequences: array[int] = field(default_factory=lambda: array("L"))
    arrived_s: array[float] = field(default_factory=lambda: array("d"))
    """When each message was in the socket, by the kernel's clock."""
    read_s: array[float] = field(default_factory=lambda: array("d"))
    gaps: int = 0
    wire_bytes: int = 0
    received: list[int] = field(default_factory=list)
    """Messages of each listener."""
    is_wrong: list[bool] = field(default_factory=list)
    """Whether each listener got messages out of order, twice, or not at all."""


@dataclass(slots=True)
class _Listener:
    """One connection: the bytes left over from the last read, and the messages that came."""

    connection: socket.socket
    rest: bytes
    newest: int = -1
    received: int = 0
    is_wrong: bool = False


class Listeners:
    """Many listeners in one thread."""

    def __init__(self, port: int, count: int) -> None:
        self._heard = Heard()
        self._now_s = 0.0, 0.0  # when the bytes in hand arrived, and when they were read
        self._over = 0
        self._epoll = select.epoll()
        self._listeners: dict[int, _Listener] = {}  # by the number of their sockets
        for start in range(0, count, _CONNECTING_AT_ONCE):
            self._connect(port, min(_CONNECTING_AT_ONCE, count - start))

    def _connect(self, port: int, count: int) -> None:
        """Open some connections in parallel. Raises ConnectionFailed where the relay refuses one."""
        for connection in [_request(port) for _ in range(count)]:
            rest = _answer(connection)
            connection.setblocking(False)
            self._listeners[connection.fileno()] = _Listener(connection, rest)
            self._epoll.register(connection, select.EPOLLIN)

    def hear(self, until_s: float) -> Heard:
        """Read messages until that time, or until each listener has received the bye."""
        while self._over < len(self._listeners) and (left_s := until_s - time.monotonic()) > 0:
            for number, _ in self._epoll.poll(left_s):
                listener = self._listeners[number]
                data, told, *_ = listener.connection.recvmsg(65_536, _MAX_TOLD_BYTES)
                if not data:
                    listener.is_wrong = True
                    self._epoll.unregister(number)
                    self._over += 1
                    continue
                seconds, nanoseconds = struct.unpack("@qq", told[0][2])
                self._now_s = seconds + 1e-9 * nanoseconds, time.time()
                self._take(listener, listener.rest + data if listener.rest else data)
            time.sleep(_NAP_S)
        listeners = self._listeners.values()
        self._heard.received = [listener.received for listener in listeners]
        self._heard.is_wrong = [listener.is_wrong or listener.newest < 0 for listener in listeners]
        return self._heard

    def _take(self, listener: _Listener, data: bytes) -> None:
        """Split off whole frames and keep the rest (RFC 6455, 5.2)."""
        begin = 0
        while len(data) >= begin + 4:
            size, head = data[begin + 1], 2
            if size == 126:
                size, head = int.from_bytes(data[begin + 2 : begin + 4], "big"), 4
            if len(data) < begin + head + size:
                break
            payload = data[begin + head : begin + head + size]
            self._heard.wire_bytes += head + size + _TCP_IP_BYTES
            if data[begin] == 0x89:
                listener.connection.send(b"\x8a" + bytes([0x80 | size]) + bytes(4) + payload)
            elif data[begin] == 0x82:
                self._message(listener, payload)
            begin += head + size
        listener.rest = data[begin:]

    def _message(self, listener: _Listener, message: bytes) -> None:
        kind, heard = message[0], self._heard
        if (counters := short_counters(message)) is not None:
            sequence = extended(counters[0], max(0, listener.newest))
            listener.is_wrong |= sequence != listener.newest + 1
            listener.newest = sequence
            listener.received += 1
            heard.sequences.append(sequence)
            heard.arrived_s.append(self._now_s[0])
            heard.read_s.append(self._now_s[1])
        elif kind == Gap.TYPE:
            heard.gaps += Gap.parse(message).messages
        elif kind == Bye.TYPE:
            self._over += 1


def _request(port: int) -> socket.socket:
    """Open a connection whose kernel notes when bytes arrive, and ask the relay for the room."""
    connection = socket.create_connection(("127.0.0.1", port), START_S)
    connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    connection.sendall(
        f"GET /listen/{ROOM} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
    )
    return connection


def _answer(connection: socket.socket) -> bytes:
    """Return the bytes after the relay's answer. Raises ConnectionFailed where it refuses."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        if not (data := connection.recv(4096)):
            break
        answer += data
    if not answer.startswith(b"HTTP/1.1 101 "):
        first_line = answer.partition(b"\r\n")[0].decode()
        raise ConnectionFailed(f"the relay refused a listener: {first_line or 'it closed the connection'}")
    return answer.partition(b"\r\n\r\n")[2]


def listen(port: int, count: int, seconds: float, pipe: Pipe) -> None:
    """A process of listeners: sends the time that connecting took, then a Heard, or a text where it fails."""
    try:
        allow_many_files(count)
        began_s = time.monotonic()
        listeners = Listeners(port, count)
        pipe.send(time.monotonic() - began_s)
        pipe.recv()
        pipe.send(listeners.hear(time.monotonic() + seconds))
    except (OSError, AudioAvifError) as error:
        pipe.send(f"the listeners failed: {error}")


def allow_many_files(count: int) -> None:
    """Raise this process's limit of open connections. Raises AudioAvifError where the system refuses."""
    import resource

    wanted = count + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise AudioAvifError(f"{count} listeners need {wanted} open files, but {hard} are allowed; see ulimit -n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
