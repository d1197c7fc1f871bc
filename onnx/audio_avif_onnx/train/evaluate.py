"""Score vocoders on clips, clean and through tiles.

``python -m audio_avif_onnx.train.evaluate --clips DIR --model FILE``
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.edge.console import run
from audio_avif.errors import AudioAvifError, FileError
from audio_avif.metrics import MAX_CLIP_S, SCORES, Score
from audio_avif.signal.features import log_mel
from audio_avif.still.avif import decode_still, encode_still
from audio_avif.still.frame_headers import make_template
from audio_avif.still.template import StillTemplate
from audio_avif.still.tiles import TileCutter, from_pixels
from audio_avif.types import FloatArray
from audio_avif.vocoders.griffin_lim import RtisiLa
from audio_avif.vocoders.onnx_model import OnnxVocoder
from audio_avif_onnx.export.trained import Network, load_trained
from audio_avif_onnx.train.data.corpus import find_audio, read_mono
from audio_avif_onnx.train.progress import Display, stop_signals

Synthesize = Callable[[FloatArray], FloatArray]

SPEED = 4
EXAMINED_TILE = TileConfig(8)
CLEAN = "clean"
QUALITIES = (45, 54, 62)
"""AVIF qualities of such tiles at speed 4: about 3, 4.5 and 6 kbps of payload on the public clips."""
MERIT_WEIGHTS = {"pesq_wb": 1.0, "stoi": 10.0, "dnsmos": 1.0}
_WORST = {"pesq_wb": 1.0, "stoi": 0.0, "dnsmos": 1.0}  # stands where a score has no answer, as for silence


def receive(clean: FloatArray, quality: int, mel: MelConfig, tile: TileConfig) -> tuple[FloatArray, int]:
    """Send ``[n_mels, frames]`` through tiles of that quality; return the received mel and the payload bytes."""
    cutter = TileCutter(mel.n_mels, tile)
    config = EncoderConfig(quality, SPEED)
    stills = [encode_still(cut.pixels, config) for cut in [*cutter.push(clean), *cutter.flush()]]
    pixels = np.concatenate([decode_still(still, tile.frames, mel.n_mels) for still in stills], axis=1)
    template = make_template(mel.n_mels, tile.frames, SPEED, quality)
    size = sum(_payload_bytes(still, template) for still in stills)
    return from_pixels(pixels, tile)[:, : clean.shape[1]], size


def _payload_bytes(still: bytes, template: StillTemplate) -> int:
    """The bytes of a still that a stream sends for each tile."""
    body = template.strip(still)
    return len(still) if body is None else len(template.shorten(body)[1])


def rtisi_la(received: FloatArray) -> FloatArray:
    """Synthesize with RTISI-LA, the baseline without training."""
    stream = RtisiLa()
    return np.concatenate([stream.push(received), stream.flush()])


def open_model(path: Path) -> Synthesize:
    """Open a checkpoint's averaged weights, or an exported file. Raises ModelError for any other file."""
    if path.suffix == ".onnx":
        synthesize: Synthesize = OnnxVocoder(path).synthesize
        return synthesize
    return synthesizer(load_trained(path))


def synthesizer(vocoder: Network) -> Synthesize:
    """A network as a function of ``[n_mels, frames]``."""
    device = next(vocoder.parameters()).device

    def synthesize(received: FloatArray) -> FloatArray:
        with torch.no_grad():
            return vocoder.synthesize(torch.from_numpy(received.T.copy())[None].to(device))[0].cpu().numpy()

    return synthesize


def usable_scores(say: Callable[[str], None]) -> dict[str, Score]:
    """The scores of a row. Without speechmos DNSMOS is left out, and ``say`` is called with the reason.

    Raises AudioAvifError where pesq or pystoi is missing.
    """
    usable = {}
    for key in (*MERIT_WEIGHTS, "mel_distance"):
        score = SCORES[key]
        if score.missing() is None:
            usable[key] = score
            continue
        sentence = f"{score.title} needs {' and '.join(score.packages)}; install with: pip install -e '.[train]'"
        if key != "dnsmos":
            raise AudioAvifError(sentence)
        say(f"scoring without DNSMOS: {sentence}")
    return usable


@dataclass(frozen=True)
class Row:
    """The scores of one system on one clip in one condition."""

    clip: str
    condition: str
    system: str
    scores: dict[str, float]


def choose_clips(folder: Path, match: str, every: int = 1) -> list[Path]:
    """Every ``every``-th audio file whose name contains ``match``. Raises FileError where there are none."""
    clips = [path for path in find_audio(folder) if match in path.name][::every]
    if not clips:
        raise FileError(f"no audio file in {folder} has a name that contains {match!r}")
    return clips


def evaluate(
    clips: list[Path],
    systems: dict[str, Synthesize],
    conditions: list[str],
    mel: MelConfig,
    scores: dict[str, Score],
    tile: TileConfig = EXAMINED_TILE,
    seconds: float = MAX_CLIP_S,
) -> Iterator[Row]:
    """Yield a row for each clip, condition and system; only the first ``seconds`` of a clip are used."""
    for path in clips:
        original = read_mono(path, mel.rate_hz)[: int(seconds * mel.rate_hz)]
        clean = log_mel(original, mel)
        for condition in conditions:
            received, size = (clean, 0) if condition == CLEAN else receive(clean, int(condition), mel, tile)
            kbps = size * 8 / (original.size / mel.rate_hz) / 1000
            for name, synthesize in systems.items():
                produced = synthesize(received)[: original.size]
                measured = {key: score(original, produced) for key, score in scores.items()}
                yield Row(path.name, condition, name, {"kbps": kbps} | measured)


def means(rows: Iterable[Row]) -> dict[str, float]:
    """Each score's mean; where a row has no answer, the worst stands in."""
    known = [
        {key: _WORST.get(key, math.nan) if math.isnan(value) else value for key, value in row.scores.items()}
        for row in rows
    ]
    return {key: float(np.mean([each[key] for each in known])) for key in known[0]}


def merit(rows: Iterable[Row]) -> float:
    """One figure for all clips and conditions: PESQ-WB + DNSMOS + 10 STOI, or what of them was scored.

    PESQ and STOI compare with the original, DNSMOS hears buzz and noise without it: neither side can be bought with the
    other. .01 of STOI weighs as much as .1 of the others, because it moves so much less between codecs.
    """
    mean = means(rows)
    return sum(weight * mean[key] for key, weight in MERIT_WEIGHTS.items() if key in mean)


def table(rows: list[Row]) -> str:
    """Means over clips, one line for each condition and system, and each system's merit."""
    keys = list(dict.fromkeys((row.condition, row.system) for row in rows))
    names = list(rows[0].scores)
    lines = ["| condition | system | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 2)]
    for key in keys:
        mean = means(row for row in rows if (row.condition, row.system) == key)
        lines.append(f"| {key[0]} | {key[1]} | " + " | ".join(f"{mean[name]:.3f}" for name in names) + " |")
    for system in dict.fromkeys(row.system for row in rows):
        figure = merit(row for row in rows if row.system == system)
        lines.append(f"\nmerit of {system}: {figure:.3f}")
    return "\n".join(lines)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Score vocoders on clips, clean and through AVIF tiles.")
    parser.add_argument("--clips", type=Path, required=True, help="folder of audio files")
    parser.add_argument("--match", default="", help="only clips whose name contains this")
    parser.add_argument("--every", type=int, default=1, help="only every Nth clip")
    parser.add_argument(
        "--model", type=Path, action="append", default=[], help="checkpoint or .onnx file; may be repeated"
    )
    parser.add_argument(
        "--conditions",
        default=",".join([CLEAN, *map(str, QUALITIES)]),
        help="'clean' and AVIF qualities (default: %(default)s)",
    )
    parser.add_argument("--tile-frames", type=int, default=EXAMINED_TILE.frames, help="tile width in frames")
    parser.add_argument("--log10-min", type=float, default=EXAMINED_TILE.log10_min, help="log10 magnitude of black")
    parser.add_argument("--log10-max", type=float, default=EXAMINED_TILE.log10_max, help="log10 magnitude of white")
    parser.add_argument("--no-baseline", action="store_true", help="leave RTISI-LA out")
    parser.add_argument("--rows", type=Path, help="file to append the scores to, as lines of JSON")
    args = parser.parse_args(arguments)
    try:
        args.tile = TileConfig(args.tile_frames, args.log10_min, args.log10_max)
        args.conditions = args.conditions.split(",")
        for condition in set(args.conditions) - {CLEAN}:
            if not condition.isdecimal():
                raise ValueError(f"a condition is '{CLEAN}' or an AVIF quality, not {condition!r}")
            EncoderConfig(int(condition))
        if args.every < 1:
            raise ValueError(f"--every must be 1 or more, not {args.every}")
        if args.no_baseline and not args.model:
            raise ValueError("--no-baseline without --model leaves nothing to score")
    except ValueError as error:
        parser.error(str(error))
    return args


def _run(args: argparse.Namespace, display: Display) -> None:
    systems: dict[str, Synthesize] = {} if args.no_baseline else {"rtisi-la": rtisi_la}
    systems |= {str(path): open_model(path) for path in args.model}
    clips = choose_clips(args.clips, args.match, args.every)
    scores = usable_scores(display.say)
    measured = evaluate(clips, systems, args.conditions, MelConfig(), scores, args.tile)
    rows = list(display.each(measured, "scoring", "rows", len(clips) * len(args.conditions) * len(systems)))
    if args.rows:
        try:
            with args.rows.open("a", encoding="utf-8") as out:
                out.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
        except OSError as error:
            raise FileError(f"{args.rows} cannot be written: {error.strerror}") from error
    print(table(rows))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, 1 after an error message, 2 for wrong usage, or 130 after Ctrl-C."""
    args = _parse(arguments)
    torch.set_num_threads(1)
    with stop_signals() as stopped:
        return run("evaluate", lambda: _run(args, Display(stopped)))


if __name__ == "__main__":
    sys.exit(main())
