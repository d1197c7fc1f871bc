"""Measure a call: its delay from mouth to ear in both directions beside that of one direction, and its processor time.

It runs in the environment of a virtual sound card with ``SINKS``; ``make bench`` starts it there.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from audio_avif.edge import console
from audio_avif.errors import AudioAvifError
from audio_avif.types import FloatArray
from audio_avif_tools.latency.acoustic import Loop, find_delays_ms, measure_acoustic, record_chirps
from audio_avif_tools.shared.delays import percentiles
from audio_avif_tools.shared.loopback import Program
from audio_avif_tools.shared.signals import demo_clip
from audio_avif_tools.shared.talking import talking

PROGRAM = "python -m audio_avif_tools.latency.call"
SINKS = ("mouth_1", "ear_1", "mouth_2", "ear_2")
"""Mouth and ear of the end that listens, then of the end that calls."""
PROCESSING = ("none", "echo,noise")
OPTIONS = ("--tile-frames", "4", "--latency", "low")
_ATTEMPTS = 3
_FAULTS = ("lost_tiles", "skipped_tiles", "underruns")
_SETTLED_S = 5.0  # the first seconds load the vocoder, and skip what the relay repeats to an end that joins

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class CallResult:
    """Percentiles of each direction's delay in ms, and what both ends lost while it was measured."""

    to_caller: dict[str, float]
    from_caller: dict[str, float]
    lost_tiles: int
    underruns: int


@dataclass(frozen=True)
class Shares:
    """The processor time of each end for a second of the call, both of whom speak; the host's has the relay."""

    caller: float
    host: float


class Ends:
    """Two ends of a call through the sinks; the host listens."""

    def __init__(self, processing: str, folder: Path) -> None:
        self._stats = [folder / "host.json", folder / "caller.json"]
        common = [*OPTIONS, "--process", processing]
        host = ["--listen", "--host", "127.0.0.1", "--port", "0", "--no-token", *common, *self._own(0)]
        self.host = Program("call", host)
        try:
            port = self.host.wait_for(r"--port (\d+)")[1]
            self.caller = Program("call", ["127.0.0.1", "--port", port, *common, *self._own(1)])
        except BaseException:
            self.host.stop()
            raise

    def _own(self, number: int) -> list[str]:
        mouth, ear = SINKS[2 * number : 2 * number + 2]
        devices = ["--input-device", f"{mouth}_mic", "--output-device", ear]
        return [*devices, "--stats-json", str(self._stats[number])]

    def wait_until_connected(self) -> None:
        """Return when each end hears the other. Raises AudioAvifError."""
        for end in (self.host, self.caller):
            end.wait_for("the other end is here")

    def check(self) -> None:
        """Raise AudioAvifError with the message of an end that has failed."""
        for end in (self.host, self.caller):
            if end.process.poll() is not None:
                raise AudioAvifError(end.last_words())

    def stop(self) -> None:
        """Hang up."""
        self.caller.stop()
        self.host.stop()

    def heard(self, key: str) -> int:
        """A figure of what both ends heard so far, added up."""
        return sum(_last_line(file)["heard"][key] for file in self._stats)


def _last_line(file: Path) -> dict[str, Any]:
    whole_lines = file.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    line: dict[str, Any] = json.loads(whole_lines[-1])
    return line


@contextmanager
def _connected(processing: str) -> Iterator[Ends]:
    """A call in which both ends are there; it has ended when the block is left."""
    with TemporaryDirectory() as folder:
        ends = Ends(processing, Path(folder))
        try:
            ends.wait_until_connected()
            yield ends
        finally:
            ends.stop()


def measure_one_direction(seconds: int) -> dict[str, float]:
    """The delay from the first mouth to the second ear by audio-avif-send and audio-avif-recv."""
    loop = Loop(seconds, play=SINKS[0], send=f"{SINKS[0]}_mic", receive=SINKS[3], record=f"{SINKS[3]}_mic")
    _, delays_ms = measure_acoustic(loop, [*OPTIONS[:2]], [*OPTIONS[2:]], lambda tile: None)
    return percentiles(delays_ms)


def measure_delay(seconds: int, processing: str) -> CallResult:
    """Let both ends hear chirps at once, and find them at the other end's ear. Raises AudioAvifError."""
    with _connected(processing) as ends:
        time.sleep(_SETTLED_S)
        before = {key: ends.heard(key) for key in _FAULTS}
        microphones = [f"{sink}_mic" for sink in SINKS]
        host_mouth, host_ear, mouth, ear = record_chirps(SINKS[::2], microphones, seconds)
        ends.check()
        ends.stop()
        faults = {key: ends.heard(key) - before[key] for key in _FAULTS}
    return CallResult(
        percentiles(find_delays_ms(host_mouth, ear, seconds, False)),
        percentiles(find_delays_ms(mouth, host_ear, seconds, False)),
        faults["lost_tiles"] + faults["skipped_tiles"],
        faults["underruns"],
    )


def measure_shares(seconds: float, processing: str, sound: FloatArray) -> Shares:
    """Measure the processor time of both ends while both play ``sound [samples]`` into their microphones."""
    import psutil

    def busy_s(process: psutil.Process) -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    with _connected(processing) as ends, talking(sound, SINKS[0]), talking(sound[::-1], SINKS[2]):
        time.sleep(_SETTLED_S)
        processes = [psutil.Process(end.process.pid) for end in (ends.caller, ends.host)]
        began_s, before_s = time.monotonic(), [busy_s(process) for process in processes]
        time.sleep(seconds)
        ends.check()
        after_s, took_s = [busy_s(process) for process in processes], time.monotonic() - began_s
        return Shares(*((after - before) / took_s for before, after in zip(before_s, after_s, strict=True)))


def _tried(measure: Callable[[], _Result]) -> _Result:
    """Measure again where a busy machine has lost chirps. Raises what the last attempt does."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(AudioAvifError):
            return measure()
    return measure()


def measure(seconds: int) -> dict[str, Any]:
    """All measurements, one after another, as JSON has them."""
    calls = {each: asdict(_tried(partial(measure_delay, seconds, each))) for each in PROCESSING}
    return {
        "one_direction": _tried(partial(measure_one_direction, seconds)),
        "calls": calls,
        "shares": asdict(measure_shares(seconds, PROCESSING[-1], demo_clip())),
    }


def _run(options: argparse.Namespace) -> None:
    console.log_to_stderr(PROGRAM)
    print(json.dumps(measure(options.seconds)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.latency.call``."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument(
        "--seconds", type=console.integer_in(5, 600), default=60, metavar="N", help="length of each of the four runs"
    )
    options = parser.parse_args(arguments)
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
