"""Limits, tokens and TLS: who may come in, what becomes of the others, and that the stream that plays goes on."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from websockets.exceptions import ConnectionClosed, InvalidStatus

from audio_avif.codec.playout import PlayoutConfig
from audio_avif.errors import FileError
from audio_avif.link.messages import CLOSE_TOO_MANY_MESSAGES, SUBPROTOCOL, Ping, Receipt
from audio_avif.vocoders.griffin_lim import GriffinLim, RtisiLa
from audio_avif_stream.client import connection as connecting
from audio_avif_stream.receiving import receiver as receiver_module
from audio_avif_stream.receiving.outputs import WavOutput
from audio_avif_stream.receiving.receiver import BindAddress, Receiver, send_line
from audio_avif_stream.receiving.stage import Stage
from audio_avif_stream.serving.admission import Complaints
from audio_avif_stream.serving.security import (
    Limits,
    MessageAllowance,
    client_context,
    explain_tls_failure,
    is_token,
    kept_token,
    new_token,
    server_context,
    shows_token,
)
from audio_avif_stream.telemetry.live_line import JsonLines, LiveLine
from support.paths import DOCS
from support.stream_helpers import (
    CLIP,
    PATIENCE_S,
    RATE_HZ,
    RECEIVER,
    SCRIPTS,
    TILE_SAMPLES,
    FloatArray,
    Peer,
    Process,
    json_lines,
    live_resemblance,
    missed_s,
    open_files,
    read_wav,
    receiving,
    run,
    wait_until,
)
from support.timing import best_of_attempts, in_time

TOKEN = "correct-horse"
REQUEST = (
    "GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
)


# ------------------------------------------------------------------------------------------------------------- tokens


def test_a_token_is_shown_in_one_bearer_header_and_nowhere_else() -> None:
    assert shows_token([f"Bearer {TOKEN}"], TOKEN) and shows_token([f"bearer  {TOKEN}"], TOKEN)
    wrong = [
        "",
        TOKEN,
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer \xe9",
    ]
    for header in wrong:
        assert not shows_token([header], TOKEN), header
    assert not shows_token([], TOKEN)
    assert not shows_token([f"Bearer {TOKEN}"] * 2, TOKEN)


def test_new_tokens_differ_and_can_be_typed_after_an_option() -> None:
    tokens = {new_token() for _ in range(500)}
    assert len(tokens) == 500
    assert all(re.fullmatch(r"\w{22}", token) for token in tokens)
    assert all(map(is_token, tokens))
    assert not any(map(is_token, ["", "two words", "line\n", "gr\xfcn", "\x7f"]))


@pytest.mark.skipif(os.name != "posix", reason="looks at a file's mode")
def test_a_token_that_was_made_is_the_same_after_a_restart_and_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "token"
    token = kept_token(file)
    assert is_token(token) and file.stat().st_mode & 0o777 == 0o600
    assert kept_token(file) == token
    for spoiled in (b"", b"two words", b"\xff"):
        file.write_bytes(spoiled)
        assert kept_token(file) != token
    assert kept_token(file) == kept_token(file)


def test_where_a_token_cannot_be_kept_one_is_made_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "no folder").write_text("")
    assert is_token(kept_token(tmp_path / "no folder" / "token"))
    assert "cannot be stored" in caplog.text


@pytest.mark.parametrize("kind", [BindAddress, connecting.Address])
def test_an_address_that_is_printed_does_not_show_its_token(kind: type[BindAddress] | type[connecting.Address]) -> None:
    address = kind("here", 1, token=TOKEN)
    assert TOKEN not in f"{address!r} {address}"


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[Process, int]]:
    """A receiver with a token, taken from the environment."""
    with receiving("--output", "-", env={**os.environ, "AUDIO_AVIF_TOKEN": TOKEN}) as pair:
        yield pair


@pytest.mark.parametrize("token", [None, "wrong", f"{TOKEN}\xe9"])
def test_who_does_not_show_the_token_is_told_401_before_anything_else(
    guarded: tuple[Process, int], token: str | None
) -> None:
    _, port = guarded
    with pytest.raises(InvalidStatus, match="401") as refused, Peer(port, token=token):
        pass
    assert refused.value.response.headers["WWW-Authenticate"] == "Bearer"


def test_who_shows_the_token_is_played(guarded: tuple[Process, int]) -> None:
    _, port = guarded
    with Peer(port, 0.3, token=TOKEN) as peer:
        peer.greet()
        peer.send(*peer.tiles, peer.bye)
        assert peer.closed_with() == (1000, "")


def test_a_token_given_by_the_user_is_not_printed(guarded: tuple[Process, int]) -> None:
    process, _ = guarded
    assert TOKEN not in process.err
    assert '--token "$AUDIO_AVIF_TOKEN"' in process.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--token", "a", "--no-token"), "--no-token"),
        (("--token", "two words"), "--token"),
        (("--token", ""), "--token"),
        (("--tls-cert", "cert.pem"), "--tls-key"),
        (("--tls-key", "key.pem"), "--tls-cert"),
        (("--max-connections", "0"), "--max-connections"),
        (("--max-message-bytes", "70000"), "--max-message-bytes"),
        (("--handshake-s", "0"), "--handshake-s"),
        (("--resume-s", "-1"), "--resume-s"),
        (("--resume-s", "nan"), "--resume-s"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], named: str) -> None:
    ended = run(RECEIVER, "--port", 0, *arguments)
    assert ended.code == 2 and "Traceback" not in ended.err
    assert named in ended.err.splitlines()[-1]


# ------------------------------------------------------------------------------------- in this process, on loopback


def stage(folder: Path, **changes: object) -> Stage:
    output = WavOutput(str(folder / "heard.wav"))
    return Stage(GriffinLim(), output, PlayoutConfig(), LiveLine(False), JsonLines(None), **changes)  # type: ignore[arg-type]


def while_listening(
    receiver: Receiver,
    capsys: pytest.CaptureFixture[str],
    clients: Callable[[int, str], None],
    is_open: bool = False,
) -> None:
    """Run a receiver here, and the clients in a thread once it is up; they are given its port and what it printed."""
    told = ""

    def is_told() -> bool:
        nonlocal told
        told += capsys.readouterr().err
        return re.search(r"--port \d+.*\n", told) is not None

    async def listen() -> None:
        listening = asyncio.create_task(receiver_module.listen(receiver, BindAddress("127.0.0.1", 0, is_open=is_open)))
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not is_told() and not listening.done():
                    await asyncio.sleep(0.02)
            port = re.search(r"--port (\d+)", told)
            assert port is not None, told
            await asyncio.to_thread(clients, int(port[1]), told)
        finally:
            receiver.finished.set()
            await listening

    asyncio.run(listen())


def test_a_receiver_that_others_can_reach_makes_a_token_and_says_that_it_speaks_in_clear(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(receiver_module, "is_local", lambda listening: False)

    def clients(port: int, told: str) -> None:
        token = re.search(rf"audio-avif-send --host 127.0.0.1 --port {port} --token (\w{{22}})\n", told)
        assert token is not None, told
        with pytest.raises(InvalidStatus, match="401"), Peer(port):
            pass
        with Peer(port, 0.3, token=token[1]) as peer:
            peer.greet()

    while_listening(Receiver(stage(tmp_path)), capsys, clients)
    assert "the connection is not encrypted, and neither is the token; use --tls-cert" in caplog.text


def test_no_token_lets_everybody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(receiver_module, "is_local", lambda listening: False)

    def clients(port: int, told: str) -> None:
        assert "--token" not in told
        with Peer(port, 0.3) as peer:
            peer.greet()

    while_listening(Receiver(stage(tmp_path)), capsys, clients, is_open=True)


def test_the_printed_line_names_scheme_port_and_token_where_they_are_needed() -> None:
    assert send_line("192.0.2.7", 8765) == "audio-avif-send --host 192.0.2.7"
    assert send_line("192.0.2.7", 9000, token="abc") == "audio-avif-send --host 192.0.2.7 --port 9000 --token abc"
    assert send_line("192.0.2.7", 8765, is_tls=True) == "audio-avif-send --host wss://192.0.2.7"
    assert send_line("2001:db8::7", 9000, True, "abc") == "audio-avif-send --host wss://[2001:db8::7]:9000 --token abc"


def test_a_fault_in_one_stream_does_not_end_the_receiver(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    healthy = RtisiLa.push
    faults = iter([True])

    def push(self: RtisiLa, log_mel: FloatArray) -> FloatArray:
        if threading.current_thread().name == "playout" and next(faults, False):
            raise RuntimeError("a band is missing")
        return healthy(self, log_mel)

    monkeypatch.setattr(RtisiLa, "push", push)

    def clients(port: int, told: str) -> None:
        with Peer(port, 0.5) as peer:
            peer.greet()
            with suppress(ConnectionClosed):  # the receiver may close before all is sent
                peer.send(*peer.tiles, peer.bye)
            assert peer.closed_with() == (1011, "the receiver could not play the stream")
        with Peer(port, 0.5) as peer:
            peer.greet()
            peer.send(*peer.tiles, peer.bye)
            assert peer.closed_with() == (1000, "")

    while_listening(Receiver(stage(tmp_path)), capsys, clients)
    assert "a stream could not be played: playing the stream failed: a band is missing" in caplog.text


# ---------------------------------------------------------------------------------------------------------------- TLS


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, and the authority that signed it."""

    cert: Path
    key: Path
    authority: Path

    @classmethod
    def made(cls, folder: Path, name: str = "127.0.0.1", until: datetime | None = None) -> Pair:
        """For this name, by an authority of its own."""
        authority = trustme.CA()
        issued = authority.issue_cert(name, not_after=until)
        pair = cls(folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.ca")
        for number, part in enumerate(issued.cert_chain_pems):
            part.write_to_path(pair.cert, append=number > 0)
        issued.private_key_pem.write_to_path(pair.key)
        authority.cert_pem.write_to_path(pair.authority)
        return pair

    @property
    def options(self) -> tuple[object, ...]:
        return "--tls-cert", self.cert, "--tls-key", self.key


def test_a_stream_over_tls_is_played_and_one_in_clear_is_not(tmp_path: Path) -> None:
    pair = Pair.made(tmp_path)
    wav = tmp_path / "heard.wav"
    with receiving(*pair.options, "--token", TOKEN, "--output", wav) as (process, port):
        assert f"--host wss://127.0.0.1:{port} --token" in process.err
        with pytest.raises(Exception, match=r".") as refused, Peer(port, token=TOKEN):
            pass
        assert not isinstance(refused.value, TimeoutError)
        trusting = client_context(pair.authority)
        # This client reads and writes in two threads, and loses its request to a ticket of TLS 1.3 now and then.
        trusting.maximum_version = ssl.TLSVersion.TLSv1_2
        with Peer(port, token=TOKEN, tls=trusting) as peer:
            assert peer.socket.socket.version() == "TLSv1.2"
            peer.greet()
            peer.send(*peer.tiles, peer.bye)
            assert peer.closed_with() == (1000, "")
        assert read_wav(wav).size == peer.samples.size
        assert "Traceback" not in process.err


@pytest.mark.skipif(os.name == "nt", reason="the line is typed into a POSIX shell")
def test_the_printed_line_works_over_tls_with_the_authority_and_the_token(tmp_path: Path) -> None:
    pair = Pair.made(tmp_path)
    environment = {**os.environ, "AUDIO_AVIF_TOKEN": TOKEN, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"}
    with receiving("--once", "--output", "-", *pair.options, env=environment) as (process, _):
        line = next(line for line in process.err.splitlines() if line.startswith("  audio-avif-send"))
        rest = f"--ca {pair.authority} --input {CLIP} --no-realtime"
        typed = subprocess.run(
            f"{line} {rest}", shell=True, env=environment, capture_output=True, text=True, timeout=60
        )
        assert typed.returncode == 0, typed.stderr
        assert len(process.ended().out) > RATE_HZ


def test_a_certificate_that_does_not_serve_is_told_in_a_sentence(tmp_path: Path) -> None:
    pair, other = Pair.made(tmp_path), Pair.made(tmp_path, "other.example")
    text, encrypted = tmp_path / "letter.txt", tmp_path / "encrypted.key"
    text.write_text("Dear ears,", encoding="ascii")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"secret")
    encrypted.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", encoding="ascii")
    missing = tmp_path / "missing.key"
    for cert, key_file, told in (
        (missing, pair.key, "the certificate .* cannot be read: No such file or directory"),
        (pair.cert, missing, "the key .* cannot be read: No such file or directory"),
        (tmp_path, pair.key, "cannot be read: Is a directory"),
        (text, pair.key, "letter.txt has no certificate in PEM form; --tls-cert"),
        (pair.cert, text, "letter.txt has no key in PEM form; --tls-key"),
        (pair.key, pair.cert, "has no certificate in PEM form"),
        (pair.cert, other.key, "does not belong to the certificate"),
        (pair.cert, encrypted, "is encrypted; decrypt it with: openssl pkey -in"),
        (damaged, pair.key, "damaged"),
    ):
        with pytest.raises(FileError, match=told):
            server_context(cert, key_file)
    for ca in (missing, text, damaged):
        with pytest.raises(FileError):
            client_context(ca)


def test_a_receiver_with_a_bad_key_ends_with_one_sentence(tmp_path: Path) -> None:
    pair, other = Pair.made(tmp_path), Pair.made(tmp_path, "other.example")
    ended = run(RECEIVER, "--port", 0, "--output", "-", "--tls-cert", pair.cert, "--tls-key", other.key)
    assert "does not belong to the certificate" in ended.sentence(RECEIVER)


def handshake(client: ssl.SSLContext, server: ssl.SSLContext | None, host: str) -> None:
    """Shake hands over a socket; what listens speaks TLS, or HTTP without a server context."""

    def serve() -> None:
        with suppress(OSError), listening.accept()[0] as accepted:
            if server is None:
                accepted.recv(1000)
                accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            else:
                with server.wrap_socket(accepted, server_side=True) as secure:
                    secure.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listening.getsockname(), PATIENCE_S) as plain,
                client.wrap_socket(plain, server_hostname=host) as secure,
            ):
                secure.sendall(b"x")
        finally:
            thread.join()


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("unknown", "the certificate of there is signed by an unknown authority; give that authority's with --ca"),
        ("expired", "the certificate of there has expired"),
        ("other name", "the certificate of there is for another name"),
        ("no TLS", "there does not use TLS; start audio-avif-recv with --tls-cert and --tls-key"),
        ("old", "have no TLS version in common"),
    ],
)
def test_each_way_in_which_tls_fails_has_its_sentence(tmp_path: Path, case: str, told: str) -> None:
    until = datetime.now(UTC) - timedelta(days=1) if case == "expired" else None
    pair = Pair.made(tmp_path, "other.example" if case == "other name" else "127.0.0.1", until)
    server = server_context(pair.cert, pair.key)
    client = client_context(None if case == "unknown" else pair.authority)
    if case == "old":
        server.maximum_version = ssl.TLSVersion.TLSv1_2
        client.minimum_version = ssl.TLSVersion.TLSv1_3
    with pytest.raises(OSError) as failed:
        handshake(client, None if case == "no TLS" else server, "127.0.0.1")
    assert told in explain_tls_failure(failed.value, "there")


def test_a_proper_certificate_is_accepted(tmp_path: Path) -> None:
    pair = Pair.made(tmp_path)
    handshake(client_context(pair.authority), server_context(pair.cert, pair.key), "127.0.0.1")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command")
def test_the_certificate_made_as_the_documentation_says_serves(tmp_path: Path) -> None:
    text = (DOCS / "guides" / "security.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^openssl req .*?(?<!\\)$", text, re.MULTILINE | re.DOTALL)
    subprocess.run(command.replace("192.0.2.7", "127.0.0.1"), shell=True, cwd=tmp_path, check=True, capture_output=True)
    client = client_context(tmp_path / "receiver.pem")
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    handshake(client, server_context(tmp_path / "receiver.pem", tmp_path / "receiver.key"), "127.0.0.1")


# ------------------------------------------------------------------------------------------------------------- limits


def test_limits_are_more_than_nothing() -> None:
    for name in vars(Limits()):
        with pytest.raises(ValueError, match=name):
            Limits(**{name: 0})


def test_a_burst_of_four_seconds_passes_and_no_more() -> None:
    allowance = MessageAllowance(per_s=10)
    assert sum(allowance.take(100.0) for _ in range(60)) == 40
    assert sum(allowance.take(100.5) for _ in range(60)) == 5
    assert sum(allowance.take(100.0) for _ in range(60)) == 0, "a clock that runs backwards gives nothing"
    assert all(allowance.take(100.5 + at / 10) for at in range(1, 200))


def test_a_flood_of_complaints_is_told_as_a_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("audio_avif_stream.serving.admission._TELL_S", 0.05)

    async def flood() -> int:
        complaints = Complaints()
        for number in range(58):
            complaints.tell("token", f"192.0.2.{number} has no token")
        complaints.tell("size", "192.0.2.99 said too much")
        await asyncio.sleep(0.2)
        complaints.tell("token", "192.0.2.60 has no token")
        complaints.close()
        return complaints.count

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(flood()) == 60
    assert [record.getMessage() for record in caplog.records] == [
        "192.0.2.0 has no token",
        "192.0.2.99 said too much",
        "192.0.2.57 has no token ... and 56 more like it",
        "192.0.2.60 has no token",
    ]


def test_a_live_stream_of_too_many_messages_is_closed_and_a_file_is_held_back(tmp_path: Path) -> None:
    with receiving("--max-messages-per-second", 20, "--output", tmp_path / "heard.wav") as (process, port):
        with Peer(port, 12.0) as peer:
            assert len(peer.tiles) > 80
            peer.greet()
            peer.send(*peer.tiles, peer.bye)
            assert peer.closed_with() == (1000, "")
        with Peer(port) as flood:
            flood.greet(live=True)
            with suppress(ConnectionClosed):  # the receiver need not hear them all
                flood.send(*[Ping(number, 0, 0).to_bytes() for number in range(4000)])
            code, reason = flood.closed_with()
        assert (code, reason) == (
            CLOSE_TOO_MANY_MESSAGES,
            "it sent more than 20 messages per second (--max-messages-per-second)",
        )
        process.wait_for("127.0.0.1 was refused: it sent more than 20 messages per second (--max-messages-per-second)")


def test_control_frames_count_as_messages(tmp_path: Path) -> None:
    with receiving("--max-messages-per-second", 20, "--output", tmp_path / "heard.wav") as (process, port):
        with Peer(port) as flood:
            flood.greet()
            with suppress(ConnectionClosed):
                for _ in range(2000):
                    flood.socket.pong()
            assert flood.closed_with()[0] == CLOSE_TOO_MANY_MESSAGES
        process.wait_for("127.0.0.1 was refused: it sent more than 20 messages per second (--max-messages-per-second)")


def frame(message: bytes) -> bytes:
    """A WebSocket frame as a client sends it, masked with zeros."""
    return b"\x82\xff" + len(message).to_bytes(8, "big") + bytes(4) + message


def test_who_pings_and_reads_no_answers_is_cut_off(tmp_path: Path) -> None:
    ping = b"\x89\xfd" + bytes(4) + bytes(125)
    with (
        receiving("--max-messages-per-second", 10**7, "--output", tmp_path / "heard.wav") as (process, port),
        socket.socket() as deaf,
    ):
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(REQUEST.encode())
        assert deaf.recv(1000).startswith(b"HTTP/1.1 101 ")
        deaf.settimeout(PATIENCE_S)
        with pytest.raises(ConnectionError):
            for _ in range(2000):
                deaf.sendall(100 * ping)
        process.wait_for("127.0.0.1 pings and reads no answers; disconnected")


def test_who_is_told_to_go_and_stays_is_cut_off(tmp_path: Path) -> None:
    stream = Peer(0)
    with (
        receiving("--once", "--output", tmp_path / "heard.wav") as (process, port),
        socket.create_connection(("127.0.0.1", port)) as stubborn,
    ):
        stubborn.sendall(REQUEST.encode())
        assert stubborn.recv(1000).startswith(b"HTTP/1.1 101 ")
        stubborn.sendall(frame(stream.hello.to_bytes()))
        assert b'"vocoder"' in stubborn.recv(1000)
        stubborn.sendall(frame(stream.tiles[0].to_bytes()))
        assert stubborn.recv(1000).endswith(Receipt(0).to_bytes())
        stubborn.sendall(frame(bytes(70_000)))
        ended = process.ended()
    assert "127.0.0.1 was refused: it sent a message of more than 65536 bytes (--max-message-bytes)" in ended.err
    assert ended.code == 0 and read_wav(tmp_path / "heard.wav").size == TILE_SAMPLES


def test_a_message_that_is_too_long_is_closed(tmp_path: Path) -> None:
    with receiving("--max-message-bytes", 2000, "--output", tmp_path / "heard.wav") as (process, port):
        with Peer(port) as peer:
            peer.send(bytes(2001))
            assert peer.closed_with()[0] == 1009
        process.wait_for("127.0.0.1 was refused: it sent a message of more than 2000 bytes (--max-message-bytes)")


def test_a_request_that_is_too_long_is_answered_431(tmp_path: Path) -> None:
    with receiving("--output", tmp_path / "heard.wav") as (process, port):
        with socket.create_connection(("127.0.0.1", port)) as hostile:
            hostile.sendall(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4000)
            hostile.settimeout(PATIENCE_S)
            assert hostile.recv(1000).startswith(b"HTTP/1.1 431 ")
        process.wait_for("127.0.0.1 sent an HTTP request of more than 16384 bytes (--max-handshake-bytes); refused")


def is_cut(connection: socket.socket) -> bool:
    """Wait until the other end has closed; what it said is not read."""
    connection.settimeout(PATIENCE_S)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("begins", [b"", b"GET / HTTP/1.1\r\nHost: "])
@pytest.mark.parametrize("is_tls", [False, True])
def test_who_takes_too_long_to_ask_is_cut_off(tmp_path: Path, begins: bytes, is_tls: bool) -> None:
    tls = Pair.made(tmp_path).options if is_tls else ()
    with (
        receiving("--handshake-s", 0.4, "--output", tmp_path / "heard.wav", *tls) as (process, port),
        ExitStack() as stack,
    ):
        began_s = time.monotonic()
        slow = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        with suppress(ConnectionError):  # it may be cut off already
            slow.sendall(b"" if is_tls else begins)
        assert is_cut(slow) and time.monotonic() - began_s > 0.3
        process.wait_for("127.0.0.1 sent no HTTP request within 0.4 s (--handshake-s); closed")


def test_the_newest_is_let_in_and_the_oldest_without_a_token_makes_room(tmp_path: Path) -> None:
    with (
        receiving("--max-connections", 3, "--token", TOKEN, "--output", tmp_path / "heard.wav") as (process, port),
        Peer(port, token=TOKEN) as trusted,
        ExitStack() as stack,
    ):
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(2)]
        with Peer(port, 0.3, token=TOKEN) as newest:
            assert is_cut(idle[0])
            newest.greet()
            newest.send(*newest.tiles, newest.bye)
            assert newest.closed_with() == (1000, "")
        trusted.greet()
        process.wait_for("127.0.0.1 holds one of more than 3 connections without a stream (--max-connections); closed")


def test_a_crowd_from_one_address_does_not_push_out_another() -> None:
    with receiving("--max-connections", 4, "--output", "-") as (_, port), ExitStack() as stack:

        def come(address: str) -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), source_address=(address, 0)))

        lonely = come("127.0.0.9")
        crowd = [come("127.0.0.1") for _ in range(12)]
        assert all(is_cut(one) for one in crowd[:9])
        lonely.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        lonely.settimeout(PATIENCE_S)
        assert lonely.recv(64).startswith(b"HTTP/1.1 426")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts files in /proc")
@pytest.mark.parametrize("is_tls", [False, True])
def test_idle_connections_do_not_use_up_the_files(tmp_path: Path, is_tls: bool) -> None:
    tls = Pair.made(tmp_path).options if is_tls else ()
    with (
        receiving("--max-connections", 5, "--output", tmp_path / "heard.wav", *tls) as (process, port),
        ExitStack() as stack,
    ):
        before = open_files(process.pid)
        for _ in range(100):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        process.wait_for("(--max-connections); closed")
        wait_until(lambda: open_files(process.pid) <= before + 5, "few open files")
        assert len(process.err.splitlines()) < 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@best_of_attempts
def test_who_says_nothing_does_not_hold_up_the_end(tmp_path: Path, number: signal.Signals) -> None:
    with receiving("--output", tmp_path / "heard.wav") as (process, port), ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(3)]
        silent[0].sendall(b"GET / HTTP/1.1\r\n")
        stack.enter_context(Peer(port))
        began_s = time.monotonic()
        process.signal(number)
        assert process.ended().code == 0
        took_s = time.monotonic() - began_s
        in_time(took_s < 4, took_s)


@pytest.mark.slow
@best_of_attempts
def test_200_hostile_connections_do_not_disturb_a_stream(tmp_path: Path) -> None:
    """Garbage, silence, half a request, one too long, a wrong token, a long body: all while a live stream plays."""
    wav, stats = tmp_path / "heard.wav", tmp_path / "stats.jsonl"
    kinds = [
        b"\x16\x03\x01garbage\xff\x00" * 100,
        b"",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000,
        b"GET / HTTP/1.1\r\nAuthorization: Bearer wrong\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n" + bytes(50_000),
    ]
    with (
        receiving("--token", TOKEN, "--output", wav, "--stats-json", stats, "--buffer-ms", 2000) as (process, port),
        Peer(port, 4.0, token=TOKEN) as peer,
        ExitStack() as stack,
    ):
        peer.greet(live=True)
        began_s = time.monotonic()
        per_tile = -(-200 // len(peer.tiles))
        for tile in peer.tiles:
            time.sleep(max(0.0, began_s + tile.sequence * TILE_SAMPLES / RATE_HZ - time.monotonic()))
            peer.send(tile)
            for number in range(per_tile):
                hostile = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                hostile.setblocking(False)
                with suppress(OSError):
                    hostile.send(kinds[(tile.sequence * per_tile + number) % len(kinds)])
        with Peer(port, 0.3, token=TOKEN) as other:
            other.send(other.hello)
            assert other.closed_with()[0] == 4002, "a proper sender is heard, and told that the place is taken"
        peer.send(peer.bye)
        assert peer.closed_with() == (1000, "")
        final = json_lines(stats)[-1]
        assert (final["received_tiles"], final["lost_tiles"]) == (len(peer.tiles), 0)
        in_time(final["late_tiles"] == 0, final)
        assert final["refused_connections"] >= 150
        likeness = live_resemblance(peer.samples, read_wav(wav), missed_s(final))
        in_time(likeness > 0.8, likeness)
        assert len(process.err.splitlines()) < 40
        assert "Traceback" not in process.err
