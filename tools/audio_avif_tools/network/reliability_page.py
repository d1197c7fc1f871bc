"""Writes the reliability page: tables of impaired paths and of long runs, and pictures of delay over time."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from audio_avif.errors import FileError
from audio_avif_tools.network.scenario import Window
from audio_avif_tools.shared.delays import require_matplotlib
from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, read_block, replace_block

PAGE = Path("docs/measurements/reliability.md")
PATHS, SOAK, CALL = "Impaired paths", "The long run", "A long call"
COMMANDS = {PATHS: "make impair", SOAK: "make soak", CALL: "make soak CALL=1"}
_HEADS = {
    PATHS: ("scenario", "delay p50 / p95, ms", "concealed, ms/min", "STOI", "recovered in, s", "required", "met"),
    SOAK: ("what", "measured", "met"),
    CALL: ("what", "measured", "met"),
}
_COLOURS = 32


@dataclass(frozen=True)
class Check:
    """Something that must hold, and what was measured."""

    required: str
    measured: str
    is_met: bool

    def __str__(self) -> str:
        return f"{self.required} ({self.measured})"


def verdict(checks: Sequence[Check]) -> str:
    """The last cell of a row."""
    if not checks:
        return ""
    return "yes" if all(check.is_met for check in checks) else "**no**"


def update(
    section: str,
    rows: Mapping[str, Sequence[str]],
    order: Sequence[str],
    texts: Sequence[str],
    source: str,
    pictures: Mapping[str, str],
    path: Path,
) -> None:
    """Write rows, by the name in their first cell, into a section's table; everything else in the page stays.

    ``order`` are the names of all rows there can be, ``texts`` what stands above the table, ``pictures`` the files
    below it by their title. Raises FileError where the page cannot be written.
    """
    command = COMMANDS[section]
    earlier = read_block(path, command).splitlines()
    lines = {_first_cell(line): line for line in earlier if line.startswith("|")}
    lines |= {name: f"| {' | '.join((name, *cells))} |" for name, cells in rows.items()}
    head = _HEADS[section]
    table = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(lines[name] for name in order if name in lines)]
    shown = [f"![{title}]({file})" for title, file in pictures.items() if (path.parent / file).exists()]
    date = time.strftime("%Y-%m-%d", time.gmtime())
    written = paragraph(f"Measured by `{command}` on {date}: {machine()}. Sound: {source}.")
    block = "\n\n".join([f"## {section}", written, *texts, "\n".join(table), *shown])
    replace_block(path, command, block, "Reliability")


def _first_cell(line: str) -> str:
    return line.split("|")[1].strip()


def plot(
    points: Sequence[tuple[float, float]],
    gone: Sequence[Window],
    title: str,
    path: Path,
    *,
    memory_mb: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> None:
    """Draw delay in ms over time in s, with the time the path was gone shaded; memory below it where there is some.

    Raises FileError, or AudioAvifError without matplotlib.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 1.9 if memory_mb is None else 3.4), layout="constrained")
    panels = figure.subplots(1 if memory_mb is None else 2, 1, squeeze=False, sharex=True)[:, 0]
    panels[0].plot(*zip(*points, strict=True), ".", markersize=2.5, color="tab:blue")
    for at_s, for_s in gone:
        panels[0].axvspan(at_s, at_s + for_s, color="tab:red", alpha=0.25, linewidth=0)
    panels[0].set_ylim(0, max(400.0, 1.1 * max(delay_ms for _, delay_ms in points)))
    panels[0].set_ylabel("delay, ms", fontsize=8)
    panels[0].set_title(title, loc="left", fontsize=9)
    for program, samples in (memory_mb or {}).items():
        panels[1].plot(*zip(*samples, strict=True), linewidth=1, label=program)
    if memory_mb:
        panels[1].set_ylabel("resident, MB", fontsize=8)
        panels[1].set_ylim(bottom=0)
        panels[1].legend(fontsize=7, frameon=False)
    for panel in panels:
        panel.grid(alpha=0.25)
        panel.tick_params(labelsize=7)
    panels[-1].set_xlabel("s", fontsize=8)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=100)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.open(drawn).convert("RGB").quantize(_COLOURS).save(path, optimize=True)
    except OSError as error:
        raise FileError(f"the picture {path} cannot be written: {error.strerror or error}") from error
