"""Measure what a relay adds to the delay, with one publisher and thousands of listeners.

``python -m audio_avif_tools.network.relay_load``

The relay is started here and used over loopback only. The publisher records when it writes each tile, the kernel when
the tile arrives at each listener's socket, and the listeners when they have read it, all by this machine's clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import select
import socket
import struct
import sys
import time
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

from audio_avif import __version__
from audio_avif.config import MAX_TILE_FRAMES, MIN_TILE_FRAMES
from audio_avif.edge import console
from audio_avif.errors import AudioAvifError, ConnectionFailed
from audio_avif.link.counters import extended
from audio_avif.link.hello import Hello
from audio_avif.link.messages import SUBPROTOCOL, Bye, Gap, Ping
from audio_avif.link.packets import TilePacket, short_counters

PROGRAM = "audio-avif relay-load"
_MAX_LISTENERS, _MAX_SECONDS = 10_000, 120
_ROOM = "load"
_CONNECTING_AT_ONCE = 64
_START_S = 60.0
_SETTLING_S = 1.0
_PING_S = 1.0
_TCP_IP_BYTES = 52
_SO_TIMESTAMPNS, _MAX_TOLD_BYTES = 35, 64  # of Linux's asm-generic/socket.h; the socket module has no name for it
_NAP_S = 0.001  # listeners elsewhere would not make the relay's kernel wake one of them for each message


@dataclass(frozen=True)
class LoadResult:
    """The delay of every message to each listener, and the cost of the relay.

    ``read_p99_ms`` includes the time in which the listeners, all on this machine, hinder each other.
    ``wrong_listeners`` did not get every message once and in order; ``cpu_share`` is of one core, ``send_us`` the
    relay's processor time for one message to one listener; ``wire_kbps`` is the rate of one listener with TCP and
    IPv4.
    """

    listeners: int
    seconds: float
    messages: int
    wrong_listeners: int
    gaps: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    most_ms: float
    read_p99_ms: float
    connected_in_s: float
    cpu_share: float
    send_us: float
    wire_kbps: float
    resident_mb: float

    def __str__(self) -> str:
        kept = "every listener got every message" if not self.wrong_listeners else f"{self.wrong_listeners} missed some"
        return (
            f"{self.listeners} listeners, {self.messages} messages each in {self.seconds:.0f} s: {kept}\n"
            f"added delay p50 {self.p50_ms:.1f}, p95 {self.p95_ms:.1f}, p99 {self.p99_ms:.1f}, "
            f"most {self.most_ms:.1f} ms; until it is read p99 {self.read_p99_ms:.1f} ms\n"
            f"relay: {100 * self.cpu_share:.0f} % of one core, {self.send_us:.1f} us for each message sent, "
            f"{self.resident_mb:.0f} MB resident; all listeners connected in {self.connected_in_s:.1f} s\n"
            f"each listener: {self.messages / self.seconds:.1f} tiles a second, {self.wire_kbps:.1f} kbps on the wire"
        )


# ------------------------------------------------------------------------------------------------------- the listeners


class _Ears:
    """Many cheap listeners in one thread: for each a socket, the bytes left over and the last sequence number."""

    def __init__(self, port: int, count: int) -> None:
        self.sequences, self.arrived_s, self.read_s = array("L"), array("d"), array("d")
        self.newest = [-1] * count
        self.received = [0] * count
        self.is_wrong = [False] * count
        self.gaps = self.bytes = self.frames = 0
        self.over = 0
        self._now_s = 0.0, 0.0
        self._rest = [b""] * count
        self._epoll = select.epoll()
        self._sockets: list[socket.socket] = []
        self._by_number: dict[int, int] = {}
        for start in range(0, count, _CONNECTING_AT_ONCE):
            self._connect(port, min(_CONNECTING_AT_ONCE, count - start))

    def _connect(self, port: int, count: int) -> None:
        """Open some connections in parallel. Raises ConnectionFailed where the relay refuses one."""
        opened = []
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), _START_S)
            connection.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
            connection.sendall(
                f"GET /listen/{_ROOM} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
            )
            opened.append(connection)
        for connection in opened:
            answer = b""
            while b"\r\n\r\n" not in answer:
                if not (data := connection.recv(4096)):
                    break
                answer += data
            if not answer.startswith(b"HTTP/1.1 101 "):
                first_line = answer.partition(b"\r\n")[0].decode()
                raise ConnectionFailed(f"the relay refused a listener: {first_line or 'it closed the connection'}")
            connection.setblocking(False)
            self._rest[len(self._sockets)] = answer.partition(b"\r\n\r\n")[2]
            self._by_number[connection.fileno()] = len(self._sockets)
            self._sockets.append(connection)
            self._epoll.register(connection, select.EPOLLIN)

    def hear(self, until_s: float) -> None:
        """Read messages until that time, or until each listener has received the bye."""
        while self.over < len(self._sockets) and (left_s := until_s - time.monotonic()) > 0:
            for number, _ in self._epoll.poll(left_s):
                at = self._by_number[number]
                data, told, *_ = self._sockets[at].recvmsg(65_536, _MAX_TOLD_BYTES)
                if not data:
                    self.is_wrong[at] = True
                    self._epoll.unregister(number)
                    self.over += 1
                    continue
                seconds, nanoseconds = struct.unpack("@qq", told[0][2])
                self._now_s = seconds + 1e-9 * nanoseconds, time.time()
                self._take(at, self._rest[at] + data if self._rest[at] else data)
            time.sleep(_NAP_S)

    def _take(self, at: int, data: bytes) -> None:
        """Split off whole frames and keep the rest (RFC 6455, 5.2)."""
        begin = 0
        while len(data) >= begin + 4:
            size, head = data[begin + 1], 2
            if size == 126:
                size, head = int.from_bytes(data[begin + 2 : begin + 4], "big"), 4
            if len(data) < begin + head + size:
                break
            payload = data[begin + head : begin + head + size]
            self.bytes += head + size
            self.frames += 1
            if data[begin] == 0x89:
                self._sockets[at].send(b"\x8a" + bytes([0x80 | size]) + bytes(4) + payload)
            elif data[begin] == 0x82:
                self._message(at, payload)
            begin += head + size
        self._rest[at] = data[begin:]

    def _message(self, at: int, message: bytes) -> None:
        kind = message[0]
        if (counters := short_counters(message)) is not None:
            sequence = extended(counters[0], max(0, self.newest[at]))
            self.is_wrong[at] |= sequence != self.newest[at] + 1
            self.newest[at] = sequence
            self.received[at] += 1
            self.sequences.append(sequence)
            self.arrived_s.append(self._now_s[0])
            self.read_s.append(self._now_s[1])
        elif kind == Gap.TYPE:
            self.gaps += Gap.parse(message).messages
        elif kind == Bye.TYPE:
            self.over += 1


def _listen(port: int, count: int, seconds: float, pipe: Pipe) -> None:
    """A process of listeners: reports when all are connected, then what they have received."""
    try:
        _allow_many_files(count)
        began_s = time.monotonic()
        ears = _Ears(port, count)
        pipe.send(time.monotonic() - began_s)
        pipe.recv()
        ears.hear(time.monotonic() + seconds)
        wrong = [is_wrong or newest < 0 for is_wrong, newest in zip(ears.is_wrong, ears.newest, strict=True)]
        wire_bytes = ears.bytes + ears.frames * _TCP_IP_BYTES
        times = ears.sequences.tobytes(), ears.arrived_s.tobytes(), ears.read_s.tobytes()
        pipe.send((*times, ears.received, wrong, ears.gaps, wire_bytes))
    except (OSError, AudioAvifError) as error:
        pipe.send(f"the listeners failed: {error}")


def _allow_many_files(count: int) -> None:
    """Raise this process's limit of open connections. Raises AudioAvifError where the system refuses."""
    import resource

    wanted = count + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise AudioAvifError(f"{count} listeners need {wanted} open files, but {hard} are allowed; see ulimit -n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


# ------------------------------------------------------------------------------------------------------- the publisher


def _hurry() -> None:
    """Request real-time scheduling where the system allows it, as ``audio-avif-send`` does."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(os.sched_get_priority_min(os.SCHED_RR)))


async def _publish(port: int, tile_frames: int, seconds: float) -> array[float]:
    """Publish the repeated bundled clip in real time; return when each message was written, by its sequence."""
    from websockets.asyncio.client import connect
    from websockets.typing import Subprotocol

    from audio_avif.codec.encoder import Encoder
    from audio_avif.config import EncoderConfig, TileConfig
    from audio_avif_tools.shared.signals import demo_clip

    encoder = Encoder(tile=TileConfig(tile_frames), encoder=EncoderConfig(dtx=False))
    tiles = [tile for tile in encoder.push(demo_clip()) if isinstance(tile, TilePacket)]
    tile_s = tile_frames * encoder.mel.frame_s
    written_s = array("d")
    hello = Hello(encoder.mel, encoder.tile, encoder.template, f"load {os.getpid()}", agent=PROGRAM)
    url = f"ws://127.0.0.1:{port}/publish/{_ROOM}"
    async with connect(url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, proxy=None) as connection:
        await connection.send(hello.to_bytes())
        await connection.recv()
        reading = asyncio.create_task(_read(connection))
        _hurry()
        began_s = pinged_s = time.monotonic()
        for sequence in range(round(seconds / tile_s)):
            await asyncio.sleep(max(0.0, began_s + (sequence + 1) * tile_s - time.monotonic()))
            tile = tiles[sequence % len(tiles)]
            data = replace(tile, sequence=sequence, first_frame=sequence * tile_frames).to_bytes()
            written_s.append(time.time())
            await connection.send(data)
            if (now_s := time.monotonic()) > pinged_s + _PING_S:
                pinged_s = now_s
                await connection.send(Ping(round(now_s * 1e6), round(began_s * 1e6), 0).to_bytes())
        await asyncio.sleep(_SETTLING_S)
        await connection.send(Bye(len(written_s), len(written_s) * tile_frames * encoder.mel.hop_samples).to_bytes())
        await reading
    return written_s


async def _read(connection: Any) -> None:
    """Read receipts until the relay closes."""
    async for _ in connection:
        pass


# --------------------------------------------------------------------------------------------------------- all at once


def measure(listeners: int, seconds: float, tile_frames: int, processes: int) -> LoadResult:
    """Start a relay, listeners and a publisher, and measure. Raises AudioAvifError where one of them fails."""
    import numpy as np

    from audio_avif_tools.shared.loopback import Program

    relay = Program("relay", ["--port", "0", "--no-web", "--max-listeners", str(listeners)])
    context = multiprocessing.get_context("spawn")
    shares = [len(range(first, listeners, processes)) for first in range(min(processes, listeners))]
    pipes, workers = [], []
    try:
        port = int(relay.wait_for(r"--port (\d+)")[1])
        for share in shares:
            ours, theirs = context.Pipe()
            arguments = (port, share, seconds + _START_S, theirs)
            workers.append(context.Process(target=_listen, args=arguments, daemon=True))
            workers[-1].start()
            pipes.append(ours)
        _set_apart(relay.process.pid, [worker.pid for worker in workers if worker.pid is not None])
        connecting_s = max(_answer(pipe, _START_S) for pipe in pipes)
        for pipe in pipes:
            pipe.send(None)
        before_s, cpu_before_s = time.monotonic(), _cpu_s(relay.process.pid)
        written_s = asyncio.run(_publish(port, tile_frames, seconds))
        cpu_s = _cpu_s(relay.process.pid) - cpu_before_s
        cpu_share = cpu_s / (time.monotonic() - before_s)
        resident_mb = _resident_mb(relay.process.pid)
        answers = [_answer(pipe, _START_S) for pipe in pipes]
    finally:
        for worker in workers:
            worker.terminate()
        relay.stop()
    arrived_ms, read_ms, wrong, gaps, wire_bytes = [], [], 0, 0, 0
    for sequences, arrived_s, read_s, received, is_wrong, missed, size in answers:
        written = np.frombuffer(written_s)[np.frombuffer(sequences, np.dtype("L"))]
        arrived_ms.append((np.frombuffer(arrived_s) - written) * 1e3)
        read_ms.append((np.frombuffer(read_s) - written) * 1e3)
        wrong += sum(one or count != len(written_s) for one, count in zip(is_wrong, received, strict=True))
        gaps += missed
        wire_bytes += size
    p50, p95, p99, most = np.percentile(np.concatenate(arrived_ms), [50, 95, 99, 100])
    return LoadResult(
        listeners,
        seconds,
        len(written_s),
        wrong,
        gaps,
        float(p50),
        float(p95),
        float(p99),
        float(most),
        float(np.percentile(np.concatenate(read_ms), 99)),
        connecting_s,
        cpu_share,
        1e6 * cpu_s / (listeners * len(written_s)),
        8e-3 * wire_bytes / listeners / seconds,
        resident_mb,
    )


def _set_apart(relay: int, listeners: list[int]) -> None:
    """Give the relay a core of its own, and the listeners, which stand for other machines, the other cores."""
    first, *others = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(relay, {first})
    for pid in listeners:
        os.sched_setaffinity(pid, others or {first})


def _answer(pipe: Pipe, within_s: float) -> Any:
    """Return the answer of a listener process. Raises AudioAvifError where that is an error or does not arrive."""
    if not pipe.poll(within_s):
        raise AudioAvifError(f"the listeners did not answer within {within_s:.0f} s")
    answer = pipe.recv()
    if isinstance(answer, str):
        raise AudioAvifError(answer)
    return answer


def _cpu_s(pid: int) -> float:
    """The processor time of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _run(options: argparse.Namespace) -> None:
    if not hasattr(select, "epoll"):
        raise AudioAvifError("the load generator needs Linux")
    _allow_many_files(options.listeners)
    result = measure(options.listeners, options.seconds, options.tile_frames, options.processes)
    print(result)
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(result)) + "\n")
    if result.wrong_listeners:
        raise AudioAvifError(f"{result.wrong_listeners} listeners did not get every message in order")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.network.relay_load``."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Start an audio-avif-relay, a publisher and many listeners on this machine, and measure the delay "
        "that the relay adds.",
    )
    count, seconds = console.integer_in(1, _MAX_LISTENERS), console.integer_in(2, _MAX_SECONDS)
    parser.add_argument(
        "--listeners", type=count, default=2000, metavar="N", help="number of listeners (default: 2000)"
    )
    parser.add_argument("--seconds", type=seconds, default=20, metavar="N", help="length in seconds (default: 20)")
    parser.add_argument(
        "--tile-frames",
        type=console.integer_in(MIN_TILE_FRAMES, MAX_TILE_FRAMES),
        default=8,
        metavar="N",
        help="frames of 16 ms per tile (default: 8)",
    )
    parser.add_argument(
        "--processes",
        type=console.integer_in(1, 8),
        default=1,
        metavar="N",
        help="number of listening processes (default: 1)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="JSON file for the result")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(arguments)
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
