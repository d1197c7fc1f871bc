"""The scores of the quality bench as a CSV file with a line per result, so that an interrupted run can continue."""

from __future__ import annotations

import csv
import io
import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from audio_avif.edge.locks import try_lock
from audio_avif.errors import FileError
from audio_avif.metrics import SCORES

log = logging.getLogger(__name__)

_TEXTS = ("clip", "clip_digest", "system", "setting", "made_by")
_NUMBERS = ("seconds", "payload_kbps", "wire_kbps")
COLUMNS = (*_TEXTS, *_NUMBERS, *SCORES)

Key = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Row:
    """The result of one clip through one system at one setting; a score is NaN where it could not be computed."""

    clip: str
    clip_digest: str
    system: str
    setting: str
    made_by: str
    seconds: float
    payload_kbps: float
    wire_kbps: float
    scores: dict[str, float]

    @property
    def key(self) -> Key:
        """The identity of the result; a later row of the same key replaces an earlier one."""
        return self.clip, self.clip_digest, self.system, self.setting, self.made_by

    def cells(self) -> list[str]:
        """The row as text; a score that was not requested is empty."""
        numbers = (f"{getattr(self, name):.4f}" for name in _NUMBERS)
        return [*self.key, *numbers, *(f"{self.scores[name]:.6g}" if name in self.scores else "" for name in SCORES)]

    @classmethod
    def parse(cls, cells: Sequence[str]) -> Row:
        """Parse the output of ``cells``. Raises ValueError for anything else."""
        if len(cells) != len(COLUMNS):
            raise ValueError(f"{len(cells)} cells, not {len(COLUMNS)}")
        texts, numbers, scores = cells[:5], [float(cell) for cell in cells[5:8]], cells[8:]
        if not all(map(math.isfinite, numbers)):
            raise ValueError("rates are finite")
        given = {name: float(cell) for name, cell in zip(SCORES, scores, strict=True) if cell}
        return cls(texts[0], texts[1], texts[2], texts[3], texts[4], numbers[0], numbers[1], numbers[2], given)


def _line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8")


class ScoreFile:
    """The rows of a CSV file, to which one program at a time can append.

    An incomplete last line of a killed program is removed, other damaged lines are ignored; both are scored again.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file.

        Raises FileError where that fails, where the file holds something else, or where another run writes to it.
        """
        self._path = path
        self.rows: dict[Key, Row] = {}
        try:
            self._file = path.open("a+b")
            try:
                self._open()
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise self._failure(error) from error

    def _open(self) -> None:
        if not try_lock(self._file):
            raise FileError(f"another run writes to {self._path.parent}; wait for its end or choose another --out")
        self._file.seek(0)
        earlier = self._file.read()
        whole = earlier[: earlier.rfind(b"\n") + 1]
        header, *lines = whole.splitlines() or [b""]
        is_begun = _line(COLUMNS).startswith(earlier)
        if not (is_begun or header == _line(COLUMNS).rstrip()):
            raise FileError(f"{self._path} is of another version of the bench; move it or choose another --out")
        self._load(lines)
        self._file.truncate(len(whole))
        if not whole:
            self._write(COLUMNS)

    def _load(self, lines: Sequence[bytes]) -> None:
        damaged = 0
        for line in lines:  # one by one: an unclosed quotation would swallow the following lines
            try:
                row = Row.parse(next(csv.reader([line.decode("utf-8", errors="replace")], strict=True)))
            except (ValueError, csv.Error, StopIteration):
                damaged += 1
                continue
            self.rows[row.key] = row
        if damaged:
            log.warning("%d damaged lines of %s ignored; they are scored again", damaged, self._path)

    def append(self, row: Row) -> None:
        """Append a row. Raises FileError where the disk is full."""
        try:
            self._write(row.cells())
        except OSError as error:
            raise self._failure(error) from error
        self.rows[row.key] = row

    def _write(self, cells: Sequence[str]) -> None:
        self._file.write(_line(cells))
        self._file.flush()

    def close(self) -> None:
        """Close the file; ``append`` has already reported a full disk."""
        with suppress(OSError):
            self._file.close()

    def _failure(self, error: OSError) -> FileError:
        return FileError(f"{self._path} cannot be written: {error.strerror or error}")

    def __enter__(self) -> ScoreFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
