"""Documentation pages with blocks that commands write; the text around a block is written by people and stays."""

from __future__ import annotations

import argparse
import csv
import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from audio_avif.errors import FileError

END = "<!-- end -->"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose columns but the first are numbers, aligned to the right."""
    head, *lines = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return "\n".join([head, "|---" + "|---:" * (len(header) - 1) + "|", *lines])


def paragraph(text: str) -> str:
    """Prose in lines of at most 100 columns."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


def page_path(text: str) -> Path:
    """The argument of an option that names a page."""
    if not text.endswith(".md"):
        raise argparse.ArgumentTypeError("a page is Markdown and needs a name that ends in .md")
    return Path(text)


def read_block(page: Path, command: str) -> str:
    """The text that ``command`` wrote into the page last, or nothing. Raises FileError."""
    _, block, _ = _split(page, _read(page), command)
    return block


def replace_block(page: Path, command: str, text: str, title: str) -> None:
    """Write ``text`` between the markers of ``command``; tables lose the blanks around their cells.

    Without markers the block is appended; without a page, one is made that begins with ``title``. Raises FileError.
    """
    before, _, after = _split(page, _read(page) or f"# {title}\n", command)
    whole = f"{before}{_begin(command)}\n\n{_without_padding(text.strip())}\n\n{END}{after}"
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(whole, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise FileError(f"the page {page} cannot be written: {error.strerror or error}") from error


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table that is too long for a page beside it. Raises FileError."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    try:
        path.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise FileError(f"the table {path} cannot be written: {error.strerror or error}") from error


def _without_padding(text: str) -> str:
    """Tables without blanks around their cells, as all tables of the pages are."""
    return re.sub(r"^\|.*", lambda row: re.sub(r" *(?<!\\)\| *", "|", row[0]), text, flags=re.MULTILINE)


def _begin(command: str) -> str:
    return f"<!-- written by: {command} -->"


def _read(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8") if page.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"the page {page} cannot be read: {error}") from error


def _split(page: Path, text: str, command: str) -> tuple[str, str, str]:
    """What stands before the markers, between them and after them."""
    before, begin, rest = text.partition(_begin(command))
    if not begin:
        return text.rstrip("\n") + "\n\n" if text else "", "", "\n"
    block, end, after = rest.partition(END)
    if not end or "<!-- written by:" in block:
        raise FileError(f"{page} has {begin} without {END}; add the end marker, or remove the first one")
    return before, block.strip(), after
