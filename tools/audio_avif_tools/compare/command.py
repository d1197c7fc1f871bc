"""``audio-avif compare``: compare image codecs by bit rate, mel error and quality after the vocoder."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_avif import __version__
from audio_avif.edge import console
from audio_avif_tools.shared.arguments import ValueRange, processors, value_range, with_ranges_joined

if TYPE_CHECKING:
    from audio_avif_tools.compare.jobs import Point, Variant

PROGRAM = "audio-avif compare"
DEFAULT_FORMATS = ("avif", "webp", "jxl", "heic", "jpeg", "png")
_CELL_FRAMES = 625
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word for word in text.split(",") if word))


def _integers(name: str, allowed: Callable[[int], bool]) -> Callable[[str], list[int]]:
    """Return a parser of comma-separated integers; argparse shows its name where it raises ValueError."""

    def parse(text: str) -> list[int]:
        values = list(dict.fromkeys(map(int, text.split(","))))
        if not all(map(allowed, values)):
            raise ValueError(name)
        return values

    parse.__name__ = name
    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Encode speech as pictures in several image formats, each at its own ladder of qualities, and "
        "measure\nbit rate, root mean square error of the log-mel, and PESQ-WB and STOI of the decoded sound.",
        epilog="DIR receives compare.csv and compare.png. The first 20 s of each recording are used, mixed "
        "to one channel.\n"
        "The payload of a picture is its file without the bytes that every picture of that size and quality shares\n"
        "(containers, length fields, fixed tables); --rate-of selects which of the two counts as bit rate.\n\n"
        "examples:\n"
        "  audio-avif compare SPEECH/ --clips 12 --output out\n"
        "  audio-avif compare SPEECH/ --formats avif,jxl,heic --depth 8,10,12 --output out\n"
        "  audio-avif compare SPEECH/ --formats avif --range fixed --range auto --range -11,4 --output out\n"
        "  audio-avif compare SPEECH/ --tile-frames 8 --rate-of payload --output out",
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="IN", help="sound files, and folders of them")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")
    _add_variants(parser)
    _add_measurement(parser)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _add_variants(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose what is compared."""
    parser.add_argument(
        "--formats",
        type=_words,
        default=list(DEFAULT_FORMATS),
        metavar="NAME,NAME",
        help=f"formats out of {', '.join(DEFAULT_FORMATS)}; avif, jxl and heic take a bit depth as in avif-10 "
        "(default: all at 8 bit)",
    )
    parser.add_argument(
        "--depth",
        type=_integers("depths (8, 10 or 12, comma-separated)", lambda depth: depth in (8, 10, 12)),
        default=[8],
        metavar="BITS,BITS",
        help="bit depths of formats named without one, where the format has them (default: 8)",
    )
    parser.add_argument(
        "--qualities",
        type=_integers("qualities (0 to 100, comma-separated)", lambda quality: 0 <= quality <= 100),
        metavar="Q,Q",
        help="qualities for all formats but PNG, whose quality is a number of gray levels (default: a ladder each)",
    )
    parser.add_argument(
        "--range",
        dest="ranges",
        action="append",
        type=value_range,
        metavar="fixed|auto|MIN,MAX",
        help="the log10 magnitudes that black and white stand for: those of a stream, each recording's own, or these; "
        "may be repeated (default: fixed)",
    )
    parser.add_argument(
        "--tile-frames",
        type=console.integer_in(2, _CELL_FRAMES),
        default=_CELL_FRAMES,
        metavar="N",
        help="width of a picture in frames of 16 ms (default: %(default)s, as in files; streams use 8)",
    )


def _add_measurement(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose on what, how and in how many processes it is compared."""
    parser.add_argument(
        "--rate-of",
        choices=("file", "payload"),
        default="file",
        help="size that counts as bit rate in table and plot; the CSV file has both (default: file)",
    )
    parser.add_argument("--vocoder", default="default", metavar="NAME|PATH", help="vocoder (default: embedded)")
    parser.add_argument(
        "--clips",
        type=console.integer_in(1, 100_000),
        metavar="N",
        help="maximum number of recordings, evenly spread over those found",
    )
    parser.add_argument(
        "--layouts",
        action="store_true",
        help="compare ways to lay out two channels in an AVIF instead: below each other as left and right or as mid "
        "and side, or as colours; --formats, --depth and --vocoder do not count",
    )
    parser.add_argument(
        "--workers",
        type=console.integer_in(1, 256),
        default=processors(),
        metavar="N",
        help="number of single-threaded processes (default: %(default)s, one for each processor)",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif compare``."""
    parser = _parser()
    options = parser.parse_args(with_ranges_joined(sys.argv[1:] if arguments is None else arguments))
    for name in _THREAD_VARIABLES:  # before numpy is loaded, here and in the workers
        os.environ.setdefault(name, "1")
    try:
        variants = choose_variants(options.formats, options.depth, options.ranges or ["fixed"], options.tile_frames)
    except ValueError as error:
        parser.error(str(error))
    with console.interrupted_once():
        return console.run(PROGRAM, lambda: _run(options, variants))


def choose_variants(
    formats: Sequence[str], depths: Sequence[int], ranges: Sequence[ValueRange], tile_frames: int
) -> list[Variant]:
    """Return the variants to compare. Raises ValueError for unknown formats."""
    from audio_avif_tools.compare.image_codecs import CODECS, find_codec
    from audio_avif_tools.compare.jobs import FIXED_RANGE, Variant

    if not formats:
        raise ValueError("--formats names no format")
    names: list[str] = []
    for name in formats:
        codec = find_codec(name)
        possible = [depth for depth in depths if depth in codec.depths] if name in CODECS else []
        names += [name if depth == 8 else f"{name}-{depth}" for depth in possible] or [name]
    limits = [FIXED_RANGE if value == "fixed" else None if value == "auto" else value for value in ranges]
    chosen = []
    for name in dict.fromkeys(names):
        codec = find_codec(name)
        title = codec.title + (f" {codec.depth} bit" if codec.depth > 8 else "")
        for each in dict.fromkeys(limits):
            variant = Variant(name, each, tile_frames, title)
            chosen.append(
                Variant(name, each, tile_frames, f"{title}, {variant.range_name}") if len(limits) > 1 else variant
            )
    return chosen


def _run(options: argparse.Namespace, variants: list[Variant]) -> None:
    from audio_avif_tools.compare.jobs import find_recordings

    console.log_to_stderr(PROGRAM)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from audio_avif.errors import FileError

        raise FileError(f"the folder {options.output} cannot be created: {error.strerror or error}") from error
    recordings, skipped = find_recordings(options.inputs, options.clips)
    for reason in skipped:
        _tell(f"skipped: {reason}")
    if options.layouts:
        _compare_layouts(options, recordings)
    else:
        _compare_formats(options, recordings, variants)


def _tell(text: str) -> None:
    print(f"{PROGRAM}: {text}", file=sys.stderr)


def _compare_formats(options: argparse.Namespace, recordings: list[Path], variants: list[Variant]) -> None:
    from audio_avif.errors import AudioAvifError
    from audio_avif.metrics import SCORES
    from audio_avif_tools.compare.jobs import SCORED, Job, ladder, require_vocoder, to_csv
    from audio_avif_tools.compare.tables import beside_first, matched

    left_out = {variant.format: variant.codec.missing() for variant in variants}
    unscored = {key: SCORES[key].missing() for key in SCORED}
    for reason in [*left_out.values(), *dict.fromkeys(unscored.values())]:
        if reason is not None:
            _tell(f"left out: {reason}")
    variants = [variant for variant in variants if left_out[variant.format] is None]
    scores = tuple(key for key, reason in unscored.items() if reason is None)
    if not variants:
        raise AudioAvifError("no format is left to compare")
    if scores:
        require_vocoder(options.vocoder)
    jobs = [
        Job(recording, variant, ladder(variant.codec, options.qualities), options.vocoder, scores)
        for recording in recordings
        for variant in variants
    ]
    if idle := next((job.variant for job in jobs if not job.qualities), None):
        raise AudioAvifError(f"{idle.name} has none of the qualities asked for, only {idle.codec.meaning}")
    points = sorted(_results(jobs, options.workers), key=_place(recordings, variants))
    _write(options.output / "compare.csv", to_csv(points).encode())
    print(matched(points, variants, options.rate_of))
    if len(variants) > 1:
        print(f"\n{beside_first(points, variants, options.rate_of)}")
    has_plot = _draw(options, points, variants)
    _sign(options, len(recordings), "compare.csv" + (" and compare.png" if has_plot else ""))


def _place(recordings: Sequence[Path], variants: Sequence[Variant]) -> Callable[[Point], tuple[int, int, int]]:
    """A sort key: variant, recording, quality."""
    names = {recording.as_posix(): number for number, recording in enumerate(recordings)}
    lines = {variant: number for number, variant in enumerate(variants)}
    return lambda point: (lines[point.variant], names[point.recording], point.quality)


def _draw(options: argparse.Namespace, points: Sequence[Point], variants: Sequence[Variant]) -> bool:
    from audio_avif.errors import AudioAvifError
    from audio_avif_tools.shared.delays import require_matplotlib

    try:
        require_matplotlib()
    except AudioAvifError as error:
        _tell(f"no plot: {error}")
        return False
    from audio_avif_tools.compare.plots import draw

    _write(options.output / "compare.png", draw(points, variants, options.rate_of))
    return True


def _compare_layouts(options: argparse.Namespace, recordings: list[Path]) -> None:
    from audio_avif.errors import AudioAvifError
    from audio_avif_tools.compare.layouts import LayoutJob, layout_table, layouts_csv

    if len(recordings) < 2:
        raise AudioAvifError("layouts are compared on two recordings or more")
    jobs = [
        LayoutJob(recording, recordings[(number + 1) % len(recordings)]) for number, recording in enumerate(recordings)
    ]
    curves = _results(jobs, options.workers)
    _write(options.output / "layouts.csv", layouts_csv(curves).encode())
    print(layout_table(curves))
    _sign(options, len(recordings), "layouts.csv")


def _sign(options: argparse.Namespace, count: int, files: str) -> None:
    """Print the recordings and versions behind the figures, and the files written."""
    from importlib.metadata import PackageNotFoundError, version

    from audio_avif_tools.shared.machine import machine

    told = [f"{count} recording{'s' if count > 1 else ''}", machine()]
    for package in ("Pillow", "imagecodecs", "pillow-heif"):
        with suppress(PackageNotFoundError):
            told.append(f"{package} {version(package)}")
    print(f"\n{', '.join(told)}\nwritten to {options.output}: {files}")


def _results(jobs: Sequence[Any], workers: int) -> list[Any]:
    """Run the jobs with a progress bar; return their results in any order. Raises AudioAvifError where one fails."""
    from rich.console import Console
    from rich.progress import Progress

    from audio_avif_tools.shared.processes import run_jobs

    results: list[Any] = []
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("comparing", total=len(jobs))
        for result in run_jobs(jobs, workers):
            results += result
            progress.advance(task)
    return results


def _write(path: Path, data: bytes) -> None:
    """Write a temporary file, then rename it. Raises FileError."""
    from audio_avif.errors import FileError

    beside = path.with_name(f"{path.name}.part")
    try:
        try:
            beside.write_bytes(data)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}") from error


if __name__ == "__main__":
    sys.exit(main())
