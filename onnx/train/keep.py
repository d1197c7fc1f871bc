"""Keep what others can start from: ``python onnx/train/keep.py CHECKPOINT FILE.pt``.

The averaged weights of the network alone, in half precision, are a tenth of a checkpoint. ``--init`` and
audio-avif-export take the file as they take a checkpoint; ``--resume`` does not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from checkpoints import open_checkpoint, save_checkpoint

from audio_avif.console import run
from audio_avif.export.trained import NETWORK, SUFFIX


def keep(checkpoint: Path, target: Path) -> None:
    """Write the network's averaged weights. Raises ModelError for what is no checkpoint, FileError for a full disk."""
    content = open_checkpoint(checkpoint, "give a run's .pt checkpoint")
    weights = {name: value.half() for name, value in content["average"].items() if name.startswith(NETWORK)}
    save_checkpoint(target, {"architecture": content["architecture"], "average": weights})


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0, 1 for a failure told in one sentence, 2 for wrong usage."""
    parser = argparse.ArgumentParser(description="Keep a checkpoint's averaged weights, for others to start from.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path, metavar="FILE.pt")
    options = parser.parse_args(arguments)
    if options.target.suffix != SUFFIX:
        parser.error(f"the file's name must end in {SUFFIX}, by which it is known as weights of this program")
    if options.target.resolve() == options.checkpoint.resolve():
        parser.error("give another file: weights alone in the checkpoint's place could not be resumed")
    return run("keep", lambda: keep(options.checkpoint, options.target))


if __name__ == "__main__":
    sys.exit(main())
