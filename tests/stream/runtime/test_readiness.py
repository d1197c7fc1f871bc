"""Programs tell systemd that they are ready."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from audio_avif_stream.runtime.readiness import notify_ready
from support.relay import COMMAND, Speaker
from support.stream_helpers import PATIENCE_S, RECEIVER, Peer, running


@pytest.fixture
def systemd(tmp_path: Path) -> socket.socket:
    """The socket that systemd listens on, at ``tmp_path / "notify"``."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.settimeout(PATIENCE_S)
    return listening


@pytest.mark.slow
@pytest.mark.parametrize("program", [RECEIVER, COMMAND])
def test_a_program_that_is_ready_can_be_connected_to(tmp_path: Path, systemd: socket.socket, program: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    options = ("--output", tmp_path / "heard.wav", "--vocoder", "griffin-lim") if program == RECEIVER else ()
    with systemd, running(program, "--port", port, *options, env=environment):
        assert systemd.recv(100) == b"READY=1"
        with Peer(port) if program == RECEIVER else Speaker(port, "talk") as peer:
            peer.greet()


def test_sockets_without_a_file_and_absent_ones_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"audio-avif-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notify_ready()
        assert listening.recv(100) == b"READY=1"
    notify_ready()
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify_ready()
