"""``audio-avif analyze``: measure the loss of each stage of the codec by replacing the other stages with oracles."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from audio_avif import __version__
from audio_avif.config import MAX_TILE_FRAMES, MIN_TILE_FRAMES, RATE_HZ
from audio_avif.edge import console
from audio_avif_tools.analyze.results import PROGRAM, Recording, Result, cells, write_page, write_results
from audio_avif_tools.shared.pages import page_path

if TYPE_CHECKING:
    from audio_avif.metrics import Score
    from audio_avif_tools.analyze.stages import PictureStage, Row, Split

_LATENT_BITS = (16, 8, 7, 6, 5, 4, 3, 2)


def measure(
    recordings: Sequence[Recording],
    pictures: Sequence[PictureStage],
    vocoder_name: str,
    measures: Sequence[Score],
) -> Result:
    """Run every recording through every chain, with a progress bar; all recordings have the same weight."""
    from rich.console import Console
    from rich.progress import Progress

    from audio_avif.config import MelConfig
    from audio_avif.recording.codec import require_fit
    from audio_avif.vocoders.registry import load_vocoder
    from audio_avif_tools.analyze.stages import Split, analyze, mean_rows, voices_of

    vocoder = load_vocoder(device="cpu", name=vocoder_name)
    require_fit(vocoder, MelConfig())
    voices = voices_of(vocoder)
    rows_each = 1 + len(pictures) * len(voices)
    tables = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("analyzing", total=rows_each * sum(len(each.spans) for each in recordings))
        for recording in recordings:
            excerpts = []
            for samples in recording.excerpts():
                rows = []
                for row in analyze(samples, pictures, voices, measures):
                    progress.update(task, advance=1, description=recording.path.name)
                    rows.append(row)
                excerpts.append(rows)
            tables.append(tuple(mean_rows(excerpts)))
    mean = tuple(mean_rows(tables))
    split = Split.of(tables, vocoder.name)
    return Result(tuple(recordings), tuple(tables), mean, split, tuple(_notes(mean, pictures, split, vocoder.name)))


def _notes(rows: Sequence[Row], pictures: Sequence[PictureStage], split: Split | None, vocoder: str) -> Iterator[str]:
    """Return the conclusions of the table, one or two sentences each."""
    from audio_avif_tools.analyze.autoencoder import Autoencoder
    from audio_avif_tools.analyze.stages import AUTOENCODER, AVIF, PCM_KBPS

    last = {row.picture: row for row in rows if row.voice == vocoder}
    for picture in pictures:
        if isinstance(picture, Autoencoder):
            yield picture.report(last[AUTOENCODER].kbps)
    if split is None:
        yield "The stages cannot be compared: the recordings are silent or too short for every score."
        return
    yield split.sentence()
    if AUTOENCODER in last:
        told = {
            name: f"{last[name].scores[split.score.key]:.{split.score.decimals}f} at {last[name].kbps:.1f} kbps "
            f"(1:{PCM_KBPS / last[name].kbps:.0f})"
            for name in (AVIF, AUTOENCODER)
        }
        yield (
            f"Spoken by {vocoder}, the picture has {split.score.title} {told[AVIF]}, "
            f"the autoencoder {told[AUTOENCODER]}."
        )


def print_table(result: Result, measures: Sequence[Score]) -> None:
    """Print the means, one block per voice."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("picture", "voice"):
        table.add_column(name, no_wrap=True)
    for name in ("kbps", *(score.title for score in measures)):
        table.add_column(name, justify="right", no_wrap=True)
    voice = ""
    for row in result.mean:
        if row.voice != voice:
            table.add_row()
        voice = row.voice
        table.add_row(row.picture, row.voice, *cells(row, measures))
    Console(soft_wrap=True).print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Tell which stage of the codec loses what: score a recording after each stage, with the\n"
        "original's own phases in place of the vocoder, with Griffin-Lim and with the vocoder.\n\n"
        "Of several recordings the means are told. Of one longer than 20 s, evenly spaced excerpts\n"
        "of 10 s are used, at most 12.",
        epilog="examples:\n"
        "  audio-avif analyze talk.wav\n"
        "  audio-avif analyze talk.wav --quality 52 --tile-frames 8    as a stream would send it\n"
        "  audio-avif analyze clips/*.flac --output results            table and plot as files\n"
        "  audio-avif analyze talk.wav --vae cvssp/audioldm2           a latent in place of the picture",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs", nargs="+", type=_input, metavar="IN", help="recordings of any sample rate; mixed to mono"
    )
    parser.add_argument(
        "--quality", type=console.integer_in(0, 100), default=85, metavar="Q", help="AVIF quality (default: 85)"
    )
    parser.add_argument(
        "--tile-frames",
        type=console.integer_in(MIN_TILE_FRAMES, MAX_TILE_FRAMES),
        metavar="N",
        help="tiles of a stream, of N frames of 16 ms each (default: cells of a file, 10 s)",
    )
    parser.add_argument(
        "--vocoder", default="embedded", metavar="NAME|PATH", help="vocoder to measure (default: embedded)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for analyze.csv, analyze.json and the plot analyze.png"
    )
    parser.add_argument(
        "--page",
        type=page_path,
        metavar="FILE.md",
        help="also write table and conclusions into this page, and the plot into images/ beside it",
    )
    latent = parser.add_argument_group(
        "a mel autoencoder, compared with the picture", "diffusers' AutoencoderKL, as in AudioLDM and AudioLDM2"
    )
    latent.add_argument("--vae", metavar="NAME|DIR", help="a name on a hub, or a folder that save_pretrained wrote")
    latent.add_argument(
        "--vae-mel",
        choices=("auto", "audioldm", "ours"),
        default="auto",
        help="its input: AudioLDM's mel or this codec's (default: auto, by its shape)",
    )
    latent.add_argument(
        "--vae-bits",
        type=int,
        choices=_LATENT_BITS,
        default=16,
        metavar="N",
        help="bits per latent value: 16 for float16, 2 to 8 for even steps (default: 16)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _input(text: str) -> Path:
    if text == "-":
        raise argparse.ArgumentTypeError("standard input cannot be read twice; name a file instead of -")
    return Path(text)


def _run(options: argparse.Namespace) -> None:
    from audio_avif.edge.sound_files import require_writable
    from audio_avif_tools.files.names import folders

    console.log_to_stderr(PROGRAM)
    recordings = [Recording.of(path) for path in options.inputs]
    with folders([] if options.output is None else [options.output]):
        if options.output is not None:  # report an unwritable folder now rather than after minutes
            for name in ("analyze.csv", "analyze.json", "analyze.png"):
                require_writable(options.output / name)
        _analyze(options, recordings)


def _analyze(options: argparse.Namespace, recordings: Sequence[Recording]) -> None:
    from audio_avif_tools.analyze.stages import MEASURES

    missing = [reason for score in MEASURES.values() if (reason := score.missing()) is not None]
    for text in [*missing, *(note for each in recordings if (note := each.note()) is not None)]:
        print(f"{PROGRAM}: {text}", file=sys.stderr)
    measures = [score for score in MEASURES.values() if score.missing() is None]
    result = measure(recordings, _pictures(options), options.vocoder, measures)
    cut = "cells of 10 s" if options.tile_frames is None else f"tiles of {options.tile_frames} frames"
    seconds = sum(length for recording in recordings for _, length in recording.spans) / RATE_HZ
    count = "1 recording" if len(recordings) == 1 else f"{len(recordings)} recordings"
    print(f"{count}, {seconds:.0f} s; AVIF quality {options.quality} in {cut}; vocoder {options.vocoder}\n")
    print_table(result, list(MEASURES.values()))
    print("\n" + "\n".join(result.notes))
    if options.output is not None:
        settings = {name: value for name, value in vars(options).items() if name not in ("inputs", "output", "page")}
        write_results(result, list(MEASURES.values()), settings, options.output)
        print(f"written to {options.output}")
    if options.page is not None:
        write_page(result, list(MEASURES.values()), _words(options), options.page)
        print(f"written to {options.page}")


def _words(options: argparse.Namespace) -> list[str]:
    """What of the command line decides the figures, without the folder of a file."""
    words = ["--quality", str(options.quality)]
    words += ["--tile-frames", str(options.tile_frames)] if options.tile_frames is not None else []
    words += ["--vocoder", Path(options.vocoder).name] if options.vocoder != "embedded" else []
    if options.vae is not None:
        words += ["--vae", Path(options.vae).name, "--vae-mel", options.vae_mel, "--vae-bits", str(options.vae_bits)]
    return words


def _pictures(options: argparse.Namespace) -> list[PictureStage]:
    from audio_avif.recording.layout import CELL_FRAMES
    from audio_avif_tools.analyze.stages import Avif, CleanMel, EightBit

    pictures: list[PictureStage] = [CleanMel(), EightBit(), Avif(options.quality, options.tile_frames or CELL_FRAMES)]
    if options.vae is not None:
        from audio_avif_tools.analyze.autoencoder import open_autoencoder

        pictures.append(open_autoencoder(options.vae, options.vae_mel, options.vae_bits))
    return pictures


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif analyze``."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.vae is None and (options.vae_mel, options.vae_bits) != ("auto", 16):
        parser.error("--vae-mel and --vae-bits need --vae")
    with console.interrupted_once():
        return console.run(PROGRAM, lambda: _run(options))


if __name__ == "__main__":
    sys.exit(main())
