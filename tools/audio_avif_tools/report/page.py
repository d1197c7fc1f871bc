"""The report as one HTML page that needs nothing beside it: pictures and sounds lie in it as data URIs."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from audio_avif import __version__
from audio_avif.config import MelConfig
from audio_avif.metrics import SCORES
from audio_avif_tools.report.assets import SCRIPT, STYLE, picker_style
from audio_avif_tools.report.charts import Chart
from audio_avif_tools.report.figures import (
    MEAN_KEYS,
    RENDITION_KEYS,
    SCORE_KEYS,
    SHOWN_S,
    RenditionFigures,
    Report,
    SourceFigures,
    relative,
)
from audio_avif_tools.report.media import (
    DIFFERENCE_DB,
    Media,
    clock,
    duration,
    frequency_ticks,
    gradient,
    make_media,
    time_ticks,
)
from audio_avif_tools.report.tables import COLUMNS, cell, escaped, plain_cell, quality_cell, table, titles
from audio_avif_tools.shared.fidelity import EXCERPT_S, MAX_EXCERPTS

MAX_MEDIA_BYTES = 40_000_000
"""How much of a page may be pictures and sound."""

INSTALL = "pip install 'audio-avif[report]'"

_CHANNEL_KEYS = ("original_lufs", "decoded_lufs", "gain", *MEAN_KEYS)


def write_page(report: Report, output: Path, path: Path, progress: Callable[[int], None]) -> None:
    """Write the page for the folder ``output`` to ``path``; links are as seen from that folder.

    ``progress`` is told how many recordings are written. Raises FileError where a file cannot be read.
    """
    page = _Page(report, output, progress)
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        for text in page.texts():
            file.write(text)
            file.write("\n")


class _Page:
    def __init__(self, report: Report, output: Path, progress: Callable[[int], None]) -> None:
        self._report = report
        self._output = output
        self._progress = progress
        self._media_bytes = 0
        self._is_full = False

    def texts(self) -> Iterator[str]:
        """The page in pieces, of which none grows with the number of files."""
        sources = self._report.sources
        title = sources[0].name if len(sources) == 1 else f"{len(sources)} recordings"
        most = max(len(source.renditions) for source in sources)
        yield "<!DOCTYPE html>"
        yield f'<html lang="en"><head><meta charset="utf-8"><title>{escaped(title)} - audio-avif</title>'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield f"<style>{STYLE}{picker_style(most)}</style></head><body>"
        yield f"<header><h1{_file_id(0) if len(sources) == 1 else ''}>{escaped(title)}</h1>"
        yield from self._lead()
        yield "</header><main>"
        if len(sources) > 1:
            yield from self._overview()
        for number, source in enumerate(sources):
            yield from self._section(number, source)
            self._progress(number + 1)
        yield "</main><footer>"
        yield from self._legend()
        yield f"</footer><script>{SCRIPT}</script></body></html>"

    def _lead(self) -> Iterator[str]:
        qualities = _listed([str(quality) for quality in self._report.qualities])
        length = duration(sum(source.seconds for source in self._report.sources))
        yield f'<p class="lead">{length} of sound as AVIF pictures at quality {qualities}, and back.</p>'
        day = time.strftime("%Y-%m-%d", time.gmtime())
        yield f'<p class="note">Written on {day} by audio-avif {escaped(__version__)}. '
        yield '<a href="#legend">What the figures mean</a></p>'
        if self._report.missing:
            needed = _listed(list(self._report.missing))
            verb = "is" if len(self._report.missing) == 1 else "are"
            yield f'<p class="warning">Some figures are missing because {needed} {verb} not installed. '
            yield f"Install with: <code>{escaped(INSTALL)}</code></p>"

    def _overview(self) -> Iterator[str]:
        report = self._report
        yield '<section aria-labelledby="overview"><h2 id="overview">Overview</h2>'
        yield '<p class="facts">Means over the recordings that have the figure.</p><h3>By quality</h3>'
        rows = [
            [quality_cell(quality, str(quality)), *(cell(key, report.mean(quality, key)) for key in RENDITION_KEYS)]
            for quality in report.qualities
        ]
        yield from table("Means for each quality", ["Quality", *titles(RENDITION_KEYS)], rows)
        yield from _charts(
            lambda key: Chart(
                COLUMNS[key].title,
                [(report.mean_kbps(q, key), report.mean(q, key), str(q)) for q in report.qualities],
                [_curve(source, key) for source in report.sources],
            )
        )
        yield '<p class="note">The curve with marks is the mean, the faint ones are the recordings.</p>'
        key = "pesq_wb" if any(math.isfinite(report.mean(q, "pesq_wb")) for q in report.qualities) else "mel_psnr_db"
        yield f"<h3>By recording: {COLUMNS[key].title} at each quality</h3>"
        heads = ["Recording", "Seconds", "Channels", *(f"At {quality}" for quality in report.qualities)]
        yield from table("The recordings", heads, [self._row(i, s, key) for i, s in enumerate(report.sources)])
        yield "</section>"

    def _row(self, number: int, source: SourceFigures, key: str) -> list[str]:
        values = {each.rendition.quality: each.value(key) for each in source.renditions}
        name = escaped(source.name)
        return [
            f'<th scope="row" class="long" data-value="{name}"><a href="#file-{number}">{name}</a></th>',
            plain_cell(source.seconds, f"{source.seconds:.1f}"),
            plain_cell(source.channels, str(source.channels)),
            *(cell(key, values.get(quality, math.nan)) for quality in self._report.qualities),
        ]

    def _section(self, number: int, source: SourceFigures) -> Iterator[str]:
        media = self._media(source)
        if len(self._report.sources) == 1:
            yield f'<section class="only" aria-labelledby="file-{number}">'
        else:
            yield f'<section aria-labelledby="file-{number}"><h2{_file_id(number)}>{escaped(source.name)}</h2>'
        channels = "mono" if source.channels == 1 else f"{source.channels} channels"
        length = f"{duration(source.seconds)}, " if len(self._report.sources) > 1 else ""
        yield f'<p class="facts">{length}{source.rate_hz:,} Hz, {channels}. {self._scored(source)}</p>'
        yield from self._listen(source, media)
        yield from self._look(number, source, media)
        yield "<h3>Figures</h3>"
        rows = [self._quality_row(each) for each in source.renditions]
        yield from table(f"Figures of {source.name}", ["Quality", *titles(RENDITION_KEYS)], rows)
        yield from _charts(lambda key: Chart(COLUMNS[key].title, _curve(source, key)))
        yield from self._channels(source)
        yield "</section>"

    def _media(self, source: SourceFigures) -> Media | None:
        if self._is_full:
            return None
        media = make_media(source)
        self._is_full = self._media_bytes + media.size > MAX_MEDIA_BYTES
        if self._is_full:
            return None
        self._media_bytes += media.size
        return media

    @staticmethod
    def _scored(source: SourceFigures) -> str:
        if len(source.excerpts) < 2:
            return ""
        return (
            f"PESQ-WB, STOI and loudness were measured on {len(source.excerpts)} evenly spaced excerpts of "
            f"{EXCERPT_S} s, the rest of the figures on all of it."
        )

    def _listen(self, source: SourceFigures, media: Media | None) -> Iterator[str]:
        yield "<h3>Listen</h3>"
        if media is None:
            yield '<p class="note">This page is full, so these players need the files beside it.</p>'
        elif source.is_cut:
            to_s = media.from_s + SHOWN_S
            yield f'<p class="note">Heard and shown here: the loudest {SHOWN_S} s, from {clock(media.from_s)} to '
            yield f"{clock(to_s)}. The whole recordings lie beside this page.</p>"
        yield '<ul class="players">'
        has_link = source.is_cut or media is None
        original = _player(media.sound if media else self._link(source.source.path), f"{source.name}, original", media)
        whole = self._anchor(source.source.path, "whole file") if has_link else ""
        note = "at 16 kHz" if media else ""
        yield f"<li><b>Original <small>{note} {whole}</small></b>{original}</li>"
        for i, each in enumerate(source.renditions):
            uri = media.renditions[i].sound if media else self._link(each.rendition.sound)
            name = f"Quality {each.rendition.quality}"
            player = _player(uri, f"{source.name}, {name}", media)
            whole = self._anchor(each.rendition.sound, "whole file") if has_link else ""
            yield f"<li><b>{name} <small>{each.kbps:.1f} kbps {whole}</small></b>{player}</li>"
        yield "</ul>"

    def _look(self, number: int, source: SourceFigures, media: Media | None) -> Iterator[str]:
        yield "<h3>Look</h3>"
        if media is not None:
            scale = f'quiet<span class="scale" style="background: linear-gradient(90deg, {gradient()})"></span>loud'
            yield _spectrum(media.before, f"Log-mel of {source.name} before", "Before", scale, source, media)
        yield '<fieldset class="picker"><legend>Quality</legend>'
        middle = len(source.renditions) // 2
        for i, each in enumerate(source.renditions):
            name = f"file-{number}-{i}"
            checked = " checked" if i == middle else ""
            yield f'<input type="radio" name="file-{number}-quality" id="{name}"{checked}>'
            yield f'<label for="{name}">{each.rendition.quality}</label>'
        yield '<div class="panels">'
        for i, each in enumerate(source.renditions):
            yield "<div>"
            yield from self._panel(source, each, media, i)
            yield "</div>"
        yield "</div></fieldset>"

    def _panel(self, source: SourceFigures, each: RenditionFigures, media: Media | None, i: int) -> Iterator[str]:
        quality = each.rendition.quality
        link = self._anchor(each.rendition.picture, "the AVIF file")
        if media is None:
            name = escaped(f"Picture of {source.name} at quality {quality}")
            yield f'<figure class="spectrum"><figcaption><b>After, quality {quality}</b><span>{link}</span>'
            yield "</figcaption>"
            yield f'<div class="frame whole"><img loading="lazy" alt="{name}" '
            yield f'src="{self._link(each.rendition.picture)}"></div></figure>'
            return
        mine = media.renditions[i]
        told = f"{each.bytes:,} bytes, {each.kbps:.1f} kbps, {link}"
        name = f"Log-mel of {source.name} at quality {quality}"
        yield _spectrum(mine.after, name, f"After, quality {quality}", told, source, media)
        scale = (
            f'-{DIFFERENCE_DB:g} dB<span class="scale" style="background: linear-gradient(90deg, {gradient(True)})">'
            f"</span>+{DIFFERENCE_DB:g} dB"
        )
        yield _spectrum(mine.difference, f"{name}, difference", "Difference, after less before", scale, source, media)

    def _quality_row(self, each: RenditionFigures) -> list[str]:
        link = self._anchor(each.rendition.picture, str(each.rendition.quality))
        cells = [cell(key, each.value(key)) for key in RENDITION_KEYS]
        return [quality_cell(each.rendition.quality, link), *cells]

    @staticmethod
    def _channels(source: SourceFigures) -> Iterator[str]:
        yield "<details><summary>Loudness and gain, channel by channel</summary>"
        rows = [
            [
                quality_cell(each.rendition.quality, str(each.rendition.quality)),
                plain_cell(number, str(number)),
                *(cell(key, getattr(channel, key)) for key in _CHANNEL_KEYS),
            ]
            for each in source.renditions
            for number, channel in enumerate(each.channels, 1)
        ]
        heads = ["Quality", "Channel", *titles(_CHANNEL_KEYS)]
        yield from table(f"Figures of each channel of {source.name}", heads, rows)
        yield "</details>"

    def _legend(self) -> Iterator[str]:
        yield '<section aria-labelledby="legend"><h2 id="legend">What the figures mean</h2><dl>'
        for column in COLUMNS.values():
            yield f"<div><dt>{escaped(column.title)}</dt><dd>{escaped(column.meaning)}</dd></div>"
        yield "</dl><h3>How they were measured</h3>"
        yield "<p>Original and decoded sound are compared at 16 kHz, the rate inside the codec. Of several channels "
        yield "each is measured apart; the tables have their mean. Recordings longer than 20 s are scored by PESQ-WB "
        yield f"and STOI on evenly spaced excerpts of {EXCERPT_S} s, at most {MAX_EXCERPTS}, and so is loudness. "
        yield f"A difference is drawn from -{DIFFERENCE_DB:g} to +{DIFFERENCE_DB:g} dB. A figure shown as - has no "
        yield "answer: silence, a recording too short, or a package that is missing.</p>"
        yield "<h3>What the scores do not hear</h3><dl>"
        for key in SCORE_KEYS:
            yield f"<div><dt>{escaped(SCORES[key].title)}</dt><dd>It {escaped(SCORES[key].blind_spot)}.</dd></div>"
        yield "</dl><p>They are no listeners. Trust your ears first.</p></section>"

    def _link(self, path: Path) -> str:
        return escaped(quote(os.fsencode(relative(path, self._output))))

    def _anchor(self, path: Path, text: str) -> str:
        return f'<a href="{self._link(path)}">{escaped(text)}</a>'


def _file_id(number: int) -> str:
    return f' id="file-{number}"'


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _curve(source: SourceFigures, key: str) -> list[tuple[float, float, str]]:
    return [(each.kbps, each.value(key), str(each.rendition.quality)) for each in source.renditions]


def _charts(chart_of: Callable[[str], Chart]) -> Iterator[str]:
    charts = [(chart, svg) for key in ("pesq_wb", "stoi", "mel_psnr_db") if (svg := (chart := chart_of(key)).svg())]
    if charts:
        yield '<h3>Against the rate</h3><div class="charts">'
        for chart, svg in charts:
            yield f"<figure><figcaption>{escaped(chart.title)}</figcaption>{svg}</figure>"
        yield "</div>"


def _player(uri: str, name: str, media: Media | None) -> str:
    preload = "metadata" if media else "none"
    return f'<audio controls preload="{preload}" aria-label="{escaped(name)}" src="{uri}"></audio>'


def _spectrum(uri: str, name: str, caption: str, told: str, source: SourceFigures, media: Media) -> str:
    """A picture with a frequency axis for each channel and a time axis."""
    rows = source.channels
    marks = []
    for row in range(rows):
        for share, text in frequency_ticks():
            marks.append(f'<i class="y" style="bottom: {100 * (rows - 1 - row + share) / rows:.1f}%">{text}</i>')
        if rows > 1:
            marks.append(f'<i class="row" style="top: calc({100 * row / rows:.1f}% + .4rem)">channel {row + 1}</i>')
    seconds = media.frames * MelConfig().frame_s
    marks += [
        f'<i class="x" style="left: {100 * share:.1f}%">{text}</i>' for share, text in time_ticks(media.from_s, seconds)
    ]
    return (
        f'<figure class="spectrum"><figcaption><b>{escaped(caption)}</b><span>{told}</span></figcaption>'
        f'<div class="frame" style="--rows: {rows}"><img alt="{escaped(name)}" src="{uri}">'
        f"{''.join(marks)}</div></figure>"
    )
