"""The relay as a process, and publishers and listeners made by hand."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from audio_avif.link.hello import Hello
from audio_avif.link.messages import SUBPROTOCOL, Ping, Pong
from support.stream_helpers import PATIENCE_S, Peer, Process, json_lines, running, wait_until

COMMAND = "audio-avif-relay"


@contextmanager
def relaying(*arguments: object, **popen: Any) -> Iterator[tuple[Process, int]]:
    """A relay that listens already on a port of its own, and that port."""
    with running(COMMAND, "--port", 0, "--no-web", *arguments, **popen) as process:
        yield process, port_of(process)
        assert "Traceback" not in process.err, process.err


def port_of(process: Process) -> int:
    line = re.compile(r"audio-avif-recv --connect wss?://\S+?:(\d+) ")
    wait_until(lambda: line.search(process.err) is not None or process.popen.poll() is not None, "the line")
    found = line.search(process.err)
    assert found is not None, process.err
    return int(found[1])


class Speaker(Peer):
    """A publisher made by hand."""

    def __init__(self, port: int, room: str, seconds: float = 1.0, token: str | None = None, **options: Any) -> None:
        super().__init__(port, seconds, token, path=f"/publish/{room}", **options)
        self.hello = replace(self.hello, live=True)


class Ear:
    """A listener made by hand."""

    def __init__(self, port: int, room: str, *subprotocols: str, **options: Any) -> None:
        self._opening = connect(
            f"{'ws' if options.get('ssl') is None else 'wss'}://127.0.0.1:{port}/listen/{room}",
            subprotocols=[Subprotocol(one) for one in (SUBPROTOCOL, *subprotocols)],
            compression=None,
            proxy=None,
            open_timeout=PATIENCE_S,
            close_timeout=5,
            max_queue=None,  # or a close waits behind what nobody has read
            **options,
        )

    def __enter__(self) -> Ear:
        self.socket: ClientConnection = self._opening.__enter__()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._opening.__exit__(*exc_info)

    def hear(self) -> bytes:
        message = self.socket.recv(PATIENCE_S)
        assert isinstance(message, bytes)
        return message

    def hear_until(self, kind: int) -> list[bytes]:
        """All up to a message of this type."""
        heard = [self.hear()]
        while heard[-1][0] != kind:
            heard.append(self.hear())
        return heard

    def closed_with(self) -> tuple[int, str]:
        try:
            while True:
                self.socket.recv(PATIENCE_S)
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, "the connection was cut without a close"
            return closed.rcvd.code, closed.rcvd.reason


def without_session(hello: bytes) -> Hello:
    return replace(Hello.parse(hello), session="")


def settle(ear: Ear) -> list[bytes]:
    """Wait until the relay has let this listener in: it answers. What came before the answer."""
    ear.socket.send(Ping(1, 0, 0).to_bytes())
    return ear.hear_until(Pong.TYPE)[:-1]


def bearer(token: str) -> str:
    return "audio-avif.bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def latest(stats: Path) -> dict[str, Any]:
    """The newest whole line of figures; nothing before the first."""
    lines = json_lines(stats.read_bytes().rpartition(b"\n")[0]) if stats.exists() else []
    return lines[-1] if lines else {}
