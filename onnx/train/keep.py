"""Keep what others can start from: ``python onnx/train/keep.py CHECKPOINT FILE.pt``.

The averaged weights of the network alone, in half precision, are a tenth of a checkpoint. ``--init`` and
audio-avif-export take the file as they take a checkpoint; ``--resume`` does not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from checkpoints import open_checkpoint, save_checkpoint

from audio_avif.errors import AudioAvifError
from audio_avif.export.trained import NETWORK


def keep(checkpoint: Path, target: Path) -> None:
    """Write the network's averaged weights. Raises ModelError for what is no checkpoint, FileError for a full disk."""
    content = open_checkpoint(checkpoint, "give a run's .pt checkpoint")
    weights = {name: value.half() for name, value in content["average"].items() if name.startswith(NETWORK)}
    save_checkpoint(target, {"architecture": content["architecture"], "average": weights})


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0, or 1 for a failure told in one sentence."""
    parser = argparse.ArgumentParser(description="Keep a checkpoint's averaged weights, for others to start from.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path, metavar="FILE.pt")
    options = parser.parse_args(arguments)
    try:
        keep(options.checkpoint, options.target)
    except AudioAvifError as error:
        print(f"keep: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
