"""``make bench``: measures speed, delay and memory on this machine and writes ``docs/measurements/bench.md``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audio_avif import __version__
from audio_avif.config import RATE_HZ
from audio_avif.edge import console
from audio_avif.edge.sound_files import read_audio
from audio_avif.types import FloatArray
from audio_avif_tools.bench.call import bench_call
from audio_avif_tools.bench.delay import NOTE, bench_busy, bench_delay
from audio_avif_tools.bench.memory import bench_memory
from audio_avif_tools.bench.processing import (
    Models,
    bench_encode,
    bench_peers,
    bench_receive,
    bench_resampling,
    export_speecht5_size,
)
from audio_avif_tools.bench.recordings import bench_hour
from audio_avif_tools.bench.restart import bench_restart
from audio_avif_tools.bench.rows import PAGE, Row, section_text, write_page
from audio_avif_tools.shared.arguments import folder
from audio_avif_tools.shared.clips import clean_clips
from audio_avif_tools.shared.signals import demo_clip

PROGRAM = "audio-avif bench"


@dataclass(frozen=True)
class Bench:
    """What is measured: the sound, exported models, and the options."""

    sound: FloatArray
    models: Models
    options: argparse.Namespace


@dataclass(frozen=True)
class Section:
    """A section of the page: its title, what is measured, a note, and whether it is measured with the user's clips."""

    title: str
    measure: Callable[[Bench], list[Row]]
    note: str = ""
    takes_speech: bool = False


SECTIONS = {
    "sending": Section("Sending", lambda bench: [*bench_encode(bench.sound), *bench_resampling()], takes_speech=True),
    "receiving": Section(
        "Receiving, one thread, share of real time",
        lambda bench: bench_receive(bench.sound, bench.models),
        takes_speech=True,
    ),
    "peers": Section("Beside Opus, in the same run", lambda bench: bench_peers(bench.sound), takes_speech=True),
    "delay": Section("Mouth to ear", lambda bench: bench_delay(bench.options.acoustic_seconds), NOTE),
    "busy": Section("All cores busy", lambda bench: bench_busy(bench.options.acoustic_seconds), NOTE),
    "restart": Section("A restarted sound server", lambda bench: bench_restart()),
    "call": Section("A call", lambda bench: bench_call(bench.options.acoustic_seconds)),
    "memory": Section(
        "Memory",
        lambda bench: bench_memory(bench.models.streaming, bench.options.minutes, bench.sound),
        takes_speech=True,
    ),
    "files": Section(
        "Files, all cores", lambda bench: bench_hour(bench.sound, bench.options.file_minutes), takes_speech=True
    ),
}
"""Sections of the page by their names on the command line."""


def _run(options: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import Progress

    clips = clean_clips(options.corpus)[:8]
    sound = np.concatenate([read_audio(clip) for clip in clips]) if clips else np.resize(demo_clip(), 60 * RATE_HZ)
    speech = f"Sound: {len(clips)} clips of real speech." if clips else "Sound: the bundled synthetic clip."
    sections: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as name, Progress(console=Console(stderr=True)) as progress:
        bench = Bench(sound, export_speecht5_size(Path(name)), options)
        chosen = [options.only] if options.only else list(SECTIONS)
        task = progress.add_task("bench", total=len(chosen))
        for section in map(SECTIONS.__getitem__, chosen):
            progress.update(task, description=section.title)
            rows = section.measure(bench)
            sections[section.title] = section_text(rows, speech if section.takes_speech else "", section.note)
            progress.advance(task)
            for row in rows:
                progress.console.print(row.cells(), markup=False)
    write_page(sections, options.output)
    print(f"written to {options.output}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``python -m audio_avif_tools.bench.command``."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=f"Measure speed, delay and memory, and write {PAGE}.")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page to write (default: %(default)s)")
    parser.add_argument("--corpus", type=folder, help="folder of speech clips to use in place of the bundled one")
    parser.add_argument(
        "--only",
        choices=tuple(SECTIONS),
        help="measure only this section and keep the others of the page",
    )
    parser.add_argument("--minutes", type=float, default=10, help="length of the memory run in minutes (default: 10)")
    parser.add_argument(
        "--file-minutes", type=float, default=60, help="length of the file codec's recording in minutes (default: 60)"
    )
    parser.add_argument(
        "--acoustic-seconds",
        type=console.integer_in(5, 600),
        default=60,
        metavar="N",
        help="length of each acoustic run in seconds (default: 60)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(arguments)
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
