"""A relay behind nginx, with the configuration that the documentation shows."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from audio_avif.link.messages import SUBPROTOCOL
from support.paths import ROOT
from support.relay import COMMAND, port_of
from support.stream_helpers import (
    PATIENCE_S,
    RECEIVER,
    SENDER,
    json_lines,
    live_resemblance,
    missed_s,
    read_wav,
    run,
    running,
    speech,
    wait_until,
    write_wav,
)

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
IDLE_S = 2

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed"),
]


@contextmanager
def nginx(folder: Path, relay_port: int) -> Iterator[tuple[int, Path]]:
    """Run nginx, which gives idle connections up soon; its port, and the certificate to trust."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
    server = (ROOT / "docs" / "examples" / "nginx.conf").read_text()
    for documented, here in {
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/ssl/relay.example.pem": str(folder / "server.pem"),
        "/etc/ssl/relay.example.key": str(folder / "server.pem"),
        "127.0.0.1:8765;": f"127.0.0.1:{relay_port}; proxy_read_timeout {IDLE_S}s; proxy_send_timeout {IDLE_S}s;",
    }.items():
        assert server.count(documented) == 1
        server = server.replace(documented, here)
    config = folder / "nginx.conf"
    paths = "".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    config.write_text(f"daemon off; pid {folder}/pid; events {{}} http {{ access_log off; {paths} {server} }}")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([NGINX, "-p", folder, "-e", "stderr", "-c", config], stderr=log)
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, "nginx")
        assert process.poll() is None, (folder / "log").read_text()
        yield port, folder / "ca.pem"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def answers(port: int) -> bool:
    with socket.socket() as trying:
        return trying.connect_ex(("127.0.0.1", port)) == 0


def test_a_relay_behind_nginx_serves_programs_and_web_pages(tmp_path: Path) -> None:
    heard, stats, samples = tmp_path / "heard.wav", tmp_path / "stats.jsonl", speech(3.0)
    said = write_wav(tmp_path / "said.wav", samples)
    with (
        running(COMMAND, "--port", 0, "--allow-origin", "https://relay.example") as relay,
        nginx(tmp_path, port_of(relay)) as (port, ca),
    ):
        trusting = ssl.create_default_context(cafile=ca)
        where = f"wss://127.0.0.1:{port}"
        outputs = ("--once", "--output", heard, "--stats-json", stats, "--vocoder", "griffin-lim")
        with running(RECEIVER, "--connect", where, "--room", "talk", "--ca", ca, *outputs) as receiver:
            receiver.wait_for("waiting for someone to publish")
            for path, page in (("/health", b"ok\n"), ("/", b"<!doctype html>")):
                asking = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=PATIENCE_S)
                asking.request("GET", path)
                answer = asking.getresponse()
                assert answer.status == 200 and answer.read().lower().startswith(page)
            for origin, status in (("https://relay.example", 101), ("https://other.example", 403)):
                assert status_of_upgrade(f"{where}/listen/talk", origin, trusting) == status
            time.sleep(2 * IDLE_S)  # a listener of an empty room
            sent = run(SENDER, "--host", where, "--room", "talk", "--ca", ca, "--input", said)
            assert sent.code == 0, sent.err
            assert receiver.ended().code == 0
    assert "lost" not in receiver.err.split("played")[0] and "reconnect" not in sent.err
    assert live_resemblance(samples, read_wav(heard), missed_s(json_lines(stats)[-1])) > 0.8


def status_of_upgrade(address: str, origin: str, tls: ssl.SSLContext) -> int:
    subprotocols = [Subprotocol(SUBPROTOCOL)]
    try:
        with connect(address, origin=Origin(origin), subprotocols=subprotocols, ssl=tls, proxy=None) as socket:
            assert socket.response is not None
            return int(socket.response.status_code)
    except InvalidStatus as refused:
        return int(refused.response.status_code)
