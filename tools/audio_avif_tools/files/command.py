"""``audio-avif``: encode recordings as AVIF pictures, decode them, and report on each quality."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from audio_avif import __version__
from audio_avif.edge import console
from audio_avif_tools.files.names import ARRAY_SUFFIX, OTHER_PICTURES, PICTURE_SUFFIX, find_inputs
from audio_avif_tools.files.spooling import pipes_as_files
from audio_avif_tools.shared.arguments import integers_in, processors, value_range, with_ranges_joined

if TYPE_CHECKING:
    from audio_avif_tools.files.jobs import Decoding, Settings
    from audio_avif_tools.files.names import Inputs

PROGRAM = "audio-avif"
SUBCOMMANDS = {
    "compare": "quality of AVIF, WebP, JPEG XL, HEIC, JPEG and PNG at their bit rates",
    "invert": "sound from spectrogram pictures of other programs",
    "spectrogram": "spectrogram pictures, linear or mel, with settings in their metadata",
    "analyze": "loss of each stage: mel, pixels, AVIF, phase, vocoder",
}
MODULES = {
    "analyze": "audio_avif_tools.analyze.command",
    "compare": "audio_avif_tools.compare.command",
    "invert": "audio_avif_tools.spectrograms.invert_command",
    "spectrogram": "audio_avif_tools.spectrograms.spectrogram_command",
}
"""The module of each subcommand's ``main``, imported when it is called."""
REPORT_QUALITIES = [70, 80, 85, 90, 95]
PICTURE_QUALITY = 85

_DESCRIPTION = """\
Encode recordings as AVIF pictures of sound, and decode them.

  audio-avif speech.wav --output DIR           pictures at five qualities, the decoded sound, and
                                               DIR/report.html that shows and plays them
  audio-avif RECORDINGS --output DIR           the same for a folder and its subfolders
  audio-avif speech.wav --output speech.avif   only the picture
  audio-avif speech.avif                       speech.wav from the picture
  audio-avif speech.avif --output out.flac     the same with another name and format
  audio-avif PICTURES --output DIR             WAV files from a folder of pictures
"""
_EPILOG = (
    "other commands, each with its own --help:\n"
    + "".join(f"  {PROGRAM} {name:<12} {text}\n" for name, text in SUBCOMMANDS.items())
    + "\nA picture holds 1 to 4 channels; sound comes back at 16 kHz. Its settings are in its metadata.\n"
    "Exit code: 0 done, 1 something failed, 2 wrong usage, 130 interrupted."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif``."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and arguments[0] in SUBCOMMANDS:
        return int(import_module(MODULES[arguments[0]]).main(arguments[1:]))
    parser = _parser()
    options = parser.parse_args(with_ranges_joined(arguments))
    with console.interrupted_once():
        return console.run(PROGRAM, lambda: _run(options, parser))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} IN [IN ...] [--output FILE|DIR] [options]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="IN",
        help="sound files (WAV, FLAC, OGG, MP3, AIFF and more, of any rate), AVIF pictures, or folders of either; also "
        "pictures that an image program has saved as PNG, WebP, JPEG or TIFF with their metadata; - reads a sound file "
        "from standard input",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE|DIR",
        help="picture (.avif), sound file (.wav, .flac, .ogg) or folder (default for a picture: its name with .wav, "
        "if there is no such file)",
    )
    parser.add_argument(
        "--vocoder",
        metavar="NAME|PATH",
        help="vocoder: embedded-high (default), embedded, griffin-lim, or an .onnx file",
    )
    parser.add_argument(
        "--workers",
        type=console.integer_in(1, 256),
        default=processors(),
        metavar="N",
        help="number of threads and, for the report, processes (default: %(default)s, one for each processor)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    _add_pictures(parser.add_argument_group("pictures from sound"))
    _add_either(parser.add_argument_group("either way"))
    return parser


def _add_pictures(group: argparse._ArgumentGroup) -> None:
    """Add the options for the pictures that recordings become."""
    group.add_argument(
        "--quality",
        type=integers_in(0, 100),
        metavar="Q,Q",
        help=f"quality, 0 to 100 (default: {PICTURE_QUALITY}, and {','.join(map(str, REPORT_QUALITIES))} for a report)",
    )
    group.add_argument(
        "--speed",
        type=console.integer_in(0, 10),
        metavar="N",
        help="encoder speed, from 0 (slow, small files) to 10 (fast, large files) (default: 6)",
    )
    group.add_argument(
        "--depth", type=int, choices=(8, 10, 12), help="bits per pixel (default: 8; more need audio-avif[formats])"
    )


def _add_either(group: argparse._ArgumentGroup) -> None:
    """Add the options for the pixels of pictures that are written, or read without metadata."""
    group.add_argument(
        "--range",
        type=value_range,
        metavar="fixed|auto|MIN,MAX",
        help="log10 magnitudes of black and white: -5.5,1 (fixed, the default), each recording's own (auto), or "
        "MIN,MAX; for pictures without metadata, theirs",
    )
    group.add_argument(
        "--layout",
        choices=("stacked", "planes"),
        help="channels one below the other (default), or as red, green and blue planes",
    )
    group.add_argument(
        "--channels",
        type=console.integer_in(1, 4),
        metavar="N",
        help="number of channels of pictures without metadata (default: 1)",
    )


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    # Before numpy is loaded: the threads of this program each use one core.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    console.log_to_stderr(PROGRAM)
    with pipes_as_files(options.inputs) as paths:
        inputs = find_inputs(paths, options.output)
        if inputs.are_pictures:
            _decode(options, parser, inputs)
        else:
            _encode(options, parser, inputs)


def _encode(options: argparse.Namespace, parser: argparse.ArgumentParser, inputs: Inputs) -> None:
    from audio_avif.edge.sound_files import WRITABLE
    from audio_avif.vocoders.registry import HIGH
    from audio_avif_tools.files.jobs import encode_one, report_on

    output: Path | None = options.output
    if output is None:
        parser.error("--output is missing: name a file that ends in .avif, or a folder for pictures and a report")
    if options.channels is not None:
        parser.error("--channels is for pictures; a sound file states its number of channels")
    suffix = "" if os.path.isdir(output) else output.suffix.lower()
    if suffix in {*WRITABLE, *OTHER_PICTURES, ARRAY_SUFFIX}:
        parser.error("recordings become AVIF pictures: --output needs a name that ends in .avif, or a folder")
    if suffix != PICTURE_SUFFIX:
        settings = _settings(options, parser, REPORT_QUALITIES)
        report_on(inputs.files, output, settings, options.vocoder or HIGH, options.workers)
        return
    if len(inputs.files) > 1 or inputs.come_from_a_folder:
        parser.error("several files need a folder as --output")
    if options.vocoder is not None:
        parser.error("--vocoder decodes, which needs a folder as --output, or a picture as input")
    settings = _settings(options, parser, [PICTURE_QUALITY])
    if len(settings.qualities) > 1:
        parser.error("a picture has one --quality; several qualities need a folder as --output")
    encode_one(inputs.files[0].path, output, settings, options.workers)


def _settings(options: argparse.Namespace, parser: argparse.ArgumentParser, qualities: list[int]) -> Settings:
    from audio_avif.recording.picture_encoder import FileConfig
    from audio_avif_tools.files.jobs import Settings

    qualities = options.quality or qualities
    given = {name: getattr(options, name) for name in ("speed", "depth", "layout")}
    if isinstance(options.range, tuple):
        given["log10_min"], given["log10_max"] = options.range
    try:
        config = FileConfig(quality=qualities[0], **{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        parser.error(str(error))
    return Settings(config, qualities, options.range == "auto")


def _decode(options: argparse.Namespace, parser: argparse.ArgumentParser, inputs: Inputs) -> None:
    from audio_avif.recording.layout import PictureInfo
    from audio_avif.vocoders.registry import HIGH
    from audio_avif_tools.files.jobs import decode_all

    given = [f"--{name}" for name in ("quality", "speed", "depth") if getattr(options, name) is not None]
    if given:
        parser.error(f"{' and '.join(given)}: only for recordings; pictures are encoded already")
    info = None
    if isinstance(options.range, tuple):
        low, high = options.range
        try:
            info = PictureInfo(
                channels=options.channels or 1, layout=options.layout or "stacked", log10_min=low, log10_max=high
            )
        except ValueError as error:
            parser.error(str(error))
    elif options.range is not None or options.channels is not None or options.layout is not None:
        parser.error("pictures without metadata need --range MIN,MAX; other pictures need no options")
    decode_all(_decodings(options.output, parser, inputs), info, options.vocoder or HIGH, options.workers)


def _decodings(output: Path | None, parser: argparse.ArgumentParser, inputs: Inputs) -> list[Decoding]:
    """Return the output of each picture."""
    from audio_avif.edge.sound_files import WRITABLE
    from audio_avif_tools.files.jobs import Decoding

    if output is None:
        return [Decoding(file.path, file.path.with_suffix(".wav"), may_replace=False) for file in inputs.files]
    if not output.suffix or os.path.isdir(output):
        return [Decoding(file.path, output / f"{file.name}.wav", may_replace=False) for file in inputs.files]
    if output.suffix.lower() not in WRITABLE:
        parser.error(f"pictures are decoded to sound: name a file that ends in {', '.join(WRITABLE)}, or a folder")
    if len(inputs.files) > 1 or inputs.come_from_a_folder:
        parser.error("several pictures need a folder as --output")
    return [Decoding(inputs.files[0].path, output, may_replace=True)]


if __name__ == "__main__":
    sys.exit(main())
