"""The web pages on a path that freezes without a word: they notice, say so, and are heard again once it is back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from audio_avif_tools.network.proxy import Proxy, relaying
from audio_avif_tools.network.scenario import Scenario
from support.chromium import UNDRAWN, Tab, chromium, in_chromium, says
from support.relay import port_of
from support.stream_helpers import RECEIVER, SENDER, json_lines, running, speech, wait_until, write_wav
from support.timing import best_of_attempts, in_time

HEARD_AGAIN_S = 10.0
FREEZES = pytest.mark.parametrize("for_s", [5.0, pytest.param(60.0, marks=pytest.mark.slow(seconds=70))])
MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@contextmanager
def relay_and_proxy() -> Iterator[tuple[int, Proxy]]:
    """A relay's port, and a proxy before it."""
    with running("audio-avif-relay", "--port", 0) as relay:
        port = port_of(relay)
        with relaying(Scenario("freeze"), port) as proxy:
            yield port, proxy


def freeze(tab: Tab, proxy: Proxy, for_s: float) -> float:
    """Freeze the path; return the page's time in ms when it is back. The page says what is wrong meanwhile."""
    proxy.freeze(for_s)
    says(tab, "The server does not answer. Trying again")
    wait_until(lambda: not proxy.is_frozen, "the path's return")
    return float(tab.get("performance.now()"))


@in_chromium
@pytest.mark.slow
@FREEZES
@best_of_attempts
def test_a_listening_page_hears_again_after_a_freeze(tmp_path: Path, for_s: float) -> None:
    said = write_wav(tmp_path / "said.wav", np.tile(speech(6.0), 30))
    with (
        relay_and_proxy() as (port, proxy),
        chromium(tmp_path / "profile") as tab,
        running(SENDER, "--host", "127.0.0.1", "--port", port, "--room", "demo", "--input", said),
    ):
        tab.open(f"http://127.0.0.1:{proxy.port}/#room=demo")
        tab.get(f"audioAvif.isRecorded = true; {UNDRAWN}")
        tab.get("document.getElementById('listen').click()")
        tab.wait_for("audioAvif.figures?.heardFrame > 50")
        back_ms = freeze(tab, proxy, for_s)
        received = tab.get("audioAvif.figures.receivedTiles")
        tab.wait_for(f"audioAvif.figures.receivedTiles > {received} + 20")
        loud = "samples.some((x) => Math.abs(x) > 0.05)"
        heard = f"audioAvif.chunks.find(({{ samples, atMs }}) => atMs > {back_ms} && {loud})"
        heard_ms = tab.wait_for(f"{heard}?.atMs")
        in_time(heard_ms - back_ms < 1000 * HEARD_AGAIN_S, heard_ms - back_ms)
        says(tab, "Live.")
        before = tab.get("audioAvif.figures.heardFrame")
        tab.wait_for(f"audioAvif.figures.heardFrame > {before} + 50")


@in_chromium
@pytest.mark.slow
@FREEZES
@best_of_attempts
def test_a_speaking_page_is_heard_again_after_a_freeze(tmp_path: Path, for_s: float) -> None:
    said = write_wav(tmp_path / "said.wav", speech(8.0))
    stats = tmp_path / "stats.jsonl"
    with (
        relay_and_proxy() as (port, proxy),
        chromium(tmp_path / "profile", *MICROPHONE, f"--use-file-for-fake-audio-capture={said}") as tab,
        running(
            RECEIVER,
            *("--connect", f"ws://127.0.0.1:{port}", "--room", "demo", "--vocoder", "griffin-lim"),
            *("--output", tmp_path / "heard.wav", "--stats-json", stats),
        ) as receiver,
    ):
        receiver.wait_for("(listening to room demo")
        tab.open(f"http://127.0.0.1:{proxy.port}/speak.html#room=demo")
        tab.get(f"audioAvif.isRecorded = true; {UNDRAWN}")
        tab.get("document.getElementById('speak').click()")
        says(tab, "On air in demo.")
        tab.wait_for("audioAvif.tiles.length > 20")

        def received() -> int:
            return int(json_lines(stats.read_bytes().rpartition(b"\n")[0])[-1]["received_tiles"])

        back_ms = freeze(tab, proxy, for_s)
        before = received()
        sent_ms = tab.wait_for(f"audioAvif.tiles.find(({{ atMs }}) => atMs > {back_ms})?.atMs")
        in_time(sent_ms - back_ms < 1000 * HEARD_AGAIN_S, sent_ms - back_ms)
        says(tab, "On air in demo.")
        wait_until(lambda: received() > before + 20, "what is said after the freeze")
        assert "played " not in receiver.err  # it is the same stream
