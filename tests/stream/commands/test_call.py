"""``audio-avif-call`` as two people use it: real processes that hear each other."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from audio_avif.link.messages import SUBPROTOCOL, Welcome
from audio_avif_stream.telemetry import figures
from audio_avif_tools.network.proxy import relaying as impairing
from audio_avif_tools.network.scenario import Scenario
from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard
from support.calls import CALL, best_match, has_heard, hosting, port_in
from support.relay import relaying
from support.stream_helpers import (
    RATE_HZ,
    Process,
    json_lines,
    read_wav,
    receiving,
    run,
    running,
    speech,
    wait_until,
    write_wav,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What the two ends say: a minute each, so that whoever hangs up does it before."""
    folder = tmp_path_factory.mktemp("clips")
    pieces = (speech(5.0), speech(5.0, 5.5))
    return tuple(  # type: ignore[return-value]
        write_wav(folder / f"{number}.wav", np.tile(piece, 12)) for number, piece in enumerate(pieces)
    )


def test_two_ends_hear_each_other_by_the_printed_line(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    said, heard = clips, (tmp_path / "0.wav", tmp_path / "1.wav")
    stats = tmp_path / "stats.jsonl"
    env = {**os.environ, "AUDIO_AVIF_TOKEN": "of-both"}
    with hosting("--input", said[0], "--output", heard[0], "--stats-json", stats, env=env) as (host, line):
        assert line[-1] == '"$AUDIO_AVIF_TOKEN"'
        typed = [*line[:-1], "of-both"]
        with running(CALL, *typed, "--input", said[1], "--output", heard[1], "--once") as guest:
            wait_until(lambda: all(has_heard(each, 2.5) for each in heard), "sound at both ends")
            wait_until(lambda: any(each["there_and_back_ms"] for each in json_lines(stats)), "a delay")
            host.signal(signal.SIGINT)
            ended, parted = host.ended(), guest.ended()
    assert ended.code == 0 and parted.code == 0, ended.err + parted.err
    assert "Traceback" not in ended.err + parted.err and "was refused" not in ended.err
    assert "(you have hung up)" in ended.err and "(the other end has left)" not in ended.err
    assert "(you have hung up)" not in parted.err
    assert ended.err.count("(the other end is here)") == parted.err.count("(the other end has left)") == 1
    words = [read_wav(each)[: 5 * RATE_HZ] for each in said]
    for own, other, ear in ((words[1], words[0], heard[0]), (words[0], words[1], heard[1])):
        assert best_match(own, read_wav(ear)) > best_match(other, read_wav(ear)) + 0.15
    *seconds, final = json_lines(stats)
    assert final["is_final"] and set(final) == {*figures.CALL, "sent", "heard", "is_final"}
    assert set(final["sent"]) == set(figures.SENDER) and set(final["heard"]) == set(figures.RECEIVER)
    with_delay = next(each for each in seconds if each["there_and_back_ms"])
    assert with_delay["there_and_back_ms"] == pytest.approx(2 * with_delay["heard"]["delay_ms"], abs=0.1)
    assert with_delay["is_other_here"] == 1 and with_delay["sent"]["round_trip_ms"] > 0


def test_a_relay_carries_a_call_and_refuses_a_third(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    heard = [tmp_path / f"{number}.wav" for number in range(3)]
    with relaying() as (_, port):
        there = ("127.0.0.1", "--port", port, "--room", "us", "--vocoder", "griffin-lim")
        with running(CALL, *there, "--input", clips[0], "--output", heard[0]) as first:
            first.wait_for("(waiting for the other end)")
            with running(CALL, *there, "--input", clips[1], "--output", heard[1]) as second:
                wait_until(lambda: all(has_heard(each, 0.5) for each in heard[:2]), "sound at both ends")
                third = run(CALL, *there, "--input", clips[1], "--output", heard[2])
                second.signal(signal.SIGTERM)
                assert second.ended().code == 0, second.err
            first.wait_for("(the other end has left)")
            size = heard[0].stat().st_size
            with running(CALL, *there, "--input", clips[1], "--output", heard[2]) as again:
                wait_until(lambda: heard[0].stat().st_size > size + RATE_HZ, "sound of the one who came back")
                again.signal(signal.SIGINT)
                assert again.ended().code == 0
            assert first.popen.poll() is None
    assert third.code == 1
    assert third.err == f"{CALL}: call us is full: two ends are in it; wait until one hangs up, or give --room\n"


def test_a_call_goes_on_after_a_broken_connection(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    heard, stats = (tmp_path / "0.wav", tmp_path / "1.wav"), tmp_path / "stats.jsonl"
    with (
        hosting("--input", clips[0], "--output", heard[0]) as (host, line),
        impairing(Scenario("cut"), port_in(line)) as proxy,
    ):
        there = ("127.0.0.1", "--port", proxy.port)
        with running(CALL, *there, "--input", clips[1], "--output", heard[1], "--stats-json", stats) as guest:
            wait_until(lambda: all(has_heard(each, 0.5) for each in heard), "sound at both ends")
            proxy.interrupt(0.3)
            guest.wait_for("reconnected after")
            sizes = [each.stat().st_size for each in heard]
            wait_until(
                lambda: all(each.stat().st_size > size + RATE_HZ for each, size in zip(heard, sizes, strict=True)),
                "sound at both ends again",
            )
            guest.signal(signal.SIGINT)
            assert guest.ended().code == 0, guest.err
        host.wait_for("(the other end has left)")
        host.signal(signal.SIGINT)
        assert host.ended().code == 0
    assert host.err.count("(the other end is here)") == 1, "the stream began anew"
    assert json_lines(stats)[-1]["sent"]["reconnections"] == 1


def test_a_relay_that_is_lost_before_one_listens_is_tried_again(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    """The connection that sends is there already, so the call has begun."""
    publishing, listening = "/publish/call.1", "/listen/call.2"
    asked: list[str] = []

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        asked.append(request.path)
        return connection.respond(503, "") if asked.count(listening) == 1 else None

    def serve_one(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):  # the call is over
            if connection.request is not None and connection.request.path == publishing:
                connection.recv()
                connection.send(Welcome("griffin-lim", 0).to_bytes())
            while True:
                connection.recv()

    with serve(
        serve_one, "127.0.0.1", 0, process_request=refuse, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.socket.getsockname()[1]
        options = ("--input", clips[0], "--output", tmp_path / "heard.wav", "--vocoder", "griffin-lim")
        with running(CALL, "127.0.0.1", "--port", port, *options) as process:
            wait_until(lambda: len(asked) >= 3 or process.popen.poll() is not None, "another attempt")
            process.signal(signal.SIGINT)
            assert process.ended().code == 0, process.err
        server.shutdown()
    assert asked[:3] == [publishing, listening, listening]


def test_tls_and_a_token_protect_both_directions(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    authority, heard = trustme.CA(), (tmp_path / "0.wav", tmp_path / "1.wav")
    issued = authority.issue_cert("localhost")
    cert, key, ca = (tmp_path / f"{name}.pem" for name in ("cert", "key", "ca"))
    issued.cert_chain_pems[0].write_to_path(str(cert))
    issued.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca))
    secure = ("--tls-cert", cert, "--tls-key", key, "--token", "secret")
    with hosting("--input", clips[0], "--output", heard[0], "--vocoder", "griffin-lim", *secure) as (host, line):
        host.wait_for("(waiting for the other end)")
        there = (line[0].replace("127.0.0.1", "localhost"), "--ca", ca, "--input", clips[1], "--output", heard[1])
        refused = run(CALL, *there, "--token", "wrong")
        with running(CALL, *there, "--token", "secret", "--vocoder", "griffin-lim"):
            wait_until(lambda: all(has_heard(each, 0.3) for each in heard), "sound at both ends")
    assert refused.code == 1 and "rejects this token" in refused.err


def test_without_a_microphone_one_listens(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    (tmp_path / "asound.conf").write_text("pcm.!default { type asym playback.pcm { type null } }\n")
    env = {**os.environ, "ALSA_CONFIG_PATH": str(tmp_path / "asound.conf")}
    heard = tmp_path / "heard.wav"
    with hosting("--output", heard, "--vocoder", "griffin-lim", env=env) as (host, line):
        with running(CALL, *line, "--input", clips[1], "--output", tmp_path / "silence.wav") as guest:
            wait_until(lambda: has_heard(heard, 0.5), "sound")
            guest.wait_for("(the other end is here)")
        assert host.err.count("there is no default input device yet; silence is sent until it is there") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "give either HOST, the machine or relay to call, or --listen"),
        (("host", "--listen"), "give either HOST, the machine or relay to call, or --listen"),
        (("host", "--room", "a b"), "'a b' is not a name"),
        (("host", "--tls-cert", "x", "--tls-key", "y"), "--tls-cert needs --listen"),
        (("host", "--ca", "x"), "--ca needs a relay with TLS"),
        (("--listen", "--token", "x", "--no-token"), "--token and --no-token exclude each other"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], sentence: str) -> None:
    ended = run(CALL, *arguments)
    assert ended.code == 2 and sentence in ended.err


def test_a_call_to_something_else_is_told_in_one_sentence(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    options = ("--input", clips[0], "--output", tmp_path / "heard.wav", "--vocoder", "griffin-lim")
    with receiving("--output", tmp_path / "other.wav") as (receiver, port):
        ended = run(CALL, "127.0.0.1", "--port", port, *options)
        servers = "is audio-avif-call --listen or audio-avif-relay running there?"
        assert ended.sentence(CALL) == f"127.0.0.1:{port} has no rooms; {servers}"
        receiver.wait_for("127.0.0.1 asked for a room, which a relay has; refused")
    ended = run(CALL, "127.0.0.1", "--port", port, *options)
    assert ended.sentence(CALL) == f"cannot connect to 127.0.0.1:{port} (Connection refused); {servers}"


def test_push_to_talk_needs_a_terminal(clips: tuple[Path, Path], tmp_path: Path) -> None:
    ended = run(CALL, "--listen", "--push-to-talk", "--output", tmp_path / "heard.wav", "--input", clips[0])
    assert ended.sentence(CALL).startswith("--push-to-talk needs a terminal")


class Terminal:
    """The terminal of a program: what it shows, and keys for it."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.shown = b""
        self._is_over = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def own(self) -> None:
        """Make it the terminal of the program that is about to start."""
        os.setsid()
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def _read(self) -> None:
        while not self._is_over:
            if select.select([self.master], [], [], 0.05)[0]:
                with suppress(OSError):
                    self.shown += os.read(self.master, 4096)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.shown.decode(errors="replace"), f"{text!r} on the terminal")

    @property
    def modes(self) -> list[object]:
        return termios.tcgetattr(self.slave)

    def close(self) -> None:
        """Close the window."""
        if not self._is_over:
            self._is_over = True
            self._reader.join()
            os.close(self.slave)
            os.close(self.master)


@contextmanager
def in_a_terminal(*arguments: object) -> Iterator[tuple[Process, Terminal]]:
    terminal = Terminal()
    popen = {"stdin": terminal.slave, "stderr": terminal.slave, "preexec_fn": terminal.own}
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    place = ("--host", "127.0.0.1", "--port", 0, "--vocoder", "griffin-lim")
    try:
        with running(CALL, "--listen", *place, *arguments, env=env, **popen) as process:
            yield process, terminal
    finally:
        terminal.close()


def test_keys_mute_change_the_volume_and_hang_up(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    with in_a_terminal("--input", clips[0], "--output", tmp_path / "heard.wav") as (process, terminal):
        before = terminal.modes
        terminal.wait_for("keys: m mute")
        terminal.wait_for(" open")
        assert terminal.modes != before
        terminal.press("m")
        terminal.wait_for(" silent")
        terminal.press("\x1b[A\x1bq+")  # neither an arrow nor a key with Alt hangs up
        terminal.wait_for("volume +3")
        terminal.press("-")
        terminal.press("-")
        terminal.wait_for("volume -3")
        terminal.press("q")
        assert process.popen.wait(60) == 0
        assert terminal.modes == before


def test_space_talks_for_a_while(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    with in_a_terminal("--push-to-talk", "--input", clips[0], "--output", tmp_path / "heard.wav") as (_, terminal):
        terminal.wait_for(" silent")
        assert b" open" not in terminal.shown
        terminal.press(" ")
        terminal.wait_for(" open")


def test_keys_work_while_the_relay_is_away(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    with relaying("--no-token") as (relay, port):
        terminal = Terminal()
        popen = {"stdin": terminal.slave, "stderr": terminal.slave, "preexec_fn": terminal.own}
        options = ("127.0.0.1", "--port", port, "--input", clips[0], "--output", tmp_path / "heard.wav")
        with running(CALL, *options, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"}, **popen) as process:
            before = terminal.modes
            terminal.wait_for(" open")
            relay.kill()
            terminal.wait_for("reconnecting for up to")
            terminal.wait_for(" reconnecting\r")
            terminal.press("+")
            terminal.wait_for("volume +3")
            terminal.press("q")
            assert process.popen.wait(60) == 0
            assert terminal.modes == before
        terminal.close()


def test_a_closed_terminal_ends_the_call(tmp_path: Path, clips: tuple[Path, Path]) -> None:
    heard = tmp_path / "heard.wav"
    with in_a_terminal("--input", clips[0], "--output", heard) as (process, terminal):
        terminal.wait_for(" open")
        terminal.close()
        assert process.popen.wait(60) == 0
    assert read_wav(heard).size == 0


@pytest.mark.device
def test_the_way_there_and_back_is_what_the_figures_say(sound_card: VirtualSoundCard, tmp_path: Path) -> None:
    """One end's microphone hears its own speaker, so the other end hears itself, that much later."""
    said, heard, stats = write_wav(tmp_path / "said.wav", speech(8.0)), tmp_path / "heard.wav", tmp_path / "stats"
    echo = ("--input-device", "ear_mic", "--output-device", "ear", "--process", "none")
    with hosting(*echo, env=sound_card.env) as (host, line):
        with running(CALL, *line, "--input", said, "--output", heard, "--stats-json", stats) as guest:
            wait_until(lambda: has_heard(heard, 6.0), "the echo")
            guest.signal(signal.SIGINT)
            assert guest.ended().code == 0, guest.err
        host.signal(signal.SIGINT)
        assert host.ended().code == 0, host.err
    echo_of_end = read_wav(heard)[RATE_HZ:]
    assert best_match(speech(8.0), echo_of_end) > best_match(speech(8.0, 9.0), echo_of_end) + 0.1
    assert [each for each in json_lines(stats) if each["there_and_back_ms"]]
