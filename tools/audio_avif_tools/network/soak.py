"""``make soak``: run a long stream from a virtual microphone to a virtual loudspeaker; add its table to the page."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from audio_avif import __version__
from audio_avif.edge import console
from audio_avif.errors import AudioAvifError
from audio_avif.types import FloatArray
from audio_avif_tools.network.impaired_path import Counts
from audio_avif_tools.network.memory_watch import watching_memory
from audio_avif_tools.network.outcome import TILE_S, HeardTile, Outcome
from audio_avif_tools.network.reliability_page import PAGE, SOAK, Check, plot, update, verdict
from audio_avif_tools.shared.arguments import folder
from audio_avif_tools.shared.clips import speech
from audio_avif_tools.shared.loopback import Program
from audio_avif_tools.shared.talking import talking
from audio_avif_tools.shared.virtual_sound_card import VirtualSoundCard

PROGRAM = "audio-avif soak"
PICTURE = "images/reliability-soak.png"
_STOP_S = 20.0
_SETTLED_S = 120.0
_WINDOW_S = 10.0
_TEXT = """\
Speech is played on one null sink of a private PulseAudio, `audio-avif-send` records its monitor,
and `audio-avif-recv` plays on another. PulseAudio's threads have real-time priority where the
system permits it. Delay and memory after the first two minutes are compared with those of minute 2."""


def run_soak(seconds: float, sound: FloatArray, on_tile: Callable[[], None] = lambda: None) -> Outcome:
    """Stream through two null sinks. Raises AudioAvifError with the message of a program that fails.

    From then on this process sees the virtual card.
    """
    outcome = Outcome((), Counts(), np.zeros(0, np.float32))
    with VirtualSoundCard() as card, tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.environ.update(card.env)
        stats = Path(folder) / "stats.json"
        options = ["--output", "speaker", "--device", "ear", "--port", "0", "--stats-json", str(stats)]
        receiver = Program("recv", options)
        stack.callback(receiver.stop)
        port = receiver.wait_for(r"--port (\d+)")[1]
        stack.enter_context(talking(sound, "mouth"))
        options = ["--host", "127.0.0.1", "--port", port, "--input", "mic", "--device", "mouth_mic", "--trace", "-"]
        sender = Program("send", options, stdout=subprocess.PIPE)
        stack.callback(sender.stop)
        with watching_memory(outcome.memory_mb, lambda: {"send": sender, "recv": receiver}):
            _follow(sender, seconds, outcome, on_tile)
        if sender.process.wait(_STOP_S):
            raise AudioAvifError(sender.last_words())
        receiver.stop()
        outcome.seconds = [json.loads(line) for line in stats.read_text(encoding="utf-8").splitlines()]
    return outcome


def _follow(sender: Program, seconds: float, outcome: Outcome, on_tile: Callable[[], None]) -> None:
    """Read the sender's trace, and interrupt the sender at the end."""
    began_s = time.monotonic()
    alarm = threading.Timer(seconds, lambda: sender.process.send_signal(signal.SIGINT))
    alarm.start()
    try:
        assert sender.process.stdout is not None
        for text in sender.process.stdout:
            line = json.loads(text)
            if "summary" in line:
                outcome.senders.append(line["summary"])
            else:
                outcome.tiles.append(HeardTile(time.monotonic() - began_s, line["mouth_to_ear_ms"]))
                on_tile()
    finally:
        alarm.cancel()


def checks(outcome: Outcome, seconds: float) -> list[Check]:
    """The requirements for a stream of ``seconds``."""
    settled_s = min(_SETTLED_S, seconds / 2)
    found = [
        Check("no underrun", f"{outcome.received('underruns')}", outcome.received("underruns") == 0),
        Check("no tile lost", f"{outcome.received('lost_tiles')}", outcome.received("lost_tiles") == 0),
    ]
    for program, samples in outcome.memory_mb.items():
        after = [megabytes for at_s, megabytes in samples if at_s >= settled_s]
        max_change = max(abs(megabytes - after[0]) for megabytes in after)
        measured = f"{after[0]:.1f} at {settled_s:.0f} s, {after[-1]:.1f} at the end, {max_change:.1f} away at most"
        found.append(Check(f"audio-avif-{program}: resident MB within 10", measured, max_change <= 10))
    delays_ms = windows_ms(outcome, settled_s)
    max_ms = max(abs(delay_ms - delays_ms[0]) for delay_ms in delays_ms)
    measured = f"{delays_ms[0]:.0f} at {settled_s:.0f} s, {delays_ms[-1]:.0f} at the end, {max_ms:.0f} away at most"
    return [
        *found,
        Check(f"delay within one tile, {TILE_S * 1e3:.0f} ms, medians of 10 s", measured, max_ms <= TILE_S * 1e3),
    ]


def windows_ms(outcome: Outcome, from_s: float) -> list[float]:
    """The median delays of windows of ten seconds. Raises AudioAvifError where no tile was heard."""
    windows: dict[int, list[float]] = {}
    for tile in outcome.tiles:
        if tile.heard_s >= from_s:
            windows.setdefault(int(tile.heard_s // _WINDOW_S), []).append(tile.delay_ms)
    if not windows:
        raise AudioAvifError("no tile was heard through the virtual sound card")
    return [float(np.median(delays_ms)) for _, delays_ms in sorted(windows.items())]


def _run(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import Progress

    if (reason := VirtualSoundCard.missing()) is not None:
        raise AudioAvifError(reason)
    sound, source = speech(options.corpus)
    seconds = options.minutes * 60
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("soak", total=seconds / TILE_S)
        outcome = run_soak(seconds, sound, lambda: progress.advance(task))
    found = checks(outcome, seconds)
    delay = f"{outcome.percentile_ms(50):.0f} / {outcome.percentile_ms(95):.0f}"
    rows: dict[str, Sequence[str]] = {
        "length of the stream, minutes": (f"{options.minutes:g}", ""),
        "delay p50 / p95, ms": (delay, ""),
        "concealed, ms/min": (f"{outcome.concealed_ms_per_minute:.0f}", ""),
    }
    rows |= {check.required: (check.measured, verdict([check])) for check in found}
    points = [(tile.heard_s, tile.delay_ms) for tile in outcome.tiles]
    plot(points, (), "through two null sinks", options.output.parent / PICTURE, memory_mb=outcome.memory_mb)
    update(SOAK, rows, list(rows), [_TEXT], source, {"delay and memory over time": PICTURE}, options.output)
    for check in found:
        print(f"{check} {verdict([check])}")
    print(f"written to {options.output}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.network.soak``."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=f"Stream for a long time through a virtual sound card and add the table to {PAGE}.",
    )
    parser.add_argument("--output", type=Path, default=PAGE, help=f"page to write (default: {PAGE})")
    parser.add_argument("--corpus", type=folder, help="folder of speech clips instead of the bundled one")
    parser.add_argument(
        "--minutes", type=console.integer_in(1, 1440), default=30, metavar="N", help="length in minutes (default: 30)"
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(arguments)
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
