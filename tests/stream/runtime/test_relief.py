"""A vocoder that cannot keep up gives way to a lighter one, with one warning."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest

from audio_avif.vocoders.griffin_lim import GriffinLim
from audio_avif.vocoders.protocol import Vocoder
from audio_avif.vocoders.replaceable import ReplaceableStream
from audio_avif_stream.runtime.relief import Relief, find_lighter
from support.stage import MEL, FrameTeller
from support.stream_helpers import json_lines, running, send, speech, wait_until, write_wav

TILE_S = 0.128

# The receiver as a user runs it, but for one vocoder that takes twice as long as its sound lasts.
SLOW_RECEIVER = """
import sys, time
from audio_avif.vocoders.onnx_model import OnnxVocoder
from audio_avif_stream.commands.recv import main

run = OnnxVocoder.run

def run_slowly(self, log_mel, state):
    if self.name == "embedded":
        time.sleep(2 * log_mel.shape[1] * 0.016)
    return run(self, log_mel, state)

OnnxVocoder.run = run_slowly
sys.exit(main(sys.argv[1:]))
"""


def relieved(took_s: float, lighter: Vocoder | None, tiles: int = 100) -> tuple[Relief, int]:
    """A relief after so many tiles, each of which took so long, and how often it changed the vocoder."""
    stream = ReplaceableStream(FrameTeller(), MEL)
    relief = Relief(stream, GriffinLim(), find=lambda vocoder: lighter)
    changes = 0
    for _ in range(tiles):
        changes += relief.push(took_s, TILE_S)
        if relief._search is not None:
            relief._search.join()
        stream.push(np.full((MEL.n_mels, 8), -3.0, np.float32))
    return relief, changes


@pytest.mark.parametrize("took_s", [0.01, 0.1])
def test_a_vocoder_that_keeps_up_stays(took_s: float, caplog: pytest.LogCaptureFixture) -> None:
    _, changes = relieved(took_s, GriffinLim())
    assert (changes, caplog.records) == (0, [])


def test_a_slow_one_is_replaced_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    lighter = GriffinLim()
    relief, changes = relieved(0.2, lighter, tiles=40)
    assert changes == 1 and relief.vocoder is lighter
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_where_none_is_lighter_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    _, changes = relieved(0.2, None)
    assert changes == 0
    assert len(caplog.records) == 1 and "none is lighter" in caplog.text


def test_a_lighter_vocoder_is_one_that_was_measured_lighter() -> None:
    found = find_lighter(GriffinLim())
    assert found is None or found.name.startswith("embedded")


@pytest.mark.slow
def test_a_receiver_goes_over_to_a_lighter_vocoder(tmp_path: Path) -> None:
    said, stats = write_wav(tmp_path / "said.wav", np.tile(speech(4.0), 6)), tmp_path / "stats"
    arguments = ["--port", 0, "--once", "--output", tmp_path / "heard.wav", "--stats-json", stats]
    with running(sys.executable, "-c", SLOW_RECEIVER, *arguments) as receiver:
        receiver.wait_for("listening; ")
        wait_until(lambda: "--port " in receiver.err, "the line with the port")
        port = int(receiver.err.split("--port ")[1].split()[0])
        sent = send(port, "--input", said)
        played = receiver.ended()
    assert (sent.code, played.code) == (0, 0), sent.err + played.err
    assert played.err.count("too slow for the vocoder embedded; going on with embedded-low") == 1
    shown = json_lines(stats)
    assert {line["vocoder"] for line in shown} == {"embedded", "embedded-low"}
    assert shown[-1]["vocoder"] == "embedded-low"
