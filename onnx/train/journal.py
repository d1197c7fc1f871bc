"""What a run says: a progress line, ``log.jsonl``, and TensorBoard where it is installed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

LOG = "log.jsonl"


def show(text: str) -> None:
    """One progress line: rewritten in place on a terminal, a line each in a file."""
    end = "\r" if sys.stderr.isatty() else "\n"
    print(f"{text:<100}", end=end, file=sys.stderr, flush=True)


class Journal:
    """The record of one run; a resumed run goes on writing to the same files."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / LOG
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._board = None
        else:
            self._board = SummaryWriter(str(folder))

    def scalars(self, step: int, trained_s: float, values: Mapping[str, float]) -> None:
        """Write numbers and show them."""
        entry = {"step": step, "trained_s": round(trained_s, 1)}
        entry |= {name: round(value, 5) for name, value in values.items()}
        with self._log.open("a") as out:
            out.write(json.dumps(entry) + "\n")
        show("  ".join(f"{name} {value}" for name, value in entry.items()))
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def sound(self, step: int, name: str, samples: npt.NDArray[np.float32], rate_hz: int) -> None:
        """Keep a sound to listen to, where there is a TensorBoard."""
        if self._board is not None:
            self._board.add_audio(name, np.clip(samples, -1, 1)[None], step, rate_hz)
