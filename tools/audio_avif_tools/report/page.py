"""The report as one self-contained HTML file: style, script, pictures and sound are inside it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from audio_avif import __version__
from audio_avif.config import MelConfig
from audio_avif.metrics import SCORES
from audio_avif_tools.report.charts import charts_of, charts_of_means
from audio_avif_tools.report.columns import COLUMNS
from audio_avif_tools.report.figures import (
    MEAN_KEYS,
    RENDITION_KEYS,
    SCORE_KEYS,
    SHOWN_S,
    Report,
    SourceFigures,
    relative,
    rounded,
)
from audio_avif_tools.report.media import (
    DIFFERENCE_COLOURS,
    DIFFERENCE_DB,
    LEVEL_COLOURS,
    Media,
    clock,
    duration,
    frequency_ticks,
    make_media,
    time_ticks,
)
from audio_avif_tools.shared.fidelity import EXCERPT_S, MAX_EXCERPTS

MAX_MEDIA_BYTES = 40_000_000
"""The most bytes of pictures and sound inside a page."""


def write_page(report: Report, output: Path, path: Path, progress: Callable[[int], None]) -> None:
    """Write the page for the folder ``output`` to ``path``; its links are relative to ``output``.

    ``progress`` is called with the number of recordings written. Raises FileError where a file cannot be read.
    """
    page = _templates().get_template("report.html.j2")
    texts = page.generate(
        report=report,
        recordings=_recordings(report, progress),
        link=partial(_link, output),
        day=time.strftime("%Y-%m-%d", time.gmtime()),
    )
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.writelines(texts)


def _templates() -> Environment:
    """The templates, with what is the same for every report."""
    templates = Environment(
        loader=PackageLoader("audio_avif_tools.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {
        "version": __version__,
        "install_command": "pip install 'audio-avif[report]'",
        "columns": COLUMNS,
        "rendition_keys": RENDITION_KEYS,
        "channel_keys": ("original_lufs", "decoded_lufs", "gain", *MEAN_KEYS),
        "scores": [SCORES[key] for key in SCORE_KEYS],
        "excerpt_s": EXCERPT_S,
        "max_excerpts": MAX_EXCERPTS,
        "shown_s": SHOWN_S,
        "difference_db": DIFFERENCE_DB,
        "level_colours": ", ".join(LEVEL_COLOURS),
        "difference_colours": ", ".join(DIFFERENCE_COLOURS),
        "charts_of": charts_of,
        "charts_of_means": charts_of_means,
        "clock": clock,
        "duration": duration,
        "exact": _exact,
        "listed": _listed,
    }
    return templates


@dataclass(frozen=True)
class _Tick:
    """A label at a share of a spectrogram's width or height."""

    percent: float
    text: str


@dataclass(frozen=True)
class _Axes:
    """The labels around a spectrogram whose channels lie one below the other."""

    channels: int
    frequencies: list[_Tick]
    rows: list[_Tick]
    times: list[_Tick]


@dataclass(frozen=True)
class _Recording:
    """A recording's place in the report and its figures; ``media`` and ``axes`` are None where the page is full."""

    number: int
    figures: SourceFigures
    media: Media | None
    axes: _Axes | None


def _recordings(report: Report, progress: Callable[[int], None]) -> Iterator[_Recording]:
    """Read each recording's media when the page reaches it, until the page is full."""
    media_bytes, is_full = 0, False
    for number, figures in enumerate(report.sources):
        media = None if is_full else make_media(figures)
        if media is not None:
            media_bytes += media.size
            is_full = media_bytes > MAX_MEDIA_BYTES
        if media is None or is_full:
            yield _Recording(number, figures, None, None)
        else:
            yield _Recording(number, figures, media, _axes(figures.channels, media))
        progress(number + 1)


def _axes(channels: int, media: Media) -> _Axes:
    """The axes of all spectrograms of a recording; the last channel lies at the bottom."""
    frequencies = [
        _tick((channels - 1 - channel + share) / channels, text)
        for channel in range(channels)
        for share, text in frequency_ticks()
    ]
    rows = [_tick(channel / channels, f"channel {channel + 1}") for channel in range(channels)] if channels > 1 else []
    times = [_tick(share, text) for share, text in time_ticks(media.from_s, media.frames * MelConfig().frame_s)]
    return _Axes(channels, frequencies, rows, times)


def _tick(share: float, text: str) -> _Tick:
    return _Tick(round(100 * share, 1), text)


def _link(output: Path, path: Path) -> str:
    return quote(os.fsencode(relative(path, output)))


def _exact(value: float) -> str:
    """A figure as the tables are sorted by it; empty where there is none."""
    number = rounded(value)
    return "" if number is None else str(number)


def _listed(values: list[object] | tuple[object, ...]) -> str:
    """Values as a sentence lists them: 70, 80 and 90."""
    words = [str(value) for value in values]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
