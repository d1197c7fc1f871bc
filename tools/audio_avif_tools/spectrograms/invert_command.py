"""``audio-avif invert``: sound from a spectrogram, a picture or an array, made by whatever program."""

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
        description="Make sound of a spectrogram: a picture (PNG, AVIF, WebP, JPEG and others) or a .npy array. "
        "Pictures of audio-avif spectrogram say themselves what they are. Of others, what is not given is assumed, "
        "and the first line says what.",
        epilog="examples: audio-avif invert speech.png; "
        "audio-avif invert librosa.png --kind mel --rate 22050 --n-fft 2048 --hop 512 --colour magma; "
        "audio-avif invert mel.npy --kind mel --scale ln --rate 22050 --output speech.wav",
    )
    parser.add_argument(
        "input",
        type=Path,
        metavar="PICTURE|ARRAY.npy",
        help="cropped to the spectrogram, without axes; - is standard input",
    )
    parser.add_argument(
        "--output", type=Path, metavar="OUT.wav", help="a .wav, .flac or .ogg file (default: PICTURE.wav, if not there)"
    )
    add_definition(parser)
    parser.add_argument(
        "--layout",
        choices=("bands-first", "frames-first"),
        help="which side of an array comes first (default: the number of bands or bins tells)",
    )
    parser.add_argument(
        "--crop", type=crop_box, metavar="X,Y,W,H", help="where the spectrogram lies in the picture, in pixels"
    )
    parser.add_argument(
        "--force", action="store_true", help="read a picture that seems to hold axes, labels or margins all the same"
    )
    parser.add_argument(
        "--db-range",
        type=decibels,
        metavar="N|LOW,HIGH",
        help="what black and white stand for, in decibels of magnitude: N under an unknown loudest, or LOW to HIGH "
        "(default: 80)",
    )
    parser.add_argument(
        "--vocoder",
        default=WITHOUT_MODEL,
        metavar="NAME|PATH",
        help="griffin-lim finds phases without a model; embedded or an .onnx file is given the mel it was made for "
        "(default: griffin-lim)",
    )
    parser.add_argument(
        "--iterations", type=console.integer_in(0, 10_000), metavar="N", help="of griffin-lim (default: 64)"
    )
    parser.add_argument("--momentum", type=float, metavar="X", help="of griffin-lim, 0 to 1 (default: 0.99)")
    parser.add_argument(
        "--phase",
        type=Path,
        metavar="FILE",
        help="where griffin-lim starts: a .npy array of angles [n-fft / 2 + 1, columns], or a sound file that has such "
        "phases",
    )
    parser.add_argument(
        "--reference", metavar="IN.wav", help="the original: print how near the sound comes to it (STOI, PESQ, mel)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif invert``."""
    parser = _parser()
    options = parser.parse_args(with_ranges_joined(arguments))
    own = {"--iterations": options.iterations, "--momentum": options.momentum, "--phase": options.phase}
    unused = [name for name, value in own.items() if value is not None]
    if options.vocoder != WITHOUT_MODEL and unused:
        parser.error(f"{' and '.join(unused)} are for --vocoder griffin-lim")
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
        raise AudioAvifError(f"{output} is there already and may be the original; name another with --output")
    invert(options, output)


if __name__ == "__main__":
    sys.exit(main())
