"""``audio-avif-quality``: compare the quality of this codec and others at their bit rates, on a folder of clips."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audio_avif import __version__
from audio_avif.config import MAX_TILE_FRAMES, MIN_TILE_FRAMES
from audio_avif.edge import console
from audio_avif.errors import FileError
from audio_avif_tools.shared.arguments import integers_in, processors
from audio_avif_tools.shared.pages import page_path

if TYPE_CHECKING:
    from audio_avif_tools.quality.jobs import ClipChoice, Job
    from audio_avif_tools.quality.means import Mean
    from audio_avif_tools.quality.rows import Row, ScoreFile
    from audio_avif_tools.quality.systems import System

PROGRAM = "audio-avif-quality"
OPUS_KBPS = (6, 8, 9, 12, 16)
OPUS_WIDEBAND_KBPS = (6, 7, 8, 9, 12)
OPUS_WIDEBAND_PACKETS_MS = (20, 60)
AMR_WB_MODES = (0, 1)
CODEC2_BITS_PER_S = (1300, 1600, 3200)
LYRA_QUANTIZERS = (16, 30, 46)
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def default_vocoders() -> list[str]:
    """``griffin-lim``, ``embedded-high`` and every model of the package."""
    from importlib import resources

    from audio_avif.vocoders.griffin_lim import GriffinLim
    from audio_avif.vocoders.registry import HIGH, MODEL_SUFFIX

    files = (entry.name for entry in resources.files("audio_avif_onnx.models").iterdir())
    models = {name.removesuffix(MODEL_SUFFIX) for name in files if name.endswith(MODEL_SUFFIX)}
    return [GriffinLim.name, *sorted({HIGH, *models})]


def choose_systems(options: argparse.Namespace) -> tuple[list[System], list[str]]:
    """Return the systems to compare, this codec first, and a sentence for each system that is left out.

    Raises ModelError for a missing vocoder or folder of models, FileError for two vocoders of one name.
    """
    from audio_avif_tools.quality.libopus import Enhancement
    from audio_avif_tools.quality.library_peers import AmrWb, OpusWideband
    from audio_avif_tools.quality.peers import Codec2, Lyra, Opus
    from audio_avif_tools.quality.systems import CleanMel, Tiles, Voice

    voices = list(dict.fromkeys(map(Voice.of, options.vocoder or default_vocoders())))
    names = [voice.name for voice in voices]
    if (twice := next((name for name in names if names.count(name) > 1), None)) is not None:
        raise FileError(f"two vocoders have the name {twice}; rename one of the files")
    systems: list[System] = [CleanMel(voice) for voice in voices]
    systems += [Tiles(voice, t, q) for voice in voices for t in options.tile_frames for q in options.qualities]
    wideband: list[System] = [
        OpusWideband(kbps, packet_ms, enhancement)
        for enhancement in Enhancement
        for packet_ms in OPUS_WIDEBAND_PACKETS_MS
        for kbps in OPUS_WIDEBAND_KBPS
    ]
    peers: list[tuple[str | None, list[System]]] = [
        (Opus.missing(), [Opus(kbps) for kbps in OPUS_KBPS]),
        (OpusWideband.missing(), wideband),
        (AmrWb.missing(), [AmrWb(mode) for mode in AMR_WB_MODES]),
        (Codec2.missing(), [Codec2(rate) for rate in CODEC2_BITS_PER_S]),
        (Lyra.missing(options.lyra), [Lyra(options.lyra, count) for count in LYRA_QUANTIZERS]),
    ]
    for reason, members in peers:
        systems += members if reason is None else []
    return systems, [reason for reason, _ in peers if reason is not None]


def _jobs(choice: ClipChoice, systems: Sequence[System], scores: tuple[str, ...]) -> Iterator[Job]:
    from audio_avif_tools.quality.jobs import Job

    return (Job(clip, system, scores) for clip in choice.clips for system in systems)


def _score(file: ScoreFile, jobs: Sequence[Job], workers: int) -> list[Row]:
    """Run the jobs that the file does not hold yet, with a progress bar; return the rows of all jobs."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from audio_avif_tools.shared.processes import run_jobs

    waiting = [job for job in jobs if job.key not in file.rows or not set(job.scores) <= set(file.rows[job.key].scores)]
    columns = (*Progress.get_default_columns()[:-1], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("scoring", total=len(jobs), completed=len(jobs) - len(waiting))
        try:
            for row in run_jobs(waiting, workers):
                file.append(row)
                progress.update(task, advance=1, description=row.clip)
        except KeyboardInterrupt:
            progress.console.print("interrupted; run the same command to continue")
            raise
    return [file.rows[job.key] for job in jobs]


def _print_table(means: Sequence[Mean]) -> None:
    from rich.console import Console
    from rich.table import Table

    from audio_avif_tools.quality.page import summary

    columns = summary(means)
    table = Table(box=None)
    for name in columns:
        table.add_column(name, justify="left" if name == "system" else "right", overflow="fold")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    Console(stderr=True).print(table)


def _command(options: argparse.Namespace) -> str:
    """The command line of this run, with placeholders for folders."""
    words = [PROGRAM, "--clips CLIPS"]
    words += [f"--match {shlex.quote(options.match)}"] if options.match else []
    words += [f"--every {options.every}"] if options.every > 1 else []
    words += ["--out OUT"]
    words += ["--lyra LYRA"] if options.lyra else []
    words += [f"--vocoder {shlex.quote(Path(name).name)}" for name in options.vocoder or ()]
    words += [f"--{name} {','.join(map(str, values))}" for name, values in _lists(options)]
    words += ["--page docs/measurements/quality.md"] if options.page else []
    return " ".join(words)


def _lists(options: argparse.Namespace) -> list[tuple[str, list[int]]]:
    return [("tile-frames", options.tile_frames), ("qualities", options.qualities)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Score rate against quality on a folder of speech: every vocoder at hand on clean mel and through "
        "AVIF tiles, beside Opus (plain, LACE and NoLACE), AMR-WB, Codec2 and Lyra v2, by PESQ-WB, STOI, ESTOI, "
        "ViSQOL, DNSMOS and mel distance. What is not installed is left out and named. Run again, it goes on where it "
        "stopped.",
        epilog="--out receives scores.csv, quality.md with images/, and examples/ with WAV files.",
    )
    parser.add_argument(
        "--clips", type=Path, required=True, metavar="DIR", help="folder of audio files of any sample rate"
    )
    parser.add_argument("--match", default="", metavar="TEXT", help="only files whose name contains this")
    parser.add_argument(
        "--every", type=console.integer_in(1, 1_000_000), default=1, metavar="N", help="only every Nth file"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--lyra", type=Path, metavar="DIR", help="folder of Lyra v2's three .tflite models")
    parser.add_argument(
        "--vocoder",
        action="append",
        metavar="NAME|PATH",
        help="vocoder to score; may be repeated (default: griffin-lim and all that come with audio-avif)",
    )
    parser.add_argument(
        "--tile-frames",
        type=integers_in(MIN_TILE_FRAMES, MAX_TILE_FRAMES),
        default=[8, 16],
        metavar="N,N",
        help="tile widths in frames of 16 ms (default: 8,16)",
    )
    parser.add_argument(
        "--qualities",
        type=integers_in(0, 100),
        default=[35, 45, 52, 64],
        metavar="Q,Q",
        help="AVIF qualities (default: 35,45,52,64)",
    )
    parser.add_argument(
        "--workers",
        type=console.integer_in(1, 256),
        default=processors(),
        metavar="N",
        help="number of single-threaded processes (default: %(default)s, one for each processor)",
    )
    parser.add_argument(
        "--page",
        type=page_path,
        metavar="FILE.md",
        help="also write the page to this file, and its pictures into images/ beside it",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _run(options: argparse.Namespace) -> None:
    for name in _THREAD_VARIABLES:  # before numpy is loaded, here and in the workers
        os.environ[name] = "1"
    from audio_avif.metrics import SCORES
    from audio_avif_tools.quality.jobs import choose_clips
    from audio_avif_tools.quality.rows import ScoreFile

    console.log_to_stderr(PROGRAM)
    _require_folders(options)
    systems, left_out = choose_systems(options)
    reasons = {key: score.missing() for key, score in SCORES.items()}
    left_out += [reason for reason in reasons.values() if reason is not None]
    choice = choose_clips(options.clips, options.match, options.every)
    for text in [*(f"left out: {reason}" for reason in left_out), *(f"skipped: {why}" for why in choice.skipped)]:
        print(f"{PROGRAM}: {text}", file=sys.stderr)
    scores = tuple(key for key, reason in reasons.items() if reason is None)
    with ScoreFile(options.out / "scores.csv") as file:
        rows = _score(file, list(_jobs(choice, systems, scores)), options.workers)
    _report(options, choice, rows, systems, left_out)


def _require_folders(options: argparse.Namespace) -> None:
    """Check before hours of work that the results can be written. Raises FileError."""
    from audio_avif.edge.sound_files import require_writable

    for target in (options.out / "quality.md", options.page):
        if target is not None:
            try:
                (target.parent / "images").mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise FileError(f"{target.parent} cannot be written: {error.strerror or error}") from error
            require_writable(target)


def _report(
    options: argparse.Namespace,
    choice: ClipChoice,
    rows: Sequence[Row],
    systems: Sequence[System],
    left_out: list[str],
) -> None:
    from audio_avif.errors import AudioAvifError
    from audio_avif_tools.quality.means import means_of
    from audio_avif_tools.quality.page import Report, choose_examples, write_sounds
    from audio_avif_tools.shared.delays import require_matplotlib

    means = means_of(rows, systems)
    examples = list(choose_examples(choice, rows, means))
    write_sounds(examples, options.out / "examples")
    has_pictures = True
    try:
        require_matplotlib()
    except AudioAvifError as error:
        has_pictures = False
        print(f"{PROGRAM}: no pictures: {error}", file=sys.stderr)
    report = Report(_command(options), choice, means, examples, left_out)
    report.write([options.out / "quality.md", *([options.page] if options.page else [])], has_pictures)
    _print_table(means)
    print(f"written to {options.out}" + (f" and {options.page}" if options.page else ""))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif-quality``."""
    options = _parser().parse_args(arguments)
    with console.sigterm_interrupts():
        return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
