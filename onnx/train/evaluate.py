"""Score vocoders on clips, clean and through tiles: ``python onnx/train/evaluate.py --clips DIR --model FILE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from corpus import find_audio, read_mono

from audio_avif.config import EncoderConfig, MelConfig, TileConfig
from audio_avif.container import StillTemplate
from audio_avif.errors import AudioAvifError, FileError
from audio_avif.export.recurrent.vocoder import Vocoder
from audio_avif.export.trained import load_trained
from audio_avif.features import log_mel
from audio_avif.images import decode_still, encode_still
from audio_avif.tiles import TileCutter, from_pixels
from audio_avif.vocoders.griffin_lim import RtisiLa
from audio_avif.vocoders.onnx_model import OnnxVocoder

FloatArray = npt.NDArray[np.float32]
Synthesize = Callable[[FloatArray], FloatArray]

SPEED = 4
_DEFAULT_TILE = TileConfig()
CLEAN = "clean"
HEARD_LOG10 = -5.0  # what lies below is not heard and not counted in the mel distance


def receive(clean: FloatArray, quality: int, mel: MelConfig, tile: TileConfig) -> tuple[FloatArray, int]:
    """``[n_mels, frames]`` as it comes out of tiles of that quality, and the payload bytes it took."""
    cutter = TileCutter(mel.n_mels, tile)
    stills = [encode_still(cut.pixels, EncoderConfig(quality, SPEED)) for cut in [*cutter.push(clean), *cutter.flush()]]
    pixels = np.concatenate([decode_still(still, tile.frames, mel.n_mels) for still in stills], axis=1)
    template = StillTemplate.of(stills[0])
    payload = [template.strip(still) for still in stills]
    size = sum(len(still if unit is None else unit) for still, unit in zip(stills, payload, strict=True))
    return from_pixels(pixels, tile)[:, : clean.shape[1]], size


def rtisi_la(received: FloatArray) -> FloatArray:
    """The baseline that needs no training."""
    stream = RtisiLa()
    return np.concatenate([stream.push(received), stream.flush()])


def open_model(path: Path) -> Synthesize:
    """A checkpoint's averaged weights, or an exported file. Raises ModelError for neither."""
    if path.suffix == ".onnx":
        synthesize: Synthesize = OnnxVocoder(path).synthesize
        return synthesize
    return synthesizer(load_trained(path))


def synthesizer(vocoder: Vocoder) -> Synthesize:
    """A network as a function of ``[n_mels, frames]``."""
    device = next(vocoder.parameters()).device

    def synthesize(received: FloatArray) -> FloatArray:
        with torch.no_grad():
            return vocoder.synthesize(torch.from_numpy(received.T.copy())[None].to(device))[0].cpu().numpy()

    return synthesize


def scores(produced: FloatArray, original: FloatArray, mel: MelConfig) -> dict[str, float]:
    """PESQ-WB, STOI, mean log10-mel distance and, where speechmos is installed, DNSMOS overall."""
    from pesq import pesq
    from pystoi import stoi

    heard, wanted = (np.maximum(log_mel(each, mel), HEARD_LOG10) for each in (produced, original))
    result = {
        "pesq": float(pesq(mel.rate_hz, original, produced, "wb")),
        "stoi": float(stoi(original, produced, mel.rate_hz)),
        "mel_distance": float(np.abs(heard - wanted).mean()),
    }
    try:
        from speechmos import dnsmos
    except ImportError:
        return result
    return result | {"dnsmos": float(dnsmos.run(np.clip(produced, -1, 1), mel.rate_hz)["ovrl_mos"])}


@dataclass(frozen=True)
class Row:
    """The scores of one system on one clip in one condition."""

    clip: str
    condition: str
    system: str
    scores: dict[str, float]


def choose_clips(folder: Path, match: str, every: int = 1) -> list[Path]:
    """Audio files whose name contains ``match``. Raises FileError where there is none."""
    clips = [path for path in find_audio(folder) if match in path.name][::every]
    if not clips:
        raise FileError(f"no audio file in {folder} has {match!r} in its name")
    return clips


def evaluate(
    clips: list[Path],
    systems: dict[str, Synthesize],
    conditions: list[str],
    mel: MelConfig,
    tile: TileConfig = _DEFAULT_TILE,
) -> Iterator[Row]:
    """One row for each clip, condition and system."""
    for path in clips:
        original = read_mono(path, mel.rate_hz)
        clean = log_mel(original, mel)
        for condition in conditions:
            received, size = (clean, 0) if condition == CLEAN else receive(clean, int(condition), mel, tile)
            for name, synthesize in systems.items():
                produced = synthesize(received)[: original.size]
                kbps = size * 8 / (original.size / mel.rate_hz) / 1000
                yield Row(path.name, condition, name, {"kbps": kbps} | scores(produced, original, mel))


def table(rows: list[Row]) -> str:
    """Means over clips, one line for each condition and system."""
    keys = list(dict.fromkeys((row.condition, row.system) for row in rows))
    names = list(rows[0].scores)
    lines = ["| condition | system | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 2)]
    for key in keys:
        mine = [row.scores for row in rows if (row.condition, row.system) == key]
        means = [np.mean([each[name] for each in mine]) for name in names]
        lines.append(f"| {key[0]} | {key[1]} | " + " | ".join(f"{mean:.3f}" for mean in means) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0, or 1 for a failure told in one sentence."""
    parser = argparse.ArgumentParser(description="Score vocoders on clips, clean and through AVIF tiles.")
    parser.add_argument("--clips", type=Path, required=True, help="a folder of audio files")
    parser.add_argument("--match", default="", help="only clips whose name contains this")
    parser.add_argument("--every", type=int, default=1, help="only every so-manieth clip")
    parser.add_argument("--model", type=Path, action="append", default=[], help="checkpoint or .onnx; may be repeated")
    parser.add_argument("--conditions", default="clean,45,60,75", help="'clean' and AVIF qualities of tiles")
    parser.add_argument("--tile-frames", type=int, default=_DEFAULT_TILE.frames, help="width of those tiles")
    parser.add_argument("--log10-min", type=float, default=_DEFAULT_TILE.log10_min, help="what black stands for")
    parser.add_argument("--log10-max", type=float, default=_DEFAULT_TILE.log10_max, help="what white stands for")
    parser.add_argument("--no-baseline", action="store_true", help="leave RTISI-LA out")
    parser.add_argument("--rows", type=Path, help="append every score to this file, one JSON object a line")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        systems: dict[str, Synthesize] = {} if args.no_baseline else {"rtisi-la": rtisi_la}
        systems |= {str(path): open_model(path) for path in args.model}
        tile = TileConfig(args.tile_frames, args.log10_min, args.log10_max)
        clips = choose_clips(args.clips, args.match, args.every)
        rows = list(evaluate(clips, systems, args.conditions.split(","), MelConfig(), tile))
    except AudioAvifError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    if args.rows:
        with args.rows.open("a") as out:
            out.writelines(json.dumps(asdict(row)) + "\n" for row in rows)
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
