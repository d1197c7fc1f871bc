"""Keep the weights of a checkpoint: ``python -m audio_avif_onnx.train.keep CHECKPOINT... FILE.pt``.

The file holds the averaged weights of the network in half precision, a tenth of a checkpoint. ``--init`` and
audio-avif-export accept it like a checkpoint; ``--resume`` does not.
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
    """Write the network's averaged weights; for several checkpoints of one chain, their mean (Wortsman et al. 2022).

    Raises ModelError for a file that is not a checkpoint or holds another architecture, FileError for a full disk.
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
    """Run the command; return 0, 1 after an error message, or 2 for wrong usage."""
    parser = argparse.ArgumentParser(description="Write the averaged weights of a checkpoint as a smaller file.")
    parser.add_argument(
        "checkpoints", type=Path, nargs="+", metavar="CHECKPOINT", help="checkpoint; several are averaged"
    )
    parser.add_argument("target", type=Path, metavar="FILE.pt")
    options = parser.parse_args(arguments)
    if options.target.suffix != SUFFIX:
        parser.error(f"the name of the target must end in {SUFFIX}")
    if options.target.resolve() in [path.resolve() for path in options.checkpoints]:
        parser.error("the target is one of the checkpoints; give another file, since weights alone cannot be resumed")
    return run("keep", lambda: keep(options.checkpoints, options.target))


if __name__ == "__main__":
    sys.exit(main())
