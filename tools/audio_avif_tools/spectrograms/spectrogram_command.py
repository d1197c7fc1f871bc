"""``audio-avif spectrogram``: a recording as a picture or an array, for other programs and for ``invert``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from audio_avif.edge import console
from audio_avif.errors import AudioAvifError

if TYPE_CHECKING:
    from audio_avif.types import FloatArray
    from audio_avif_tools.spectrograms.definitions import SpectrogramConfig

PROGRAM = "audio-avif spectrogram"
SUFFIXES = (".png", ".avif", ".webp", ".jpg", ".jpeg", ".npy")
_USUAL_RANGE_DB = 80.0


def decibels(text: str) -> tuple[float, float] | float:
    """Parse ``LOW,HIGH`` or ``N`` decibels below the loudest. Raises ValueError, as argparse expects."""
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) == 2 and numbers[0] < numbers[1]:
        return numbers[0], numbers[1]
    if len(numbers) == 1 and 0 < numbers[0] <= 200:
        return numbers[0]
    raise ValueError(text)


decibels.__name__ = "range (N, or LOW,HIGH)"


def with_ranges_joined(arguments: Sequence[str] | None) -> list[str]:
    """Join ``--db-range -50,40`` to ``--db-range=-50,40``: argparse takes values with a minus for options."""
    joined: list[str] = []
    for argument in sys.argv[1:] if arguments is None else arguments:
        if joined and joined[-1] == "--db-range":
            joined[-1] = f"--db-range={argument}"
        else:
            joined.append(argument)
    return joined


def add_definition(parser: argparse.ArgumentParser) -> None:
    """Add the options that define a spectrogram; each is None where it is not given."""
    parser.add_argument(
        "--kind",
        choices=("linear", "mel", "mel-htk"),
        help="linear frequency, mel bands of Slaney's scale and area norm (librosa's default), or of HTK's scale "
        "without norm (torchaudio's default)",
    )
    parser.add_argument("--scale", choices=("db", "ln", "log10", "linear"), help="scale of the values")
    parser.add_argument(
        "--power", type=int, choices=(1, 2), help="basis of the values and mel bands: magnitudes (1) or powers (2)"
    )
    parser.add_argument("--rate", type=console.integer_in(4000, 192_000), metavar="HZ", help="sampling rate")
    parser.add_argument(
        "--n-fft", type=console.integer_in(64, 8192), metavar="N", help="length of the Hann window in samples"
    )
    parser.add_argument(
        "--hop",
        type=console.integer_in(1, 8192),
        metavar="N",
        help="samples from column to column (default: n-fft / 4)",
    )
    parser.add_argument("--n-mels", type=console.integer_in(8, 256), metavar="N", help="number of mel bands")
    parser.add_argument("--fmin", type=float, metavar="HZ", help="lowest frequency shown (default: 0)")
    parser.add_argument("--fmax", type=float, metavar="HZ", help="highest frequency shown (default: half the rate)")
    parser.add_argument(
        "--colour",
        metavar="NAME",
        help="gray, gray_r (white is silent), or a colour map of matplotlib: magma, viridis and others",
    )
    parser.add_argument("--order", choices=("low-at-bottom", "low-at-top"), help="side of the low frequencies")


def definition(options: argparse.Namespace) -> dict[str, object]:
    """Return the given options of ``add_definition`` by the names of ``SpectrogramConfig``."""
    given = {
        "kind": options.kind,
        "scale": options.scale,
        "power": options.power,
        "rate_hz": options.rate,
        "n_fft": options.n_fft,
        "hop_samples": options.hop,
        "n_mels": options.n_mels,
        "fmin_hz": options.fmin,
        "fmax_hz": options.fmax,
        "colour": options.colour,
        "order": options.order,
    }
    return {name: value for name, value in given.items() if value is not None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Make a spectrogram of a recording. Its settings are written into the picture's metadata, so that "
        "audio-avif invert needs no options to make sound from it.",
        epilog="examples: audio-avif spectrogram speech.wav speech.png; "
        "audio-avif spectrogram speech.wav speech.jpg --kind mel --colour magma",
    )
    parser.add_argument("input", metavar="IN.wav", help="any sound file; several channels are mixed to one")
    parser.add_argument(
        "output", type=Path, metavar="OUT.png", help="output; its suffix selects the format: png avif webp jpg npy"
    )
    add_definition(parser)
    parser.add_argument(
        "--db-range",
        type=decibels,
        metavar="N|LOW,HIGH",
        help="decibels of magnitude of black and white: N below the maximum, or LOW to HIGH "
        f"(default: {_USUAL_RANGE_DB:g})",
    )
    parser.add_argument(
        "--depth", type=int, choices=(8, 16), default=8, help="bits per pixel; 16 needs a gray PNG (default: 8)"
    )
    parser.add_argument(
        "--quality",
        type=console.integer_in(0, 100),
        default=75,
        metavar="Q",
        help="quality of avif, webp and jpg (default: 75)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``audio-avif spectrogram``."""
    parser = _parser()
    options = parser.parse_args(with_ranges_joined(arguments))
    if options.output.suffix.lower() not in SUFFIXES:
        parser.error(f"OUT must end in one of {', '.join(SUFFIXES)}")
    is_gray = options.colour in (None, "gray", "gray_r")
    if options.depth == 16 and not (options.output.suffix.lower() == ".png" and is_gray):
        parser.error("--depth 16 needs a gray PNG picture")
    return console.run(PROGRAM, lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    from audio_avif_tools.spectrograms.colour_maps import colours_of
    from audio_avif_tools.spectrograms.definitions import SpectrogramConfig, peak_db, spectrogram
    from audio_avif_tools.spectrograms.picture_files import write_spectrogram

    given = definition(options)
    given.setdefault("rate_hz", _rate_of(options.input))
    given.setdefault("n_fft", _usual_n_fft(int(str(given["rate_hz"]))))
    given.setdefault("hop_samples", int(str(given["n_fft"])) // 4)
    if isinstance(options.db_range, tuple):
        given["low_db"], given["high_db"] = options.db_range
    try:
        config = SpectrogramConfig.from_dict({**SpectrogramConfig().to_dict(), **given})
        colours_of(config.colour)
    except ValueError as error:
        raise AudioAvifError(str(error)) from error
    samples = _read(options, config)
    values = spectrogram(samples, config)
    if not isinstance(options.db_range, tuple):
        peak = round(max(peak_db(values, config), -100.0), 1)
        config = replace(config, low_db=peak - (options.db_range or _USUAL_RANGE_DB), high_db=peak)
    write_spectrogram(options.output, values, config, samples.size, depth=options.depth, quality=options.quality)
    rows, columns = values.shape
    shown = f"{config.low_db:g} to {config.high_db:g} dB, {config.colour}, {config.order}"
    print(f"{options.output}: {rows} rows, {columns} columns: {config}; {shown}")


def _rate_of(path: str) -> int:
    from audio_avif.edge.sound_files import read_header

    return min(192_000, max(4000, read_header(path).rate_hz))


def _usual_n_fft(rate_hz: int) -> int:
    return 1024 if rate_hz <= 24_000 else 2048 if rate_hz <= 48_000 else 4096


def _read(options: argparse.Namespace, config: SpectrogramConfig) -> FloatArray:
    """Read the samples; refuse a recording too long for the picture before reading all of it."""
    import numpy as np

    from audio_avif.edge.sound_files import read_blocks
    from audio_avif.errors import FileError
    from audio_avif_tools.spectrograms.definitions import frame_count
    from audio_avif_tools.spectrograms.picture_files import require_room

    blocks, total = [np.zeros(0, np.float32)], 0
    for block in read_blocks(options.input, 1 << 16, config.rate_hz):
        blocks.append(block)
        total += block.size
        require_room(options.output, config.rows, frame_count(total, config))
    if not total:
        raise FileError(f"{options.input} is empty")
    return np.concatenate(blocks)


if __name__ == "__main__":
    sys.exit(main())
