"""The record of a run: ``log.jsonl``, and TensorBoard where it is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from audio_avif_onnx.train.files import whole_file

LOG = "log.jsonl"


class Journal:
    """Scalars and sounds of one run. A resumed run continues the same files, without entries later than its checkpoint.

    Raises OSError where the disk is full, at the latest in ``flush``.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """Open the record of a run that is at ``step``."""
        self._log = folder / LOG
        if self._log.exists():
            kept = [entry for entry in read_log(self._log) if entry["step"] <= step]
            with whole_file(self._log) as out:
                out.writelines(json.dumps(entry).encode() + b"\n" for entry in kept)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self._board = None
        else:
            self._board = SummaryWriter(str(folder), purge_step=step + 1)

    @property
    def has_board(self) -> bool:
        """Whether TensorBoard is installed; without it no sounds are kept."""
        return self._board is not None

    def scalars(self, step: int, trained_s: float, values: Mapping[str, float]) -> None:
        """Write scalars by name."""
        entry = {"step": step, "trained_s": round(trained_s, 1)}
        entry |= {name: float(f"{value:.6g}") for name, value in values.items()}
        with self._log.open("a", encoding="utf-8") as out:
            out.write(json.dumps(entry) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def sound(self, step: int, name: str, samples: npt.NDArray[np.float32], rate_hz: int) -> None:
        """Write a sound, where TensorBoard is installed."""
        if self._board is not None:
            self._board.add_audio(name, np.clip(samples, -1, 1)[None], step, rate_hz)

    def flush(self) -> None:
        """Flush all entries to the files."""
        if self._board is not None:
            self._board.flush()

    def close(self) -> None:
        """Close the files; a full disk has been reported by ``flush``."""
        if self._board is not None:
            with suppress(OSError):
                self._board.close()


def read_log(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a log, oldest first; truncated lines are skipped."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                yield entry
