"""Keep what others can start from: ``python -m audio_avif_onnx.train.keep CHECKPOINT... FILE.pt``.

The averaged weights of the network alone, in half precision, are a tenth of a checkpoint. ``--init`` and
audio-avif-export take the file as they take a checkpoint; ``--resume`` does not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from audio_avif.edge.console import run
from audio_avif_onnx.export.trained import NETWORK, SUFFIX
from audio_avif_onnx.train.checkpoints import check_architecture, open_checkpoint, save_checkpoint


def keep(checkpoints: list[Path], target: Path) -> None:
    """Write the network's averaged weights; of several checkpoints of one chain, their mean (Wortsman et al. 2022).

    Raises ModelError for what is no checkpoint or of another architecture, FileError for a full disk.
    """
    remedy = "give .pt checkpoints of one network"
    contents = [open_checkpoint(path, remedy) for path in checkpoints]
    first = contents[0]
    for path, content in zip(checkpoints, contents, strict=True):
        check_architecture(content["architecture"], first["architecture"], path, remedy)
    names = [name for name in first["average"] if name.startswith(NETWORK)]
    means = {name: torch.stack([each["average"][name].float() for each in contents]).mean(dim=0) for name in names}
    save_checkpoint(
        target,
        {"architecture": first["architecture"], "average": {name: value.half() for name, value in means.items()}},
    )


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0, 1 for a failure told in one sentence, 2 for wrong usage."""
    parser = argparse.ArgumentParser(description="Keep a checkpoint's averaged weights, for others to start from.")
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help="several are averaged")
    parser.add_argument("target", type=Path, metavar="FILE.pt")
    options = parser.parse_args(arguments)
    if options.target.suffix != SUFFIX:
        parser.error(f"the file's name must end in {SUFFIX}, as those of all weights of this program do")
    if options.target.resolve() in [path.resolve() for path in options.checkpoints]:
        parser.error("give another file: weights alone in the checkpoint's place could not be resumed")
    return run("keep", lambda: keep(options.checkpoints, options.target))


if __name__ == "__main__":
    sys.exit(main())
