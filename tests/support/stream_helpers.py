"""The two stream commands as processes, and peers that do to them what a proper program would not."""

from __future__ import annotations

import copy
import json
import os
import re
import secrets
import signal
import ssl
import statistics
import subprocess
import sysconfig
import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from audio_avif.codec.encoder import Encoder
from audio_avif.config import MelConfig
from audio_avif.link.hello import Hello
from audio_avif.link.messages import SUBPROTOCOL, Bye, Receipt, Welcome
from audio_avif.link.packets import TilePacket
from audio_avif.signal.features import log_mel
from audio_avif.types import FloatArray
from support.paths import CLIP as CLIP

SCRIPTS = Path(sysconfig.get_path("scripts"))
SENDER, RECEIVER = "audio-avif-send", "audio-avif-recv"
RATE_HZ = 16_000
TILE_SAMPLES = 8 * 256
PATIENCE_S = 60.0
"""After so long something hangs. What a fault would wait for takes longer: a file's end, a peer that never answers."""


def speech(seconds: float, start_s: float = 0.3) -> FloatArray:
    """Samples of the bundled clip."""
    start = round(start_s * RATE_HZ)
    samples, rate_hz = soundfile.read(CLIP, start=start, stop=start + round(seconds * RATE_HZ), dtype="float32")
    assert rate_hz == RATE_HZ
    return np.asarray(samples, np.float32)


def write_wav(path: Path, samples: FloatArray) -> Path:
    """Write 16-bit mono 16 kHz."""
    soundfile.write(path, samples, RATE_HZ, subtype="PCM_16")
    return path


def read_wav(path: Path) -> FloatArray:
    """Read a WAV file whose header must be right to the byte."""
    assert path.stat().st_size >= 44, "the file has no header"
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)
        data = file.readframes(file.getnframes())
        assert len(data) == 2 * file.getnframes() == path.stat().st_size - 44
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def resemblance(a: FloatArray, b: FloatArray) -> float:
    """How alike two signals sound: the correlation of their log-mel spectrograms."""
    size = min(a.size, b.size)
    return _correlation(_loud_log_mel(a[:size]), _loud_log_mel(b[:size]))


def live_resemblance(said: FloatArray, heard: FloatArray, missed_s: float = 0.0) -> float:
    """The same for a live stream, in which a busy machine may leave gaps: each half second is looked for on its own.

    As many of them as the receiver says it ``missed_s`` are not asked for, but one half always is.
    """
    mels = _loud_log_mel(said), _loud_log_mel(heard)
    frames, max_late = 31, 40
    found = []
    for start in range(0, mels[0].shape[1] - frames, frames):
        piece = mels[0][:, start : start + frames]
        there = [mels[1][:, at : at + frames] for at in range(max(0, start - 8), start + max_late)]
        found.append(max((_correlation(piece, other) for other in there if other.shape == piece.shape), default=0.0))
    return statistics.median(sorted(found)[min(round(missed_s / 0.5), len(found) // 2) :])


def missed_s(figures: dict[str, Any]) -> float:
    """How much of what was said a receiver did not play, as its figures tell."""
    missing_tiles = figures["lost_tiles"] + figures["late_tiles"] + figures["skipped_tiles"]
    return max(float(missing_tiles) * TILE_SAMPLES / RATE_HZ, float(figures["concealed_ms"]) / 1e3)


def _loud_log_mel(samples: FloatArray) -> FloatArray:
    return np.maximum(log_mel(samples, MelConfig()), np.float32(-4))


def _correlation(a: FloatArray, b: FloatArray) -> float:
    if not (a.std() and b.std()):
        return 0.0  # one of them is a gap
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Look again and again until it is so."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not come about"
        time.sleep(0.02)


@dataclass(frozen=True)
class Ended:
    """What a command left."""

    code: int
    out: bytes
    err: str

    def sentence(self, program: str) -> str:
        """The one line that a failure is told in."""
        assert self.code == 1, self.err
        lines = [line for line in self.err.splitlines() if not is_chatter(line)]
        assert len(lines) == 1 and lines[0].startswith(f"{program}: "), self.err
        return lines[0].removeprefix(f"{program}: ")


def is_chatter(line: str) -> bool:
    """Whether a line on standard error belongs to the ordinary course of things."""
    return line.startswith(("listening; ", "  audio-avif-send ", "(", "played ", "sent "))


class Process:
    """A command that runs; both its outputs are drained."""

    def __init__(self, program: str, *arguments: object, **popen: Any) -> None:
        command = [str(SCRIPTS / program), *map(str, arguments)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.popen: subprocess.Popen[bytes] = subprocess.Popen(command, bufsize=0, **{**pipes, **popen})
        self._out, self._err = bytearray(), bytearray()
        self._readers = [
            threading.Thread(target=_drain, args=pair, daemon=True)
            for pair in ((self.popen.stdout, self._out), (self.popen.stderr, self._err))
            if pair[0] is not None
        ]
        for reader in self._readers:
            reader.start()

    @property
    def err(self) -> str:
        """Standard error so far."""
        return self._err.decode()

    @property
    def out(self) -> bytes:
        """Standard output so far."""
        return bytes(self._out)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.popen.pid

    def wait_for(self, text: str) -> None:
        """Wait until standard error says this."""
        wait_until(lambda: text in self.err or self.popen.poll() is not None, f"{text!r} on standard error")
        if text not in self.err:
            self._read_to_the_end()  # a program that has ended may have said it last
        assert text in self.err, f"exit code {self.popen.poll()}: {self.err}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.popen.send_signal(number)

    def ended(self, within_s: float = PATIENCE_S) -> Ended:
        """Wait for the end."""
        code = self.popen.wait(within_s)
        self._read_to_the_end()
        return Ended(code, self.out, self.err)

    def _read_to_the_end(self) -> None:
        for reader in self._readers:
            reader.join(PATIENCE_S)

    def kill(self) -> None:
        """End it if it still runs."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()


def _drain(pipe: Any, into: bytearray) -> None:
    with pipe:
        while data := pipe.read(65_536):
            into += data


@contextmanager
def running(program: str, *arguments: object, **popen: Any) -> Iterator[Process]:
    """A command for the length of the block."""
    process = Process(program, *arguments, **popen)
    try:
        yield process
    finally:
        process.kill()


@contextmanager
def receiving(*arguments: object, **popen: Any) -> Iterator[tuple[Process, int]]:
    """A receiver that listens already on a port of its own, and that port."""
    with running(RECEIVER, "--port", 0, "--vocoder", "griffin-lim", *arguments, **popen) as process:
        process.wait_for("listening; ")
        line = re.compile(r"audio-avif-send --host \S+?(?: --port |:)(\d+)")
        wait_until(lambda: line.search(process.err) is not None, "the line with the port")
        port = line.search(process.err)
        assert port is not None
        yield process, int(port[1])


def run(program: str, *arguments: object, **popen: Any) -> Ended:
    """Run a command to its end."""
    with running(program, *arguments, **popen) as process:
        return process.ended()


def send(port: int, *arguments: object, **popen: Any) -> Ended:
    """Run a sender to its end."""
    return run(SENDER, "--host", "127.0.0.1", "--port", port, *arguments, **popen)


def json_lines(data: bytes | Path) -> list[dict[str, Any]]:
    """Parse a line of JSON each."""
    text = data.read_bytes() if isinstance(data, Path) else data
    return [json.loads(line) for line in text.splitlines()]


class Peer:
    """A sender made by hand: its hello and tiles are a proper stream's, and what is done with them is up to a test."""

    def __init__(
        self,
        port: int,
        seconds: float = 1.0,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        path: str = "",
    ) -> None:
        self.samples = speech(seconds)
        encoder = Encoder()
        self.hello = Hello(encoder.mel, encoder.tile, encoder.template, f"by hand {secrets.token_hex(4)}", live=False)
        packets = encoder.push(self.samples) + encoder.flush()
        self.tiles = [packet for packet in packets if isinstance(packet, TilePacket)]  # without pauses, all of them
        self.bye: Bye = encoder.bye()
        self._address = f"{'ws' if tls is None else 'wss'}://127.0.0.1:{port}{path}"
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._tls = tls
        self._stack = ExitStack()

    def __enter__(self) -> Peer:
        opening = connect(
            self._address,
            ssl=self._tls,
            additional_headers=self._headers,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            proxy=None,
            open_timeout=PATIENCE_S,
            close_timeout=5,
        )
        self.socket: ClientConnection = self._stack.enter_context(opening)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def greet(self, **changes: Any) -> Welcome:
        """Say hello and wait for the welcome."""
        self.socket.send(replace(self.hello, **changes).to_bytes())
        answer = self.socket.recv(PATIENCE_S)
        assert isinstance(answer, bytes)
        return Welcome.parse(answer)

    def anew(self) -> Peer:
        """The same sender, to connect again."""
        other = copy.copy(self)
        other._stack = ExitStack()
        return other

    def send(self, *messages: Hello | TilePacket | Bye | bytes | str) -> None:
        """Send messages, whatever they are."""
        for message in messages:
            self.socket.send(message if isinstance(message, (bytes, str)) else message.to_bytes())

    def closed_with(self) -> tuple[int, str]:
        """Wait until the receiver closes; return its code and reason."""
        try:
            while True:
                self.socket.recv(PATIENCE_S)
        except ConnectionClosed as closed:
            assert closed.rcvd is not None, "the connection was cut without a close"
            return closed.rcvd.code, closed.rcvd.reason

    def wait_for_receipt(self, sequence: int) -> None:
        """Wait until the receiver has this tile: what it has not read when the connection is cut is lost."""
        while self.socket.recv(PATIENCE_S) != Receipt(sequence).to_bytes():
            pass

    def cut(self) -> None:
        """Cut the connection without a close."""
        self.socket.socket.shutdown(2)


def open_files(pid: int) -> int:
    """How many files and sockets a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    """How many threads a process has."""
    return len(os.listdir(f"/proc/{pid}/task"))
