"""What the two stream commands do when something is wrong: one sentence, the exit code, and the stream goes on."""

from __future__ import annotations

import asyncio
import http.server
import io
import os
import resource
import select
import signal
import socket
import socketserver
import subprocess
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websockets.sync.client
import websockets.sync.server
from PIL import Image
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from audio_avif.config import MelConfig
from audio_avif.errors import ConnectionFailed
from audio_avif.link.hello import Hello
from audio_avif.link.messages import CLOSE_PROTOCOL_ERROR, CLOSE_UNSUPPORTED, SUBPROTOCOL, Bye
from audio_avif.link.packets import TilePacket
from audio_avif_stream.commands import send as send_module
from audio_avif_stream.receiving.stream_recording import MAGIC
from audio_avif_stream.sending import sender as sender_module
from support.stream_helpers import (
    CLIP,
    PATIENCE_S,
    RECEIVER,
    SCRIPTS,
    SENDER,
    TILE_SAMPLES,
    FloatArray,
    Peer,
    Process,
    json_lines,
    live_resemblance,
    read_wav,
    receiving,
    resemblance,
    run,
    running,
    send,
    speech,
    wait_until,
    write_wav,
)

HERE = ("--host", "127.0.0.1")


# ------------------------------------------------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--host"),
        ((*HERE, "--port", "telephone"), "--port"),
        ((*HERE, "--port", "65536"), "--port"),
        ((*HERE, "--tile-frames", "1"), "--tile-frames"),
        ((*HERE, "--tile-frames", "65"), "--tile-frames"),
        ((*HERE, "--quality", "101"), "--quality"),
        ((*HERE, "--loud"), "--loud"),
        (("--host", "http://127.0.0.1"), "--host"),
    ],
)
def test_a_sender_wrongly_used_exits_with_2(arguments: tuple[str, ...], named: str) -> None:
    ended = run(SENDER, *arguments)
    assert ended.code == 2 and "Traceback" not in ended.err
    assert named in ended.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--port", "-1"), "--port"),
        (("--provider", "abacus"), "--provider"),
        (("--buffer-ms", "a lot"), "--buffer-ms"),
        (("--buffer-ms", "nan"), "--buffer-ms"),
        (("--output", "-", "--stats-json", "-"), "--stats-json"),
        (("8765",), "8765"),
    ],
)
def test_a_receiver_wrongly_used_exits_with_2(arguments: tuple[str, ...], named: str) -> None:
    ended = run(RECEIVER, *arguments)
    assert ended.code == 2 and "Traceback" not in ended.err
    assert named in ended.err.splitlines()[-1]


# --------------------------------------------------------------------------------- files and devices that do not serve


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "letter.wav"
    path.write_text("Dear ears,\n" * 50, encoding="ascii")
    return path


def test_a_sound_file_that_is_missing_or_is_none_is_told(text_file: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.wav"
    assert run(SENDER, *HERE, "--input", missing).sentence(SENDER) == f"there is no sound file {missing}"
    assert "is not a sound file that can be read" in run(SENDER, *HERE, "--input", text_file).sentence(SENDER)
    assert "is a folder" in run(SENDER, *HERE, "--input", tmp_path).sentence(SENDER)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_a_sound_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "secret.wav", speech(0.1))
    path.chmod(0)
    assert str(path) in run(SENDER, *HERE, "--input", path).sentence(SENDER)


def test_an_unknown_device_is_told() -> None:
    for ended, program in (
        (run(SENDER, *HERE, "--device", "nobody's microphone"), SENDER),
        (run(RECEIVER, "--port", 0, "--device", "nobody's speaker"), RECEIVER),
    ):
        sentence = ended.sentence(program)
        assert "put device" in sentence or "PortAudio" in sentence


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--vocoder", "parrot"), "unknown vocoder 'parrot'"),
        (("--vocoder", "{folder}/parrot.onnx"), "there is no model file"),
        (("--vocoder", "{folder}/text.onnx"), "cannot be loaded by ONNX Runtime"),
        (("--output", "{folder}/nowhere/heard.wav"), "cannot be written: No such file or directory"),
        (("--output", "{folder}/folder.wav"), "cannot be written: Is a directory"),
        (("--output", "heard.mp3"), "neither speaker nor - nor a .wav file"),
        (("--save-tiles", "{folder}/text.onnx"), "cannot be created"),
        (("--stats-json", "{folder}/nowhere/stats.jsonl"), "cannot be written: No such file or directory"),
        (("--host", "192.0.2.1"), "--host must be an address of this machine"),
        (("--host", "no.such.host.invalid"), "--host must be an address of this machine"),
    ],
)
def test_a_receiver_that_cannot_begin_says_why(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    (tmp_path / "text.onnx").write_text("no network at all", encoding="ascii")
    (tmp_path / "folder.wav").mkdir()
    output = () if "--output" in arguments else ("--output", "-")
    given = [argument.format(folder=tmp_path) for argument in arguments]
    assert told in run(RECEIVER, "--port", 0, *output, *given).sentence(RECEIVER)


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        sentence = run(RECEIVER, "--port", port, "--output", "-").sentence(RECEIVER)
    assert sentence == f"port {port} is in use; stop the program that holds it or choose another with --port"


def contents(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder, by name; of folders nothing."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


@contextmanager
def port_in_use() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield int(other.getsockname()[1])


@pytest.mark.parametrize(
    ("fault", "is_there"),
    [
        ("--port {port}", False),
        ("--port {port}", True),
        ("--port 0 --web {port}", False),
        ("--port 0 --metrics {port}", False),
        ("--port 0 --output speaker --device nobody", False),
        ("--port 0 --output speaker --device nobody", True),
        ("--port 0 --vocoder parrot", False),
        ("--port 0 --tls-cert {text} --tls-key {text}", False),
        ("--port 0 --output {folder}/heard.mp3", False),
        ("--connect ws://127.0.0.1:1 --room demo", False),
        ("--connect wss://127.0.0.1:1 --room demo --ca {text}", False),
        ("--replay {folder}/none.rec", False),
    ],
)
def test_a_receiver_that_cannot_begin_leaves_its_outputs_as_they_were(
    tmp_path: Path, fault: str, is_there: bool
) -> None:
    folder, text = tmp_path / "out", tmp_path / "text"
    folder.mkdir()
    text.write_text("neither a certificate nor a recording", encoding="ascii")
    names = {"--output": "heard.wav", "--save": "heard.avif", "--stats-json": "stats.jsonl", "--save-tiles": "a/tiles"}
    names |= {} if "--replay" in fault else {"--record": "heard.rec"}
    if is_there:
        (folder / "a" / "tiles").mkdir(parents=True)
        for name in (name for name in names.values() if name != "a/tiles"):
            (folder / name).write_bytes(MAGIC + b"\x01what was there before")
    before = contents(folder)
    outputs = [word for option, name in names.items() for word in (option, folder / name)]
    with port_in_use() as port:
        given = fault.format(port=port, folder=folder, text=text).split()
        ended = run(RECEIVER, *outputs, *given)
    assert ended.code == 1 and "Traceback" not in ended.err, ended.err
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("program", "fault", "is_there"),
    [
        (SENDER, "--host 127.0.0.1 --port 1 --input {clip}", False),
        (SENDER, "--host 127.0.0.1 --port 1 --input {clip}", True),
        (SENDER, "--host wss://127.0.0.1 --ca {text} --input {clip}", False),
        (SENDER, "--host 127.0.0.1 --input {text}", False),
        (SENDER, "--host 127.0.0.1 --device nobody", False),
        ("audio-avif-relay", "--port {port}", False),
        ("audio-avif-relay", "--port {port}", True),
        ("audio-avif-relay", "--port 0 --tls-cert {text} --tls-key {text}", False),
    ],
)
def test_a_sender_or_relay_that_cannot_begin_leaves_its_outputs_as_they_were(
    tmp_path: Path, program: str, fault: str, is_there: bool
) -> None:
    folder, text = tmp_path / "out", tmp_path / "text"
    folder.mkdir()
    text.write_text("neither a certificate nor a sound file", encoding="ascii")
    names = {"--stats-json": "stats.jsonl"} | ({"--trace": "trace.jsonl"} if program == SENDER else {})
    if is_there:
        for name in names.values():
            (folder / name).write_bytes(b"what was there before")
    before = contents(folder)
    outputs = [word for option, name in names.items() for word in (option, folder / name)]
    with port_in_use() as port:
        given = fault.format(port=port, text=text, clip=CLIP).split()
        ended = run(program, *outputs, *given)
    assert ended.code == 1 and "Traceback" not in ended.err, ended.err
    assert contents(folder) == before


def limit_file_size() -> None:
    """Let the disk be full after 40 kB, in a process about to start."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))


@pytest.mark.parametrize("pacing", ["--realtime", "--no-realtime"])
def test_a_disk_that_fills_up_ends_both_ends_and_keeps_what_fitted(tmp_path: Path, pacing: str) -> None:
    heard = tmp_path / "heard.wav"
    with receiving("--output", heard, preexec_fn=limit_file_size) as (receiver, port):
        sent = send(port, "--input", CLIP, pacing)
        played = receiver.ended()
    assert "cannot be written: File too large" in played.sentence(RECEIVER)
    assert "the receiver" in sent.sentence(SENDER)
    assert 30_000 < heard.stat().st_size <= 40_000


def test_a_reader_that_closes_its_pipe_is_told() -> None:
    read_end, write_end = os.pipe()
    with receiving("--output", "-", stdout=write_end) as (receiver, port):
        os.close(write_end)
        os.close(read_end)
        send(port, "--input", CLIP, "--no-realtime")
        assert "has closed its pipe" in receiver.ended().sentence(RECEIVER)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_figures_that_cannot_be_written_do_not_spoil_the_sound(tmp_path: Path) -> None:
    heard = tmp_path / "heard.wav"
    said = write_wav(tmp_path / "said.wav", speech(1.5))
    with receiving("--once", "--output", heard, "--stats-json", "/dev/full", "--buffer-ms", 1000) as (receiver, port):
        sent = send(port, "--input", said, "--trace", "/dev/full")
        played = receiver.ended()
    assert "/dev/full cannot be written: No space left on device" in sent.err
    assert "/dev/full cannot be written: No space left on device" in played.err
    assert "Traceback" not in sent.err + played.err
    assert live_resemblance(read_wav(said), read_wav(heard)) > 0.85


# ----------------------------------------------------------------------------------------- peers that are no receivers


@contextmanager
def tcp_server(handler: Callable[[socket.socket], None]) -> Iterator[int]:
    """Listen; what happens to a connection is the handler's."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            handler(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def websocket_server(
    handler: Callable[[websockets.sync.server.ServerConnection], None], subprotocol: str | None = SUBPROTOCOL
) -> Iterator[int]:
    """Listen as a WebSocket server, of our subprotocol unless told otherwise."""
    subprotocols = [Subprotocol(subprotocol)] if subprotocol else None
    with websockets.sync.server.serve(handler, "127.0.0.1", 0, subprotocols=subprotocols, compression=None) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.socket.getsockname()[1]


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else can take."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("127.0.0.1", "is audio-avif-recv running there"),
        ("no.such.host.invalid", "no.such.host.invalid"),
        ("not a host", "not a host"),
    ],
)
def test_a_host_that_does_not_answer_is_told(host: str, told: str) -> None:
    with closed_port() as port:
        assert told in run(SENDER, "--host", host, "--port", port, "--input", CLIP).sentence(SENDER)


def test_a_web_server_is_told() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), QuietHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        sentence = send(server.server_address[1], "--input", CLIP).sentence(SENDER)
        server.shutdown()
    assert "is not a WebSocket server; check the port" in sentence


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.parametrize(
    "answer", [b"220 mail.example.org ESMTP\r\n", b"\x00\xff" * 400, b""], ids=["mail", "binary", "hangs up"]
)
def test_a_server_of_another_kind_is_told(answer: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        if answer:
            connection.recv(4096)
            connection.sendall(answer)

    with tcp_server(speak) as port:
        assert "is no" in send(port, "--input", CLIP).sentence(SENDER)


@pytest.mark.parametrize("subprotocol", [None, "chat.v1", "audio-avif.v1"])
def test_a_websocket_server_of_another_protocol_is_told(subprotocol: str | None) -> None:
    with websocket_server(lambda connection: None, subprotocol) as port:
        sentence = send(port, "--input", CLIP).sentence(SENDER)
    assert "is not an audio-avif receiver of this version" in sentence


@pytest.mark.parametrize("answer", [b"\x82what", b"", "hello", b"\x41{", b"\x45" + bytes(16)])
def test_a_receiver_that_answers_nonsense_is_told(answer: bytes | str) -> None:
    def speak(connection: websockets.sync.server.ServerConnection) -> None:
        connection.recv()
        connection.send(answer)
        with pytest.raises(ConnectionClosed):
            connection.recv(PATIENCE_S)

    with websocket_server(speak) as port:
        assert "the receiver does not speak this protocol" in send(port, "--input", CLIP).sentence(SENDER)


def test_a_receiver_that_vanishes_in_the_middle_is_told() -> None:
    with (
        receiving("--output", "-") as (receiver, port),
        running(SENDER, *HERE, "--port", port, "--input", CLIP, "--stats", "--reconnect-s", 0) as sender,
    ):
        sender.wait_for("codec")
        receiver.popen.kill()
        ended = sender.ended()
    assert ended.code == 1 and "Traceback" not in ended.err
    assert "the connection was lost after" in ended.err.splitlines()[-1]


def options(port: int) -> Namespace:
    return send_module.parse([*HERE, "--port", str(port), "--input", str(CLIP)])


def test_a_host_that_takes_the_call_and_says_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "_CONNECT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ConnectionFailed, match="does not answer"):
        asyncio.run(send_module.send(options(silent.getsockname()[1])))


def test_a_receiver_that_never_welcomes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def listen(connection: websockets.sync.server.ServerConnection) -> None:
        with pytest.raises(ConnectionClosed):
            while True:
                connection.recv()

    monkeypatch.setattr(sender_module, "_WELCOME_S", 0.3)
    with websocket_server(listen) as port, pytest.raises(ConnectionFailed, match="did not answer the hello"):
        asyncio.run(send_module.send(options(port)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sender_that_waits_for_an_answer_can_be_interrupted(number: signal.Signals) -> None:
    called = threading.Event()

    def stay_silent(connection: socket.socket) -> None:
        connection.recv(4096)
        called.set()
        connection.recv(4096)

    with tcp_server(stay_silent) as port, running(SENDER, *HERE, "--port", port, "--input", CLIP) as sender:
        assert called.wait(PATIENCE_S)
        sender.signal(number)
        ended = sender.ended()
    assert (ended.code, ended.err) == (0, "")


def test_a_sender_that_waits_for_its_welcome_can_be_interrupted() -> None:
    called = threading.Event()

    def stay_silent(connection: websockets.sync.server.ServerConnection) -> None:
        connection.recv()
        called.set()
        with pytest.raises(ConnectionClosed):
            connection.recv(PATIENCE_S)

    with websocket_server(stay_silent) as port, running(SENDER, *HERE, "--port", port, "--input", CLIP) as sender:
        assert called.wait(PATIENCE_S)
        sender.signal(signal.SIGINT)
        ended = sender.ended()
    assert (ended.code, ended.err) == (0, "")


# ------------------------------------------------------------------------------------------- peers that are no senders


@dataclass
class Ear:
    """A receiver that outlives the streams of this module, and what it has heard of the newest one."""

    process: Process
    port: int
    wav: Path
    stats: Path
    before: tuple[int, int] = (0, 0)
    """Samples and streams before the newest peer came."""

    def finals(self) -> list[dict[str, Any]]:
        lines = json_lines(self.stats.read_bytes().rpartition(b"\n")[0])
        return [line for line in lines if line.get("is_final")]

    @contextmanager
    def peer(self, seconds: float = 1.0) -> Iterator[Peer]:
        """A peer; after it the receiver must be alive and take a proper stream."""
        self.before = read_wav(self.wav).size, len(self.finals())
        with Peer(self.port, seconds) as peer:
            yield peer
        self.before = read_wav(self.wav).size, len(self.finals())
        with Peer(self.port, 0.3) as proper:
            proper.greet()
            proper.send(*proper.tiles, proper.bye)
            assert proper.closed_with() == (1000, "")
        assert self.heard()[0].size == proper.samples.size
        assert self.process.popen.poll() is None
        assert "Traceback" not in self.process.err

    def heard(self) -> tuple[FloatArray, dict[str, Any]]:
        """Wait for the end of the newest stream; return its sound and its figures."""
        samples, streams = self.before
        wait_until(lambda: len(self.finals()) > streams, "the end of the stream")
        return read_wav(self.wav)[samples:], self.finals()[-1]

    def hear(self, peer: Peer) -> tuple[FloatArray, dict[str, Any]]:
        """Let the peer say bye; return what was heard of it."""
        peer.send(peer.bye)
        assert peer.closed_with() == (1000, "")
        return self.heard()


@pytest.fixture(scope="module")
def ear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ear]:
    folder = tmp_path_factory.mktemp("ear")
    wav, stats = folder / "heard.wav", folder / "stats.jsonl"
    with receiving("--resume-s", 0, "--output", wav, "--stats-json", stats) as (process, port):
        yield Ear(process, port, wav, stats)


def of_version_1(hello: Hello) -> bytes:
    message = bytearray(hello.to_bytes())
    message[1] = 1
    return bytes(message)


REFUSED: dict[str, tuple[Callable[[Peer], list[Any]], int, str]] = {
    "tile first": (lambda p: [p.tiles[0]], CLOSE_PROTOCOL_ERROR, "the peer's first message is not a hello"),
    "bye first": (lambda p: [p.bye], CLOSE_PROTOCOL_ERROR, "the peer's first message is not a hello"),
    "garbage": (lambda p: [b"\x3fgarbage"], CLOSE_PROTOCOL_ERROR, "unknown type 0x3f"),
    "text": (lambda p: ["hello"], CLOSE_PROTOCOL_ERROR, "text message"),
    "nothing": (lambda p: [b""], CLOSE_PROTOCOL_ERROR, "without a byte"),
    "version 1": (
        lambda p: [of_version_1(p.hello)],
        CLOSE_PROTOCOL_ERROR,
        "the peer speaks version 1 of the protocol; this program speaks 2",
    ),
    "half a hello": (lambda p: [p.hello.to_bytes()[:100]], CLOSE_PROTOCOL_ERROR, "JSON that cannot be read"),
    "no template": (lambda p: [p.hello.to_bytes()[:-200]], CLOSE_PROTOCOL_ERROR, "the template"),
    "other width": (
        lambda p: [replace(p.hello, tile=replace(p.hello.tile, frames=64))],
        CLOSE_PROTOCOL_ERROR,
        "the template is of 8x80 pixels",
    ),
    "other mel": (
        lambda p: [replace(p.hello, mel=MelConfig(fmax_hz=8000.0))],
        CLOSE_UNSUPPORTED,
        "80-8000 Hz",
    ),
    "too long": (lambda p: [bytes(70_000)], 1009, ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_peer_that_does_not_open_a_proper_stream_is_refused(ear: Ear, case: str) -> None:
    messages, code, reason = REFUSED[case]
    with ear.peer() as peer:
        peer.send(*messages(peer))
        closed_code, closed_reason = peer.closed_with()
    assert closed_code == code
    assert reason in closed_reason


@pytest.mark.parametrize(
    ("nonsense", "code"),
    [
        (b"\x3fgarbage", 4000),
        ("text", 4000),
        (b"\x02\0\0", 4000),
        (b"\x04", 4000),
        (bytes(70_000), 1009),
        ("again", 4000),
    ],
)
def test_what_came_before_nonsense_is_played(ear: Ear, nonsense: bytes | str, code: int) -> None:
    with ear.peer() as peer:
        peer.greet()
        peer.send(*peer.tiles[:-1])
        peer.send(peer.hello if nonsense == "again" else nonsense)
        assert peer.closed_with()[0] == code
        heard, _ = ear.heard()
    assert heard.size == (len(peer.tiles) - 1) * TILE_SAMPLES
    assert resemblance(peer.samples, heard) > 0.9


def still(width: int, height: int, kind: str = "AVIF", mode: str = "L", **options: Any) -> bytes:
    out = io.BytesIO()
    if kind == "AVIF" and mode == "L":
        options["subsampling"] = "4:0:0"
    Image.new(mode, (width, height)).save(out, kind, **options)
    return out.getvalue()


BAD_PICTURES: dict[str, Callable[[TilePacket], TilePacket]] = {
    "random": lambda tile: replace(tile, payload=np.random.default_rng(1).bytes(60), header=None),
    "one byte": lambda tile: replace(tile, payload=b"\0", header=None),
    "half a frame": lambda tile: replace(tile, payload=tile.payload[: len(tile.payload) // 2]),
    "huge": lambda tile: replace(tile, payload=still(4096, 4096, speed=10), is_whole_still=True),
    "one column more": lambda tile: replace(tile, payload=still(9, 80), is_whole_still=True),
    "in colour": lambda tile: replace(tile, payload=still(8, 80, mode="RGB"), is_whole_still=True),
    "JPEG": lambda tile: replace(tile, payload=still(8, 80, "JPEG"), is_whole_still=True),
    "truncated": lambda tile: replace(tile, payload=still(8, 80)[:-5], is_whole_still=True),
    "header only": lambda tile: replace(tile, payload=still(8, 80)[:40], is_whole_still=True),
}


@pytest.mark.parametrize("case", BAD_PICTURES)
def test_a_tile_that_is_not_the_promised_picture_is_concealed(ear: Ear, case: str) -> None:
    with ear.peer() as peer:
        peer.greet()
        peer.tiles[3] = BAD_PICTURES[case](peer.tiles[3])
        assert len(peer.tiles[3].to_bytes()) < 65_536
        peer.send(*peer.tiles)
        heard, figures = ear.hear(peer)
    assert (figures["lost_tiles"], figures["received_tiles"]) == (1, len(peer.tiles))
    assert figures["concealed_ms"] == 128
    assert heard.size == peer.samples.size
    assert resemblance(peer.samples, heard) > 0.8


def test_tiles_out_of_order_and_repeated_are_played_as_if_they_were_not(ear: Ear) -> None:
    with ear.peer() as peer:
        peer.greet()
        first, *others = peer.tiles
        peer.send(first, *[tile for pair in zip(others[1::2], others[::2], strict=False) for tile in pair])
        peer.send(*others[2 * (len(others) // 2) :], peer.tiles[-1], first)
        heard, figures = ear.hear(peer)
    assert figures["lost_tiles"] == figures["concealed_ms"] == 0
    assert figures["received_tiles"] == len(peer.tiles)
    assert figures["repeated_tiles"] + figures["late_tiles"] == 2
    assert heard.size == peer.samples.size
    assert resemblance(peer.samples, heard) > 0.9


def test_missing_tiles_are_counted_and_their_time_is_kept(ear: Ear) -> None:
    with ear.peer(2.0) as peer:
        peer.greet()
        missing = {3, 7, 8}
        peer.send(*[tile for tile in peer.tiles if tile.sequence not in missing])
        heard, figures = ear.hear(peer)
    assert figures["lost_tiles"] == len(missing)
    assert figures["concealed_ms"] == 128 * len(missing)
    assert heard.size == peer.samples.size
    assert resemblance(peer.samples, heard) > 0.75


def test_tiles_that_lie_about_their_place_do_no_harm(ear: Ear) -> None:
    with ear.peer() as peer:
        peer.greet(report=True)
        lies = [0, 0, 2**32 - 1, 0, 5, 2**31, 1]
        peer.send(*[replace(tile, first_frame=lie) for tile, lie in zip(peer.tiles, lies, strict=False)])
        peer.send(replace(peer.tiles[0], sequence=2**32 - 1), Bye(2**32 - 1, 2**53))
        assert peer.closed_with() == (1000, "")


def test_what_follows_the_bye_is_not_heard(ear: Ear) -> None:
    with ear.peer() as peer:
        peer.greet()
        peer.send(*peer.tiles, peer.bye)
        with suppress(ConnectionClosed):  # all may be played before they are sent
            peer.send(peer.tiles[0], b"\x3fgarbage")
        assert peer.closed_with() == (1000, "")
        heard, figures = ear.heard()
    assert figures["received_tiles"] == len(peer.tiles)
    assert heard.size == peer.samples.size


def test_a_connection_cut_without_a_bye_leaves_what_had_come(ear: Ear) -> None:
    with ear.peer() as peer:
        peer.greet()
        peer.send(*peer.tiles[:5])
        peer.wait_for_receipt(4)
        peer.cut()
        heard, _ = ear.heard()
    assert heard.size == 5 * TILE_SAMPLES
    assert resemblance(peer.samples, heard) > 0.9
    assert "connection lost; the sound received so far is played" in ear.process.err


def test_what_is_no_websocket_does_not_disturb(ear: Ear) -> None:
    with (
        socket.create_connection(("127.0.0.1", ear.port)) as silent,
        socket.create_connection(("127.0.0.1", ear.port)) as browser,
        ear.peer(),
    ):
        browser.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        browser.settimeout(PATIENCE_S)
        assert browser.recv(64).startswith(b"HTTP/1.1 426")
        assert silent.fileno() > 0


def test_a_page_in_a_browser_is_refused(ear: Ear) -> None:
    """Else any web site could speak through a receiver on its visitor's machine."""
    with (
        ear.peer(),
        pytest.raises(InvalidStatus, match="403"),
        websockets.sync.client.connect(
            f"ws://127.0.0.1:{ear.port}", subprotocols=[SUBPROTOCOL], origin="https://page.example", proxy=None
        ),
    ):
        pass


def test_who_has_not_said_hello_keeps_nobody_out(ear: Ear) -> None:
    with (
        websockets.sync.client.connect(f"ws://127.0.0.1:{ear.port}", subprotocols=[SUBPROTOCOL], proxy=None),
        ear.peer() as peer,
    ):
        peer.greet()
        peer.send(*peer.tiles, peer.bye)
        assert peer.closed_with() == (1000, "")


def test_only_pictures_are_saved(tmp_path: Path) -> None:
    """What is saved may be opened in a viewer."""
    tiles = tmp_path / "tiles"
    with receiving("--once", "--output", tmp_path / "heard.wav", "--save-tiles", tiles) as (process, port):
        with Peer(port, 0.5) as peer:
            peer.greet()
            script = TilePacket(1, 8, 8, b"#!/bin/sh\necho boo\n", is_whole_still=True)
            peer.send(peer.tiles[0], script, *peer.tiles[2:], peer.bye)
            assert peer.closed_with() == (1000, "")
        assert process.ended().code == 0
    expected = [f"001-{number:06d}.avif" for number in range(len(peer.tiles)) if number != 1]
    assert sorted(path.name for path in tiles.iterdir()) == expected


def test_a_listing_into_a_closed_pipe_and_a_closed_input_make_no_fuss() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    listed = run(SENDER, "--list-devices", stdout=write_end)
    os.close(write_end)
    assert "Traceback" not in listed.err and "BrokenPipe" not in listed.err
    with closed_port() as port:
        command = f"{SCRIPTS / SENDER} --host 127.0.0.1 --port {port} --input - <&-"
        closed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=PATIENCE_S)
    assert closed.returncode == 1
    assert closed.stderr == f"{SENDER}: standard input is not open\n"


@pytest.mark.parametrize("subprotocols", [None, ["audio-avif.v1"]])
def test_a_websocket_client_of_another_protocol_is_refused(ear: Ear, subprotocols: Any) -> None:
    with (
        ear.peer(),
        pytest.raises(InvalidStatus, match="400"),
        websockets.sync.client.connect(f"ws://127.0.0.1:{ear.port}", subprotocols=subprotocols, proxy=None),
    ):
        pass


# ------------------------------------------------------------------------------------------------- peers that only wait


def test_a_peer_that_says_nothing_does_not_hold_the_receiver(tmp_path: Path) -> None:
    with receiving("--once", "--handshake-s", 5, "--output", tmp_path / "heard.wav") as (receiver, port):
        with Peer(port) as silent:
            assert silent.closed_with() == (
                CLOSE_PROTOCOL_ERROR,
                "the peer sent no hello within 5 s (--handshake-s)",
            )
        with Peer(port, 0.3) as peer:
            peer.greet()
            peer.send(*peer.tiles, peer.bye)
            assert peer.closed_with() == (1000, "")
        ended = receiver.ended()
    assert ended.code == 0
    assert "127.0.0.1 was refused: the peer sent no hello within 5 s (--handshake-s)" in ended.err


@pytest.mark.slow
def test_a_receiver_whose_sound_nobody_takes_can_be_interrupted(tmp_path: Path) -> None:
    """As behind a player that is paused: the pipe is full, and the thread that plays waits for it."""
    said = write_wav(tmp_path / "said.wav", np.tile(speech(5.0), 6))
    read_end, write_end = os.pipe()
    try:
        with (
            receiving("--output", "-", stdout=write_end) as (receiver, port),
            running(SENDER, *HERE, "--port", port, "--input", said, "--no-realtime", "--reconnect-s", 0) as sender,
        ):
            wait_until(lambda: not select.select([], [write_end], [], 0)[1], "a full pipe")
            receiver.signal(signal.SIGINT)
            ended = receiver.ended()
            assert "Traceback" not in sender.ended().err
        assert ended.code == 0 and "Traceback" not in ended.err, ended.err
    finally:
        os.close(read_end)
        os.close(write_end)


def test_a_receiver_whose_terminal_is_gone_plays_to_the_end(tmp_path: Path) -> None:
    """What reads its messages may end before it, as in a pipe to head; it must neither hang nor lose the stream."""
    heard = tmp_path / "heard.wav"
    said = write_wav(tmp_path / "said.wav", speech(2.0))
    command = [SCRIPTS / RECEIVER, *HERE, "--port", "0", "--output", heard, "--once", "--stats"]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as receiver:
        assert receiver.stderr is not None
        try:
            port = next(line.split("--port ")[1].split()[0] for line in receiver.stderr if "--port " in line)
            receiver.stderr.close()
            sent = send(int(port), "--input", said, "--no-realtime")
            assert receiver.wait(PATIENCE_S) == 0
        finally:
            receiver.kill()
    assert sent.code == 0, sent.err
    assert abs(read_wav(heard).size - 2.0 * 16_000) < 16
