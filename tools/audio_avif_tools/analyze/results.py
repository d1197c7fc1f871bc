"""What ``audio-avif analyze`` measured, and the files and the page that it goes into."""

from __future__ import annotations

import csv
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audio_avif.config import RATE_HZ
from audio_avif.errors import AudioAvifError, FileError

if TYPE_CHECKING:
    from audio_avif.metrics import Score
    from audio_avif.types import FloatArray
    from audio_avif_tools.analyze.stages import Row, Split

PROGRAM = "audio-avif analyze"
_BLOCK_SAMPLES = 10 * RATE_HZ


@dataclass(frozen=True)
class Recording:
    """A file to analyze, and its excerpts as (start, length) in samples at 16 kHz."""

    path: Path
    samples: int
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, path: Path) -> Recording:
        """Measure a file's length. Raises FileError where it cannot be read or is empty."""
        from audio_avif.edge.sound_files import read_blocks
        from audio_avif_tools.shared.fidelity import excerpts_of

        samples = sum(block.size for block in read_blocks(path, _BLOCK_SAMPLES))
        if not samples:
            raise FileError(f"{path} is empty")
        return cls(path, samples, tuple(excerpts_of(samples)))

    @property
    def seconds(self) -> float:
        """The length of the whole file."""
        return self.samples / RATE_HZ

    def note(self) -> str | None:
        """A note where only excerpts are used; empty otherwise."""
        if len(self.spans) == 1:
            return None
        return (
            f"{self.path} lasts {self.seconds:.0f} s; analyzed are {len(self.spans)} evenly spaced excerpts of "
            f"{self.spans[0][1] / RATE_HZ:g} s"
        )

    def excerpts(self) -> list[FloatArray]:
        """Read the excerpts ``[samples]``, mono at 16 kHz, clipped to -1..1 for the scores."""
        from audio_avif_tools.shared.fidelity import cut

        return [channels.mean(axis=0).clip(-1, 1) for channels in cut(self.path, self.spans)]


@dataclass(frozen=True)
class Result:
    """The means over all recordings and the rows of each, in the order of the recordings."""

    recordings: tuple[Recording, ...]
    tables: tuple[tuple[Row, ...], ...]
    mean: tuple[Row, ...]
    split: Split | None
    notes: tuple[str, ...]


def cells(row: Row, measures: Sequence[Score]) -> list[str]:
    """Rate and scores as text, with a dash for missing ones."""
    figures = [(row.kbps, 1)] if row.kbps else [(math.nan, 1)]
    figures += [(row.scores.get(score.key, math.nan), score.decimals) for score in measures]
    return [f"{value:.{decimals}f}" if math.isfinite(value) else "-" for value, decimals in figures]


def write_results(result: Result, measures: Sequence[Score], settings: dict[str, Any], folder: Path) -> None:
    """Write analyze.csv and analyze.json, and analyze.png where matplotlib is installed. Raises FileError."""
    from audio_avif.edge.sound_files import replacing
    from audio_avif_tools.shared.machine import machine

    keys = [score.key for score in measures]
    tables = [("mean", result.mean)]
    tables += [(str(recording.path), rows) for recording, rows in zip(result.recordings, result.tables, strict=True)]
    with replacing(folder / "analyze.csv") as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["recording", "picture", "voice", "kbps", *keys])
        for name, rows in tables:
            for row in rows:
                writer.writerow([name, row.picture, row.voice, *map(_known, (row.kbps, *map(row.scores.get, keys)))])
    content = {
        "settings": settings,
        "machine": machine(),
        "notes": result.notes,
        "recordings": [
            {"path": str(recording.path), "seconds": recording.seconds, "excerpts": len(recording.spans)}
            for recording in result.recordings
        ],
        "tables": {name: [_row(row, keys) for row in rows] for name, rows in tables},
    }
    with replacing(folder / "analyze.json") as part:
        part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    _draw(result, folder / "analyze.png")


def write_page(result: Result, measures: Sequence[Score], options: Sequence[str], page: Path) -> None:
    """Write the means and notes of a run with these command-line ``options`` into a page of Markdown.

    Tiles and cells have a block and a picture each. Raises FileError.
    """
    from audio_avif_tools.shared.machine import machine
    from audio_avif_tools.shared.pages import paragraph, replace_block, table

    is_tiled = "--tile-frames" in options
    picture = page.parent / "images" / f"{page.stem}{'-tiles' if is_tiled else ''}.png"
    names = ", ".join(recording.path.name for recording in result.recordings)
    seconds = sum(length for recording in result.recordings for _, length in recording.spans) / RATE_HZ
    parts = [
        f"Measured on {time.strftime('%Y-%m-%d', time.gmtime())} by",
        f"    {' '.join([PROGRAM, 'RECORDINGS', *options, '--page', 'docs/measurements/analyze.md'])}",
        paragraph(f"on {machine()}. Means over {seconds:.0f} s of {names}."),
        table(
            ["picture", "voice", "kbps", *(score.title for score in measures)],
            [[row.picture, row.voice, *cells(row, measures)] for row in result.mean],
        ),
        *("> " + paragraph(note).replace("\n", "\n> ") for note in result.notes),
    ]
    if _draw(result, picture):
        parts.append(f"![What each stage costs, and every picture with every voice](images/{picture.name})")
    replace_block(page, f"{PROGRAM} --tile-frames" if is_tiled else PROGRAM, "\n\n".join(parts), "Loss of each stage")


def _draw(result: Result, path: Path) -> bool:
    """Draw the plot, where there is something to draw and matplotlib is installed. Raises FileError."""
    from audio_avif_tools.analyze.plot import draw

    if result.split is None:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(result.mean, result.split, path)
    except OSError as error:
        raise FileError(f"the plot {path} cannot be written: {error.strerror or error}") from error
    except FileError:
        raise
    except AudioAvifError as error:
        print(f"{PROGRAM}: no plot: {error}", file=sys.stderr)
        return False
    return True


def _row(row: Row, keys: Sequence[str]) -> dict[str, Any]:
    scores = {key: _known(row.scores.get(key)) for key in keys}
    return {"picture": row.picture, "voice": row.voice, "kbps": row.kbps, **scores}


def _known(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)
