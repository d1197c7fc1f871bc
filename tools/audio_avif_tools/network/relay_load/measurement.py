"""The measurement of a relay's load.

The relay is started here and used over loopback only. The publisher records when it writes each tile, the kernel when
the tile arrives at each listener's socket, and the listeners when they have read it, all by this machine's clock.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from audio_avif.errors import AudioAvifError
from audio_avif_tools.network.relay_load.listeners import START_S, Heard, listen
from audio_avif_tools.network.relay_load.publisher import publish


@dataclass(frozen=True)
class AddedDelay:
    """The delay from the publisher to the listeners' sockets, over all messages.

    ``read_p99_ms`` includes the time in which the listeners, all on this machine, hinder each other.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    most_ms: float
    read_p99_ms: float


@dataclass(frozen=True)
class RelayCost:
    """What the relay needs.

    ``cpu_share`` is of one core, ``send_us`` the relay's processor time for one message to one listener; ``wire_kbps``
    is the rate of one listener with TCP and IPv4.
    """

    connected_in_s: float
    cpu_share: float
    send_us: float
    wire_kbps: float
    resident_mb: float


@dataclass(frozen=True)
class LoadResult:
    """The delay of every message to each listener, and the cost of the relay.

    ``wrong_listeners`` did not get every message once and in order.
    """

    listeners: int
    seconds: float
    messages: int
    wrong_listeners: int
    gaps: int
    delay: AddedDelay
    cost: RelayCost

    def figures(self) -> dict[str, Any]:
        """All figures by name, as ``--json`` writes them."""
        own = asdict(self)
        delay, cost = own.pop("delay"), own.pop("cost")
        return {**own, **delay, **cost}

    def __str__(self) -> str:
        kept = "every listener got every message" if not self.wrong_listeners else f"{self.wrong_listeners} missed some"
        delay, cost = self.delay, self.cost
        return (
            f"{self.listeners} listeners, {self.messages} messages each in {self.seconds:.0f} s: {kept}\n"
            f"added delay p50 {delay.p50_ms:.1f}, p95 {delay.p95_ms:.1f}, p99 {delay.p99_ms:.1f}, "
            f"most {delay.most_ms:.1f} ms; until it is read p99 {delay.read_p99_ms:.1f} ms\n"
            f"relay: {100 * cost.cpu_share:.0f} % of one core, {cost.send_us:.1f} us for each message sent, "
            f"{cost.resident_mb:.0f} MB resident; all listeners connected in {cost.connected_in_s:.1f} s\n"
            f"each listener: {self.messages / self.seconds:.1f} tiles a second, {cost.wire_kbps:.1f} kbps on the wire"
        )


def measure(listeners: int, seconds: float, tile_frames: int, processes: int) -> LoadResult:
    """Start a relay, listeners and a publisher, and measure. Raises AudioAvifError where one of them fails."""
    from audio_avif_tools.shared.loopback import Program

    relay = Program("relay", ["--port", "0", "--no-web", "--max-listeners", str(listeners)])
    shares = [len(range(first, listeners, processes)) for first in range(min(processes, listeners))]
    try:
        port, pid = int(relay.wait_for(r"--port (\d+)")[1]), relay.process.pid
        with _listening(port, pid, shares, seconds) as pipes:
            connected_in_s = max(_answer(pipe, START_S) for pipe in pipes)
            for pipe in pipes:
                pipe.send(None)
            before_s, cpu_before_s = time.monotonic(), _cpu_s(pid)
            written_s = asyncio.run(publish(port, tile_frames, seconds))
            cpu_s = _cpu_s(pid) - cpu_before_s
            cpu_share = cpu_s / (time.monotonic() - before_s)
            resident_mb = _resident_mb(pid)
            heard: list[Heard] = [_answer(pipe, START_S) for pipe in pipes]
    finally:
        relay.stop()
    send_us = 1e6 * cpu_s / (listeners * len(written_s))
    wire_kbps = 8e-3 * sum(each.wire_bytes for each in heard) / listeners / seconds
    return LoadResult(
        listeners,
        seconds,
        len(written_s),
        wrong_listeners=sum(_wrong_listeners(each, len(written_s)) for each in heard),
        gaps=sum(each.gaps for each in heard),
        delay=_added_delay(heard, written_s),
        cost=RelayCost(connected_in_s, cpu_share, send_us, wire_kbps, resident_mb),
    )


@contextmanager
def _listening(port: int, relay_pid: int, shares: Sequence[int], seconds: float) -> Iterator[list[Pipe]]:
    """Processes with so many listeners each, on other cores than the relay; yields a pipe to each."""
    context = multiprocessing.get_context("spawn")
    pipes: list[Pipe] = []
    workers: list[BaseProcess] = []
    try:
        for share in shares:
            ours, theirs = context.Pipe()
            workers.append(context.Process(target=listen, args=(port, share, seconds + START_S, theirs), daemon=True))
            workers[-1].start()
            pipes.append(ours)
        _set_apart(relay_pid, [worker.pid for worker in workers if worker.pid is not None])
        yield pipes
    finally:
        for worker in workers:
            worker.terminate()


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


def _wrong_listeners(heard: Heard, messages: int) -> int:
    """The number of listeners that did not get every message once and in order."""
    return sum(
        is_wrong or received != messages for is_wrong, received in zip(heard.is_wrong, heard.received, strict=True)
    )


def _added_delay(heard: Sequence[Heard], written_s: array[float]) -> AddedDelay:
    """The delays since each message was written."""
    import numpy as np

    written = np.frombuffer(written_s)
    sequences = np.concatenate([np.frombuffer(each.sequences, np.dtype("L")) for each in heard])
    arrived_ms, read_ms = (
        (np.concatenate([np.frombuffer(times_s) for times_s in times]) - written[sequences]) * 1e3
        for times in ([each.arrived_s for each in heard], [each.read_s for each in heard])
    )
    p50, p95, p99, most = np.percentile(arrived_ms, [50, 95, 99, 100])
    return AddedDelay(float(p50), float(p95), float(p99), float(most), float(np.percentile(read_ms, 99)))


def _cpu_s(pid: int) -> float:
    """The processor time of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
