"""The command ``audio-avif-export``: export a trained checkpoint as a vocoder for audio-avif."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from audio_avif.config import MelConfig
from audio_avif.edge import console
from audio_avif.optional import import_optional
from audio_avif.vocoders import registry
from audio_avif_onnx.export.hifigan.options import DEFAULT_LOOKAHEAD_FRAMES

PROGRAM = "audio-avif-export"
_NEEDED_MODULES = ("torch", "onnx.checker", "safetensors")  # a folder named onnx makes a plain "import onnx" succeed
_NAME = re.compile(r"[\w-][\w.-]*")

_DESCRIPTION = """\
Turn a trained checkpoint into a vocoder that audio-avif-recv can use.

SOURCE is one of
  microsoft/speecht5_hifigan    a model on the Hugging Face hub
  path/to/folder                config.json with model.safetensors, pytorch_model.bin, or g_NNNNNNNN
  path/to/file                  a weight file with config.json beside it, or a checkpoint of this
                                project's own training program

Of HiFi-GAN both the SpeechT5 layout and that of jik876/hifi-gan are understood. The context and
lookahead options are for HiFi-GAN; networks of the training program carry their own state."""

_EPILOG = """\
examples:
  audio-avif-export microsoft/speecht5_hifigan
  audio-avif-export ~/checkpoints/LJ_V1 --name lj
  audio-avif-export ~/checkpoints/LJ_V1/g_02500000 --output lj.onnx
  audio-avif-export runs/wave/best.pt --name mine"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = _parser().parse_args(arguments)
    return console.run(PROGRAM, lambda: _export(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="checkpoint to export")
    parser.add_argument(
        "--name",
        type=_model_name,
        help="name to use it by (default: the last part of the hub name, or the folder's name)",
    )
    parser.add_argument(
        "--output",
        type=_onnx_file,
        metavar="FILE.onnx",
        help="file to write (default: NAME.onnx in the model folder, where it is found by name)",
    )
    parser.add_argument(
        "--context-frames",
        type=_frame_count,
        metavar="N",
        help="export a model without state, which is fed N past frames again with every tile (default: with state)",
    )
    parser.add_argument(
        "--lookahead-frames",
        type=_frame_count,
        default=DEFAULT_LOOKAHEAD_FRAMES,
        metavar="N",
        help="future frames each tile waits for: more is better, slower, and later by a hop (default: %(default)s)",
    )
    return parser


def _model_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"a name is letters, digits, '.', '_' and '-', not {text!r}")
    return text


def _onnx_file(text: str) -> Path:
    path = Path(text).expanduser()
    if path.suffix != registry.MODEL_SUFFIX:
        raise argparse.ArgumentTypeError(f"the file's name must end in {registry.MODEL_SUFFIX}, not {text!r}")
    return path


def _frame_count(text: str) -> int:
    try:
        frames = int(text)
    except ValueError:
        frames = -1
    if not 0 <= frames <= 100:
        raise argparse.ArgumentTypeError(f"a number of frames from 0 to 100 is needed, not {text!r}")
    return frames


def _export(options: argparse.Namespace) -> None:
    screen = Console(stderr=True, highlight=False, soft_wrap=True)
    with _step(screen, "Starting torch"):
        _require_modules()
        from audio_avif_onnx.export import trained
        from audio_avif_onnx.export.hifigan import checkpoints
        from audio_avif_onnx.export.hifigan.export import export_checkpoint
    if trained.is_trained(Path(options.source).expanduser()):
        _export_trained(options, screen)
        return
    with _step(screen, f"Loading {options.source}"):
        checkpoint = checkpoints.load(options.source)
    for remark in checkpoint.remarks:
        screen.print(f"Note: {remark}", markup=False)
    name, path = _target(options, checkpoint.name)
    with _step(screen, "Exporting, and comparing ONNX Runtime with torch"):
        export_checkpoint(
            checkpoint,
            path,
            name=name,
            context_frames=options.context_frames,
            lookahead_frames=options.lookahead_frames,
        )
    _tell(options, screen, name, path, checkpoint.mel)


def _export_trained(options: argparse.Namespace, screen: Console) -> None:
    from audio_avif_onnx.export import trained

    source = Path(options.source).expanduser()
    with _step(screen, f"Loading {options.source}"):
        network = trained.load_trained(source)
    name, path = _target(options, source.resolve().parent.name)
    with _step(screen, "Exporting, and comparing ONNX Runtime with torch"):
        trained.export_trained(
            network,
            path,
            name,
            context_frames=options.context_frames,
            lookahead_frames=options.lookahead_frames,
        )
    _tell(options, screen, name, path, network.config.mel)


def _target(options: argparse.Namespace, source_name: str) -> tuple[str, Path]:
    name = options.name or _safe_name(source_name)
    return name, options.output or registry.model_folder() / f"{name}{registry.MODEL_SUFFIX}"


def _tell(options: argparse.Namespace, screen: Console, name: str, path: Path, mel: MelConfig) -> None:
    screen.print(f"Wrote {path}", markup=False)
    print("Use it with:")
    if mel == MelConfig():
        print(f"  audio-avif-recv --vocoder {options.output or name}")
        return
    print(f"  audio-avif invert PICTURE --vocoder {options.output or name}")
    screen.print(
        f"Its mel is {mel}. Streams of audio-avif-send have another mel ({MelConfig()}), so audio-avif-recv cannot use "
        "it for them.",
        markup=False,
    )


def _require_modules() -> None:
    for module in _NEEDED_MODULES:
        import_optional(module, "exporting", "export")


def _safe_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).lstrip(".") or "hifigan"


@contextmanager
def _step(screen: Console, what: str) -> Iterator[None]:
    """Show a step of the work: a spinner on a terminal, a line elsewhere."""
    if not screen.is_terminal:
        screen.print(f"{what} ...", markup=False)
        yield
        return
    with screen.status(what):
        yield
    screen.print(f"{what}: done", markup=False)


if __name__ == "__main__":
    sys.exit(main())
