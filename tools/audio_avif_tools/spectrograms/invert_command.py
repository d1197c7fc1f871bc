"""``audio-avif invert``: sound from a spectrogram of any program, as a picture or an array."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from audio_avif.edge import console
from audio_avif.errors import AudioAvifError
from audio_avif_tools.shared.arguments import crop_box
from audio_avif_tools.spectrograms.spectrogram_command import add_definition, decibels, with_ranges_joined

PROGRAM = "audio-avif invert"
WITHOUT_MODEL = "griffin-lim"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Make sound from a spectrogram: a picture (PNG, AVIF, WebP, JPEG and others) or a .npy array. "
        "Pictures of audio-avif spectrogram hold their settings. For other pictures, missing options are assumed, and "
        "the first line of output lists them.",
        epilog="examples: audio-avif invert speech.png; "
        "audio-avif invert librosa.png --kind mel --rate 22050 --n-fft 2048 --hop 512 --colour magma; "
        "audio-avif invert mel.npy --kind mel --scale ln --rate 22050 --output speech.wav",
    )
    parser.add_argument(
        "input",
        type=Path,
        metavar="PICTURE|ARRAY.npy",
        help="spectrogram without axes (- for standard input)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="OUT.wav",
        help=".wav, .flac or .ogg file (default: PICTURE.wav, if there is none)",
    )
    add_definition(parser)
    _add_reading(parser)
    _add_synthesis(parser)
    parser.add_argument(
        "--reference",
        metavar="IN.wav",
        help="original recording: print scores of the sound against it (STOI, PESQ, mel)",
    )
    return parser


def _add_reading(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where in the input the spectrogram is, and what its values are."""
    parser.add_argument(
        "--layout",
        choices=("bands-first", "frames-first"),
        help="order of an array's axes (default: by the number of bands or bins)",
    )
    parser.add_argument(
        "--crop", type=crop_box, metavar="X,Y,W,H", help="rectangle of the spectrogram in the picture, in pixels"
    )
    parser.add_argument(
        "--force", action="store_true", help="read a picture even if it seems to have axes, labels or margins"
    )
    parser.add_argument(
        "--db-range",
        type=decibels,
        metavar="N|LOW,HIGH",
        help="decibels of magnitude of black and white: N below an unknown maximum, or LOW to HIGH (default: 80)",
    )


def _add_synthesis(parser: argparse.ArgumentParser) -> None:
    """Add the options of griffin-lim and of the vocoders in its place."""
    parser.add_argument(
        "--vocoder",
        default=WITHOUT_MODEL,
        metavar="NAME|PATH",
        help="griffin-lim (no model), embedded or an .onnx file, which gets its own mel (default: griffin-lim)",
    )
    parser.add_argument(
        "--iterations", type=console.integer_in(0, 10_000), metavar="N", help="iterations of griffin-lim (default: 64)"
    )
    parser.add_argument("--momentum", type=float, metavar="X", help="momentum of griffin-lim, 0 to 1 (default: 0.99)")
    parser.add_argument(
        "--phase",
        type=Path,
        metavar="FILE",
        help="initial phases of griffin-lim: a .npy array of angles [n-fft / 2 + 1, columns], or a sound file",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif invert``."""
    parser = _parser()
    options = parser.parse_args(with_ranges_joined(arguments))
    own = {"--iterations": options.iterations, "--momentum": options.momentum, "--phase": options.phase}
    unused = [name for name, value in own.items() if value is not None]
    if options.vocoder != WITHOUT_MODEL and unused:
        parser.error(f"{' and '.join(unused)} need --vocoder griffin-lim")
    if options.momentum is not None and not 0 <= options.momentum <= 1:
        parser.error("--momentum must be 0 to 1")
    if options.output is not None and options.output.suffix.lower() not in (".wav", ".flac", ".ogg"):
        parser.error("--output must end in .wav, .flac or .ogg")
    return console.run(PROGRAM, lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    from audio_avif_tools.spectrograms.inversion import invert
    from audio_avif_tools.spectrograms.picture_files import is_pipe

    if options.output is None and is_pipe(options.input):
        raise AudioAvifError(f"{options.input} is a pipe; name the sound file with --output")
    output = options.output or options.input.with_suffix(".wav")
    if options.output is None and output.exists():
        raise AudioAvifError(f"{output} exists and may be the original; name another file with --output")
    invert(options, output)


if __name__ == "__main__":
    sys.exit(main())
