"""Rows of measurements with their targets, and the page that holds them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audio_avif_tools.shared.machine import machine
from audio_avif_tools.shared.pages import paragraph, read_block, replace_block

COMMAND = "make bench"
PAGE = Path("docs/measurements/bench.md")


@dataclass(frozen=True)
class Row:
    """One measurement, its result and its target."""

    what: str
    result: str
    target: str = ""
    is_met: bool | None = None

    def cells(self) -> str:
        """The row as Markdown."""
        verdict = "" if self.is_met is None else ("yes" if self.is_met else "**no**")
        return f"| {self.what} | {self.result} | {self.target} | {verdict} |"


def section_text(rows: Sequence[Row], *notes: str) -> str:
    """A section of the page, without its title: when it was measured, the notes, and the rows."""
    date = time.strftime("%Y-%m-%d", time.gmtime())
    table = ["| what | measured | target | met |", "|---|---|---|---|", *(row.cells() for row in rows)]
    return "\n".join(["", paragraph(" ".join(filter(None, [f"Measured on {date}.", *notes]))), "", *table])


def write_page(sections: dict[str, str], path: Path) -> None:
    """Write the sections by title; those of an earlier page that were not measured again stay."""
    earlier = read_block(path, COMMAND).split("\n## ")[1:]
    texts = {title: text.rstrip() for title, _, text in (section.partition("\n") for section in earlier)}
    texts |= sections
    head = paragraph(f"Measured by `{COMMAND}`: {machine()}.")
    lines = [head, *(f"\n## {title}\n{text}" for title, text in texts.items())]
    replace_block(path, COMMAND, "\n".join(lines), "Speed, delay and memory")
