"""``make soak CALL=1``: run a long call over two impaired paths and add its table to the page."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, cast

import numpy as np

from audio_avif import __version__
from audio_avif.config import RATE_HZ
from audio_avif.edge import console
from audio_avif.edge.sound_files import to_s16le
from audio_avif.errors import AudioAvifError
from audio_avif.types import FloatArray
from audio_avif_tools.network.memory_watch import watching_memory
from audio_avif_tools.network.outcome import TILE_S, HeardTile, Outcome
from audio_avif_tools.network.proxy import Proxy, relaying
from audio_avif_tools.network.reliability_page import CALL, PAGE, Check, plot, update, verdict
from audio_avif_tools.network.scenario import Loss, Scenario, disconnects
from audio_avif_tools.shared.arguments import folder
from audio_avif_tools.shared.clips import speech
from audio_avif_tools.shared.loopback import Program

PROGRAM = "audio-avif call soak"
NAMES = ("first", "second")
_PICTURES = {name: f"images/reliability-call-{name}.png" for name in NAMES}
_PATIENCE_S = 60.0
_STALL_S = 2.0
_SETTLED_S = 120.0
_TEXT = """\
Two ends of `audio-avif-call` speak through an `audio-avif-relay`, each over a path with 30 +- 15 ms
each way, 1 % of its messages lost in bursts of 2, a cut of 0.1 to 2 s every two minutes, and a
stall of 2 s every four. Pairs of figures are of what the first end says and of what the second
says. A tile is lost silently if the end that hears does not count it."""


def scenarios(seconds: float) -> tuple[Scenario, Scenario]:
    """The impairments of both ends' paths; a call of less than six minutes has three periods of them."""
    period_s = min(_SETTLED_S, seconds / 3)
    periods = int(seconds / period_s)

    def path(number: int) -> Scenario:
        stalls = tuple(((period + 0.75) * period_s, _STALL_S) for period in range(number, periods, 2))
        outages = disconnects(periods, period_s, 2.0, seed=number)
        loss = Loss.bursts(0.01, 2)
        return Scenario(NAMES[number], delay_ms=30, jitter_ms=15, stalls=stalls, outages=outages, loss=loss)

    return path(0), path(1)


class _End:
    """One end of the call: its program, and the figures that it writes, with the time since its path began."""

    def __init__(self, proxy: Proxy, heard: Path) -> None:
        self.proxy = proxy
        self.lines: list[tuple[float, dict[str, Any]]] = []
        options = ["--input", "-", "--output", str(heard), "--stats-json", "-"]
        where = ["127.0.0.1", "--port", str(proxy.port)]
        self.program = Program("call", [*where, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()

    def _follow(self) -> None:
        assert self.program.process.stdout is not None
        for text in self.program.process.stdout:
            self.lines.append((time.monotonic() - (self.proxy.began_s or math.inf), json.loads(text)))

    def say(self, sound: FloatArray, seconds: float) -> None:
        """Begin to say ``sound [samples]``, repeated; the program paces it."""

        def feed() -> None:
            pipe = cast(TextIOWrapper, self.program.process.stdin).buffer
            samples = round(seconds * RATE_HZ)
            with suppress(BrokenPipeError), closing(pipe):
                for start in range(0, samples, RATE_HZ):
                    block = np.arange(start, min(start + RATE_HZ, samples))
                    pipe.write(to_s16le(np.take(sound, block, mode="wrap")))

        threading.Thread(target=feed, daemon=True).start()

    def wait(self) -> None:
        """Wait until it has hung up. Raises AudioAvifError with its message where it failed."""
        try:
            code = self.program.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise AudioAvifError("an end did not hang up") from error
        self._follower.join()
        if code:
            raise AudioAvifError(self.program.last_words())


def run_call(
    seconds: float, sound: FloatArray, paths: tuple[Scenario, Scenario], on_second: Callable[[], None] = lambda: None
) -> list[Outcome]:
    """Call for ``seconds`` over these paths; return what became of the first end's sound and of the second's.

    Raises AudioAvifError with the message of a program that fails.
    """
    memory_mb: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        relay = Program("relay", ["--host", "127.0.0.1", "--port", "0", "--no-web"])
        stack.callback(relay.stop)
        port = int(relay.wait_for(r"--port (\d+)")[1])
        ends = []
        for path in paths:
            proxy = stack.enter_context(relaying(path, port))
            ends.append(_End(proxy, Path(folder) / f"{path.name}.wav"))
            stack.callback(ends[-1].program.stop)
        for end in ends:
            end.program.wait_for("the other end is here")
        programs = {"relay": relay, **{f"{name} end": end.program for name, end in zip(NAMES, ends, strict=True)}}
        with watching_memory(memory_mb, lambda: programs):
            for end in ends:
                end.say(sound, seconds)
            until_s = time.monotonic() + seconds
            while time.monotonic() < until_s and all(end.program.process.poll() is None for end in ends):
                time.sleep(1.0)
                on_second()
            for end in ends:
                end.wait()
    outcomes = [_outcome(*ends), _outcome(*reversed(ends))]
    for outcome in outcomes:
        outcome.memory_mb = memory_mb
    return outcomes


def _outcome(speaker: _End, listener: _End) -> Outcome:
    """What became of the sound from one end to the other; its events are the stalls of both paths."""
    offset_s = (speaker.proxy.began_s or 0.0) - (listener.proxy.began_s or 0.0)
    elsewhere = [(at_s + offset_s, for_s) for at_s, for_s in speaker.proxy.scenario.stalls]
    stalls = [*listener.proxy.scenario.stalls, *elsewhere]
    heard = [(at_s, line["heard"]) for at_s, line in listener.lines if line["heard"] is not None]
    tiles = [HeardTile(at_s, line["delay_ms"]) for at_s, line in heard if line["delay_ms"] is not None]
    return Outcome(
        tuple(sorted(stalls)),
        speaker.proxy.counts,
        np.zeros(0, np.float32),
        tiles=tiles,
        senders=[speaker.lines[-1][1]["sent"]],
        seconds=[line for _, line in heard],
    )


def accounted_for(outcome: Outcome) -> tuple[int, int]:
    """The tiles of the stream by the numbers that the proxy saw, from the first one that it let through, and those
    that the listener counts.
    """
    told = outcome.received("received_tiles") + outcome.received("recovered_tiles") + outcome.received("lost_tiles")
    return outcome.counts.newest_sequence + 1 - min(outcome.counts.left_s, default=0), told


def checks(outcomes: Sequence[Outcome], outages: int, seconds: float) -> list[Check]:
    """The requirements for a call of ``seconds`` in which each path was cut ``outages`` times."""
    silently = [max(0, cut - told) for cut, told in map(accounted_for, outcomes)]
    resumed = [outcome.sent("reconnections") for outcome in outcomes]
    settled_s = [max((each.settled_s for each in outcome.recoveries()), default=0.0) for outcome in outcomes]
    memory_mb = outcomes[0].memory_mb
    growth_mb = [outcomes[0].growth_mb(program, min(_SETTLED_S, seconds / 3)) for program in memory_mb]
    return [
        Check("no tile lost silently", _pair(silently), not any(silently)),
        Check(f"{outages} reconnections of each end", _pair(resumed), all(count == outages for count in resumed)),
        Check(
            f"delay within {TILE_S * 1e3:.0f} ms after a stall in <= 5 s",
            _pair(["never" if value == math.inf else f"{value:.1f}" for value in settled_s]),
            all(value <= 5 for value in settled_s),
        ),
        Check(
            f"memory of {'; '.join(memory_mb)} grows by <= 5 MB",
            _pair([f"{growth:+.1f}" for growth in growth_mb]),
            all(growth <= 5 for growth in growth_mb),
        ),
    ]


def rows(outcomes: Sequence[Outcome], minutes: float, found: Sequence[Check]) -> dict[str, Sequence[str]]:
    """The table by the name of each row."""
    tiles = [
        f"{outcome.received('received_tiles')} / {outcome.received('lost_tiles')} of {accounted_for(outcome)[0]}"
        for outcome in outcomes
    ]
    dropped = [f"{outcome.sent('dropped_tiles')} / {outcome.counts.dropped_messages}" for outcome in outcomes]
    delays = [f"{outcome.percentile_ms(50):.0f} / {outcome.percentile_ms(95):.0f}" for outcome in outcomes]
    cells: dict[str, Sequence[str]] = {
        "length, minutes": (f"{minutes:g}", ""),
        "tiles received / lost": (_pair(tiles), ""),
        "of these dropped by the sender / by the path": (_pair(dropped), ""),
        "delay p50 / p95, ms": (_pair(delays), ""),
        "concealed, ms/min": (_pair([f"{outcome.concealed_ms_per_minute:.0f}" for outcome in outcomes]), ""),
    }
    return cells | {check.required: (check.measured, verdict([check])) for check in found}


def _pair(values: Sequence[object]) -> str:
    return "; ".join(map(str, values))


def _run(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import Progress

    sound, source = speech(options.corpus)
    seconds = options.minutes * 60
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("call", total=seconds)
        paths = scenarios(seconds)
        outcomes = run_call(seconds, sound, paths, lambda: progress.advance(task))
    found = checks(outcomes, len(paths[0].outages), seconds)
    table = rows(outcomes, options.minutes, found)
    for name, outcome in zip(NAMES, outcomes, strict=True):
        points = [(tile.heard_s, tile.delay_ms) for tile in outcome.tiles]
        picture = options.output.parent / _PICTURES[name]
        memory_mb = outcome.memory_mb if name == NAMES[-1] else None
        plot(points, outcome.events, f"what the {name} end says", picture, memory_mb=memory_mb)
    pictures = {f"delay: {name} end": file for name, file in _PICTURES.items()}
    update(CALL, table, list(table), [_TEXT], source, pictures, options.output)
    for what, cells in table.items():
        print(f"{what}: {' '.join(cells)}")
    print(f"written to {options.output}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.network.call_soak``."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description=f"Call for a long time over impaired paths and add the table to {PAGE}."
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
