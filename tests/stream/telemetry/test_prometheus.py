"""The figures' names: in the Prometheus endpoint and in their documentation."""

from __future__ import annotations

import ast
import re
import signal
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from audio_avif.errors import ConnectionFailed, MissingPackage
from audio_avif_stream.telemetry.figures import CALL, RECEIVER, RELAY, SENDER, FigureTable
from audio_avif_stream.telemetry.prometheus import serve_metrics
from support.paths import DOCS, ROOT
from support.stream_helpers import PATIENCE_S, json_lines, receiving, running, speech, wait_until, write_wav
from support.stream_helpers import SENDER as SENDING

pytest.importorskip("prometheus_client")
FIGURE_PAGE = DOCS / "reference" / "figures.md"
ALARM_PAGE = DOCS / "guides" / "monitoring.md"
MESSAGE_PAGE = DOCS / "reference" / "messages.md"
FIGURES: dict[str, Any] = {
    "codec_kbps": 4.2,
    "buffer_ms": 61.5,
    "delay_ms": None,
    "received_tiles": 12,
    "concealed_ms": 1500,
    "played_s": 1.536,
    "is_connected": True,
    "vocoder": "embedded",
    "session": 'a "name"\n',
}


@contextmanager
def serving(
    capsys: pytest.CaptureFixture[str],
    figures: Callable[[], dict[str, Any] | None] = lambda: FIGURES,
    table: FigureTable = RECEIVER,
) -> Iterator[str]:
    """The address of an endpoint, as it is told to the user."""
    close = serve_metrics(0, figures, table)
    try:
        yield capsys.readouterr().err.split()[-1]
    finally:
        close()


def scrape(url: str) -> dict[str, Any]:
    """Every sample by its name, as Prometheus' own parser reads it: its value, or the labels of an info metric."""
    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name: sample.labels or sample.value for sample in samples}


def test_a_scrape_shows_each_figure_in_base_units(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(capsys) as url:
        assert url.startswith("http://127.0.0.1:") and url.endswith("/metrics")
        samples = scrape(url)
    assert samples.pop("audio_avif_receiver_info") == {"vocoder": "embedded", "session": 'a "name"\n'}
    assert samples == pytest.approx(
        {
            "audio_avif_receiver_codec_bits_per_second": 4200,
            "audio_avif_receiver_buffer_seconds": 0.0615,
            "audio_avif_receiver_received_tiles_total": 12,
            "audio_avif_receiver_concealed_seconds_total": 1.5,
            "audio_avif_receiver_played_seconds_total": 1.536,
            "audio_avif_receiver_is_connected": 1,
        }
    )


def test_each_scrape_shows_the_figures_of_its_moment(capsys: pytest.CaptureFixture[str]) -> None:
    moments: list[dict[str, Any] | None] = [None, {"sent_tiles": 1}, {"sent_tiles": 2}]
    with serving(capsys, lambda: moments.pop(0), SENDER) as url:
        assert scrape(url) == {}
        assert scrape(url) == {"audio_avif_sender_sent_tiles_total": 1}
        assert scrape(url) == {"audio_avif_sender_sent_tiles_total": 2}


def test_a_closed_endpoint_leaves_its_port_and_thread(capsys: pytest.CaptureFixture[str]) -> None:
    before = set(threading.enumerate())
    with serving(capsys) as url:
        port = int(url.rpartition(":")[2].split("/")[0])
    assert set(threading.enumerate()) <= before
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))


def test_a_port_in_use_is_told_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConnectionFailed, match=f"port {port} is in use; choose another for --metrics"):
            serve_metrics(port, lambda: None, RECEIVER)


def test_without_prometheus_client_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingPackage, match=r"pip install 'audio-avif\[metrics\]'"):
        serve_metrics(0, lambda: None, RECEIVER)


def address_told(text: str) -> str:
    """Where a program says that its metrics are."""
    found = re.search(r"^metrics on (http://127\.0\.0\.1:\d+/metrics)$", text, re.MULTILINE)
    assert found is not None, text
    return found[1]


@pytest.mark.slow
def test_both_programs_tell_all_their_figures(tmp_path: Path) -> None:
    said = write_wav(tmp_path / "said.wav", np.tile(speech(10.0), 6))
    lines = {table.prefix: tmp_path / table.prefix for table in (RECEIVER, SENDER)}
    told = ("--metrics", 0, "--stats-json")
    with receiving("--output", tmp_path / "heard.wav", *told, lines[RECEIVER.prefix]) as (receiver, port):
        receiver_url = address_told(receiver.err)
        assert scrape(receiver_url) == {}
        to = ("--host", "127.0.0.1", "--port", port, "--input", said)
        with running(SENDING, *to, *told, lines[SENDER.prefix]) as sender:
            sender.wait_for("/metrics\n")
            sender_url = address_told(sender.err)
            wait_until(lambda: scrape(sender_url).get("audio_avif_sender_sent_tiles_total", 0) > 10, "tiles sent")
            wait_until(
                lambda: scrape(receiver_url).get("audio_avif_receiver_received_tiles_total", 0) > 5, "tiles heard"
            )
            found = scrape(receiver_url)
            assert found["audio_avif_receiver_is_connected"] == 1
            assert found["audio_avif_receiver_info"]["vocoder"] == "griffin-lim"
            sender.signal(signal.SIGINT)
            assert sender.ended().code == 0
    for table in (RECEIVER, SENDER):
        for line in json_lines(lines[table.prefix]):
            line.pop("is_final", None)
            assert list(line) == list(table)


@pytest.mark.parametrize("table", [RECEIVER, SENDER, RELAY, CALL], ids=["receiver", "sender", "relay", "call"])
def test_every_figure_is_documented_as_it_is(table: FigureTable) -> None:
    heading = f"## {table.prefix.removeprefix('audio_avif_').capitalize()}"
    section = FIGURE_PAGE.read_text(encoding="utf-8").split(f"{heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|`")]
    assert rows == [
        f"|`{key}`|{figure.unit}|{figure.kind}|`{table.metric(key)}`|{figure.help}|" for key, figure in table.items()
    ]


@pytest.mark.parametrize("table", [RECEIVER, SENDER, RELAY, CALL], ids=["receiver", "sender", "relay", "call"])
def test_names_are_those_that_prometheus_wants(table: FigureTable) -> None:
    names = [table.metric(key) for key, figure in table.items() if figure.kind != "info"]
    assert len(set(names)) == len(names)
    for key, figure in table.items():
        assert table.metric(key).endswith("_total") == (figure.kind == "counter")
        assert not table.metric(key).removesuffix("_total").endswith(("_ms", "_s", "_kbps"))


def test_every_metric_that_the_documentation_names_is_one() -> None:
    metrics = {table.metric(key) for table in (RECEIVER, SENDER, RELAY, CALL) for key in table}
    named, watched = (
        set(re.findall(r"audio_avif_[a-z_]+", page.read_text(encoding="utf-8"))) for page in (FIGURE_PAGE, ALARM_PAGE)
    )
    assert named == metrics
    assert watched and watched <= metrics


def sentences() -> tuple[set[str], set[str]]:
    """All texts within the stream programs, and those of them that are logged as warnings; ``…`` for what varies."""
    texts, warnings = set(), set()
    for path in sorted((ROOT / "stream").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            target.id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            texts.add(text_of(node))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("log.warning", "complaints.tell")):
                said = node.args[-1 if ast.unparse(node.func).endswith("tell") else 0]
                warnings.add(text_of(constants.get(said.id, said) if isinstance(said, ast.Name) else said))
    return texts, warnings


def text_of(node: ast.AST) -> str:
    """A string, or an f-string, as the documentation shows it."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[-.\d]*[a-z]", "…", node.value)
    return ""


def test_the_documented_log_lines_are_those_that_are_said() -> None:
    page = MESSAGE_PAGE.read_text(encoding="utf-8")
    documented = {line.split("`")[1] for line in page.splitlines() if line.startswith("|`")}
    texts, warnings = sentences()
    # A peer's refusal names the peer and then says why; both are texts of their own.
    parts = {part for line in documented for part in line.split("… was refused: ") if part.strip("…")}
    assert {part for part in parts if part not in texts} == set()
    assert {text for text in warnings if text.strip("… ")} - documented == set()
